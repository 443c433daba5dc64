//! Masking (RFC 6455, 5.3): the same exclusive-or hides a payload and uncovers it.
//!
//! Every byte that a client sends passes through here, so the loop is written in fixed widths that the compiler turns
//! into vector instructions: of the baseline for short payloads, of what the processor has (AVX2) for long ones.
//! Deliberately absent: unsafe code and hand-written intrinsics.

/// Applies `mask` to `bytes` in place, as if `offset` bytes of the same payload came before them.
#[inline]
pub fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: usize) {
    let key = u32::from_le_bytes(mask).rotate_right(8 * (offset % 4) as u32);
    if bytes.len() <= 32 {
        unmask_short(bytes, key);
    } else {
        unmask_long(bytes, key);
    }
}

/// At most 32 bytes, as most control messages, chat lines and ticks are: two chunks that may overlap, and no loop.
#[inline(always)]
fn unmask_short(bytes: &mut [u8], key: u32) {
    match bytes.len() {
        16..=32 => unmask_ends::<16>(bytes, key),
        8..16 => unmask_ends::<8>(bytes, key),
        4..8 => unmask_ends::<4>(bytes, key),
        _ => {
            for (byte, mask) in bytes.iter_mut().zip(key.to_le_bytes()) {
                *byte ^= mask;
            }
        }
    }
}

/// The widest vectors that are used.
const VECTOR_BYTES: usize = 32;
/// Payloads of this size and more are worth the step to where vectors are aligned.
const ALIGNED_BYTES_MIN: usize = 256;

#[multiversion::multiversion(targets("x86_64+avx2"))]
fn unmask_long(bytes: &mut [u8], key: u32) {
    // A payload begins anywhere. A vector that lies across two lines of cache costs two accesses, and here it is every other.
    let odd_bytes = bytes.as_ptr().addr().wrapping_neg() % VECTOR_BYTES;
    let (odd, bytes) = bytes.split_at_mut(if bytes.len() < ALIGNED_BYTES_MIN { 0 } else { odd_bytes });
    unmask_short(odd, key);
    let key = key.rotate_right(8 * (odd.len() % 4) as u32);
    let (chunks, rest) = bytes.as_chunks_mut::<64>();
    for chunk in chunks {
        unmask_chunk(chunk, key);
    }
    // 64 and 32 are multiples of the mask's length: the key needs no turning.
    match rest.split_first_chunk_mut::<32>() {
        Some((chunk, rest)) => {
            unmask_chunk(chunk, key);
            unmask_short(rest, key);
        }
        None => unmask_short(rest, key),
    }
}

/// The first and the last `WIDTH` bytes, for a length between one and two times `WIDTH` (a multiple of 4).
#[inline(always)]
fn unmask_ends<const WIDTH: usize>(bytes: &mut [u8], key: u32) {
    let last_key = key.rotate_right(8 * (bytes.len() % 4) as u32);
    // The end is read before the beginning is written: where they overlap, a byte must not be masked twice.
    let Some(mut last) = bytes.last_chunk::<WIDTH>().copied() else { return };
    unmask_chunk(&mut last, last_key);
    if let Some(first) = bytes.first_chunk_mut::<WIDTH>() {
        unmask_chunk(first, key);
    }
    if let Some(end) = bytes.last_chunk_mut::<WIDTH>() {
        *end = last;
    }
}

#[inline(always)]
fn unmask_chunk<const WIDTH: usize>(chunk: &mut [u8; WIDTH], key: u32) {
    for word in chunk.as_chunks_mut::<4>().0 {
        *word = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// RFC 6455, 5.3, word for word: octet i is combined with octet i modulo 4 of the key.
    fn by_the_letter(bytes: &[u8], offset: usize) -> Vec<u8> {
        bytes.iter().enumerate().map(|(index, byte)| byte ^ MASK[(index + offset) % 4]).collect()
    }

    #[test]
    fn every_length_and_offset_agrees_with_the_rfc() {
        let plain: Vec<u8> = (0..400).map(|index| (index * 7 + 3) as u8).collect();

        for length in 0..=plain.len() {
            for offset in 0..5 {
                let mut bytes = plain[..length].to_vec();
                unmask(&mut bytes, MASK, offset);

                assert_eq!(bytes, by_the_letter(&plain[..length], offset), "{length} bytes at {offset}");
            }
        }
    }

    #[test]
    fn where_in_memory_a_payload_begins_makes_no_difference() {
        let plain: Vec<u8> = (0..600).map(|index| (index * 7 + 3) as u8).collect();

        for start in 0..70 {
            let mut bytes = plain.clone();
            unmask(&mut bytes[start..], MASK, 1);

            assert_eq!(bytes[start..], by_the_letter(&plain[start..], 1), "from {start}");
            assert_eq!(bytes[..start], plain[..start]);
        }
    }

    #[test]
    fn a_payload_masked_in_pieces_is_the_payload_masked_at_once() {
        let plain: Vec<u8> = (0..=255).collect();
        let whole = by_the_letter(&plain, 0);

        for cut in 0..plain.len() {
            let mut pieces = plain.clone();
            let (left, right) = pieces.split_at_mut(cut);
            unmask(left, MASK, 0);
            unmask(right, MASK, cut);

            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }
}
