//! Fan-out: one publisher, many subscribers of one channel, on raw sockets and on `/ws`. Single messages, bursts
//! in one write, bursts in several; latency from publishing to hearing, with the generator on the server's core.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Bench;
use crate::floor::{Floor, Route};
use crate::generator::broadcast::{Broadcast, Burst};
use crate::generator::framing::{Framing, Kind};
use crate::generator::payload;
use crate::generator::socket::{Door, Socket};
use crate::histogram::Histogram;
use crate::measure::{Rounds, Running, Sample, Work, alternate};
use crate::process::{Process, Program};
use crate::report::{Report, Row, Target, Unit};

const CHANNEL: &str = "bench";
const PAYLOAD_BYTES: usize = 128;

const SINGLE: Burst = Burst { writes: 1, messages_per_write: 1 };
const EIGHT_IN_ONE_WRITE: Burst = Burst { writes: 1, messages_per_write: 8 };
const SIXTEEN_IN_FLIGHT: Burst = Burst { writes: 16, messages_per_write: 1 };

/// The door that subscribers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// `/ch/NAME`: payloads as frames.
    Raw,
    /// `/ws`: payloads in envelopes.
    Envelope,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    name: &'static str,
    path: Path,
    subscribers: usize,
    burst: Burst,
    target: Target,
}

const LOADS: [Load; 8] = [
    Load {
        name: "fan-out to 1,000 on /ch",
        path: Path::Raw,
        subscribers: 1_000,
        burst: SINGLE,
        target: Target::AtMost(1.15),
    },
    Load {
        name: "fan-out to 1,000 on /ws",
        path: Path::Envelope,
        subscribers: 1_000,
        burst: SINGLE,
        target: Target::AtMost(1.15),
    },
    Load {
        name: "fan-out to 5,000 on /ch",
        path: Path::Raw,
        subscribers: 5_000,
        burst: SINGLE,
        target: Target::None,
    },
    Load {
        name: "fan-out to 5,000 on /ws",
        path: Path::Envelope,
        subscribers: 5_000,
        burst: SINGLE,
        target: Target::None,
    },
    Load {
        name: "fan-out to 1,000 on /ch, 8 in one write",
        path: Path::Raw,
        subscribers: 1_000,
        burst: EIGHT_IN_ONE_WRITE,
        target: Target::None,
    },
    Load {
        name: "fan-out to 1,000 on /ws, 8 in one write",
        path: Path::Envelope,
        subscribers: 1_000,
        burst: EIGHT_IN_ONE_WRITE,
        target: Target::None,
    },
    Load {
        name: "fan-out to 1,000 on /ch, 16 in flight",
        path: Path::Raw,
        subscribers: 1_000,
        burst: SIXTEEN_IN_FLIGHT,
        target: Target::None,
    },
    Load {
        name: "fan-out to 1,000 on /ws, 16 in flight",
        path: Path::Envelope,
        subscribers: 1_000,
        burst: SIXTEEN_IN_FLIGHT,
        target: Target::None,
    },
];

impl Load {
    fn message(self) -> Vec<u8> {
        let text = payload::text(PAYLOAD_BYTES);
        match self.path {
            Path::Raw => Framing::WebSocket.request(Kind::Text, text.as_bytes()),
            Path::Envelope => Framing::WebSocket.request(Kind::Text, &payload::publish(CHANNEL, &text)),
        }
    }

    fn floor(self) -> Floor {
        let sent_bytes = match self.path {
            Path::Raw => Framing::WebSocket.response_bytes(PAYLOAD_BYTES),
            Path::Envelope => payload::push_bytes(Framing::WebSocket, CHANNEL, &payload::text(PAYLOAD_BYTES)),
        };
        Floor {
            route: Route::Fanout,
            received_bytes: self.message().len(),
            sent_bytes,
            framing: Framing::WebSocket,
        }
    }
}

/// Sockeye against the floor, in all shapes.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    for load in LOADS.into_iter().filter(|load| bench.wants(load.name)) {
        let programs = bench.programs(Program::Floor(load.floor()));
        let rounds = alternate(&bench.plan, programs.len(), |index| start(bench, &programs[index], load))?;
        bench.push_ratios(report, load.name, "CPU per delivery", &rounds, load.target);
        if load.burst == SINGLE {
            push_latency(report, load, &rounds);
        } else {
            push_writes(report, load, &rounds);
        }
    }
    Ok(())
}

fn push_latency(report: &mut Report, load: Load, rounds: &Rounds) {
    let (ours, floor) = (rounds.latency(0), rounds.latency(1));
    for (figure, quantile) in [("publish to hear, p50", 0.50), ("publish to hear, p99", 0.99)] {
        let note = format!("floor {:.0} us", floor.quantile_us(quantile));
        let value = ours.quantile_us(quantile);
        report
            .push(Row::of_value(load.name, figure, value, Unit::Microseconds, Target::None).with_note(note));
    }
}

fn push_writes(report: &mut Report, load: Load, rounds: &Rounds) {
    // Messages of one write arrive in one turn; those of several writes may be spread over turns.
    let target = if load.burst == EIGHT_IN_ONE_WRITE { Target::AtLeast(7.5) } else { Target::None };
    let row = Row::of_value(load.name, "deliveries per write", f64::NAN, Unit::Count, target);
    report.push(match rounds.messages_per_write(0) {
        Some(value) => Row { value, ..row },
        None => row.with_note("the server does not count its writes"),
    });
}

/// A program that is heard by many, warm.
struct Broadcasting {
    generator: Broadcast,
    process: Process,
    /// Of the measured slices alone.
    latency: Histogram,
    /// Write calls before the first slice, if they can be known.
    writes_before: Option<u64>,
}

impl Running for Broadcasting {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let before = self.process.cpu_ns()?;
        let deliveries = self.generator.run(duration, &mut self.latency)?;
        Ok(Work { cpu_ns: self.process.cpu_ns()? - before, messages: deliveries })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        let mut sample = Sample::of(work);
        if let Some(writes_before) = self.writes_before {
            let writes = writes(&self.process)?.context("the server has stopped counting its writes")?;
            let writes = (writes - writes_before).max(1);
            sample.messages_per_write = Some(work.messages as f64 / writes as f64);
        }
        sample.latency = Some(self.latency);
        Ok(sample)
    }
}

fn start(bench: &Bench, program: &Program, load: Load) -> anyhow::Result<Broadcasting> {
    let process = bench.start(program)?;
    let is_floor = matches!(program, Program::Floor(_));
    let (talk, hear) = match (program, load.path) {
        (Program::Floor(floor), _) => (Door::Floor(floor.framing), Door::Floor(floor.framing)),
        (_, Path::Raw) => (Door::WebSocket("/ch/bench?sub=0"), Door::WebSocket("/ch/bench?pub=0")),
        (_, Path::Envelope) => (Door::WebSocket("/ws"), Door::WebSocket("/ws")),
    };

    // The floor knows the publisher by its order.
    let mut publisher = Socket::open(process.address, talk)?;
    let mut subscribers = Vec::with_capacity(load.subscribers);
    for _ in 0..load.subscribers {
        let mut subscriber = Socket::open(process.address, hear)?;
        if !is_floor && load.path == Path::Envelope {
            subscriber.subscribe(CHANNEL)?;
        }
        subscribers.push(subscriber);
    }
    let message = load.message();
    publisher.send(&message)?;
    for subscriber in &mut subscribers {
        let heard = subscriber.receive()?;
        match load.path {
            _ if is_floor => {}
            Path::Raw => ensure!(heard == payload::text(PAYLOAD_BYTES).as_bytes(), "heard something else"),
            Path::Envelope => super::pairs::check_push(&heard, CHANNEL)?,
        }
    }

    let streams: anyhow::Result<Vec<_>> = subscribers.into_iter().map(Socket::into_stream).collect();
    let mut generator =
        Broadcast::new(publisher.into_stream()?, streams?, Framing::WebSocket, &message, load.burst)?;
    generator.run(bench.warm_up(), &mut Histogram::new())?;

    let writes_before = if is_floor { None } else { writes(&process)? };
    Ok(Broadcasting { generator, process, latency: Histogram::new(), writes_before })
}

/// How many write calls on sockets the server has made: by its own account, or by the kernel's, which does not
/// know `send`. None if neither knows.
fn writes(process: &Process) -> anyhow::Result<Option<u64>> {
    let metrics = crate::generator::http::fetch(process.address, "/metrics")?;
    let own = metrics
        .lines()
        .filter(|line| line.starts_with("sockeye_writes_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64;
    if own > 0 {
        return Ok(Some(own));
    }
    Ok(Some(process.write_calls()?).filter(|calls| *calls > 1_000))
}
