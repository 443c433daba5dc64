//! Alternation: programs take turns inside each round, so that what the machine does to one it does to all.
//! Rounds in which a program was much slower than at its best are repeated; both cost and count are reported.

use crate::histogram::Histogram;

/// A round counts as a slow phase of the machine when a program took this many times its best.
const SLOW_PHASE_FACTOR: f64 = 1.35;

/// What one run of one program showed.
#[derive(Clone)]
pub(crate) struct Sample {
    /// CPU time of the program per message (or delivery).
    pub(crate) us_per_message: f64,
    /// Messages per write call, where it can be known.
    pub(crate) messages_per_write: Option<f64>,
    /// From publishing to hearing, where it was measured.
    pub(crate) latency: Option<Histogram>,
}

impl Sample {
    /// A sample of nothing but CPU time.
    pub(crate) fn of_cpu(cpu_ns: u64, messages: u64) -> Self {
        let us_per_message = cpu_ns as f64 / 1e3 / messages.max(1) as f64;
        Self { us_per_message, messages_per_write: None, latency: None }
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

/// Runs `programs` programs in turns until `wanted` rounds lie outside slow phases, within twice as many and two.
pub(crate) fn alternate(
    wanted: usize,
    programs: usize,
    mut run: impl FnMut(usize) -> anyhow::Result<Sample>,
) -> anyhow::Result<Rounds> {
    let mut all: Vec<Vec<Sample>> = Vec::new();
    loop {
        let mut round: Vec<(usize, Sample)> = Vec::with_capacity(programs);
        let is_reversed = all.len() % 2 == 1;
        for turn in 0..programs {
            let program = if is_reversed { programs - 1 - turn } else { turn };
            round.push((program, run(program)?));
        }
        round.sort_by_key(|(program, _)| *program);
        all.push(round.into_iter().map(|(_, sample)| sample).collect());

        let steady = steady_rounds(&all, programs);
        let repeated = all.len() - steady.len();
        if steady.len() >= wanted {
            let rounds = steady.into_iter().map(|index| all[index].clone()).collect();
            return Ok(Rounds { rounds, repeated, is_noisy: false });
        }
        if all.len() >= 2 * wanted + 2 {
            return Ok(Rounds { rounds: all, repeated, is_noisy: true });
        }
    }
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
    use super::*;

    #[test]
    fn order_is_reversed_every_second_round() {
        let mut order = Vec::new();

        alternate(3, 2, |program| {
            order.push(program);
            Ok(Sample::of_cpu(1_000, 1))
        })
        .expect("it runs");

        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn slow_phases_are_repeated() {
        let mut costs = [1_000, 2_000, 1_100, 1_050].into_iter();

        let rounds = alternate(3, 1, |_| Ok(Sample::of_cpu(costs.next().expect("four rounds do"), 1)))
            .expect("it runs");

        assert_eq!(rounds.repeated, 1);
        assert!(!rounds.is_noisy);
        assert_eq!(rounds.us_per_message(0), Spread { median: 1.05, minimum: 1.0, maximum: 1.1 });
    }

    #[test]
    fn a_machine_that_never_settles_is_reported_as_noisy() {
        let mut cost = 1_000_000;

        let rounds = alternate(2, 1, |_| {
            cost /= 2;
            Ok(Sample::of_cpu(cost, 1))
        })
        .expect("it runs");

        assert!(rounds.is_noisy);
        assert_eq!(rounds.repeated, 5);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let mut costs = [1_000, 2_000, 2_600, 1_200].into_iter();

        let rounds = alternate(2, 2, |_| Ok(Sample::of_cpu(costs.next().expect("two rounds do"), 1)))
            .expect("it runs");

        let ratio = rounds.ratio(1, 0);
        assert!((ratio.minimum - 2.0).abs() < 1e-9);
        assert!((ratio.maximum - 2.6 / 1.2).abs() < 1e-9);
    }
}
