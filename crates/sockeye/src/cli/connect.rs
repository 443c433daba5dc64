//! `sockeye connect`: the flags of connecting.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::join::{Join, check_timeout, parse_time};
use crate::address::{Address, Base, Shape};
use crate::net::{ErrorKind, INSECURE, Message};
use crate::tool::{self, Stats};

/// Connect standard input and output to an address
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye connect tcp:localhost:7000                       as nc does, and waits for the answer\n  \
    printf ping | sockeye connect udp:192.0.2.7:9            prints the reply\n  \
    sockeye connect wss://example.org/live                   each line is a message\n  \
    sockeye connect --frame jsonl ws://localhost:7000/ < in.jsonl > out.jsonl\n  \
    sockeye connect https://example.org/ < /dev/null         GET; with input it is a POST\n  \
    sockeye connect 'wss://example.org/live#token=env:TOKEN' --reconnect --hello '{\"sub\":\"a\"}'\n\n\
    The end of input is told to the peer, whose answer is awaited without a limit (--linger sets one). Where that\n\
    cannot be told, by datagrams and WebSockets, answers are awaited until none has come for --wait.\n\
    Exit codes: 3 name not found, 4 refused, 5 timed out, 6 TLS, 7 handshake refused, 8 ended early.")]
pub(super) struct Connect {
    /// The address; `sockeye explain ADDRESS` tells what it means
    address: Address,
    #[command(flatten)]
    join: Join,
    /// Add a header to the request of a WebSocket or of http:
    #[arg(long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// Offer a subprotocol of WebSocket; may be given several times
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// Send this first, on each connection; on a stream, as a line
    #[arg(long, value_name = "MESSAGE")]
    hello: Vec<String>,
    /// Send this file first, as it is, on each connection
    #[arg(long, value_name = "FILE")]
    hello_file: Vec<PathBuf>,
    /// Connect again when the connection ends before our input does, after a growing random pause
    #[arg(long)]
    reconnect: bool,
    /// How long each step of connecting may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Tell times and amounts at the end, on standard error
    #[arg(long)]
    stats: bool,
    /// Tell whatever is told as JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Connect {
    pub(super) fn run(self) -> Result<(), Failure> {
        let rules = self.join.rules(&self.address, true, self.json);
        let mut address = self.address;
        let name = address.shown();
        if let Some(timeout) = self.timeout {
            check_timeout(&address)?;
            address.options.timeout = Some(timeout);
        }
        let is_websocket = address.options_known().any(|(name, ..)| name == "subprotocol");
        let is_request = is_websocket || matches!(address.base, Base::Http(_));
        if !(is_request || self.header.is_empty()) || !(is_websocket || self.subprotocol.is_empty()) {
            let why = format!("{name}: --header is for WebSockets and http:, --subprotocol for WebSockets");
            return Err(Failure::new(ErrorKind::Usage, why));
        }
        if !self.subprotocol.is_empty() {
            address.options.subprotocol = Some(crate::address::List(self.subprotocol));
        }
        let line_end = if address.shape() == Shape::Stream { "\n" } else { "" };
        let mut hello: Vec<Message> =
            self.hello.into_iter().map(|text| Message::text(text + line_end)).collect();
        for path in self.hello_file {
            let bytes = std::fs::read(&path).map_err(|error| {
                Failure::unreadable(&format!("--hello-file: cannot read {}", path.display()), &error)
            })?;
            hello.push(match String::from_utf8(bytes) {
                Ok(text) => Message::text(text),
                Err(error) => Message::binary(error.into_bytes()),
            });
        }
        let stats = match (self.stats, self.json) {
            (true, true) => Some(Stats::Json),
            (true, false) => Some(Stats::Text),
            (false, _) => None,
        };
        if address.options.insecure == Some(true) {
            tool::notice(self.json, "note", INSECURE);
        }
        let plan = tool::Connect {
            address,
            name,
            headers: self.header,
            hello,
            reconnect: self.reconnect,
            rules,
            stats,
        };
        Ok(tool::run(tool::connect(&plan))?)
    }
}

/// Reads `Name: value`.
fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME: VALUE".into()),
    }
}
