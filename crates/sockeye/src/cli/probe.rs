//! `sockeye probe`: the flags of asking whether addresses are ready.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::join::{check_timeout, parse_time};
use crate::address::Address;
use crate::net::{ErrorKind, Message, needs_tls};
use crate::tool;

/// Say whether addresses are ready, with the time of each step
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye probe tcp:localhost:5432\n  \
    sockeye probe --wait 30s ws://localhost:7625/ws tcp:localhost:5432   until both are ready\n  \
    sockeye probe --certificate-days 14 tls:example.org:443\n  \
    sockeye probe --first-byte 2s --send 'PING' tcp:localhost:6379\n\n\
    The exit code is 0 when all are ready, and else that of the first that is not:\n\
    3 name not found, 4 refused, 5 timed out, 6 TLS, 7 handshake refused, 8 ended early, 12 certificate.")]
pub(super) struct Probe {
    /// The addresses
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// Try again until it is ready, for so long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    wait: Option<Duration>,
    /// How long each step of connecting may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Wait so long for the peer's first byte
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    first_byte: Option<Duration>,
    /// Say this line before the first byte is waited for
    #[arg(long, value_name = "TEXT", requires = "first_byte")]
    send: Option<String>,
    /// A certificate that ends within so many days is not ready; for addresses with TLS
    #[arg(long, value_name = "DAYS")]
    certificate_days: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Probe {
    pub(super) fn run(self) -> Result<(), Failure> {
        let json = self.json;
        if self.timeout.is_some() {
            self.addresses.iter().try_for_each(check_timeout)?;
        }
        if self.certificate_days.is_some() {
            self.addresses.iter().try_for_each(check_certificate)?;
        }
        let plan = tool::Probe {
            addresses: self.addresses,
            wait: self.wait,
            timeout: self.timeout,
            first_byte: self.first_byte,
            send: self.send.map(|text| Message::text(format!("{text}\n"))),
            certificate_days: self.certificate_days,
        };
        let mut unwritten = None;
        let tell = |finding: &tool::Finding| {
            let line = if json { finding.to_json().to_string() } else { finding.to_text() };
            if let Err(error) = writeln!(io::stdout().lock(), "{line}") {
                unwritten.get_or_insert(error);
            }
        };
        let found = tool::run(async { Ok(tool::probe(&plan, tell).await) })?;
        if let Some(source) = unwritten
            // Whoever read our output has heard enough; the exit code still tells.
            && source.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(tool::ToolError::Output { what: "cannot write to standard output", source }.into());
        }
        match found.into_iter().find_map(|finding| finding.outcome.err()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// Whether there is a certificate that `--certificate-days` could look at: one that was not looked at is not in order.
fn check_certificate(address: &Address) -> Result<(), Failure> {
    if !needs_tls(address) {
        let address = address.shown();
        let why =
            format!("{address}: --certificate-days has no certificate there: give tls:, wss: or https:");
        return Err(Failure::new(ErrorKind::Usage, why));
    }
    Ok(())
}
