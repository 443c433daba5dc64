//! The first byte of a connection tells its protocol.
//!
//! Absent until it is spoken: MQTT (0x10), which is recognised only to be refused by name. TLS (0x16) is taken off below,
//! in the shell; where it arrives here, it is not spoken.

use sockeye_wire::proxy::SIGNATURE;

/// What a connection speaks, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detected {
    /// JSON objects, one a line.
    Lines,
    /// HTTP, and WebSocket by upgrade.
    Http,
    /// Something else: refuse with these words.
    Unknown(&'static str),
    /// Undecided: an upper-case word without its space as yet.
    More,
}

/// The longest method that may begin an HTTP request. Longer: not HTTP.
const METHOD_BYTES_MAX: usize = 24;

/// Looks at the first bytes of a connection.
pub(crate) fn detect(input: &[u8]) -> Detected {
    match input.first() {
        None => Detected::More,
        // A blank line is nothing to answer, so it can wait until it is known to be one.
        Some(b'\r') if SIGNATURE.starts_with(input) && input.len() < SIGNATURE.len() => Detected::More,
        Some(b'\r') if input.starts_with(&SIGNATURE) => PROXY,
        Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => Detected::Lines,
        Some(0x16) => Detected::Unknown(
            "this is TLS, for which this server has no certificate: connect in plain text, or give it one",
        ),
        Some(0x10) => Detected::Unknown("this is MQTT, which this server does not speak"),
        Some(b'A'..=b'Z') => {
            match input.iter().take(METHOD_BYTES_MAX).position(|byte| !byte.is_ascii_uppercase()) {
                Some(end) if input[end] == b' ' && &input[..end] == b"PROXY" => PROXY,
                Some(end) if input[end] == b' ' => Detected::Http,
                None if input.len() < METHOD_BYTES_MAX => Detected::More,
                _ => UNKNOWN,
            }
        }
        Some(_) => UNKNOWN,
    }
}

const PROXY: Detected = Detected::Unknown(
    "a PROXY header from an address that is not listed under proxy_protocol_from: nobody knows who relays here",
);

const UNKNOWN: Detected = Detected::Unknown(
    "neither HTTP nor a JSON line: begin with an HTTP request, or with an object such as {\"hello\":1}",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_lines_http_and_the_rest_apart() {
        assert_eq!(detect(b"{\"hello\":1}\n"), Detected::Lines);
        assert_eq!(detect(b"\n"), Detected::Lines);
        assert_eq!(detect(b"GET / HTTP/1.1\r\n"), Detected::Http);
        assert_eq!(detect(b"PO"), Detected::More);
        assert_eq!(detect(b""), Detected::More);
        assert_eq!(detect(b"\r\n\r\n"), Detected::More);
        assert_eq!(detect(b"\r\n\r\n{"), Detected::Lines);
        assert_eq!(detect(b"PROXY TCP4"), PROXY);
        assert_eq!(detect(&SIGNATURE), PROXY);
        for input in [&b"\x16\x03\x01"[..], b"\x10\x10", b"hello", b"HELLO\n", b"\0", b"GEt /", &[b'A'; 24]] {
            assert!(matches!(detect(input), Detected::Unknown(_)), "{input:?}");
        }
    }
}
