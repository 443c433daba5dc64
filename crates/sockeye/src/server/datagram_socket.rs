//! Datagram sockets: bound once, read and written for everybody.
//!
//! UDP is received on the port of every TCP address, unless the configuration says otherwise, and wherever a `udp:`
//! address says so. Deliberately absent: connected sockets. One socket hears all peers, and its answers come from the
//! address that they asked: a socket that is bound to all addresses of the host is told which one that was.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};
use sockeye_sys::packet_info;

use super::listen::{
    ListenError, Listening, Order, UnixFile, check, ipv4_besides, is_passed, listen_beside, listen_each,
    refused,
};
use super::socket_file::SocketFile;
use crate::address::{Address, Base, UnixName};
use crate::config::{Config, ServerLimits};

/// A datagram socket of the server.
pub(super) enum DatagramSocket {
    /// UDP.
    Udp(mio::net::UdpSocket),
    /// UDP that the service manager has bound: there is one of it.
    PassedUdp(mio::net::UdpSocket),
    /// A Unix-domain datagram socket.
    Unix(UnixDatagramSocket),
}

/// A Unix-domain datagram socket.
pub(super) struct UnixDatagramSocket {
    pub(super) socket: mio::net::UnixDatagram,
    file: UnixFile,
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            DatagramSocket::Udp(udp) | DatagramSocket::PassedUdp(udp) => udp.as_fd(),
            DatagramSocket::Unix(unix) => unix.socket.as_fd(),
        }
    }
}

impl DatagramSocket {
    /// The address, as it is: with the port that the system chose.
    pub(super) fn address(&self) -> String {
        match self {
            DatagramSocket::Udp(udp) | DatagramSocket::PassedUdp(udp) => {
                udp.local_addr().map_or_else(|_| "udp:?".into(), |local| format!("udp:{local}"))
            }
            DatagramSocket::Unix(unix) => unix
                .file
                .path()
                .map_or_else(|| "unixgram:?".into(), |path| format!("unixgram:{}", path.display())),
        }
    }

    /// The IP address and port, of a UDP socket.
    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            DatagramSocket::Udp(udp) | DatagramSocket::PassedUdp(udp) => udp.local_addr().ok(),
            DatagramSocket::Unix(_) => None,
        }
    }

    /// Whether it is bound to no address in particular, so that it is told with each datagram which one was asked.
    pub(super) fn has_many_addresses(&self) -> bool {
        self.socket_address().is_some_and(is_any)
    }

    /// See [`Listening::address_of_both_families`].
    pub(super) fn address_of_both_families(&self) -> Option<String> {
        match self {
            DatagramSocket::PassedUdp(udp) => {
                Some(format!("udp:{}", ipv4_besides(udp, udp.local_addr().ok()?)?))
            }
            DatagramSocket::Udp(_) | DatagramSocket::Unix(_) => None,
        }
    }

    /// Takes a UDP socket that the service manager passed: it is bound already.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn passed_udp(socket: std::net::UdpSocket, limits: &ServerLimits) -> io::Result<Self> {
        let socket = Socket::from(socket);
        set_options(&socket, limits)?;
        let socket = std::net::UdpSocket::from(socket);
        if is_any(socket.local_addr()?) {
            packet_info::tell_local(&socket)?;
        }
        Ok(DatagramSocket::PassedUdp(mio::net::UdpSocket::from_std(socket)))
    }

    /// The same again for another shard, where that can be: the kernel keeps a peer on one of them. What cannot be
    /// shared is served by the first shard alone.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn of_another_shard(&self, limits: &ServerLimits) -> io::Result<Option<DatagramSocket>> {
        match self {
            DatagramSocket::Udp(udp) => {
                bind_udp(udp.local_addr()?, limits, Order::Later).map(DatagramSocket::Udp).map(Some)
            }
            DatagramSocket::PassedUdp(_) | DatagramSocket::Unix(_) => Ok(None),
        }
    }

    /// The same for a Unix datagram socket.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn passed_unix(
        socket: UnixDatagram,
        path: Option<PathBuf>,
        limits: &ServerLimits,
    ) -> io::Result<Self> {
        let socket = Socket::from(socket);
        set_options(&socket, limits)?;
        let socket = mio::net::UnixDatagram::from_std(socket.into());
        Ok(DatagramSocket::Unix(UnixDatagramSocket { socket, file: UnixFile::Passed(path) }))
    }
}

/// Whether an address is one of datagrams.
fn is_datagram(address: &Address) -> bool {
    matches!(address.base, Base::Udp(_) | Base::UnixDatagram(_))
}

/// Receives at one address as written, which may mean several sockets (`localhost` is an IPv4 and an IPv6 address), but
/// for those that are there already, by their addresses.
///
/// # Errors
/// See [`ListenError`].
fn bind(
    address: &Address,
    passed: &[String],
    limits: &ServerLimits,
    shards: u16,
) -> Result<Vec<DatagramSocket>, ListenError> {
    check(address)?;
    match &address.base {
        Base::Udp(at) => listen_each(at, address, passed, |at| {
            let socket = bind_udp(at, limits, Order::first(shards))?;
            Ok((socket.local_addr()?.port(), DatagramSocket::Udp(socket)))
        }),
        Base::UnixDatagram(UnixName::Path(path)) if !passed.contains(&address.to_string()) => {
            bind_unix(path, limits)
                .map(|socket| vec![DatagramSocket::Unix(socket)])
                .map_err(|error| refused(address, error))
        }
        // It was passed, or has no datagrams.
        _ => Ok(Vec::new()),
    }
}

/// The sockets of one shard: listeners, and those of datagrams.
pub(super) type Sockets = (Vec<Listening>, Vec<DatagramSocket>);

/// Opens the sockets of an address as the configuration means it, but for those that were passed, by their addresses.
///
/// # Errors
/// See [`ListenError`].
pub(super) fn open(
    address: &Address,
    passed: &[String],
    config: &Config,
    shards: u16,
) -> Result<Sockets, ListenError> {
    if is_datagram(address) {
        Ok((Vec::new(), bind(address, passed, &config.server, shards)?))
    } else if config.datagrams {
        listen_for_both(address, passed, &config.server, shards)
    } else {
        Ok((listen_beside(address, passed, &config.server, shards)?, Vec::new()))
    }
}

/// Listens at one address of streams, and receives UDP on its port where it has one.
///
/// # Errors
/// See [`ListenError`]. A port that was asked for must be free for both.
fn listen_for_both(
    address: &Address,
    passed: &[String],
    limits: &ServerLimits,
    shards: u16,
) -> Result<Sockets, ListenError> {
    /// A port that the system chose for TCP may be another's for UDP: so often it is asked for the next one.
    const TRIES: usize = 16;
    let is_chosen = matches!(&address.base, Base::Tcp(at) if at.port == 0);
    let mut tries = 1;
    loop {
        let listening = listen_beside(address, passed, limits, shards)?;
        match bind_beside(&listening, passed, limits, shards) {
            Err(ListenError::InUse { .. }) if is_chosen && tries < TRIES => tries += 1,
            sockets => return Ok((listening, sockets?)),
        }
    }
}

/// Receives UDP on the port of every TCP listener.
fn bind_beside(
    listening: &[Listening],
    passed: &[String],
    limits: &ServerLimits,
    shards: u16,
) -> Result<Vec<DatagramSocket>, ListenError> {
    let addresses = listening.iter().filter_map(Listening::socket_address);
    let addresses = addresses.filter(|address| !is_passed("udp", *address, passed));
    let bind = |address: SocketAddr| match bind_udp(address, limits, Order::first(shards)) {
        Ok(socket) => Ok(DatagramSocket::Udp(socket)),
        Err(error) => Err(refused(&Address::udp(address.ip().to_string(), address.port()), error)),
    };
    addresses.map(bind).collect()
}

fn bind_udp(address: SocketAddr, limits: &ServerLimits, order: Order) -> io::Result<mio::net::UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Each family has its own socket, so that what is received on is what is written.
        socket.set_only_v6(true)?;
    }
    set_options(&socket, limits)?;
    if is_any(address) {
        packet_info::tell_local(&socket)?;
    }
    // As TCP listeners do: the first one binds as if it were alone, so that two servers cannot share a port unknowingly.
    socket.set_reuse_port(order == Order::Later)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(order != Order::Only)?;
    Ok(mio::net::UdpSocket::from_std(socket.into()))
}

/// Whether an address is all of the host's: without being told, the system answers from whichever it likes.
fn is_any(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_unspecified()
}

fn bind_unix(path: &Path, limits: &ServerLimits) -> io::Result<UnixDatagramSocket> {
    let (socket, file) = SocketFile::bind(path, Type::DGRAM, |socket| set_options(socket, limits))?;
    Ok(UnixDatagramSocket {
        socket: mio::net::UnixDatagram::from_std(socket.into()),
        file: UnixFile::Ours(file),
    })
}

fn set_options(socket: &Socket, limits: &ServerLimits) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(limits.datagram_buffer_bytes)?;
    // On Unix, what is sent stays in our buffer until it is read.
    socket.set_send_buffer_size(limits.datagram_buffer_bytes)
}
