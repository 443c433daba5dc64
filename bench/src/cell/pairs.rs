//! The product's own path: 200 publishers, each heard by one subscriber on a channel of its own, through the
//! grammar, positions and history. The floor receives and sends the same bytes on the same pairs of sockets.

use anyhow::ensure;

use super::{Bench, Looping};
use crate::floor::{Floor, Route};
use crate::generator::closed_loop::{ClosedLoop, Link};
use crate::generator::framing::{Framing, Kind};
use crate::generator::payload;
use crate::generator::socket::{Door, Socket};
use crate::measure::{Running, alternate};
use crate::process::Program;
use crate::report::{Report, Target};

pub(super) const PAIRS: usize = 200;
const PAYLOAD_BYTES: usize = 128;
const TARGET: Target = Target::AtMost(1.5);

/// Sockeye against the floor, on WebSockets and on lines.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    for (name, door, framing) in [
        ("200 pairs x 128 B on /ws", Door::WebSocket("/ws"), Framing::WebSocket),
        ("200 pairs x 128 B on lines", Door::Lines, Framing::Line),
    ] {
        if !bench.wants(name) {
            continue;
        }
        let text = payload::text(PAYLOAD_BYTES);
        let floor = Floor {
            route: Route::Pairs,
            received_bytes: request(framing, 100).len(),
            sent_bytes: payload::push_bytes(framing, &channel(100), &text),
            framing,
        };
        let programs = bench.programs(Program::Floor(floor));
        let rounds =
            alternate(&bench.plan, programs.len(), |index| start(bench, &programs[index], door, framing))?;
        bench.push_ratios(report, name, "CPU", &rounds, TARGET);
    }
    Ok(())
}

/// Numbers of three digits, so that all requests are as long as the floor expects.
pub(super) fn channel(index: usize) -> String {
    format!("bench/{:03}", index)
}

pub(super) fn request(framing: Framing, index: usize) -> Vec<u8> {
    framing.request(Kind::Text, &payload::publish(&channel(index), &payload::text(PAYLOAD_BYTES)))
}

fn start(bench: &Bench, program: &Program, door: Door, framing: Framing) -> anyhow::Result<impl Running> {
    let process = bench.start(program)?;
    let is_floor = matches!(program, Program::Floor(_));
    let door = if is_floor { Door::Floor(framing) } else { door };

    let mut links = Vec::with_capacity(PAIRS);
    for index in 0..PAIRS {
        // The floor knows a pair by its order.
        let mut talker = Socket::open(process.address, door)?;
        let mut hearer = Socket::open(process.address, door)?;
        let request = request(framing, index);
        if !is_floor {
            hearer.subscribe(&channel(index))?;
        }
        talker.send(&request)?;
        let heard = hearer.receive()?;
        if !is_floor {
            check_push(&heard, &channel(index))?;
        }
        links.push(Link {
            talker: Some(talker.into_stream()?),
            hearer: hearer.into_stream()?,
            request: request.into(),
        });
    }

    let mut generator = ClosedLoop::new(links, framing, 1)?;
    Looping::warm(bench, process, move |duration| generator.run(duration))
}

/// The first push must say what was published where.
pub(super) fn check_push(push: &[u8], channel: &str) -> anyhow::Result<()> {
    let value: serde_json::Value = serde_json::from_slice(push)?;
    ensure!(
        value["ch"] == channel && value["data"] == payload::text(PAYLOAD_BYTES) && value["at"].is_string(),
        "heard something else on {channel}: {value}"
    );
    Ok(())
}
