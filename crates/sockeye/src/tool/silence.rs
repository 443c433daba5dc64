//! Whether a server that says nothing is still there: how long that is borne, and when it is asked.
//!
//! Counted is what was waited for in vain, not what a clock says: time in which this command itself did not listen, because
//! it was stopped or its reader was slow, says nothing about the server. Deliberately absent: the pings of WebSocket, which the
//! server may send as seldom as its configuration says.

use std::time::Duration;

/// How long silence is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// After so long without a byte the server is asked by a `ping` of the protocol, and again each time it passes. In
    /// datagrams it also renews the session, which lasts a minute.
    pub(super) ask_after: Duration,
    /// After so many unanswered questions, and the same time once more, the server is gone: exit code 8.
    pub(super) questions_max: u32,
}

impl Bounds {
    /// How long silence is borne in all.
    pub(super) fn total(self) -> Duration {
        self.ask_after * (self.questions_max + 1)
    }
}

/// A minute in all: any byte ends a silence, and a server answers at once.
pub(super) const BOUNDS: Bounds = Bounds { ask_after: Duration::from_secs(20), questions_max: 2 };

/// What is asked.
pub(super) const QUESTION: &str = "\"ping\":1";

/// A silence, which may be none.
#[derive(Debug)]
pub(super) struct Silence {
    bounds: Bounds,
    questions: u32,
}

/// What is due when the time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The question.
    Ask,
    /// The end.
    GiveUp,
}

impl Silence {
    pub(super) fn new(bounds: Bounds) -> Silence {
        Silence { bounds, questions: 0 }
    }

    /// How long to wait for the next byte.
    pub(super) fn wait(&self) -> Duration {
        self.bounds.ask_after
    }

    /// Something came, whatever it was.
    pub(super) fn heard(&mut self) {
        self.questions = 0;
    }

    /// Nothing came in that time.
    pub(super) fn passed(&mut self) -> Due {
        if self.questions == self.bounds.questions_max {
            return Due::GiveUp;
        }
        self.questions += 1;
        Due::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_asked_twice_and_then_given_up() {
        let mut silence = Silence::new(BOUNDS);

        assert_eq!([(); 3].map(|()| silence.passed()), [Due::Ask, Due::Ask, Due::GiveUp]);
        assert_eq!((silence.wait() * 3, BOUNDS.total()), (Duration::from_secs(60), Duration::from_secs(60)));
    }

    #[test]
    fn any_byte_ends_a_silence() {
        let mut silence = Silence::new(BOUNDS);

        for _ in 0..100 {
            assert_eq!([(); 2].map(|()| silence.passed()), [Due::Ask, Due::Ask]);
            silence.heard();
        }
    }
}
