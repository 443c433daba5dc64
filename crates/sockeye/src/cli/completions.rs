//! `sockeye completions`: what a shell needs to complete the command line.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;
use clap_complete::{Shell, generate};

use super::Failure;

/// Write what a shell needs to complete commands, flags and values
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye completions bash > ~/.local/share/bash-completion/completions/sockeye\n  \
    sockeye completions zsh > \"${fpath[1]}/_sockeye\"\n  \
    sockeye completions fish > ~/.config/fish/completions/sockeye.fish\n  \
    sockeye completions elvish >> ~/.config/elvish/rc.elv\n  \
    sockeye completions powershell >> $PROFILE")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "sockeye", &mut script);
        io::stdout().lock().write_all(&script).context("cannot write to standard output")?;
        Ok(())
    }
}
