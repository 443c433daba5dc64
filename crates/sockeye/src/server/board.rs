//! What shards show each other: the figures of each, so that any of them can tell those of the whole server.
//!
//! A shard puts its figures up when they have changed, at most every `figures_interval_ms`, and once more before it
//! waits. Deliberately absent: anything that a connection's path would have to look at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sockeye_hub::{Hub, Stats};

use super::figures::Figures;

/// The figures of one shard, as of its last showing.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Connections.
    pub figures: Figures,
    /// Channels and messages.
    pub stats: Stats,
}

/// The board, with a place for each shard.
#[derive(Debug)]
pub struct Board {
    places: Box<[Mutex<Option<Shown>>]>,
    /// When it was last told that descriptors have run out, plus one; 0 if never.
    exhausted_told_ms: AtomicU64,
}

impl Board {
    /// Makes the board of so many shards.
    pub fn new(shards: u16) -> Arc<Self> {
        Arc::new(Board {
            places: (0..shards).map(|_| Mutex::new(None)).collect(),
            exhausted_told_ms: AtomicU64::new(0),
        })
    }

    /// Whether it is to be told that descriptors have run out: they are those of all shards, and one of them tells.
    pub(super) fn may_tell_exhausted(&self, now_ms: u64) -> bool {
        let is_due = |told_ms: u64| (told_ms == 0 || now_ms + 1 >= told_ms + 10_000).then_some(now_ms + 1);
        self.exhausted_told_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok()
    }

    /// Puts up the figures of a shard.
    pub(super) fn show(&self, shard: u16, shown: Shown) {
        if let Some(place) = self.places.get(usize::from(shard)) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
    }

    /// The figures of every shard, in order: those of the one that asks as they are, the others' as shown. One that has
    /// shown nothing yet has done nothing yet, and counts as such.
    pub(super) fn all(&self, figures: &Figures, hub: &Hub) -> Vec<Shown> {
        let own = usize::from(hub.shard().index);
        let shown = |(shard, place): (usize, &Mutex<Option<Shown>>)| {
            if shard == own {
                return Shown { figures: figures.clone(), stats: hub.stats() };
            }
            let shown = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            shown.unwrap_or_else(|| Shown { figures: Figures::new(figures.started), stats: Stats::default() })
        };
        self.places.iter().enumerate().map(shown).collect()
    }
}

/// All figures added up.
pub(super) fn sum(all: &[Shown]) -> Shown {
    let mut shards = all.iter();
    let mut sum = shards.next().expect("a server has at least one shard").clone();
    for shard in shards {
        sum.figures.add(&shard.figures);
        sum.stats.add(&shard.stats);
    }
    sum
}
