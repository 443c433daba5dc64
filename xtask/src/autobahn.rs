//! The WebSocket conformance of `/echo`, judged by Autobahn's fuzzing client.
//!
//! Deliberately absent: a list of accepted failures. Groups 8 and 11 are empty in the suite. Groups 12 and 13 are
//! compression: they take long, and ask of each of its two modes, so they have a door of their own (`--all`).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::command::run;
use crate::server::Server;
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

/// The groups that `cargo xtask test` asks for.
pub(crate) const CASES: &str = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*";

/// All groups.
pub(crate) const ALL_CASES: &str = "*";

/// How many cases the suite has.
pub(crate) const ALL_CASES_COUNT: usize = 517;

/// How the server compresses, as `--deflate` names it.
pub(crate) const DEFLATE_MODES: [&str; 2] = ["shared", "dedicated"];

/// Runs the cases that the comma-separated patterns name against a server that compresses in the given manner.
pub(crate) fn step(workspace: &Workspace, binary: &Path, patterns: &str, deflate: &str) -> Result<Outcome> {
    let wstest = tools::wstest(workspace)?;
    // Group 9 sends messages of 16 MiB.
    let server = Server::start(binary, &["--message-bytes-max", "16MiB", "--deflate", deflate])?;
    let folder = workspace.target().join("autobahn").join(deflate);
    let is_all = patterns == ALL_CASES;
    let patterns: Vec<&str> = patterns.split(',').collect();
    let mut verdicts = judge(&wstest, &server, &folder, &patterns)?;
    let repeated = to_repeat(&verdicts);
    if !repeated.is_empty() {
        // Whether a bad byte is answered "fast enough" depends on the machine's load too, so it may be asked again, once.
        println!("repeated once: {}", repeated.join(" "));
        let repeated: Vec<&str> = repeated.iter().map(String::as_str).collect();
        verdicts.extend(judge(&wstest, &server, &folder.join("repeated"), &repeated)?);
    }
    let failures: Vec<String> = verdicts.iter().filter_map(|(case, verdict)| verdict.failure(case)).collect();
    if !failures.is_empty() {
        bail!("{} of {} cases failed: {}", failures.len(), verdicts.len(), failures.join(", "));
    }
    if is_all && verdicts.len() != ALL_CASES_COUNT {
        bail!("{} cases have a result, of {ALL_CASES_COUNT} that there are", verdicts.len());
    }
    let lenient = verdicts.values().filter(|verdict| verdict.is_non_strict()).count();
    Ok(Outcome::passed(format!("{} cases, none failed, {lenient} non-strict", verdicts.len())))
}

/// How one case went: the messages, and the closing handshake.
#[derive(Debug)]
struct Verdict {
    behavior: String,
    close: String,
}

impl Verdict {
    fn is_non_strict(&self) -> bool {
        [&self.behavior, &self.close].contains(&&NON_STRICT.to_owned())
    }

    fn failure(&self, case: &str) -> Option<String> {
        let accepted = |word: &str| {
            word == "OK" || word == "INFORMATIONAL" || (word == NON_STRICT && !must_be_strict(case))
        };
        let held = accepted(&self.behavior) && accepted(&self.close);
        (!held).then(|| format!("{case} [{} / {}]", self.behavior, self.close))
    }
}

/// 6.4.x asks whether a bad byte in unfinished text is refused at once, which is a promise of ours.
fn must_be_strict(case: &str) -> bool {
    case.starts_with("6.4.")
}

fn to_repeat(verdicts: &BTreeMap<String, Verdict>) -> Vec<String> {
    let late = verdicts.iter().filter(|(case, verdict)| must_be_strict(case) && verdict.is_non_strict());
    late.map(|(case, _)| case.clone()).collect()
}

fn judge(
    wstest: &Path,
    server: &Server,
    folder: &Path,
    patterns: &[&str],
) -> Result<BTreeMap<String, Verdict>> {
    let report = folder.join("report");
    if report.exists() {
        std::fs::remove_dir_all(&report)?;
    }
    std::fs::create_dir_all(folder)?;
    let specification = json!({
        "outdir": report,
        "servers": [{"agent": AGENT, "url": format!("ws://{}/echo", server.tcp)}],
        "cases": patterns,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = folder.join("specification.json");
    std::fs::write(&file, specification.to_string())?;
    let log = std::fs::File::create(folder.join("wstest.log"))?;
    run(Command::new(wstest)
        .args(["-m", "fuzzingclient", "-s"])
        .arg(&file)
        .current_dir(folder)
        .stdout(log.try_clone()?)
        .stderr(log))
    .with_context(|| format!("see {}", folder.join("wstest.log").display()))?;
    let index = std::fs::read_to_string(report.join("index.json")).context("Autobahn left no report")?;
    let verdicts = read_index(&index)?;
    let planned = planned(&std::fs::read_to_string(folder.join("wstest.log"))?);
    if verdicts.is_empty() || planned.is_some_and(|planned| verdicts.len() < planned) {
        bail!("{} cases have a result; {planned:?} were planned: the server went away", verdicts.len());
    }
    Ok(verdicts)
}

fn read_index(text: &str) -> Result<BTreeMap<String, Verdict>> {
    let index: Value = serde_json::from_str(text)?;
    let cases = index[AGENT].as_object().context("the report has no results")?;
    let word = |result: &Value, key: &str| result[key].as_str().unwrap_or("no verdict").to_owned();
    let verdict =
        |result| Verdict { behavior: word(result, "behavior"), close: word(result, "behaviorClose") };
    Ok(cases.iter().map(|(case, result)| (case.clone(), verdict(result))).collect())
}

/// The number in "... will run 301 test cases against ...".
fn planned(log: &str) -> Option<usize> {
    let (_, rest) = log.split_once("will run ")?;
    rest.split_whitespace().next()?.parse().ok()
}

const AGENT: &str = "sockeye";
const NON_STRICT: &str = "NON-STRICT";

#[cfg(test)]
mod tests {
    use super::{planned, read_index, to_repeat};

    const INDEX: &str = r#"{"sockeye": {
        "1.1.1": {"behavior": "OK", "behaviorClose": "OK"},
        "3.2": {"behavior": "NON-STRICT", "behaviorClose": "OK"},
        "6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "OK"},
        "7.1.6": {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"},
        "7.7.1": {"behavior": "OK", "behaviorClose": "WRONG CODE"},
        "9.1.1": {"behavior": "FAILED", "behaviorClose": "OK"}}}"#;

    #[test]
    fn wrong_messages_and_wrong_closes_fail_and_6_4_is_strict() {
        let verdicts = read_index(INDEX).unwrap();

        let failed: Vec<&str> = verdicts
            .iter()
            .filter(|(case, verdict)| verdict.failure(case).is_some())
            .map(|(case, _)| case.as_str())
            .collect();

        assert_eq!(failed, ["6.4.1", "7.7.1", "9.1.1"]);
    }

    #[test]
    fn only_late_answers_of_6_4_are_repeated() {
        assert_eq!(to_repeat(&read_index(INDEX).unwrap()), ["6.4.1"]);
    }

    #[test]
    fn the_number_of_planned_cases_is_read_from_the_log() {
        assert_eq!(planned("Ok, will run 301 test cases against 1 servers"), Some(301));
        assert_eq!(planned("nothing"), None);
    }
}
