//! The forms in which a published message goes out, each encoded once and shared by all its readers.
//!
//! The hub keeps the encoded forms and knows nothing of what is in them; this file does. Deliberately absent: what is
//! made for one client only (answers, gaps, farewells), which is in `answer.rs`.

use std::borrow::Cow;

use sockeye_hub::{Encoded, Encoder, Encoding, Kind, Message};
use sockeye_wire::http;
use sockeye_wire::json::{self, At, Data, Push};
use sockeye_wire::websocket::{self, Opcode};

/// How one connection takes its messages: which shared form, and which part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The envelope as a WebSocket text frame.
    Frame,
    /// The envelope as a line.
    Line,
    /// The envelope as a datagram of its own.
    Datagram,
    /// The bare payload as a WebSocket frame of its own kind.
    Raw,
    /// As [`Form::Frame`], compressed if it becomes smaller, once for everybody who can take it so.
    DeflatedFrame,
    /// As [`Form::Raw`], compressed likewise.
    DeflatedRaw,
    /// As [`Form::Frame`], to be compressed for one connection alone as it is written.
    OwnFrame,
    /// As [`Form::Raw`], to be compressed likewise.
    OwnRaw,
    /// The envelope as an event with its position as id.
    Event,
    /// The envelope as an event without an id: one heard through a pattern.
    PatternEvent,
}

/// The frame and the line of an envelope in one piece: frame header, envelope, newline.
const ENVELOPE: Encoding = Encoding(0);
const RAW: Encoding = Encoding(1);
const EVENT: Encoding = Encoding(2);
const PATTERN_EVENT: Encoding = Encoding(3);
const DEFLATED_ENVELOPE: Encoding = Encoding(4);
const DEFLATED_RAW: Encoding = Encoding(5);

impl Form {
    /// The hub's name for the encoding that holds this form.
    pub fn encoding(self) -> Encoding {
        match self {
            Form::Frame | Form::Line | Form::Datagram | Form::OwnFrame => ENVELOPE,
            Form::DeflatedFrame => DEFLATED_ENVELOPE,
            Form::DeflatedRaw => DEFLATED_RAW,
            Form::Raw | Form::OwnRaw => RAW,
            Form::Event => EVENT,
            Form::PatternEvent => PATTERN_EVENT,
        }
    }

    /// The bytes of `message` in this form.
    pub fn bytes(self, message: &Message) -> &[u8] {
        // The hub has asked for every form that is written, to know its length; the setting is for who has no hub.
        let encoded = message.encoded(self.encoding(), encoder(0));
        match self {
            // What does not become smaller stands for the plain frame, and the line that is behind it.
            Form::DeflatedFrame if websocket::is_compressed(encoded) => encoded,
            Form::Frame | Form::DeflatedFrame | Form::OwnFrame => &encoded[..encoded.len() - 1],
            Form::Line => &encoded[frame_header_bytes(encoded)..],
            Form::Datagram => &encoded[frame_header_bytes(encoded)..encoded.len() - 1],
            Form::Raw | Form::DeflatedRaw | Form::OwnRaw | Form::Event | Form::PatternEvent => encoded,
        }
    }

    /// Whether each message is compressed for the connection as it is written.
    #[inline]
    pub fn is_own(self) -> bool {
        matches!(self, Form::OwnFrame | Form::OwnRaw)
    }
}

/// The envelope of `message`, bare.
pub fn envelope(message: &Message) -> &[u8] {
    Form::Datagram.bytes(message)
}

/// What encodes messages for a hub. Forms of less than `deflate_bytes_min` bytes are not compressed.
pub const fn encoder(deflate_bytes_min: usize) -> Encoder {
    Encoder::new(encode, deflate_bytes_min)
}

/// Encodes a message; called at most once per message and encoding.
fn encode(encoding: Encoding, message: &Message, deflate_bytes_min: usize) -> Encoded {
    let mut out = Vec::new();
    match encoding {
        DEFLATED_ENVELOPE => {
            let made = message.encoded_if_present(ENVELOPE).is_none().then(|| {
                let mut envelope = Vec::with_capacity(message.payload.len() + 128);
                write_envelope(&mut envelope, message);
                envelope
            });
            let envelope = made.as_deref().unwrap_or_else(|| self::envelope(message));
            return deflated(Opcode::Text, envelope, ENVELOPE, deflate_bytes_min);
        }
        DEFLATED_RAW => return deflated(opcode_of(message), &message.payload, RAW, deflate_bytes_min),
        RAW => {
            let opcode = opcode_of(message);
            out.reserve_exact(
                websocket::frame_header(opcode, message.payload.len()).as_slice().len()
                    + message.payload.len(),
            );
            websocket::write_frame(&mut out, opcode, &message.payload);
        }
        EVENT | PATTERN_EVENT => {
            let mut envelope = Vec::with_capacity(message.payload.len() + 128);
            write_envelope(&mut envelope, message);
            let id = (encoding == EVENT).then(|| message.position().to_string());
            out.reserve(envelope.len() + 48);
            http::write_event(&mut out, id.as_deref(), &envelope);
        }
        _ => {
            let shown = Shown::of(message);
            let position = message.position();
            let push = shown.push(message, position.epoch.as_str());
            let bytes = json::push_bytes(&push);
            // As long as it will be, unless something in it needs an escape: then nothing is moved or given back.
            out.reserve_exact(websocket::frame_header(Opcode::Text, bytes).as_slice().len() + bytes + 1);
            write_framed(&mut out, bytes, |out| json::write_push(out, &push));
            out.push(b'\n');
        }
    }
    Encoded::Own(out.into_boxed_slice())
}

/// A compressed frame, or the plain form if that is not smaller.
fn deflated(opcode: Opcode, payload: &[u8], plain: Encoding, bytes_min: usize) -> Encoded {
    let mut out = Vec::new();
    let is_smaller = payload.len() >= bytes_min
        && websocket::write_compressed_frame(&mut out, opcode, payload.len(), |out| {
            websocket::compress_alone(payload, out)
        });
    if is_smaller { Encoded::Own(out.into_boxed_slice()) } else { Encoded::As(plain) }
}

/// What a payload is sent as, without an envelope.
pub(crate) fn opcode_of(message: &Message) -> Opcode {
    if message.kind == Kind::Binary { Opcode::Binary } else { Opcode::Text }
}

/// Appends what `write` appends, as one WebSocket text frame. `guess` is about how many bytes that will be.
pub(crate) fn write_framed(out: &mut Vec<u8>, guess: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let room = websocket::frame_header(Opcode::Text, guess).as_slice().len();
    out.reserve(room + guess);
    out.resize(start + room, 0);
    write(out);

    let header = websocket::frame_header(Opcode::Text, out.len() - start - room);
    let header = header.as_slice();
    if header.len() == room {
        out[start..start + room].copy_from_slice(header);
    } else {
        out.splice(start..start + room, header.iter().copied());
    }
}

/// Appends the envelope of PROTOCOL.md.
fn write_envelope(out: &mut Vec<u8>, message: &Message) {
    let position = message.position();
    json::write_push(out, &Shown::of(message).push(message, position.epoch.as_str()));
}

/// A payload as the envelope shows it.
enum Shown<'a> {
    Text(&'a str),
    Json(Cow<'a, [u8]>),
    Binary(&'a [u8]),
}

impl<'a> Shown<'a> {
    fn of(message: &'a Message) -> Self {
        match message.kind {
            Kind::Binary => Shown::Binary(&message.payload),
            Kind::Json => Shown::Json(Cow::Borrowed(&message.payload)),
            // Text that is a JSON object or array is shown as JSON, unless its publisher wrote it as a JSON string.
            Kind::Text if json::is_object_or_array(&message.payload) => {
                Shown::Json(json::without_line_breaks(&message.payload))
            }
            Kind::Text | Kind::String => Shown::Text(text(&message.payload)),
        }
    }

    fn push<'p>(&'p self, message: &'p Message, epoch: &'p str) -> Push<'p> {
        let data = match self {
            Shown::Text(text) => Data::Text(text),
            Shown::Json(json) => Data::Json(json),
            Shown::Binary(bytes) => Data::Binary(bytes),
        };
        let at = At { epoch, sequence: message.sequence };
        Push { channel: &message.channel, at, t: message.unix_ms, from: message.from.as_deref(), data }
    }
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("text payloads were checked as UTF-8 where they were received")
}

/// RFC 6455, 5.2: the length of a header without a mask, from its second byte.
pub(crate) fn frame_header_bytes(frame: &[u8]) -> usize {
    match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}
