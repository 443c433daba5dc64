//! A small histogram of durations: buckets a 32nd apart, so a quantile is right within about 3 %.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u64 = 32;
const BUCKETS: usize = (64 * STEPS) as usize;

/// Counts of durations.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts `times` events that took `duration`.
    pub(crate) fn record(&mut self, duration: Duration, times: u64) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += times;
        self.total += times;
    }

    /// Adds everything another histogram holds.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The duration in microseconds that `quantile` (0 to 1) of all events did not pass.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index) as f64 / 1e3;
            }
        }
        0.0
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let power = u64::from(ns.ilog2()) - u64::from(STEPS.ilog2());
    (power * STEPS + (ns >> power)) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    let step = bucket % STEPS + STEPS;
    (step << power) + (1 << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_under_its_buckets_bound() {
        for ns in [0, 1, 31, 32, 33, 63, 64, 65, 1_000, 999_999, 123_456_789, u64::MAX >> 1] {
            let bound = upper_bound(bucket(ns));
            assert!(bound >= ns, "{ns} above {bound}");
            assert!(bound - ns <= ns / STEPS, "{ns} far below {bound}");
        }
    }

    #[test]
    fn quantiles_follow_the_ranks() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::from_micros(10), 98);
        histogram.record(Duration::from_micros(500), 2);

        assert!((10.0..10.4).contains(&histogram.quantile_us(0.5)));
        assert!((500.0..516.0).contains(&histogram.quantile_us(0.99)));
    }
}
