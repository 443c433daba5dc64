//! The head of a request: finding its end, and reading it (RFC 9112, 2 to 6).
//!
//! `httparse` splits the lines; what it is lenient about is refused here. Which methods and paths exist is absent: it
//! is the gateway's business.

use std::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use super::HttpError;
use super::target::{Target, check_host, split_target};

/// The limits of a head. Each one that is passed refuses the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head with its last empty line; beyond it 431. Default 16 KiB.
    pub head_bytes_max: usize,
    /// The number of header fields, at most 64; beyond it 431. Default 64.
    pub headers_max: usize,
    /// The request target; beyond it 414. Default 8 KiB.
    pub target_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 16 * 1024, headers_max: HEADERS_MAX, target_bytes_max: 8 * 1024 }
    }
}

/// The head of one request, lent from the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method, as written.
    pub method: &'a str,
    /// The path of the target, still percent-encoded; begins with `/`, or is `*` for OPTIONS.
    pub path: &'a str,
    /// What follows the `?` of the target, still encoded; empty without one.
    pub query: &'a str,
    /// The minor version: HTTP/1.0 or HTTP/1.1.
    pub minor: u8,
    /// The authority that the request is for, with its port if written; empty only in HTTP/1.0.
    pub host: &'a str,
    /// The header fields in order, values without the white space around them.
    pub headers: Vec<(&'a str, &'a str)>,
    /// How the body is delimited.
    pub body: Body,
    /// Whether the connection goes on after the answer (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
}

/// How a body is delimited (RFC 9112, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
}

impl<'a> RequestHead<'a> {
    /// The value of the first field of that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }

    /// The values of all fields of that name, whatever its case.
    pub fn header_all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.headers
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value)
    }

    /// Whether the token is in the comma-separated list of that name, whatever the case of both.
    #[must_use]
    pub fn list_contains(&self, name: &str, token: &str) -> bool {
        self.header_all(name)
            .flat_map(|value| value.split(','))
            .any(|member| trim(member).eq_ignore_ascii_case(token))
    }
}

/// Finds the end of a head in a buffer that grows, looking at each byte once.
///
/// It belongs to one head: begin the next one with a new finder.
#[derive(Debug, Clone, Default)]
pub struct HeadFinder {
    /// Bytes that were looked at.
    searched: usize,
    /// Where the line begins that has no end yet.
    line_start: usize,
    /// Ended lines, empty ones before the request line not counted.
    lines: usize,
    /// The request target is known to be within its limit.
    target_ended: bool,
}

impl HeadFinder {
    /// Creates a finder for one head.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the length of the head that `buf` begins with, with its last empty line; `None` if it has no end yet.
    ///
    /// The caller keeps `buf`, appends to it, and asks again.
    ///
    /// # Errors
    ///
    /// 400 for a line end that is not CRLF, 414 and 431 for what is too long, each as soon as it is certain.
    pub fn find(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HttpError> {
        let head = &buf[..buf.len().min(limits.head_bytes_max)];
        let start = self.searched.min(head.len());
        self.searched = head.len();
        for line_feed in memchr_iter(b'\n', &head[start..]) {
            let line_feed = start + line_feed;
            let line = &head[self.line_start..line_feed];
            self.check_line(
                line,
                limits,
                &line[start.saturating_sub(self.line_start + 1).min(line.len())..],
            )?;
            // RFC 9112, 2.2: a bare LF may be taken as a line end. It is refused, because others may not take it.
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(HttpError::new(400, "a line of the head does not end in CRLF"));
            };
            let leading = self.lines == 0 && self.line_start == 0;
            self.line_start = line_feed + 1;
            if !line.is_empty() {
                self.lines += 1;
            } else if self.lines > 0 {
                return Ok(Some(line_feed + 1));
            } else if !leading {
                // RFC 9112, 2.2: one empty line before the request line is ignored, for clients that end a body so.
                return Err(HttpError::new(400, "empty lines before the request line"));
            }
        }
        let line = &head[self.line_start..];
        self.check_line(line, limits, &line[start.saturating_sub(self.line_start + 1).min(line.len())..])?;
        if buf.len() >= limits.head_bytes_max {
            return Err(HttpError::new(431, "the head is too long"));
        }
        Ok(None)
    }

    /// Judges a line as far as it is there; `fresh` is its end that was not judged before, and one byte more.
    fn check_line(&mut self, line: &[u8], limits: &HeadLimits, fresh: &[u8]) -> Result<(), HttpError> {
        // RFC 9112, 2.2: a CR without LF is invalid. The last one may still be the line's end.
        let carriage_return = memchr(b'\r', fresh).map(|at| line.len() - fresh.len() + at);
        if self.lines == 0 && !self.target_ended {
            // What comes first in the line is said first, so that a cut cannot change the answer.
            self.check_request_line(&line[..carriage_return.unwrap_or(line.len())], limits)?;
        }
        match carriage_return {
            Some(at) if at + 1 < line.len() => Err(HttpError::new(400, "a bare CR in the head")),
            _ => Ok(()),
        }
    }

    fn check_request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), HttpError> {
        // The target begins behind the method; where that has no end in sight it is not a method.
        let Some(space) = memchr(b' ', &line[..line.len().min(METHOD_BYTES_MAX + 1)]) else {
            return if line.len() > METHOD_BYTES_MAX { Err(unknown_method()) } else { Ok(()) };
        };
        let target = &line[space + 1..];
        if target.len() > limits.target_bytes_max {
            // Looked for only here, which is once: no byte of a target that grows is searched again and again.
            if memchr(b' ', &target[..=limits.target_bytes_max]).is_none() {
                return Err(HttpError::new(414, "the request target is too long"));
            }
            self.target_ended = true;
        }
        Ok(())
    }
}

/// Reads the head that `buf` begins with, and says how long it is; `None` if it has no end yet.
///
/// A caller whose buffer grows piece by piece uses a [`HeadFinder`] and [`parse_whole_head`] instead: this function
/// begins anew each time.
///
/// # Errors
///
/// As [`HeadFinder::find`] and [`parse_whole_head`].
pub fn parse_head<'a>(
    buf: &'a [u8],
    limits: &HeadLimits,
) -> Result<Option<(RequestHead<'a>, usize)>, HttpError> {
    match HeadFinder::new().find(buf, limits)? {
        Some(length) => Ok(Some((parse_whole_head(&buf[..length], limits)?, length))),
        None => Ok(None),
    }
}

/// Reads a head whose end a [`HeadFinder`] has found.
///
/// # Errors
///
/// 400 for whatever breaks the grammar or could be read in two ways, 414 and 431 for what is too long, 417 for an
/// expectation other than `100-continue`, 501 for CONNECT and for transfer codings other than `chunked`, 505 for
/// versions other than 1.0 and 1.1.
pub fn parse_whole_head<'a>(head: &'a [u8], limits: &HeadLimits) -> Result<RequestHead<'a>, HttpError> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let fields_max = limits.headers_max.min(HEADERS_MAX);
    let mut request = httparse::Request::new(&mut []);
    let status = request
        .parse_with_uninit_headers(head, &mut fields[..fields_max])
        .map_err(|error| explain(error, head))?;
    let (true, Some(method), Some(target), Some(minor)) =
        (status.is_complete(), request.method, request.path, request.version)
    else {
        return Err(HttpError::new(400, "the head is incomplete"));
    };
    if method.len() > METHOD_BYTES_MAX || method == "CONNECT" {
        return Err(unknown_method());
    }
    let Target { authority, path, query } = split_target(method, target)?;

    let mut facts = Facts::default();
    let mut headers = Vec::with_capacity(request.headers.len());
    for field in &*request.headers {
        let value = std::str::from_utf8(field.value)
            .map_err(|_| HttpError::new(400, "the value of a header field is not UTF-8"))?;
        let value = trim(value);
        facts.learn(field.name, value)?;
        headers.push((field.name, value));
    }

    let body = facts.body(minor)?;
    Ok(RequestHead {
        method,
        path,
        query,
        minor,
        host: facts.host(minor, authority)?,
        headers,
        body,
        keep_alive: !facts.close && (minor > 0 || facts.keep_alive),
        // RFC 9110, 10.1.1: an expectation in HTTP/1.0 is ignored, and so is one of nothing that could be sent.
        expect_continue: facts.expect_continue && minor > 0 && !matches!(body, Body::None | Body::Length(0)),
    })
}

/// What the header fields say about the message itself.
#[derive(Debug, Default)]
struct Facts<'a> {
    host: Option<&'a str>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
}

impl<'a> Facts<'a> {
    fn learn(&mut self, name: &str, value: &'a str) -> Result<(), HttpError> {
        if name.eq_ignore_ascii_case("host") {
            // RFC 9112, 3.2: more than one Host field, or an invalid one, is answered with 400.
            if self.host.replace(value).is_some() {
                return Err(HttpError::new(400, "more than one Host"));
            }
            check_host(value)?;
        } else if name.eq_ignore_ascii_case("content-length") {
            if self.length.replace(content_length(value)?).is_some() {
                return Err(HttpError::new(400, "more than one Content-Length"));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if self.chunked {
                return Err(HttpError::new(400, "more than one Transfer-Encoding"));
            }
            check_transfer_encoding(value)?;
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(',') {
                self.close |= trim(option).eq_ignore_ascii_case("close");
                self.keep_alive |= trim(option).eq_ignore_ascii_case("keep-alive");
            }
        } else if name.eq_ignore_ascii_case("expect") {
            // RFC 9110, 10.1.1: there is one expectation; any other may be answered with 417.
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(HttpError::new(417, "the only expectation is 100-continue"));
            }
            self.expect_continue = true;
        }
        Ok(())
    }

    fn body(&self, minor: u8) -> Result<Body, HttpError> {
        match (self.length, self.chunked) {
            // RFC 9112, 6.1: Transfer-Encoding in HTTP/1.0 means faulty framing, and both fields a smuggled request.
            (_, true) if minor == 0 => Err(HttpError::new(400, "Transfer-Encoding in HTTP/1.0")),
            (Some(_), true) => Err(HttpError::new(400, "both Content-Length and Transfer-Encoding")),
            (None, true) => Ok(Body::Chunked),
            (Some(length), false) => Ok(Body::Length(length)),
            (None, false) => Ok(Body::None),
        }
    }

    fn host(&self, minor: u8, authority: Option<&'a str>) -> Result<&'a str, HttpError> {
        // RFC 9112, 3.2: HTTP/1.1 has a Host field even where the target has an authority, which then wins (3.2.2).
        match (authority, self.host) {
            (_, None) if minor > 0 => Err(HttpError::new(400, "no Host")),
            // An empty one beside an authority is two answers to the question whom the request is for.
            (_, Some("")) if minor > 0 => Err(HttpError::new(400, "an empty Host")),
            (Some(authority), _) => Ok(authority),
            (None, host) => Ok(host.unwrap_or_default()),
        }
    }
}

/// Reads one length: digits and nothing else (RFC 9112, 6.2; RFC 9110, 8.6).
fn content_length(value: &str) -> Result<u64, HttpError> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HttpError::new(400, "Content-Length is not one number"));
    }
    value.parse().map_err(|_| HttpError::new(413, "Content-Length is beyond any limit"))
}

fn check_transfer_encoding(value: &str) -> Result<(), HttpError> {
    if value.eq_ignore_ascii_case("chunked") {
        return Ok(());
    }
    // RFC 9112, 6.3: where chunked is not the last coding, or is applied twice, the length is unknown: 400.
    let mut codings = value.rsplit(',').map(trim);
    let chunked_last = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if !chunked_last || codings.any(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Err(HttpError::new(400, "Transfer-Encoding is not chunked"));
    }
    // RFC 9112, 6.1: a coding that is not understood is answered with 501.
    Err(HttpError::new(501, "the only Transfer-Encoding is chunked"))
}

#[cold]
fn unknown_method() -> HttpError {
    HttpError::new(501, "this method is not implemented")
}

/// Turns the parser's word into ours.
#[cold]
fn explain(error: httparse::Error, head: &[u8]) -> HttpError {
    match error {
        httparse::Error::HeaderName => {
            HttpError::new(400, "a header field has a bad name, a space before the colon, or is folded")
        }
        httparse::Error::HeaderValue => {
            HttpError::new(400, "the value of a header field has a bad character")
        }
        httparse::Error::NewLine => HttpError::new(400, "a line of the head does not end in CRLF"),
        httparse::Error::TooManyHeaders => HttpError::new(431, "too many header fields"),
        httparse::Error::Version if is_other_version(head) => {
            HttpError::new(505, "the version is neither HTTP/1.1 nor HTTP/1.0")
        }
        _ => HttpError::new(400, "the request line is malformed"),
    }
}

/// Whether the request line ends in a version that is well formed, but not ours (RFC 9112, 2.3).
fn is_other_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    matches!((words.next(), words.next()), (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Drops optional white space (RFC 9110, 5.6.3), which is less than what `str::trim` drops.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

const HEADERS_MAX: usize = 64;

/// The longest method that is read at all; the registered ones have at most 17 letters.
const METHOD_BYTES_MAX: usize = 32;
