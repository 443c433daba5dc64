//! TLS: echo, handshakes and idle memory, beside a bare loop around the same library.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Bench, Looping};
use crate::generator::framing::{Framing, Kind};
use crate::generator::payload;
use crate::generator::secure::{SecureLoop, SecureSocket};
use crate::measure::{Running, Sample, Work, alternate};
use crate::process::{Build, Process, Program};
use crate::report::{Report, Row, Target, Unit};
use crate::tls_floor::TlsFloor;

const CONNECTIONS: usize = 200;
const IDLE_CONNECTIONS: usize = 2_000;

/// The name of an echo, its payload, and the frames of one write.
const ECHOES: [(&str, usize, usize); 3] = [
    ("echo over TLS, 200 x 20 B", 20, 1),
    ("echo over TLS, 200 x 20 B, 16 frames a write", 20, 16),
    ("echo over TLS, 200 x 16 KiB", 16 << 10, 1),
];

const HANDSHAKES: &str = "TLS handshakes";
const IDLE: &str = "idle memory, WebSockets over TLS";

/// Sockeye beside the floor.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    for (name, payload_bytes, frames) in ECHOES.into_iter().filter(|(name, ..)| bench.wants(name)) {
        let programs = bench.programs(Program::TlsFloor(floor(payload_bytes)));
        let rounds = alternate(&bench.plan, programs.len(), |index| {
            start(bench, &programs[index], payload_bytes, frames)
        })?;
        bench.push_ratios(report, name, "CPU", &rounds, Target::AtMost(1.15));
    }
    if bench.wants(HANDSHAKES) {
        let programs = bench.programs(Program::TlsFloor(floor(20)));
        let rounds = alternate(&bench.plan, programs.len(), |index| {
            let process = bench.start(&programs[index])?;
            Ok(Greeting { process, is_floor: index == 1 })
        })?;
        bench.push_ratios(report, HANDSHAKES, "CPU", &rounds, Target::AtMost(1.1));
    }
    if bench.wants(IDLE) { idle(bench, report) } else { Ok(()) }
}

fn request(payload_bytes: usize) -> Vec<u8> {
    Framing::WebSocket.request(Kind::Binary, &payload::binary(payload_bytes))
}

fn floor(payload_bytes: usize) -> TlsFloor {
    TlsFloor {
        received_bytes: request(payload_bytes).len(),
        sent_bytes: Framing::WebSocket.response_bytes(payload_bytes),
    }
}

/// Starts one program and connects to it.
fn start(
    bench: &Bench,
    program: &Program,
    payload_bytes: usize,
    frames: usize,
) -> anyhow::Result<impl Running> {
    let process = bench.start(program)?;
    let request = request(payload_bytes);
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut socket = SecureSocket::open(process.address)?;
        match program {
            Program::TlsFloor(_) => drop(socket.ask(b"h", 1)?),
            _ => socket.upgrade("/echo")?,
        }
        let length = Framing::WebSocket.response_bytes(payload_bytes);
        let answer = socket.ask(&request, length)?;
        ensure!(
            matches!(program, Program::TlsFloor(_)) || answer.ends_with(&payload::binary(payload_bytes)),
            "the echo is something else"
        );
        sockets.push(socket);
    }
    let mut generator = SecureLoop::new(sockets, request.repeat(frames), frames)?;
    Looping::warm(bench, process, move |duration| generator.run(duration))
}

/// A program to which connections come one after the other, each with a handshake and one exchange.
struct Greeting {
    process: Process,
    is_floor: bool,
}

impl Running for Greeting {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let before = self.process.cpu_ns()?;
        let deadline = Instant::now() + duration;
        let mut messages = 0;
        while Instant::now() < deadline {
            let mut socket = SecureSocket::open(self.process.address)?;
            if self.is_floor {
                socket.ask(b"h", 1)?;
            } else {
                socket.ask(b"{\"ping\":1}\n", b"{\"pong\":1}\n".len())?;
            }
            messages += 1;
        }
        Ok(Work { cpu_ns: self.process.cpu_ns()? - before, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        Ok(Sample::of(work))
    }
}

/// The user memory that an idle connection adds.
fn idle(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = if bench.is_quick { IDLE_CONNECTIONS / 10 } else { IDLE_CONNECTIONS };
    let process = bench.start(&Program::Secure(Build::This))?;
    let open = || -> anyhow::Result<SecureSocket> {
        let mut socket = SecureSocket::open(process.address)?;
        socket.upgrade("/ws")?;
        Ok(socket)
    };
    // What is allocated once, for the first of its kind, is not a connection's.
    let _warm_up = open()?;
    let before = process.memory()?;
    let sockets = (0..count).map(|_| open()).collect::<anyhow::Result<Vec<_>>>()?;
    let after = process.memory()?;
    let value = (after.resident as f64 - before.resident as f64) / sockets.len() as f64;
    report.push(Row::of_value(
        IDLE,
        &format!("RSS per connection, of {count}"),
        value,
        Unit::Bytes,
        Target::AtMost(24.0 * 1024.0),
    ));
    Ok(())
}
