//! A channel of a Sockeye server: the raw socket at `/ch/NAME`, where each message is one frame.

use std::fmt::Write as _;

use crate::address::Options;

/// The path to ask for.
pub(super) fn path(channel: &str, options: &Options) -> String {
    let mut path = String::from("/ch/");
    escape(&mut path, channel, true);
    let mut sign = '?';
    let mut add = |name: &str, value: &str| {
        path.push(sign);
        sign = '&';
        path.push_str(name);
        path.push('=');
        escape(&mut path, value, false);
    };
    if let Some(last) = options.last {
        add("last", &last.to_string());
    }
    if let Some(since) = &options.since {
        add("since", since);
    }
    if options.own == Some(false) {
        add("self", "0");
    }
    if options.hear == Some(false) {
        add("sub", "0");
    }
    if options.publish == Some(false) {
        add("pub", "0");
    }
    path
}

/// RFC 3986, 2.3: only unreserved characters stand for themselves everywhere.
fn escape(out: &mut String, text: &str, is_path: bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) || (is_path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Base};

    #[test]
    fn a_channel_is_asked_for_by_its_path() {
        for (text, expected) in [
            ("ch:h/chat/42", "/ch/chat/42"),
            ("ch:h/한?last=5&own=false", "/ch/%ED%95%9C?last=5&self=0"),
            ("ch:h/a%3Fb?since=k3f:1&hear=false", "/ch/a%3Fb?since=k3f:1&sub=0"),
        ] {
            let Ok(Address { base: Base::Channel { channel, .. }, options, .. }) = text.parse() else {
                panic!("{text} is a channel");
            };

            assert_eq!(path(&channel, &options), expected);
        }
    }
}
