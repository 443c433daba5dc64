//! Idle memory: 10,000 WebSockets on `/ws`, each with one subscription, over 100 channels.

use super::Bench;
use crate::generator::socket::{Door, Socket};
use crate::process::{Build, Program};
use crate::report::{Report, Row, Target, Unit};

const CONNECTIONS: usize = 10_000;
const CHANNELS: usize = 100;

/// The user memory that each connection adds.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = if bench.is_quick { CONNECTIONS / 10 } else { CONNECTIONS };
    let process = bench.start(&Program::Sockeye(Build::This))?;

    // What is allocated once, for the first of its kind, is not a connection's.
    let mut warm_up = Socket::open(process.address, Door::WebSocket("/ws"))?;
    warm_up.subscribe("bench/warm-up")?;
    let before = process.memory()?;

    let mut sockets = Vec::with_capacity(count);
    for index in 0..count {
        let mut socket = Socket::open(process.address, Door::WebSocket("/ws"))?;
        socket.subscribe(&format!("bench/{}", index % CHANNELS))?;
        sockets.push(socket);
    }
    let after = process.memory()?;

    let cell = format!("idle memory, {count} WebSockets");
    let target = Target::AtMost(2048.0);
    for (figure, before, after, target) in [
        ("RSS per connection", before.resident, after.resident, target),
        ("Pss per connection", before.proportional, after.proportional, Target::None),
        ("private and dirty per connection", before.private_dirty, after.private_dirty, Target::None),
    ] {
        let value = (after as f64 - before as f64) / count as f64;
        report.push(Row::of_value(&cell, figure, value, Unit::Bytes, target));
    }
    Ok(())
}
