//! Foreign programs at the other end of `connect`, `listen` and `relay`: nc, ncat, socat, curl, openssl, Python's websockets.
//!
//! What each of them is used for daily is done with it. The contracts themselves are tests of the product; here it is
//! shown that others understand them. Deliberately absent: fixed ports and waiting for a time to pass.

mod netcat;
mod python;
mod relay;
mod secure;
mod socat;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::step::Report;
use crate::workspace::Workspace;

/// How long an exchange may take. Generous: Python starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Adds one step for each program.
pub(crate) fn steps(workspace: &Workspace, binary: &Path, report: &mut Report) {
    report.step("peer nc", || netcat::openbsd(workspace, binary));
    report.step("peer ncat", || netcat::ncat(workspace, binary));
    report.step("peer socat", || socat::check(workspace, binary));
    report.step("peer curl", || netcat::curl(workspace, binary));
    report.step("peer openssl", || secure::check(workspace, binary));
    report.step("peers of a relay", || relay::check(workspace, binary));
    report.step("peer Python websockets", || python::check(workspace, binary));
}

/// What a program left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    output: Vec<u8>,
    errors: String,
}

impl Ran {
    /// It must have ended well and said this.
    fn said(&self, expected: &[u8]) -> Result<()> {
        ensure!(
            self.code == Some(0) && self.output == expected,
            "it was to say {}: {self:?}",
            lossy(expected)
        );
        Ok(())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program to its end with this input.
fn exchange(command: &mut Command, input: &[u8]) -> Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let mut standard_input = child.stdin.take().context("standard input was asked for")?;
    let id = child.id();
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    // It may end without reading everything.
    let _ = standard_input.write_all(input);
    drop(standard_input);
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        // It was started here and not waited for yet, so the number is still its own.
        crate::command::run(Command::new("kill").args(["-KILL", &id.to_string()]))?;
        bail!("{name} does not end");
    };
    let output = output?;
    let errors = lossy(&output.stderr);
    Ok(Ran { code: output.status.code(), output: output.stdout, errors })
}

/// A program that goes on until its handle goes.
struct Running {
    child: Child,
    /// Some end when their input does.
    _input: Option<ChildStdin>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program, and waits for a line of its output or its errors from which `found` takes something.
fn start<T>(command: &mut Command, found: impl Fn(&str) -> Option<T>) -> Result<(Running, T)> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let running = Running { child, _input: input };
    let (sender, lines) = channel();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] =
        [output.map(|stream| Box::new(stream) as _), errors.map(|stream| Box::new(stream) as _)];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        // To its end: a full pipe would stop the program.
        std::thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
    }
    drop(sender);
    let mut said = Vec::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        if let Some(found) = found(&line) {
            return Ok((running, found));
        }
        said.push(line);
    }
    bail!("{name} did not say where it is; it said {}", said.join(" | "))
}

/// `sockeye listen` with these arguments; with the address that it tells.
fn listen(binary: &Path, arguments: &[&str]) -> Result<(Running, String)> {
    start(Command::new(binary).arg("listen").args(arguments), |line| {
        line.split_once("listening on ").map(|(_, address)| address.to_owned())
    })
}

/// The host and the port of an address with both.
fn host_and_port(address: &str) -> Result<(&str, &str)> {
    let target = address.split_once(':').map_or(address, |(_, target)| target);
    let target = target.trim_start_matches('/').split(['/', '?', '#']).next().unwrap_or_default();
    target.rsplit_once(':').with_context(|| format!("{address} has no port"))
}

/// A folder that goes with its handle.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The temporary folder: the path of a Unix socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("sockeye-peers-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Folder(folder))
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
