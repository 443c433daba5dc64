//! The error words of the protocol, and the reason why a text is not a request.
//!
//! Errors of other layers are absent: they choose one of these words when they are told to a client.

use std::borrow::Cow;

/// An error word: what went wrong, in a form that programs can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request breaks the grammar.
    BadRequest,
    /// The request needs an identity that the connection does not have.
    Unauthorized,
    /// The identity has no permission for this.
    Denied,
    /// There is no such thing.
    NotFound,
    /// It was there and will not come back.
    Gone,
    /// A message or a part of the request is over its maximum.
    TooLarge,
    /// Too often; it works again after a while.
    Rate,
    /// Too many of something at the same time.
    TooMany,
    /// The server has too much to do at this moment.
    Busy,
    /// The server could do it, but not with what it promises.
    Degraded,
    /// It took too long.
    Timeout,
    /// The server is at fault.
    Internal,
    /// The request names no verb that this server knows.
    UnknownVerb,
}

impl Code {
    /// The word as it stands in `"code"`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::TooLarge => "too_large",
            Self::Rate => "rate",
            Self::TooMany => "too_many",
            Self::Busy => "busy",
            Self::Degraded => "degraded",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::UnknownVerb => "unknown_verb",
        }
    }

    /// The status that an HTTP answer with this word has.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UnknownVerb => 400,
            Self::Unauthorized => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::Rate | Self::TooMany => 429,
            Self::Internal => 500,
            Self::Busy | Self::Degraded => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether the same request may succeed later without being changed.
    #[must_use]
    pub fn retry(self) -> bool {
        matches!(self, Self::Rate | Self::TooMany | Self::Busy | Self::Degraded | Self::Timeout)
    }
}

/// Why a text is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .code.as_str())]
pub struct BadRequest {
    /// The request's id as written (raw JSON), if it could be read and is a proper one.
    pub id: Option<Box<str>>,
    /// [`Code::BadRequest`] or [`Code::UnknownVerb`].
    pub code: Code,
    /// The reason, for people.
    pub why: Cow<'static, str>,
    /// The text is not one JSON object at all; ten of these in a row end a connection.
    pub unreadable: bool,
}
