//! Processes under measurement: started, found by the address they print, read through /proc, and killed by
//! their own id when they go out of scope.
//!
//! Absent on purpose: pinning. Children inherit the harness' cores, mostly one, so a server that counts them sees as many.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::floor::Floor;
use crate::peer::Peer;
use crate::tls_floor::TlsFloor;

/// Which build of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The one that is measured.
    This,
    /// The one that it is measured beside.
    Before,
}

/// A program that can be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// `sockeye serve`.
    Sockeye(Build),
    /// `sockeye serve` on so many shards.
    Sharded(u16),
    /// `sockeye serve` on one shard, with a certificate.
    Secure(Build),
    /// A bare loop.
    Floor(Floor),
    /// A bare loop that receives datagrams.
    DatagramFloor,
    /// A bare loop around the TLS library.
    TlsFloor(TlsFloor),
    /// Another echo server.
    Peer(Peer),
}

impl Program {
    /// What tables call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sockeye(Build::Before) | Self::Secure(Build::Before) => "sockeye before",
            Self::Sockeye(_) | Self::Secure(_) | Self::Sharded(_) => "sockeye",
            Self::Floor(_) | Self::DatagramFloor | Self::TlsFloor(_) => "floor",
            Self::Peer(peer) => peer.name(),
        }
    }
}

/// How long a program may take until it listens.
const LISTENING_TIMEOUT: Duration = Duration::from_secs(10);

/// A running program.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a program and waits until it listens.
    pub(crate) fn start(program: &Program, server: &Path) -> anyhow::Result<Self> {
        let command = match program {
            Program::Sockeye(_) | Program::Sharded(_) => {
                let mut command = Command::new(server);
                command.args(["serve", "--listen", "tcp:127.0.0.1:0", "--json"]);
                if let Program::Sharded(shards) = program {
                    command.args(["--shards", &shards.to_string()]);
                }
                command
            }
            Program::Secure(_) => {
                let files = crate::generator::secure::certificate()?;
                let mut command = Command::new(server);
                command.args(["serve", "--listen", "tcp:127.0.0.1:0", "--json", "--shards", "1"]);
                command.arg("--tls-certificate").arg(&files.certificate).arg("--tls-key").arg(&files.key);
                command
            }
            Program::TlsFloor(floor) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(floor.to_words()?);
                command
            }
            Program::Floor(floor) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(floor.to_words());
                command
            }
            Program::DatagramFloor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(crate::datagram_floor::WORDS);
                command
            }
            Program::Peer(peer) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(peer.to_words());
                command
            }
        };
        Self::launch(command, program.name())
    }

    /// Starts a command that says on standard error where it listens.
    pub(crate) fn launch(mut command: Command, name: &str) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;

        let mut lines = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next() else {
                let status = child.wait()?;
                bail!("{} ended before it listened ({status}): {said}", name);
            };
            let line = line?;
            match listening_address(&line) {
                Some(address) => break address,
                None => said.push_str(&line),
            }
        };
        // A log that nobody reads would stop its writer.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }

    /// Starts a command that listens where it was told to, and does not say so.
    pub(crate) fn launch_on(mut command: Command, name: &str, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let mut process = Self { child, address };
        let until = Instant::now() + LISTENING_TIMEOUT;
        while !is_listened_on(address.port())? {
            if let Some(status) = process.child.try_wait()? {
                bail!("{name} ended before it listened ({status})");
            }
            anyhow::ensure!(Instant::now() < until, "{name} does not listen on {address}");
            std::thread::yield_now();
        }
        Ok(process)
    }

    fn proc(&self, name: &str) -> anyhow::Result<String> {
        let path = PathBuf::from(format!("/proc/{}/{name}", self.child.id()));
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// CPU time of all its threads, user and system, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> anyhow::Result<u64> {
        Ok(self.cpu_ns_by_thread()?.values().sum())
    }

    /// The same of each of its threads.
    pub(crate) fn cpu_ns_by_thread(&self) -> anyhow::Result<BTreeMap<OsString, u64>> {
        // /proc/PID/schedstat is that of the first thread alone.
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let spent = text.split_whitespace().next().context("an empty schedstat")?;
            threads.insert(task.file_name(), spent.parse().context("schedstat")?);
        }
        Ok(threads)
    }

    /// How many write calls (`write`, `writev`; not `send`) it has made.
    pub(crate) fn write_calls(&self) -> anyhow::Result<u64> {
        field(&self.proc("io")?, "syscw:")
    }

    /// Its memory at this moment, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let rollup = self.proc("smaps_rollup")?;
        Ok(Memory {
            resident: field(&rollup, "Rss:")? * 1024,
            proportional: field(&rollup, "Pss:")? * 1024,
            private_dirty: field(&rollup, "Private_Dirty:")? * 1024,
        })
    }

    /// The most memory it ever had, in bytes.
    pub(crate) fn resident_peak(&self) -> anyhow::Result<u64> {
        Ok(field(&self.proc("status")?, "VmHWM:")? * 1024)
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to do for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User memory of a process, as the kernel accounts for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) private_dirty: u64,
}

/// Memory of all TCP sockets of the machine, in bytes.
pub(crate) fn kernel_tcp_bytes() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:")).context("no TCP line in sockstat")?;
    let pages: u64 = line.rsplit(' ').next().context("an empty line")?.parse().context("sockstat mem")?;
    Ok(pages * 4096)
}

/// What the kernel holds for the socket from `local` to `remote` (both on loopback): bytes to send and to read.
pub(crate) fn kernel_queues(local: u16, remote: u16) -> anyhow::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/net/tcp")?;
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() > 4 && words[1].ends_with(&local) && words[2].ends_with(&remote) {
            let (send, receive) = words[4].split_once(':').context("queues of /proc/net/tcp")?;
            return Ok((u64::from_str_radix(send, 16)?, u64::from_str_radix(receive, 16)?));
        }
    }
    bail!("no socket from {local} to {remote}")
}

/// Whether somebody listens on this port of loopback. Asking by connecting would be a connection, of which some take one.
fn is_listened_on(port: u16) -> anyhow::Result<bool> {
    const LISTENING: &str = "0A";
    let (text, port) = (fs::read_to_string("/proc/net/tcp")?, format!(":{port:04X}"));
    Ok(text.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 3 && words[1].ends_with(&port) && words[3] == LISTENING
    }))
}

/// Listens on a free port as one of the harness' children: says where, and ends with its parent.
pub(crate) fn listen_as_child() -> anyhow::Result<TcpListener> {
    let listener = bind_as_child()?;
    tell_listening(&listener)?;
    Ok(listener)
}

/// The same without a word: whoever has more to open says it later.
pub(crate) fn bind_as_child() -> anyhow::Result<TcpListener> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    rustix::net::listen(&listener, 4096)?;
    Ok(listener.into())
}

/// Says where it listens, which sets the harness off.
pub(crate) fn tell_listening(listener: &TcpListener) -> anyhow::Result<()> {
    let line = serde_json::json!({ "listen": [format!("tcp:{}", listener.local_addr()?)] });
    eprintln!("{line}");
    Ok(())
}

/// The first TCP address in a line of a log; how deep it is nested does not matter.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("tcp:127.0.0.1:").or_else(|| line.split_once("ws://127.0.0.1:"))?;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    let port = digits.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The number behind a label of a /proc file.
fn field(text: &str, label: &str) -> anyhow::Result<u64> {
    let line = text.lines().find(|line| line.starts_with(label)).with_context(|| format!("no {label}"))?;
    let word = line.split_whitespace().nth(1).with_context(|| format!("{label} is empty"))?;
    word.parse().with_context(|| format!("{label} {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_found_at_any_depth() {
        let flat = r#"{"level":"INFO","message":"listening","listen":["tcp:127.0.0.1:41234"]}"#;
        let nested = r#"{"fields":{"message":"listening","listen":"[\"tcp:127.0.0.1:41234\"]"}}"#;

        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 41234)));
        assert_eq!(listening_address(flat), expected);
        assert_eq!(listening_address(nested), expected);
        assert_eq!(listening_address("{}"), None);
    }

    #[test]
    fn fields_are_read_by_their_label() {
        let text = "Rss:  12 kB\nPss:  7 kB\n";

        assert_eq!(field(text, "Pss:").expect("it is there"), 7);
        assert!(field(text, "Swap:").is_err());
    }
}
