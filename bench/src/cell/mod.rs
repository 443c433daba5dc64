//! The cells: what is measured, one file each, and what they share.

pub(crate) mod bounded;
pub(crate) mod datagrams;
pub(crate) mod deflate;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod memory;
pub(crate) mod pairs;
pub(crate) mod peers;
pub(crate) mod relay;
pub(crate) mod shards;
pub(crate) mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit};

use crate::arguments::Arguments;
use crate::measure::{Plan, Rounds, Running, Sample, Work};
use crate::process::{Build, Process, Program};
use crate::report::{Report, Row, Target};

/// What every cell needs to know.
pub(crate) struct Bench {
    server: PathBuf,
    before: Option<PathBuf>,
    only: Option<String>,
    /// Rounds and their slices.
    pub(crate) plan: Plan,
    core: usize,
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
        for file in [Some(&server), arguments.before.as_ref()].into_iter().flatten() {
            ensure!(file.is_file(), "{} is not a file", file.display());
        }

        let limit = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
            .context("raise the limit of open files")?;

        bind(&[arguments.core])?;

        prefer_batches();

        let plan = if arguments.quick {
            Plan { rounds: 3, slices: 4, slice: Duration::from_millis(40) }
        } else {
            // The machine changes at the scale of 100 ms to seconds. A slice is shorter than that, and still many
            // times as long as a turn of 200 connections.
            Plan { rounds: arguments.rounds as usize, slices: 10, slice: Duration::from_millis(60) }
        };
        Ok(Self {
            server,
            before: arguments.before.clone(),
            only: arguments.only.clone(),
            plan,
            core: arguments.core,
            is_quick: arguments.quick,
        })
    }

    /// Measures on two cores, which this process and all children share, instead of one.
    pub(crate) fn on_two_cores<T>(&self, measure: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        bind(&[self.core, self.core ^ 1])?;
        let measured = measure();
        bind(&[self.core])?;
        measured
    }

    /// Starts a program afresh.
    pub(crate) fn start(&self, program: &Program) -> anyhow::Result<Process> {
        let server = match (program, &self.before) {
            (Program::Sockeye(Build::Before) | Program::Secure(Build::Before), Some(before)) => before,
            _ => &self.server,
        };
        Process::start(program, server)
    }

    /// Sockeye, its floor, and the other build of it, if there is one.
    pub(crate) fn programs(&self, floor: Program) -> Vec<Program> {
        let sockeye = match floor {
            Program::TlsFloor(_) => Program::Secure,
            _ => Program::Sockeye,
        };
        let before = self.before.as_ref().map(|_| sockeye(Build::Before));
        [sockeye(Build::This), floor].into_iter().chain(before).collect()
    }

    /// Whether this load was asked for.
    pub(crate) fn wants(&self, load: &str) -> bool {
        self.only.as_ref().is_none_or(|only| load.ends_with(only.as_str()))
    }

    /// What the programs cost beside each other.
    pub(crate) fn push_ratios(
        &self,
        report: &mut Report,
        load: &'static str,
        figure: &str,
        rounds: &Rounds,
        target: Target,
    ) {
        report.push(Row::of_ratio(load, &format!("{figure}, sockeye / floor"), rounds, (0, 1), target));
        if self.before.is_some() {
            let figure = format!("{figure}, sockeye / before");
            report.push(Row::of_ratio(load, &figure, rounds, (0, 2), Target::None));
        }
    }

    /// The binary that is measured.
    pub(crate) fn binary(&self) -> &Path {
        &self.server
    }

    /// How long a program runs before its first slice.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.is_quick { 30 } else { 120 })
    }
}

/// Binds this process, and all children that it starts from now on, to these cores.
fn bind(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("bind to the cores {cores:?}"))
}

/// A program whose connections talk in a closed loop, warm.
struct Looping<Run> {
    run: Run,
    process: Process,
}

impl<Run: FnMut(Duration) -> anyhow::Result<u64>> Looping<Run> {
    /// Warms the program up. `run` has its connections talk for a while, and says how many messages they heard.
    fn warm(bench: &Bench, process: Process, mut run: Run) -> anyhow::Result<Self> {
        run(bench.warm_up())?;
        Ok(Self { run, process })
    }
}

impl<Run: FnMut(Duration) -> anyhow::Result<u64>> Running for Looping<Run> {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let before = self.process.cpu_ns()?;
        let messages = (self.run)(duration)?;
        Ok(Work { cpu_ns: self.process.cpu_ns()? - before, messages })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        Ok(Sample::of(work))
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
