//! One connection from TCP through a WebSocket to TCP: two processes, both of which are counted.

use std::time::Duration;

use anyhow::Context as _;

use super::{BLOCK_BYTES, Line, Relay, Tunnel};
use crate::cell::Bench;
use crate::measure::{Running, Sample, Work, alternate};
use crate::report::{Report, Row, Target};

/// How often websocat may stall before its figures are given up.
const STALLS_MAX: usize = 5;

/// CPU for each block beside websocat, and beside one socat that looks at nothing.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let tunnels: Vec<Tunnel> =
        [Tunnel::Sockeye, Tunnel::Websocat].into_iter().filter(|tunnel| tunnel.is_there()).collect();
    let has_socat = Relay::Socat.is_there();
    let programs = tunnels.len() + usize::from(has_socat);
    let start = |index: usize| {
        let (name, line) = match tunnels.get(index) {
            Some(tunnel) => (tunnel.name(), Line::through_tunnel(bench, *tunnel)?),
            None => (Relay::Socat.name(), Line::through_relay(bench, Relay::Socat)?),
        };
        let flowing = Flowing { name, line, block: vec![7; BLOCK_BYTES] };
        flowing.line.flow(bench.warm_up(), &flowing.block).context(name)?;
        Ok(flowing)
    };
    let mut stalls = 0;
    let rounds = loop {
        match alternate(&bench.plan, programs, start) {
            Ok(rounds) => break rounds,
            // It passes no more bytes, once in some hundred slices: that is its own, and nothing is measured by it.
            Err(error) if error.to_string() == Tunnel::Websocat.name() && stalls < STALLS_MAX => stalls += 1,
            Err(error) => return Err(error),
        }
    };
    let name = "relay, TCP to WebSocket to TCP, 64 KiB blocks";
    for (index, tunnel) in tunnels.iter().enumerate().skip(1) {
        let figure = format!("CPU {} / sockeye", tunnel.name());
        let mut row = Row::of_ratio(name, &figure, &rounds, (index, 0), Target::AtLeast(3.0));
        if stalls > 0 {
            row.note = format!("{}; {} stalled and began anew: {stalls}", row.note, tunnel.name());
        }
        report.push(row);
    }
    if has_socat {
        for (index, tunnel) in tunnels.iter().enumerate() {
            let figure = format!("CPU {} / {}, TCP to TCP", tunnel.name(), Relay::Socat.name());
            report.push(Row::of_ratio(name, &figure, &rounds, (index, tunnels.len()), Target::None));
        }
    }
    Ok(())
}

struct Flowing {
    name: &'static str,
    line: Line,
    block: Vec<u8>,
}

impl Running for Flowing {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let before = self.line.cpu_ns()?;
        let messages = self.line.flow(duration, &self.block).context(self.name)?;
        Ok(Work { cpu_ns: self.line.cpu_ns()? - before, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        Ok(Sample::of(work))
    }
}
