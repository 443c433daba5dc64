//! `cargo xtask fuzz`: libFuzzer on every target, two at a time, on the stable toolchain.
//!
//! What it finds while it searches goes to the output folder; only findings are kept, in `fuzz/artifacts`.
//! Deliberately absent: minimising a corpus. The committed ones are small and chosen by hand.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::workspace::Workspace;
use crate::{take_value, tools};

/// Runs one target or all of them.
fn run_targets(workspace: &Workspace, targets: Vec<String>, minutes: u64) -> Result<Vec<Run>> {
    run(&mut cargo_fuzz(workspace, ["build"]))?;
    let waiting = Mutex::new(VecDeque::from(targets));
    let finished = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while let Some(target) = take(&waiting) {
                        println!("fuzzing {target} for {minutes} minutes");
                        let run = search(workspace, &target, minutes)?;
                        finished.lock().expect("no worker panics while it holds this").push(run);
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker returns its errors"))
    })?;
    Ok(finished.into_inner().expect("no worker panics while it holds this"))
}

/// How the search in one target ended.
struct Run {
    target: String,
    held: bool,
    summary: String,
    log: PathBuf,
}

/// The door: `fuzz [TARGET] [--minutes 10]`.
pub(crate) fn door(workspace: &Workspace, mut arguments: Vec<String>) -> Result<ExitCode> {
    let minutes = match take_value(&mut arguments, "--minutes")? {
        Some(text) => text
            .parse()
            .ok()
            .filter(|&minutes| minutes > 0)
            .context("--minutes takes a whole number from 1")?,
        None => 10,
    };
    let known = targets(workspace)?;
    let chosen = match arguments.as_slice() {
        [] => known,
        [name] if known.contains(name) => vec![name.clone()],
        [name] => bail!("no fuzz target `{name}`; there are: {}", known.join(", ")),
        [_, extra, ..] => bail!("unknown argument `{extra}`"),
    };
    tools::cargo_subcommand(workspace, "cargo-fuzz")?;
    let mut runs = run_targets(workspace, chosen, minutes)?;
    runs.sort_by(|left, right| left.target.cmp(&right.target));
    println!();
    for run in &runs {
        println!("{:8} {:20} {}", if run.held { "passed" } else { "FAILED" }, run.target, run.summary);
        if !run.held {
            println!(
                "         the input is in fuzz/artifacts/{}, the log is {}",
                run.target,
                run.log.display()
            );
        }
    }
    let failed = runs.iter().filter(|run| !run.held).count();
    println!("\n{} passed, {failed} failed", runs.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The targets are the files of `fuzz/fuzz_targets`.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace.root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn take(waiting: &Mutex<VecDeque<String>>) -> Option<String> {
    waiting.lock().expect("no worker panics while it holds this").pop_front()
}

fn search(workspace: &Workspace, target: &str, minutes: u64) -> Result<Run> {
    let found = workspace.target().join("fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    let log = workspace.target().join("fuzz").join(format!("{target}.log"));
    let file = File::create(&log)?;
    // New inputs are written to the first corpus; the committed one is only read.
    let committed = workspace.root().join("fuzz/corpus").join(target);
    let dictionary = workspace.root().join(format!("fuzz/dictionaries/{target}.dict"));
    let dictionary = dictionary.is_file().then(|| format!("-dict={}", dictionary.display()));
    let status = cargo_fuzz(workspace, ["run", target])
        .args([&found, &committed])
        .arg("--")
        .args([
            format!("-max_total_time={}", minutes * 60),
            "-timeout=10".into(),
            "-print_final_stats=1".into(),
        ])
        .args(dictionary)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    Ok(Run { target: target.to_owned(), held: status.success(), summary: summary(&log)?, log })
}

/// libFuzzer's closing figures, or the line that names what it found.
fn summary(log: &Path) -> Result<String> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let finding = text.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
    let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(match (finding, runs) {
        (Some(finding), _) => finding.trim().to_owned(),
        (None, Some(runs)) => format!("{} runs", runs.trim()),
        (None, None) => text.lines().last().unwrap_or("no output").trim().to_owned(),
    })
}

fn cargo_fuzz<'a>(workspace: &Workspace, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = workspace.cargo(["fuzz"]);
    command
        .args(arguments)
        // Sanitizers and coverage are unstable flags; this lets the pinned stable compiler take them.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", workspace.target().join("fuzz/build"));
    command
}

const AT_A_TIME: usize = 2;
