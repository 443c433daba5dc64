//! What was limited: counters of all shards, by limit and by what became of who was over it.

use std::sync::atomic::{AtomicU64, Ordering};

use sockeye_gateway::rate::{What, Whose};

/// A bound of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections in all.
    Connections,
    /// Connections of one address.
    AddressConnections,
    /// New connections of one address.
    AddressArrivals,
    /// Messages of one connection.
    Messages,
    /// Messages of one user.
    UserMessages,
    /// Messages of one address.
    AddressMessages,
    /// Bytes of one connection.
    Bytes,
    /// Bytes of one user.
    UserBytes,
    /// Bytes of one address.
    AddressBytes,
    /// New channels of one connection.
    Channels,
    /// New channels of one user.
    UserChannels,
    /// New channels of one address.
    AddressChannels,
}

/// What became of who was over a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new connection was closed at once.
    TurnedAway,
    /// A message was refused, or reading stopped, for a while.
    Paused,
    /// A connection or session was closed, since it kept on.
    Closed,
    /// A datagram without a session was dropped.
    Dropped,
    /// The last token was taken: the next one who asks is refused.
    Spent,
}

impl Limit {
    /// Every limit, in the order of their declaration.
    pub const ALL: [Limit; 12] = [
        Limit::Connections,
        Limit::AddressConnections,
        Limit::AddressArrivals,
        Limit::Messages,
        Limit::UserMessages,
        Limit::AddressMessages,
        Limit::Bytes,
        Limit::UserBytes,
        Limit::AddressBytes,
        Limit::Channels,
        Limit::UserChannels,
        Limit::AddressChannels,
    ];

    /// Its name, which is that of its key in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Connections => "connections_max",
            Limit::AddressConnections => "address_connections_max",
            Limit::AddressArrivals => "address_arrivals_per_second",
            Limit::Messages => "messages_per_second",
            Limit::UserMessages => "user_messages_per_second",
            Limit::AddressMessages => "address_messages_per_second",
            Limit::Bytes => "bytes_per_second",
            Limit::UserBytes => "user_bytes_per_second",
            Limit::AddressBytes => "address_bytes_per_second",
            Limit::Channels => "channels_per_minute",
            Limit::UserChannels => "user_channels_per_minute",
            Limit::AddressChannels => "address_channels_per_minute",
        }
    }

    pub(super) fn of_rate(what: What, whose: Whose) -> Limit {
        match (what, whose) {
            (What::Messages, Whose::Address) => Limit::AddressMessages,
            (What::Messages, Whose::User) => Limit::UserMessages,
            (What::Messages, Whose::Connection) => Limit::Messages,
            (What::Bytes, Whose::Address) => Limit::AddressBytes,
            (What::Bytes, Whose::User) => Limit::UserBytes,
            (What::Bytes, Whose::Connection) => Limit::Bytes,
        }
    }

    /// What can become of who is over it.
    pub fn outcomes(self) -> &'static [Outcome] {
        match self {
            Limit::Connections | Limit::AddressConnections | Limit::AddressArrivals => &[Outcome::TurnedAway],
            Limit::Channels | Limit::UserChannels | Limit::AddressChannels => &[Outcome::Spent],
            Limit::AddressMessages | Limit::AddressBytes => {
                &[Outcome::Paused, Outcome::Closed, Outcome::Dropped]
            }
            _ => &[Outcome::Paused, Outcome::Closed],
        }
    }
}

impl Outcome {
    /// Its name in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::TurnedAway => "turned_away",
            Outcome::Paused => "paused",
            Outcome::Closed => "closed",
            Outcome::Dropped => "dropped",
            Outcome::Spent => "spent",
        }
    }
}

/// How often each limit had each outcome, on all shards.
#[derive(Debug, Default)]
pub struct Counts([[AtomicU64; 5]; Limit::ALL.len()]);

impl Counts {
    pub(super) fn add(&self, limit: Limit, outcome: Outcome) {
        self.0[limit as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub fn of(&self, limit: Limit, outcome: Outcome) -> u64 {
        self.0[limit as usize][outcome as usize].load(Ordering::Relaxed)
    }
}
