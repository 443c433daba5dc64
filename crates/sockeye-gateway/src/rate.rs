//! How often something may happen: token buckets, and what becomes of who keeps on.
//!
//! ```text
//!   in its rate ──one too many──> told (`rate`, with a time to wait), not read until the bucket would be full ──┐
//!        ^                                                                                                      │
//!        └──────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!        └── told `strikes_max` times, each within `forgiven_ms` of the one before: `bye` with reason `rate`
//! ```
//!
//! All of it is integer arithmetic on the time that is given. Deliberately absent: where the buckets of an address or a
//! user are kept, which connections of several shards share. The shell keeps them, behind [`Meter`].

use std::sync::Arc;

use sockeye_hub::{Creations, Now};

/// How often something may happen: so many tokens each period, and as many at once as come in a longer while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in one period. A token has as many parts as a period has milliseconds, so each millisecond
    /// brings a whole number of parts.
    tokens: u64,
    period_ms: u64,
    /// The parts that a full bucket holds.
    capacity: u64,
}

impl Rate {
    /// So many tokens each `period_ms`; a bucket holds what comes in `burst_ms`, and at least one. 0 tokens mean that there
    /// is no bound.
    pub fn new(tokens: u64, period_ms: u64, burst_ms: u64) -> Option<Self> {
        let period_ms = period_ms.max(1);
        let capacity = tokens.saturating_mul(burst_ms).max(period_ms);
        (tokens > 0).then_some(Rate { tokens, period_ms, capacity })
    }

    /// How many tokens a full bucket holds.
    pub fn burst(&self) -> u64 {
        self.capacity / self.period_ms
    }
}

/// What is left of a [`Rate`]. A new one is full, whatever its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// How many parts it lacks to be full.
    missing: u64,
    /// When that was so.
    at_ms: u64,
}

impl Bucket {
    /// Lets the time pass. It never goes back: clocks of two shards may differ by a little.
    fn refill(&mut self, rate: &Rate, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.missing = self.missing.min(rate.capacity).saturating_sub(passed_ms.saturating_mul(rate.tokens));
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// How many whole tokens there are.
    pub fn available(&mut self, rate: &Rate, now_ms: u64) -> u64 {
        self.refill(rate, now_ms);
        (rate.capacity - self.missing) / rate.period_ms
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, rate: &Rate, now_ms: u64) -> bool {
        let is_there = self.available(rate, now_ms) > 0;
        if is_there {
            self.missing += rate.period_ms;
        }
        is_there
    }

    /// Takes so many tokens, or as many as there are.
    pub fn spend(&mut self, rate: &Rate, tokens: u64, now_ms: u64) {
        self.refill(rate, now_ms);
        self.missing = self.missing.saturating_add(tokens.saturating_mul(rate.period_ms)).min(rate.capacity);
    }

    /// Gives back so many tokens that were taken.
    pub fn give_back(&mut self, rate: &Rate, tokens: u64, now_ms: u64) {
        self.refill(rate, now_ms);
        self.missing = self.missing.saturating_sub(tokens.saturating_mul(rate.period_ms));
    }

    /// In how many milliseconds there is a token, if none is taken.
    pub fn next_in_ms(&mut self, rate: &Rate, now_ms: u64) -> u64 {
        self.refill(rate, now_ms);
        let left = rate.capacity - self.missing;
        rate.period_ms.saturating_sub(left).div_ceil(rate.tokens)
    }

    /// In how many milliseconds it is full, if nothing is taken.
    pub fn full_in_ms(&mut self, rate: &Rate, now_ms: u64) -> u64 {
        self.refill(rate, now_ms);
        self.missing.div_ceil(rate.tokens)
    }
}

/// What a connection is held to. The shell keeps it, for parts of it belong to several connections.
pub trait Meter {
    /// A message has come: takes a token for it from the connection, and from its address.
    ///
    /// # Errors
    /// It is one too many. Nothing more is to be handled until the shell reads on.
    fn take_message(&mut self, now: Now) -> Result<(), Over>;

    /// It is a message of this user: takes a token from him too.
    ///
    /// # Errors
    /// As `take_message`.
    fn take_message_of(&mut self, user: &Arc<str>, now: Now) -> Result<(), Over>;

    /// How many channels may be created from here on. `left` is what is left of the last answer. `None`: no bound.
    fn creations(&mut self, left: Option<Creations>, now: Now) -> Option<Creations>;
}

/// A bound of [`Meter`] was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// What there was too much of.
    pub what: What,
    /// From whom.
    pub whose: Whose,
    /// After how many milliseconds the connection is read again.
    pub retry_ms: u64,
    /// It was told often enough: the connection ends.
    pub is_last: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Requests, and messages of sockets that have no requests.
    Messages,
    /// Bytes as they are received.
    Bytes,
}

/// For whom it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One connection.
    Connection,
    /// All connections of one user.
    User,
    /// All connections from one address.
    Address,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            What::Messages => "messages",
            What::Bytes => "bytes",
        }
    }
}

impl Whose {
    fn as_str(self) -> &'static str {
        match self {
            Whose::Connection => "connection",
            Whose::User => "user",
            Whose::Address => "address",
        }
    }
}

impl Over {
    /// The reason in a sentence.
    pub fn why(&self) -> String {
        let (what, whose) = (self.what.as_str(), self.whose.as_str());
        let then = if self.is_last { "this was the last time" } else { "nothing more is read for a while" };
        format!("too many {what} from this {whose}: {then}")
    }

    /// The same where what comes is not left unread.
    pub fn why_of_datagrams(&self) -> String {
        let what = self.what.as_str();
        let whose = match self.whose {
            Whose::Connection => "session",
            whose => whose.as_str(),
        };
        let then = if self.is_last { "this was the last time" } else { "what comes for a while is dropped" };
        format!("too many {what} from this {whose}: {then}")
    }
}

/// When a connection that was over is read again, and how often it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    strikes: u32,
    struck_ms: u64,
    resumes_ms: Option<u64>,
}

/// The bounds of a [`Pace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Told so often, it ends.
    pub strikes_max: u32,
    /// A strike counts for the next one for so long.
    pub forgiven_ms: u64,
}

impl Pace {
    /// It was over, and is not to be read for `wait_ms`. Returns whether that was one time too many.
    pub fn strike(&mut self, wait_ms: u64, patience: &Patience, now_ms: u64) -> bool {
        if now_ms >= self.struck_ms.saturating_add(patience.forgiven_ms) {
            self.strikes = 0;
        }
        self.strikes = self.strikes.saturating_add(1);
        self.struck_ms = now_ms;
        self.resumes_ms = Some(now_ms.saturating_add(wait_ms));
        self.strikes >= patience.strikes_max
    }

    /// When it is to be read again, while it is not.
    pub fn resumes_ms(&self) -> Option<u64> {
        self.resumes_ms
    }

    /// Reads on, if the time has come. Returns whether it has.
    pub fn resume(&mut self, now_ms: u64) -> bool {
        let is_due = self.resumes_ms.is_some_and(|resumes_ms| resumes_ms <= now_ms);
        if is_due {
            self.resumes_ms = None;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::new(10, 1_000, 2_000).expect("a bound");
        let mut bucket = Bucket::default();

        let burst = (0..100).filter(|_| bucket.take(&rate, 5)).count();

        assert_eq!((burst as u64, rate.burst()), (20, 20));
        assert_eq!(bucket.full_in_ms(&rate, 5), 2_000);
        assert_eq!(bucket.next_in_ms(&rate, 5), 100);
        assert_eq!(bucket.next_in_ms(&rate, 104), 1);
        assert!(!bucket.take(&rate, 104));
        assert!(bucket.take(&rate, 105));
        assert_eq!(bucket.available(&rate, 1_105), 10);
        assert_eq!(bucket.available(&rate, 1_000_000), 20);
    }

    #[test]
    fn a_small_rate_has_a_burst_of_one() {
        let rate = Rate::new(1, 60_000, 5_000).expect("a bound");
        let mut bucket = Bucket::default();

        assert!(bucket.take(&rate, 0));
        assert!(!bucket.take(&rate, 59_999));
        assert!(bucket.take(&rate, 60_000));
    }

    #[test]
    fn no_tokens_mean_no_bound() {
        assert_eq!(Rate::new(0, 1_000, 5_000), None);
    }

    #[test]
    fn strikes_are_counted_until_there_is_peace() {
        let patience = Patience { strikes_max: 3, forgiven_ms: 1_000 };
        let mut pace = Pace::default();

        assert!(!pace.strike(50, &patience, 10_000));
        assert!(!pace.strike(50, &patience, 10_999));
        assert!(!pace.strike(50, &patience, 11_999), "the ones before are forgiven");
        assert!(!pace.strike(50, &patience, 12_000));
        assert!(pace.strike(50, &patience, 12_001));
        assert_eq!(pace.resumes_ms(), Some(12_051));
        assert!(!pace.resume(12_050) && pace.resume(12_051) && !pace.resume(12_052));
    }

    proptest! {
        #[test]
        fn no_window_of_time_gives_more_than_burst_and_rate(
            tokens in 1u64..10_000, period_ms in prop::sample::select(vec![1_000u64, 60_000]), burst_ms in 0u64..20_000,
            steps in prop::collection::vec((0u64..500, 0u64..200), 1..60)
        ) {
            let rate = Rate::new(tokens, period_ms, burst_ms).expect("a bound");
            let (mut bucket, mut now_ms, mut takings) = (Bucket::default(), 0, Vec::new());
            for (wait_ms, tries) in steps {
                now_ms += wait_ms;
                let taken = (0..tries).filter(|_| bucket.take(&rate, now_ms)).count() as u64;
                takings.push((now_ms, taken));
            }
            for first in 0..takings.len() {
                let mut sum = 0;
                for (at_ms, taken) in &takings[first..] {
                    sum += taken;
                    let allowed = rate.burst() + 1 + (at_ms - takings[first].0) * tokens / period_ms;
                    prop_assert!(sum <= allowed, "{sum} in {} ms", at_ms - takings[first].0);
                }
            }
        }

        #[test]
        fn who_stays_under_the_rate_is_never_refused(
            tokens in 1u64..1_000, burst_ms in 0u64..10_000, gaps in prop::collection::vec(0u64..50, 1..200)
        ) {
            let rate = Rate::new(tokens, 1_000, burst_ms).expect("a bound");
            let (mut bucket, mut now_ms) = (Bucket::default(), 7);
            for gap in gaps {
                prop_assert!(bucket.take(&rate, now_ms));
                now_ms += 1_000u64.div_ceil(tokens) + gap;
            }
        }

        #[test]
        fn it_is_full_when_it_said_and_not_before(
            tokens in 1u64..1_000_000, burst_ms in 0u64..10_000, spent in 0u64..2_000_000, start_ms in 0u64..1_000_000
        ) {
            let rate = Rate::new(tokens, 1_000, burst_ms).expect("a bound");
            let mut bucket = Bucket::default();
            bucket.spend(&rate, spent, start_ms);
            let wait_ms = bucket.full_in_ms(&rate, start_ms);
            let at = |ms| { let mut bucket = bucket; bucket.full_in_ms(&rate, ms) };
            prop_assert_eq!(at(start_ms + wait_ms), 0);
            prop_assert!(wait_ms == 0 || at(start_ms + wait_ms - 1) > 0);
            prop_assert!(wait_ms <= (burst_ms.max(1_000u64.div_ceil(tokens))));
        }

        #[test]
        fn extremes_do_not_overflow(tokens: u64, burst_ms: u64, spent: u64, now_ms: u64, earlier_ms: u64) {
            if let Some(rate) = Rate::new(tokens, 1_000, burst_ms) {
                let mut bucket = Bucket::default();
                bucket.spend(&rate, spent, now_ms);
                bucket.take(&rate, earlier_ms);
                bucket.full_in_ms(&rate, u64::MAX);
                prop_assert!(bucket.available(&rate, u64::MAX) <= rate.burst());
            }
        }
    }
}
