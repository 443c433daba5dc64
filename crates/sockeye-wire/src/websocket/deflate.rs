//! Compression of messages: permessage-deflate (RFC 7692, 7.2), the payload's side of it.
//!
//! A message is compressed as one run of DEFLATE that ends with an empty stored block, of which the last four bytes,
//! always the same, are not sent. With *context takeover* the next message may refer to what the last ones said; without
//! it each message stands alone, and what compresses or inflates it can serve another connection in the meantime.
//!
//! Each thread keeps one compressor and a few inflaters for messages that stand alone. They are reset before each of
//! them, so nothing of one message can show in another: what is kept is memory, not state.
//!
//! Deliberately absent: the agreement between the two ends (`extension`), frames (`frame`, `message`), and a choice of
//! level: what is sent to a thousand readers is compressed once, and what is not should not cost more than its bytes.

use std::{cell::RefCell, fmt};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Error;

/// The window of messages that stand alone, in bits: 4 KiB. Clients that must save memory ask for as little, and others
/// take it, so that one compressed form serves them all; few messages gain by more.
pub const ALONE_WINDOW_BITS: u8 = 12;

/// RFC 7692, 7.2.1: what ends each message, and is not sent.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// RFC 1951: an empty last block. It can only be read where a block may begin.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// The farthest that anything can refer back (RFC 1951, 2).
const WINDOW_BYTES: usize = 32 << 10;

/// Inflaters that a thread keeps for messages that stand alone: one for the message in hand, and some for messages
/// that arrive in pieces.
const SPARES_MAX: usize = 4;

/// Inflated bytes are made room for in steps that begin here.
const ROOM_BYTES_MIN: usize = 512;

thread_local! {
    static ALONE: RefCell<Option<Compressor>> = const { RefCell::new(None) };
    static SPARES: RefCell<Vec<Inflater>> = const { RefCell::new(Vec::new()) };
}

/// Appends `payload` compressed as a message that stands alone, and returns whether it did: nothing is appended if it
/// would not become smaller. Its window is of [`ALONE_WINDOW_BITS`]; a reader with less can take it if `payload` is not
/// longer than his window, since nothing refers further back than the beginning.
pub fn compress_alone(payload: &[u8], out: &mut Vec<u8>) -> bool {
    ALONE.with_borrow_mut(|kept| {
        kept.get_or_insert_with(|| Compressor::new(ALONE_WINDOW_BITS, false)).compress(payload, out)
    })
}

/// Compresses the messages of one connection.
///
/// Memory: 240 KiB and four times the window, which makes 368 KiB at 15 bits.
pub struct Compressor {
    deflate: Compress,
    takeover: bool,
    /// It holds something that the next message must not refer to.
    used: bool,
}

impl Compressor {
    /// Begins with a window of so many bits, 9 to 15. With `takeover` messages refer to those before them.
    ///
    /// # Panics
    ///
    /// If the window is of another size. (DEFLATE also knows 8, which no zlib can write.)
    pub fn new(window_bits: u8, takeover: bool) -> Compressor {
        Compressor {
            deflate: Compress::new_with_window_bits(Compression::new(LEVEL), false, window_bits),
            takeover,
            used: false,
        }
    }

    /// Appends `payload` compressed, and returns whether it did. If it would not become smaller nothing is appended, and
    /// the next message refers to none before it: its reader has not seen this one inflated.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if self.used && !self.takeover {
            self.forget();
        }
        let start = out.len();
        // What fills this room is not smaller than the payload: one call tells.
        out.reserve(payload.len() + 2 * TAIL.len());
        let read_before = self.deflate.total_in();
        self.used = true;
        let result = self.deflate.compress_vec(payload, out, FlushCompress::Sync);

        let is_whole = matches!(result, Ok(Status::Ok))
            && self.deflate.total_in() - read_before == payload.len() as u64
            && out.len() < out.capacity()
            && out[start..].ends_with(&TAIL);
        // RFC 7692, 7.2.1: the tail is removed.
        let end = out.len() - if is_whole { TAIL.len() } else { 0 };
        let is_smaller = is_whole && end - start < payload.len();
        out.truncate(if is_smaller { end } else { start });
        if !is_smaller {
            self.forget();
        }
        is_smaller
    }

    fn forget(&mut self) {
        self.deflate.reset();
        self.used = false;
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Compressor").field("takeover", &self.takeover).finish_non_exhaustive()
    }
}

/// Inflates the messages of one connection, as their pieces arrive.
///
/// Memory: 48 KiB, whatever window was agreed, and with context takeover 32 KiB more. A peer that uses less is understood too.
pub(super) struct Inflater {
    inflate: Box<Decompress>,
    /// With takeover: what the next message may refer to.
    window: Vec<u8>,
    /// The last byte that was read ended a block that called itself the last one.
    ended: bool,
}

impl Inflater {
    fn new() -> Inflater {
        Inflater { inflate: Box::new(Decompress::new(false)), window: Vec::new(), ended: false }
    }

    /// One that has seen nothing.
    pub(super) fn take_spare() -> Inflater {
        SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(Inflater::new)
    }

    /// Gives one back, for any other message.
    pub(super) fn give_back(mut inflater: Inflater) {
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARES_MAX {
                inflater.inflate.reset(false);
                inflater.window = Vec::new();
                inflater.ended = false;
                spares.push(inflater);
            }
        });
    }

    /// Inflates a piece of a message to the end of `out`, which may become `bytes_max` long.
    pub(super) fn inflate(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), Error> {
        loop {
            let (read_before, made_before) = (self.inflate.total_in(), self.inflate.total_out());
            let is_full = out.len() >= bytes_max;
            let result = if is_full {
                // What follows may still make nothing: the end of a block, or of the message.
                self.inflate.decompress(input, &mut [0], FlushDecompress::Sync)
            } else {
                make_room(out, input.len(), bytes_max);
                self.inflate.decompress_vec(input, out, FlushDecompress::Sync)
            };
            let status = result.map_err(|_| Error::Compressed)?;
            let read = (self.inflate.total_in() - read_before) as usize;
            let made = self.inflate.total_out() - made_before;
            if (is_full && made > 0) || out.len() > bytes_max {
                return Err(Error::TooLarge { bytes: bytes_max as u64 + 1, bytes_max });
            }

            input = &input[read..];
            if read > 0 {
                self.ended = false;
            }
            if status == Status::StreamEnd {
                // RFC 7692, 7.2.3.4: a block may call itself the last one. What follows it begins anew.
                self.inflate.reset(false);
                self.ended = true;
            } else if read == 0 && made == 0 && !input.is_empty() {
                // There is room, and nothing can be made of what is there: it would stay so for ever.
                return Err(Error::Compressed);
            }
            let has_room = is_full || out.len() < out.capacity();
            if input.is_empty() && has_room {
                return Ok(());
            }
        }
    }

    /// Ends a message, all of which `out` is. It must have come to its end, which shows only by ending the stream as well. With
    /// `takeover` the next one may refer to it, so what it can refer to is given to the stream that begins then.
    pub(super) fn finish(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        takeover: bool,
    ) -> Result<(), Error> {
        if !self.ended {
            // RFC 7692, 7.2.2: the tail is put back.
            self.inflate(&TAIL, out, bytes_max)?;
            // Where no block may begin, data is missing; the empty block is then taken for it, or is none.
            let length = out.len();
            self.inflate(&LAST_BLOCK, out, bytes_max)?;
            if !self.ended || out.len() != length {
                return Err(Error::Compressed);
            }
        }
        if takeover {
            self.ended = false;
            self.remember(out);
            self.inflate.set_dictionary(&self.window).map_err(|_| Error::Compressed)?;
        }
        Ok(())
    }

    /// Adds a message to what the next one may refer to.
    fn remember(&mut self, message: &[u8]) {
        let newest = &message[message.len().saturating_sub(WINDOW_BYTES)..];
        let forgotten = (self.window.len() + newest.len()).saturating_sub(WINDOW_BYTES);
        self.window.drain(..forgotten);
        self.window.extend_from_slice(newest);
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Makes room for what `input_bytes` may become: doubled as it is used up, never beyond `bytes_max`.
fn make_room(out: &mut Vec<u8>, input_bytes: usize, bytes_max: usize) {
    if out.len() == out.capacity() {
        let wanted = (2 * out.capacity()).max(out.len() + (2 * input_bytes).max(ROOM_BYTES_MIN));
        out.reserve_exact(wanted.min(bytes_max) - out.len());
    }
}

/// zlib's scale from 1 to 9. On prices of 400 bytes in JSON 6 saves as much as 9.
const LEVEL: u32 = 6;
