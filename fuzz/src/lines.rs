//! Lines: the same ones however the stream is cut, and never one over the limit.

use sockeye_wire::line::LineDecoder;

use super::Stream;

/// Decodes lines of at most [`LINE_BYTES_MAX`].
pub fn line(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    let lines = decode(stream.whole());

    assert_eq!(lines, decode(stream.cut()));
    for line in lines.iter().flatten() {
        assert!(!line.contains(&b'\n') && line.len() <= LINE_BYTES_MAX);
    }
}

/// The lines, with `None` for one that is too long; an unfinished one comes last.
fn decode(pieces: Vec<&[u8]>) -> Vec<Option<Vec<u8>>> {
    let mut decoder = LineDecoder::new(LINE_BYTES_MAX);
    let mut lines = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            match decoder.decode(piece, &mut at) {
                Ok(Some(line)) => lines.push(Some(line.to_vec())),
                Ok(None) => break,
                Err(_) => lines.push(None),
            }
        }
        assert_eq!(at, piece.len());
    }
    lines.extend(decoder.finish().map(Some));
    lines
}

/// Small, so that short inputs reach it.
const LINE_BYTES_MAX: usize = 24;
