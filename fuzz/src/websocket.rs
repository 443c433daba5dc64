//! WebSocket frames: the same events and the same error however the stream is cut, and a message written is read, with
//! compression and without.

use sockeye_wire::websocket::{
    Compressor, Decoder, DeflateOffer, DeflateTerms, Error, Event, MessageKind, Opcode, Role, compress_alone,
    write_compressed_frame, write_frame, write_masked_compressed_frame, write_masked_frame,
};

use super::Stream;

/// Decodes what a client sends.
pub fn websocket_server(data: &[u8]) {
    check(Role::Server, data);
}

/// Decodes what a server sends.
pub fn websocket_client(data: &[u8]) {
    check(Role::Client, data);
}

/// Compressed messages of a client: as bytes that nobody compressed, and as what our own compressor makes of them. After the
/// two bytes of the cuts comes one of choices, then each message behind a byte that is its length.
pub fn deflate(data: &[u8]) {
    let Some((stream, (&choices, mut rest))) =
        Stream::new(data).and_then(|stream| Some((stream.seed, stream.bytes.split_first()?)))
    else {
        return;
    };
    let takeover = if choices & 1 == 0 { Takeover::Never } else { Takeover::Both };
    let fragments = choices & 2 != 0;
    let mut compressor = Compressor::new(9 + (choices >> 2) % 7, takeover == Takeover::Both);
    let (mut foreign, mut own, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((&length, behind)) = rest.split_first() {
        let (message, behind) = behind.split_at(behind.len().min(usize::from(length)));
        rest = behind;
        write_as_compressed(&mut foreign, message, fragments);
        let message = &message[..message.len().min(MESSAGE_BYTES_MAX)];
        let mut compressed = Vec::new();
        if compressor.compress(message, &mut compressed) {
            write_as_compressed(&mut own, &compressed, fragments);
        } else {
            write_masked_frame(&mut own, Opcode::Binary, message, MASK);
        }
        messages.push(message.to_vec());
    }
    let decode_both = |bytes: &[u8]| {
        let stream = Stream { seed: stream, bytes };
        let session = decode(Role::Server, Some(takeover), &stream.whole());
        assert_eq!(session, decode(Role::Server, Some(takeover), &stream.cut()));
        session
    };

    let session = decode_both(&foreign);
    assert!(session.heard.iter().all(|heard| heard.bytes.len() <= MESSAGE_BYTES_MAX));
    assert!(session.error.is_some() || session.heard.len() == messages.len());

    let session = decode_both(&own);
    assert_eq!(session.error, None);
    assert!(session.heard.iter().map(|heard| &heard.bytes).eq(&messages));
}

/// Appends a payload as one message that says it is compressed, in one frame or two.
fn write_as_compressed(out: &mut Vec<u8>, payload: &[u8], fragments: bool) {
    const FINAL: u8 = 0x80;
    const COMPRESSED: u8 = 0x40;
    let start = out.len();
    let first = if fragments { &payload[..payload.len() / 2] } else { payload };
    write_masked_frame(out, Opcode::Binary, first, MASK);
    out[start] |= COMPRESSED;
    if fragments {
        out[start] &= !FINAL;
        write_masked_frame(out, Opcode::Continuation, &payload[payload.len() / 2..], MASK);
    }
}

const MASK: [u8; 4] = [0x5a, 0xc3, 0x01, 0xfe];

fn check(role: Role, data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    for inflates in [None, Some(Takeover::Never), Some(Takeover::Both)] {
        let session = decode(role, inflates, &stream.whole());

        assert_eq!(session, decode(role, inflates, &stream.cut()));
        for heard in &session.heard {
            assert!(heard.bytes.len() <= MESSAGE_BYTES_MAX);
            for frame in encode(role, inflates.is_some(), heard, stream.seed) {
                let again = decode(role, inflates, &[&frame]);
                assert_eq!((&again.heard[..], again.error), (std::slice::from_ref(heard), None));
            }
        }
    }
}

/// Whether compressed messages refer to those before them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Takeover {
    Never,
    Both,
}

/// An event with its bytes.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    what: What,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Message(MessageKind),
    Ping,
    Pong,
    Close(Option<u16>),
}

/// All that was heard, and how it ended.
#[derive(Debug, PartialEq)]
struct Session {
    heard: Vec<Heard>,
    error: Option<Error>,
}

fn decode(role: Role, inflates: Option<Takeover>, pieces: &[&[u8]]) -> Session {
    let mut decoder = Decoder::new(role, MESSAGE_BYTES_MAX);
    if let Some(takeover) = inflates {
        let terms = DeflateTerms { takeover: takeover == Takeover::Both, window_bits_max: 15 };
        let agreed = DeflateOffer::accept(&[DeflateOffer::default()], terms).expect("there is an offer");
        decoder = decoder.inflate(&agreed);
    }
    let mut heard = Vec::new();
    for piece in pieces {
        // Payloads are unmasked in place, so each run gets its own copy.
        let mut input = piece.to_vec();
        let mut at = 0;
        loop {
            let (what, payload) = match decoder.decode(&mut input, &mut at) {
                Ok(Some(Event::Message { kind, payload })) => (What::Message(kind), payload),
                Ok(Some(Event::Ping(payload))) => (What::Ping, payload),
                Ok(Some(Event::Pong(payload))) => (What::Pong, payload),
                Ok(Some(Event::Close { code, payload })) => (What::Close(code), payload),
                Ok(None) => break,
                Err(error) => return Session { heard, error: Some(error) },
            };
            heard.push(Heard { what, bytes: decoder.bytes(&input, &payload).to_vec() });
        }
        assert_eq!(at, input.len());
    }
    Session { heard, error: None }
}

/// The event as one frame, as the other side would send it: plain, and compressed if it can be.
fn encode(role: Role, compresses: bool, heard: &Heard, seed: u16) -> Vec<Vec<u8>> {
    let mut payload = heard.bytes.clone();
    let opcode = match heard.what {
        What::Message(MessageKind::Text) => Opcode::Text,
        What::Message(MessageKind::Binary) => Opcode::Binary,
        What::Ping => Opcode::Ping,
        What::Pong => Opcode::Pong,
        What::Close(code) => {
            if let Some(code) = code {
                payload.splice(..0, code.to_be_bytes());
            }
            Opcode::Close
        }
    };
    let [low, high] = seed.to_le_bytes();
    let mask = [low, high, !low, 0];
    let (mut plain, mut compressed) = (Vec::new(), Vec::new());
    let compress = |out: &mut Vec<u8>| compresses && !opcode.is_control() && compress_alone(&payload, out);
    let is_compressed = match role {
        Role::Client => {
            write_frame(&mut plain, opcode, &payload);
            write_compressed_frame(&mut compressed, opcode, payload.len(), compress)
        }
        Role::Server => {
            write_masked_frame(&mut plain, opcode, &payload, mask);
            write_masked_compressed_frame(&mut compressed, opcode, payload.len(), mask, compress)
        }
    };
    if is_compressed { vec![plain, compressed] } else { vec![plain] }
}

/// Small, so that short inputs reach it, and above 125, so that two sizes of length fields are below it.
const MESSAGE_BYTES_MAX: usize = 200;
