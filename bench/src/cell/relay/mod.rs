//! `sockeye relay` beside others: the programs, and one connection through them.
//!
//! A peer that is not installed is said, and its figures are missing; nothing fails for it.

pub(crate) mod latency;
pub(crate) mod many;
pub(crate) mod stream;
pub(crate) mod websocket;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::net::{RecvFlags, recv};

use super::Bench;
use crate::process::Process;

/// A relay of TCP to TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relay {
    Sockeye,
    Socat,
    Nginx,
    Floor,
}

/// Two processes with a WebSocket between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tunnel {
    Sockeye,
    Websocat,
}

/// Where Debian puts the module.
const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// What is sent at once, and counted as one message.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

impl Relay {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sockeye => "sockeye",
            Self::Socat => "socat -b 65536",
            Self::Nginx => "nginx stream",
            Self::Floor => "splice loop",
        }
    }

    /// Whether it can be measured here; who is missing is said.
    pub(super) fn is_there(self) -> bool {
        match self {
            Self::Sockeye | Self::Floor => true,
            Self::Socat => is_on_path("socat", "apt-get install socat"),
            Self::Nginx => {
                let has_module = Path::new(NGINX_MODULE).is_file();
                if !has_module {
                    eprintln!("{NGINX_MODULE} is missing: apt-get install libnginx-mod-stream");
                }
                has_module && is_on_path("nginx", "apt-get install nginx-light")
            }
        }
    }

    fn start(self, bench: &Bench, to: SocketAddr) -> anyhow::Result<Process> {
        match self {
            Self::Sockeye => {
                let mut command = Command::new(bench.binary());
                command.args(["relay", "listen:tcp:127.0.0.1:0", &format!("tcp:{to}")]);
                Process::launch(command, self.name())
            }
            Self::Socat => {
                let at = free_address()?;
                let listen = format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,nodelay", at.port());
                let mut command = Command::new("socat");
                command.args(["-b", "65536", &listen, &format!("TCP:{to},nodelay")]);
                Process::launch_on(command, self.name(), at)
            }
            Self::Nginx => {
                let at = free_address()?;
                let folder = std::env::temp_dir().join(format!("sockeye-bench-nginx-{}", at.port()));
                fs::create_dir_all(&folder)?;
                let file = folder.join("nginx.conf");
                fs::write(&file, nginx_configuration(&folder, at, to))?;
                let mut command = Command::new("nginx");
                command.arg("-p").arg(&folder).arg("-c").arg(&file);
                let started = Process::launch_on(command, self.name(), at);
                // It has read everything once it listens.
                let _ = fs::remove_dir_all(&folder);
                started
            }
            Self::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(crate::relay_floor::words(to));
                Process::launch(command, self.name())
            }
        }
    }
}

impl Tunnel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sockeye => "sockeye",
            Self::Websocat => "websocat",
        }
    }

    pub(super) fn is_there(self) -> bool {
        self == Self::Sockeye || is_on_path("websocat", "cargo install websocat --version 1.14.1 --locked")
    }

    /// The far process first, which listens for the near one.
    fn start(self, bench: &Bench, to: SocketAddr) -> anyhow::Result<Vec<Process>> {
        match self {
            Self::Sockeye => {
                let relay = |left: &str, right: String| {
                    let mut command = Command::new(bench.binary());
                    command.args(["relay", "--frame", "raw", left, &right]);
                    Process::launch(command, self.name())
                };
                let far = relay("listen:ws://127.0.0.1:0/", format!("tcp:{to}"))?;
                let near = relay("listen:tcp:127.0.0.1:0", format!("ws://{}/", far.address))?;
                Ok(vec![near, far])
            }
            Self::Websocat => {
                let websocat = |at: SocketAddr, left: String, right: String| {
                    let mut command = Command::new("websocat");
                    command.args(["--binary", "--exit-on-eof", "--buffer-size", "65536", &left, &right]);
                    Process::launch_on(command, self.name(), at)
                };
                let (near_at, far_at) = (free_address()?, free_address()?);
                let far = websocat(far_at, format!("ws-listen:{far_at}"), format!("tcp:{to}"))?;
                let near = websocat(near_at, format!("tcp-listen:{near_at}"), format!("ws://{far_at}/"))?;
                Ok(vec![near, far])
            }
        }
    }
}

/// One connection through a relay or a tunnel: its processes, and both its ends.
pub(super) struct Line {
    processes: Vec<Process>,
    pub(super) near: TcpStream,
    pub(super) far: TcpStream,
}

impl Line {
    pub(super) fn through_relay(bench: &Bench, relay: Relay) -> anyhow::Result<Self> {
        Self::new(|to| Ok(vec![relay.start(bench, to)?]))
    }

    pub(super) fn through_tunnel(bench: &Bench, tunnel: Tunnel) -> anyhow::Result<Self> {
        Self::new(|to| tunnel.start(bench, to))
    }

    fn new(start: impl FnOnce(SocketAddr) -> anyhow::Result<Vec<Process>>) -> anyhow::Result<Self> {
        let server = TcpListener::bind("127.0.0.1:0")?;
        let processes = start(server.local_addr()?)?;
        let near = patient(TcpStream::connect(processes[0].address)?)?;
        let (far, _) = server.accept()?;
        let line = Self { processes, near, far: patient(far)? };
        line.check()?;
        Ok(line)
    }

    /// CPU time of all its processes.
    pub(super) fn cpu_ns(&self) -> anyhow::Result<u64> {
        self.processes.iter().map(Process::cpu_ns).sum()
    }

    /// What is said at one end is heard at the other, before anything is measured.
    fn check(&self) -> anyhow::Result<()> {
        use std::io::{Read as _, Write as _};
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let (mut from, mut to) = (from, to);
            let mut heard = [0; 1_000];
            let said: [u8; 1_000] = std::array::from_fn(|place| (place * 7) as u8);
            from.write_all(&said)?;
            to.read_exact(&mut heard).context("what was said")?;
            ensure!(heard == said, "what is heard is not what was said");
        }
        Ok(())
    }

    /// Sends blocks for a while, until all of them are heard. Returns how many those were.
    ///
    /// Two threads, because neither end may wait for the other; what is received is counted and not copied.
    pub(super) fn flow(&self, duration: Duration, block: &[u8]) -> anyhow::Result<u64> {
        // Set before the last block is sent, so that whoever waits for bytes hears at least those.
        let target = AtomicU64::new(u64::MAX);
        let (target, mut far_room) = (&target, vec![0; 4 * BLOCK_BYTES]);
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || -> anyhow::Result<u64> {
                use std::io::Write as _;
                let (began, mut blocks, mut near) = (Instant::now(), 0, &self.near);
                loop {
                    blocks += 1;
                    let is_last = began.elapsed() >= duration;
                    if is_last {
                        target.store(blocks * block.len() as u64, Ordering::SeqCst);
                    }
                    near.write_all(block).context("send")?;
                    if is_last {
                        return Ok(blocks);
                    }
                }
            });
            let mut received = 0;
            while received < target.load(Ordering::SeqCst) {
                // tcp(7), MSG_TRUNC: received bytes are dropped instead of being copied.
                let (_, count) = recv(&self.far, &mut far_room[..], RecvFlags::TRUNC).context("receive")?;
                ensure!(count > 0, "the relay ended");
                received += count as u64;
            }
            sender.join().expect("a sender does not panic")
        })
    }
}

fn patient(stream: TcpStream) -> anyhow::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An address of loopback that nobody used a moment ago, for programs that cannot choose one and say so.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn is_on_path(program: &str, way: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("{program} is missing: {way}");
    }
    found.is_some()
}

fn nginx_configuration(folder: &Path, at: SocketAddr, to: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "load_module {NGINX_MODULE};\n\
         daemon off;\nmaster_process off;\nworker_processes 1;\n\
         pid {folder}/pid;\nerror_log {folder}/log emerg;\n\
         events {{ worker_connections 1024; }}\n\
         stream {{ server {{ listen {at}; proxy_pass {to}; proxy_buffer_size 64k; }} }}\n"
    )
}
