//! One frame (RFC 6455, 5.2): its header read and written, and the payload of a close frame.
//!
//! ```text
//!  byte 0          byte 1            then                          then            then
//!  FIN RSV1-3 op4  MASK length7      16 bits if 126, 64 if 127     4 bytes of key  payload
//! ```
//!
//! Deliberately absent: fragments on the way out (a message leaves as one frame) and anything that spans frames, which
//! is `message`.

use super::{Error, Role, mask::unmask};

/// The longest header: two bytes, a 64-bit length, a masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// RFC 6455, 5.5: control frames have at most 125 bytes of payload.
const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
/// RFC 7692, 6: RSV1 on its first frame says that a message is compressed.
const COMPRESSED: u8 = 0x40;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message that was begun.
    Continuation = 0x0,
    /// Text, or its first fragment.
    Text = 0x1,
    /// Bytes, or their first fragment.
    Binary = 0x2,
    /// The last frame of its sender.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Opcode, Error> {
        Ok(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            // RFC 6455, 5.2: on an unknown opcode the receiving endpoint must fail the connection.
            _ => return Err(Error::ReservedOpcode(bits)),
        })
    }

    /// Tells close, ping and pong from the frames that carry messages.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// A header that was read and obeys every rule that a single frame can break.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The first frame of a compressed message.
    pub(super) compressed: bool,
    /// All zero where frames are not masked.
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u64,
}

impl Head {
    /// Reads the header at the beginning of `bytes` and tells how long it is. `Ok(None)`: it is not all there, and what
    /// is there breaks no rule. `inflates`: compression was agreed on.
    pub(super) fn parse(bytes: &[u8], role: Role, inflates: bool) -> Result<Option<(Head, usize)>, Error> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        // RFC 6455, 5.2: reserved bits must be 0 unless an extension gives them a meaning.
        let compressed = inflates && first & RESERVED_BITS == COMPRESSED;
        if first & RESERVED_BITS != 0 && !compressed {
            return Err(Error::ReservedBits);
        }
        let fin = first & FIN != 0;
        let opcode = Opcode::from_bits(first & 0x0f)?;
        // RFC 7692, 6.1: only the first frame of a message has it, and no control frame.
        if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Error::ReservedBits);
        }
        if opcode.is_control() && !fin {
            // RFC 6455, 5.5: control frames must not be fragmented.
            return Err(Error::ControlFragmented);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        // RFC 6455, 5.1: a client masks every frame, a server none.
        match (role, second & MASKED != 0) {
            (Role::Server, false) => return Err(Error::Unmasked),
            (Role::Client, true) => return Err(Error::Masked),
            _ => {}
        }
        let length = second & !MASKED;
        if opcode.is_control() && usize::from(length) > CONTROL_BYTES_MAX {
            return Err(Error::ControlTooLong);
        }

        let (payload_bytes, length_end) = match length {
            126 => match bytes[2..].first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match bytes[2..].first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            _ => (u64::from(length), 2),
        };
        // RFC 6455, 5.2: the most significant bit of a 64-bit length must be 0.
        if payload_bytes >> 63 != 0 {
            return Err(Error::LengthTopBit);
        }

        let (mask, header_bytes) = match role {
            Role::Client => ([0; 4], length_end),
            Role::Server => match bytes[length_end..].first_chunk() {
                Some(mask) => (*mask, length_end + 4),
                None => return Ok(None),
            },
        };
        Ok(Some((Head { fin, opcode, compressed, mask, payload_bytes }, header_bytes)))
    }
}

/// The header of an unmasked, unfragmented frame, kept in place: what a fan-out puts before shared payload bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameHeader {
    bytes: [u8; 10],
    len: u8,
}

impl FrameHeader {
    /// The same for a payload that is compressed (RFC 7692, 6.1).
    #[must_use]
    pub fn compressed(mut self) -> FrameHeader {
        self.bytes[0] |= COMPRESSED;
        self
    }

    /// Gives the 2, 4 or 10 bytes that go on the wire.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Makes the header of a server's unfragmented frame with `payload_bytes` bytes of payload.
#[inline]
pub fn frame_header(opcode: Opcode, payload_bytes: usize) -> FrameHeader {
    debug_assert!(!opcode.is_control() || payload_bytes <= CONTROL_BYTES_MAX, "RFC 6455, 5.5");
    let mut bytes = [0; 10];
    bytes[0] = FIN | opcode as u8;
    // RFC 6455, 5.2: the minimal number of bytes must be used to encode the length.
    let len = if payload_bytes < 126 {
        bytes[1] = payload_bytes as u8;
        2
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        4
    } else {
        bytes[1] = 127;
        bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        10
    };
    FrameHeader { bytes, len }
}

/// Appends a server's frame: unmasked, unfragmented.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    if payload.len() < 126 {
        // Most frames are small: two bytes of known number need no copy of unknown length.
        out.reserve(2 + payload.len());
        out.extend_from_slice(&[FIN | opcode as u8, payload.len() as u8]);
    } else {
        let header = frame_header(opcode, payload.len());
        out.reserve(header.as_slice().len() + payload.len());
        out.extend_from_slice(header.as_slice());
    }
    out.extend_from_slice(payload);
}

/// Appends a server's message as a compressed frame: `compress` appends its payload, of at most `payload_bytes_max`
/// bytes, or nothing and returns false. Returns whether there is a frame.
pub fn write_compressed_frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    payload_bytes_max: usize,
    compress: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    let start = out.len();
    let room = frame_header(opcode, payload_bytes_max).as_slice().len();
    out.resize(start + room, 0);
    if !compress(out) {
        out.truncate(start);
        return false;
    }
    let header = frame_header(opcode, out.len() - start - room).compressed();
    let header = header.as_slice();
    // What became smaller may need a smaller header.
    out.drain(start..start + room - header.len());
    out[start..start + header.len()].copy_from_slice(header);
    true
}

/// Tells whether a frame is the first of a compressed message.
#[inline]
pub fn is_compressed(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & COMPRESSED != 0)
}

/// Appends a client's message as a compressed frame, masked with `mask`; see [`write_compressed_frame`].
pub fn write_masked_compressed_frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    payload_bytes_max: usize,
    mask: [u8; 4],
    compress: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    let mut payload = Vec::new();
    if payload_bytes_max == 0 || !compress(&mut payload) {
        return false;
    }
    let start = out.len();
    write_masked_frame(out, opcode, &payload, mask);
    out[start] |= COMPRESSED;
    true
}

/// Appends a client's frame: masked with `mask`, which must be unpredictable (RFC 6455, 5.3), and unfragmented.
pub fn write_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    let mut header = frame_header(opcode, payload.len());
    header.bytes[1] |= MASKED;
    out.reserve(HEADER_BYTES_MAX + payload.len());
    out.extend_from_slice(header.as_slice());
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask, 0);
}

/// Appends a server's close frame. The reason is cut at 123 bytes, on a character's boundary; without a code there is none.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let (payload, len) = close_payload(code, reason);
    write_frame(out, Opcode::Close, &payload[..len]);
}

/// Appends a client's close frame: [`write_close`], masked.
pub fn write_masked_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str, mask: [u8; 4]) {
    let (payload, len) = close_payload(code, reason);
    write_masked_frame(out, Opcode::Close, &payload[..len], mask);
}

fn close_payload(code: Option<u16>, reason: &str) -> ([u8; CONTROL_BYTES_MAX], usize) {
    let mut payload = [0; CONTROL_BYTES_MAX];
    // RFC 6455, 5.5.1: a reason may only follow a code.
    let Some(code) = code else { return (payload, 0) };
    debug_assert!(is_close_code(code), "close code {code} must not be sent");
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason);
    (payload, 2 + reason.len())
}

/// Tells whether a code may appear in a close frame (RFC 6455, 7.4, and IANA's registry).
///
/// 1004 is undefined; 1005, 1006 and 1015 are for programming interfaces only; 1016 to 2999 belong to the protocol and
/// are not given out; 3000 to 4999 are free for libraries and applications.
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads a close frame's payload: the code; the reason is what follows its two bytes.
pub(super) fn parse_close(payload: &[u8]) -> Result<Option<u16>, Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        // RFC 6455, 5.5.1: if there is a body, its first two bytes must be a code.
        return if payload.is_empty() { Ok(None) } else { Err(Error::CloseTooShort) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_close_code(code) {
        return Err(Error::CloseCode(code));
    }
    // RFC 6455, 5.5.1 and 8.1: the reason is UTF-8.
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Error::Utf8),
    }
}
