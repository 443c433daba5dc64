//! `sockeye pub`: the flags of publishing.

use std::io::{self, BufReader, IsTerminal as _, Write as _};

use clap::Args;

use super::Failure;
use crate::address::{Address, Source};
use crate::net::ErrorKind;
use crate::tool::{self, Payload};

/// Publish a message, or every line of standard input
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye pub chat/42 'hello'\n  \
    sockeye pub prices/AAPL '{\"bid\":187.2}'              JSON is published as JSON\n  \
    tail -f app.log | sockeye pub logs/app               each line is a message\n  \
    sockeye pub --to unix:/tmp/sockeye.sock chat 'hi'\n\n\
    A line ends with \\n or \\r\\n, neither of which is published.\n\
    It ends when the server has accepted every message; a refusal says why, with exit code 7.\n\
    Exit code 8: the connection ended before that, or the server did not answer for a minute, also while\n\
    the input is quiet; how many lines were not acknowledged is told.")]
pub(super) struct Publish {
    /// The channel
    #[arg(value_parser = super::subscribe::parse_channel)]
    channel: String,
    /// The message; without it, each line of standard input is one (of at most 64 MiB)
    text: Option<String>,
    /// The server: ws://HOST:PORT/ws, wss:, tcp:HOST:PORT, tls:, unix:PATH, udp:HOST:PORT or unixgram:PATH
    #[arg(long, value_name = "ADDRESS", default_value = super::subscribe::DEFAULT_SERVER)]
    to: Address,
    /// Show this token: env:NAME or file:PATH
    #[arg(long, value_name = "SOURCE")]
    token: Option<Source>,
}

impl Publish {
    pub(super) fn run(self) -> Result<(), Failure> {
        let token = super::token::read(self.token.as_ref())?;
        let token = token.as_deref();
        if let Some(text) = &self.text {
            tool::publish(&self.to, token, &self.channel, Payload::One(text.clone().into_bytes()))?;
            return Ok(());
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let _ = writeln!(io::stderr(), "each line is published to {}; end with Ctrl-D", self.channel);
        }
        let input = Box::new(BufReader::new(stdin));
        let sent = tool::publish(&self.to, token, &self.channel, Payload::Lines(input))?;
        if sent == 0 {
            return Err(Failure::new(ErrorKind::Usage, "standard input was empty: nothing was published"));
        }
        Ok(())
    }
}
