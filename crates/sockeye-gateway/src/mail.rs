//! Letters: datagrams with the address they go to, and who sends to whom.
//!
//! Deliberately absent: a queue. What a socket does not take goes back to the session it is from, or is lost and
//! counted, as datagrams are.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use sockeye_hub::ClientId;

/// The other end of a datagram, and the end of ours at which it came: who asks two addresses of ours is two, since each
/// answer comes from the address that was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Our socket, as the shell counts them.
    pub socket: u16,
    /// Our address, where the socket has several and the shell knows which one was asked.
    pub local: Option<IpAddr>,
    /// Who sent it, if that is true.
    pub peer: PeerAddress,
}

/// The address of one end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAddress {
    /// UDP.
    Ip(SocketAddr),
    /// A Unix datagram socket that is bound: its path, or its abstract name behind a zero byte.
    Unix(Box<[u8]>),
    /// A Unix datagram socket that is not bound. Nothing can be sent to it.
    Unnamed,
}

/// What kind of socket a datagram came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// UDP, over IPv4 or IPv6.
    Udp,
    /// A Unix-domain datagram socket.
    Unix,
}

impl PeerAddress {
    /// What kind of socket it is of.
    pub fn kind(&self) -> DatagramKind {
        match self {
            PeerAddress::Ip(_) => DatagramKind::Udp,
            PeerAddress::Unix(_) | PeerAddress::Unnamed => DatagramKind::Unix,
        }
    }
}

/// One datagram to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it goes.
    pub to: Source,
    /// The session it is from. Without one it is an answer to somebody who has proved nothing.
    pub client: Option<ClientId>,
    range: Range<usize>,
}

/// Datagrams to be sent, in order.
#[derive(Debug, Default)]
pub struct Mail {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
}

impl Mail {
    /// Makes an empty bag.
    pub fn new() -> Self {
        Mail::default()
    }

    /// The letters, first in, first out.
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// What stands in a letter of this bag.
    pub fn text(&self, letter: &Letter) -> &[u8] {
        &self.bytes[letter.range.clone()]
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many letters there are.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Forgets everything, and keeps the memory unless it has become large.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.letters.clear();
        if self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
    }

    /// Adds what `write` appends.
    pub(crate) fn put(&mut self, to: &Source, client: Option<ClientId>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.letters.push(Letter { to: to.clone(), client, range: start..self.bytes.len() });
    }
}
