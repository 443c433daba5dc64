//! Writers: what the server says, as JSON appended to a buffer.
//!
//! No newline is written: whether a message ends in one is the socket's business. Formatting machinery is absent,
//! because a push is written for every message; reading belongs to the neighbours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::Code;
use super::string::plain_run;
use super::without_line_breaks;

/// A message on its way to a subscriber.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The channel.
    pub channel: &'a str,
    /// Its position in the channel.
    pub at: At<'a>,
    /// The server's time in Unix milliseconds.
    pub t: u64,
    /// The user who published it, if known.
    pub from: Option<&'a str>,
    /// The content.
    pub data: Data<'a>,
}

/// A position, written `"k3f:122"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<'a> {
    /// The epoch: letters and digits only.
    pub epoch: &'a str,
    /// The number within the epoch.
    pub sequence: u64,
}

/// The content of a push.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// Written as a JSON string.
    Text(&'a str),
    /// Written as it is, but for line breaks; the caller knows that it is JSON.
    Json(&'a [u8]),
    /// Written as base64 under `"b64"`.
    Binary(&'a [u8]),
}

/// How long a push is when nothing in it needs an escape; with escapes it is longer.
#[must_use]
pub fn push_bytes(push: &Push<'_>) -> usize {
    let data_bytes = match push.data {
        Data::Text(text) => br#","data":"""#.len() + text.len(),
        Data::Json(json) => br#","data":"#.len() + json.len(),
        Data::Binary(bytes) => br#","b64":"""#.len() + bytes.len().div_ceil(3) * 4,
    };
    let from_bytes = push.from.map_or(0, |from| br#","from":"""#.len() + from.len());
    br#"{"ch":"","at":":","t":}"#.len()
        + push.channel.len()
        + push.at.epoch.len()
        + digits(push.at.sequence)
        + digits(push.t)
        + from_bytes
        + data_bytes
}

/// How many digits an integer has.
fn digits(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Writes a push: `{"ch":..,"at":..,"t":..,"from":..,"data":..}`.
pub fn write_push(out: &mut Vec<u8>, push: &Push<'_>) {
    out.reserve(push_bytes(push));

    out.extend_from_slice(br#"{"ch":"#);
    write_string(out, push.channel);
    out.extend_from_slice(br#","at":"#);
    write_at(out, push.at);
    out.extend_from_slice(br#","t":"#);
    write_integer(out, push.t);
    if let Some(from) = push.from {
        out.extend_from_slice(br#","from":"#);
        write_string(out, from);
    }
    match push.data {
        Data::Text(text) => {
            out.extend_from_slice(br#","data":"#);
            write_string(out, text);
        }
        Data::Json(json) => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(&without_line_breaks(json));
        }
        Data::Binary(bytes) => {
            out.extend_from_slice(br#","b64":""#);
            write_base64(out, bytes);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// Writes a message of a `"messages"` list: the same object as a push.
pub fn write_message(out: &mut Vec<u8>, push: &Push<'_>) {
    write_push(out, push);
}

/// Writes what a subscriber did not get: `{"ch":..,"gap":{"from":..,"to":..,"why":..}}`, both ends included.
pub fn write_gap(out: &mut Vec<u8>, channel: &str, from: At<'_>, to: At<'_>, why: &str) {
    out.extend_from_slice(br#"{"ch":"#);
    write_string(out, channel);
    out.extend_from_slice(br#","gap":{"from":"#);
    write_at(out, from);
    out.extend_from_slice(br#","to":"#);
    write_at(out, to);
    out.extend_from_slice(br#","why":"#);
    write_string(out, why);
    out.extend_from_slice(b"}}");
}

/// Writes `{"error":ID,"code":..,"why":..,"retry":..}`. The id is raw JSON; without one it is null.
pub fn write_error(out: &mut Vec<u8>, id: Option<&str>, code: Code, why: &str, retry: bool) {
    Object::open(out, "error", id).str("code", code.as_str()).str("why", why).bool("retry", retry).end();
}

/// Writes the error that ends a subscription by itself: without an id, and with the name in `sub`.
pub fn write_ended(out: &mut Vec<u8>, code: Code, why: &str, name: &str) {
    let error = Object::open(out, "error", None).str("code", code.as_str()).str("why", why);
    error.bool("retry", false).str("sub", name).end();
}

/// Writes `{"expires_ms":30000}`: after so long the connection is closed.
pub fn write_expires(out: &mut Vec<u8>, in_ms: u64) {
    out.extend_from_slice(br#"{"expires_ms":"#);
    write_integer(out, in_ms);
    out.push(b'}');
}

/// Writes an error of the word `rate`, with the milliseconds after which it is worth another try.
pub fn write_rate_error(out: &mut Vec<u8>, id: Option<&str>, why: &str, retry_ms: u64) {
    Object::open(out, "error", id)
        .str("code", Code::Rate.as_str())
        .str("why", why)
        .bool("retry", true)
        .with("retry_ms", |out| write_integer(out, retry_ms))
        .end();
}

/// Writes `{"pong":VALUE}`. The value is raw JSON.
pub fn write_pong(out: &mut Vec<u8>, value: &str) {
    Object::open(out, "pong", Some(value)).end();
}

/// Writes `{"bye":..,"reconnect":[..,..]}`: the last words, and the range of milliseconds in which to come back.
pub fn write_bye(out: &mut Vec<u8>, reason: &str, reconnect: Option<(u64, u64)>) {
    out.extend_from_slice(br#"{"bye":"#);
    write_string(out, reason);
    if let Some((shortest_ms, longest_ms)) = reconnect {
        out.extend_from_slice(br#","reconnect":["#);
        write_integer(out, shortest_ms);
        out.push(b',');
        write_integer(out, longest_ms);
        out.push(b']');
    }
    out.push(b'}');
}

/// An answer being written, field by field; [`Object::end`] closes it.
///
/// # Examples
///
/// ```
/// use sockeye_wire::json::{At, Object};
///
/// let mut out = Vec::new();
/// Object::ok(&mut out, Some("6")).at(At { epoch: "k3f", sequence: 123 }).str("ack", "accepted").end();
/// assert_eq!(out, br#"{"ok":6,"at":"k3f:123","ack":"accepted"}"#);
/// ```
#[derive(Debug)]
#[must_use = "an answer is incomplete before its end"]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Object<'o> {
    /// Begins `{"ok":ID`. The id is raw JSON; without one it is null.
    pub fn ok(out: &'o mut Vec<u8>, id: Option<&str>) -> Self {
        Self::open(out, "ok", id)
    }

    /// Begins an object whose first field is raw JSON, or null. Keys are written as they are.
    pub fn open(out: &'o mut Vec<u8>, key: &'static str, value: Option<&str>) -> Self {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value.unwrap_or("null").as_bytes());
        Self { out }
    }

    /// Adds `"at"`.
    pub fn at(self, at: At<'_>) -> Self {
        self.with("at", |out| write_at(out, at))
    }

    /// Adds a string.
    pub fn str(self, key: &'static str, value: &str) -> Self {
        self.with(key, |out| write_string(out, value))
    }

    /// Adds an integer.
    pub fn int(self, key: &'static str, value: u64) -> Self {
        self.with(key, |out| write_integer(out, value))
    }

    /// Adds `true` or `false`.
    pub fn bool(self, key: &'static str, value: bool) -> Self {
        self.raw(key, if value { b"true" } else { b"false" })
    }

    /// Adds a value that is JSON already.
    pub fn raw(self, key: &'static str, json: &[u8]) -> Self {
        self.with(key, |out| out.extend_from_slice(json))
    }

    /// Adds the value that `write` appends to the buffer.
    pub fn with(self, key: &'static str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        write(self.out);
        self
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes a string with its quotes, escaping what must be escaped (RFC 8259, 7).
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(&special) = rest.get(run) else { break };
        write_escape(out, special);
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, special: u8) {
    match special {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', special]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        control => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 0xF)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control)]);
        }
    }
}

fn write_at(out: &mut Vec<u8>, at: At<'_>) {
    out.push(b'"');
    out.extend_from_slice(at.epoch.as_bytes());
    out.push(b':');
    write_integer(out, at.sequence);
    out.push(b'"');
}

/// Writes an integer in decimal, two digits at a time.
pub(crate) fn write_integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; INTEGER_DIGITS_MAX];
    let mut start = INTEGER_DIGITS_MAX;
    while value >= 100 {
        start -= 2;
        let pair = (value % 100) as usize * 2;
        value /= 100;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        start -= 2;
        let pair = value as usize * 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends the bytes as base64, in the standard alphabet and padded, without quotes.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("base64 is four bytes for each three begun");
}

/// "00" to "99", one behind the other.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[2 * number] = b'0' + (number / 10) as u8;
        pairs[2 * number + 1] = b'0' + (number % 10) as u8;
        number += 1;
    }
    pairs
};

/// The digits of 2^64 - 1.
const INTEGER_DIGITS_MAX: usize = 20;
