//! Echo on `/echo`, binary: small messages one by one, small messages in batches, large ones. The floor receives
//! the same masked frames and sends as many bytes as their replies have.

use std::sync::Arc;

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

/// One shape of echo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) payload_bytes: usize,
    pub(super) frames_per_write: usize,
    pub(super) target: Target,
}

const CONNECTIONS: usize = 200;
/// Payloads beyond this do not all fit the caches.
const LARGE_BYTES: usize = 4 << 10;

pub(super) const LOADS: [Load; 3] = [
    Load { name: "echo 200 x 20 B", payload_bytes: 20, frames_per_write: 1, target: Target::AtMost(1.10) },
    Load {
        name: "echo 200 x 20 B, 16 frames a write",
        payload_bytes: 20,
        frames_per_write: 16,
        target: Target::AtMost(1.15),
    },
    Load {
        name: "echo 200 x 16 KiB",
        payload_bytes: 16 * 1024,
        frames_per_write: 1,
        target: Target::AtMost(1.10),
    },
];

impl Load {
    fn request(self) -> Vec<u8> {
        Framing::WebSocket.request(Kind::Binary, &payload::binary(self.payload_bytes))
    }

    fn floor(self) -> Floor {
        Floor {
            route: Route::Echo,
            received_bytes: self.request().len(),
            sent_bytes: Framing::WebSocket.response_bytes(self.payload_bytes),
            framing: Framing::WebSocket,
        }
    }
}

/// Sockeye against the floor, in all shapes.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    for load in LOADS.into_iter().filter(|load| bench.wants(load.name)) {
        let programs = bench.programs(Program::Floor(load.floor()));
        let plan = if load.payload_bytes > LARGE_BYTES { bench.plan.of_many_starts() } else { bench.plan };
        let rounds = alternate(&plan, programs.len(), |index| start(bench, &programs[index], load))?;
        bench.push_ratios(report, load.name, "CPU", &rounds, load.target);
    }
    Ok(())
}

/// Starts one program and connects to it.
pub(super) fn start(bench: &Bench, program: &Program, load: Load) -> anyhow::Result<impl Running> {
    let process = bench.start(program)?;
    let door = match program {
        Program::Floor(floor) => Door::Floor(floor.framing),
        _ => Door::WebSocket("/echo"),
    };
    let request: Arc<[u8]> = load.request().repeat(load.frames_per_write).into();
    let content = match program {
        Program::Floor(_) => vec![b'x'; load.payload_bytes],
        _ => payload::binary(load.payload_bytes),
    };

    let mut links = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut socket = Socket::open(process.address, door)?;
        socket.send(&request)?;
        for _ in 0..load.frames_per_write {
            ensure!(socket.receive()? == content, "{} echoed something else", program.name());
        }
        links.push(Link { talker: None, hearer: socket.into_stream()?, request: Arc::clone(&request) });
    }

    let mut generator = ClosedLoop::new(links, Framing::WebSocket, load.frames_per_write)?;
    Looping::warm(bench, process, move |duration| generator.run(duration))
}
