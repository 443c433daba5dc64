//! The shard's timer wheel: who has to be looked at when.
//!
//! Deadlines move with every message, so moving one costs nothing here: a connection keeps its own deadline, stands in
//! the wheel once, at a moment not later than it, and is put in again when it is found to have time left. Deliberately
//! absent: removal. A key that is no longer wanted is ignored by its owner when it comes out.

/// A wheel of 512 slots of 64 ms, 32 s around; what is due later goes round again.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<u64>>,
    occupied: [u64; SLOTS / 64],
    /// The first tick that has not been taken out.
    next_tick: u64,
}

const SLOTS: usize = 512;
/// How late a timer may be noticed.
pub(super) const TICK_MS: u64 = 64;

impl Wheel {
    /// Makes a wheel that begins at `now_ms`.
    pub(super) fn new(now_ms: u64) -> Self {
        Wheel { slots: vec![Vec::new(); SLOTS], occupied: [0; SLOTS / 64], next_tick: now_ms / TICK_MS }
    }

    /// Puts `key` in for `due_ms`, and returns what it will be looked at for: that time, or the end of a turn of the wheel
    /// if that comes before.
    pub(super) fn insert(&mut self, due_ms: u64, key: u64) -> u64 {
        // The tick after the due one, so that what comes out is due and not almost due.
        let tick = (due_ms / TICK_MS + 1).clamp(self.next_tick, self.next_tick + SLOTS as u64 - 1);
        let slot = tick as usize % SLOTS;
        self.slots[slot].push(key);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        due_ms.min(tick * TICK_MS)
    }

    /// Takes out everything due at `now_ms`.
    pub(super) fn expire(&mut self, now_ms: u64, due: &mut Vec<u64>) {
        let end = now_ms / TICK_MS + 1;
        if end <= self.next_tick {
            return;
        }
        let turns = (end - self.next_tick).min(SLOTS as u64);
        for tick in self.next_tick..self.next_tick + turns {
            let slot = tick as usize % SLOTS;
            if self.occupied[slot / 64] & (1 << (slot % 64)) != 0 {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
                due.append(&mut self.slots[slot]);
            }
        }
        self.next_tick = end;
    }

    /// When the next key comes out, if there is one.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let start = self.next_tick as usize % SLOTS;
        let mut word = start / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (start % 64));
        for step in 0..=SLOTS / 64 {
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some((self.next_tick + ahead as u64) * TICK_MS);
            }
            word = (word + 1) % (SLOTS / 64);
            bits = self.occupied[word];
            // The first word is looked at a second time, for the slots before the start.
            debug_assert!(step <= SLOTS / 64);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(wheel: &mut Wheel, now_ms: u64) -> Vec<u64> {
        let mut due = Vec::new();
        wheel.expire(now_ms, &mut due);
        due
    }

    #[test]
    fn a_key_comes_out_at_its_time_and_not_before() {
        let mut wheel = Wheel::new(1_000);

        let at = wheel.insert(1_500, 7);

        let out = wheel.next_ms().expect("a key is in");
        assert_eq!(at, 1_500);
        assert!((at..=at + TICK_MS).contains(&out));
        assert!(expired(&mut wheel, out - 1).is_empty());
        assert_eq!(expired(&mut wheel, out), [7]);
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn a_key_beyond_the_wheel_comes_out_after_one_turn() {
        let mut wheel = Wheel::new(0);

        let at = wheel.insert(10_000_000, 1);

        assert!(at < SLOTS as u64 * TICK_MS);
        assert_eq!(expired(&mut wheel, at), [1]);
    }

    #[test]
    fn every_key_comes_out_once_whatever_the_steps() {
        for step in [1, 63, 64, 65, 1_000, 40_000] {
            let mut wheel = Wheel::new(12_345);
            let mut out = Vec::new();
            for key in 0..2_000 {
                wheel.insert(12_345 + key * 13, key);
            }

            let mut now = 12_345;
            while now < 12_345 + 70_000 {
                now += step;
                for key in expired(&mut wheel, now) {
                    assert!(12_345 + key * 13 <= now || key * 13 > 30_000, "{key} came out early at {now}");
                    out.push(key);
                }
            }

            out.sort_unstable();
            assert_eq!(out, (0..2_000).collect::<Vec<_>>(), "step {step}");
            assert_eq!(wheel.next_ms(), None);
        }
    }
}
