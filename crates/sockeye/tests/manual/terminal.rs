//! Terminals: a shell for each block that is pasted, what is typed into it, and what it has shown.
//!
//! Standard output and standard error are one pipe, in the order in which a reader sees them. A block is waited for by what it
//! shows; so nothing sleeps here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::chapter::{Action, Block};
use crate::compare::is_shown;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sockeye");

/// Nothing that is waited for takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One reader with his terminals, ports and folder.
pub(crate) struct Desk {
    title: String,
    folder: tempfile::TempDir,
    /// The chapter's ports, and those that stand for them.
    ports: BTreeMap<String, String>,
    terminals: BTreeMap<u8, Terminal>,
}

impl Desk {
    pub(crate) fn new(title: &str) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        Desk { title: title.to_owned(), folder, ports: BTreeMap::new(), terminals: BTreeMap::new() }
    }

    /// Does every block in turn.
    pub(crate) fn play(mut self, blocks: &[Block]) {
        for block in blocks {
            if let Some(program) = &block.needs {
                eprintln!("passed over: line {}, which needs {program}", block.line);
                continue;
            }
            let text = self.with_ports(&block.text);
            let terminal = self.terminals.entry(block.terminal).or_default();
            let name =
                format!("{}, line {}, terminal {}, {:?}", self.title, block.line, block.terminal, block.text);
            match block.action {
                Action::Run => terminal.run(&text, &self.folder, &name),
                Action::Typed => terminal.type_in(&block.text, &name),
                Action::Shown { as_stream } => terminal.wait_for(&block.text, as_stream, &self.ports, &name),
            }
        }
        for (number, terminal) in &mut self.terminals {
            terminal.wait_for_end(&format!("{}, the end, terminal {number}", self.title));
            let rest = terminal.unseen(&self.ports);
            assert!(rest.is_empty(), "{}: terminal {number} also shows {rest:?}", self.title);
        }
    }

    /// A command with ports that are free.
    fn with_ports(&mut self, text: &str) -> String {
        let mut parts = text.split("127.0.0.1:");
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|character: char| !character.is_ascii_digit()).unwrap_or(part.len());
            let (port, rest) = part.split_at(end);
            let free = self.ports.entry(port.to_owned()).or_insert_with(free_port);
            let _ = write!(replaced, "127.0.0.1:{free}{rest}");
        }
        replaced
    }
}

/// A port on which nobody listens. The system gives no such port to anybody who leaves the choice to it, as all other tests do.
fn free_port() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of these tests at the same time has other ones.
    let begin = u16::try_from(std::process::id() % 400).unwrap() * 50;
    loop {
        let port = 10_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port.to_string();
        }
    }
}

#[derive(Default)]
struct Terminal {
    running: Option<Running>,
    /// What has been shown, shared with who reads it.
    shown: Arc<(Mutex<Shown>, Condvar)>,
    /// How much of it the chapter has shown too.
    seen: usize,
    /// What the running command shows from here on is left out.
    leaves_out_rest: bool,
}

struct Running {
    child: Child,
    input: Option<ChildStdin>,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Pastes a block.
    fn run(&mut self, script: &str, folder: &tempfile::TempDir, name: &str) {
        self.wait_for_end(name);
        let binaries = std::path::Path::new(BINARY).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .current_dir(folder)
            .env("PATH", format!("{binaries}:{path}"))
            .env_remove("SOCKEYE_CONFIG")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        let mut child = command.spawn().unwrap();
        // It holds the writing end, whose last copy must be the child's.
        drop(command);
        let input = child.stdin.take();
        self.running = Some(Running { child, input });
        self.shown.0.lock().unwrap().ended = false;
        let shown = Arc::clone(&self.shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = reader.read(&mut buffer).unwrap_or(0);
                let mut said = shown.0.lock().unwrap();
                said.bytes.extend_from_slice(&buffer[..count]);
                said.ended = count == 0;
                shown.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
    }

    /// Types lines; `^D` ends the input, `^C` interrupts.
    fn type_in(&mut self, text: &str, name: &str) {
        let running = self.running.as_mut().unwrap_or_else(|| panic!("nothing runs there: {name}"));
        for line in text.lines() {
            match line {
                "^D" => running.input = None,
                "^C" => {
                    // Ctrl-C is SIGINT, which who runs the tests in the background may have let us inherit as ignored.
                    running.signal("TERM");
                    self.leaves_out_rest = true;
                    self.wait_for_end(name);
                    return;
                }
                line => {
                    let input = running.input.as_mut().expect("its input is open");
                    // Who has ended hears nothing; what is shown then tells.
                    let _ = writeln!(input, "{line}");
                }
            }
        }
    }

    /// Waits until it shows this.
    fn wait_for(&mut self, text: &str, as_stream: bool, ports: &BTreeMap<String, String>, name: &str) {
        let (shown, grown) = &*self.shown;
        let seen = self.seen;
        let is_there = |shown: &Shown| {
            let whole = whole_lines(&shown.bytes[seen..]);
            is_shown(text, &renamed(whole, ports), as_stream)
        };
        let (shown, _) = grown
            .wait_timeout_while(shown.lock().unwrap(), PATIENCE, |shown| !is_there(shown) && !shown.ended)
            .unwrap();
        let actual = renamed(&shown.bytes[seen..], ports);
        assert!(is_there(&shown), "{name}\nshows:\n{actual}");
        self.seen += whole_lines(&shown.bytes[seen..]).len();
        self.leaves_out_rest |= text.ends_with("...\n");
    }

    /// Waits until what runs there has ended.
    fn wait_for_end(&mut self, name: &str) {
        let Some(mut running) = self.running.take() else { return };
        let (shown, grown) = &*self.shown;
        let (shown, _) =
            grown.wait_timeout_while(shown.lock().unwrap(), PATIENCE, |shown| !shown.ended).unwrap();
        assert!(shown.ended, "it goes on: {name}\nshows: {:?}", String::from_utf8_lossy(&shown.bytes));
        running.child.wait().unwrap();
        if std::mem::take(&mut self.leaves_out_rest) {
            self.seen = shown.bytes.len();
        }
    }

    /// What it has shown, and the chapter has not.
    fn unseen(&self, ports: &BTreeMap<String, String>) -> String {
        renamed(&self.shown.0.lock().unwrap().bytes[self.seen..], ports)
    }
}

impl Running {
    /// Sends a signal to the shell and everything that it has started.
    fn signal(&self, signal: &str) {
        let kill = format!("kill -s {signal} -- -{}", self.child.id());
        // It may have ended by itself.
        let _ = Command::new("/bin/sh").args(["-c", &kill]).stderr(Stdio::null()).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it was waited for, its number may be somebody else's.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// The bytes up to the last line end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)]
}

/// What was shown, with the chapter's ports.
fn renamed(bytes: &[u8], ports: &BTreeMap<String, String>) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    ports.iter().fold(text, |text, (port, free)| {
        let text = text.replace(&format!("127.0.0.1:{free}"), &format!("127.0.0.1:{port}"));
        text.replace(&format!("port {free}"), &format!("port {port}"))
    })
}
