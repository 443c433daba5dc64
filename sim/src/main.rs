//! `sockeye-sim`: many seeds, or one with everything that happened in it.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sockeye_hub::planted::Planted;
use sockeye_sim::coverage::Met;
use sockeye_sim::run::{Failure, Runs, find_planted, run_all, run_seed};

/// Runs the server in a world that a seed decides, and checks that nothing is lost silently.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Steps of each run.
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Go on after a failure, and list them all.
    #[arg(long)]
    all: bool,
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Plant each known bug in turn, and show that it is found.
    #[arg(long)]
    planted: bool,
    /// Print everything that is said in that run.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return match run_seed(seed, arguments.steps, arguments.trace) {
            Ok(outcome) => {
                println!("seed {seed}: digest {:016x}, {}", outcome.digest, outcome.coverage);
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("seed {seed}: FAIL: {why}");
                ExitCode::FAILURE
            }
        };
    }
    if arguments.planted {
        return planted(&arguments);
    }
    if arguments.all { list(&arguments) } else { many(&arguments) }
}

/// Each planted bug must be found.
fn planted(arguments: &Arguments) -> ExitCode {
    let Arguments { seeds, start, steps, threads, .. } = *arguments;
    // A planted bug may show as a panic, which is then what was looked for.
    std::panic::set_hook(Box::new(|_| {}));
    let mut all_found = true;
    for bug in Planted::ALL {
        match find_planted(bug, Runs { start, seeds, steps, threads }) {
            Some(Failure { seed, why }) => println!("{bug:?}: found at seed {seed}: {why}"),
            None => {
                all_found = false;
                println!("{bug:?}: FAIL: not found in {seeds} seeds");
            }
        }
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every failure of a range, one a line.
fn list(arguments: &Arguments) -> ExitCode {
    let Arguments { seeds, start, steps, threads, .. } = *arguments;
    let mut next = start;
    let mut failures = 0;
    while next < start + seeds {
        let runs = Runs { start: next, seeds: start + seeds - next, steps, threads };
        let Err(failure) = run_all(runs) else { break };
        println!("seed {}: FAIL: {}", failure.seed, failure.why);
        failures += 1;
        next = failure.seed + 1;
    }
    println!("{failures} failures");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(arguments: &Arguments) -> ExitCode {
    let Arguments { seeds, start, steps, threads, .. } = *arguments;
    let began = Instant::now();
    for seed in start..start + seeds.min(5) {
        let digest = |seed| run_seed(seed, steps, false).map(|outcome| outcome.digest);
        if digest(seed) != digest(seed) {
            println!("seed {seed}: FAIL: two runs of it differ");
            return ExitCode::FAILURE;
        }
    }
    let coverage = match run_all(Runs { start, seeds, steps, threads }) {
        Ok(coverage) => coverage,
        Err(failure) => {
            println!("seed {}: FAIL: {}", failure.seed, failure.why);
            println!("see it: cargo xtask sim --seed {} --steps {steps} --trace", failure.seed);
            return ExitCode::FAILURE;
        }
    };
    println!("{coverage}");
    let unmet = coverage.unmet();
    if seeds >= 1_000 && !unmet.is_empty() {
        println!("FAIL: never met: {}", unmet.join(", "));
        return ExitCode::FAILURE;
    }
    let (messages, seconds) = (coverage.count(Met::Message), began.elapsed().as_secs_f64());
    println!("{seeds} seeds, {} steps, {messages} messages checked, in {seconds:.1} s", seeds * steps as u64);
    ExitCode::SUCCESS
}
