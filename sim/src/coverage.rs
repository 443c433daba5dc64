//! What the runs met. A simulation that never comes to a place proves nothing about it.

use std::fmt;

macro_rules! coverage {
    ($($(#[$doc:meta])* $name:ident: $words:literal,)*) => {
        /// Something that runs should meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Met { $($(#[$doc])* $name,)* }

        const WORDS: &[&str] = &[$($words),*];
    };
}

coverage! {
    /// A message was heard and judged.
    Message: "messages checked",
    /// A publish was acknowledged.
    Ack: "acknowledged",
    /// A publish was acknowledged as one that is known already.
    Again: "keys repeated",
    /// A gap `slow` was heard.
    GapSlow: "gaps slow",
    /// A gap `evicted` was heard.
    GapEvicted: "gaps evicted",
    /// A client began to lag.
    Lag: "lags",
    /// A message left history because of a bound.
    Evicted: "evicted",
    /// A message left history because of its age.
    Expired: "expired",
    /// A channel was forgotten.
    Forgotten: "channels forgotten",
    /// A queued message was taken back.
    Reclaimed: "reclaimed",
    /// A client was closed for being slow.
    ClosedSlow: "closed slow",
    /// A request was refused.
    Refused: "refused",
    /// A guest was refused what is not for guests.
    Denied: "denied",
    /// A subscription took up a position.
    Resumed: "resumed",
    /// A subscription could not take up a position.
    NotResumed: "not resumed",
    /// A look into history.
    Past: "looks into history",
    /// A page went from one shard to another.
    CrossPage: "cross-shard pages",
    /// A delivery went from one shard to another.
    CrossDelivery: "cross-shard deliveries",
    /// A shard was told that it must read on itself.
    CrossSkip: "cross-shard skips",
    /// A connection was accepted on one shard and lives on another.
    HandedRound: "handed round",
    /// A raw socket was closed where a gap was due.
    RawClosed: "raw closed",
    /// A raw socket heard something.
    RawMessage: "raw messages",
    /// An event stream heard something.
    EventMessage: "event messages",
    /// A client ended its side and went on hearing.
    HalfClosed: "half closed",
    /// A client reset its connection.
    Aborted: "aborted",
    /// A client went without a word.
    Vanished: "vanished",
    /// Data and end came as one edge.
    MergedEdge: "merged edges",
    /// An edge came for nothing.
    SpuriousEdge: "spurious edges",
    /// An edge was held back.
    DelayedEdge: "delayed edges",
    /// Writes were made together.
    BatchedWrite: "writes made together",
    /// Writes were encrypted just before they were made together with others.
    EncryptedWrite: "encrypted together",
    /// A connection could not be accepted for want of a descriptor.
    Exhausted: "out of descriptors",
    /// A client was bid farewell by a drain.
    Drained: "drained",
}

/// How often each was met.
#[derive(Clone, Debug)]
pub struct Coverage([u64; WORDS.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Coverage([0; WORDS.len()])
    }
}

impl Coverage {
    /// Counts.
    pub fn meet(&mut self, met: Met, count: u64) {
        self.0[met as usize] += count;
    }

    /// How often it was met.
    pub fn count(&self, met: Met) -> u64 {
        self.0[met as usize]
    }

    /// Adds what another run met.
    pub fn add(&mut self, other: &Coverage) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine += others;
        }
    }

    /// What was never met.
    pub fn unmet(&self) -> Vec<&'static str> {
        WORDS.iter().zip(self.0).filter(|(_, count)| *count == 0).map(|(words, _)| *words).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (words, count)) in WORDS.iter().zip(self.0).enumerate() {
            let before = if place == 0 { "" } else { ", " };
            write!(formatter, "{before}{words} {count}")?;
        }
        Ok(())
    }
}
