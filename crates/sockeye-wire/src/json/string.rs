//! What is between quotes: finding the bytes that matter, and undoing escapes.
//!
//! Scanning and writing both look for the same three kinds of bytes, sixteen at a time; what is read the plain way has marks
//! instead (`marks.rs`). Checking escapes is absent: a [`RawString`] only comes from the scanner, which has done that.

use std::borrow::Cow;

/// A string as written, known to be well formed.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawString<'a> {
    /// With its quotes.
    pub(super) quoted: &'a str,
    /// Whether there is a backslash in it.
    pub(super) escaped: bool,
}

impl<'a> RawString<'a> {
    /// What is between the quotes, as written.
    #[inline]
    pub(super) fn inner_bytes(self) -> &'a [u8] {
        let quoted = self.quoted.as_bytes();
        &quoted[1..quoted.len() - 1]
    }

    /// The text between the quotes, borrowed unless there are escapes.
    ///
    /// Half a surrogate pair becomes U+FFFD; callers refuse such texts, as the scanner tells them to.
    pub(super) fn text(self) -> Cow<'a, str> {
        let inner = &self.quoted[1..self.quoted.len() - 1];
        if self.escaped { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) }
    }
}

/// The number of bytes at the front that are neither a quote, nor a backslash, nor a control character.
#[inline(always)]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    // Most strings are short: their end is in the first chunk.
    if let Some(chunk) = bytes.first_chunk::<CHUNK_BYTES>() {
        match first_special(chunk) {
            Some(at) => at,
            None => long_plain_run(bytes),
        }
    } else {
        short_plain_run(bytes)
    }
}

/// The same for what is not that short.
#[inline(never)]
fn long_plain_run(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
    // Two at once: what is long is looked through sooner, and where in them its end is comes last.
    let pairs = chunks.as_chunks::<2>().0;
    let mut at = 0;
    for [first, second] in pairs.iter().take(SHORT_BYTES_MAX / (2 * CHUNK_BYTES)) {
        if is_any_special(first) | is_any_special(second) {
            break;
        }
        at += 2 * CHUNK_BYTES;
    }
    if at == SHORT_BYTES_MAX {
        return at + very_long_plain_run(&bytes[at..]);
    }
    for chunk in bytes[at..].as_chunks::<CHUNK_BYTES>().0 {
        if let Some(place) = first_special(chunk) {
            return at + place;
        }
        at += CHUNK_BYTES;
    }
    at + short_plain_run(rest)
}

#[inline(always)]
fn is_any_special(chunk: &[u8; CHUNK_BYTES]) -> bool {
    let word = u128::from_le_bytes(*chunk);
    special_bytes(word as u64) | special_bytes((word >> 64) as u64) != 0
}

/// How many bytes are looked at together.
const CHUNK_BYTES: usize = 16;

/// The first byte of a chunk that needs attention.
#[inline(always)]
fn first_special(chunk: &[u8; CHUNK_BYTES]) -> Option<usize> {
    let word = u128::from_le_bytes(*chunk);
    let low = special_bytes(word as u64);
    if low != 0 {
        return Some(low.trailing_zeros() as usize / 8);
    }
    let high = special_bytes((word >> 64) as u64);
    (high != 0).then(|| 8 + high.trailing_zeros() as usize / 8)
}

/// Beyond so many bytes it is worth while to look for the end first, and for control characters before it afterwards:
/// both are done with vector instructions.
const SHORT_BYTES_MAX: usize = 128;

fn very_long_plain_run(bytes: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let least = bytes[..end].iter().fold(u8::MAX, |least, &byte| least.min(byte));
    if least < 0x20 { short_plain_run(bytes) } else { end }
}

#[inline]
fn short_plain_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len())
}

#[inline]
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Sets the highest bit of each byte that needs attention; exact for the lowest such byte, which is all that is used.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    // x - 1 borrows into the highest bit where x is 0, and x - 0x20 where x is under 0x20; `& !x` drops the bytes
    // that had that bit before. A borrow can only spoil bytes above one that is already marked.
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero(quote) | zero(backslash) | control) & (ONES * 0x80)
}

fn unescape(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(backslash) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..backslash]);
        let escape = rest.as_bytes().get(backslash + 1).copied().unwrap_or(0);
        rest = rest.get(backslash + 2..).unwrap_or_default();
        let character = match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (character, length) = unescape_unicode(rest);
                rest = rest.get(length..).unwrap_or_default();
                character
            }
            // A quote, a backslash or a slash stands for itself.
            other => char::from(other),
        };
        text.push(character);
    }
    text.push_str(rest);
    text
}

/// The character of `XXXX`, or of `XXXX\uXXXX` where that is a surrogate pair, and how long it was.
fn unescape_unicode(rest: &str) -> (char, usize) {
    let unit = |at: usize| rest.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let first = unit(0).unwrap_or(0);
    if (0xD800..0xDC00).contains(&first)
        && rest[4..].starts_with("\\u")
        && let Some(second @ 0xDC00..=0xDFFF) = unit(6)
    {
        let code_point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_at_a_time_find_what_one_at_a_time_finds(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(plain_run(&bytes), short_plain_run(&bytes));
        }

        #[test]
        fn mostly_plain_bytes_are_found_too(
            length in 0usize..300,
            at in 0usize..300,
            byte in prop_oneof![Just(0u8), Just(0x1F), Just(0x20), Just(b'"'), Just(b'\\'), Just(0x7F), Just(0x80)],
        ) {
            let mut bytes = vec![b'!'; length];
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            prop_assert_eq!(plain_run(&bytes), short_plain_run(&bytes));
        }
    }
}
