//! What is counted of datagrams on one shard.
//!
//! Deliberately absent: what is counted of rates, which the shell does for all shards.

use crate::mail::DatagramKind;

/// What is counted of datagrams, by [`DatagramKind`]. Totals since the start, but for `sessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounts {
    /// UDP.
    pub udp: KindCounts,
    /// Unix-domain datagrams.
    pub unix: KindCounts,
}

/// What is counted of datagrams of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Sessions that live.
    pub sessions: u64,
    /// Sessions that began.
    pub opened: u64,
    /// Datagrams received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Datagrams that are never answered, and were dropped: what servers say, and what is no object.
    pub ignored: u64,
    /// Datagrams dropped because their session has too much to read, because no helper was free, or for a rate.
    pub dropped: u64,
    /// Cookies handed out.
    pub cookies: u64,
    /// Answers that were not sent, because they were over three times the bytes received, or had no address to go to.
    pub unanswered: u64,
    /// Messages that were announced as gaps because no datagram carries them.
    pub too_large: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Datagrams that could not be sent: answers to addresses without a session that the socket did not take, and
    /// whatever the system refused, which ends its session.
    pub send_dropped: u64,
}

impl KindCounts {
    fn add(&mut self, other: &KindCounts) {
        let KindCounts {
            sessions,
            opened,
            received,
            received_bytes,
            ignored,
            dropped,
            cookies,
            unanswered,
            too_large,
            sent,
            sent_bytes,
            send_dropped,
        } = other;
        self.sessions += sessions;
        self.opened += opened;
        self.received += received;
        self.received_bytes += received_bytes;
        self.ignored += ignored;
        self.dropped += dropped;
        self.cookies += cookies;
        self.unanswered += unanswered;
        self.too_large += too_large;
        self.sent += sent;
        self.sent_bytes += sent_bytes;
        self.send_dropped += send_dropped;
    }
}

impl DatagramCounts {
    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &DatagramCounts) {
        self.udp.add(&other.udp);
        self.unix.add(&other.unix);
    }

    /// The counts of one kind.
    pub fn of(&mut self, kind: DatagramKind) -> &mut KindCounts {
        match kind {
            DatagramKind::Udp => &mut self.udp,
            DatagramKind::Unix => &mut self.unix,
        }
    }
}
