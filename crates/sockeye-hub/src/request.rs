//! What a client can ask of the hub, and the time it is asked at.

use std::borrow::Cow;

use crate::{message::Kind, position::Position};

/// The time, as the shell tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds, from any start.
    pub ms: u64,
    /// Milliseconds of the Unix epoch.
    pub unix_ms: u64,
}

/// What an answer is recognized by, handed back as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// No answer is wanted when all went well; a refusal is always told.
    Silent,
    /// A text, as the protocol wrote it.
    Id(Box<str>),
    /// A number.
    Number(i64),
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is published from then on.
    #[default]
    Live,
    /// After this position: what was missed comes first.
    Since(Position),
    /// With the newest messages, at most this many.
    Last(u64),
}

/// What happens to a subscriber that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// It reads on from history; what history has lost is announced by a gap.
    #[default]
    All,
    /// It goes on with the newest message, after a gap.
    Latest,
    /// It is closed.
    Close,
}

/// The options of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Where it begins; a pattern can only be live.
    pub start: Start,
    /// Whether the client hears what it publishes itself.
    pub own: bool,
    /// What happens when it does not keep up.
    pub slow: Slow,
}

impl Default for Subscribe {
    fn default() -> Self {
        Self { start: Start::Live, own: true, slow: Slow::All }
    }
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// What the payload is.
    pub kind: Kind,
    /// The payload; owned bytes are moved, borrowed ones copied once.
    pub payload: Cow<'a, [u8]>,
    /// The idempotency key: a repeated one publishes nothing and gives the first position again.
    pub key: Option<&'a str>,
}

/// A look into a channel's history.
///
/// With neither bound: the newest, up to the limits. With `last`: the newest that many. With `since`: what follows
/// that position, oldest first. With both: what follows, at most `last`. A `since` of another epoch means that
/// everything retained is unknown to the asker, and starts at the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// At most this many messages.
    pub last: Option<u64>,
    /// Only messages after this position.
    pub since: Option<Position>,
}
