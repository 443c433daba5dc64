//! The cells: what is measured, one file each, and what they share.

pub(crate) mod bounded;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod memory;
pub(crate) mod pairs;
pub(crate) mod peers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit};

use crate::arguments::Arguments;
use crate::process::{Process, Program};

/// What every cell needs to know.
pub(crate) struct Bench {
    server: PathBuf,
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Everything small: to see that it works.
    pub(crate) is_quick: bool,
}

impl Bench {
    /// Finds or builds the server, then binds this process and all its children to one core.
    pub(crate) fn prepare(arguments: &Arguments) -> anyhow::Result<Self> {
        let server = match &arguments.server {
            Some(server) => server.clone(),
            None => build_server()?,
        };
        ensure!(server.is_file(), "{} is not a file", server.display());

        let limit = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
            .context("raise the limit of open files")?;

        let mut cores = rustix::thread::CpuSet::new();
        cores.set(arguments.core);
        rustix::thread::sched_setaffinity(None, &cores)
            .with_context(|| format!("bind to core {}", arguments.core))?;

        prefer_batches();

        let rounds = if arguments.quick { 3 } else { arguments.rounds as usize };
        Ok(Self { server, rounds, is_quick: arguments.quick })
    }

    /// Starts a program afresh.
    pub(crate) fn start(&self, program: &Program) -> anyhow::Result<Process> {
        Process::start(program, &self.server)
    }

    /// How long a program runs before it is measured.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.is_quick { 30 } else { 120 })
    }

    /// How long it is measured.
    pub(crate) fn measured(&self) -> Duration {
        Duration::from_millis(if self.is_quick { 150 } else { 500 })
    }
}

/// Builds the release profile, which takes no time when nothing changed, and says where the binary is.
fn build_server() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("bench lies in the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "sockeye"])
        .current_dir(root)
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "the server did not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(root.join(target).join("release/sockeye"))
}

/// Puts this process and all its children under the policy SCHED_BATCH, in which a woken process does not
/// interrupt the running one: each side works off everything that is there before the other one runs. Otherwise
/// the first reply wakes the generator, and how many messages a turn has is left to chance.
fn prefer_batches() {
    let own = std::process::id().to_string();
    let is_set = Command::new("chrt")
        .args(["--batch", "--pid", "0", &own])
        .status()
        .is_ok_and(|status| status.success());
    if !is_set {
        eprintln!("chrt (of util-linux) did not set the batch policy: expect smaller turns and more noise");
    }
}
