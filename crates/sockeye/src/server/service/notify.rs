//! Telling the service manager how the server is: ready, reloading, stopping, alive (`sd_notify(3)`).
//!
//! Without a service manager everything here does nothing. A message that does not arrive is no reason to stop serving:
//! it is told once in the log.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

use crate::config::Environment;

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Makes one for the service manager that the environment names, if it names one.
    pub fn new(environment: &Environment) -> Notifier {
        let Some(path) = &environment.notify_socket else { return Notifier::default() };
        let to = address(path).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A service manager that does not read must not hold up the server.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        if let Err(error) = &to {
            warn!(%error, ?path, "NOTIFY_SOCKET cannot be used: the service manager is told nothing");
        }
        Notifier { to: to.ok(), watchdog: environment.watchdog }
    }

    /// The server takes connections.
    pub fn ready(&mut self) {
        self.send("READY=1\nSTATUS=serving");
    }

    /// The server takes connections with the configuration it had: the one that was read cannot be used.
    pub fn ready_as_before(&mut self) {
        self.send("READY=1\nSTATUS=serving as before: the configuration that was read cannot be used");
    }

    /// The configuration is being read again; `ready` or `ready_as_before` follows. `monotonic` is the system's monotonic clock.
    pub fn reloading(&mut self, monotonic: Duration) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", monotonic.as_micros()));
    }

    /// The server drains, for at most `at_most`: it is not to be killed before.
    pub fn stopping(&mut self, at_most: Duration) {
        let extended = at_most.saturating_add(STOP_GRACE).as_micros();
        self.send(&format!("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={extended}"));
    }

    /// How often `alive` is to be called: twice as often as the service manager wants to hear it.
    pub fn alive_interval(&self) -> Option<Duration> {
        self.to.as_ref().and(self.watchdog).map(|watchdog| watchdog / 2)
    }

    /// Every shard has come round lately.
    pub fn alive(&mut self) {
        self.send("WATCHDOG=1");
    }

    fn send(&mut self, message: &str) {
        let Some((socket, address)) = &self.to else { return };
        match socket.send_to_addr(message.as_bytes(), address) {
            Ok(_) => {}
            // It is behind with reading. A later message says what matters.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                warn!(%error, "the service manager cannot be told anything");
                self.to = None;
            }
        }
    }
}

/// Between the end of a drain and the end of the process.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A path, or a name in the abstract namespace, which begins with `@`.
fn address(path: &OsStr) -> std::io::Result<SocketAddr> {
    match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(path),
        _ => Err(std::io::Error::other("it is neither a path nor an abstract name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(path: &OsStr) -> Notifier {
        let watchdog = Some(Duration::from_secs(10));
        Notifier::new(&Environment { notify_socket: Some(path.into()), watchdog, journal_stream: None })
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_manager_behind_a_path_hears_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let mut notifier = notifier(path.as_os_str());

        notifier.ready();
        notifier.reloading(Duration::from_micros(1_234));
        notifier.alive();
        notifier.ready_as_before();
        notifier.stopping(Duration::from_secs(10));

        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
        assert_eq!(heard(&manager), "RELOADING=1\nMONOTONIC_USEC=1234\nSTATUS=reloading");
        assert_eq!(heard(&manager), "WATCHDOG=1");
        let kept = "READY=1\nSTATUS=serving as before: the configuration that was read cannot be used";
        assert_eq!(heard(&manager), kept);
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=15000000");
        assert_eq!(notifier.alive_interval(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_manager_behind_an_abstract_name_hears_too() {
        let name = format!("sockeye-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");

        notifier(OsStr::new(&format!("@{name}"))).ready();

        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut nobody = Notifier::new(&Environment::default());
        nobody.ready();
        nobody.alive();
        assert_eq!(nobody.alive_interval(), None);

        let mut gone = notifier(OsStr::new("/nonexistent/notify"));
        gone.ready();
        assert_eq!(gone.alive_interval(), None);
        assert_eq!(notifier(OsStr::new("neither")).alive_interval(), None);
    }
}
