//! What a shard counts about its connections. Channels and messages are counted by the hub.

use std::collections::BTreeMap;

use sockeye_gateway::datagram::DatagramCounts;
use sockeye_gateway::{Protocol, Transport};
use sockeye_hub::Now;

/// Gauges and counters of one shard.
#[derive(Clone, Debug)]
pub struct Figures {
    /// When the shard started.
    pub started: Now,
    /// Connections open, by protocol.
    pub open_by_protocol: [u64; Protocol::ALL.len()],
    /// Connections that became a protocol, since the start.
    pub total_by_protocol: [u64; Protocol::ALL.len()],
    /// Connections accepted, by what they came.
    pub accepted: BTreeMap<&'static str, u64>,
    /// Connections closed, by what they spoke and by reason.
    pub closed: BTreeMap<(&'static str, &'static str), u64>,
    /// Connections turned away for want of a descriptor.
    pub turned_away: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// Writes tried.
    pub writes: u64,
    /// What became of datagrams.
    pub datagrams: DatagramCounts,
    /// Datagrams that the kernel dropped, because they came faster than they were read.
    pub datagrams_lost: u64,
}

impl Figures {
    /// Makes the figures of a shard that starts.
    pub fn new(now: Now) -> Self {
        Figures {
            started: now,
            open_by_protocol: [0; Protocol::ALL.len()],
            total_by_protocol: [0; Protocol::ALL.len()],
            accepted: BTreeMap::new(),
            closed: BTreeMap::new(),
            turned_away: 0,
            bytes_in: 0,
            bytes_out: 0,
            reads: 0,
            writes: 0,
            datagrams: DatagramCounts::default(),
            datagrams_lost: 0,
        }
    }

    /// Connections open.
    pub fn open(&self) -> u64 {
        self.open_by_protocol.iter().sum()
    }

    /// Adds the figures of another shard.
    pub(super) fn add(&mut self, other: &Figures) {
        let Figures {
            started: _,
            open_by_protocol,
            total_by_protocol,
            accepted,
            closed,
            turned_away,
            bytes_in,
            bytes_out,
            reads,
            writes,
            datagrams,
            datagrams_lost,
        } = other;
        for protocol in Protocol::ALL {
            self.open_by_protocol[protocol as usize] += open_by_protocol[protocol as usize];
            self.total_by_protocol[protocol as usize] += total_by_protocol[protocol as usize];
        }
        for (why, count) in closed {
            *self.closed.entry(*why).or_default() += count;
        }
        for (transport, count) in accepted {
            *self.accepted.entry(transport).or_default() += count;
        }
        self.turned_away += turned_away;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.reads += reads;
        self.writes += writes;
        self.datagrams.add(datagrams);
        self.datagrams_lost += datagrams_lost;
    }

    pub(super) fn opened(&mut self, protocol: Protocol, transport: Transport) {
        let transport = match transport {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Unix => "unix",
        };
        *self.accepted.entry(transport).or_default() += 1;
        self.open_by_protocol[protocol as usize] += 1;
    }

    /// Takes over what the datagrams' machine has counted. Its sessions are open like connections.
    pub(super) fn note_datagrams(&mut self, counts: &DatagramCounts) {
        self.datagrams = *counts;
        for (protocol, kind) in [(Protocol::Udp, &counts.udp), (Protocol::UnixDatagram, &counts.unix)] {
            self.open_by_protocol[protocol as usize] = kind.sessions;
            self.total_by_protocol[protocol as usize] = kind.opened;
        }
    }

    pub(super) fn changed(&mut self, before: Protocol, after: Protocol) {
        self.open_by_protocol[before as usize] -= 1;
        self.open_by_protocol[after as usize] += 1;
        self.total_by_protocol[after as usize] += 1;
    }

    pub(super) fn closed(&mut self, protocol: Protocol, why: &'static str) {
        self.open_by_protocol[protocol as usize] -= 1;
        *self.closed.entry((protocol.as_str(), why)).or_default() += 1;
    }
}
