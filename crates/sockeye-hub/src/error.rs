//! Why a name is refused, and why a request is.

use thiserror::Error;

use crate::auth::USER_PLACE;
use crate::name::{LEVELS_MAX, NAME_BYTES_MAX};

/// Why a channel name or a pattern is refused. Each message names the fault and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing was given.
    #[error("a channel name has at least one byte")]
    Empty,
    /// More than 1,024 bytes.
    #[error("a channel name has at most {NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// More than 32 levels.
    #[error("a channel name has at most {LEVELS_MAX} levels separated by /, this one has {0}")]
    TooDeep(usize),
    /// A control character.
    #[error("a channel name has no control characters, this one has U+{0:04X}")]
    Control(u32),
    /// A `.` or `..` level.
    #[error("a channel name has no level . or ..")]
    DotLevel,
    /// A `+` or `#` where only a name is allowed.
    #[error("a channel name has no {0}: that is for patterns, and here it must be one channel")]
    Wildcard(char),
    /// A `+` that is not a level of its own.
    #[error("in a pattern + stands alone in its level")]
    PlusNotAlone,
    /// A `#` that is not the last level.
    #[error("in a pattern # stands alone in the last level")]
    HashNotLast,
    /// A word in braces in a right, and not [`USER_PLACE`].
    #[error("in a right only {USER_PLACE} may stand in braces, for the user's name")]
    UnknownPlace,
}

/// Which kind of refusal, in the words of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// The request itself is wrong.
    BadRequest,
    /// Not allowed without a token.
    Unauthorized,
    /// Not allowed.
    Denied,
    /// There is no such thing.
    NotFound,
    /// A message, key or id over its bound.
    TooLarge,
    /// Too often in a short time.
    Rate,
    /// A bound on how many is reached.
    TooMany,
    /// Too much is under way.
    Busy,
    /// A part of the server cannot answer.
    Degraded,
    /// The answer took too long.
    Timeout,
}

impl RefusalCode {
    /// Every kind, in the order of their declaration.
    pub const ALL: [RefusalCode; 10] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Denied,
        Self::NotFound,
        Self::TooLarge,
        Self::Rate,
        Self::TooMany,
        Self::Busy,
        Self::Degraded,
        Self::Timeout,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::Rate => "rate",
            Self::TooMany => "too_many",
            Self::Busy => "busy",
            Self::Degraded => "degraded",
            Self::Timeout => "timeout",
        }
    }
}

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct Refusal {
    /// Which kind.
    pub code: RefusalCode,
    /// The reason in a sentence, naming what is allowed.
    pub why: String,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// After how many milliseconds it may, where that is known.
    pub retry_ms: Option<u64>,
}

impl Refusal {
    /// A refusal that the same request would meet again.
    pub(crate) fn lasting(code: RefusalCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), retry: false, retry_ms: None }
    }

    /// A refusal that may not be met later.
    pub(crate) fn passing(code: RefusalCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), retry: true, retry_ms: None }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::lasting(RefusalCode::BadRequest, error.to_string())
    }
}
