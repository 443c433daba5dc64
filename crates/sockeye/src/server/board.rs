//! What shards show each other: the figures of each, so that any of them can tell those of the whole server.
//!
//! A shard puts its figures up when they have changed, by whatever it was, at most every `figures_interval_ms`. Deliberately absent: anything that a connection's path would have to look at.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sockeye_gateway::Tally;
use sockeye_hub::{Hub, Stats};

use super::figures::Figures;

/// The figures of one shard, as of its last showing.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Connections.
    pub figures: Figures,
    /// Requests.
    pub tally: Tally,
    /// Channels and messages.
    pub stats: Stats,
}

/// How reading the configuration went.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    pub(super) good: AtomicU64,
    pub(super) bad: AtomicU64,
    pub(super) last_was_bad: AtomicBool,
    pub(super) last_good_unix_s: AtomicU64,
}

/// The board, with a place for each shard.
#[derive(Debug)]
pub struct Board {
    places: Box<[Mutex<Option<Shown>>]>,
    /// How many shards have somebody who hears `$sys/`.
    hearing: AtomicUsize,
    reloads: Reloads,
    /// When it was last told that descriptors have run out, plus one; 0 if never.
    exhausted_told_ms: AtomicU64,
}

impl Board {
    /// Makes the board of so many shards.
    pub fn new(shards: u16) -> Arc<Self> {
        Arc::new(Board {
            places: (0..shards).map(|_| Mutex::new(None)).collect(),
            exhausted_told_ms: AtomicU64::new(0),
            hearing: AtomicUsize::new(0),
            reloads: Reloads { last_good_unix_s: AtomicU64::new(unix_s()), ..Reloads::default() },
        })
    }

    /// Whether it is to be told that descriptors have run out: they are those of all shards, and one of them tells.
    pub(super) fn may_tell_exhausted(&self, now_ms: u64) -> bool {
        let is_due = |told_ms: u64| (told_ms == 0 || now_ms + 1 >= told_ms + 10_000).then_some(now_ms + 1);
        self.exhausted_told_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok()
    }

    /// A shard has begun to have somebody who hears `$sys/`, or has nobody any more.
    pub(super) fn note_hearing(&self, hears: bool) {
        if hears {
            self.hearing.fetch_add(1, Ordering::Release);
        } else {
            self.hearing.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether anybody hears `$sys/`.
    #[inline]
    pub(super) fn is_system_heard(&self) -> bool {
        self.hearing.load(Ordering::Acquire) > 0
    }

    /// The configuration was read, and could be used or not.
    pub(super) fn note_read(&self, is_good: bool) {
        let Reloads { good, bad, last_was_bad, last_good_unix_s } = &self.reloads;
        if is_good { good } else { bad }.fetch_add(1, Ordering::Relaxed);
        last_was_bad.store(!is_good, Ordering::Relaxed);
        if is_good {
            last_good_unix_s.store(unix_s(), Ordering::Relaxed);
        }
    }

    /// How reading the configuration went.
    pub(super) fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Puts up the figures of a shard.
    pub(super) fn show(&self, shard: u16, shown: Shown) {
        if let Some(place) = self.places.get(usize::from(shard)) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
    }

    /// The figures of every shard, in order: those of the one that asks as they are, the others' as shown. One that has
    /// shown nothing yet has done nothing yet, and counts as such.
    pub(super) fn all(&self, figures: &Figures, tally: &Tally, hub: &Hub) -> Vec<Shown> {
        let own = usize::from(hub.shard().index);
        let shown = |(shard, place): (usize, &Mutex<Option<Shown>>)| {
            if shard == own {
                return Shown { figures: figures.clone(), tally: tally.clone(), stats: hub.stats() };
            }
            let shown = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            shown.unwrap_or_else(|| Shown {
                figures: Figures::new(figures.started),
                tally: Tally::default(),
                stats: Stats::default(),
            })
        };
        self.places.iter().enumerate().map(shown).collect()
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// All figures added up.
pub(super) fn sum(all: &[Shown]) -> Shown {
    let mut shards = all.iter();
    let mut sum = shards.next().expect("a server has at least one shard").clone();
    for shard in shards {
        sum.figures.add(&shard.figures);
        sum.tally.add(&shard.tally);
        sum.stats.add(&shard.stats);
    }
    sum
}
