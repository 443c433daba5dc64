//! `cargo xtask test`: everything that must hold, in the order in which it is cheapest to learn that it does not.
//!
//! Deliberately absent: the benchmark (it needs a quiet machine) and the search for new fuzz inputs (it needs hours);
//! the committed inputs of both kinds are replayed by the ordinary tests.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::{run, watch};
use crate::step::{Missing, Outcome, Report};
use crate::workspace::Workspace;
use crate::{autobahn, clients, metrics, peers, proxies, server, size, systemd, tidy, tools};

/// Runs all steps and prints the report.
pub(crate) fn everything(workspace: &Workspace) -> ExitCode {
    let mut report = Report::new(workspace.is_build_machine());
    let cargo = |arguments: &[&str]| {
        run(&mut workspace.cargo(arguments))?;
        Ok(Outcome::passed(""))
    };
    report.step("format", || cargo(&["fmt", "--all", "--check"]));
    report.step("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    report.step("documentation", || {
        run(workspace
            .cargo(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"))?;
        Ok(Outcome::passed(""))
    });
    report.step("tidy", || tidy::step(workspace));
    report.step("dependencies", || dependencies(workspace));
    report.step("tests", || tests(workspace));
    report.step("simulation", || {
        cargo(&["run", "--profile", "sim", "-p", "sockeye-sim", "--", "--seeds", "10000"])
    });

    match server::build_step(workspace, &mut report) {
        Some(binary) => {
            report.step("Autobahn", || autobahn::step(workspace, &binary, autobahn::CASES, "shared"));
            clients::steps(workspace, &binary, &mut report);
            peers::steps(workspace, &binary, &mut report);
            proxies::steps(workspace, &binary, &mut report);
            systemd::steps(workspace, &binary, &mut report);
            report.step("metrics", || metrics::step(workspace, &binary));
            report.step("size of the binary", || size::binary(&binary));
        }
        None => report.step("Autobahn, clients, peers, proxies, systemd, metrics, size", || {
            Err(Missing::new("the release build", "mend the step above").into())
        }),
    }
    report.step("number of dependencies", || size::dependencies(workspace));
    report.finish()
}

fn dependencies(workspace: &Workspace) -> Result<Outcome> {
    tools::cargo_subcommand(workspace, "cargo-deny")?;
    // Advisories live in a database on the network, which a test must not depend on.
    run(&mut workspace.cargo(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(Outcome::passed("licences, bans and sources; advisories were not checked (they need the network)"))
}

/// Plain `cargo test`, which runs the doctests too and replays the committed fuzz corpora.
fn tests(workspace: &Workspace) -> Result<Outcome> {
    let mut counts = Counts::default();
    let succeeded =
        watch(&mut workspace.cargo(["test", "--workspace", "--no-fail-fast"]), |line| counts.add(line))?;
    if !succeeded && counts.failed == 0 {
        bail!("cargo test did not run to its end ({} tests had passed)", counts.passed);
    }
    let note = format!("{} passed, {} failed, {} ignored", counts.passed, counts.failed, counts.ignored);
    Ok(Outcome { passed: counts.passed, failed: counts.failed, note })
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let mut previous = "";
        for word in result.split([' ', ';']).filter(|word| !word.is_empty()) {
            let count = || previous.parse::<u64>().unwrap_or(0);
            match word {
                "passed" => self.passed += count(),
                "failed" => self.failed += count(),
                "ignored" => self.ignored += count(),
                _ => {}
            }
            previous = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_of_several_test_programs_are_summed() {
        let mut counts = Counts::default();

        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            counts.add(line);
        }

        assert_eq!((counts.passed, counts.failed, counts.ignored), (8, 2, 1));
    }
}
