//! Running other programs: to their end, with their output, or as a partner in a conversation.
//!
//! Deliberately absent: killing by name. A program is ended through the handle it was started with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Runs a command to its end, its output passing through.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end and returns its standard output; its standard error is kept for the error message.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", shown(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}{}", shown(command), output.status, errors.trim(), text.trim());
    }
    Ok(text)
}

/// Runs a command to its end; standard output is shown as it comes and handed to `line`. Returns whether it succeeded.
pub(crate) fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", shown(command)))?;
    let stdout = child.stdout.take().context("standard output was asked for")?;
    for text in BufReader::new(stdout).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        line(&text);
    }
    Ok(child.wait()?.success())
}

/// The first of several programs that stands on `PATH`.
pub(crate) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Servers are in a folder that not every user has on PATH.
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args().take(6) {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// A program one talks with line by line. Ended, by its own handle, when this value goes.
pub(crate) struct Conversation {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What was said lately, for the error message when an expected line does not come.
    recent: Vec<String>,
}

impl Conversation {
    /// Starts `command` with both its standard streams connected; its standard error passes through.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", shown(command)))?;
        let input = child.stdin.take();
        let stdout = child.stdout.take().context("standard output was asked for")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, input, lines, recent: Vec::new() })
    }

    /// Writes one line.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the input was closed before")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .with_context(|| format!("writing to {}", self.name))
    }

    /// Ends the program's input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for a line that `wanted` accepts; earlier lines are passed over.
    pub(crate) fn hear(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return Ok(line),
                Ok(line) => self.recent.push(line),
                Err(error) => {
                    let end = match error {
                        RecvTimeoutError::Timeout => format!("nothing for {} s", PATIENCE.as_secs()),
                        RecvTimeoutError::Disconnected => "it ended".to_owned(),
                    };
                    let said = self.recent.split_off(self.recent.len().saturating_sub(4)).join(" | ");
                    bail!("{}: {what} was expected, {end}; it said: {said}", self.name);
                }
            }
        }
    }

    /// Waits for the program to end by itself and tells whether it succeeded.
    pub(crate) fn wait(mut self) -> Result<bool> {
        self.input = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(self.child.wait()?.success()),
                Err(RecvTimeoutError::Timeout) => bail!("{} does not end", self.name),
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Both fail only when the program has ended and was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a line may take. Generous: a slow machine starts a browser in this time.
const PATIENCE: Duration = Duration::from_secs(60);
