//! `cargo xtask`: one door for automation, the same on a laptop and on a build machine.
//!
//! Each door is a file: [`mod@test`] runs everything that must hold, [`mod@tidy`] checks the rules of the house,
//! [`autobahn`], [`clients`], [`peers`], [`proxies`] and [`mod@systemd`] drive the real binary from outside, [`fuzz`] looks for new inputs.
//! Deliberately absent: anything that publishes or deploys, and shell scripts (what runs here is Rust, so that it
//! is read, formatted and tested like the rest).

// Printing is what this program is for.
#![allow(clippy::print_stdout)]

mod autobahn;
mod clients;
mod command;
mod fuzz;
mod metrics;
mod peers;
mod proxies;
mod server;
mod size;
mod step;
mod systemd;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::step::Report;
use crate::workspace::Workspace;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        println!("{USAGE}");
        return Ok(ExitCode::from(2));
    }
    let door = arguments.remove(0);
    if door == systemd::INSIDE {
        return systemd::inside(&arguments).map(|()| ExitCode::SUCCESS);
    }
    let workspace = Workspace::open(take_flag(&mut arguments, "--install"))?;
    match door.as_str() {
        "test" => {
            refuse_rest(&arguments)?;
            Ok(test::everything(&workspace))
        }
        "tidy" => {
            refuse_rest(&arguments)?;
            let mut report = Report::new(workspace.is_build_machine());
            report.step("tidy", || tidy::step(&workspace));
            Ok(report.finish())
        }
        "bench" => {
            tools::bench_peers(&workspace)?;
            forward(workspace.cargo(["run", "--release", "-p", "sockeye-bench", "--"]), &arguments)
        }
        "sim" => forward(workspace.cargo(["run", "--profile", "sim", "-p", "sockeye-sim", "--"]), &arguments),
        "fuzz" => fuzz::door(&workspace, arguments),
        "autobahn" => {
            let cases = take_value(&mut arguments, "--cases")?;
            let mode = take_value(&mut arguments, "--deflate")?;
            let all = take_flag(&mut arguments, "--all");
            refuse_rest(&arguments)?;
            if all && cases.is_some() {
                bail!("--all and --cases exclude each other");
            }
            let modes = match &mode {
                Some(mode) => vec![mode.as_str()],
                None if all => autobahn::DEFLATE_MODES.to_vec(),
                None => vec!["shared"],
            };
            let default = if all { autobahn::ALL_CASES } else { autobahn::CASES };
            let cases = cases.as_deref().unwrap_or(default);
            let mut report = Report::new(workspace.is_build_machine());
            if let Some(binary) = server::build_step(&workspace, &mut report) {
                for mode in modes {
                    report.step(&format!("Autobahn, {mode}"), || {
                        autobahn::step(&workspace, &binary, cases, mode)
                    });
                }
            }
            Ok(report.finish())
        }
        "clients" => {
            refuse_rest(&arguments)?;
            let mut report = Report::new(workspace.is_build_machine());
            if let Some(binary) = server::build_step(&workspace, &mut report) {
                clients::steps(&workspace, &binary, &mut report);
            }
            Ok(report.finish())
        }
        "peers" => {
            refuse_rest(&arguments)?;
            let mut report = Report::new(workspace.is_build_machine());
            if let Some(binary) = server::build_step(&workspace, &mut report) {
                peers::steps(&workspace, &binary, &mut report);
            }
            Ok(report.finish())
        }
        "proxies" => {
            refuse_rest(&arguments)?;
            let mut report = Report::new(workspace.is_build_machine());
            if let Some(binary) = server::build_step(&workspace, &mut report) {
                proxies::steps(&workspace, &binary, &mut report);
            }
            Ok(report.finish())
        }
        "systemd" => {
            refuse_rest(&arguments)?;
            let mut report = Report::new(workspace.is_build_machine());
            if let Some(binary) = server::build_step(&workspace, &mut report) {
                systemd::steps(&workspace, &binary, &mut report);
            }
            Ok(report.finish())
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("unknown door `{other}`\n\n{USAGE}"),
    }
}

/// Runs a command with the rest of the arguments and ends as it ended.
fn forward(mut command: Command, arguments: &[String]) -> Result<ExitCode> {
    let status = command.args(arguments).status()?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    })
}

fn take_flag(arguments: &mut Vec<String>, flag: &str) -> bool {
    let count = arguments.len();
    // What follows `--` belongs to the program that is started.
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(count);
    match arguments[..end].iter().position(|argument| argument == flag) {
        Some(index) => {
            arguments.remove(index);
            true
        }
        None => false,
    }
}

fn take_value(arguments: &mut Vec<String>, flag: &str) -> Result<Option<String>> {
    let Some(index) = arguments.iter().position(|argument| argument == flag) else {
        return Ok(None);
    };
    arguments.remove(index);
    if index == arguments.len() {
        bail!("{flag} needs a value");
    }
    Ok(Some(arguments.remove(index)))
}

fn refuse_rest(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        Some(argument) => bail!("unknown argument `{argument}`\n\n{USAGE}"),
        None => Ok(()),
    }
}

const USAGE: &str = "\
cargo xtask DOOR

  test                       everything that must hold; ends with `N passed, N failed`
  tidy                       the rules of the house: folder arrows, file openings, links
  bench ARGS                 the benchmark, in the release profile
  sim ARGS                   the simulation, for example `sim --seeds 10000`
  fuzz [TARGET] [--minutes 10]
                             looks for inputs that break a parser, two targets at a time
  autobahn [--all | --cases '1.*,7.*'] [--deflate MODE]
                             Autobahn's fuzzing client against /echo of the release build; --all: every case, with
                             compression shared and dedicated (some 20 minutes)
  clients                    Chromium, Python, npm ws, curl and nc against the release build
  peers                      nc, ncat, socat, curl, openssl and Python at the other end of connect and listen
  proxies                    nginx, HAProxy and Caddy, as docs/examples sets them up, in front of the release build
  systemd                    the release build under a real systemd, installed as the documents say, in namespaces of its own;
                             it takes root

  --install                  with any door: fetch what is missing into target/ and, for programs, with
                             apt-get; without it, a step that lacks something is skipped and says so
  CI=true                    implies --install, and a skipped step is a failure";
