//! WebSocket frames: the same events and the same error however the stream is cut, and a message written is read.

use sockeye_wire::websocket::{
    Decoder, Error, Event, MessageKind, Opcode, Role, write_frame, write_masked_frame,
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

fn check(role: Role, data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    let session = decode(role, &stream.whole());

    assert_eq!(session, decode(role, &stream.cut()));
    for heard in &session.heard {
        assert!(heard.bytes.len() <= MESSAGE_BYTES_MAX);
        let again = decode(role, &[&encode(role, heard, stream.seed)]);
        assert_eq!((&again.heard[..], again.error), (std::slice::from_ref(heard), None));
    }
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

fn decode(role: Role, pieces: &[&[u8]]) -> Session {
    let mut decoder = Decoder::new(role, MESSAGE_BYTES_MAX);
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

/// The event as one frame, as the other side would send it.
fn encode(role: Role, heard: &Heard, seed: u16) -> Vec<u8> {
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
    let mut frame = Vec::new();
    match role {
        Role::Client => write_frame(&mut frame, opcode, &payload),
        Role::Server => {
            let [low, high] = seed.to_le_bytes();
            write_masked_frame(&mut frame, opcode, &payload, [low, high, !low, 0]);
        }
    }
    frame
}

/// Small, so that short inputs reach it, and above 125, so that two sizes of length fields are below it.
const MESSAGE_BYTES_MAX: usize = 200;
