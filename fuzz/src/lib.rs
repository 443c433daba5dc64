//! What each fuzz target asserts, as plain functions of bytes.
//!
//! libFuzzer calls them from `fuzz_targets`; the tests of xtask include this file and replay every committed corpus,
//! so that a machine without a fuzzer knows all inputs that ever mattered. Each body claims more than "does not panic":
//! a stream gives the same values however it is cut, and what is decoded is encoded and decoded to itself.
//!
//! Deliberately absent: structured inputs. The bytes of a corpus file are what a socket delivers, behind two bytes that
//! say how the stream is cut, so that a file can be written and read by hand.

mod answer;
mod connection;
mod datagram;
mod events;
mod http;
mod json;
mod lines;
mod messages;
mod names;
mod pages;
mod proxy;
mod response;
mod websocket;

pub use self::answer::http_answer;
pub use self::connection::connection;
pub use self::datagram::datagram;
pub use self::events::event_stream;
pub use self::http::{http_body, http_head};
pub use self::json::json_request;
pub use self::lines::line;
pub use self::messages::message_frame;
pub use self::names::name_pattern;
pub use self::proxy::proxy;
pub use self::response::websocket_response;
pub use self::websocket::{deflate, websocket_client, websocket_server};

/// A stream and the pieces in which a socket might deliver it.
struct Stream<'a> {
    seed: u16,
    bytes: &'a [u8],
}

impl<'a> Stream<'a> {
    /// The first two bytes choose the cuts, the rest is the stream.
    fn new(data: &'a [u8]) -> Option<Self> {
        let (seed, bytes) = data.split_first_chunk()?;
        Some(Self { seed: u16::from_le_bytes(*seed), bytes })
    }

    fn whole(&self) -> Vec<&'a [u8]> {
        vec![self.bytes]
    }

    /// Pieces of 0 to 7 bytes, longer ones for odd seeds, or for every second of these the two sides of one cut.
    fn cut(&self) -> Vec<&'a [u8]> {
        if self.seed % 4 == 3 {
            let (piece, behind) = self.bytes.split_at(usize::from(self.seed >> 2) % (self.bytes.len() + 1));
            return vec![piece, behind];
        }
        let longest = if self.seed.is_multiple_of(2) { 8 } else { 200 };
        let mut state = u32::from(self.seed);
        let mut rest = self.bytes;
        // What an empty stream says is said to an empty piece.
        let mut pieces = vec![&rest[..0]];
        while !rest.is_empty() {
            // Numerical Recipes' generator; its upper bits are the better ones.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (piece, behind) = rest.split_at((state >> 16) as usize % longest % (rest.len() + 1));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}
