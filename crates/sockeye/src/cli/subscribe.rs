//! `sockeye sub`: the flags of hearing.

use std::io::{self, IsTerminal as _};

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sockeye_hub::{Position, check_name, check_pattern, is_pattern};

use super::Failure;
use crate::address::{Address, Source};
use crate::tool::{self, Format, Hearing};

/// Where a server is that was started without arguments.
pub(super) const DEFAULT_SERVER: &str = "ws://localhost:7625/ws";

/// Hear a channel or a pattern, one message a line
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye sub chat/42\n  \
    sockeye sub 'sensors/+/temperature'           + is one level, # at the end is the rest\n  \
    sockeye sub --last 1 --count 1 --raw image > image.png\n  \
    sockeye sub --json --since k3f:118 chat/42    every message after that position\n\n\
    On a terminal, control characters in payloads are shown and not obeyed, but for --raw.\n\
    What was missed is told on standard error, or with --json as an object: a gap, or the answer with\n\
    \"recovered\":false. Exit code 8: the connection ended before --count messages had come, or the\n\
    server did not answer for a minute.")]
pub(super) struct Subscribe {
    /// The channel or pattern
    #[arg(value_parser = parse_channel_or_pattern)]
    name: String,
    /// The server: ws://HOST:PORT/ws, wss:, tcp:HOST:PORT, tls:, unix:PATH, udp:HOST:PORT or unixgram:PATH
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_SERVER)]
    from: Address,
    /// Show this token: env:NAME or file:PATH
    #[arg(long, value_name = "SOURCE")]
    token: Option<Source>,
    /// Begin after this position (the "at" of a message)
    #[arg(long, value_name = "POSITION", conflicts_with = "last", value_parser = parse_position)]
    since: Option<String>,
    /// Begin with the newest N messages
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// End after N messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Write the payloads' bytes and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Write the whole objects of the protocol
    #[arg(long)]
    json: bool,
}

impl Subscribe {
    pub(super) fn run(self) -> Result<(), Failure> {
        let token = super::token::read(self.token.as_ref())?;
        let format = match (self.raw, self.json) {
            (true, _) => Format::Raw,
            (_, true) => Format::Json,
            _ => Format::Line,
        };
        let hearing = Hearing {
            name: &self.name,
            since: self.since.as_deref(),
            last: self.last,
            count: self.count,
            format,
            is_for_terminal: io::stdout().is_terminal(),
            when_answered: end_with_the_reader,
        };
        Ok(tool::subscribe(&self.from, token.as_deref(), &hearing, &mut io::stdout().lock())?)
    }
}

/// Ends the process as soon as nobody reads its output (`| head -1`): on a quiet channel no write would ever tell.
fn end_with_the_reader() {
    let watch = || {
        let stdout = io::stdout();
        let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
        // Errors and hang-ups are told unasked.
        while matches!(poll(&mut asked, None), Ok(_) | Err(Errno::INTR)) {
            if asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                // As a write would end it, which nobody would hear either.
                std::process::exit(0);
            }
        }
    };
    // Without it the next message ends the process.
    let _ = std::thread::Builder::new().spawn(watch);
}

/// Checks a channel's name before anything is connected to.
pub(super) fn parse_channel(text: &str) -> Result<String, String> {
    if is_pattern(text) {
        return Err("this is a pattern: a message is published to one channel".into());
    }
    check_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_channel_or_pattern(text: &str) -> Result<String, String> {
    if is_pattern(text) {
        return check_pattern(text).map(|()| text.to_owned()).map_err(|error| error.to_string());
    }
    parse_channel(text)
}

fn parse_position(text: &str) -> Result<String, String> {
    let known = text.parse::<Position>().map(|_| text.to_owned());
    known.map_err(|_| "a position is written like k3f:118, as in the \"at\" of a message".into())
}
