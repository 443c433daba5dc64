//! The server under a service manager: passed sockets, notifications, the watchdog, lines for the journal.
//!
//! The test is the service manager. A shell in between moves descriptors to where they are passed, and knows the process
//! that the binary will be.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::client::{Lines, Stream};
use crate::world::{BINARY, PATIENCE};

/// A server that was started by a service manager.
struct Service {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Service {
    /// Starts the binary with these sockets from descriptor 3 on, two at most, and these variables.
    fn start(flags: &[&str], sockets: Vec<OwnedFd>, variables: &[(&str, &str)]) -> Service {
        let count = sockets.len();
        let mut sockets = sockets.into_iter();
        let mut descriptor = || sockets.next().map_or_else(Stdio::null, Stdio::from);
        let mut child = Command::new("sh")
            .args([
                "-c",
                r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 4<&1 </dev/null >/dev/null"#,
                BINARY,
                "serve",
                "--json",
            ])
            .args(flags)
            .stdin(descriptor())
            .stdout(descriptor())
            .stderr(Stdio::piped())
            .env("LISTEN_FDS", count.to_string())
            .envs(variables.iter().copied())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Service { child, log }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }

    /// The addresses that the first line of the log names.
    fn listening(&mut self) -> Vec<String> {
        let line = self.line();
        let first: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        serde_json::from_value(first["fields"]["listen"].clone()).unwrap()
    }

    fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The socket on which the test hears notifications.
fn manager(folder: &Path) -> (UnixDatagram, String) {
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, path.to_str().unwrap().to_owned())
}

/// The next notification that is not about being alive.
fn notified(manager: &UnixDatagram) -> String {
    loop {
        let message = heard(manager);
        if message != "WATCHDOG=1" {
            return message;
        }
    }
}

fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    // A process that is stopped and goes on finds its read interrupted.
    let length = loop {
        match manager.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.expect("a notification"),
        }
    };
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn passed_sockets_are_served_in_place_of_the_default_and_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passed.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let address = tcp.local_addr().unwrap();
    let start = || {
        let sockets = vec![OwnedFd::from(tcp.try_clone().unwrap()), unix.try_clone().unwrap().into()];
        Service::start(&[], sockets, &[("LISTEN_FDNAMES", "web:local")])
    };

    let mut service = start();
    assert_eq!(service.listening(), [format!("tcp:{address}"), format!("unix:{}", path.display())]);
    let mut hearer = Lines::over(Stream::unix(&path));
    hearer.ask(r#"{"sub":"c","id":1}"#);
    Lines::over(Stream::tcp(address)).ask(r#"{"pub":"c","data":"through both","id":1}"#);
    assert_eq!(hearer.receive()["data"], json!("through both"));

    drop(hearer);
    service.terminate();
    assert!(service.child.wait().unwrap().success());
    assert!(path.exists(), "a passed socket's file is not the server's to remove");
    // Who comes between two servers waits in the backlog.
    let mut early = Lines::over(Stream::tcp(address));
    early.send(r#"{"ping":7}"#);
    let _next = start();
    assert_eq!(early.receive(), json!({"pong": 7}));
}

#[test]
fn a_written_address_is_listened_on_beside_a_passed_socket() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();

    let mut service = Service::start(&["--listen", "tcp:127.0.0.1:0"], vec![tcp.into()], &[]);

    let listening = service.listening();
    assert_eq!(listening[0], format!("tcp:{address}"));
    // What was passed is all that is there of its kind; a written address has UDP beside it.
    assert_eq!(listening.len(), 3);
    assert_eq!(listening[2], listening[1].replace("tcp:", "udp:"));
}

#[test]
fn passed_datagram_sockets_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passed");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = udp.local_addr().unwrap();
    let unix = UnixDatagram::bind(&path).unwrap();

    let mut service = Service::start(&[], vec![udp.into(), unix.into()], &[]);

    assert_eq!(service.listening(), [format!("udp:{to}"), format!("unixgram:{}", path.display())]);
    let mut buffer = [0; 64];
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(br#"{"ping":1}"#, to).unwrap();
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], br#"{"pong":1}"#);
    let (client, answers) = manager(folder.path());
    client.send_to(br#"{"ping":2}"#, &path).unwrap();
    assert_eq!(heard(&client), r#"{"pong":2}"#, "at {answers}");
    service.terminate();
    assert!(service.child.wait().unwrap().success());
    assert!(path.exists(), "a passed socket's file is not the server's to remove");
}

#[test]
fn an_address_that_was_passed_is_not_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passed.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let (address, path) = (format!("tcp:{}", tcp.local_addr().unwrap()), format!("unix:{}", path.display()));

    let flags = ["--listen", &address, "--listen", &path];
    let mut service = Service::start(&flags, vec![tcp.into(), unix.into()], &[]);

    assert_eq!(service.listening(), [address, path]);
}

#[test]
fn of_an_address_that_was_passed_in_part_the_rest_is_opened() {
    let ipv4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind(ipv4.local_addr().unwrap()).unwrap();
    let port = ipv4.local_addr().unwrap().port();

    let written = format!("tcp:localhost:{port}");
    let mut service = Service::start(&["--listen", &written], vec![ipv4.into(), udp.into()], &[]);

    let ipv6 = format!("[::1]:{port}");
    assert_eq!(
        service.listening(),
        [
            format!("tcp:127.0.0.1:{port}"),
            format!("tcp:{ipv6}"),
            format!("udp:127.0.0.1:{port}"),
            format!("udp:{ipv6}"),
        ]
    );
}

#[test]
fn a_passed_socket_of_all_addresses_is_opened_again_for_none_of_them() {
    // As a service manager does it: one socket for both families.
    let both = || TcpListener::bind("[::]:0").unwrap();
    for written in ["tcp::", "tcp:localhost:", "tcp:127.0.0.1:"] {
        let socket = both();
        let port = socket.local_addr().unwrap().port();

        let flags = ["--open", "--listen", &format!("{written}{port}")];
        let mut service = Service::start(&flags, vec![socket.into()], &[]);

        assert_eq!(service.listening(), [format!("tcp:[::]:{port}")], "{written}");
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp:{}", udp.local_addr().unwrap());
    let mut service = Service::start(&["--listen", &address], vec![udp.into()], &[]);
    assert_eq!(service.listening(), [address]);
}

#[test]
fn what_was_passed_and_cannot_be_served_is_refused_with_a_reason() {
    let everywhere = || OwnedFd::from(TcpListener::bind("0.0.0.0:0").unwrap());
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());

    for (sockets, variables, said) in [
        (vec![everywhere()], vec![], "--open"),
        (
            vec![file()],
            vec![("LISTEN_FDNAMES", "odd")],
            "the socket \"odd\" (descriptor 3) that was passed is no socket",
        ),
        (vec![], vec![("LISTEN_FDS", "two")], "LISTEN_FDS=two"),
        (vec![], vec![("LISTEN_FDS", "9")], "descriptor 5"),
    ] {
        let mut service = Service::start(&[], sockets, &variables);

        let line: Value = serde_json::from_str(&service.line()).unwrap();
        assert!(line["fields"]["message"].as_str().unwrap().contains(said), "{line}");
        assert_eq!(service.child.wait().unwrap().code(), Some(2));
    }
    assert_eq!(
        Service::start(&["--open"], vec![everywhere()], &[]).listening().len(),
        1,
        "what is said to be meant is allowed"
    );
}

#[test]
fn the_service_manager_hears_ready_alive_reloading_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let (manager, path) = manager(folder.path());
    let variables = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "100000")];

    let mut service = Service::start(&["--listen", "tcp:127.0.0.1:0"], vec![], &variables);

    assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
    // An idle server comes round for its watchdog.
    assert_eq!([heard(&manager), heard(&manager)], ["WATCHDOG=1", "WATCHDOG=1"]);
    service.listening();
    let id = rustix::process::Pid::from_child(&service.child);
    rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    let reloading = notified(&manager);
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(notified(&manager), "READY=1\nSTATUS=serving");
    service.terminate();
    assert_eq!(notified(&manager), "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=15000000");
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn the_service_manager_hears_that_a_configuration_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (manager, path) = manager(folder.path());
    let file = folder.path().join("sockeye.toml");
    std::fs::write(&file, "listen = [\"tcp:127.0.0.1:0\"]\n").unwrap();
    let flags = ["--config", file.to_str().unwrap()];
    let mut service = Service::start(&flags, vec![], &[("NOTIFY_SOCKET", path.as_str())]);
    assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
    service.listening();

    // It is read because it has changed.
    std::fs::write(&file, "nonsense = 1\n").unwrap();

    assert!(heard(&manager).starts_with("RELOADING=1\n"));
    assert!(heard(&manager).starts_with("READY=1\nSTATUS=serving as before"));
    service.terminate();
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn a_check_for_the_journal_says_how_grave_its_failure_is() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("sockeye.toml");
    std::fs::write(&wrong, "nonsense = 1\n").unwrap();
    let journal = std::fs::File::create(folder.path().join("journal")).unwrap();
    let meta = journal.metadata().unwrap();

    let status = Command::new(BINARY)
        .args(["check", "--config", wrong.to_str().unwrap()])
        .stderr(journal)
        .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
        .status()
        .unwrap();

    assert_eq!(status.code(), Some(2));
    let said = std::fs::read_to_string(folder.path().join("journal")).unwrap();
    assert!(said.starts_with("<3>sockeye: ") && said.contains("nonsense"), "{said}");
}

#[test]
fn the_journal_gets_lines_with_priorities_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let log = |name: &str, flags: &[&str], is_journal: bool| {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        let meta = file.metadata().unwrap();
        let inode = meta.ino() + u64::from(!is_journal);
        let (manager, path) = manager(&folder.path().join(format!("{name}.d")));
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "tcp:127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(file)
            .env("JOURNAL_STREAM", format!("{}:{inode}", meta.dev()))
            .env("NOTIFY_SOCKET", path)
            .spawn()
            .unwrap();
        assert!(heard(&manager).starts_with("READY=1"));
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::read_to_string(folder.path().join(name)).unwrap()
    };
    for name in ["plain", "json", "other"] {
        std::fs::create_dir(folder.path().join(format!("{name}.d"))).unwrap();
    }

    let plain = log("plain", &[], true);
    assert!(plain.starts_with("<6>listening listen="), "{plain}");
    assert!(plain.lines().all(|line| line.starts_with("<6>")), "{plain}");
    let json = log("json", &["--json"], true);
    assert!(json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{json}");
    let other = log("other", &[], false);
    assert!(!other.contains("<6>") && other.contains("listening"), "{other}");
}

#[test]
fn a_start_that_fails_says_why_in_the_shape_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", taken.local_addr().unwrap());
    let last_line = |flags: &[&str]| {
        let path = folder.path().join("log");
        let file = std::fs::File::create(&path).unwrap();
        let meta = file.metadata().unwrap();
        let status = Command::new(BINARY)
            .args(["serve", "--listen", &address])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(file)
            .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(11));
        std::fs::read_to_string(path).unwrap().lines().last().unwrap().to_owned()
    };

    let line = last_line(&["--json"]);
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    assert_eq!((&said["level"], &said["fields"]["exit_code"]), (&json!("ERROR"), &json!(11)));
    assert!(said["fields"]["message"].as_str().unwrap().contains(&address), "{line}");
    let line = last_line(&[]);
    assert!(line.starts_with("<3>sockeye: ") && line.contains(&address), "{line}");
}
