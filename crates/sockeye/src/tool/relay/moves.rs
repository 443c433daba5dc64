//! When something moved last in a pair, how much did, and which direction is over.
//!
//! Both directions share it, and whoever waits for one of them. Deliberately absent: what follows from it, which is in `carry`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::figures::{Tally, Way};

/// When something moved last, how much did, and which direction is over.
pub(super) struct Moves {
    moved: Mutex<Moved>,
    /// By way: something was received, and is being sent.
    sending: [AtomicBool; 2],
    /// By way: it is over, and its target was told.
    told: [AtomicBool; 2],
    /// By way: it is over.
    over: [Notify; 2],
}

struct Moved {
    at: Instant,
    by_way: [Instant; 2],
    tally: Tally,
}

impl Moves {
    pub(super) fn new() -> Moves {
        let now = Instant::now();
        let moved = Mutex::new(Moved { at: now, by_way: [now; 2], tally: Tally::default() });
        Moves { moved, sending: Default::default(), told: Default::default(), over: Default::default() }
    }

    /// Counts what was received and is to be sent.
    pub(super) fn count(&self, way: Way, bytes: usize) {
        self.sending[way as usize].store(true, Ordering::Relaxed);
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.at = Instant::now();
        let at = moved.at;
        moved.by_way[way as usize] = at;
        moved.tally.count(way, bytes);
    }

    pub(super) fn at(&self) -> Instant {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    pub(super) fn at_of(&self, way: Way) -> Instant {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).by_way[way as usize]
    }

    /// What was received was sent.
    pub(super) fn settle(&self, way: Way) {
        self.sending[way as usize].store(false, Ordering::Relaxed);
    }

    pub(super) fn is_sending(&self, way: Way) -> bool {
        self.sending[way as usize].load(Ordering::Relaxed)
    }

    /// A direction is over, and its target was told in good order or was not.
    pub(super) fn end(&self, way: Way, is_told: bool) {
        self.told[way as usize].store(is_told, Ordering::Relaxed);
        self.over[way as usize].notify_one();
    }

    /// Waits for the end of a direction.
    pub(super) async fn over(&self, way: Way) {
        self.over[way as usize].notified().await;
    }

    pub(super) fn is_told(&self, way: Way) -> bool {
        self.told[way as usize].load(Ordering::Relaxed)
    }

    /// Waits until nothing has come in a direction for so long. What is still on its way to a slow reader is no silence.
    pub(super) async fn silence(&self, way: Way, span: Duration) {
        loop {
            self.stillness(way, span).await;
            if !self.is_sending(way) || span.is_zero() {
                return;
            }
        }
    }

    /// Waits until nothing has come in a direction for so long, be it that a reader takes nothing.
    pub(super) async fn stillness(&self, way: Way, span: Duration) {
        let since = Instant::now();
        loop {
            let until = self.at_of(way).max(since) + span;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until.into()).await;
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(5);

    fn on_runtime<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    #[test]
    fn what_is_on_its_way_is_no_silence_but_stands_still() {
        on_runtime(async {
            let moves = Moves::new();

            moves.count(Way::Back, 1);

            moves.stillness(Way::Back, SPAN).await;
            tokio::select! {
                biased;
                () = moves.silence(Way::Back, SPAN) => panic!("it is still being sent"),
                () = async {
                    moves.stillness(Way::There, 4 * SPAN).await;
                    moves.settle(Way::Back);
                } => {}
            }
            moves.silence(Way::Back, SPAN).await;
        });
    }

    #[test]
    fn no_time_at_all_is_over_at_once() {
        on_runtime(async {
            let moves = Moves::new();
            moves.count(Way::Back, 1);

            moves.silence(Way::Back, Duration::ZERO).await;
        });
    }

    #[test]
    fn an_end_is_known_to_who_asks_later() {
        on_runtime(async {
            let moves = Moves::new();

            moves.end(Way::There, true);

            moves.over(Way::There).await;
            assert!(moves.is_told(Way::There) && !moves.is_told(Way::Back));
        });
    }
}
