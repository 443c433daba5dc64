//! Bytes to values and back: every protocol that Sockeye speaks, as pure state machines.
//!
//! # The contract
//!
//! **Decoding.** A decoder is fed what a socket read: `decode(input, &mut at)` gives the next value that begins at
//! `input[at]` and moves `at` behind it. The caller repeats it until it answers `Ok(None)`, which means that all of
//! `input` was taken: what was unfinished has been copied into the decoder, and the buffer is free for the next read.
//! A value that lies whole in `input` is not copied, so a value is good until the next call. Heads of HTTP and of the
//! PROXY protocol are the exception: they are parsed where they lie, and the caller keeps the bytes until a whole head is there.
//!
//! **Not enough bytes yet is `Ok(None)`, never an error.** An error is final unless its decoder says otherwise: after it
//! a decoder takes everything and gives nothing.
//!
//! **Cuts do not matter.** However a stream is cut into reads, the values and the error at its end are the same. An
//! error is reported at the first byte that proves it, without waiting for the end of the value.
//!
//! **Bounds.** A decoder holds memory only for an unfinished value, in proportion to the bytes that were received, never
//! to what a length field declares, and at most the limit that its constructor was given. No input panics.
//!
//! **Encoding.** A writer appends to a `Vec<u8>` of the caller and cannot fail, unless it is given text of a person (a
//! header, a path), which it checks.
//!
//! Deliberately absent: sockets, clocks, threads, randomness (masking keys and nonces arrive as arguments), and any
//! notion of channels or clients.

pub mod http;
pub mod json;
pub mod line;
pub mod proxy;
pub mod websocket;
