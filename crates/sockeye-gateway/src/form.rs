//! The forms in which a published message goes out, each encoded once and shared by all its readers.
//!
//! The hub keeps the encoded forms and knows nothing of what is in them; this file does. Deliberately absent: what is
//! made for one client only (answers, gaps, farewells), which is in `answer.rs`.

use sockeye_hub::{Encoding, Kind, Message};
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
    /// The bare payload as a WebSocket frame of its own kind.
    Raw,
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

impl Form {
    /// The hub's name for the encoding that holds this form.
    pub fn encoding(self) -> Encoding {
        match self {
            Form::Frame | Form::Line => ENVELOPE,
            Form::Raw => RAW,
            Form::Event => EVENT,
            Form::PatternEvent => PATTERN_EVENT,
        }
    }

    /// The bytes of `message` in this form.
    pub fn bytes(self, message: &Message) -> &[u8] {
        let encoded = message.encoded(self.encoding(), encode);
        match self {
            Form::Frame => &encoded[..encoded.len() - 1],
            Form::Line => &encoded[frame_header_bytes(encoded)..],
            Form::Raw | Form::Event | Form::PatternEvent => encoded,
        }
    }
}

/// The envelope of `message`, bare.
pub fn envelope(message: &Message) -> &[u8] {
    let line = Form::Line.bytes(message);
    &line[..line.len() - 1]
}

/// Encodes a message for the hub, which calls this at most once per message and encoding.
pub fn encode(encoding: Encoding, message: &Message) -> Box<[u8]> {
    let mut out = Vec::new();
    match encoding {
        RAW => {
            let opcode = if message.kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
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
            write_framed(&mut out, message.payload.len() + message.channel.len() + 96, |out| {
                write_envelope(out, message)
            });
            out.push(b'\n');
        }
    }
    out.into_boxed_slice()
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
    let data = match message.kind {
        Kind::Binary => Data::Binary(&message.payload),
        Kind::Json => Data::Json(&message.payload),
        Kind::String => Data::Text(text(&message.payload)),
        // Text that is a JSON object or array is shown as JSON, unless its publisher wrote it as a JSON string.
        Kind::Text if json::is_object_or_array(&message.payload) => {
            let one_line = json::without_line_breaks(&message.payload);
            return json::write_push(out, &push(message, position.epoch.as_str(), Data::Json(&one_line)));
        }
        Kind::Text => Data::Text(text(&message.payload)),
    };
    json::write_push(out, &push(message, position.epoch.as_str(), data));
}

fn push<'a>(message: &'a Message, epoch: &'a str, data: Data<'a>) -> Push<'a> {
    Push {
        channel: &message.channel,
        at: At { epoch, sequence: message.sequence },
        t: message.unix_ms,
        from: message.from.as_deref(),
        data,
    }
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("text payloads were checked as UTF-8 where they were received")
}

/// RFC 6455, 5.2: the length of a header without a mask, from its second byte.
fn frame_header_bytes(frame: &[u8]) -> usize {
    match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}
