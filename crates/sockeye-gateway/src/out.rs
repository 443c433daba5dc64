//! What one connection says at once, in answer to one input: bytes gathered without an allocation each.
//!
//! Small pieces are copied one behind the other into a scratch buffer that all connections of a shard share. Large
//! pieces that stand in the receive buffer already are only pointed at. Deliberately absent: a queue. What the socket
//! does not take goes into the client's outbox.

use std::ops::Range;

/// The answers of one turn of one connection, in order.
#[derive(Debug, Default)]
pub struct Out {
    scratch: Vec<u8>,
    /// Pieces of the input, each to be written after so many bytes of the scratch.
    pieces: Vec<(usize, Range<usize>)>,
    pieces_bytes: usize,
}

/// Payloads of this size and more are written from where they were received.
pub const IN_PLACE_BYTES_MIN: usize = 2 << 10;

impl Out {
    /// Makes an empty sink.
    pub fn new() -> Self {
        Out::default()
    }

    /// The buffer to append bytes to.
    pub fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    /// Appends a piece of the input.
    pub fn push_input(&mut self, range: Range<usize>) {
        self.pieces_bytes += range.len();
        self.pieces.push((self.scratch.len(), range));
    }

    /// Says whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.scratch.is_empty() && self.pieces.is_empty()
    }

    /// How many bytes there are to write.
    pub fn len(&self) -> usize {
        self.scratch.len() + self.pieces_bytes
    }

    /// Forgets everything, and keeps the buffers unless they have become large.
    #[inline]
    pub fn clear(&mut self) {
        self.scratch.clear();
        self.pieces.clear();
        self.pieces_bytes = 0;
        if self.scratch.capacity() > 1 << 20 {
            self.scratch = Vec::new();
        }
    }

    /// Calls `each` with every piece in order; `input` is the buffer that was handled.
    pub fn for_each<'a>(&'a self, input: &'a [u8], mut each: impl FnMut(&'a [u8])) {
        let mut written = 0;
        for (before, range) in &self.pieces {
            if *before > written {
                each(&self.scratch[written..*before]);
                written = *before;
            }
            each(&input[range.clone()]);
        }
        if written < self.scratch.len() {
            each(&self.scratch[written..]);
        }
    }

    /// Where in the input everything lies, if it is one piece of it.
    #[inline]
    pub fn single_input(&self) -> Option<Range<usize>> {
        match &self.pieces[..] {
            [(0, range)] if self.scratch.is_empty() => Some(range.clone()),
            _ => None,
        }
    }

    /// Everything, if it was copied.
    #[inline]
    pub fn copied(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then_some(&self.scratch)
    }

    /// Everything, if it is one piece.
    #[inline]
    pub fn single<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        match &self.pieces[..] {
            [] => Some(&self.scratch),
            [(0, range)] if self.scratch.is_empty() => Some(&input[range.clone()]),
            _ => None,
        }
    }

    /// Copies what is only pointed at, because the input that was handled is not what the caller has.
    #[cold]
    pub fn detach(&mut self, input: &[u8]) {
        if !self.pieces.is_empty() {
            self.scratch = self.tail(input, 0).into_vec();
            self.pieces.clear();
            self.pieces_bytes = 0;
        }
    }

    /// Everything after the first `skip` bytes, copied: the tail of a short write.
    pub fn tail(&self, input: &[u8], skip: usize) -> Box<[u8]> {
        let mut tail = Vec::with_capacity(self.len().saturating_sub(skip));
        let mut skip = skip;
        self.for_each(input, |piece| {
            let skipped = skip.min(piece.len());
            tail.extend_from_slice(&piece[skipped..]);
            skip -= skipped;
        });
        tail.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_scratch_and_input_come_out_in_order() {
        let input = *b"0123456789";
        let mut out = Out::new();

        out.push_input(0..2);
        out.scratch().extend_from_slice(b"ab");
        out.push_input(4..6);
        out.push_input(8..9);
        out.scratch().extend_from_slice(b"c");

        assert_eq!(&*out.tail(&input, 0), b"01ab458c");
        assert_eq!(&*out.tail(&input, 3), b"b458c");
        assert_eq!(out.len(), 8);

        out.detach(&input);
        assert_eq!((out.copied(), out.len()), (Some(&b"01ab458c"[..]), 8));
    }
}
