//! What is sent: payloads with a content that can be recognized, and how long the product's envelopes are.

use super::framing::Framing;

/// Bytes without a pattern that compresses to nothing.
pub(crate) fn binary(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251 + 7) as u8).collect()
}

/// Letters that no JSON writer needs to escape.
pub(crate) fn text(length: usize) -> String {
    (0..length).map(|index| char::from(b'a' + (index % 26) as u8)).collect()
}

/// A publish request without an id: nothing answers it.
pub(crate) fn publish(channel: &str, text: &str) -> Vec<u8> {
    format!(r#"{{"pub":"{channel}","data":"{text}"}}"#).into_bytes()
}

/// A subscription whose answer carries the id 1.
pub(crate) fn subscribe(channel: &str) -> Vec<u8> {
    format!(r#"{{"sub":"{channel}","id":1}}"#).into_bytes()
}

/// The size of a push as the server sends it; only the digits of its sequence are a guess.
pub(crate) fn push_bytes(framing: Framing, channel: &str, text: &str) -> usize {
    let push = format!(r#"{{"ch":"{channel}","at":"k3f9zq:1234","t":1764000000123,"data":"{text}"}}"#);
    framing.response_bytes(push.len())
}

/// Asks the server where this connection lives.
pub(crate) const HELLO: &[u8] = br#"{"hello":1,"id":1}"#;
