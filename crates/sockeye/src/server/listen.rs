//! Listening sockets: bound once, with the options that every accepted connection inherits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::socket_file::SocketFile;

use crate::address::{Address, Base, HostPort, UnixName};
use crate::config::{ServerLimits, check_address};

/// A listening socket.
pub enum Listening {
    /// TCP. Every shard has one of its own.
    Tcp(mio::net::TcpListener),
    /// TCP, made by somebody else, so there is this one only.
    PassedTcp(mio::net::TcpListener),
    /// A Unix-domain stream.
    Unix(UnixListening),
}

/// A Unix-domain listener.
pub struct UnixListening {
    pub(super) socket: mio::net::UnixListener,
    file: UnixFile,
}

/// Where a Unix-domain socket is.
pub(super) enum UnixFile {
    /// It was made here, and goes when this goes.
    Ours(SocketFile),
    /// Somebody else made it, and it outlives us. It may have none.
    Passed(Option<PathBuf>),
}

impl UnixFile {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            UnixFile::Ours(file) => Some(file.path()),
            UnixFile::Passed(path) => path.as_deref(),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody else listens there.
    #[error(
        "{address} is in use: another process listens there; stop it, or give another address with --listen"
    )]
    InUse {
        /// The address.
        address: Address,
    },
    /// The system does not allow it.
    #[error("no permission to listen on {address}: {needed}")]
    Permission {
        /// The address.
        address: Address,
        /// What is needed.
        needed: String,
    },
    /// The address cannot be listened on at all.
    #[error("cannot listen on {address}: {why}")]
    Unusable {
        /// The address.
        address: Address,
        /// Why, and what to do.
        why: String,
    },
    /// Another error of the system.
    #[error("cannot listen on {address}: {source}")]
    System {
        /// The address.
        address: Address,
        /// The system's error.
        source: io::Error,
    },
}

/// Listens on one address as written, which may mean several sockets (`localhost` is an IPv4 and an IPv6 address). Where
/// several shards are to listen, these are those of the first; see [`Listening::of_another_shard`].
///
/// # Errors
/// See [`ListenError`].
pub fn listen(address: &Address, limits: &ServerLimits, shards: u16) -> Result<Vec<Listening>, ListenError> {
    listen_beside(address, &[], limits, shards)
}

/// The same, but for the sockets that are there already, by their addresses.
pub(super) fn listen_beside(
    address: &Address,
    passed: &[String],
    limits: &ServerLimits,
    shards: u16,
) -> Result<Vec<Listening>, ListenError> {
    check(address)?;
    match &address.base {
        Base::Tcp(at) => listen_each(at, address, passed, |at| {
            let listener = listen_tcp(at, limits, Order::first(shards))?;
            Ok((listener.local_addr()?.port(), Listening::Tcp(listener)))
        }),
        Base::Unix(UnixName::Path(path)) if !passed.contains(&address.to_string()) => {
            listen_unix(path, limits)
                .map(|listener| vec![Listening::Unix(listener)])
                .map_err(|error| refused(address, error))
        }
        // It was passed, or has no connections.
        _ => Ok(Vec::new()),
    }
}

/// Checks that a server can listen on an address at all.
pub(super) fn check(address: &Address) -> Result<(), ListenError> {
    check_address(address).map_err(|why| ListenError::Unusable { address: address.clone(), why })
}

/// Opens a socket on every local address that a host stands for, but for those that are there already. With port 0 all
/// take the port that the first was given, which `open` returns.
pub(super) fn listen_each<T>(
    at: &HostPort,
    address: &Address,
    passed: &[String],
    open: impl Fn(SocketAddr) -> io::Result<(u16, T)>,
) -> Result<Vec<T>, ListenError> {
    let mut sockets = Vec::new();
    let (mut port, mut is_any) = (at.port, false);
    for mut at in local_addresses(at, address)? {
        at.set_port(port);
        if is_passed(address.base.name(), at, passed) {
            is_any = true;
            continue;
        }
        match open(at) {
            Ok((chosen, socket)) => {
                (port, is_any) = (chosen, true);
                sockets.push(socket);
            }
            // A system without IPv6 is no reason not to listen on IPv4.
            Err(error) if is_any && is_family_missing(&error) => {}
            Err(error) => return Err(refused(address, error)),
        }
    }
    Ok(sockets)
}

impl Listening {
    /// The address, as it is: with the port that the system chose.
    pub fn address(&self) -> String {
        match self {
            Listening::Tcp(tcp) | Listening::PassedTcp(tcp) => {
                tcp.local_addr().map_or_else(|_| "tcp:?".into(), |local| format!("tcp:{local}"))
            }
            Listening::Unix(unix) => {
                unix.file.path().map_or_else(|| "unix:?".into(), |path| format!("unix:{}", path.display()))
            }
        }
    }

    /// The IP address and port, of a TCP listener.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(tcp) | Listening::PassedTcp(tcp) => tcp.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }

    /// The IPv4 address that an IPv6 socket has besides its own: `[::]` of a service manager is both, if it is not told
    /// otherwise.
    pub(super) fn address_of_both_families(&self) -> Option<String> {
        match self {
            Listening::PassedTcp(tcp) => Some(format!("tcp:{}", ipv4_besides(tcp, tcp.local_addr().ok()?)?)),
            Listening::Tcp(_) | Listening::Unix(_) => None,
        }
    }

    /// Says whether only one shard can have it: its connections are handed round.
    pub fn is_sole(&self) -> bool {
        !matches!(self, Listening::Tcp(_))
    }

    /// The same for another shard, if that can be: the kernel spreads connections over all of them.
    ///
    /// # Errors
    /// The system's, when it does not listen a second time.
    pub fn of_another_shard(&self, limits: &ServerLimits) -> io::Result<Option<Listening>> {
        match self {
            Listening::Tcp(tcp) => {
                listen_tcp(tcp.local_addr()?, limits, Order::Later).map(Listening::Tcp).map(Some)
            }
            Listening::PassedTcp(_) | Listening::Unix(_) => Ok(None),
        }
    }
}

/// The IPv4 address that a socket on this address has besides (RFC 3493, 5.3).
pub(super) fn ipv4_besides(socket: &impl AsFd, at: SocketAddr) -> Option<SocketAddr> {
    let is_both = at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !SockRef::from(socket).only_v6().ok()?;
    is_both.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port()))
}

/// Whether one of the sockets that were passed has this address, by itself or with all others of its family.
pub(super) fn is_passed(scheme: &str, at: SocketAddr, passed: &[String]) -> bool {
    let all: IpAddr = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let has = |ip: IpAddr| passed.contains(&format!("{scheme}:{}", SocketAddr::new(ip, at.port())));
    has(at.ip()) || has(all)
}

/// The local addresses that a host stands for, with their zones.
fn local_addresses(at: &HostPort, address: &Address) -> Result<Vec<SocketAddr>, ListenError> {
    if let Some(ips) = at.local_ips() {
        return Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect());
    }
    let host = at.host.as_str();
    let found = (host, 0).to_socket_addrs().map_err(|error| ListenError::Unusable {
        address: address.clone(),
        why: format!("the name {host:?} was not found ({error})"),
    })?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.dedup();
    Ok(found)
}

/// Whether an address means a link, and does not say which.
fn names_no_link(address: &Address) -> bool {
    address.host_port().and_then(HostPort::ip).is_some_and(is_link_local)
}

/// Whether an address is one of many hosts, on as many links.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Which socket on an address this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The only one.
    Only,
    /// The first of several: it must find the address free, and shares it then.
    First,
    /// One of the others.
    Later,
}

impl Order {
    pub(super) fn first(shards: u16) -> Order {
        if shards > 1 { Order::First } else { Order::Only }
    }
}

fn listen_tcp(address: SocketAddr, limits: &ServerLimits, order: Order) -> io::Result<mio::net::TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each family has its own socket, so that what is listened on is what is written.
        socket.set_only_v6(true)?;
    }
    // A port whose last connections are still in TIME_WAIT can be listened on again.
    socket.set_reuse_address(true)?;
    set_inherited_options(&socket, limits)?;
    // The first one binds as if it were alone, so that it is refused where anybody listens, even one who shares: two
    // servers must not share a port without knowing of each other.
    socket.set_reuse_port(order == Order::Later)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(order != Order::Only)?;
    socket.listen(limits.backlog_max)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Listens on a socket that the service manager passed: it is bound and listening already.
///
/// # Errors
/// The system's.
pub(super) fn listen_passed_tcp(
    socket: std::net::TcpListener,
    limits: &ServerLimits,
) -> io::Result<Listening> {
    let socket = Socket::from(socket);
    set_inherited_options(&socket, limits)?;
    Ok(Listening::PassedTcp(mio::net::TcpListener::from_std(socket.into())))
}

/// The same for a Unix-domain stream.
pub(super) fn listen_passed_unix(
    socket: std::os::unix::net::UnixListener,
    path: Option<PathBuf>,
) -> Listening {
    let socket = mio::net::UnixListener::from_std(socket);
    Listening::Unix(UnixListening { socket, file: UnixFile::Passed(path) })
}

/// Options that every accepted connection inherits, so that they cost nothing there.
fn set_inherited_options(socket: &Socket, limits: &ServerLimits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let (idle_ms, interval_ms, probes) = limits.keep_alive;
    let keep_alive = TcpKeepalive::new()
        .with_time(Duration::from_millis(idle_ms))
        .with_interval(Duration::from_millis(interval_ms))
        .with_retries(probes);
    SockRef::from(socket).set_tcp_keepalive(&keep_alive)?;
    sockeye_sys::socket::set_unsent_bytes_max(
        socket,
        u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX),
    )
}

fn listen_unix(path: &Path, limits: &ServerLimits) -> io::Result<UnixListening> {
    let (socket, file) = SocketFile::bind(path, Type::STREAM, |socket| socket.listen(limits.backlog_max))?;
    let socket: std::os::unix::net::UnixListener = socket.into();
    Ok(UnixListening { socket: mio::net::UnixListener::from_std(socket), file: UnixFile::Ours(file) })
}

fn is_family_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

pub(super) fn refused(address: &Address, error: io::Error) -> ListenError {
    let address = address.clone();
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        io::ErrorKind::PermissionDenied => {
            let needed = match &address.base {
                Base::Tcp(at) | Base::Udp(at) if (1..1024).contains(&at.port) => {
                    let port = at.port;
                    format!(
                        "port {port} is below 1024, which needs root or the capability CAP_NET_BIND_SERVICE"
                    )
                }
                Base::Unix(UnixName::Path(path)) | Base::UnixDatagram(UnixName::Path(path)) => {
                    let folder = path
                        .parent()
                        .filter(|folder| !folder.as_os_str().is_empty())
                        .unwrap_or(Path::new("."));
                    format!("write permission on {} is needed", folder.display())
                }
                _ => "the system does not allow it".into(),
            };
            ListenError::Permission { address, needed }
        }
        io::ErrorKind::AddrNotAvailable => {
            ListenError::Unusable { address, why: "this machine has no such address".into() }
        }
        io::ErrorKind::InvalidInput if names_no_link(&address) => ListenError::Unusable {
            address,
            why: "a link-local address needs the interface it is on: write [fe80::1%eth0]".into(),
        },
        io::ErrorKind::AlreadyExists => {
            let why = "a file that is not a socket is in the way: remove it, or choose another path".into();
            ListenError::Unusable { address, why }
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ListenError::Unusable {
            address,
            why: "the folder does not exist: make it, or choose another".into(),
        },
        io::ErrorKind::InvalidInput if matches!(address.base, Base::Unix(_) | Base::UnixDatagram(_)) => {
            ListenError::Unusable { address, why: "the path of a socket has at most 107 bytes".into() }
        }
        _ => ListenError::System { address, source: error },
    }
}
