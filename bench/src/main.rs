//! `sockeye-bench` measures `sockeye serve` and says whether it keeps its promises: CPU per message against bare
//! loops that move the same bytes with the same calls, memory, and what a stalled reader costs.
//!
//! The method: every round starts all its programs afresh, connects to them and warms them up. Then they are
//! measured in turns, in slices shorter than the phases of the machine (A B B A A B ...), so that all see the same
//! ones; an idle program costs nothing meanwhile. A round's ratio is that of the sums over its slices, the figure
//! is the median of the rounds' ratios, and rounds in a slow phase of the machine are repeated. Programs and
//! generator share one core, so the batches are always as large as they can be. CPU time comes from the
//! scheduler's accounting.
//!
//! The binary also contains the programs it compares with (`floor` and `peer`), which it starts as processes of
//! their own. Absent on purpose: measurements across a network, and of more than two cores.

mod arguments;
mod cell;
mod datagram_floor;
mod floor;
mod generator;
mod histogram;
mod measure;
mod peer;
mod poller;
mod process;
mod relay_floor;
mod report;
mod tls_floor;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser as _;

use crate::arguments::Arguments;
use crate::report::Report;

/// What a script sees when a figure misses its target.
const EXIT_TARGET_MISSED: u8 = 12;

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("floor") => floor::main(&words[1..]).map(|()| ExitCode::SUCCESS),
        Some("datagram-floor") => datagram_floor::main().map(|()| ExitCode::SUCCESS),
        Some("tls-floor") => tls_floor::main(&words[1..]).map(|()| ExitCode::SUCCESS),
        Some("relay-floor") => relay_floor::main(&words[1..]).map(|()| ExitCode::SUCCESS),
        Some("peer") => peer::main(&words[1..]).map(|()| ExitCode::SUCCESS),
        _ => measure_all(&Arguments::parse()),
    }
}

fn measure_all(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if cfg!(debug_assertions) {
        bail!("this build has debug assertions: run it with --release, as `cargo xtask bench` does");
    }

    let bench = cell::Bench::prepare(arguments)?;
    let mut report = Report::default();
    // What was measured before something failed is told too.
    let measured = arguments
        .cells()
        .into_iter()
        .try_for_each(|cell| cell.measure(&bench, &mut report).with_context(|| format!("cell {cell}")));

    let mut out = std::io::stdout().lock();
    if arguments.json {
        report.write_json(&mut out)?;
    } else {
        report.write_markdown(&mut out)?;
    }
    measured?;
    Ok(if report.is_met() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_TARGET_MISSED) })
}
