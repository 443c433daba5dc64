//! A server's answer to an HTTP request: the verdict does not depend on the cuts, and what is not clear is not guessed.

use sockeye_wire::http::{Answer, AnswerBody, AnswerError, parse_answer};

use super::Stream;

/// Reads the answer of a server that may lie.
pub fn http_answer(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };
    for method in ["GET", "HEAD"] {
        let whole = verdict(&stream.whole(), method);

        assert_eq!(whole, verdict(&stream.cut(), method));
        if let Some(Ok(head)) = whole {
            assert!(head.bytes <= stream.bytes.len());
            assert!(stream.bytes[..head.bytes].ends_with(b"\n"));
            assert!(method == "GET" || head.body != AnswerBody::UntilClose);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Head {
    bytes: usize,
    status: u16,
    location: Option<Vec<u8>>,
    body: AnswerBody,
}

/// What a client that reads piece by piece comes to. `None`: it would wait for more.
fn verdict(pieces: &[&[u8]], method: &str) -> Option<Result<Head, &'static str>> {
    let mut read = Vec::new();
    for piece in pieces {
        read.extend_from_slice(piece);
        match parse_answer(&read, method) {
            Ok(None) => {}
            Ok(Some(Answer { status, location, body, head_bytes, .. })) => {
                let location = location.map(<[u8]>::to_vec);
                return Some(Ok(Head { bytes: head_bytes, status, location, body }));
            }
            Err(AnswerError::Framing(why)) => return Some(Err(why)),
            // What is wrong first may be seen in one piece and not in another.
            Err(_) => return Some(Err("no head")),
        }
    }
    None
}
