//! `sockeye serve`: the flags of the server.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::Failure;
use crate::address::Address;
use crate::config::{Config, Overrides, parse_bytes};
use crate::server;

/// Run the server
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye serve                                    loopback, port 7625: open http://localhost:7625/\n  \
    sockeye serve --listen tcp:127.0.0.1:9000 --listen unix:/run/sockeye.sock\n  \
    sockeye serve --config sockeye.toml              every key: sockeye check --print\n\n\
    SIGTERM or SIGINT ends it in good order: clients are told when to come back. A second one ends it at once.")]
pub(super) struct Serve {
    /// Listen on ADDRESS: tcp:HOST:PORT or unix:PATH; may be given several times [default: tcp:localhost:7625]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Address>,
    /// Read the configuration from FILE (TOML); flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Allow listening beyond loopback, although nobody has to say who he is
    #[arg(long)]
    open: bool,
    /// The largest payload, such as 16MiB [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    message_bytes_max: Option<usize>,
    /// Write the log as JSON, one object a line; the first lists the addresses listened on
    #[arg(long)]
    json: bool,
    /// How much to log; debug tells of every connection
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: Level,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

fn parse_size(text: &str) -> Result<usize, String> {
    match parse_bytes(text)? {
        0 => Err("must be more than 0".into()),
        bytes => Ok(bytes),
    }
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let overrides =
            Overrides { listen: self.listen, open: self.open, message_bytes_max: self.message_bytes_max };
        let config = Config::load(self.config.as_deref(), overrides)?;
        let level = match self.log {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        };
        let log =
            tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
        if self.json {
            log.json().init();
        } else {
            use std::io::IsTerminal as _;
            log.with_ansi(std::io::stderr().is_terminal()).init();
        }
        let announce = |addresses: &[String]| announce(addresses, self.json && level >= LevelFilter::INFO);
        Ok(server::serve(&config, crate::console::asset, announce)?)
    }
}

/// The first line of the log: who starts the server reads from it where it listens.
fn announce(addresses: &[String], as_json: bool) {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    if !as_json {
        return tracing::info!(listen = %addresses.join(" "), version = VERSION, "listening");
    }
    // The log's own fields cannot hold a list, so this line is made by hand, in the shape of the others.
    let mut timestamp = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let line = serde_json::json!({
        "timestamp": timestamp,
        "level": "INFO",
        "fields": { "message": "listening", "listen": addresses, "version": VERSION },
    });
    // Where the log cannot be written, serving goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}
