//! Where in a text the bytes stand at which strings end, found for 64 bytes at a time.
//!
//! A text that is read from one end to the other asks again and again where the next quote is. Looking through a block once
//! and keeping a bit for each of its bytes answers that for all short strings in it by a shift.

use wide::u8x16;

/// How many bytes are looked at together: a bit of a word for each.
const BLOCK_BYTES: usize = 64;

/// The quotes, backslashes and control characters of a text that is read forward.
#[derive(Debug)]
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    /// Which block `bits` are of.
    block: usize,
    bits: u64,
}

impl<'a> Marks<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Marks { bytes, block: 0, bits: block_bits(bytes, 0) }
    }

    /// The text.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The first byte from `at` on that is a quote, a backslash or a control character; the end of the text if none is.
    #[inline(always)]
    pub(super) fn next(&mut self, at: usize) -> usize {
        let bits = if at / BLOCK_BYTES == self.block { self.bits >> (at % BLOCK_BYTES) } else { 0 };
        if bits != 0 {
            return at + bits.trailing_zeros() as usize;
        }
        // By value, so that they can stay in registers.
        let (next, block, bits) = next_beyond(self.bytes, self.block, at);
        (self.block, self.bits) = (block, bits);
        next
    }
}

/// The same where the block at hand, `known`, has none. Says too which block it is in, and the bits of that.
#[inline(never)]
fn next_beyond(bytes: &[u8], known: usize, at: usize) -> (usize, usize, u64) {
    let mut block = at / BLOCK_BYTES;
    let mut at = at;
    if block == known {
        block += 1;
        at = block * BLOCK_BYTES;
    }
    loop {
        let bits = block_bits(bytes, block * BLOCK_BYTES);
        let left = bits >> (at % BLOCK_BYTES);
        if left != 0 {
            return (at + left.trailing_zeros() as usize, block, bits);
        }
        if (block + 1) * BLOCK_BYTES >= bytes.len() {
            return (bytes.len(), block, bits);
        }
        block += 1;
        at = block * BLOCK_BYTES;
    }
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
            steps in proptest::collection::vec(0usize..40, 0..40),
        ) {
            let mut marks = Marks::new(&bytes);
            let mut at = 0;
            for step in steps {
                at += step;
                if at > bytes.len() {
                    break;
                }
                let next = bytes[at..].iter().position(|byte| is_marked(*byte)).map_or(bytes.len(), |n| at + n);
                prop_assert_eq!(marks.next(at), next);
            }
        }
    }
}
