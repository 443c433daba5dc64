//! Sockets that the service manager opened and passed (`sd_listen_fds(3)`): what each of them is, and whether it can be
//! listened on.
//!
//! A passed socket was bound by somebody else, and outlives the server: connections that come while it restarts wait in
//! the backlog instead of being refused. What it is, the kernel says; the name it was given is only shown.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use socket2::{Domain, Socket, Type};
use sockeye_sys::descriptor::{Inherited, take_inherited};

/// A socket that was passed, by what it is.
#[derive(Debug)]
pub enum Passed {
    /// A TCP listener.
    Tcp(std::net::TcpListener, SocketAddr),
    /// A Unix-domain stream listener, and its path if it has one.
    Unix(std::os::unix::net::UnixListener, Option<PathBuf>),
    /// A bound UDP socket.
    Udp(std::net::UdpSocket, SocketAddr),
    /// A bound Unix-domain datagram socket, and its path if it has one.
    UnixDatagram(std::os::unix::net::UnixDatagram, Option<PathBuf>),
}

/// Why what was passed cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassedError {
    /// The variables are wrong.
    #[error("the service manager's sockets cannot be taken: {0}")]
    Variables(io::Error),
    /// A descriptor is no socket that can be served.
    #[error("the socket {name:?} (descriptor {number}) that was passed {why}")]
    Unusable {
        /// The name it was given.
        name: String,
        /// Its number.
        number: usize,
        /// What it is, and what to do.
        why: String,
    },
}

/// Takes what was passed to this process. To be called before anything else is opened.
///
/// # Errors
/// See [`PassedError`].
pub fn take_passed() -> Result<Vec<Passed>, PassedError> {
    let inherited = take_inherited().map_err(PassedError::Variables)?;
    let understood = inherited.into_iter().enumerate().map(|(index, Inherited { descriptor, name })| {
        understand(descriptor).map_err(|why| PassedError::Unusable { name, number: index + 3, why })
    });
    understood.collect()
}

/// Asks the kernel what a descriptor is.
fn understand(descriptor: OwnedFd) -> Result<Passed, String> {
    let socket = Socket::from(descriptor);
    let kind = socket.r#type().map_err(|error| format!("is no socket: {error}"))?;
    let domain = socket.domain().map_err(|error| format!("does not say what it is: {error}"))?;
    let local = socket.local_addr().map_err(|error| format!("has no address: {error}"))?;
    let is_unix = domain == Domain::UNIX;
    if !is_unix && domain != Domain::IPV4 && domain != Domain::IPV6 {
        return Err(format!("is of the family {domain:?}: TCP, UDP and Unix-domain sockets are served"));
    }
    let path = local.as_pathname().map(PathBuf::from);
    let address = local.as_socket();
    socket.set_nonblocking(true).map_err(|error| format!("cannot be made non-blocking: {error}"))?;
    if kind == Type::STREAM {
        if !socket.is_listener().unwrap_or(false) {
            return Err("is a connection, not a listener: set Accept=no in its socket unit".into());
        }
        return match address {
            Some(address) => Ok(Passed::Tcp(socket.into(), address)),
            None => Ok(Passed::Unix(socket.into(), path)),
        };
    }
    if kind == Type::DGRAM {
        return match address {
            Some(address) if address.port() != 0 => Ok(Passed::Udp(socket.into(), address)),
            None if is_unix => Ok(Passed::UnixDatagram(socket.into(), path)),
            _ => Err("is bound to no port".into()),
        };
    }
    Err("is neither a stream nor a datagram socket: use ListenStream= or ListenDatagram=".into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn each_kind_of_socket_is_known_for_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stream, datagram) = (folder.path().join("s"), folder.path().join("d"));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).expect("a port");
        let (tcp_address, udp_address) = (tcp.local_addr().expect("bound"), udp.local_addr().expect("bound"));

        let found = understand(tcp.into()).expect("a listener");
        assert!(matches!(found, Passed::Tcp(_, address) if address == tcp_address));
        let found = understand(udp.into()).expect("bound");
        assert!(matches!(found, Passed::Udp(_, address) if address == udp_address));
        let found = understand(UnixListener::bind(&stream).expect("a path").into()).expect("a listener");
        assert!(matches!(found, Passed::Unix(_, Some(path)) if path == stream));
        let found = understand(UnixDatagram::bind(&datagram).expect("a path").into()).expect("bound");
        assert!(matches!(found, Passed::UnixDatagram(_, Some(path)) if path == datagram));
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused_by_what_it_is() {
        let file = tempfile::tempfile().expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let connected = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let (pair, _other) = UnixStream::pair().expect("a pair");

        for (descriptor, said) in [
            (OwnedFd::from(file), "is no socket"),
            (connected.into(), "Accept=no"),
            (pair.into(), "Accept=no"),
        ] {
            let why = understand(descriptor).expect_err("not a listener");
            assert!(why.contains(said), "{why}");
        }
    }
}
