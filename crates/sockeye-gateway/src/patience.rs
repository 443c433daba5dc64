//! What a peer is waited for, and for how long: to finish what it has begun, to take its answers, to answer a ping.
//!
//! Who does what he can is waited for, however slow his link is. Deliberately absent: the deadline itself, which is the
//! connection's, and what happens at it.

use sockeye_hub::Now;

use crate::limit::Limits;

/// The clocks of one peer.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Since when a message or line is unfinished.
    unfinished: Clock,
    /// Since when nothing is taken of answers that wait.
    stalled: Clock,
    /// What is asked of it may not have reached it yet, although it takes what it can.
    is_excused: bool,
    /// So it was when that was last looked at.
    was_under_way: bool,
}

/// Since when something is waited for, if it is: as one number, for there are many connections.
#[derive(Clone, Copy, Debug)]
struct Clock(u64);

impl Clock {
    const STOPPED: u64 = u64::MAX;

    fn since_ms(self) -> Option<u64> {
        (self.0 != Clock::STOPPED).then_some(self.0)
    }

    fn set(&mut self, since_ms: Option<u64>) {
        self.0 = since_ms.unwrap_or(Clock::STOPPED);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock(Clock::STOPPED)
    }
}

impl Patience {
    /// Whether something is unfinished.
    #[inline]
    pub(crate) fn awaits_rest(&self) -> bool {
        self.unfinished.since_ms().is_some()
    }

    /// Input was handled: so many bytes of something unfinished have come, if anything is. What has finished meanwhile has
    /// kept its time, and what is begun behind it has one of its own.
    pub(crate) fn note_unfinished(&mut self, has_finished: bool, bytes: Option<usize>, now: Now) {
        let since_ms = self.unfinished.since_ms().filter(|_| !has_finished).unwrap_or(now.ms);
        self.unfinished.set(bytes.map(|_| since_ms));
    }

    /// It was not read until now: what is unfinished has its time from here on.
    pub(crate) fn excuse_unfinished(&mut self, now: Now) {
        self.unfinished.set(self.unfinished.since_ms().map(|_| now.ms));
    }

    /// When it has been waited long enough for the rest of so many bytes (`u64::MAX`: never).
    pub(crate) fn unfinished_until_ms(&self, bytes: Option<usize>, limits: &Limits) -> u64 {
        let since_ms = self.unfinished.since_ms().zip(bytes);
        since_ms.map_or(u64::MAX, |(since_ms, bytes)| since_ms + limits.arrival_timeout_ms(bytes))
    }

    /// Whether nothing is taken of answers that wait.
    #[inline]
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.since_ms().is_some()
    }

    /// Nothing is taken of answers that wait: its time for that begins.
    pub(crate) fn note_stalled(&mut self, now: Now) {
        self.stalled.set(Some(now.ms));
    }

    /// Answers are taken, or do not wait.
    pub(crate) fn forget_stalled(&mut self) {
        self.stalled.set(None);
    }

    /// When it has been waited long enough for answers to be taken (`u64::MAX`: never).
    pub(crate) fn stalled_until_ms(&self, limits: &Limits) -> u64 {
        self.stalled.since_ms().map_or(u64::MAX, |since_ms| since_ms.saturating_add(limits.stall_timeout_ms))
    }

    /// What is seen of the way to the peer: when its system was last seen to take something, or to have taken everything,
    /// and whether something is under way to it now.
    pub(crate) fn note_way(&mut self, kept_up_ms: u64, is_under_way: bool, now: Now, limits: &Limits) {
        let keeps_up = kept_up_ms.saturating_add(limits.pong_timeout_ms()) > now.ms;
        // The last of it has arrived, but the answer to it may not have come back.
        self.is_excused = keeps_up && (is_under_way || self.was_under_way);
        self.was_under_way = keeps_up && is_under_way;
        if is_under_way {
            self.stalled.set(self.stalled.since_ms().map(|since_ms| since_ms.max(kept_up_ms)));
        }
    }

    /// Whether a ping may not have reached it yet, or its answer us.
    pub(crate) fn excuses_silence(&self) -> bool {
        self.is_excused
    }
}
