//! The door of a shard: which connections are TLS, and how many of them may shake hands in one turn.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::TcpStream;

use super::Tls;
use super::socket::TlsSocket;

/// The first byte of TLS: a record that holds a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;

/// A shard's door.
#[derive(Clone, Debug)]
pub(in crate::server) struct Door(Arc<Turns>);

/// Whose turn it is to shake hands. Signing costs up to a millisecond, so that a crowd of newcomers would keep
/// everybody else waiting: in one turn of the loop so many begin, and the others wait for the next.
#[derive(Debug)]
pub(super) struct Turns {
    tls: Arc<Tls>,
    turn_max: usize,
    left: AtomicUsize,
}

impl Door {
    /// Makes the door of one shard, through which at most `turn_max` enter in one turn.
    pub(in crate::server) fn new(tls: Arc<Tls>, turn_max: usize) -> Self {
        Door(Arc::new(Turns { tls, turn_max, left: AtomicUsize::new(turn_max) }))
    }

    /// The place of a connection of which nothing is known yet.
    pub(in crate::server) fn fresh(&self) -> Box<Fresh> {
        Box::new(Fresh { tcp: None, turns: Arc::clone(&self.0) })
    }

    /// The next turn has come.
    pub(in crate::server) fn begin_turn(&self) {
        self.0.left.store(self.0.turn_max, Ordering::Relaxed);
    }
}

impl Turns {
    /// Says whether one more may begin in this turn.
    pub(super) fn admits(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        // Only the shard's own thread counts here.
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }
}

/// A TCP connection whose first byte will tell what it is.
#[derive(Debug)]
pub(in crate::server) struct Fresh {
    /// It is there until it is known what it is.
    tcp: Option<TcpStream>,
    turns: Arc<Turns>,
}

/// What a connection turned out to be.
pub(in crate::server) enum Arrived {
    /// Plain text, of which so many bytes are in the buffer.
    Plain(TcpStream, usize),
    /// TLS.
    Tls(Box<TlsSocket>),
}

impl Fresh {
    /// A connection takes its place.
    pub(in crate::server) fn enter(&mut self, tcp: TcpStream) {
        self.tcp = Some(tcp);
    }

    pub(in crate::server) fn as_tcp(&self) -> Option<&TcpStream> {
        self.tcp.as_ref()
    }

    /// The socket, while it is not known what it is.
    pub(in crate::server) fn tcp(&mut self) -> io::Result<&mut TcpStream> {
        self.tcp.as_mut().ok_or_else(gone)
    }

    /// Reads the first bytes.
    ///
    /// # Errors
    /// As reading does; `WouldBlock` until the first byte is there.
    pub(in crate::server) fn arrive(&mut self, buffer: &mut [u8]) -> io::Result<Arrived> {
        let length = self.tcp()?.read(buffer)?;
        let tcp = self.tcp.take().ok_or_else(gone)?;
        if buffer[..length].first() != Some(&HANDSHAKE) {
            return Ok(Arrived::Plain(tcp, length));
        }
        let figures = Arc::clone(self.turns.tls.figures());
        let turns = Arc::clone(&self.turns);
        // A whole buffer may have more behind it.
        let is_drained = length < buffer.len();
        let socket =
            TlsSocket::new(tcp, self.turns.tls.config(), figures, turns, &buffer[..length], is_drained)?;
        Ok(Arrived::Tls(Box::new(socket)))
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
