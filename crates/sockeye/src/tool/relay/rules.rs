//! What holds for every pair of a relay: how it is joined, its limits, and who is told of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;

use super::copy::Copies;
use super::figures::{Figures, Voice};
use crate::net::{Error, ErrorKind};
use crate::tool::Frame;

/// How two ends are joined.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Only from left to right: what comes back is read and dropped.
    pub one_way: bool,
    /// How messages stand on a stream, where one end has messages and the other does not.
    pub frame: Frame,
    /// What does not say whether it is text is sent as text.
    pub text: bool,
    /// The largest message that is read from a stream.
    pub message_bytes_max: usize,
    /// How long nothing may move before a pair is ended.
    pub idle: Option<Duration>,
    /// How long one direction may go on after the other ended.
    pub linger: Option<Duration>,
    /// How long to wait for an answer after one side ended, and again after each answer, where nothing ends one direction alone:
    /// a datagram socket has no end, and the close of a WebSocket tells the peer to answer no more.
    pub wait: Duration,
    /// Show what passes in hexadecimal.
    pub hex: bool,
}

/// What all pairs of a relay share.
pub(super) struct Shared {
    pub(super) rules: Rules,
    /// The addresses, for people.
    pub(super) left: String,
    pub(super) right: String,
    pub(super) figures: Figures,
    pub(super) voice: Arc<Voice>,
    pub(super) copies: Copies,
    /// Turns true when the relay is to end.
    pub(super) stop: watch::Receiver<bool>,
    /// Whether there is only one pair, whose end is the relay's.
    pub(super) is_alone: bool,
    /// The number of the next pair.
    pub(super) next: AtomicU64,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}

/// A limit that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// A side stood still after the other was closed, and has not ended.
    Patience(End, Duration),
    /// Nothing moved.
    Idle(Duration),
    /// One direction went on after the other ended.
    Linger(Duration),
}

impl Shared {
    pub(super) fn name(&self, end: End) -> &str {
        match end {
            End::Left => &self.left,
            End::Right => &self.right,
        }
    }

    pub(super) fn passed(&self, passed: Passed) -> Error {
        match passed {
            Passed::Patience(end, patience) => {
                let what = format!(
                    "it had not ended when nothing of it had gone on for {} ms after the close of the other side",
                    patience.as_millis()
                );
                Error::new(ErrorKind::EndedEarly, self.name(end), what)
                    .with_hint("a longer --wait waits for what it may still say")
            }
            Passed::Idle(idle) => {
                let what = format!("nothing has moved for {} ms", idle.as_millis());
                Error::new(ErrorKind::TimedOut, &self.left, what)
                    .with_hint("a longer --idle, or none, waits longer")
            }
            Passed::Linger(linger) => {
                let what = format!(
                    "one direction still went on {} ms after the other had ended",
                    linger.as_millis()
                );
                Error::new(ErrorKind::EndedEarly, &self.left, what)
                    .with_hint("it may be incomplete; a longer --linger, or none, waits for it")
            }
        }
    }
}

/// The system's words, without a number that says the same.
pub(super) fn words_of(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.clone(), |(words, _)| words.to_owned())
}
