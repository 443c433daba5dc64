//! A web origin as written, and as browsers send it.
//!
//! Deliberately absent: comparing it with a request's `Origin`, which the gateway does letter by letter, whatever their case.

use std::net::IpAddr;

use super::host_name;

/// The origin as a browser sends it: without the port that its scheme has by default (RFC 6454, 6.2).
pub(super) fn as_sent(written: &str) -> Result<String, String> {
    let wrong =
        || Err(format!("{written:?} is no origin: give scheme, host and port, as in https://chat.example"));
    let Some((scheme, rest)) = written.split_once("://") else { return wrong() };
    let scheme = scheme.to_ascii_lowercase();
    // Pages that an application brings along have schemes of its own: capacitor://localhost, chrome-extension://NAME.
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_scheme {
        return wrong();
    }
    let default_port = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let (host, port) = match rest.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if host_name::check(host).is_err() {
        return wrong();
    }
    let host = match host_name::address(host) {
        // Browsers write it in its shortest form.
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.to_owned(),
    };
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_none_or(is_number) {
        return wrong();
    }
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{scheme}://{host}")),
        Some(Ok(port)) if Some(port) == default_port => Ok(format!("{scheme}://{host}")),
        Some(Ok(port)) if port > 0 => Ok(format!("{scheme}://{host}:{port}")),
        Some(_) => wrong(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_port_is_left_out_and_any_other_stays() {
        for (written, sent) in [
            ("https://chat.example:443", "https://chat.example"),
            ("http://chat.example:80", "http://chat.example"),
            ("http://chat.example:443", "http://chat.example:443"),
            ("HTTPS://chat.example", "https://chat.example"),
            ("https://[::1]:443", "https://[::1]"),
            ("http://[::1]", "http://[::1]"),
            ("http://[2001:DB8:0::7]:8080", "http://[2001:db8::7]:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ] {
            assert_eq!(as_sent(written).as_deref(), Ok(sent));
        }
    }

    #[test]
    fn what_no_page_comes_from_is_refused_by_name() {
        for written in [
            "",
            "null",
            "chat.example",
            "1://chat.example",
            "://chat.example",
            "https://",
            "https://:443",
            "https://chat.example/",
            "https://chat.example:0",
            "https://chat.example:65536",
            "https://chat.example:",
            "https://chat.example:+443",
            "https://ana@chat.example",
            "https://*.example",
            "https://[chat]",
        ] {
            let why = as_sent(written).expect_err(written);
            assert!(why.contains(&format!("{written:?}")), "{why}");
        }
    }
}
