//! One request and its answer over HTTP/1.1 as a stream: what is sent is the body of the request, what is received that of
//! the answer.
//!
//! The first bytes that are sent make the request a POST, an end without any a GET, unless the address names a method.
//! Ending the sending direction ends the request; the connection stays open for the answer, which is over where its head
//! says. A status that is no success is an error. Deliberately absent: following redirects, keeping connections, decoding
//! of contents, and the server's side.
//!
//! ```text
//! Head --status 2xx--> Body ---its end---> Over
//!  |  ^                                     ^
//!  |  '- 1xx                                |
//!  '----- 4xx, 5xx ---> Refusal --its first line
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sockeye_wire::http::{
    Answer, AnswerBody, BodyDecoder, RequestBody, parse_answer, write_chunk, write_last_chunk, write_request,
};
use tokio::io::ReadBuf;
use tokio::time::{Sleep, sleep};

use super::handshake::{authority, authorization};
use super::message::Message;
use super::outgoing::Outgoing;
use super::transport::Transport;
use super::websocket::poll_fill;
use super::{Error, ErrorKind, Result};
use crate::address::{Address, Url};

/// So many interim answers (1xx) may come before the answer.
const INTERIM_MAX: u8 = 16;
/// So much of the first line of a refusal is shown, and it is waited for so long. The rest is not read.
const LINE_BYTES_MAX: usize = 300;
pub(crate) const LINE_TIMEOUT: Duration = Duration::from_secs(1);
/// So much of what is written is one chunk.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct Request {
    /// As the address says.
    method: Option<String>,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Checks what is to be asked for, before anybody is connected to.
    pub(super) fn new(address: &Address, url: &Url, headers: &[(String, String)]) -> Result<Request> {
        let mut all = headers.to_vec();
        let defaults = [
            ("Accept".to_owned(), "*/*".to_owned()),
            ("User-Agent".to_owned(), format!("sockeye/{}", env!("CARGO_PKG_VERSION"))),
        ];
        for (name, value) in defaults.into_iter().chain(authorization(address)?) {
            if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(&name)) {
                all.push((name, value));
            }
        }
        let request = Request {
            method: address.options.method.clone(),
            host: authority(&url.server, if url.secure { 443 } else { 80 }),
            path: url.path.clone(),
            headers: all,
        };
        request.write(RequestBody::None, &mut Vec::new()).map_err(|why| Error::usage(address, why))?;
        Ok(request)
    }

    fn write(&self, body: RequestBody, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        let target = (self.method(body), self.host.as_str(), self.path.as_str());
        write_request(out, target, &self.headers, body).map_err(|error| error.to_string())
    }

    fn method(&self, body: RequestBody) -> &str {
        let usual = if body == RequestBody::Chunked { "POST" } else { "GET" };
        self.method.as_deref().unwrap_or(usual)
    }
}

/// A request under way, and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) transport: Transport,
    pub(super) outgoing: Outgoing,
    request: Request,
    sent: Sent,
    answer: State,
    interim: u8,
    input: Vec<u8>,
    at: usize,
    /// Bytes of the answer that were received and not read, by who reads less than a piece.
    held: Vec<u8>,
    held_at: usize,
}

/// How much of the request was put on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    Head,
    Everything,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Content),
    Refusal(Box<Refusal>),
    Over,
}

/// What is left of a body.
#[derive(Debug)]
struct Content {
    /// `None`: until the connection ends.
    decoder: Option<BodyDecoder>,
    received: u64,
}

/// An answer that is no success, whose first line is still to come.
#[derive(Debug)]
struct Refusal {
    status: u16,
    what: String,
    line: FirstLine,
    patience: Pin<Box<Sleep>>,
}

/// The first line of a body: what a server says about its refusal.
#[derive(Debug)]
struct FirstLine {
    content: Content,
    line: Vec<u8>,
}

/// The same of an answer whose bytes come from elsewhere, such as one to a handshake.
#[derive(Debug)]
pub(crate) struct RefusalWords {
    first: FirstLine,
    input: Vec<u8>,
    at: usize,
}

impl Content {
    fn new(body: AnswerBody) -> Content {
        let decoder = match body {
            AnswerBody::Framed(body) => Some(BodyDecoder::new(body, u64::MAX)),
            AnswerBody::UntilClose => None,
        };
        Content { decoder, received: 0 }
    }

    fn is_done(&self) -> bool {
        self.decoder.as_ref().is_some_and(BodyDecoder::is_done)
    }

    /// The next piece of what has arrived.
    fn take(&mut self, input: &mut Vec<u8>, at: &mut usize) -> std::result::Result<Option<Vec<u8>>, String> {
        let piece = match &mut self.decoder {
            Some(decoder) => decoder.decode(input, at).map_err(|error| error.why)?.map(<[u8]>::to_vec),
            None => {
                let piece = input[*at..].to_vec();
                *at = input.len();
                Some(piece).filter(|piece| !piece.is_empty())
            }
        };
        self.received += piece.as_ref().map_or(0, Vec::len) as u64;
        if piece.is_none() {
            input.drain(..*at);
            *at = 0;
        }
        Ok(piece)
    }
}

impl FirstLine {
    fn new(body: AnswerBody) -> FirstLine {
        FirstLine { content: Content::new(body), line: Vec::new() }
    }

    /// Takes of the body what belongs to its first line; says whether the line is whole.
    fn take(&mut self, input: &mut Vec<u8>, at: &mut usize) -> bool {
        while let Ok(Some(piece)) = self.content.take(input, at) {
            self.line.extend_from_slice(&piece);
            // Blank lines before it say nothing.
            let blank = self.line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line.drain(..blank);
            if self.line.contains(&b'\n') || self.line.len() >= LINE_BYTES_MAX {
                return true;
            }
        }
        self.content.is_done()
    }

    /// What it says: of an error of a Sockeye server, its `why`.
    fn text(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Told {
            why: String,
        }
        let line = self.line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = &line[..line.len().min(LINE_BYTES_MAX)];
        match serde_json::from_slice(line) {
            Ok(Told { why }) => printable(why.as_bytes()),
            Err(_) => printable(line),
        }
    }
}

impl RefusalWords {
    /// Begins with what was received so far of an answer, its head included. `None`: it has no body that could be read.
    pub(crate) fn begin(mut answer: Vec<u8>) -> Option<RefusalWords> {
        let Ok(Some(Answer { body, head_bytes, .. })) = parse_answer(&answer, "GET") else { return None };
        answer.drain(..head_bytes);
        Some(RefusalWords { first: FirstLine::new(body), input: answer, at: 0 })
    }

    /// Takes what was received since; says whether all was received that is shown.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        self.input.extend_from_slice(bytes);
        self.first.take(&mut self.input, &mut self.at)
    }

    /// What the server says, if anything: `: ` and its words.
    pub(crate) fn suffix(&self) -> String {
        let text = self.first.text();
        if text.is_empty() { text } else { format!(": {text}") }
    }
}

impl Refusal {
    fn error(&self, name: &str) -> Error {
        let line = self.line.text();
        let what = match line.is_empty() {
            true => self.what.clone(),
            false => format!("{}: {line}", self.what),
        };
        let error = Error::new(ErrorKind::Refused, name, what).with_http_status(Some(self.status));
        match self.status {
            401 => error.with_hint(
                "the server wants to know who asks: token=env:NAME, or USER@ with password=env:NAME",
            ),
            _ => error,
        }
    }
}

impl Exchange {
    pub(super) fn new(request: Request, transport: Transport) -> Exchange {
        Exchange {
            transport,
            outgoing: Outgoing::default(),
            request,
            sent: Sent::Nothing,
            answer: State::Head,
            interim: 0,
            input: Vec::new(),
            at: 0,
            held: Vec::new(),
            held_at: 0,
        }
    }

    pub(super) fn poll_recv(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        if self.held_at < self.held.len() {
            let rest = self.held.split_off(self.held_at);
            (self.held, self.held_at) = (Vec::new(), 0);
            return Poll::Ready(Ok(Some(Message::binary(rest))));
        }
        self.poll_piece(name, cx).map_ok(|piece| piece.map(Message::binary))
    }

    /// The next piece of the answer's body.
    fn poll_piece(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>>> {
        loop {
            match &mut self.answer {
                State::Over => return Poll::Ready(Ok(None)),
                State::Head => match self.read_head(name) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return Poll::Ready(Err(self.over(error))),
                },
                State::Body(content) => match content.take(&mut self.input, &mut self.at) {
                    Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                    Ok(None) if content.is_done() => {
                        self.answer = State::Over;
                        continue;
                    }
                    Ok(None) => {}
                    Err(why) => {
                        let what = format!("the server broke HTTP in the body: {why}");
                        return Poll::Ready(Err(self.over(Error::new(ErrorKind::EndedEarly, name, what))));
                    }
                },
                State::Refusal(refusal) => {
                    let is_whole = refusal.line.take(&mut self.input, &mut self.at);
                    if is_whole || refusal.patience.as_mut().poll(cx).is_ready() {
                        let error = refusal.error(name);
                        return Poll::Ready(Err(self.over(error)));
                    }
                }
            }
            match ready!(poll_fill(&mut self.transport, &mut self.input, cx)) {
                Ok(0) => return Poll::Ready(self.end(name)),
                Ok(_) => {}
                Err(error) => {
                    let error = match &self.answer {
                        State::Refusal(refusal) => refusal.error(name),
                        _ => Error::from_io(name, "the connection broke", error),
                    };
                    return Poll::Ready(Err(self.over(error)));
                }
            }
        }
    }

    fn over(&mut self, error: Error) -> Error {
        self.answer = State::Over;
        error
    }

    /// Reads the head, if it is all there, and goes on to what follows it.
    fn read_head(&mut self, name: &str) -> Result<bool> {
        let refused = |what: String| Error::new(ErrorKind::Refused, name, what);
        let body = if self.sent == Sent::Head { RequestBody::Chunked } else { RequestBody::None };
        // A method by default other than these bounds the answer's body no differently.
        let method = self.request.method(body);
        let answer = parse_answer(&self.input, method).map_err(|error| {
            refused(error.to_string())
                .with_hint("does the server speak HTTP on that port, and is it http: or https:?")
        })?;
        let Some(Answer { status, reason, location, body, head_bytes }) = answer else { return Ok(false) };
        let what = format!("the server answered {status} {reason}").trim_end().to_owned();
        self.answer = match status {
            101 => {
                return Err(refused(format!("{what}, which was not asked for")).with_http_status(Some(101)));
            }
            100..=199 => {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(refused(format!("{what} more than {INTERIM_MAX} times")));
                }
                State::Head
            }
            200..=299 => State::Body(Content::new(body)),
            300..=399 => {
                let to =
                    location.map(|to| format!(", and redirects to {}", printable(to))).unwrap_or_default();
                let error = refused(format!("{what}{to}")).with_http_status(Some(status));
                return Err(error.with_hint("redirects are not followed: give the final address"));
            }
            _ => State::Refusal(Box::new(Refusal {
                status,
                what,
                line: FirstLine::new(body),
                patience: Box::pin(sleep(LINE_TIMEOUT)),
            })),
        };
        self.input.drain(..head_bytes);
        Ok(true)
    }

    /// What the end of the connection means.
    fn end(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let error = match &self.answer {
            State::Over => return Ok(None),
            State::Body(Content { decoder: None, .. }) => {
                self.answer = State::Over;
                return Ok(None);
            }
            State::Body(content) => {
                let what = format!("the body was cut short, {} bytes into it", content.received);
                Error::new(ErrorKind::EndedEarly, name, what)
            }
            State::Refusal(refusal) => refusal.error(name),
            State::Head if self.input.is_empty() => {
                let what = "the server closed the connection without an answer";
                Error::new(ErrorKind::Refused, name, what)
                    .with_hint("does it speak HTTP on that port, and is it http: or https:?")
            }
            State::Head => {
                let what = "the server closed the connection in the middle of its answer's head";
                Error::new(ErrorKind::Refused, name, what)
            }
        };
        Err(self.over(error))
    }

    pub(super) fn start_send(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if self.sent == Sent::Everything {
            return Err(Error::new(ErrorKind::EndedEarly, name, "the request ended before this"));
        }
        // Nothing is no body, and an empty chunk would be its end.
        if !bytes.is_empty() {
            let mut out = Vec::with_capacity(bytes.len() + 512);
            self.begin(RequestBody::Chunked, &mut out);
            write_chunk(&mut out, bytes);
            self.outgoing.put(out, |_| {});
        }
        Ok(())
    }

    /// Writes the head of the request, unless that was done.
    fn begin(&mut self, body: RequestBody, out: &mut Vec<u8>) {
        if self.sent == Sent::Nothing {
            self.request.write(body, out).expect("it was checked when the request was made");
            self.sent = Sent::Head;
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(&mut self.transport, cx)
    }

    /// Ends the request. The connection stays open in both directions: a server may take its end for ours.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if self.sent != Sent::Everything {
            let mut out = Vec::new();
            match self.sent {
                Sent::Head => write_last_chunk(&mut out),
                _ => {
                    // RFC 9110, 8.6: where a body is meant to be, its absence is said.
                    let has_body = matches!(self.request.method.as_deref(), Some("POST" | "PUT" | "PATCH"));
                    let body = if has_body { RequestBody::Empty } else { RequestBody::None };
                    self.begin(body, &mut out);
                }
            }
            self.outgoing.put(out, |_| {});
            self.sent = Sent::Everything;
        }
        self.poll_flush(cx)
    }

    /// For who reads bytes.
    pub(super) fn poll_read(
        &mut self,
        name: &str,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held_at == self.held.len() {
            match ready!(self.poll_piece(name, cx)) {
                Ok(piece) => (self.held, self.held_at) = (piece.unwrap_or_default(), 0),
                Err(error) => return Poll::Ready(Err(error.into_io())),
            }
        }
        let rest = &self.held[self.held_at..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.held_at += count;
        Poll::Ready(Ok(()))
    }

    /// For who writes bytes: each write is a chunk.
    pub(super) fn poll_write(
        &mut self,
        name: &str,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
        self.start_send(name, bytes).map_err(Error::into_io)?;
        Poll::Ready(Ok(bytes.len()))
    }
}

/// What may be shown on a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().filter(|character| !character.is_control()).collect()
}
