//! One connection as the loop sees it: a socket, the machine that understands it, and what is known of their readiness.

use sockeye_gateway::Connection;
use sockeye_hub::ClientId;

/// A connection of a shard.
pub(super) struct Peer<S> {
    pub(super) stream: S,
    pub(super) machine: Connection,
    /// Received, but not handled yet, because the machine paused. Handled before anything newer.
    pub(super) held: Vec<u8>,
    pub(super) span: tracing::Span,
    /// When the wheel will bring this peer up at the latest (`u64::MAX`: it is not in the wheel).
    pub(super) armed_ms: u64,
    /// When a closing connection, told so, is cut (`u64::MAX`: it is not closing).
    pub(super) linger_ms: u64,
    /// There may be something to read: an edge said so, and nothing has said otherwise since.
    pub(super) readable: bool,
    /// The last edge carried an end, an error or a hang-up: a short read proves nothing, for no edge will follow.
    pub(super) ended_edge: bool,
    /// The socket took less than was offered: nothing is written until it is writable.
    pub(super) blocked: bool,
    /// Already in the ready list.
    pub(super) listed: bool,
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
        self.linger_ms != u64::MAX
    }

    /// When this connection wants to be looked at.
    pub(super) fn deadline_ms(&self) -> u64 {
        if self.is_lingering() { self.linger_ms } else { self.machine.poll_timeout().unwrap_or(u64::MAX) }
    }
}
