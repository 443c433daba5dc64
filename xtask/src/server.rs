//! The server under test: the release build on free ports, ended when its handle goes.
//!
//! Deliberately absent: fixed ports and guesses. The first line of its log says where it listens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::run;
use crate::step::{Outcome, Report};
use crate::workspace::Workspace;

/// Builds the release binary as a step of its own; its path, if that succeeded.
pub(crate) fn build_step(workspace: &Workspace, report: &mut Report) -> Option<PathBuf> {
    let mut binary = None;
    report.step("release build", || {
        run(&mut workspace.cargo(["build", "--release", "-p", "sockeye"]))?;
        binary = Some(workspace.target().join("release/sockeye"));
        Ok(Outcome::passed(""))
    });
    binary
}

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    /// `127.0.0.1:PORT`.
    pub(crate) tcp: String,
    /// The path of its Unix socket.
    pub(crate) unix: PathBuf,
}

impl Server {
    /// Starts `binary serve` on a free TCP port and a Unix socket of its own. Its log goes to a file beside the socket.
    pub(crate) fn start(binary: &Path, flags: &[&str]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // The temporary folder and not the output folder: the path of a Unix socket has at most 107 bytes.
        let name = format!("sockeye-xtask-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        let unix = folder.join("s.sock");
        let mut child = Command::new(binary)
            .args(["serve", "--json", "--listen", "tcp:127.0.0.1:0", "--listen"])
            .arg(format!("unix:{}", unix.display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let errors = child.stderr.take().context("standard error was asked for")?;
        // From here on the child is ended by `Drop`, also when a later line returns early.
        let mut server = Self { child, folder, tcp: String::new(), unix };
        let mut log = std::fs::File::create(server.folder.join("server.log"))?;
        let (sender, first) = channel();
        std::thread::spawn(move || {
            // The rest is read too: a full pipe would stop the server.
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let _ = sender.send(line);
            }
        });
        let line = match first.recv_timeout(Duration::from_secs(20)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("the server logged nothing in 20 s"),
            Err(RecvTimeoutError::Disconnected) => bail!("the server ended without a word"),
        };
        let listen = listening(&line).with_context(|| format!("the first line of the log is: {line}"))?;
        match listen.iter().find_map(|address| address.strip_prefix("tcp:")) {
            Some(address) => server.tcp = address.to_owned(),
            None => bail!("the first line of the log names no tcp address: {line}"),
        }
        Ok(server)
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end in good order.
    pub(crate) fn terminate(&self) -> Result<()> {
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // These fail only when the server has ended before, which the step that used it has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The addresses in the first log line: an array, at the top or under `fields`, or the same array as text.
fn listening(line: &str) -> Result<Vec<String>> {
    let entry: Value = serde_json::from_str(line).context("not JSON")?;
    let found =
        entry.get("listen").or_else(|| entry.get("fields")?.get("listen")).context("no `listen` in it")?;
    let array = match found {
        Value::String(text) => serde_json::from_str(text).context("`listen` is not a list")?,
        other => other.clone(),
    };
    let addresses = array.as_array().context("`listen` is not a list")?;
    Ok(addresses.iter().filter_map(|address| address.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::listening;

    #[test]
    fn addresses_are_found_in_each_shape_of_the_first_line() {
        let expected = vec!["tcp:127.0.0.1:41234".to_owned(), "unix:/tmp/s.sock".to_owned()];

        for line in [
            r#"{"message":"listening","listen":["tcp:127.0.0.1:41234","unix:/tmp/s.sock"]}"#,
            r#"{"fields":{"message":"listening","listen":["tcp:127.0.0.1:41234","unix:/tmp/s.sock"]}}"#,
            r#"{"fields":{"listen":"[\"tcp:127.0.0.1:41234\", \"unix:/tmp/s.sock\"]"}}"#,
        ] {
            assert_eq!(listening(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn another_first_line_is_refused() {
        for line in ["sockeye 0.1.0", "{}", r#"{"listen":3}"#] {
            assert!(listening(line).is_err(), "{line}");
        }
    }
}
