//! What a server says, as a client reads it: the members that are known, and the payload as it was written.
//!
//! Deliberately absent: the payload's meaning. JSON is passed on byte by byte, because a value in memory would lose digits,
//! the order of members, and one of two that have the same name.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::ToolError;
use super::show::harmless;
use crate::address::Address;

/// So much of what nobody understands is shown.
const EXCERPT_BYTES_MAX: usize = 80;

/// One object of the protocol. Members that are not known are passed over.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Said<'a> {
    /// The channel of a message or a gap.
    pub(super) ch: Option<String>,
    pub(super) at: Option<String>,
    pub(super) gap: Option<Gap>,
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) data: Option<&'a RawValue>,
    pub(super) b64: Option<String>,
    /// The id of a request that was done.
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) ok: Option<&'a RawValue>,
    pub(super) recovered: Option<bool>,
    /// The id of a request that was not done; null is one, too.
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) error: Option<&'a RawValue>,
    pub(super) code: Option<String>,
    pub(super) why: Option<String>,
    pub(super) bye: Option<String>,
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) pong: Option<&'a RawValue>,
    pub(super) cookie: Option<String>,
}

/// What a subscriber did not get, both ends included.
#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) why: String,
}

impl<'a> Said<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// When it is none: whoever says such things does not speak this protocol, and what it meant is not guessed at.
    pub(super) fn read(address: &Address, object: &'a [u8]) -> Result<Said<'a>, ToolError> {
        serde_json::from_slice(object).map_err(|error| {
            let excerpt = String::from_utf8_lossy(&object[..object.len().min(EXCERPT_BYTES_MAX)]);
            let excerpt = harmless(excerpt.trim_end());
            let dots = if object.len() > EXCERPT_BYTES_MAX { "..." } else { "" };
            let why = format!(
                "the server sent what is no object of the protocol ({error}): {excerpt}{dots} (is that a Sockeye server?)"
            );
            ToolError::EndedEarly { address: address.clone(), why }
        })
    }

    /// Whether it is a message of a channel, and not a gap.
    pub(super) fn is_message(&self) -> bool {
        self.ch.is_some() && self.gap.is_none()
    }

    /// Whether the request with this id was done.
    pub(super) fn is_done(&self, id: u64) -> bool {
        self.ok.is_some_and(|ok| ok.get() == id.to_string())
    }

    /// The error that it tells: a refusal or a goodbye.
    pub(super) fn into_failure(self, address: &Address) -> Option<ToolError> {
        let address = address.clone();
        if self.error.is_some() {
            let why = format!("{}: {}", or_unknown(self.code.as_deref()), or_unknown(self.why.as_deref()));
            return Some(ToolError::Refused { address, why });
        }
        let reason = self.bye?;
        Some(ToolError::EndedEarly { address, why: format!("the server said goodbye: {reason}") })
    }
}

/// A member that should be there, in words.
pub(super) fn or_unknown(text: Option<&str>) -> &str {
    text.unwrap_or("?")
}

/// What is null is there nevertheless: it is a payload, or an id.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        "tcp:localhost:7625".parse().expect("an address")
    }

    #[test]
    fn a_payload_is_as_it_was_written() {
        let address = address();
        let read = |object| Said::read(&address, object).expect("an object");

        let said = read(br#"{"ch":"a\u0062","at":"k:1","t":1e999,"data": {"b":1.50, "a":1e400,"a":2} }"#);

        assert_eq!(said.data.map(RawValue::get), Some(r#"{"b":1.50, "a":1e400,"a":2}"#));
        assert_eq!((said.ch.as_deref(), said.is_message()), (Some("ab"), true));
        assert_eq!(read(br#"{"ch":"a","data":null}"#).data.map(RawValue::get), Some("null"));
        assert!(read(br#"{"error":null,"code":"denied"}"#).into_failure(&address).is_some());
        assert!(read(br#"{"ok":7}"#).is_done(7));
    }

    #[test]
    fn what_is_no_object_is_named() {
        let address = address();

        for object in [&b"220 mail\x1b[2J"[..], b"{\"ch\":1}", b"[]", b"\xff\xff", b"{\"data\":1,\"data\":2}"]
        {
            let error = Said::read(&address, object).expect_err("no object").to_string();
            assert!(error.contains("no object of the protocol") && !error.contains('\x1b'), "{error}");
        }
    }
}
