//! The buffer that every read of a shard goes into, laid where the kernel copies quickly.
//!
//! The kernel copies between its pages and ours with `rep movsb` where the processor calls that fast (FSRM). On AMD Zen 3 it is
//! not, when the destination stands 1 to 63 bytes behind the source in their pages: 16 KiB take some 20,000 cycles instead
//! of 800. The kernel fills its pages of socket data from their beginnings, so in a burst its side of both copies, in and
//! out, is most often in the first half of a page; ours begins in the second.

use std::ops::{Deref, DerefMut, Range};

/// The size of a page on x86-64. Where pages are larger, these are parts of them, and nothing is lost.
const PAGE_BYTES: usize = 4096;
/// Where in its page the buffer begins: beyond the middle, and at the beginning of a line of cache.
const PLACE: usize = 2560;

/// A buffer of fixed length, which begins at [`PLACE`] of a page.
#[derive(Debug)]
pub(super) struct ReceiveBuffer {
    memory: Box<[u8]>,
    range: Range<usize>,
}

impl ReceiveBuffer {
    pub(super) fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes + PAGE_BYTES - 1].into_boxed_slice();
        let start = (PLACE + PAGE_BYTES - memory.as_ptr().addr() % PAGE_BYTES) % PAGE_BYTES;
        ReceiveBuffer { memory, range: start..start + bytes }
    }
}

impl Deref for ReceiveBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }
}

impl DerefMut for ReceiveBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_its_length_it_has_that_length_and_begins_at_its_place() {
        for bytes in [0, 1, 63, 4095, 4096, 4097, 65_536, 256 << 10] {
            let mut buffer = ReceiveBuffer::new(bytes);
            assert_eq!(buffer.len(), bytes);
            assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, PLACE);
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }
}
