//! Percent-encoding in addresses (RFC 3986, 2.1): `%20` for what the grammar needs for itself.
//!
//! Deliberately absent: `+` for a blank, which is a custom of forms.

use std::fmt::Write as _;

/// What stands for itself nowhere: it would end the value, or begin an escape.
const OWN: &str = "%?&#";

/// Takes the escapes out; `None` if one is broken.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push((high * 16 + low) as u8);
    }
    Some(out)
}

/// Puts escapes in where they are needed: readable characters of any script stay as they are.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_whitespace() || character.is_control() || OWN.contains(character) {
                let mut buffer = [0; 4];
                escape(&mut out, character.encode_utf8(&mut buffer).as_bytes());
            } else {
                out.push(character);
            }
        }
        escape(&mut out, chunk.invalid());
    }
    out
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "%{byte:02X}");
    }
}
