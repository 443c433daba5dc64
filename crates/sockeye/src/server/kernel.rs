//! What the loop needs of an operating system, and no more: readiness, sockets, the time.
//!
//! The loop is written against this trait, so that the simulation can put a kernel of its own under it, which knows the
//! truth about every socket and is as awkward with edges as it is allowed to be. The real one is in `mio.rs`.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use sockeye_gateway::Transport;
use sockeye_gateway::mail::Source;
use sockeye_hub::Now;

use super::ciphertext::Ciphertext;
use super::letter::Letter;

/// Something that became possible. Edges are reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose: the token it was registered with.
    pub token: u64,
    /// There may be something to read, or to accept.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The edge carried the peer's end, an error or a hang-up: reading goes on until the socket says which.
    pub ended: bool,
}

/// Tokens from here up are listeners: `LISTENER_TOKENS + index`. Below are connections. The very last is the kernel's own.
pub const LISTENER_TOKENS: u64 = u64::MAX - 1024;

/// Tokens from here up are datagram sockets: `DATAGRAM_TOKENS + index`.
pub const DATAGRAM_TOKENS: u64 = u64::MAX - 512;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted<S> {
    /// Its stream, not yet registered.
    pub stream: S,
    /// How it came.
    pub transport: Transport,
    /// Where it came from, if that has an address.
    pub address: Option<(IpAddr, u16)>,
}

/// The operating system under one shard.
pub trait Kernel {
    /// One connected socket. Dropping it closes it.
    type Stream: Stream;

    /// Waits for edges, at most for `timeout` (`None`: until one comes), and appends them to `events`.
    ///
    /// # Errors
    /// Only when nothing can be waited for any more.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// How many listeners there are; their edges carry `LISTENER_TOKENS + index`.
    fn listeners(&self) -> usize;

    /// Whether listener `index` is on this shard alone: its connections are handed round.
    fn is_sole(&self, index: usize) -> bool;

    /// Accepts one connection from listener `index`.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise the system's.
    fn accept(&mut self, index: usize) -> io::Result<Accepted<Self::Stream>>;

    /// Descriptors have run out: accepts one waiting connection and closes it at once, so that its peer is told rather
    /// than left waiting. Returns false when none waits, or it cannot be done.
    fn turn_away(&mut self, index: usize) -> bool;

    /// How many datagram sockets there are; their edges carry `DATAGRAM_TOKENS + index`.
    fn datagram_sockets(&self) -> usize {
        0
    }

    /// Receives what is there, at most `most` datagrams, and gives each: from whom, what, and whether the end of it is
    /// missing. Returns how many there were; fewer than `most` are all.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; otherwise the system's.
    fn receive_datagrams(
        &mut self,
        socket: usize,
        most: usize,
        each: &mut dyn FnMut(&Source, &[u8], bool),
    ) -> io::Result<usize>;

    /// Sends datagrams, as many as it takes, each from the address that was asked. Returns how many, from the first on.
    ///
    /// # Errors
    /// What kept the first of them: `WouldBlock` when the socket takes none for the time being, `ResourceBusy` when that
    /// one receiver does not; otherwise the system's, about that one datagram.
    fn send_datagrams(&mut self, socket: usize, letters: &[(&Source, &[u8])]) -> io::Result<usize>;

    /// Datagrams that were lost because the socket was not read fast enough, of all sockets, since the start.
    fn datagrams_lost(&self) -> u64 {
        0
    }

    /// Stops accepting, for good.
    fn close_listeners(&mut self);

    /// Watches a stream: its edges carry `token`.
    ///
    /// # Errors
    /// The system's.
    fn register(&mut self, stream: &mut Self::Stream, token: u64) -> io::Result<()>;

    /// Gives the system each of these pieces, and appends what became of each, in order. All streams might leave together
    /// when that was asked ([`Stream::may_join`]), what is to be encrypted is, and none occurs twice. `Interrupted` means that a piece was not
    /// tried.
    fn write_each<'a>(
        &mut self,
        writes: impl ExactSizeIterator<Item = (&'a Self::Stream, &'a [u8])>,
        outcomes: &mut Vec<io::Result<usize>>,
    ) where
        Self::Stream: 'a;

    /// Puts letters into another shard's inbox, in order, and wakes it if it waits. Never blocks. `letters` is left
    /// empty.
    fn send(&mut self, shard: u16, letters: &mut Vec<Letter<Self::Stream>>);

    /// Takes what is in this shard's inbox, if `letters` is empty; otherwise that is to be handled first.
    fn receive(&mut self, letters: &mut VecDeque<Letter<Self::Stream>>);

    /// Whether so many letters wait somewhere that nothing should be asked that would make more of them.
    fn is_congested(&self) -> bool;

    /// The time, by a clock that all shards share.
    fn now(&self) -> Now;
}

/// One connected socket, which never blocks.
pub trait Stream {
    /// Reads what is there. `Ok(0)` is the peer's end.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; otherwise the connection is gone.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Looks at what is there without taking it, under every layer of the stream. `Ok(0)` is the peer's end.
    ///
    /// # Errors
    /// As `read`; `Unsupported` for a stream whose kernel relays for nobody.
    fn peek(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes so many bytes that were looked at.
    ///
    /// # Errors
    /// As `peek`.
    fn take(&mut self, _length: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Writes one piece as far as it fits.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; otherwise the connection is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes several pieces in one call, as far as they fit.
    ///
    /// # Errors
    /// As `write`.
    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize>;

    /// Says whether a write may join those of others and leave a little later, in one call with them
    /// ([`Kernel::write_each`]): it is nothing but the system's own call, but for what `encrypt` does.
    fn may_join(&self) -> bool;

    /// Says whether the peer can hear nothing any more. One that has only ended its own side can.
    fn is_gone(&self) -> bool {
        false
    }

    /// How the system gets on with bringing the peer what was written, if it tells.
    fn delivery(&self) -> Option<Delivery> {
        None
    }

    /// Tells the peer that nothing more will come.
    fn finish(&mut self);

    // What follows is for streams that are more than the system's socket: encrypted ones, which hold things themselves.

    /// Says whether a read of `length` bytes, where `offered` were asked for, has left nothing behind, so that only a new
    /// edge can bring more.
    #[inline]
    fn is_emptied(&self, length: usize, offered: usize) -> bool {
        length < offered
    }

    /// What it has come to know of itself. Asked for when there was nothing to read, and when a connection has changed.
    fn take_news(&mut self) -> Option<News> {
        None
    }

    /// Says whether it holds bytes that were written to it and that the socket has not taken.
    fn is_clogged(&self) -> bool {
        false
    }

    /// Writes those, as far as they fit.
    fn flush(&mut self) {}

    /// Says whether what joins other writes is to be encrypted before.
    #[inline]
    fn is_encrypted(&self) -> bool {
        false
    }

    /// Encrypts what is to be sent next, and appends it to `ciphertext`.
    ///
    /// # Errors
    /// The connection is gone.
    fn encrypt(&mut self, _bytes: &[u8], _ciphertext: &mut Ciphertext) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Keeps what was encrypted last and could not be sent: the stream is clogged with it.
    fn keep_unsent(&mut self, _ciphertext: &[u8]) {}

    /// Tells the peer, in the stream's own words, that nothing more will come: it is closed next.
    fn farewell(&mut self) {}

    /// The first deadline has come. Says whether the stream was still shaking hands.
    fn expires_in_handshake(&mut self) -> bool {
        false
    }

    /// What is to be said in the log of how it ended.
    fn remark(&self) -> Option<&'static str> {
        None
    }
}

/// How the system gets on with bringing a peer what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// A count that grows when the peer's system has taken something, and only then.
    pub taken: u64,
    /// The peer's system has not taken everything.
    pub is_under_way: bool,
    /// For how long it has not said anything, in milliseconds.
    pub silent_ms: u64,
}

/// What a stream comes to know of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// It is encrypted, and has begun to shake hands: until that is done there is nothing to read.
    HandshakeBegan,
    /// It could go on, but others come first in this turn.
    Waits,
    /// The handshake is done.
    Secured(Box<Secured>),
}

/// What a handshake agreed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Secured {
    /// The version of TLS.
    pub version: &'static str,
    /// The cipher suite.
    pub suite: &'static str,
    /// An earlier session was resumed.
    pub resumed: bool,
    /// The subject of the client's certificate, which was verified.
    pub client: Option<String>,
}
