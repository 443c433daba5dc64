//! Two shards beside one: the product's own path, 200 pairs on `/ws`, on two cores that server and generator share.
//!
//! Of each four pairs two have publisher and hearer on the same shard and two on different ones, and a channel's home is
//! on either by chance: on average a message goes from one shard to the other once. Two things are told: what a message
//! costs in all, and how much more two shards could do than one if the generator ran elsewhere: each shard would have a
//! core then, and the busier one is the bound.

use anyhow::{Context as _, ensure};

use super::Bench;
use super::pairs::{self, PAIRS};
use crate::generator::closed_loop::{ClosedLoop, Link};
use crate::generator::framing::{Framing, Kind};
use crate::generator::payload;
use crate::generator::socket::{Door, Socket};
use crate::measure::{Running, Sample, Work, alternate};
use crate::process::{Process, Program};
use crate::report::{Report, Row, Target, Unit};

const SHARDS: [u16; 2] = [2, 1];
const COST: Target = Target::AtMost(1.15);
const CAPACITY: Target = Target::AtLeast(1.7);

/// Two shards against one.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let name = "200 pairs x 128 B on /ws, 2 shards";
    let rounds =
        bench.on_two_cores(|| alternate(&bench.plan, SHARDS.len(), |index| start(bench, SHARDS[index])))?;
    report.push(Row::of_ratio(name, "CPU per message, 2 shards / 1 shard", &rounds, (0, 1), COST));
    let figure = "capacity, 2 shards / 1 shard, generator elsewhere";
    let capacity = Row::of_value(name, figure, 0.0, Unit::Ratio, CAPACITY);
    report.push(Row { value: rounds.capacity(0, 1), note: rounds.note(), ..capacity });
    Ok(())
}

/// A server on some shards, warm.
struct Sharded {
    generator: ClosedLoop,
    process: Process,
    /// CPU time of each of its threads in all slices.
    threads: Vec<u64>,
}

impl Running for Sharded {
    fn slice(&mut self, duration: std::time::Duration) -> anyhow::Result<Work> {
        let before = self.process.cpu_ns_by_thread()?;
        let messages = self.generator.run(duration)?;
        let after = self.process.cpu_ns_by_thread()?;
        self.threads.resize(after.len(), 0);
        let mut cpu_ns = 0;
        for (total, (thread, spent)) in self.threads.iter_mut().zip(&after) {
            let spent = spent - before.get(thread).copied().unwrap_or(0);
            *total += spent;
            cpu_ns += spent;
        }
        Ok(Work { cpu_ns, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        let busiest = self.threads.iter().max().copied().unwrap_or(0);
        Ok(Sample { busiest: Some(busiest as f64 / work.cpu_ns.max(1) as f64), ..Sample::of(work) })
    }
}

fn start(bench: &Bench, shards: u16) -> anyhow::Result<Sharded> {
    let process = bench.start(&Program::Sharded(shards))?;
    let mut placed = place(&process, usize::from(shards))?;
    let mut take = |shard: usize| placed[shard % usize::from(shards)].pop().context("too few connections");

    let mut links = Vec::with_capacity(PAIRS);
    for index in 0..PAIRS {
        let (mut talker, mut hearer) = (take(index)?, take(index / 2)?);
        let request = pairs::request(Framing::WebSocket, index);
        hearer.subscribe(&pairs::channel(index))?;
        talker.send(&request)?;
        pairs::check_push(&hearer.receive()?, &pairs::channel(index))?;
        links.push(Link {
            talker: Some(talker.into_stream()?),
            hearer: hearer.into_stream()?,
            request: request.into(),
        });
    }
    drop(placed);

    let mut generator = ClosedLoop::new(links, Framing::WebSocket, 1)?;
    generator.run(bench.warm_up())?;
    Ok(Sharded { generator, process, threads: Vec::new() })
}

/// Opens connections until every shard has as many as the pairs need there. The kernel decides where one goes.
fn place(process: &Process, shards: usize) -> anyhow::Result<Vec<Vec<Socket>>> {
    let needed = 2 * PAIRS / shards;
    let mut placed: Vec<Vec<Socket>> = (0..shards).map(|_| Vec::new()).collect();
    for _ in 0..20 * PAIRS {
        if placed.iter().all(|sockets| sockets.len() >= needed) {
            return Ok(placed);
        }
        let mut socket = Socket::open(process.address, Door::WebSocket("/ws"))?;
        socket.send(&Framing::WebSocket.request(Kind::Text, payload::HELLO))?;
        let hello: serde_json::Value = serde_json::from_slice(&socket.receive()?)?;
        let shard = hello["shard"].as_u64().context("hello tells the shard")?;
        let sockets = placed.get_mut(shard as usize).with_context(|| format!("there is no shard {shard}"))?;
        if sockets.len() < needed {
            sockets.push(socket);
        }
    }
    ensure!(placed.iter().all(|sockets| sockets.len() >= needed), "the kernel does not spread connections");
    Ok(placed)
}
