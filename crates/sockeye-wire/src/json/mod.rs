//! The grammar of the protocol: JSON objects become typed requests, and answers become JSON.
//!
//! Reading is strict RFC 8259 in one pass, without recursion; a payload is lent from the input and copied only where
//! an escape or a line break forces it. Three things differ from a general JSON reader, all of them stricter: nesting
//! is at most [`DEPTH_MAX`] levels, half a surrogate pair in a `\u` escape is refused (no text corresponds to it), and
//! repeated known keys are refused. One is more generous: numbers that are passed on have no limit of size.
//! A document tree is absent: nothing here needs one.

mod error;
mod marks;
mod plain;
mod request;
mod scan;
mod string;
mod write;

use std::borrow::Cow;

use memchr::memchr2;

pub use error::{BadRequest, Code};
pub use plain::{PlainPublish, parse_plain_publish};
pub use request::{Datagram, Id, Request, Slow, Verb, parse_datagram, parse_request, parse_request_text};
pub use scan::DEPTH_MAX;
pub(crate) use write::write_integer;
pub use write::{
    At, Data, Object, Push, push_bytes, write_base64, write_bye, write_ended, write_error, write_expires,
    write_gap, write_message, write_pong, write_push, write_rate_error, write_string,
};

use scan::{Scanner, Value};

/// What a payload is; fixed when it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// One JSON value.
    Json,
    /// Bytes.
    Binary,
}

/// The content of a message, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload<'a> {
    /// What the bytes are.
    pub kind: Kind,
    /// Text without its escapes, JSON as it came but without line breaks, or the bytes that base64 stood for.
    pub bytes: Cow<'a, [u8]>,
}

/// Whether the bytes are one JSON value, strictly, that a message can have as its data: with the message's own object around
/// it, it is nested at most [`DEPTH_MAX`] deep.
#[must_use]
pub fn is_json(bytes: &[u8]) -> bool {
    data(bytes).is_some()
}

/// Whether the bytes are one JSON object or array that a message can have as its data, with or without white space around it.
#[must_use]
pub fn is_object_or_array(bytes: &[u8]) -> bool {
    // Most texts are neither, and show it in the first byte.
    let first = bytes.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'[')) && matches!(data(bytes), Some(Value::Nested { .. }))
}

fn data(bytes: &[u8]) -> Option<Value<'_>> {
    let mut scanner = Scanner::new(std::str::from_utf8(bytes).ok()?);
    let value = scanner.data().ok()?;
    scanner.refused.is_none().then_some(value)
}

/// Replaces line breaks by spaces, so that JSON can never forge a line; borrowed if there are none.
///
/// RFC 8259, 7 has no line break inside a string that is not escaped, so the meaning stays the same.
#[must_use]
pub fn without_line_breaks(json: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr2(b'\n', b'\r', json) else {
        return Cow::Borrowed(json);
    };
    let mut spaced = json.to_vec();
    for byte in &mut spaced[first..] {
        if let b'\n' | b'\r' = byte {
            *byte = b' ';
        }
    }
    Cow::Owned(spaced)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
