//! `sockeye explain`: what an address means.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;

use super::Failure;
use crate::address::Address;
use crate::tool;

/// Explain an address: its layers, options, privileges and calls
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye explain wss://example.org/live\n  \
    sockeye explain 'tcp::7000?reuse-port'\n  \
    sockeye explain --json ws+unix:/run/app.sock?path=/live\n\n\
    Nothing is opened, looked up or read.")]
pub(super) struct Explain {
    /// The address
    address: Address,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let explanation = tool::explain(&self.address);
        let text = if self.json { format!("{}\n", explanation.to_json()) } else { explanation.to_text() };
        io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")?;
        Ok(())
    }
}
