//! Commands under way: what is typed into them, what they have said so far, and how they ended.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing that a test waits for takes this long, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sockeye");

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

impl Ran {
    /// The output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    /// The one line of JSON on standard error that is an object with this member.
    pub(crate) fn told(&self, member: &str) -> serde_json::Value {
        let objects = self.errors.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut having = objects.filter(|object: &serde_json::Value| object.get(member).is_some());
        having.next().unwrap_or_else(|| panic!("nothing with {member}: {self:?}"))
    }
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Ran {
    let mut running = Running::start(arguments);
    // Beside the reading of its output, which has a thread of its own.
    running.say(input);
    running.finish()
}

/// Runs what must do everything that it was asked; its output.
pub(crate) fn said(arguments: &[&str], input: &[u8]) -> String {
    let ran = run(arguments, input);
    assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
    ran.text().to_owned()
}

/// A command under way.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Heard,
    errors: Heard,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Running {
        Running::start_in(Command::new(BINARY).args(arguments))
    }

    pub(crate) fn start_in(command: &mut Command) -> Running {
        let mut child = command
            .env_remove("SOCKEYE_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = Heard::from(child.stdout.take().unwrap());
        let errors = Heard::from(child.stderr.take().unwrap());
        Running { child, input, output, errors }
    }

    /// Starts `listen` with these arguments; with the address that it tells.
    pub(crate) fn listen(arguments: &[&str]) -> (Running, String) {
        let listening = Running::start(&[&["listen"], arguments].concat());
        let told = listening.wait_for_errors(|said| said.contains("listening on ") && said.ends_with('\n'));
        let address = told.split("listening on ").nth(1).and_then(|rest| rest.lines().next());
        (listening, address.unwrap().to_owned())
    }

    /// Its process.
    pub(crate) fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // A command that reads no input may have ended already.
        let _ = self.input.as_mut().expect("its input is open").write_all(bytes);
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until what it wrote to standard output is as wanted.
    pub(crate) fn wait_for_output(&self, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.output.wait_for(is_it, &self.errors)
    }

    /// Waits until what it wrote to standard error is as wanted.
    pub(crate) fn wait_for_errors(&self, is_it: impl Fn(&str) -> bool) -> String {
        let said = self.errors.wait_for(|bytes| is_it(&String::from_utf8_lossy(bytes)), &self.errors);
        String::from_utf8(said).unwrap()
    }

    /// Waits so long, in which it must not end.
    pub(crate) fn goes_on_for(&self, time: Duration) {
        let (said, grown) = &*self.output.shared;
        let said = said.lock().unwrap();
        let (said, _) = grown.wait_timeout_while(said, time, |said| !said.ended).unwrap();
        assert!(!said.ended, "it has ended: {:?}", String::from_utf8_lossy(&said.bytes));
    }

    /// Ends its standard input, and waits for its end.
    pub(crate) fn finish(mut self) -> Ran {
        self.end_input();
        self.ended()
    }

    /// Waits for its end, with its standard input open; the signal that ended it, if one did.
    pub(crate) fn ended_by_signal(mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        self.output.wait_for_end();
        self.errors.wait_for_end();
        self.child.wait().unwrap().signal()
    }

    /// Waits for its end, with its standard input open.
    pub(crate) fn ended(mut self) -> Ran {
        let output = self.output.wait_for_end();
        let errors = self.errors.wait_for_end();
        let status = self.child.wait().unwrap();
        Ran {
            code: status.code().expect("no signal ended it"),
            output,
            errors: String::from_utf8(errors).unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command has said so far.
struct Heard {
    shared: Arc<(Mutex<Said>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    ended: bool,
}

impl Heard {
    fn from(mut stream: impl Read + Send + 'static) -> Heard {
        let shared = Arc::new((Mutex::new(Said::default()), Condvar::new()));
        let written = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let mut said = written.0.lock().unwrap();
                said.bytes.extend_from_slice(&buffer[..count]);
                said.ended = count == 0;
                written.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Heard { shared, reader: Some(reader) }
    }

    fn wait_for(&self, is_it: impl Fn(&[u8]) -> bool, errors: &Heard) -> Vec<u8> {
        let (said, grown) = &*self.shared;
        let said = said.lock().unwrap();
        let (said, _) =
            grown.wait_timeout_while(said, PATIENCE, |said| !is_it(&said.bytes) && !said.ended).unwrap();
        let bytes = said.bytes.clone();
        drop(said);
        assert!(
            is_it(&bytes),
            "it said {:?}, and on standard error {:?}",
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&errors.shared.0.lock().unwrap().bytes)
        );
        bytes
    }

    fn wait_for_end(&mut self) -> Vec<u8> {
        let (said, grown) = &*self.shared;
        let said = said.lock().unwrap();
        let (said, timeout) = grown.wait_timeout_while(said, PATIENCE, |said| !said.ended).unwrap();
        let bytes = said.bytes.clone();
        drop(said);
        assert!(!timeout.timed_out(), "it did not end: {:?}", String::from_utf8_lossy(&bytes));
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        bytes
    }
}

/// A TCP peer that serves one connection as told; where it listens, and the thread with what it found out.
pub(crate) fn tcp_peer<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        serve(stream)
    });
    (at, thread)
}

/// A port of loopback on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    // It stays bound as somebody's, and is never listened on, for as long as this process lives.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    std::mem::forget(socket);
    port
}

/// A listener that takes no further connection: who connects to it waits.
pub(crate) struct Full {
    pub(crate) at: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<TcpStream>,
}

/// Fills the backlog of a listener that accepts nobody.
pub(crate) fn full_port() -> Full {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let at = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000, "its backlog has no end");
    }
    Full { at, _listener: listener, _waiting: waiting }
}

/// A folder with a certificate for `localhost` and 127.0.0.1.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(folder.path().join("cert.pem"), pem("CERTIFICATE", made.cert.der())).unwrap();
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        std::fs::write(folder.path().join("key.pem"), key).unwrap();
        World { folder }
    }

    /// An address to listen on, with the certificate. It has no options yet.
    pub(crate) fn tls(&self, address: &str) -> String {
        let folder = self.folder.path().display();
        let mark = if address.contains("://") { '#' } else { '?' };
        format!("{address}{mark}cert={folder}/cert.pem&key={folder}/key.pem")
    }

    /// The address that was listened on, for who trusts the certificate.
    pub(crate) fn trusting(&self, listened: &str) -> String {
        let address = listened.split(['?', '#']).next().unwrap();
        let mark = if address.contains("://") { '#' } else { '?' };
        format!("{address}{mark}ca={}/cert.pem", self.folder.path().display())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
