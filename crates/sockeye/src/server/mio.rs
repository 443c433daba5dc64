//! The real kernel under the loop: edge-triggered readiness through mio, sockets through mio and socket2.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use sockeye_gateway::Transport;
use sockeye_gateway::mail::{PeerAddress, Source};
use sockeye_hub::Now;
use sockeye_sys::datagram::{self, Inbox, Peer};
use sockeye_sys::ring::SendRing;
use tracing::{debug, warn};

use super::ciphertext::Ciphertext;
use super::datagram_socket::DatagramSocket;
use super::inbox::{Inboxes, WAKE_TOKEN};
use super::kernel::{Accepted, DATAGRAM_TOKENS, Delivery, Event, Kernel, LISTENER_TOKENS, News, Stream};
use super::letter::Letter;
use super::listen::Listening;
use super::tls::{Arrived, Door, Fresh, TlsSocket};

/// The operating system under a shard.
pub(super) struct MioKernel {
    poll: Poll,
    events: Events,
    listeners: Vec<Listening>,
    datagram_sockets: Vec<DatagramSocket>,
    /// Made when there is a datagram socket that is bound to one address.
    inbox: Option<Inbox>,
    /// Made when there is one that is bound to all of them, and is told which one was asked.
    told_inbox: Option<Inbox>,
    /// Which datagram sockets are.
    have_many_addresses: Vec<bool>,
    shard: u16,
    inboxes: Arc<Inboxes<Socket>>,
    reserve: Arc<Reserve>,
    /// Where TLS is spoken: what every TCP connection comes through.
    door: Option<Door>,
    started: Instant,
    /// Where many writes leave in one call, if the system allows it.
    ring: Option<SendRing>,
}

/// Fewer writes than this leave one by one: there is nothing to be saved.
const RING_WRITES_MIN: usize = 4;

/// Edges taken from the kernel in one call.
const EVENTS_MAX: usize = 1024;

impl MioKernel {
    /// Watches `listeners` and `datagram_sockets` with the `poll` of shard `shard`, which wakes it for its inbox. All shards began at `started`.
    /// TCP connections come through `door` if there is one.
    ///
    /// # Errors
    /// When the system does not watch a listener.
    pub(super) fn new(
        poll: Poll,
        (mut listeners, mut datagram_sockets): (Vec<Listening>, Vec<DatagramSocket>),
        datagram_bytes_max: usize,
        (shard, inboxes): (u16, Arc<Inboxes<Socket>>),
        reserve: Arc<Reserve>,
        door: Option<Door>,
        started: Instant,
    ) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token((LISTENER_TOKENS + index as u64) as usize);
            match listener {
                Listening::Tcp(tcp) | Listening::PassedTcp(tcp) => {
                    poll.registry().register(tcp, token, Interest::READABLE)?
                }
                Listening::Unix(unix) => {
                    poll.registry().register(&mut unix.socket, token, Interest::READABLE)?
                }
            }
        }
        for (index, socket) in datagram_sockets.iter_mut().enumerate() {
            let token = Token((DATAGRAM_TOKENS + index as u64) as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            match socket {
                DatagramSocket::Udp(udp) | DatagramSocket::PassedUdp(udp) => {
                    poll.registry().register(udp, token, interest)?
                }
                DatagramSocket::Unix(unix) => poll.registry().register(&mut unix.socket, token, interest)?,
            }
        }
        let have_many_addresses: Vec<bool> =
            datagram_sockets.iter().map(DatagramSocket::has_many_addresses).collect();
        let (one, many) = (have_many_addresses.contains(&false), have_many_addresses.contains(&true));
        Ok(MioKernel {
            datagram_sockets,
            inbox: one.then(|| Inbox::new(datagram::BATCH_MAX, datagram_bytes_max)),
            told_inbox: many.then(|| Inbox::told_local(datagram::BATCH_MAX, datagram_bytes_max)),
            have_many_addresses,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listeners,
            shard,
            inboxes,
            reserve,
            door,
            started,
            ring: None,
        })
    }

    /// Has many writes leave in one call, where the system allows it. Containers mostly do not, and nothing is wrong then.
    pub(super) fn open_ring(&mut self) {
        self.ring = SendRing::new()
            .inspect_err(|error| debug!(%error, "io_uring is not to be had: writes leave one by one"))
            .ok();
    }

    fn accept_one(&self, index: usize) -> io::Result<Accepted<Socket>> {
        match self.listeners.get(index) {
            Some(Listening::Tcp(tcp) | Listening::PassedTcp(tcp)) => {
                let (stream, address) = tcp.accept()?;
                let address = Some((address.ip().to_canonical(), address.port()));
                Ok(Accepted { stream: Socket::Tcp(stream), transport: Transport::Tcp, address })
            }
            Some(Listening::Unix(unix)) => {
                let (stream, _) = unix.socket.accept()?;
                Ok(Accepted { stream: Socket::Unix(stream), transport: Transport::Unix, address: None })
            }
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// A descriptor kept back, so that a connection can still be turned away when there is no other.
///
/// It is that of all shards, since so are descriptors: while one of them lets go of it to turn somebody away, no other may
/// accept, or it would be lost for good.
pub(super) struct Reserve(RwLock<Option<File>>);

impl Reserve {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Reserve(RwLock::new(kept_back())))
    }
}

fn kept_back() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Kernel for MioKernel {
    type Stream = Socket;

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        // One shard alone gets letters from the outside only, and those wake it in any case.
        let sleeps = timeout != Some(Duration::ZERO) && self.inboxes.count() > 1;
        let timeout =
            if sleeps && !self.inboxes.may_sleep(self.shard) { Some(Duration::ZERO) } else { timeout };
        let polled = self.poll.poll(&mut self.events, timeout);
        if sleeps {
            self.inboxes.is_awake(self.shard);
        }
        if let Some(door) = &self.door {
            door.begin_turn();
        }
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        events.extend(self.events.iter().filter(|event| event.token() != WAKE_TOKEN).map(|event| Event {
            token: event.token().0 as u64,
            readable: event.is_readable(),
            writable: event.is_writable(),
            ended: event.is_read_closed() || event.is_write_closed() || event.is_error(),
        }));
        Ok(())
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn is_sole(&self, index: usize) -> bool {
        self.inboxes.count() > 1 && self.listeners.get(index).is_some_and(Listening::is_sole)
    }

    fn accept(&mut self, index: usize) -> io::Result<Accepted<Socket>> {
        let _reserve = self.reserve.0.read().unwrap_or_else(PoisonError::into_inner);
        self.accept_one(index)
    }

    fn turn_away(&mut self, index: usize) -> bool {
        let mut reserve = self.reserve.0.write().unwrap_or_else(PoisonError::into_inner);
        if reserve.take().is_none() {
            *reserve = kept_back();
            return false;
        }
        let turned_away = self.accept_one(index).is_ok();
        *reserve = kept_back();
        turned_away
    }

    fn datagram_sockets(&self) -> usize {
        self.datagram_sockets.len()
    }

    fn receive_datagrams(
        &mut self,
        socket: usize,
        most: usize,
        each: &mut dyn FnMut(&Source, &[u8], bool),
    ) -> io::Result<usize> {
        let has_many = self.have_many_addresses.get(socket).is_some_and(|has_many| *has_many);
        let inbox = if has_many { &mut self.told_inbox } else { &mut self.inbox };
        let (Some(receiver), Some(inbox)) = (self.datagram_sockets.get(socket), inbox) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let received = inbox.receive(receiver, most)?;
        let mut source = Source { socket: socket as u16, local: None, peer: PeerAddress::Unnamed };
        for index in 0..received {
            let datagram = inbox.get(index);
            source.peer = match datagram.from {
                Peer::Ip(address) => PeerAddress::Ip(address),
                Peer::Unix([]) => PeerAddress::Unnamed,
                Peer::Unix(name) => PeerAddress::Unix(name.into()),
            };
            if has_many {
                source.local = inbox.local(index);
            }
            each(&source, datagram.bytes, datagram.is_cut);
        }
        Ok(received)
    }

    fn send_datagrams(&mut self, socket: usize, letters: &[(&Source, &[u8])]) -> io::Result<usize> {
        let Some(sender) = self.datagram_sockets.get(socket) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let letters = letters.iter().map(|(to, bytes)| {
            let peer = match &to.peer {
                PeerAddress::Ip(address) => Peer::Ip(*address),
                PeerAddress::Unix(name) => Peer::Unix(name),
                PeerAddress::Unnamed => Peer::Unix(&[]),
            };
            (peer, to.local, *bytes)
        });
        datagram::send(sender, letters).map_err(|error| {
            // Only Unix receivers can be full without our socket being so.
            let is_receivers = error.kind() == io::ErrorKind::WouldBlock
                && matches!(sender, DatagramSocket::Unix(_))
                && datagram::has_room(sender).unwrap_or(false);
            if is_receivers { io::ErrorKind::ResourceBusy.into() } else { error }
        })
    }

    fn datagrams_lost(&self) -> u64 {
        self.datagram_sockets.iter().filter_map(|socket| datagram::lost(socket).ok()).map(u64::from).sum()
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn register(&mut self, stream: &mut Socket, token: u64) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(token as usize);
        let registry = self.poll.registry();
        match stream {
            Socket::Tcp(tcp) => registry.register(tcp, token, interest)?,
            Socket::Unix(unix) => return registry.register(unix, token, interest),
            Socket::Fresh(fresh) => return registry.register(fresh.tcp()?, token, interest),
            Socket::Tls(tls) => return registry.register(tls.tcp(), token, interest),
        }
        // Here, and not where it was accepted: the door is that of the shard on which the connection lives.
        if let Some(door) = &self.door
            && let Socket::Tcp(tcp) = std::mem::replace(stream, Socket::Fresh(door.fresh()))
            && let Socket::Fresh(fresh) = stream
        {
            fresh.enter(tcp);
        }
        Ok(())
    }

    fn write_each<'a>(
        &mut self,
        writes: impl ExactSizeIterator<Item = (&'a Socket, &'a [u8])>,
        outcomes: &mut Vec<io::Result<usize>>,
    ) {
        let count = writes.len();
        let mut writes = writes.map(|(socket, bytes)| (socket.descriptor(), bytes));
        match &mut self.ring {
            Some(ring) if count >= RING_WRITES_MIN => {
                if let Err(error) = ring.send_each(&mut writes, outcomes) {
                    warn!(%error, "io_uring fails: from here on writes leave one by one");
                    self.ring = None;
                    outcomes.extend((0..count).map(|_| Err(io::ErrorKind::Interrupted.into())));
                }
            }
            _ => outcomes.extend(
                writes.map(|(socket, bytes)| send(socket, bytes, SendFlags::NOSIGNAL).map_err(Into::into)),
            ),
        }
    }

    fn send(&mut self, shard: u16, letters: &mut Vec<Letter<Socket>>) {
        self.inboxes.send(shard, letters);
    }

    #[inline]
    fn receive(&mut self, letters: &mut VecDeque<Letter<Socket>>) {
        self.inboxes.receive(self.shard, letters);
    }

    fn is_congested(&self) -> bool {
        self.inboxes.is_congested()
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { ms: self.started.elapsed().as_millis() as u64, unix_ms: unix.as_millis() as u64 }
    }
}

/// A connected socket of the real kernel.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP.
    Tcp(mio::net::TcpStream),
    /// A Unix-domain stream.
    Unix(mio::net::UnixStream),
    /// TCP, which may turn out to be TLS.
    Fresh(Box<Fresh>),
    /// TLS.
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// Reads the first bytes of a connection, and becomes what they say.
    #[cold]
    fn arrive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Socket::Fresh(fresh) = self else { return self.read(buffer) };
        match fresh.arrive(buffer)? {
            Arrived::Plain(tcp, length) => {
                *self = Socket::Tcp(tcp);
                Ok(length)
            }
            Arrived::Tls(tls) => {
                *self = Socket::Tls(tls);
                self.read(buffer)
            }
        }
    }
}

impl Socket {
    /// The descriptor under a socket that knows what it is.
    ///
    /// # Panics
    /// If it does not know it yet.
    #[inline]
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(tcp) => tcp.as_fd(),
            Socket::Unix(unix) => unix.as_fd(),
            Socket::Tls(tls) => tls.as_tcp().as_fd(),
            Socket::Fresh(_) => unreachable!("nothing is said on a connection that has not begun"),
        }
    }

    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<(usize, usize), Errno> {
        match self {
            Socket::Tcp(tcp) => recv(tcp, buffer, flags),
            Socket::Unix(unix) => recv(unix, buffer, flags),
            Socket::Tls(tls) => recv(tls.as_tcp(), buffer, flags),
            Socket::Fresh(fresh) => recv(fresh.as_tcp().ok_or(Errno::NOTCONN)?, buffer, flags),
        }
    }
}

impl Stream for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => Ok(recv(self.descriptor(), buffer, RecvFlags::empty())?.1),
            Socket::Tls(tls) => tls.read(buffer),
            Socket::Fresh(_) => self.arrive(buffer),
        }
    }

    fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, length) = self.receive(buffer, RecvFlags::PEEK)?;
        Ok(length)
    }

    fn take(&mut self, length: usize) -> io::Result<()> {
        let mut left = length;
        let mut piece = [0; 512];
        while left > 0 {
            let room = left.min(piece.len());
            match self.receive(&mut piece[..room], RecvFlags::empty()) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, taken)) => left -= taken,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    #[inline]
    fn may_join(&self) -> bool {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => true,
            Socket::Fresh(_) => false,
            Socket::Tls(tls) => tls.is_free(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => Ok(send(self.descriptor(), bytes, SendFlags::NOSIGNAL)?),
            Socket::Tls(tls) => tls.write(bytes),
            Socket::Fresh(fresh) => fresh.tcp()?.write(bytes),
        }
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(tcp) => tcp.write_vectored(pieces),
            Socket::Unix(unix) => unix.write_vectored(pieces),
            Socket::Tls(tls) => tls.write_vectored(pieces),
            Socket::Fresh(fresh) => fresh.tcp()?.write_vectored(pieces),
        }
    }

    fn is_gone(&self) -> bool {
        let mut asked = [match self {
            Socket::Tcp(tcp) => PollFd::new(tcp, PollFlags::empty()),
            Socket::Unix(unix) => PollFd::new(unix, PollFlags::empty()),
            Socket::Tls(tls) => PollFd::new(tls.as_tcp(), PollFlags::empty()),
            // It has said nothing yet, and reading will tell.
            Socket::Fresh(_) => return false,
        }];
        // Errors and hang-ups are reported unasked. When nothing can be asked, writing will tell.
        rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok()
            && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    fn delivery(&self) -> Option<Delivery> {
        let tcp = match self {
            Socket::Tcp(tcp) => tcp,
            Socket::Tls(tls) => tls.as_tcp(),
            Socket::Fresh(fresh) => fresh.as_tcp()?,
            Socket::Unix(unix) => {
                // What was written makes it less, and what is read more.
                let unread = sockeye_sys::socket::unsent(unix).ok()? as u64;
                return Some(Delivery { taken: u64::MAX - unread, is_under_way: unread > 0, silent_ms: 0 });
            }
        };
        let flow = sockeye_sys::socket::flow(tcp).ok()?;
        Some(Delivery {
            taken: flow.acknowledged,
            is_under_way: flow.is_under_way,
            silent_ms: flow.silence.as_millis() as u64,
        })
    }

    fn finish(&mut self) {
        // The peer may be gone already, which is what this was to achieve.
        let _ = match self {
            Socket::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Socket::Unix(unix) => unix.shutdown(Shutdown::Write),
            Socket::Fresh(fresh) => fresh.tcp().and_then(|tcp| tcp.shutdown(Shutdown::Write)),
            Socket::Tls(tls) => {
                tls.finish();
                Ok(())
            }
        };
    }

    #[inline]
    fn is_emptied(&self, length: usize, offered: usize) -> bool {
        match self {
            Socket::Tls(tls) => tls.is_drained(),
            _ => length < offered,
        }
    }

    fn take_news(&mut self) -> Option<News> {
        if let Socket::Tls(tls) = self { tls.take_news() } else { None }
    }

    fn is_clogged(&self) -> bool {
        matches!(self, Socket::Tls(tls) if tls.is_clogged())
    }

    fn flush(&mut self) {
        if let Socket::Tls(tls) = self {
            tls.flush();
        }
    }

    #[inline]
    fn is_encrypted(&self) -> bool {
        matches!(self, Socket::Tls(_))
    }

    fn encrypt(&mut self, bytes: &[u8], ciphertext: &mut Ciphertext) -> io::Result<()> {
        match self {
            Socket::Tls(tls) => tls.encrypt(bytes, ciphertext),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn keep_unsent(&mut self, ciphertext: &[u8]) {
        if let Socket::Tls(tls) = self {
            tls.keep_unsent(ciphertext);
        }
    }

    fn farewell(&mut self) {
        if let Socket::Tls(tls) = self {
            tls.farewell();
        }
    }

    fn expires_in_handshake(&mut self) -> bool {
        if let Socket::Tls(tls) = self { tls.expires_in_handshake() } else { false }
    }

    fn remark(&self) -> Option<&'static str> {
        if let Socket::Tls(tls) = self { tls.remark() } else { None }
    }
}
