//! Runs of many seeds: one after the other on each thread, and the first failure ends them all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sockeye_hub::planted::{Planted, plant};

use crate::coverage::Coverage;
use crate::world::{Outcome, World};

/// Which seeds to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// The first seed.
    pub start: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Steps of each.
    pub steps: usize,
    /// Threads.
    pub threads: usize,
}

/// A seed that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Why.
    pub why: String,
}

/// Runs one seed. A panic is a failure like any other.
///
/// # Errors
/// Why the seed failed.
pub fn run_seed(seed: u64, steps: usize, trace: bool) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, trace).run(steps))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or_else(|| panic.downcast_ref().copied()).unwrap_or("without a word")))
    })
}

/// Plants a bug and runs seeds until it is found. Returns how many it took and what was seen, or `None` if it was not
/// found.
pub fn find_planted(bug: Planted, runs: Runs) -> Option<Failure> {
    run_while(runs, |_| plant(Some(bug))).err()
}

/// Runs many seeds, until one fails.
///
/// # Errors
/// The failure with the lowest seed of those that were found before all threads had stopped.
pub fn run_all(runs: Runs) -> Result<Coverage, Failure> {
    run_while(runs, |_| {})
}

/// The same; `prepare` is called on each thread before it runs its first seed.
///
/// # Errors
/// As [`run_all`].
pub fn run_while(runs: Runs, prepare: impl Fn(usize) + Sync) -> Result<Coverage, Failure> {
    let next = AtomicU64::new(runs.start);
    let stop = AtomicBool::new(false);
    let total = Mutex::new((Coverage::default(), None::<Failure>));
    std::thread::scope(|scope| {
        for thread in 0..runs.threads.max(1) {
            let (next, stop, total, prepare) = (&next, &stop, &total, &prepare);
            scope.spawn(move || {
                prepare(thread);
                let mut coverage = Coverage::default();
                let mut failure = None;
                while !stop.load(Ordering::Relaxed) && failure.is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= runs.start + runs.seeds {
                        break;
                    }
                    match run_seed(seed, runs.steps, false) {
                        Ok(outcome) => coverage.add(&outcome.coverage),
                        Err(why) => failure = Some(Failure { seed, why }),
                    }
                }
                stop.fetch_or(failure.is_some(), Ordering::Relaxed);
                let mut total = total.lock().expect("nobody panics while holding the total");
                total.0.add(&coverage);
                if let Some(failure) = failure
                    && total.1.as_ref().is_none_or(|other| failure.seed < other.seed)
                {
                    total.1 = Some(failure);
                }
            });
        }
    });
    let (coverage, failure) = total.into_inner().expect("nobody panics while holding the total");
    failure.map_or(Ok(coverage), Err)
}
