//! HTTP: heads end at the same byte and bodies hold the same data however the stream is cut.

use sockeye_wire::http::{
    Body, BodyDecoder, HeadFinder, HeadLimits, HttpError, RequestHead, parse_head, parse_whole_head,
    write_chunk, write_last_chunk,
};

use super::Stream;

/// Reads the head of a request.
pub fn http_head(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    let end = HeadFinder::new().find(stream.bytes, &LIMITS);

    match (&end, grow(&stream.cut())) {
        (Ok(whole), Ok(cut)) => assert_eq!(*whole, cut),
        // A growing buffer may prove a fault before the line ends in which a whole one finds another.
        (Err(_), Err(_)) => {}
        (whole, cut) => panic!("whole {whole:?}, cut {cut:?}"),
    }
    if let Ok(Some((head, length))) = parse_head(stream.bytes, &LIMITS) {
        assert_eq!(end, Ok(Some(length)));
        assert!(head.minor == 0 || !head.host.is_empty());
        assert!(head.path.starts_with('/') || head.path == "*");
        let again = write(&head);
        let again = parse_whole_head(&again, &HeadLimits::default()).expect("what was read can be written");
        assert_eq!((again.method, again.body, again.keep_alive), (head.method, head.body, head.keep_alive));
        assert_eq!((again.headers, again.expect_continue), (head.headers, head.expect_continue));
    }
}

/// Reads a body: in chunks for even seeds, else of a length that the seed says.
pub fn http_body(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };
    let length = u64::from(stream.seed >> 8);
    let body = if stream.seed.is_multiple_of(2) { Body::Chunked } else { Body::Length(length) };

    let whole = read(body, &stream.whole());

    assert_eq!(whole, read(body, &stream.cut()));
    assert!(whole.data.len() as u64 <= BODY_BYTES_MAX);
    let mut chunks = Vec::new();
    for piece in whole.data.chunks(7) {
        write_chunk(&mut chunks, piece);
    }
    write_last_chunk(&mut chunks);
    let again = read(Body::Chunked, &[&chunks]);
    assert_eq!((again.data, again.taken, again.is_done, again.error), (whole.data, chunks.len(), true, None));
}

/// Asks a finder after each piece, as a connection does.
fn grow(pieces: &[&[u8]]) -> Result<Option<usize>, HttpError> {
    let mut finder = HeadFinder::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Some(end) = finder.find(&buffer, &LIMITS)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

fn write(head: &RequestHead<'_>) -> Vec<u8> {
    let question = if head.query.is_empty() { "" } else { "?" };
    let RequestHead { method, path, query, minor, .. } = head;
    let mut text = format!("{method} {path}{question}{query} HTTP/1.{minor}\r\n");
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// What a body gave, and where it ended.
#[derive(Debug, PartialEq)]
struct Read {
    data: Vec<u8>,
    taken: usize,
    is_done: bool,
    error: Option<HttpError>,
}

fn read(body: Body, pieces: &[&[u8]]) -> Read {
    let mut decoder = BodyDecoder::new(body, BODY_BYTES_MAX);
    let mut data = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let mut at = 0;
        loop {
            match decoder.decode(piece, &mut at) {
                Ok(Some(bytes)) => data.extend_from_slice(bytes),
                Ok(None) => break,
                Err(error) => return Read { data, taken: taken + at, is_done: false, error: Some(error) },
            }
        }
        taken += at;
        if decoder.is_done() {
            break;
        }
    }
    Read { data, taken, is_done: decoder.is_done(), error: None }
}

/// Small, so that short inputs reach them.
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 300, headers_max: 6, target_bytes_max: 60 };
const BODY_BYTES_MAX: u64 = 100;
