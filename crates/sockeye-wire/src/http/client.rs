//! HTTP/1.1 from the client's side (RFC 9112): the head of a request, and where the answer's body ends.
//!
//! An answer that two programs could read differently is refused, as such a request is. Deliberately absent: what a status
//! means to the caller, and header fields beyond those that bound the body, and `Location`.

use super::Body;

/// A longer head of an answer is refused.
pub const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;

/// More header lines in an answer are refused.
const ANSWER_HEADERS_MAX: usize = 64;

/// What is sent behind the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Nothing, and nothing is said about it.
    None,
    /// Nothing, which is said: by methods that mean to send something.
    Empty,
    /// Chunks, until the last.
    Chunked,
}

/// Why a request is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The method is no token, or one that makes a tunnel.
    #[error("{0:?} is no method of a request")]
    Method(String),
    /// The host or the path has a character that needs an escape.
    #[error("{0:?} has a character that must be percent-encoded")]
    Target(String),
    /// The name is no token, or the header says what the request says by itself.
    #[error("{0:?} is no header that can be added")]
    HeaderName(String),
    /// The value has a control character.
    #[error("the value of header {0:?} has a control character")]
    HeaderValue(String),
}

/// Appends the head of a request, after whose answer the connection ends.
///
/// # Errors
///
/// [`RequestError`], and nothing is appended.
pub fn write_request(
    out: &mut Vec<u8>,
    (method, host, path): (&str, &str, &str),
    headers: &[(String, String)],
    body: RequestBody,
) -> Result<(), RequestError> {
    // RFC 9110, 9.3.6: after CONNECT the connection is a tunnel, and no exchange.
    if !is_token(method) || method == "CONNECT" {
        return Err(RequestError::Method(method.to_owned()));
    }
    for target in [host, path] {
        if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestError::Target(target.to_owned()));
        }
    }
    for (name, value) in headers {
        let is_own = OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own));
        if is_own || !is_token(name) {
            return Err(RequestError::HeaderName(name.clone()));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(RequestError::HeaderValue(name.clone()));
        }
    }

    for part in [method, " ", path, " HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    match body {
        RequestBody::None => {}
        RequestBody::Empty => out.extend_from_slice(b"Content-Length: 0\r\n"),
        RequestBody::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The server's phrase for it.
    pub reason: &'a str,
    /// Where a redirect leads.
    pub location: Option<&'a [u8]>,
    /// What bounds the body.
    pub body: AnswerBody,
    /// The length of the head: the body begins behind it.
    pub head_bytes: usize,
}

/// What bounds the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// Its own framing, which tells when it was cut short.
    Framed(Body),
    /// The end of the connection.
    UntilClose,
}

/// Why an answer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is not HTTP, or has too many headers.
    #[error("the response is not http: {0}")]
    NotHttp(httparse::Error),
    /// The head does not end within its maximum.
    #[error("the response's head is longer than {ANSWER_HEAD_BYTES_MAX} bytes")]
    TooLong,
    /// Where the body ends could be read in two ways, or in none.
    #[error("where the response's body ends is not clear: {0}")]
    Framing(&'static str),
}

/// Reads the head of the answer to a request with this method. `Ok(None)`: it is not all there; call again with more behind
/// the same bytes.
///
/// # Errors
///
/// [`AnswerError`]: the connection cannot go on.
pub fn parse_answer<'a>(bytes: &'a [u8], method: &str) -> Result<Option<Answer<'a>>, AnswerError> {
    let mut headers = [httparse::EMPTY_HEADER; ANSWER_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= ANSWER_HEAD_BYTES_MAX => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err(AnswerError::TooLong),
        Err(error) => return Err(AnswerError::NotHttp(error)),
    };
    let (status, reason) = (response.code.unwrap_or(0), response.reason.unwrap_or(""));

    let (mut is_coded, mut is_chunked, mut length, mut location) = (false, false, None, None);
    for header in response.headers {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = !is_coded && value.eq_ignore_ascii_case(b"chunked");
            is_coded = true;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            // RFC 9112, 6.3: several equal values may be read as one.
            for value in value.split(|byte| *byte == b',') {
                let value = length_of(value.trim_ascii()).ok_or(AnswerError::Framing("no valid length"))?;
                if length.is_some_and(|length| length != value) {
                    return Err(AnswerError::Framing("several lengths"));
                }
                length = Some(value);
            }
        } else if header.name.eq_ignore_ascii_case("location") {
            location = Some(value);
        }
    }
    // RFC 9112, 6.3: whatever the fields say, these have no body.
    let body = if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
        AnswerBody::Framed(Body::None)
    } else {
        match (is_coded, length) {
            (true, Some(_)) => return Err(AnswerError::Framing("a length, and chunks")),
            (true, None) if is_chunked => AnswerBody::Framed(Body::Chunked),
            (true, None) => return Err(AnswerError::Framing("a transfer coding other than chunked")),
            (false, Some(length)) => AnswerBody::Framed(Body::Length(length)),
            (false, None) => AnswerBody::UntilClose,
        }
    };
    Ok(Some(Answer { status, reason, location, body, head_bytes }))
}

fn length_of(digits: &[u8]) -> Option<u64> {
    // Without the sign that `parse` would take.
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

fn is_token(text: &str) -> bool {
    crate::websocket::is_token(text.as_bytes())
}

/// What the request says by itself.
const OWN_HEADERS: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use super::*;

    fn body(head: &str, method: &str) -> Result<AnswerBody, AnswerError> {
        let head = format!("HTTP/1.1 {head}\r\n\r\nrest");
        let answer = parse_answer(head.as_bytes(), method)?.expect("it is whole");
        assert_eq!(&head[answer.head_bytes..], "rest");
        Ok(answer.body)
    }

    #[test]
    fn a_body_ends_as_its_head_says() {
        for (head, method, expected) in [
            ("200 OK\r\nContent-Length: 5", "GET", AnswerBody::Framed(Body::Length(5))),
            ("200 OK\r\nContent-Length: 5, 5", "GET", AnswerBody::Framed(Body::Length(5))),
            ("200 OK\r\nTransfer-Encoding: Chunked", "GET", AnswerBody::Framed(Body::Chunked)),
            ("200 OK", "GET", AnswerBody::UntilClose),
            ("200 OK\r\nContent-Length: 5", "HEAD", AnswerBody::Framed(Body::None)),
            ("204 No Content\r\nContent-Length: 5", "GET", AnswerBody::Framed(Body::None)),
            ("100 Continue", "POST", AnswerBody::Framed(Body::None)),
        ] {
            assert_eq!(body(head, method), Ok(expected), "{head}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for head in [
            "200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "200 OK\r\nContent-Length: +5",
            "200 OK\r\nContent-Length: 99999999999999999999",
            "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "200 OK\r\nTransfer-Encoding: gzip, chunked",
            "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            assert!(matches!(body(head, "GET"), Err(AnswerError::Framing(_))), "{head}");
        }
        assert!(matches!(parse_answer(b"SSH-2.0-x\r\n\r\n", "GET"), Err(AnswerError::NotHttp(_))));
        assert_eq!(parse_answer(b"HTTP/1.1 200 OK\r\nA: b\r\n", "GET"), Ok(None));
        let endless = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'x'; ANSWER_HEAD_BYTES_MAX]].concat();
        assert_eq!(parse_answer(&endless, "GET"), Err(AnswerError::TooLong));
    }

    #[test]
    fn a_request_says_nothing_twice_and_nothing_that_breaks_out() {
        let mut out = Vec::new();
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let target = ("PUT", "h:1", "/a?b");
        write_request(&mut out, target, &header("X-Room", "4 2"), RequestBody::Chunked).expect("a request");
        assert_eq!(
            str::from_utf8(&out),
            Ok(
                "PUT /a?b HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nX-Room: 4 2\r\n\r\n"
            )
        );
        for (target, headers) in [
            (("P T", "h", "/"), Vec::new()),
            (("CONNECT", "h", "/"), Vec::new()),
            (("GET", "h", "/a b"), Vec::new()),
            (("GET", "h", "/"), header("content-length", "5")),
            (("GET", "h", "/"), header("a b", "5")),
            (("GET", "h", "/"), header("a", "5\r\nb: c")),
        ] {
            let mut out = Vec::new();
            assert!(write_request(&mut out, target, &headers, RequestBody::None).is_err(), "{target:?}");
            assert!(out.is_empty());
        }
    }
}
