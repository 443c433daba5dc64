//! Steps and their report: what passed, what failed, what was skipped and why, and the closing line.
//!
//! Deliberately absent: stopping at the first failure. One run tells everything that is wrong.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How a step went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// One line for the table.
    pub(crate) note: String,
}

impl Outcome {
    /// A step that counts as one and held.
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        Self { passed: 1, failed: 0, note: note.into() }
    }
}

/// Something a step needs and does not find. As an error it makes the step *skipped* instead of *failed*.
#[derive(Debug)]
pub(crate) struct Missing {
    what: String,
    how: String,
    /// It cannot be fetched, so its absence is accepted on a build machine too.
    excused: bool,
}

impl Missing {
    /// `what` is missing, and `how` to get it.
    pub(crate) fn new(what: impl Into<String>, how: impl Into<String>) -> Self {
        Self { what: what.into(), how: how.into(), excused: false }
    }

    /// The same for what no package installs.
    pub(crate) fn excused(what: impl Into<String>, how: impl Into<String>) -> Self {
        Self { excused: true, ..Self::new(what, how) }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is missing; {}", self.what, self.how)
    }
}

impl std::error::Error for Missing {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Passed,
    Failed,
    Skipped,
}

struct Row {
    name: String,
    mark: Mark,
    took: Duration,
    note: String,
}

/// What happened so far.
pub(crate) struct Report {
    rows: Vec<Row>,
    passed: u64,
    failed: u64,
    strict: bool,
}

impl Report {
    /// With `strict`, a step that was skipped and is not excused counts as failed.
    pub(crate) fn new(strict: bool) -> Self {
        Self { rows: Vec::new(), passed: 0, failed: 0, strict }
    }

    /// Runs one step. An error counts as one failure, and [`Missing`] as a skip.
    pub(crate) fn step(&mut self, name: &str, act: impl FnOnce() -> Result<Outcome>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = act();
        let took = start.elapsed();
        let (mark, note) = match result {
            Ok(outcome) => {
                self.passed += outcome.passed;
                self.failed += outcome.failed;
                (if outcome.failed == 0 { Mark::Passed } else { Mark::Failed }, outcome.note)
            }
            Err(error) => match error.downcast_ref::<Missing>() {
                Some(missing) if missing.excused || !self.strict => (Mark::Skipped, missing.to_string()),
                Some(missing) => {
                    self.failed += 1;
                    (Mark::Failed, format!("skipped, which is a failure here: {missing}"))
                }
                None => {
                    self.failed += 1;
                    (Mark::Failed, format!("{error:#}"))
                }
            },
        };
        println!("--- {name}: {} {note}", word(mark));
        self.rows.push(Row { name: name.to_owned(), mark, took, note });
    }

    /// Prints the table and the closing line.
    pub(crate) fn finish(self) -> ExitCode {
        println!();
        for row in &self.rows {
            let note = row.note.lines().next().unwrap_or_default();
            println!("{:8} {:28} {:7.1} s  {note}", word(row.mark), row.name, row.took.as_secs_f64());
        }
        println!("\n{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Passed => "passed",
        Mark::Failed => "FAILED",
        Mark::Skipped => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Missing, Outcome, Report};

    #[test]
    fn counts_of_steps_are_summed() {
        let mut report = Report::new(false);

        report.step("tests", || Ok(Outcome { passed: 40, failed: 2, note: String::new() }));
        report.step("format", || Ok(Outcome::passed("")));
        report.step("build", || Err(anyhow!("no linker")));

        assert_eq!((report.passed, report.failed), (41, 3));
    }

    #[test]
    fn a_skip_fails_only_on_a_build_machine() {
        for (strict, failed) in [(false, 0), (true, 1)] {
            let mut report = Report::new(strict);

            report.step("nc", || Err(Missing::new("nc", "install it").into()));

            assert_eq!((report.passed, report.failed), (0, failed));
        }
    }

    #[test]
    fn an_excused_skip_never_fails() {
        let mut report = Report::new(true);

        report.step("Autobahn", || Err(Missing::excused("Python 2.7", "it is old").into()));

        assert_eq!((report.passed, report.failed), (0, 0));
    }
}
