//! What a client hears: the server's bytes as what they mean, in each of the dialects.
//!
//! Written apart from the product's own decoders, so that the two do not share a mistake. Anything that is not exactly
//! what the protocol says is an error, which fails the run.

use flate2::{Decompress, FlushDecompress};
use serde_json::Value;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// JSON lines.
    Lines,
    /// The protocol over WebSocket.
    WebSocket,
    /// One channel over WebSocket.
    Raw,
    /// An event stream.
    Events,
    /// HTTP requests and answers.
    Http,
}

/// One thing that was heard.
#[derive(Debug)]
pub enum Heard {
    /// The upgrade was accepted, or the stream begun.
    Opened,
    /// An HTTP answer: its status and body.
    Response(u16, Vec<u8>),
    /// An object of the protocol.
    Object(Value),
    /// A message of a raw socket.
    Payload(Vec<u8>),
    /// A ping of the WebSocket.
    Ping(Vec<u8>),
    /// The close frame.
    Close(Option<u16>),
}

/// The decoder of one connection.
#[derive(Debug)]
pub struct Ear {
    dialect: Dialect,
    opened: bool,
    closed: bool,
    buffer: Vec<u8>,
    at: usize,
    inflater: Option<Inflater>,
}

/// What the server compresses, if that was agreed on.
#[derive(Debug)]
struct Inflater {
    inflate: Decompress,
    stands_alone: bool,
}

impl Ear {
    /// Makes a decoder that waits for the first byte.
    pub fn new(dialect: Dialect) -> Self {
        let opened = dialect == Dialect::Lines;
        Ear { dialect, opened, closed: false, buffer: Vec::new(), at: 0, inflater: None }
    }

    /// Where received bytes are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.at);
        self.at = 0;
        &mut self.buffer
    }

    /// Whether the stream stands between two things.
    pub fn is_between(&self) -> bool {
        self.at == self.buffer.len()
    }

    /// What was heard only in part, to be read by people.
    pub fn rest(&self) -> String {
        String::from_utf8_lossy(&self.buffer[self.at..]).into_owned()
    }

    /// The next thing, if it is whole.
    ///
    /// # Errors
    /// When the bytes are not what the protocol says.
    pub fn hear(&mut self) -> Result<Option<Heard>, String> {
        let rest = &self.buffer[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        if self.closed {
            return Err("something follows a close frame".into());
        }
        let found = match (self.opened, self.dialect) {
            (false, _) | (true, Dialect::Http) => {
                let found = self.hear_response(rest)?;
                if let Some((Some(Heard::Opened), length)) = &found {
                    self.inflater = Inflater::agreed(&rest[..*length]);
                }
                found
            }
            (true, Dialect::Lines) => hear_line(rest)?,
            (true, Dialect::Events) => hear_event(rest)?,
            (true, Dialect::WebSocket | Dialect::Raw) => hear_frame(rest, self.dialect, &mut self.inflater)?,
        };
        let Some((heard, length)) = found else { return Ok(None) };
        self.at += length;
        match heard {
            Some(heard) => {
                self.opened |= matches!(heard, Heard::Opened);
                self.closed |= matches!(heard, Heard::Close(_));
                Ok(Some(heard))
            }
            None => self.hear(),
        }
    }

    fn hear_response(&self, rest: &[u8]) -> Result<Option<(Option<Heard>, usize)>, String> {
        let Some(end) = find(rest, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&rest[..end]).map_err(|error| error.to_string())?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no HTTP answer: {head:?}"))?;
        let opens = match self.dialect {
            Dialect::WebSocket | Dialect::Raw => status == 101,
            Dialect::Events => status == 200,
            Dialect::Lines | Dialect::Http => false,
        };
        if opens {
            return Ok(Some((Some(Heard::Opened), end + 4)));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize =
            length.and_then(|length| length.parse().ok()).ok_or("an answer without length")?;
        let Some(body) = rest.get(end + 4..end + 4 + length) else { return Ok(None) };
        Ok(Some((Some(Heard::Response(status, body.to_vec())), end + 4 + length)))
    }
}

type Found = Result<Option<(Option<Heard>, usize)>, String>;

fn hear_line(rest: &[u8]) -> Found {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    Ok(Some((Some(object(&rest[..end])?), end + 1)))
}

/// Only what this server writes: one `data:` line, an `id:` before it or none, and comments.
fn hear_event(rest: &[u8]) -> Found {
    let Some(end) = find(rest, b"\n\n") else { return Ok(None) };
    let mut id = None;
    let mut data = None;
    for line in rest[..end].split(|byte| *byte == b'\n') {
        if let Some(text) = line.strip_prefix(b"id: ") {
            id = Some(text);
        } else if let Some(text) = line.strip_prefix(b"data: ") {
            data = Some(text);
        } else if line.first() != Some(&b':') {
            return Err(format!("no event: {:?}", String::from_utf8_lossy(&rest[..end])));
        }
    }
    let Some(data) = data else { return Ok(Some((None, end + 2))) };
    let heard = object(data)?;
    if let (Some(id), Heard::Object(object)) = (id, &heard)
        && object.get("ch").is_some()
        && object["at"].as_str().map(str::as_bytes) != Some(id)
    {
        return Err(format!("an event's id is not its position: {object}"));
    }
    Ok(Some((Some(heard), end + 2)))
}

impl Inflater {
    fn agreed(head: &[u8]) -> Option<Inflater> {
        let head = String::from_utf8_lossy(head);
        let agreed = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "))?;
        let stands_alone = agreed.contains("server_no_context_takeover");
        Some(Inflater { inflate: Decompress::new(false), stands_alone })
    }

    /// RFC 7692, 7.2.2.
    fn inflate(&mut self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let payload = [payload, &[0x00, 0x00, 0xff, 0xff]].concat();
        let mut message = Vec::with_capacity(1 << 20);
        let before = self.inflate.total_in();
        let result = self.inflate.decompress_vec(&payload, &mut message, FlushDecompress::Sync);
        if result.is_err() || self.inflate.total_in() - before != payload.len() as u64 {
            return Err(format!("a compressed frame of {} bytes cannot be inflated", payload.len()));
        }
        if self.stands_alone {
            self.inflate.reset(false);
        }
        Ok(message)
    }
}

/// RFC 6455, 5.2, as a server must send it: unmasked, and here never in fragments.
fn hear_frame(rest: &[u8], dialect: Dialect, inflater: &mut Option<Inflater>) -> Found {
    let [first, second, ..] = rest else { return Ok(None) };
    let (header, length) = match second {
        126 if rest.len() < 4 => return Ok(None),
        126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
        127.. => return Err(format!("a frame of unlikely length or with a mask: {second}")),
        short => (2, usize::from(*short)),
    };
    let Some(payload) = rest.get(header..header + length) else { return Ok(None) };
    let inflated;
    let (first, payload) = match inflater {
        Some(inflater) if first & 0x40 != 0 => {
            inflated = inflater.inflate(payload)?;
            (first & !0x40, &inflated[..])
        }
        _ => (*first, payload),
    };
    let heard = match (first, dialect) {
        (0x81, Dialect::WebSocket) => object(payload)?,
        (0x81 | 0x82, Dialect::Raw) => Heard::Payload(payload.to_vec()),
        (0x88, _) => Heard::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        (0x89, _) => Heard::Ping(payload.to_vec()),
        (0x8a, _) => return Ok(Some((None, header + length))),
        _ => return Err(format!("an unexpected frame: {first:#x}")),
    };
    Ok(Some((Some(heard), header + length)))
}

fn object(text: &[u8]) -> Result<Heard, String> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(Heard::Object(Value::Object(object))),
        _ => Err(format!("no object: {:?}", String::from_utf8_lossy(text))),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
