//! Where in a text the bytes stand at which strings begin and end, found for 64 bytes at a time.
//!
//! A text that is read from one end to the other meets each of them once and in order. Looking through a block once and keeping
//! a bit for each of its bytes gives the next by counting zeros, and lets go of it by an operation that does not wait for the
//! count: where one string ends does not delay the search for the end of the next.

use wide::u8x16;

/// How many bytes are looked at together: a bit of a word for each.
const BLOCK_BYTES: usize = 64;

/// The quotes, backslashes and control characters of a text that is read forward, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    /// Where the block at hand begins.
    start: usize,
    /// Those in this block that were not taken.
    bits: u64,
}

impl<'a> Marks<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Marks { bytes, start: 0, bits: block_bits(bytes, 0) }
    }

    /// Those from `at` on.
    pub(super) fn beyond(bytes: &'a [u8], at: usize) -> Self {
        let start = at - at % BLOCK_BYTES;
        Marks { bytes, start, bits: block_bits(bytes, start) & u64::MAX << (at % BLOCK_BYTES) }
    }

    /// The text.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Takes the next one: where it stands, or the end of the text if there is none.
    #[inline(always)]
    pub(super) fn take(&mut self) -> usize {
        if self.bits == 0 {
            // By value, so that they can stay in registers.
            (self.start, self.bits) = block_beyond(self.bytes, self.start);
            if self.bits == 0 {
                return self.bytes.len();
            }
        }
        let at = self.start + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        at
    }
}

/// The next block behind the one that begins at `start` that has any: where it begins, and its bits. No bits at the end.
#[inline(never)]
fn block_beyond(bytes: &[u8], mut start: usize) -> (usize, u64) {
    while bytes.len() - start > BLOCK_BYTES {
        start += BLOCK_BYTES;
        let bits = block_bits(bytes, start);
        if bits != 0 {
            return (start, bits);
        }
    }
    (start, 0)
}

/// A bit for each byte of the block that begins at `start`.
#[inline(always)]
fn block_bits(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() { bits(block) } else { last_bits(bytes, rest) }
}

/// The same where the text ends within the block.
#[inline(never)]
fn last_bits(bytes: &[u8], rest: &[u8]) -> u64 {
    if let Some(block) = bytes.last_chunk()
        && !rest.is_empty()
    {
        return bits(block) >> (BLOCK_BYTES - rest.len());
    }
    let mut block = [b' '; BLOCK_BYTES];
    block[..rest.len()].copy_from_slice(rest);
    bits(&block)
}

#[inline(always)]
fn bits(block: &[u8; BLOCK_BYTES]) -> u64 {
    let (quote, backslash, control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1F));
    let (chunks, _) = block.as_chunks::<16>();
    chunks.iter().rev().fold(0, |bits, chunk| {
        let bytes = u8x16::from(*chunk);
        let marked = bytes.simd_eq(quote) | bytes.simd_eq(backslash) | bytes.min(control).simd_eq(bytes);
        bits << 16 | u64::from(marked.to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_marked(byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\'
    }

    proptest! {
        #[test]
        fn marks_are_where_the_bytes_are(
            bytes in proptest::collection::vec(prop_oneof![8 => Just(b'x'), 1 => Just(b'"'), 1 => any::<u8>()], 0..300),
        ) {
            let mut marks = Marks::new(&bytes);
            for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| is_marked(**byte)) {
                prop_assert_eq!(marks.take(), at);
            }
            prop_assert_eq!(marks.take(), bytes.len());
            prop_assert_eq!(marks.take(), bytes.len());
        }
    }
}
