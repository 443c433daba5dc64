//! The other addresses of a host that datagrams go to.
//!
//! Datagrams cannot be raced as connections are (RFC 8305): that nobody listens at an address is told, if at all, after the
//! first was sent there. So until somebody has answered, a refusal means the next address, and what was sent goes there
//! again. Deliberately absent: a clock. An address that says nothing is not known to be wrong.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use crate::address::Options;

/// What is kept of what was sent. Beyond it an address is taken to be the right one.
const KEPT_MAX: usize = 16;
const KEPT_BYTES_MAX: usize = 256 << 10;

/// The addresses that are left, with what opens a socket to them, and what they would be sent.
#[derive(Debug)]
pub(super) struct Untried {
    pub(super) options: Options,
    pub(super) locals: Vec<SocketAddr>,
    addresses: VecDeque<SocketAddr>,
    kept: Vec<Vec<u8>>,
}

impl Untried {
    pub(super) fn new(
        options: &Options,
        locals: Vec<SocketAddr>,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Option<Box<Untried>> {
        let addresses = VecDeque::from_iter(addresses);
        let untried = Untried { options: options.clone(), locals, addresses, kept: Vec::new() };
        if untried.addresses.is_empty() { None } else { Some(Box::new(untried)) }
    }

    /// Keeps what was sent. False: there is no room for it.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> bool {
        let kept_bytes: usize = self.kept.iter().map(Vec::len).sum();
        let has_room = self.kept.len() < KEPT_MAX && kept_bytes + bytes.len() <= KEPT_BYTES_MAX;
        if has_room {
            self.kept.push(bytes.to_vec());
        }
        has_room
    }

    /// The next address, if an error means that this one is wrong.
    pub(super) fn next_after(&mut self, error: &io::Error) -> Option<SocketAddr> {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let is_wrong = matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable);
        if is_wrong { self.addresses.pop_front() } else { None }
    }

    /// What was sent, oldest first.
    pub(super) fn kept(&self) -> &[Vec<u8>] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_bounds_and_only_a_refusal_means_the_next() {
        let next = SocketAddr::from(([192, 0, 2, 1], 9));
        let of = |addresses: &[SocketAddr]| {
            Untried::new(&Options::default(), Vec::new(), addresses.iter().copied())
        };
        let mut untried = of(&[next]).expect("one is left");
        assert!(of(&[]).is_none());

        assert!(untried.keep(&[0; KEPT_BYTES_MAX]));
        assert!(!untried.keep(b"x"));
        assert!(untried.keep(b""));
        assert_eq!(untried.kept().len(), 2);
        assert_eq!(untried.next_after(&io::ErrorKind::TimedOut.into()), None);
        assert_eq!(untried.next_after(&io::ErrorKind::ConnectionRefused.into()), Some(next));
        assert_eq!(untried.next_after(&io::ErrorKind::ConnectionRefused.into()), None);

        let mut many = of(&[next]).expect("one is left");
        assert_eq!((0..100).take_while(|_| many.keep(b"x")).count(), KEPT_MAX);
    }
}
