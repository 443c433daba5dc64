//! A server that was started for one test: the real binary on free ports, ended with its handle.
//!
//! Its log is an oracle: an ERROR line or a panic fails the test that owns the server.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Lines, Stream};
use crate::http_client::{Http, Response};

/// Nothing that a test waits for takes this long, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sockeye");

/// A running server.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    tcp: SocketAddr,
    unix: PathBuf,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lined>,
    grown: Condvar,
}

#[derive(Default)]
struct Lined {
    lines: Vec<String>,
    ended: bool,
}

impl Server {
    /// Starts a server with every default, on two shards.
    pub(crate) fn start() -> Server {
        Server::with("")
    }

    /// Starts a server with a configuration file.
    pub(crate) fn with(config: &str) -> Server {
        Server::launch(Command::new(BINARY), config, None, &[])
    }

    /// Starts a server with a configuration file, whose log says so much.
    pub(crate) fn with_log(config: &str, level: &str) -> Server {
        Server::launch(Command::new(BINARY), config, None, &["--log", level])
    }

    /// Starts a server with further flags.
    pub(crate) fn with_flags(flags: &[&str]) -> Server {
        Server::launch(Command::new(BINARY), "", None, flags)
    }

    /// Starts a server with a configuration file, on so many shards.
    pub(crate) fn on_shards(shards: u16, config: &str) -> Server {
        Server::launch(Command::new(BINARY), config, None, &["--shards", &shards.to_string()])
    }

    /// Starts a server with a configuration file and variables in its environment.
    pub(crate) fn with_variables(config: &str, variables: &[(String, &str)]) -> Server {
        let mut command = Command::new(BINARY);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Server::launch(command, config, None, &[])
    }

    /// Starts a server on this Unix socket.
    pub(crate) fn on_unix(path: &Path) -> Server {
        Server::launch(Command::new(BINARY), "", Some(path), &[])
    }

    /// Starts a server that may have at most so many descriptors.
    pub(crate) fn under_descriptors(descriptors_max: usize, config: &str) -> Server {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors_max}; exec \"$0\" \"$@\""), BINARY]);
        Server::launch(shell, config, None, &[])
    }

    fn launch(mut command: Command, config: &str, unix: Option<&Path>, flags: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let unix = unix.map_or_else(|| folder.path().join("s.sock"), Path::to_owned);
        let file = folder.path().join("sockeye.toml");
        std::fs::write(&file, config).unwrap();
        // Two, whatever the machine has: what is promised holds between shards too.
        let shards = if flags.contains(&"--shards") { &[][..] } else { &["--shards", "2"] };
        let mut child = command
            .args(["serve", "--json", "--listen", "tcp:127.0.0.1:0", "--listen"])
            .arg(format!("unix:{}", unix.display()))
            .arg("--listen")
            .arg(format!("unixgram:{}", folder.path().join("d.sock").display()))
            .arg("--config")
            .arg(&file)
            .args(shards)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let written = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                written.lines.lock().unwrap().lines.push(line);
                written.grown.notify_all();
            }
            written.lines.lock().unwrap().ended = true;
            written.grown.notify_all();
        });
        let tcp = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, folder, tcp, unix, log, reader: Some(reader) };
        let first: Value = serde_json::from_str(&server.wait_for_log(|_| true)).unwrap();
        let listen: Vec<&str> = first["fields"]["listen"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|a| a.as_str().unwrap())
            .collect();
        assert_eq!(listen[1], format!("unix:{}", server.unix.display()));
        server.tcp = listen[0].strip_prefix("tcp:").unwrap().parse().unwrap();
        server
    }

    /// Where it listens by TCP.
    pub(crate) fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// Where its configuration is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its Unix socket.
    pub(crate) fn unix(&self) -> &Path {
        &self.unix
    }

    /// Its Unix datagram socket.
    pub(crate) fn unixgram(&self) -> PathBuf {
        self.folder.path().join("d.sock")
    }

    /// Connects by TCP.
    pub(crate) fn connect(&self) -> Stream {
        Stream::tcp(self.tcp)
    }

    /// Connects by the Unix socket.
    pub(crate) fn connect_unix(&self) -> Stream {
        Stream::unix(&self.unix)
    }

    /// A conversation in lines.
    pub(crate) fn lines(&self) -> Lines {
        Lines::over(self.connect())
    }

    /// A connection for HTTP requests.
    pub(crate) fn http(&self) -> Http {
        Http::over(self.connect())
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.http().ask(method, path, headers, body)
    }

    /// One figure of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.ask("GET", "/metrics", &[], b"").text();
        let figure = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        figure.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// How many connections were closed for a reason, whatever they spoke.
    pub(crate) fn closed(&self, reason: &str) -> u64 {
        let page = self.ask("GET", "/metrics", &[], b"").text();
        let wanted = format!(",reason=\"{reason}\"}} ");
        let lines = page.lines().filter(|line| line.starts_with("sockeye_connections_closed_total{"));
        lines.filter_map(|line| line.split_once(&wanted)?.1.parse::<u64>().ok()).sum()
    }

    /// Asks again and again until it is so.
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Server) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "never came about: {what}");
        }
    }

    /// The first line of the log, past or to come, that `is_it`.
    pub(crate) fn wait_for_log(&self, is_it: impl Fn(&str) -> bool) -> String {
        let lined = self.log.lines.lock().unwrap();
        let found = |lined: &Lined| lined.lines.iter().find(|line| is_it(line)).cloned();
        let wanted = |lined: &mut Lined| found(lined).is_none() && !lined.ended;
        let (lined, _) = self.log.grown.wait_timeout_while(lined, PATIENCE, wanted).unwrap();
        found(&lined).unwrap_or_else(|| panic!("no such line in the log: {:#?}", lined.lines))
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().lines.clone()
    }

    /// Whether it has a way to the kernel that only io_uring opens.
    pub(crate) fn has_ring(&self) -> bool {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let mut targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.any(|target| target.to_string_lossy().contains("io_uring"))
    }

    /// The server's resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }

    /// The processor time that the server has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanoseconds = threads.map(|thread| {
            let account = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            account.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Writes another configuration file, which is there as a whole or not at all.
    pub(crate) fn rewrite(&self, config: &str) {
        let (file, written) = (self.folder.path().join("sockeye.toml"), self.folder.path().join("written"));
        std::fs::write(&written, config).unwrap();
        std::fs::rename(&written, &file).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it as a crash would, and leaves everything else as it is.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let lined = self.log.lines.lock().unwrap();
        let (lined, timeout) =
            self.log.grown.wait_timeout_while(lined, PATIENCE, |lined| !lined.ended).unwrap();
        assert!(!timeout.timed_out(), "the server did not end: {:#?}", lined.lines);
        drop(lined);
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            let _ = std::io::Read::read_to_string(&mut stdout, &mut said);
        }
        let log = self.log.lines.lock().unwrap();
        if std::thread::panicking() {
            eprintln!("the server's log: {:#?}", log.lines);
            return;
        }
        assert_eq!(said, "", "the server wrote to standard output");
        for line in &log.lines {
            assert!(
                !line.contains("\"ERROR\"") && !line.contains("panicked"),
                "the log tells of a bug: {line}"
            );
        }
    }
}
