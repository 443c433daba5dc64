//! 64 bytes to and fro through a relay, one at a time: the median beside socat's, and the 99th percentile.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use super::{Line, Relay};
use crate::cell::Bench;
use crate::histogram::Histogram;
use crate::measure::{Running, Sample, Work, alternate};
use crate::report::{Report, Row, Target, Unit};

const BYTES: usize = 64;

/// The time of a round trip.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let relays: Vec<Relay> = [Relay::Sockeye, Relay::Socat, Relay::Nginx, Relay::Floor]
        .into_iter()
        .filter(|relay| relay.is_there())
        .collect();
    let rounds = alternate(&bench.plan, relays.len(), |index| {
        let mut bouncing =
            Bouncing { line: Line::through_relay(bench, relays[index])?, times: Histogram::new() };
        bouncing.bounce(bench.warm_up())?;
        bouncing.times = Histogram::new();
        Ok(bouncing)
    })?;
    let name = "relay, 64 B to and fro";
    for (index, relay) in relays.iter().enumerate().skip(1) {
        let target = if *relay == Relay::Socat { Target::AtMost(1.10) } else { Target::None };
        let figure = format!("median sockeye / {}", relay.name());
        report.push(Row::of_ratio(name, &figure, &rounds, (0, index), target));
    }
    for (index, relay) in relays.iter().enumerate() {
        let times = rounds.latency(index);
        let percentile = format!("{}, 99th percentile", relay.name());
        let median = format!("median {:.1} us", times.quantile_us(0.5));
        let row = Row::of_value(name, &percentile, times.quantile_us(0.99), Unit::Microseconds, Target::None);
        report.push(row.with_note(median));
    }
    Ok(())
}

struct Bouncing {
    line: Line,
    times: Histogram,
}

impl Bouncing {
    /// One end asks, a thread at the other end answers.
    fn bounce(&mut self, duration: Duration) -> anyhow::Result<u64> {
        let Self { line, times } = self;
        let (mut near, mut far) = (&line.near, &line.far);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut bytes = [0; BYTES];
                // The last question is marked; an error is seen at the other end.
                while far.read_exact(&mut bytes).is_ok() && far.write_all(&bytes).is_ok() && bytes[0] == 0 {}
            });
            let (began, mut count) = (Instant::now(), 0);
            loop {
                let asked = Instant::now();
                let is_last = asked.duration_since(began) >= duration;
                let mut bytes = [u8::from(is_last); BYTES];
                near.write_all(&bytes)?;
                near.read_exact(&mut bytes)?;
                times.record(asked.elapsed(), 1);
                count += 1;
                if is_last {
                    return Ok(count);
                }
            }
        })
    }
}

impl Running for Bouncing {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let messages = self.bounce(duration)?;
        Ok(Work { cpu_ns: 0, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        // The figure of a round is its median.
        let us_per_message = self.times.quantile_us(0.5);
        Ok(Sample { us_per_message, latency: Some(self.times), ..Sample::of(work) })
    }
}
