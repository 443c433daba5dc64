//! Ciphertext on its way out: what an encrypted stream makes of what is written to it.
//!
//! Deliberately absent: how it is made (`tls/session.rs`), and what becomes of what the kernel does not take
//! (`tls/socket.rs`).

use std::ops::Range;

/// Ciphertext to be sent. The buffer is longer than what it holds, and never cleared.
#[derive(Debug, Default)]
pub struct Ciphertext {
    buffer: Vec<u8>,
    length: usize,
}

impl Ciphertext {
    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// How much there is.
    pub fn length(&self) -> usize {
        self.length
    }

    /// A part of it.
    ///
    /// # Panics
    /// If there is not so much.
    pub fn part(&self, range: Range<usize>) -> &[u8] {
        &self.bytes()[range]
    }

    /// Holds nothing any more.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Gives the buffer back if it is larger than `bytes_max`.
    pub fn shrink(&mut self, bytes_max: usize) {
        if self.buffer.len() > bytes_max {
            *self = Self::default();
        }
    }

    /// Appends.
    pub fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Room for at least so many bytes more, to be written into; `grow` then says how many there are.
    pub fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.buffer.len() - self.length < bytes {
            self.buffer.resize(self.length + bytes, 0);
        }
        &mut self.buffer[self.length..]
    }

    /// So many bytes were written into the room.
    pub fn grow(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.buffer.len() - self.length);
        self.length += bytes;
    }
}
