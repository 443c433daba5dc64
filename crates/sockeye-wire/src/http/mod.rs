//! HTTP/1.1 (RFC 9112): the server's side, one exchange from the client's, and event streams from both.
//!
//! Heads are parsed where they lie, bodies are decoded piece by piece, answers are appended to a buffer. Whatever two
//! HTTP programs could read differently is refused with a status and a reason, because behind a proxy such a message
//! smuggles a request: the head is checked for it before its fields mean anything. HTTP/2, compression and ranges
//! are absent.

mod body;
mod client;
mod request;
mod response;
mod sse;
mod target;

use std::borrow::Cow;

pub use body::{BodyDecoder, write_chunk, write_last_chunk};
pub use client::{
    ANSWER_HEAD_BYTES_MAX, Answer, AnswerBody, AnswerError, RequestBody, RequestError, parse_answer,
    write_request,
};
pub use request::{Body, HeadFinder, HeadLimits, RequestHead, parse_head, parse_whole_head};
pub use response::{ResponseHead, reason_phrase, write_continue};
pub use sse::{Event, EventDecoder, EventError, write_comment, write_event, write_retry};
pub use target::{percent_decode, query_pairs};

/// Why a request is refused; the connection cannot go on after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {why}")]
pub struct HttpError {
    /// The status of the answer: 400, 413, 414, 417, 431, 501 or 505.
    pub status: u16,
    /// The reason, for people.
    pub why: Cow<'static, str>,
}

impl HttpError {
    #[cold]
    fn new(status: u16, why: &'static str) -> Self {
        Self { status, why: Cow::Borrowed(why) }
    }
}

#[cfg(test)]
mod tests;
