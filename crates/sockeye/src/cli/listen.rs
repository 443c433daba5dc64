//! `sockeye listen`: the flags of listening.

use clap::Args;

use super::Failure;
use super::join::Join;
use crate::address::{Address, Base};
use crate::config::Network;
use crate::net::ErrorKind;
use crate::tool::{self, With};

/// Listen on an address, and join who comes with standard input and output or with a command
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye listen tcp::7000                                 one peer, with standard input and output\n  \
    sockeye listen --keep --echo ws://localhost:7000/        everything comes back\n  \
    sockeye listen --keep tcp:localhost:7000 -- tr a-z A-Z   a command for each peer\n  \
    sockeye listen --keep --allow 10.0.0.0/8 udp::7000 -- ./sensor\n\n\
    A command finds the peer's address in SOCKEYE_PEER. Where it listens is told on standard error.")]
pub(super) struct Listen {
    /// The address; port 0 lets the system choose
    address: Address,
    /// Go on after the first peer
    #[arg(long)]
    keep: bool,
    /// How many peers at once, with --keep; further ones wait
    #[arg(long, value_name = "N", default_value = "1024", requires = "keep", value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// Send everything back
    #[arg(long, conflicts_with_all = ["exec", "command"])]
    echo: bool,
    /// Run a command of the shell for each peer
    #[arg(long, value_name = "COMMAND", conflicts_with = "command")]
    exec: Option<String>,
    /// Admit only peers of this network, such as 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "NETWORK")]
    allow: Vec<Network>,
    /// Admit no peers of this network; may be given several times
    #[arg(long, value_name = "NETWORK")]
    deny: Vec<Network>,
    #[command(flatten)]
    join: Join,
    /// Tell of peers as JSON, one object a line, on standard error
    #[arg(long)]
    json: bool,
    /// The command to run for each peer
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Listen {
    pub(super) fn run(self) -> Result<(), Failure> {
        let with = match (self.echo, self.exec, self.command) {
            (true, ..) => With::Echo,
            (_, Some(command), _) if command.trim().is_empty() => {
                return Err(Failure::new(ErrorKind::Usage, "--exec names no command"));
            }
            (_, Some(command), _) => With::Command(Address::new(Base::Shell(command))),
            (.., command) if !command.is_empty() => With::Command(Address::new(Base::Exec(command))),
            _ => With::Standard,
        };
        let plan = tool::Listen {
            rules: self.join.rules(&self.address, with == With::Standard, self.json),
            address: self.address,
            with,
            keep: self.keep,
            peers_max: self.max as usize,
            allow: self.allow,
            deny: self.deny,
            json: self.json,
        };
        Ok(tool::run(tool::listen(&plan))?)
    }
}
