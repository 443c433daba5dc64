//! The command line: which cells, how many rounds, and where the server is.

use std::fmt;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::cell::{self, Bench};
use crate::report::Report;

/// Measures `sockeye serve` and `sockeye relay` against their floors and beside their peers.
///
/// Exits 12 when a figure misses its target.
#[derive(Debug, Parser)]
#[command(name = "sockeye-bench")]
pub(crate) struct Arguments {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    cells: Vec<Cell>,

    /// How many rounds of ten slices count for each figure
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=101))]
    pub(crate) rounds: u32,

    /// Three short rounds: enough to see that everything works, not enough to quote
    #[arg(long)]
    pub(crate) quick: bool,

    /// Print JSON instead of a Markdown table
    #[arg(long)]
    pub(crate) json: bool,

    /// The server to measure [default: built first with `cargo build --release`]
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,

    /// Another build of the server, to say how much the one that is measured costs beside it (echo, pairs, fanout,
    /// datagrams, tls)
    #[arg(long, value_name = "FILE")]
    pub(crate) before: Option<PathBuf>,

    /// Only loads whose name ends with this (echo, pairs, fanout, tls)
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,

    /// The core that server and generator share
    #[arg(long, default_value_t = 0)]
    pub(crate) core: usize,
}

impl Arguments {
    /// The cells asked for, or all of them.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        if self.cells.is_empty() { Cell::value_variants().to_vec() } else { self.cells.clone() }
    }
}

/// One group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cell {
    /// Echo over WebSocket: 200 connections, small, pipelined and large messages
    Echo,
    /// 200 publishers, each heard by one subscriber, on WebSockets and on lines
    Pairs,
    /// One publisher, thousands of subscribers: single messages, bursts and latency
    Fanout,
    /// The pairs on two shards and two cores, half of them apart, beside one shard
    Shards,
    /// One publisher, 1,000 subscribers: what compression costs, and saves
    Deflate,
    /// Echo over TLS, handshakes and idle memory, beside a bare loop around the same library
    Tls,
    /// The echo of tokio-tungstenite and fastwebsockets
    Peers,
    /// User memory of 10,000 subscribed WebSockets
    Memory,
    /// One publisher of datagrams
    Datagrams,
    /// One stalled subscriber among 16 while 1 GiB goes by
    Bounded,
    /// `sockeye relay` from TCP to TCP: CPU beside socat, time beside nginx
    RelayStream,
    /// From TCP through a WebSocket to TCP, beside websocat
    RelayWebsocket,
    /// 64 bytes to and fro through a relay, beside socat
    RelayLatency,
    /// 5,000 connections through one relay: memory
    RelayMany,
}

impl Cell {
    /// Measures this cell and adds its rows to the report.
    pub(crate) fn measure(self, bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Echo => cell::echo::measure(bench, report),
            Self::Pairs => cell::pairs::measure(bench, report),
            Self::Fanout => cell::fanout::measure(bench, report),
            Self::Shards => cell::shards::measure(bench, report),
            Self::Deflate => cell::deflate::measure(bench, report),
            Self::Tls => cell::tls::measure(bench, report),
            Self::Peers => cell::peers::measure(bench, report),
            Self::Memory => cell::memory::measure(bench, report),
            Self::Datagrams => cell::datagrams::measure(bench, report),
            Self::Bounded => cell::bounded::measure(bench, report),
            Self::RelayStream => cell::relay::stream::measure(bench, report),
            Self::RelayWebsocket => cell::relay::websocket::measure(bench, report),
            Self::RelayLatency => cell::relay::latency::measure(bench, report),
            Self::RelayMany => cell::relay::many::measure(bench, report),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no cell is hidden");
        formatter.write_str(value.get_name())
    }
}
