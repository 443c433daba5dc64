//! Newline framing: bytes in, lines out, for the sockets on which one message is one line.
//!
//! A line that lies whole in the input is lent from there; only a line that the input cuts is copied and kept. The
//! decoder knows nothing of what a line means: blank lines come out as empty slices, and UTF-8 is the grammar's
//! business. Length framing is absent because no protocol here uses it.

use memchr::memchr;

/// Splits a stream of bytes into lines that end in `\n`, or in `\r\n`.
///
/// How the stream is cut into inputs never changes what comes out.
#[derive(Debug)]
pub struct LineDecoder {
    /// The line that the input cut; unallocated while there is none.
    partial: Vec<u8>,
    line_bytes_max: usize,
    state: State,
}

/// What the next byte belongs to.
///
/// ```text
///            cut line grows           newline of a cut line
/// Collecting ------------> Collecting ---------------------> Lent --next call--> Collecting
///     |                                                      (its buffer is freed)
///     +--- over the maximum ---> Skipping --- newline ---> Collecting
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `partial` is the beginning of the line, perhaps empty.
    Collecting,
    /// `partial` was a whole line and was lent to the caller; it is freed by the next call.
    Lent,
    /// The rest of a line that was too long goes by.
    Skipping,
}

impl LineDecoder {
    /// Creates a decoder for lines of at most `line_bytes_max` bytes, the line end not counted.
    ///
    /// Memory held is at most twice that, and only while a line is cut by the input.
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        Self { partial: Vec::new(), line_bytes_max, state: State::Collecting }
    }

    /// Gives the next line of `input[*at..]`, without its line end, and moves `at` past it.
    ///
    /// `Ok(None)` means that all of `input` was taken and more is needed. Each byte is searched once.
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`], once for each line over the maximum and as soon as that is certain. The rest of the
    /// line is skipped without using memory, and decoding goes on behind it.
    pub fn decode<'a>(&'a mut self, input: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, LineError> {
        if self.state == State::Lent {
            self.partial = Vec::new();
            self.state = State::Collecting;
        }

        loop {
            let rest = input.get(*at..).unwrap_or_default();
            let Some(length) = memchr(b'\n', rest) else {
                *at = input.len();
                return self.keep(rest).map(|()| None);
            };
            *at += length + 1;

            if self.state == State::Skipping {
                self.state = State::Collecting;
                continue;
            }
            if self.partial.is_empty() {
                let line = without_carriage_return(&rest[..length]);
                return if line.len() > self.line_bytes_max {
                    Err(LineError::TooLong)
                } else {
                    Ok(Some(line))
                };
            }
            let last = if length > 0 { rest[length - 1] } else { self.partial[self.partial.len() - 1] };
            let line_bytes = self.partial.len() + length - usize::from(last == b'\r');
            if line_bytes > self.line_bytes_max {
                self.partial = Vec::new();
                return Err(LineError::TooLong);
            }
            self.partial.extend_from_slice(&rest[..length]);
            self.state = State::Lent;
            return Ok(Some(without_carriage_return(&self.partial)));
        }
    }

    /// Takes what is left at the end of input: an unterminated last line, if there is one.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let state = std::mem::replace(&mut self.state, State::Collecting);
        let mut line = std::mem::take(&mut self.partial);
        if state != State::Collecting || line.is_empty() {
            return None;
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// Whether the input so far ended with a line end, so that nothing is held or being skipped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.state {
            State::Collecting => self.partial.is_empty(),
            State::Lent => true,
            State::Skipping => false,
        }
    }

    /// How many bytes of a cut line are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Keeps the beginning of a line, unless that is already too long.
    fn keep(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        if self.state == State::Skipping || bytes.is_empty() {
            return Ok(());
        }
        let held = self.partial.len() + bytes.len();
        // One byte more is allowed while it may turn out to be the `\r` of the line end.
        let line_end = usize::from(bytes.last() == Some(&b'\r'));
        if held - line_end > self.line_bytes_max {
            self.partial = Vec::new();
            self.state = State::Skipping;
            return Err(LineError::TooLong);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Why a line was not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is over the decoder's maximum.
    #[error("the line is too long")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_in_newline_with_or_without_carriage_return() {
        let lines = decode_all(&[b"a\nb\r\n\r\n\nc\rd\r\r\n"], 10);

        assert_eq!(lines, [line("a"), line("b"), line(""), line(""), line("c\rd\r")]);
    }

    #[test]
    fn a_whole_line_is_lent_from_the_input() {
        let input = b"hello\nworld\n";
        let mut decoder = LineDecoder::new(10);
        let mut at = 0;

        let first = decoder.decode(input, &mut at).unwrap().unwrap().as_ptr();

        assert_eq!(first, input.as_ptr());
        assert_eq!(at, 6);
        assert!(decoder.is_empty());
    }

    #[test]
    fn nothing_is_allocated_between_lines() {
        let mut decoder = LineDecoder::new(10);

        for input in [b"ab".as_slice(), b"c\nd\n"] {
            let mut at = 0;
            while decoder.decode(input, &mut at).unwrap().is_some() {}
        }

        assert_eq!(decoder.partial.capacity(), 0);
        assert!(decoder.is_empty());
    }

    #[test]
    fn a_line_over_the_maximum_is_reported_once_and_skipped() {
        let lines = decode_all(&[b"12345\n123456\n1234", b"56", b"7890123", b"45\nok\n"], 5);

        assert_eq!(lines, [line("12345"), Err(LineError::TooLong), Err(LineError::TooLong), line("ok")]);
    }

    #[test]
    fn the_carriage_return_of_a_line_end_does_not_count() {
        let lines = decode_all(&[b"12345\r", b"\n12345\r\n12345\r", b"x\n12345\r\r\n"], 5);

        assert_eq!(lines, [line("12345"), line("12345"), Err(LineError::TooLong), Err(LineError::TooLong)]);
    }

    #[test]
    fn too_long_is_known_before_the_line_ends() {
        let mut decoder = LineDecoder::new(5);
        let mut at = 0;

        assert_eq!(decoder.decode(b"123456", &mut at), Err(LineError::TooLong));
        assert_eq!(at, 6);
        assert!(!decoder.is_empty());
        assert_eq!(decoder.partial.capacity(), 0);
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn finish_gives_the_unterminated_line_once() {
        let mut decoder = LineDecoder::new(5);
        let mut at = 0;
        assert_eq!(decoder.decode(b"ab\r", &mut at), Ok(None));

        assert_eq!(decoder.finish(), Some(b"ab".to_vec()));
        assert_eq!(decoder.finish(), None);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(
            text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\r'), Just(b'\n')], 0..60),
            cuts in proptest::collection::vec(0usize..60, 0..8),
            line_bytes_max in 0usize..8,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();

            prop_assert_eq!(decode_all(&pieces, line_bytes_max), decode_all(&[&text], line_bytes_max));
        }

        #[test]
        fn lines_are_what_splitting_says(text in "[a\r\n]{0,40}") {
            let expected: Vec<_> = text
                .split_inclusive('\n')
                .map(|part| part.strip_suffix('\n').map_or(part, |line| line))
                .map(|part| line(part.strip_suffix('\r').unwrap_or(part)))
                .collect();
            // A lone `\r` at the end of input is an unterminated line of no bytes.
            prop_assert_eq!(decode_all(&[text.as_bytes()], 100), expected);
        }
    }

    type Outcome = Result<Vec<u8>, LineError>;

    fn line(text: &str) -> Outcome {
        Ok(text.as_bytes().to_vec())
    }

    /// Everything that comes out of the pieces, with what is left at the end.
    fn decode_all(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<Outcome> {
        let mut decoder = LineDecoder::new(line_bytes_max);
        let mut outcomes = Vec::new();
        for piece in pieces {
            let mut at = 0;
            loop {
                match decoder.decode(piece, &mut at) {
                    Ok(None) => break,
                    Ok(Some(line)) => outcomes.push(Ok(line.to_vec())),
                    Err(error) => outcomes.push(Err(error)),
                }
            }
            assert_eq!(at, piece.len());
        }
        outcomes.extend(decoder.finish().map(Ok));
        outcomes
    }
}
