//! One connection from TCP to TCP, as fast as it goes: CPU on one core, and time on two.

use std::time::{Duration, Instant};

use super::{BLOCK_BYTES, Line, Relay};
use crate::cell::Bench;
use crate::measure::{Running, Sample, Work, alternate};
use crate::report::{Report, Row, Target, Unit};

/// CPU for each block beside socat, and the time it takes beside nginx.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let relays: Vec<Relay> = [Relay::Sockeye, Relay::Socat, Relay::Nginx, Relay::Floor]
        .into_iter()
        .filter(|relay| relay.is_there())
        .collect();
    let place = |wanted: Relay| relays.iter().position(|relay| *relay == wanted);
    let name = "relay, TCP to TCP, 64 KiB blocks";
    let rounds =
        alternate(&bench.plan, relays.len(), |index| Flowing::start(bench, relays[index], Clock::Cpu))?;
    if let Some(socat) = place(Relay::Socat) {
        for (index, relay) in relays.iter().enumerate().filter(|(index, _)| *index != socat) {
            let target = if *relay == Relay::Sockeye { Target::AtMost(0.75) } else { Target::None };
            let figure = format!("CPU {} / {}", relay.name(), Relay::Socat.name());
            report.push(Row::of_ratio(name, &figure, &rounds, (index, socat), target));
        }
    }
    if let Some(floor) = place(Relay::Floor) {
        report.push(Row::of_ratio(name, "CPU sockeye / splice loop", &rounds, (0, floor), Target::None));
    }

    let rounds = bench.on_two_cores(|| {
        alternate(&bench.plan, relays.len(), |index| Flowing::start(bench, relays[index], Clock::Wall))
    })?;
    let name = "the same, on two cores";
    for (index, relay) in relays.iter().enumerate().skip(1) {
        let target = if *relay == Relay::Nginx { Target::AtMost(1.0) } else { Target::None };
        let figure = format!("time sockeye / {}", relay.name());
        report.push(Row::of_ratio(name, &figure, &rounds, (0, index), target));
    }
    for (index, relay) in relays.iter().enumerate() {
        let figure = format!("{}, MiB/s", relay.name());
        let per_second = BLOCK_BYTES as f64 / rounds.us_per_message(index).median / 1.048_576;
        report.push(Row::of_value(name, &figure, per_second, Unit::Count, Target::None));
    }
    Ok(())
}

/// What a slice costs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    /// The program's CPU time.
    Cpu,
    /// The time that passed.
    Wall,
}

struct Flowing {
    line: Line,
    block: Vec<u8>,
    clock: Clock,
}

impl Flowing {
    fn start(bench: &Bench, relay: Relay, clock: Clock) -> anyhow::Result<Self> {
        let flowing = Self { line: Line::through_relay(bench, relay)?, block: vec![7; BLOCK_BYTES], clock };
        flowing.line.flow(bench.warm_up(), &flowing.block)?;
        Ok(flowing)
    }
}

impl Running for Flowing {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let (before, began) = (self.line.cpu_ns()?, Instant::now());
        let messages = self.line.flow(duration, &self.block)?;
        let cpu_ns = match self.clock {
            Clock::Cpu => self.line.cpu_ns()? - before,
            Clock::Wall => u64::try_from(began.elapsed().as_nanos())?,
        };
        Ok(Work { cpu_ns, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        Ok(Sample::of(work))
    }
}
