//! Messages as JSON lines: kind, text or base64, and a close with its code and reason. Nothing is lost.
//!
//! What the layer `jsonl+` and the framing of the commands speak alike. Deliberately absent: finding the lines in a stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sockeye_wire::json::{write_base64, write_string};

use super::message::{Close, Message, MessageKind};

/// What was read from a framed stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// The end, with a code and a reason.
    Close(Close),
}

/// The longest line of a message of so many bytes, with room for its envelope.
pub(crate) fn line_bytes_max(message_bytes_max: usize) -> usize {
    // A byte is at most six characters of a JSON string.
    message_bytes_max.saturating_mul(6).saturating_add(256)
}

/// Appends a message, which is read back as it was.
pub(crate) fn write_message(message: &Message, out: &mut Vec<u8>) {
    let (kind, is_text) = match message.kind {
        MessageKind::Text => ("text", true),
        MessageKind::Binary => ("binary", false),
        MessageKind::Ping => ("ping", false),
        MessageKind::Pong => ("pong", false),
    };
    out.extend_from_slice(format!("{{\"kind\":\"{kind}\",").as_bytes());
    match message.as_text().filter(|_| is_text) {
        Some(text) => {
            out.extend_from_slice(b"\"data\":");
            write_string(out, text);
        }
        None => {
            out.extend_from_slice(b"\"b64\":\"");
            write_base64(out, &message.bytes);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Appends an end with its code and reason.
pub(crate) fn write_close(close: &Close, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"close\"");
    if let Some(code) = close.code {
        out.extend_from_slice(format!(",\"code\":{code}").as_bytes());
    }
    out.extend_from_slice(b",\"reason\":");
    write_string(out, &close.reason);
    out.extend_from_slice(b"}\n");
}

/// Reads a line.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn read(line: &[u8]) -> std::result::Result<Item, String> {
    const FORM: &str = "write {\"kind\":\"text\",\"data\":\"...\"}, {\"kind\":\"binary\",\"b64\":\"...\"} or {\"kind\":\"close\",\"code\":1000}";
    let refused = |why: &str| format!("a line is not a message ({why}): {FORM}");
    let object: Value = serde_json::from_slice(line).map_err(|error| refused(&error.to_string()))?;
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let kind = match text("kind") {
        Some("text") => MessageKind::Text,
        Some("binary") => MessageKind::Binary,
        Some("ping") => MessageKind::Ping,
        Some("pong") => MessageKind::Pong,
        Some("close") => {
            let code =
                match object.get("code") {
                    None => None,
                    Some(code) => {
                        let code = code.as_u64().and_then(|code| u16::try_from(code).ok());
                        Some(code.filter(|code| sockeye_wire::websocket::is_close_code(*code)).ok_or_else(|| {
                        refused("the code of a close is 1000 to 1014 but for 1004 to 1006, or 3000 to 4999")
                    })?)
                    }
                };
            return Ok(Item::Close(Close { code, reason: text("reason").unwrap_or_default().to_owned() }));
        }
        _ => return Err(refused("kind is text, binary, ping, pong or close")),
    };
    let bytes = match (text("data"), text("b64")) {
        (Some(data), None) => data.as_bytes().to_vec(),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| refused("b64 is not base64"))?,
        _ => return Err(refused("it has data or b64, and not both")),
    };
    if kind == MessageKind::Text && str::from_utf8(&bytes).is_err() {
        return Err(refused("text is not UTF-8"));
    }
    Ok(Item::Message(Message { kind, bytes }))
}
