//! `sockeye check`: what a configuration means, or what is wrong with it.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Failure;
use super::log::Reader;
use crate::config::{Config, Environment, Overrides};
use crate::server::{Tls, Tokens};

/// Check a configuration, or print every key with its value and what it does
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sockeye check --config sockeye.toml\n  sockeye check --print > sockeye.toml    a file to begin with"
)]
pub(super) struct Check {
    /// The configuration file to check; without one, the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the whole configuration, each key with its comment
    #[arg(long)]
    print: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        // A service manager has it run before a reload, and then it is the journal that reads.
        let reader = Reader::find(false, Environment::read().journal_stream);
        self.check().map_err(|failure| failure.to(reader))
    }

    fn check(self) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref(), Overrides::default())?;
        if config.tls.is_on() {
            // What will have to be done is no mistake: it is told, and the configuration is good.
            for ending in Tls::load(&config.tls, &config.names)?.endings() {
                let _ = writeln!(io::stderr(), "sockeye: {ending}");
            }
        }
        if config.auth.is_configured() {
            // What it names must be there, and be what it should be.
            Tokens::load(&config.auth)?;
        }
        let mut out = io::stdout().lock();
        if self.print {
            write!(out, "{}", config.print()).context("cannot write to standard output")?;
        } else {
            let whose = self.config.map_or("the defaults".into(), |path| path.display().to_string());
            writeln!(out, "{whose}: good").context("cannot write to standard output")?;
        }
        Ok(())
    }
}
