//! Bodies: the data between a head and the next request, and chunks for answers (RFC 9112, 6 and 7).
//!
//! Data is lent from the input; only the framing is looked at byte by byte. Chunk extensions and trailers are bounded
//! and ignored; other transfer codings are absent.

use super::request::Body;
use super::{HttpError, response};

/// Takes a body out of a stream, however it is cut.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// How much more data is allowed.
    bytes_left: u64,
    /// How much more framing (extensions and trailers) is allowed in this body.
    ignored_left: usize,
}

/// What the next byte is.
///
/// ```text
/// Size --';'--> Extension --CR--+
///   |                           v
///   +---------CR-----------> SizeEnd --LF--> Chunk --> ChunkCr --CR--> ChunkLf --LF--> Size
///                               |
///                               +--LF, size 0--> Trailer --CR at the start--> LastLf --LF--> Done
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Data of a known length.
    Length(u64),
    /// The hexadecimal size of a chunk; `digits` of it were read.
    Size { size: u64, digits: u8 },
    /// A chunk extension.
    Extension { size: u64 },
    /// The LF behind a size.
    SizeEnd { size: u64 },
    /// Data of a chunk.
    Chunk(u64),
    /// The CR behind the data.
    ChunkCr,
    /// The LF behind the data.
    ChunkLf,
    /// A trailer line; an empty one is the end.
    Trailer { empty: bool },
    /// The LF of a trailer line.
    TrailerLf,
    /// The LF of the empty line that ends the body.
    LastLf,
    /// The body has ended; what follows belongs to the next request.
    Done,
    /// The body was refused, and still is.
    Failed(HttpError),
}

impl BodyDecoder {
    /// Creates a decoder for a body of at most `bytes_max` bytes of data.
    ///
    /// A declared length over that is refused by the first call of [`BodyDecoder::decode`], which needs no input: so
    /// a client that waits for `100 Continue` can be refused before it sends anything.
    #[must_use]
    pub fn new(body: Body, bytes_max: u64) -> Self {
        let state = match body {
            Body::None | Body::Length(0) => State::Done,
            Body::Length(length) if length > bytes_max => State::Failed(too_large()),
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::Size { size: 0, digits: 0 },
        };
        Self { state, bytes_left: bytes_max, ignored_left: IGNORED_BYTES_MAX }
    }

    /// Gives the next piece of data in `input[*at..]` and moves `at` past it.
    ///
    /// `Ok(None)`: all of `input` was taken, or the body has ended ([`BodyDecoder::is_done`]), in which case `at` is
    /// where the next request begins.
    ///
    /// # Errors
    ///
    /// 413 for a body over the maximum, 400 for framing that is malformed or too long. An error stays.
    pub fn decode<'a>(&mut self, input: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, HttpError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Failed(error) => return Err(error.clone()),
                State::Length(left) | State::Chunk(left) => {
                    let rest = input.get(*at..).unwrap_or_default();
                    if rest.is_empty() {
                        return Ok(None);
                    }
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *at += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = match self.state {
                            State::Chunk(_) => State::ChunkCr,
                            _ => State::Done,
                        };
                    }
                    return Ok(Some(&rest[..taken]));
                }
                _ => {
                    let Some(&byte) = input.get(*at) else { return Ok(None) };
                    *at += 1;
                    self.state = self.frame(byte).unwrap_or_else(State::Failed);
                }
            }
        }
    }

    /// Whether the body has ended, trailers included.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The state behind one byte of framing.
    fn frame(&mut self, byte: u8) -> Result<State, HttpError> {
        let next = match self.state {
            State::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                // RFC 9112, 7.1: 1*HEXDIG, and overflow must be prevented: 15 digits are below 2^60.
                (Some(_), _) if digits == SIZE_DIGITS_MAX => {
                    return Err(HttpError::new(400, "a chunk size is too long"));
                }
                (Some(digit), _) => State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 },
                (None, b';') if digits > 0 => State::Extension { size },
                (None, b'\r') if digits > 0 => State::SizeEnd { size },
                _ => return Err(HttpError::new(400, "a chunk size is not a hexadecimal number")),
            },
            State::Extension { size } => match byte {
                b'\r' => State::SizeEnd { size },
                _ => {
                    self.ignore(byte)?;
                    State::Extension { size }
                }
            },
            State::SizeEnd { size } => {
                line_feed(byte)?;
                // Checked by subtraction from what is left, so that no sum can overflow.
                self.bytes_left = self.bytes_left.checked_sub(size).ok_or_else(too_large)?;
                if size == 0 { State::Trailer { empty: true } } else { State::Chunk(size) }
            }
            State::ChunkCr if byte == b'\r' => State::ChunkLf,
            State::ChunkCr => return Err(HttpError::new(400, "a chunk is longer than its size")),
            State::ChunkLf => {
                line_feed(byte)?;
                State::Size { size: 0, digits: 0 }
            }
            State::Trailer { empty } => match byte {
                b'\r' if empty => State::LastLf,
                b'\r' => State::TrailerLf,
                _ => {
                    self.ignore(byte)?;
                    State::Trailer { empty: false }
                }
            },
            State::TrailerLf => {
                line_feed(byte)?;
                State::Trailer { empty: true }
            }
            State::LastLf => {
                line_feed(byte)?;
                State::Done
            }
            State::Length(_) | State::Chunk(_) | State::Done | State::Failed(_) => {
                unreachable!("these states hold no framing and are handled before")
            }
        };
        Ok(next)
    }

    /// Passes over one byte of an extension or a trailer.
    fn ignore(&mut self, byte: u8) -> Result<(), HttpError> {
        if byte.is_ascii_control() && byte != b'\t' {
            return Err(HttpError::new(400, "a control character in a chunk extension or a trailer"));
        }
        self.ignored_left = self
            .ignored_left
            .checked_sub(1)
            .ok_or_else(|| HttpError::new(400, "chunk extensions and trailers are too long"))?;
        Ok(())
    }
}

/// Appends one chunk. Empty data writes nothing, because an empty chunk would end the body.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    response::write_hexadecimal(out, data.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body.
pub fn write_last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// RFC 9112, 7.1: a CR in the framing is followed by LF.
fn line_feed(byte: u8) -> Result<(), HttpError> {
    if byte == b'\n' { Ok(()) } else { Err(HttpError::new(400, "a CR without LF in the framing of a chunk")) }
}

#[cold]
fn too_large() -> HttpError {
    HttpError::new(413, "the body is too large")
}

const SIZE_DIGITS_MAX: u8 = 15;

/// Extensions and trailers of one body together. Being counted per body, they cannot be repeated with each tiny chunk.
const IGNORED_BYTES_MAX: usize = 8 * 1024;
