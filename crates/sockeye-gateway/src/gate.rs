//! What datagrams are held to. A socket that everybody shares cannot be left unread for one peer, so what is over a rate is
//! dropped.
//!
//! ```text
//!   without a session ──over the rate of its address──> dropped, without a word
//!   a session ──over──> told (`rate`, with a time to wait), then dropped until that is over ──told once too often──> `bye`
//! ```
//!
//! Deliberately absent: the buckets, which the shell keeps, since those of an address or a user belong to all shards.

use std::fmt::Debug;
use std::sync::Arc;

use sockeye_hub::Now;

use crate::mail::Source;
use crate::rate::Over;

/// What datagrams of one shard are held to.
pub trait Gate: Debug + Send {
    /// A datagram of so many bytes has come from an address without a session. Whether there were not too many from there.
    /// What is not proved is counted apart from what is, so that nobody can use up what belongs to another's address.
    fn admits(&mut self, source: &Source, bytes: usize, is_proved: bool, now: Now) -> bool;

    /// What a session that begins is held to.
    fn begin(&mut self, source: &Source) -> Box<dyn SessionMeter>;
}

/// What one session is held to.
pub trait SessionMeter: Debug + Send {
    /// A datagram of so many bytes has come, from this user if it is one.
    fn take(&mut self, bytes: usize, user: Option<&Arc<str>>, now: Now) -> Verdict;
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Passes,
    /// It is one too many, which the session is told.
    Over(Over),
    /// The session was told, and it is too early again.
    Dropped,
}
