//! Many connections through one relay, idle and after each has spoken: what a pair costs in user memory.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::ensure;

use super::{Relay, patient};
use crate::cell::Bench;
use crate::report::{Report, Row, Target, Unit};

const PAIRS: usize = 5_000;
/// What is allocated once, for the first of its kind, is not a pair's.
const WARM_UP: usize = 16;

/// The user memory that each pair adds.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = if bench.is_quick { PAIRS / 10 } else { PAIRS };
    let server = TcpListener::bind("127.0.0.1:0")?;
    let relay = Relay::Sockeye.start(bench, server.local_addr()?)?;
    let connect = || -> anyhow::Result<(TcpStream, TcpStream)> {
        let near = patient(TcpStream::connect(relay.address)?)?;
        Ok((near, patient(server.accept()?.0)?))
    };

    let warm_up: Vec<_> = (0..WARM_UP).map(|_| connect()).collect::<anyhow::Result<_>>()?;
    warm_up.iter().try_for_each(speak)?;
    let before = relay.memory()?;
    let pairs: Vec<_> = (0..count).map(|_| connect()).collect::<anyhow::Result<_>>()?;
    let idle = relay.memory()?;
    pairs.iter().try_for_each(speak)?;
    let spoken = relay.memory()?;

    let cell = format!("relay, {count} pairs at once");
    for (figure, after) in [("RSS per idle pair", idle), ("RSS per pair that has spoken", spoken)] {
        let value = (after.resident as f64 - before.resident as f64) / count as f64;
        report.push(Row::of_value(&cell, figure, value, Unit::Bytes, Target::AtMost(4_096.0)));
    }
    Ok(())
}

/// A block each way.
fn speak((near, far): &(TcpStream, TcpStream)) -> anyhow::Result<()> {
    for (mut from, mut to) in [(near, far), (far, near)] {
        let mut heard = [0; 4_096];
        from.write_all(&[9; 4_096])?;
        to.read_exact(&mut heard)?;
        ensure!(heard == [9; 4_096], "what is heard is not what was said");
    }
    Ok(())
}
