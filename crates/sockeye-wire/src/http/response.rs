//! The head of an answer.
//!
//! Bodies are the caller's, as are the decision whether the connection goes on and the time, which this crate does not
//! know.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::json::write_integer;

/// A head being put together; [`ResponseHead::write`] appends it.
///
/// # Examples
///
/// ```
/// use sockeye_wire::http::ResponseHead;
///
/// let mut out = Vec::new();
/// ResponseHead::new(200).header("Content-Type", "text/plain").length(2).write(&mut out);
/// assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n");
/// ```
#[derive(Debug, Clone)]
#[must_use = "a head is nothing before it is written"]
pub struct ResponseHead<'a> {
    status: u16,
    date_ms: Option<u64>,
    headers: Vec<(&'a str, Cow<'a, str>)>,
    framing: Framing,
    connection: Connection,
}

/// The last millisecond that has a date: years have four digits (RFC 9110, 5.6.7).
const DATE_MS_MAX: u64 = 253_402_300_799_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Unsaid,
    KeepAlive,
    Close,
}

impl<'a> ResponseHead<'a> {
    /// Begins a head without a body and without a word about the connection.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            date_ms: None,
            headers: Vec::new(),
            framing: Framing::None,
            connection: Connection::Unsaid,
        }
    }

    /// When the answer is made, in milliseconds since 1970 (RFC 9110, 6.6.1: who has a clock must say it). What lies
    /// behind the year 9999 is said as its last second.
    pub fn date(mut self, unix_ms: u64) -> Self {
        self.date_ms = Some(unix_ms);
        self
    }

    /// Adds a field. Characters that could end a line are written as spaces.
    pub fn header(mut self, name: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The body has so many bytes.
    pub fn length(mut self, bytes: u64) -> Self {
        self.framing = Framing::Length(bytes);
        self
    }

    /// The body is chunked; only for HTTP/1.1 clients.
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// The connection ends with this answer.
    pub fn close(mut self) -> Self {
        self.connection = Connection::Close;
        self
    }

    /// The connection goes on, which an HTTP/1.0 client must be told.
    pub fn keep_alive(mut self) -> Self {
        self.connection = Connection::KeepAlive;
        self
    }

    /// Appends the head with its last empty line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        write_integer(out, self.status.into());
        out.push(b' ');
        out.extend_from_slice(reason_phrase(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(unix_ms) = self.date_ms {
            let date = HttpDate::from(UNIX_EPOCH + Duration::from_millis(unix_ms.min(DATE_MS_MAX)));
            out.extend_from_slice(format!("Date: {date}\r\n").as_bytes());
        }
        for (name, value) in &self.headers {
            write_printable(out, name);
            out.extend_from_slice(b": ");
            write_printable(out, value);
            out.extend_from_slice(b"\r\n");
        }
        match self.framing {
            // RFC 9110, 8.6, and RFC 9112, 6.1: neither field in an answer that cannot have a body.
            _ if matches!(self.status, 100..200 | 204) => {}
            Framing::None => {}
            Framing::Length(bytes) => {
                out.extend_from_slice(b"Content-Length: ");
                write_integer(out, bytes);
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        match self.connection {
            Connection::Unsaid => {}
            Connection::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends what a client that expects `100-continue` waits for.
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// The phrase that people see beside a status; empty for one that is not used here.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

pub(super) fn write_hexadecimal(out: &mut Vec<u8>, value: usize) {
    let digits = value.checked_ilog2().unwrap_or(0) / 4 + 1;
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[value >> (4 * place) & 0xF]);
    }
}

/// RFC 9110, 5.5: CR, LF and NUL in a field are dangerous; a sender must not write them.
fn write_printable(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| if byte.is_ascii_control() && byte != b'\t' { b' ' } else { byte }));
}
