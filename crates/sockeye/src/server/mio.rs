//! The real kernel under the loop: edge-triggered readiness through mio, sockets through mio and socket2.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use sockeye_gateway::Transport;
use sockeye_hub::Now;

use super::inbox::{Inboxes, WAKE_TOKEN};
use super::kernel::{Accepted, Event, Kernel, LISTENER_TOKENS, Stream};
use super::letter::Letter;
use super::listen::Listening;

/// The operating system under a shard.
pub(super) struct MioKernel {
    poll: Poll,
    events: Events,
    listeners: Vec<Listening>,
    shard: u16,
    inboxes: Arc<Inboxes<Socket>>,
    reserve: Arc<Reserve>,
    started: Instant,
}

/// Edges taken from the kernel in one call.
const EVENTS_MAX: usize = 1024;

impl MioKernel {
    /// Watches `listeners` with the `poll` of shard `shard`, which wakes it for its inbox. All shards began at `started`.
    ///
    /// # Errors
    /// When the system does not watch a listener.
    pub(super) fn new(
        poll: Poll,
        mut listeners: Vec<Listening>,
        (shard, inboxes): (u16, Arc<Inboxes<Socket>>),
        reserve: Arc<Reserve>,
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
        Ok(MioKernel {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listeners,
            shard,
            inboxes,
            reserve,
            started,
        })
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

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn register(&mut self, stream: &mut Socket, token: u64) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(token as usize);
        match stream {
            Socket::Tcp(tcp) => self.poll.registry().register(tcp, token, interest),
            Socket::Unix(unix) => self.poll.registry().register(unix, token, interest),
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
}

impl Socket {
    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<(usize, usize), Errno> {
        match self {
            Socket::Tcp(tcp) => recv(tcp, buffer, flags),
            Socket::Unix(unix) => recv(unix, buffer, flags),
        }
    }
}

impl Stream for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(tcp) => tcp.read(buffer),
            Socket::Unix(unix) => unix.read(buffer),
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

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(tcp) => tcp.write(bytes),
            Socket::Unix(unix) => unix.write(bytes),
        }
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(tcp) => tcp.write_vectored(pieces),
            Socket::Unix(unix) => unix.write_vectored(pieces),
        }
    }

    fn is_gone(&self) -> bool {
        let mut asked = [match self {
            Socket::Tcp(tcp) => PollFd::new(tcp, PollFlags::empty()),
            Socket::Unix(unix) => PollFd::new(unix, PollFlags::empty()),
        }];
        // Errors and hang-ups are reported unasked. When nothing can be asked, writing will tell.
        rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok()
            && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    fn finish(&mut self) {
        // The peer may be gone already, which is what this was to achieve.
        let _ = match self {
            Socket::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Socket::Unix(unix) => unix.shutdown(Shutdown::Write),
        };
    }
}
