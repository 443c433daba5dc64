//! A name by which requests may call the server, as a Host header can carry it.
//!
//! Deliberately absent: patterns. A name stands for itself only, so that whoever reads the list knows what it allows.

use std::net::{IpAddr, Ipv6Addr};

/// Says what is wrong with a name that no Host header could carry.
pub(super) fn check(name: &str) -> Result<(), String> {
    if address(name).is_some() {
        return Ok(());
    }
    let why = if name.contains('*') {
        "a name stands for itself only: list each one"
    } else if name.len() > 1 && name.ends_with('.') {
        "give it without a dot at the end"
    } else if !name.is_ascii() {
        "give it as browsers send it, which begins with xn--"
    } else if name.split('.').all(is_label) {
        return Ok(());
    } else {
        "give it without scheme and port"
    };
    Err(format!("{name:?} is no host name: {why}, as in chat.example"))
}

/// The address that is meant, where a name is one. That of IPv6 stands in brackets, as in a Host header.
pub(super) fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_header_can_carry_is_a_name_and_nothing_else_is() {
        for name in ["chat.example", "Chat", "a_b.local", "xn--6e0b.example", "192.0.2.7", "[2001:db8::7]"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in [
            "",
            ".",
            "*.example",
            "*",
            "chat.example.",
            ".example",
            "a..b",
            "a b",
            "https://chat.example",
            "chat.example:80",
            "chat.example/",
            "[2001:db8::7]:80",
            "2001:db8::7",
            "[chat]",
            "채팅.example",
        ] {
            let why = check(name).expect_err(name);
            assert!(why.contains(&format!("{name:?}")), "{why}");
        }
    }
}
