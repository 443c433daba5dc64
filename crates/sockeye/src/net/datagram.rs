//! Datagram sockets: UDP and Unix, with a peer or without, and multicast.
//!
//! A machine that is polled, like every socket here. Deliberately absent: fragments of our own. What does not fit one
//! datagram is refused with its size.

use std::ffi::OsStr;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustix::net::{RecvFlags, SocketAddrAny, SocketAddrUnix};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockRef, Socket, Type};
use sockeye_sys::datagram::{self, Inbox};
use sockeye_sys::packet_info;
use tokio::io::{Interest, Ready};
use tokio::net::{UdpSocket, UnixDatagram};

use super::option::apply_ip;
use super::peer::Peer;
use super::resolve::{resolve, resolve_local};
use super::session::Session;
use super::unix::{self, SocketFile, abstract_path};
use super::untried::Untried;
use super::{Error, ErrorKind, Result};
use crate::address::{Address, HostPort, Options, UDP_BYTES_MAX, UnixName};

/// The largest UDP datagram, and larger than any that the kernel passes by default between processes.
const UDP_BUFFER_BYTES: usize = 65_536;
const UNIX_BUFFER_BYTES: usize = 256 << 10;

/// One datagram, and whose it is.
pub(super) type Received = (Vec<u8>, Peer);

/// One datagram as a socket receives it.
pub(super) struct Arrival {
    pub(super) bytes: Vec<u8>,
    pub(super) peer: Peer,
    /// The address of ours that it was sent to, where the socket has many and is told.
    pub(super) local: Option<IpAddr>,
}

#[derive(Debug)]
pub(super) struct Datagram {
    by: By,
    /// Whom a socket of its own is connected to, or sends to.
    peer: Peer,
    /// To whom what names nobody is sent, where the kernel does not know it.
    target: Option<Peer>,
    /// The outgoing slot.
    outgoing: Option<(Vec<u8>, Option<Peer>)>,
    receiver: Receiver,
    /// While nobody has answered.
    untried: Option<Box<Untried>>,
    /// Who waits for a datagram, while another socket may take the place of this one.
    waiting: Option<Waker>,
    /// The path that goes with the socket.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum By {
    /// A socket of its own.
    Own(Arc<Carrier>),
    /// A share in one.
    Session(Session),
}

#[derive(Debug)]
pub(super) enum Carrier {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Makes a UDP socket that sends to a host, and hears only it unless it is a group.
pub(super) async fn connect_udp(address: &Address, at: &HostPort) -> Result<Datagram> {
    let options = &address.options;
    let candidates = resolve(address, at).await?;
    let locals = match &options.bind {
        Some(local) => resolve_local(address, local).await?,
        None => Vec::new(),
    };
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut candidates = candidates.into_iter();
    // Whoever has a route is taken, and the others when he refuses.
    while let Some(to) = candidates.next() {
        match open_udp_to(options, &locals, to).and_then(Carrier::of_udp) {
            Ok(carrier) if is_group(options, to.ip()) => {
                return Ok(Datagram::of(carrier, Some(Peer::Ip(to)), None));
            }
            Ok(carrier) => {
                let untried = Untried::new(options, locals, candidates);
                return Ok(Datagram { untried, ..Datagram::of(carrier, None, None) });
            }
            Err(error) => last_error = error,
        }
    }
    let is_forbidden = last_error.kind() == io::ErrorKind::PermissionDenied;
    let error = Error::system(address.shown(), "cannot connect", last_error);
    // udp(7): the one thing that a UDP socket must be allowed to do.
    Err(if is_forbidden { error.with_hint("is it a broadcast address? broadcast allows it") } else { error })
}

/// A group has no one peer: who sends to it hears whoever answers.
fn is_group(options: &Options, ip: IpAddr) -> bool {
    ip.is_multicast() || options.broadcast == Some(true)
}

/// A UDP socket that sends to an address, and hears only it unless it is a group.
fn open_udp_to(options: &Options, locals: &[SocketAddr], to: SocketAddr) -> io::Result<Socket> {
    let local = locals.iter().find(|local| local.is_ipv4() == to.is_ipv4()).copied();
    let socket = open_udp(options, to, local.unwrap_or_else(|| unspecified(to, 0)))?;
    if !is_group(options, to.ip()) {
        socket.connect(&to.into())?;
    }
    Ok(socket)
}

/// Makes a UDP socket with a local address, for each family that the host stands for.
pub(super) async fn bind_udp(address: &Address, at: &HostPort) -> Result<Vec<UdpSocket>> {
    let mut sockets: Vec<UdpSocket> = Vec::new();
    let mut port = at.port;
    for mut local in resolve_local(address, at).await? {
        local.set_port(port);
        let bound =
            open_udp(&address.options, local, local).and_then(|socket| UdpSocket::from_std(socket.into()));
        match bound {
            Ok(socket) => {
                port = socket.local_addr().map_or(port, |local| local.port());
                sockets.push(socket);
            }
            Err(error)
                if super::tcp::is_family_missing(&error) && (!sockets.is_empty() || at.host.is_empty()) => {}
            Err(error) => return Err(Error::system(address.shown(), "cannot bind", error)),
        }
    }
    if sockets.is_empty() {
        let error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        return Err(Error::system(address.shown(), "cannot bind", error));
    }
    Ok(sockets)
}

fn unspecified(like: SocketAddr, port: u16) -> SocketAddr {
    let ip: IpAddr = if like.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    SocketAddr::new(ip, port)
}

fn open_udp(options: &Options, to: SocketAddr, local: SocketAddr) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    if to.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    apply_ip(SockRef::from(&socket), options, to)?;
    if options.broadcast == Some(true) {
        socket.set_broadcast(true)?;
    }
    if to.ip().is_multicast() {
        // Several programs of one machine may hear a group.
        socket.set_reuse_address(true)?;
        if let Some(multicast_loop) = options.multicast_loop {
            set_loop(&SockRef::from(&socket), to.is_ipv6(), multicast_loop)?;
        }
        if let Some(interface) = &options.join {
            set_multicast_interface(&socket, to, interface)?;
        }
    }
    socket.bind(&local.into())?;
    if to.ip().is_multicast()
        && let Some(interface) = &options.join
    {
        join(&SockRef::from(&socket), to.ip(), interface)?;
    }
    Ok(socket)
}

pub(super) fn set_loop(socket: &SockRef<'_>, is_ipv6: bool, value: bool) -> io::Result<()> {
    if is_ipv6 { socket.set_multicast_loop_v6(value) } else { socket.set_multicast_loop_v4(value) }
}

fn set_multicast_interface(socket: &Socket, to: SocketAddr, interface: &str) -> io::Result<()> {
    match (to, interface.parse::<IpAddr>()) {
        (SocketAddr::V4(_), Ok(IpAddr::V4(ip))) => socket.set_multicast_if_v4(&ip),
        (SocketAddr::V6(_), _) => socket.set_multicast_if_v6(interface_index(socket, interface)?),
        // The kernel takes an index only through a structure that is not offered here; routes decide.
        _ => Ok(()),
    }
}

/// Joins a multicast group on an interface, which is named or has that address.
pub(super) fn join(socket: &SockRef<'_>, group: IpAddr, interface: &str) -> io::Result<()> {
    match (group, interface.parse::<IpAddr>()) {
        (IpAddr::V4(group), Ok(IpAddr::V4(ip))) => socket.join_multicast_v4(&group, &ip),
        (IpAddr::V4(group), _) => {
            let index = InterfaceIndexOrAddress::Index(interface_index(&**socket, interface)?);
            socket.join_multicast_v4_n(&group, &index)
        }
        (IpAddr::V6(group), _) => socket.join_multicast_v6(&group, interface_index(&**socket, interface)?),
    }
}

fn interface_index(socket: impl AsFd, name: &str) -> io::Result<u32> {
    rustix::net::netdevice::name_to_index(socket, name).map_err(|_| {
        let why = format!("this machine has no interface {name:?}: `ip link` lists them");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })
}

/// Makes a Unix datagram socket that sends to a name, and has a name of the kernel's choice for answers.
pub(super) fn connect_unix(address: &Address, name: &UnixName) -> Result<Datagram> {
    let open = || {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking().cloexec(), None)?;
        super::option::apply_buffers(&SockRef::from(&socket), &address.options)?;
        // unix(7), autobind: without a name nobody could answer.
        socket.bind(&SockAddr::unix(abstract_path(&super::websocket::random::<8>()))?)?;
        let path = match name {
            UnixName::Path(path) => path.clone(),
            UnixName::Abstract(name) => abstract_path(name),
        };
        socket.connect(&SockAddr::unix(path)?)?;
        let socket: std::os::unix::net::UnixDatagram = socket.into();
        Ok(Datagram::of(Carrier::Unix(UnixDatagram::from_std(socket)?), None, None))
    };
    open().map_err(|error| Error::system(address.shown(), "cannot connect", error))
}

/// Makes a Unix datagram socket with a name.
pub(super) fn bind_unix(address: &Address, name: &UnixName) -> Result<(UnixDatagram, Option<SocketFile>)> {
    let bind = || {
        let (socket, file) = unix::bind(Type::DGRAM, address, name)?;
        let socket: std::os::unix::net::UnixDatagram = socket.into();
        Ok((UnixDatagram::from_std(socket)?, file))
    };
    bind().map_err(|error| unix::refused(address, name, error))
}

impl Datagram {
    pub(super) fn of(carrier: Carrier, target: Option<Peer>, file: Option<SocketFile>) -> Datagram {
        Datagram {
            peer: target.clone().unwrap_or_else(|| carrier.peer()),
            by: By::Own(Arc::new(carrier)),
            target,
            outgoing: None,
            receiver: Receiver::new(),
            untried: None,
            waiting: None,
            _file: file,
        }
    }

    pub(super) fn of_session(session: Session) -> Datagram {
        Datagram {
            peer: Peer::Unnamed,
            by: By::Session(session),
            target: None,
            outgoing: None,
            receiver: Receiver::new(),
            untried: None,
            waiting: None,
            _file: None,
        }
    }

    fn carrier(&self) -> &Carrier {
        match &self.by {
            By::Own(carrier) => carrier,
            By::Session(session) => session.carrier(),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        match self.carrier() {
            Carrier::Udp(udp) => udp.as_fd(),
            Carrier::Unix(unix) => unix.as_fd(),
        }
    }

    pub(super) fn peer(&self) -> &Peer {
        match &self.by {
            By::Session(session) => session.peer(),
            By::Own(_) => &self.peer,
        }
    }

    pub(super) fn local(&self) -> Peer {
        match &self.by {
            By::Own(carrier) => carrier.local(),
            By::Session(session) => session.local(),
        }
    }

    /// Receives one datagram and whose it is. `None`: a session that was idle has ended.
    pub(super) fn poll_recv_from(
        &mut self,
        name: &str,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Received>>> {
        loop {
            let received = match &mut self.by {
                By::Session(session) => return session.poll_recv(cx).map(Ok),
                By::Own(carrier) => self.receiver.poll_receive(carrier, cx),
            };
            let Poll::Ready(received) = received else {
                self.waiting = self.untried.is_some().then(|| cx.waker().clone());
                return Poll::Pending;
            };
            match received {
                Ok(Arrival { bytes, peer, .. }) => {
                    self.untried = None;
                    return Poll::Ready(Ok(Some((bytes, peer))));
                }
                // Whoever waits for this socket to take a datagram would not be woken by another one.
                Err(error) if self.outgoing.is_none() && self.try_next(&error) => {}
                Err(error) => return Poll::Ready(Err(Error::system(name, "cannot receive", error))),
            }
        }
    }

    /// Goes on with the next address of the host, if an error means that this one is wrong. Returns whether there is one.
    fn try_next(&mut self, error: &io::Error) -> bool {
        let Some(untried) = &mut self.untried else { return false };
        while let Some(to) = untried.next_after(error) {
            let Ok(socket) = open_udp_to(&untried.options, &untried.locals, to) else { continue };
            for bytes in untried.kept() {
                // As any datagram it may be lost, but a socket that is new has room for these.
                let _ = socket.send(bytes);
            }
            let Ok(carrier) = Carrier::of_udp(socket) else { continue };
            tracing::debug!(%to, %error, "nobody is there: trying the next address");
            self.peer = Peer::Ip(to);
            self.by = By::Own(Arc::new(carrier));
            self.receiver = Receiver::new();
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
            return true;
        }
        false
    }

    pub(super) fn is_free(&self) -> bool {
        self.outgoing.is_none()
    }

    /// Puts a datagram into the slot, which is free.
    pub(super) fn start_send(&mut self, name: &str, bytes: Vec<u8>, to: Option<Peer>) -> Result<()> {
        let is_udp = matches!(self.carrier(), Carrier::Udp(_));
        if is_udp && bytes.len() > UDP_BYTES_MAX {
            return Err(too_large(name, bytes.len(), UDP_BYTES_MAX));
        }
        self.outgoing = Some((bytes, to));
        Ok(())
    }

    pub(super) fn poll_flush(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (outcome, length) = loop {
            let Some((bytes, to)) = &self.outgoing else { return Poll::Ready(Ok(())) };
            let to = to.as_ref().or(self.target.as_ref());
            let outcome = match &mut self.by {
                By::Session(session) => session.poll_send(bytes, to, cx),
                By::Own(carrier) => poll_send(carrier, bytes, to, cx),
            };
            let outcome = ready!(outcome);
            let length = bytes.len();
            match &outcome {
                Ok(()) => {
                    self.untried.take_if(|untried| !untried.keep(bytes));
                }
                Err(error) if self.try_next(error) => continue,
                Err(_) => {}
            }
            break (outcome, length);
        };
        // Sent or not, it is over with this datagram: what could not be sent is told, and not tried again unasked.
        self.outgoing = None;
        Poll::Ready(outcome.map_err(|error| {
            const EMSGSIZE: i32 = 90;
            if error.raw_os_error() == Some(EMSGSIZE) {
                return too_large(name, length, 0);
            }
            Error::system(name, "cannot send", error)
        }))
    }
}

fn too_large(name: &str, length: usize, bytes_max: usize) -> Error {
    let what = match bytes_max {
        0 => format!("a message of {length} bytes does not fit one datagram of this socket"),
        _ => format!("a message of {length} bytes does not fit one datagram, which has at most {bytes_max}"),
    };
    Error::new(ErrorKind::EndedEarly, name, what).with_hint("send less at once, or use a stream")
}

impl Carrier {
    fn of_udp(socket: Socket) -> io::Result<Carrier> {
        UdpSocket::from_std(socket.into()).map(Carrier::Udp)
    }

    /// Whom it is connected to.
    fn peer(&self) -> Peer {
        match self {
            Carrier::Udp(udp) => udp.peer_addr().map_or(Peer::Unnamed, Peer::Ip),
            Carrier::Unix(unix) => unix.peer_addr().map_or(Peer::Unnamed, |name| Peer::of_unix(&name.into())),
        }
    }

    pub(super) fn local(&self) -> Peer {
        match self {
            Carrier::Udp(udp) => udp.local_addr().map_or(Peer::Unnamed, Peer::Ip),
            Carrier::Unix(unix) => match unix.local_addr() {
                Ok(name) => Peer::of_unix(&name.into()),
                Err(_) => Peer::Unix(None),
            },
        }
    }
}

/// Receives for a socket, one datagram at a time.
pub(super) struct Receiver {
    buffer: Vec<u8>,
    /// Instead of the buffer, for a socket that is told which address of ours was asked.
    told: Option<Inbox>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<Ready>> + Send + Sync>>>,
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        Receiver { buffer: Vec::new(), told: None, waiting: None }
    }

    /// For a socket that hears many peers, and has to answer each from the address that it asked: one that is bound to all
    /// addresses of the host has to be told which one that is.
    pub(super) fn of_many(carrier: &Carrier) -> io::Result<Receiver> {
        let mut receiver = Receiver::new();
        if let Carrier::Udp(udp) = carrier
            && udp.local_addr()?.ip().is_unspecified()
        {
            packet_info::tell_local(udp)?;
            receiver.told = Some(Inbox::told_local(1, UDP_BUFFER_BYTES));
        }
        Ok(receiver)
    }

    /// Receives one datagram from the kernel.
    pub(super) fn poll_receive(
        &mut self,
        carrier: &Arc<Carrier>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Arrival>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx))?;
                self.waiting = None;
            }
            let received = match self.try_receive(carrier, Interest::READABLE) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.try_receive(carrier, Interest::ERROR)
                }
                received => received,
            };
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let carrier = Arc::clone(carrier);
                    self.waiting = Some(Box::pin(async move {
                        // That nobody listens at the other end is told as an error, which makes nothing readable.
                        let interest = Interest::READABLE | Interest::ERROR;
                        match &*carrier {
                            Carrier::Udp(udp) => udp.ready(interest).await,
                            Carrier::Unix(unix) => unix.ready(interest).await,
                        }
                    }));
                }
                received => return Poll::Ready(received),
            }
        }
    }

    fn try_receive(&mut self, carrier: &Carrier, interest: Interest) -> io::Result<Arrival> {
        match carrier {
            Carrier::Udp(udp) if let Some(told) = &mut self.told => {
                udp.try_io(interest, || receive_told(udp, told))
            }
            Carrier::Udp(udp) => udp.try_io(interest, || receive(udp, &mut self.buffer, UDP_BUFFER_BYTES)),
            Carrier::Unix(unix) => {
                unix.try_io(interest, || receive(unix, &mut self.buffer, UNIX_BUFFER_BYTES))
            }
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Receiver")
    }
}

/// Receives one datagram of UDP, none of which is larger than the buffer, and is told which address of ours it was sent to.
fn receive_told(socket: &UdpSocket, inbox: &mut Inbox) -> io::Result<Arrival> {
    inbox.receive(socket, 1)?;
    let received = inbox.get(0);
    let peer = match received.from {
        datagram::Peer::Ip(from) => Peer::Ip(from),
        datagram::Peer::Unix(_) => Peer::Unnamed,
    };
    Ok(Arrival { bytes: received.bytes.to_vec(), peer, local: inbox.local(0) })
}

fn receive(socket: impl AsFd, buffer: &mut Vec<u8>, size: usize) -> io::Result<Arrival> {
    if buffer.len() < size {
        *buffer = vec![0; size];
    }
    let (count, length, from) = rustix::net::recvfrom(socket, &mut buffer[..], RecvFlags::TRUNC)?;
    // A datagram is never cut silently.
    if length > count {
        let why = format!("a datagram of {length} bytes does not fit the buffer of {size}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let peer = from.map_or(Peer::Unix(None), |from| peer_of(&from));
    Ok(Arrival { bytes: buffer[..count].to_vec(), peer, local: None })
}

fn peer_of(from: &SocketAddrAny) -> Peer {
    if let Ok(ip) = SocketAddr::try_from(from.clone()) {
        return Peer::Ip(ip);
    }
    let Ok(name) = SocketAddrUnix::try_from(from.clone()) else { return Peer::Unix(None) };
    if let Some(name) = name.abstract_name() {
        return Peer::Unix(Some(UnixName::Abstract(name.to_vec())));
    }
    Peer::Unix(
        name.path_bytes()
            .filter(|path| !path.is_empty())
            .map(|path| UnixName::Path(PathBuf::from(OsStr::from_bytes(path)))),
    )
}

/// Gives one datagram to the kernel, to whom the socket is connected.
fn poll_send(
    carrier: &Carrier,
    bytes: &[u8],
    to: Option<&Peer>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let outcome = match (carrier, to) {
            (_, Some(to)) => try_send(carrier, bytes, to, None),
            (Carrier::Udp(udp), None) => udp.try_send(bytes).map(|_| ()),
            (Carrier::Unix(unix), None) => unix.try_send(bytes).map(|_| ()),
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match carrier {
                Carrier::Udp(udp) => ready!(udp.poll_send_ready(cx))?,
                Carrier::Unix(unix) => ready!(unix.poll_send_ready(cx))?,
            },
            outcome => return Poll::Ready(outcome),
        }
    }
}

/// Gives one datagram for a peer to the kernel, if it takes one: from this address of ours, or from the one that the system
/// chooses.
pub(super) fn try_send(carrier: &Carrier, bytes: &[u8], to: &Peer, local: Option<IpAddr>) -> io::Result<()> {
    match (carrier, to) {
        (Carrier::Udp(udp), Peer::Ip(to)) if local.is_some() => {
            let letter = (datagram::Peer::Ip(*to), local, bytes);
            udp.try_io(Interest::WRITABLE, || datagram::send(udp, std::iter::once(letter))).map(|_| ())
        }
        (Carrier::Udp(udp), Peer::Ip(to)) => udp.try_send_to(bytes, *to).map(|_| ()),
        (Carrier::Unix(unix), Peer::Unix(Some(UnixName::Path(path)))) => {
            unix.try_send_to(bytes, path).map(|_| ())
        }
        (Carrier::Unix(unix), Peer::Unix(Some(UnixName::Abstract(name)))) => {
            let to = SockAddr::unix(abstract_path(name))?;
            unix.try_io(Interest::WRITABLE, || SockRef::from(unix).send_to(bytes, &to)).map(|_| ())
        }
        (Carrier::Unix(_), Peer::Unix(None)) => {
            let why = "the peer's socket has no name, so it cannot be answered";
            Err(io::Error::new(io::ErrorKind::NotConnected, why))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "that peer is not of this kind of socket")),
    }
}
