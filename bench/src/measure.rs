//! Alternation: inside each round all programs run side by side and take turns in short slices, so that what the
//! machine does to one it does to all. A round's cost is the sum over its slices. Rounds in which a program was
//! much slower than at its best are repeated; both cost and count are reported.
//!
//! Absent on purpose: figures of single slices. One is too short to say anything alone.

use std::ops::AddAssign;
use std::time::Duration;

use crate::histogram::Histogram;

/// A round counts as a slow phase of the machine when a program took this many times its best.
const SLOW_PHASE_FACTOR: f64 = 1.35;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Slices of each program in a round.
    pub(crate) slices: usize,
    /// How long a slice is.
    pub(crate) slice: Duration,
}

impl Plan {
    /// Three times as many rounds, for what differs by several percent from one start of the same program to the next, as the
    /// memory that it happens to get falls on the caches: only many starts tell what is the program's.
    pub(crate) fn of_many_starts(self) -> Self {
        Self { rounds: 3 * self.rounds, ..self }
    }
}

/// A program that is started, connected and warm, and idle until its next slice.
pub(crate) trait Running {
    /// Works for `duration` and until nothing is in flight, and says what that cost the program alone.
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work>;

    /// Ends the program, which did `work` in all its slices.
    fn finish(self, work: Work) -> anyhow::Result<Sample>;
}

/// What a program did, and the CPU time it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) cpu_ns: u64,
    /// Messages, or deliveries.
    pub(crate) messages: u64,
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.messages += other.messages;
    }
}

/// What one round showed of one program.
#[derive(Clone)]
pub(crate) struct Sample {
    /// CPU time of the program per message (or delivery).
    pub(crate) us_per_message: f64,
    /// Messages per write call, where it can be known.
    pub(crate) messages_per_write: Option<f64>,
    /// The part of the busiest thread in the program's CPU time, where it was measured.
    pub(crate) busiest: Option<f64>,
    /// From publishing to hearing, where it was measured.
    pub(crate) latency: Option<Histogram>,
}

impl Sample {
    /// A sample of nothing but CPU time.
    pub(crate) fn of(work: Work) -> Self {
        let us_per_message = work.cpu_ns as f64 / 1e3 / work.messages.max(1) as f64;
        Self { us_per_message, messages_per_write: None, busiest: None, latency: None }
    }
}

/// A median and its extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) minimum: f64,
    pub(crate) maximum: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        Self {
            median: (values[last / 2] + values[last.div_ceil(2)]) / 2.0,
            minimum: values[0],
            maximum: values[last],
        }
    }

    /// A value that was measured once.
    pub(crate) fn once(value: f64) -> Self {
        Self { median: value, minimum: value, maximum: value }
    }
}

/// The rounds of one figure: samples by round and program.
pub(crate) struct Rounds {
    rounds: Vec<Vec<Sample>>,
    /// How many rounds fell in slow phases and were repeated.
    pub(crate) repeated: usize,
    /// Whether too many were slow, so that slow ones are among those that count.
    pub(crate) is_noisy: bool,
}

impl Rounds {
    /// The ratio of two programs' CPU per message, round by round.
    pub(crate) fn ratio(&self, program: usize, to: usize) -> Spread {
        Spread::of(
            self.rounds
                .iter()
                .map(|round| round[program].us_per_message / round[to].us_per_message)
                .collect(),
        )
    }

    /// A program's CPU per message in microseconds.
    pub(crate) fn us_per_message(&self, program: usize) -> Spread {
        Spread::of(self.samples(program).map(|sample| sample.us_per_message).collect())
    }

    /// How many messages one write call of a program carried, if every round knows.
    pub(crate) fn messages_per_write(&self, program: usize) -> Option<Spread> {
        let values: Option<Vec<f64>> =
            self.samples(program).map(|sample| sample.messages_per_write).collect();
        values.map(Spread::of)
    }

    /// How much more `program` could do than `than`, round by round, if each of its threads had a core of its own and
    /// those who speak and hear had theirs: its busiest thread is what bounds it.
    pub(crate) fn capacity(&self, program: usize, than: usize) -> Spread {
        let busiest_us = |sample: &Sample| sample.us_per_message * sample.busiest.unwrap_or(1.0);
        let rounds = self.rounds.iter();
        Spread::of(rounds.map(|round| busiest_us(&round[than]) / busiest_us(&round[program])).collect())
    }

    /// All latencies of a program.
    pub(crate) fn latency(&self, program: usize) -> Histogram {
        let mut all = Histogram::new();
        for latency in self.samples(program).filter_map(|sample| sample.latency.as_ref()) {
            all.add(latency);
        }
        all
    }

    /// A note for the report, empty when nothing was unusual.
    pub(crate) fn note(&self) -> String {
        match (self.repeated, self.is_noisy) {
            (0, _) => String::new(),
            (repeated, false) => format!("{repeated} slow rounds repeated"),
            (repeated, true) => format!("noisy machine: {repeated} slow rounds, some of them count"),
        }
    }

    fn samples(&self, program: usize) -> impl Iterator<Item = &Sample> {
        self.rounds.iter().map(move |round| &round[program])
    }
}

/// Runs `programs` programs side by side until enough rounds lie outside slow phases, within twice as many and two.
pub(crate) fn alternate<R: Running>(
    plan: &Plan,
    programs: usize,
    mut start: impl FnMut(usize) -> anyhow::Result<R>,
) -> anyhow::Result<Rounds> {
    let mut all: Vec<Vec<Sample>> = Vec::new();
    loop {
        all.push(run_round(plan, programs, &mut start)?);

        let steady = steady_rounds(&all, programs);
        let repeated = all.len() - steady.len();
        if steady.len() >= plan.rounds {
            let rounds = steady.into_iter().map(|index| all[index].clone()).collect();
            return Ok(Rounds { rounds, repeated, is_noisy: false });
        }
        if all.len() >= 2 * plan.rounds + 2 {
            return Ok(Rounds { rounds: all, repeated, is_noisy: true });
        }
    }
}

/// One round: every program is started before the first is measured.
fn run_round<R: Running>(
    plan: &Plan,
    programs: usize,
    start: &mut impl FnMut(usize) -> anyhow::Result<R>,
) -> anyhow::Result<Vec<Sample>> {
    let mut running = (0..programs).map(start).collect::<anyhow::Result<Vec<R>>>()?;
    let mut work = vec![Work::default(); programs];
    for program in turns(programs, plan.slices) {
        work[program] += running[program].slice(plan.slice)?;
    }
    running.into_iter().zip(work).map(|(running, work)| running.finish(work)).collect()
}

/// Whose slice it is, one after the other. Everybody has one turn before anybody has the next, and each time another
/// program begins, so a machine that gets slower or faster all the while favours none: 0 1, 1 0, 0 1 of two programs,
/// 0 1 2, 1 2 0, 2 0 1 of three.
fn turns(programs: usize, slices: usize) -> impl Iterator<Item = usize> {
    (0..slices).flat_map(move |first| (0..programs).map(move |next| (first + next) % programs))
}

/// The rounds in which no program was far from its best.
fn steady_rounds(all: &[Vec<Sample>], programs: usize) -> Vec<usize> {
    let best: Vec<f64> = (0..programs)
        .map(|program| all.iter().map(|round| round[program].us_per_message).fold(f64::INFINITY, f64::min))
        .collect();
    (0..all.len())
        .filter(|index| {
            all[*index]
                .iter()
                .zip(&best)
                .all(|(sample, best)| sample.us_per_message <= best * SLOW_PHASE_FACTOR)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn two_programs_take_turns_in_mirrored_order() {
        assert_eq!(turns(2, 4).collect::<Vec<_>>(), [0, 1, 1, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn three_programs_take_turns_in_rotation() {
        assert_eq!(turns(3, 3).collect::<Vec<_>>(), [0, 1, 2, 1, 2, 0, 2, 0, 1]);
    }

    #[test]
    fn all_programs_are_started_before_the_first_slice() {
        let log = RefCell::new(Vec::new());

        alternate(&plan(2), 2, |program| {
            log.borrow_mut().push(format!("start {program}"));
            Ok(Logged { program, log: &log })
        })
        .expect("it runs");

        let round =
            ["start 0", "start 1", "slice 0", "slice 1", "slice 1", "slice 0", "finish 0", "finish 1"];
        assert_eq!(log.into_inner(), [round, round].concat());
    }

    #[test]
    fn a_round_costs_the_sum_of_its_slices() {
        let slices = [Work { cpu_ns: 9_000, messages: 1 }, Work { cpu_ns: 1_000, messages: 4 }];

        let rounds = alternate(&plan(1), 1, |_| Ok(Scripted(slices.into_iter()))).expect("it runs");

        assert_eq!(rounds.us_per_message(0), Spread::once(2.0));
    }

    #[test]
    fn slow_phases_are_repeated() {
        let mut costs = [1_000, 2_000, 1_100, 1_050].into_iter();

        let rounds =
            alternate(&plan(3), 1, |_| Ok(Steady(costs.next().expect("four rounds do")))).expect("it runs");

        assert_eq!(rounds.repeated, 1);
        assert!(!rounds.is_noisy);
        assert_eq!(rounds.us_per_message(0), Spread { median: 1.05, minimum: 1.0, maximum: 1.1 });
    }

    #[test]
    fn a_machine_that_never_settles_is_reported_as_noisy() {
        let mut cost = 1_000_000;

        let rounds = alternate(&plan(2), 1, |_| {
            cost /= 2;
            Ok(Steady(cost))
        })
        .expect("it runs");

        assert!(rounds.is_noisy);
        assert_eq!(rounds.repeated, 5);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let mut costs = [1_000, 2_000, 1_200, 2_600].into_iter();

        let rounds =
            alternate(&plan(2), 2, |_| Ok(Steady(costs.next().expect("two rounds do")))).expect("it runs");

        let ratio = rounds.ratio(1, 0);
        assert!((ratio.minimum - 2.0).abs() < 1e-9);
        assert!((ratio.maximum - 2.6 / 1.2).abs() < 1e-9);
    }

    fn plan(rounds: usize) -> Plan {
        Plan { rounds, slices: 2, slice: Duration::ZERO }
    }

    /// Every message costs the same number of nanoseconds.
    struct Steady(u64);

    impl Running for Steady {
        fn slice(&mut self, _: Duration) -> anyhow::Result<Work> {
            Ok(Work { cpu_ns: self.0, messages: 1 })
        }

        fn finish(self, work: Work) -> anyhow::Result<Sample> {
            Ok(Sample::of(work))
        }
    }

    /// Each slice is given.
    struct Scripted(std::array::IntoIter<Work, 2>);

    impl Running for Scripted {
        fn slice(&mut self, _: Duration) -> anyhow::Result<Work> {
            Ok(self.0.next().expect("a round has two slices"))
        }

        fn finish(self, work: Work) -> anyhow::Result<Sample> {
            Ok(Sample::of(work))
        }
    }

    /// Writes down what is asked of it.
    struct Logged<'a> {
        program: usize,
        log: &'a RefCell<Vec<String>>,
    }

    impl Running for Logged<'_> {
        fn slice(&mut self, _: Duration) -> anyhow::Result<Work> {
            self.log.borrow_mut().push(format!("slice {}", self.program));
            Ok(Work { cpu_ns: 1_000, messages: 1 })
        }

        fn finish(self, work: Work) -> anyhow::Result<Sample> {
            self.log.borrow_mut().push(format!("finish {}", self.program));
            Ok(Sample::of(work))
        }
    }
}
