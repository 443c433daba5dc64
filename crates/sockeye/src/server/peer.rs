//! One connection as the loop sees it: a socket, the machine that understands it, and what is known of their readiness.

use sockeye_gateway::Connection;
use sockeye_hub::ClientId;

/// A connection of a shard.
///
/// What every delivery looks at shares the first cache line: the socket, the flags, the times, and the beginning of the
/// machine.
#[repr(C, align(64))]
pub(super) struct Peer<S> {
    pub(super) stream: S,
    /// There may be something to read: an edge said so, and nothing has said otherwise since.
    pub(super) readable: bool,
    /// The last edge carried an end, an error or a hang-up: a short read proves nothing, for no edge will follow.
    pub(super) ended_edge: bool,
    /// The socket took less than was offered: nothing is written until it is writable.
    pub(super) blocked: bool,
    /// Already in the ready list.
    pub(super) listed: bool,
    /// Something was received that is not handled yet.
    pub(super) holds: bool,
    /// Everything was said and the peer was told; what it still sends is of no interest.
    lingering: bool,
    /// When the wheel will bring this peer up at the latest (`u64::MAX`: it is not in the wheel).
    pub(super) armed_ms: u64,
    pub(super) machine: Connection,
    /// When a lingering connection is cut.
    linger_ms: u64,
    /// Received, but not handled yet, because the machine paused. Handled before anything newer.
    held: Vec<u8>,
    pub(super) span: tracing::Span,
}

impl<S> Peer<S> {
    pub(super) fn new(stream: S, machine: Connection, span: tracing::Span) -> Self {
        Peer {
            stream,
            machine,
            held: Vec::new(),
            span,
            armed_ms: u64::MAX,
            linger_ms: u64::MAX,
            holds: false,
            lingering: false,
            readable: false,
            ended_edge: false,
            blocked: false,
            listed: false,
        }
    }

    pub(super) fn client(&self) -> ClientId {
        self.machine.client()
    }

    /// Everything was said and the peer was told; what it still sends is of no interest.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering
    }

    /// Begins to linger, until the peer ends or `until_ms`.
    pub(super) fn linger(&mut self, until_ms: u64) {
        self.lingering = true;
        self.linger_ms = until_ms;
        self.readable = true;
        self.hold(Vec::new());
    }

    /// Keeps what was received and not handled, for when the machine goes on.
    pub(super) fn hold(&mut self, received: Vec<u8>) {
        self.holds = !received.is_empty();
        self.held = received;
    }

    /// What was kept.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        self.holds = false;
        std::mem::take(&mut self.held)
    }

    /// The wheel will bring this peer up in time.
    pub(super) fn is_armed(&self) -> bool {
        self.armed_ms <= self.deadline_ms()
    }

    /// When this connection wants to be looked at.
    pub(super) fn deadline_ms(&self) -> u64 {
        if self.is_lingering() { self.linger_ms } else { self.machine.poll_timeout().unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;
    use crate::server::mio::Socket;

    #[test]
    fn what_a_delivery_looks_at_shares_one_cache_line() {
        // The machine begins with its client, deadline, form and flags: 24 bytes.
        assert!(offset_of!(Peer<Socket>, machine) + 24 <= 64);
        assert!(size_of::<Peer<Socket>>() <= 320, "{}", size_of::<Peer<Socket>>());
    }
}
