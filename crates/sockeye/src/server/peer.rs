//! One connection as the loop sees it: a socket, the machine that understands it, and what is known of their readiness.

use std::net::SocketAddr;

use sockeye_gateway::Connection;
use sockeye_hub::ClientId;

use super::guard::Standing;
use super::kernel::Stream;

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
    /// What it said at once waits in the batch.
    pub(super) said: bool,
    /// Already in the ready list.
    pub(super) listed: bool,
    /// Something was received that is not handled yet.
    pub(super) holds: bool,
    /// It is not simply read: it lingers, owes a header, or is held to a rate.
    apart: bool,
    /// It must begin with a PROXY header, which has not come yet.
    pub(super) owes_header: bool,
    /// When the wheel will bring this peer up at the latest (`u64::MAX`: it is not in the wheel).
    pub(super) armed_ms: u64,
    pub(super) machine: Connection,
    /// When a lingering connection is cut (`u64::MAX`: it does not linger).
    linger_ms: u64,
    /// What its system had taken when it was last looked at.
    taken: u64,
    /// When its system was last seen to take something, or to have taken everything.
    kept_up_ms: u64,
    /// Received, but not handled yet, because the machine paused. Handled before anything newer.
    held: Vec<u8>,
    /// What it counts for, and is held to, if anything.
    pub(super) standing: Option<Box<Standing>>,
    pub(super) span: tracing::Span,
    /// Where it came from, if that has an address.
    pub(super) address: Option<SocketAddr>,
    /// Those who hear of clients were told that it has come.
    pub(super) is_told: bool,
}

/// How a peer keeps up with what it is written.
pub(super) struct Keeping {
    /// When its system was last seen to take something, or to have taken everything.
    pub(super) kept_up_ms: u64,
    /// Its system has not taken everything.
    pub(super) is_under_way: bool,
    /// For how long its system has not said anything.
    pub(super) silent_ms: u64,
}

impl<S> Peer<S> {
    pub(super) fn new(
        stream: S,
        machine: Connection,
        standing: Option<Box<Standing>>,
        owes_header: bool,
        span: tracing::Span,
        address: Option<SocketAddr>,
    ) -> Self {
        Peer {
            stream,
            machine,
            held: Vec::new(),
            span,
            address,
            armed_ms: u64::MAX,
            linger_ms: u64::MAX,
            taken: 0,
            kept_up_ms: 0,
            holds: false,
            apart: owes_header || standing.as_ref().is_some_and(|standing| standing.is_metered()),
            owes_header,
            is_told: false,
            standing,
            readable: false,
            ended_edge: false,
            blocked: false,
            said: false,
            listed: false,
        }
    }

    pub(super) fn client(&self) -> ClientId {
        self.machine.client()
    }

    /// It is not simply read: it lingers, owes a header, or is held to a rate.
    #[inline]
    pub(super) fn is_apart(&self) -> bool {
        self.apart
    }

    /// Its header has come: what is left is whether it is held to a rate.
    pub(super) fn settle_header(&mut self) {
        self.owes_header = false;
        self.apart =
            self.is_lingering() || self.standing.as_ref().is_some_and(|standing| standing.is_metered());
    }

    /// It was over a rate, and is not read for a while.
    pub(super) fn is_paused(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.is_paused())
    }

    /// Everything was said and the peer was told; what it still sends is of no interest.
    pub(super) fn is_lingering(&self) -> bool {
        self.linger_ms != u64::MAX
    }

    /// Begins to linger, until the peer ends or `until_ms`.
    pub(super) fn linger(&mut self, until_ms: u64) {
        self.apart = true;
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

    /// Looks how the system gets on with bringing it what was written: when it last kept up, whether something is under
    /// way, and for how long its system has been silent.
    pub(super) fn look(&mut self, now_ms: u64) -> Option<Keeping>
    where
        S: Stream,
    {
        let delivery = self.stream.delivery()?;
        // What was taken from a Unix socket is known by how much is left, which grows as we write.
        let has_taken = delivery.taken > std::mem::replace(&mut self.taken, delivery.taken);
        if has_taken || !delivery.is_under_way {
            self.kept_up_ms = now_ms;
        }
        let (is_under_way, silent_ms) = (delivery.is_under_way, delivery.silent_ms);
        Some(Keeping { kept_up_ms: self.kept_up_ms, is_under_way, silent_ms })
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
