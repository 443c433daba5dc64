//! The flags of joining two sockets, which `connect` and `listen` share.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::Failure;
use crate::address::unit::{parse_bytes, parse_milliseconds};
use crate::address::{Address, Shape};
use crate::net::{ErrorKind, MessageKind};
use crate::tool::{Frame, Rules, Show};

/// How our stream and the peer are joined.
#[derive(Clone, Debug, Args)]
pub(super) struct Join {
    /// How messages stand on our stream; len32 has a length before each, jsonl loses nothing [default: lines]
    #[arg(long, value_name = "FRAME", value_parser = PossibleValuesParser::new(Frame::ALL.map(Frame::as_str)).try_map(|name| name.parse::<Frame>()))]
    frame: Option<Frame>,
    /// Send every message as text; what is not UTF-8 is refused
    #[arg(long, conflicts_with = "binary")]
    text: bool,
    /// Send every message as binary
    #[arg(long)]
    binary: bool,
    /// Write what is received in hexadecimal
    #[arg(long, conflicts_with = "frame")]
    hex: bool,
    /// How long the peer may go on after our input has ended [default: without limit]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    linger: Option<Duration>,
    /// How long to wait for an answer after our input has ended, and again after each answer, where nothing ends one
    /// direction alone: datagrams, and WebSockets, which are closed then
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "1s")]
    wait: Duration,
    /// The largest message read from our stream
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "64MiB")]
    message_max: usize,
}

impl Join {
    /// What the flags mean. `is_ours` says whether our stream is standard input and output.
    pub(super) fn rules(&self, address: &Address, is_ours: bool, json: bool) -> Rules {
        let frame = self.frame.unwrap_or(Frame::Lines);
        let for_people = is_ours && self.frame.is_none() && io::stdout().is_terminal();
        let show = match () {
            () if self.hex => Show::Hex,
            () if for_people => Show::Terminal { colour: std::env::var_os("NO_COLOR").is_none() },
            () => Show::Plain,
        };
        let kind = match (self.text, self.binary) {
            (true, _) => Some(MessageKind::Text),
            (_, true) => Some(MessageKind::Binary),
            // Where text is not told from bytes there is nothing to find out.
            _ if address.shape() == Shape::Datagram => Some(MessageKind::Binary),
            _ => None,
        };
        Rules {
            frame,
            kind,
            linger: self.linger,
            wait: self.wait,
            message_bytes_max: self.message_max,
            show,
            ends_with_peer: is_ours,
            json,
        }
    }
}

/// Reads a time for a flag.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    parse_milliseconds(text).map(Duration::from_millis)
}

/// Whether there are steps of connecting that `--timeout` could bound.
pub(super) fn check_timeout(address: &Address) -> Result<(), Failure> {
    if !address.options_known().any(|(name, ..)| name == "timeout") {
        let why = format!("{}: --timeout has no step to bound there", address.shown());
        return Err(Failure::new(ErrorKind::Usage, why));
    }
    Ok(())
}
