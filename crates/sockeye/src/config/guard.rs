//! The bounds that keep one address, user or connection from taking what belongs to all, with what happens at each.
//!
//! Everywhere here 0 means that there is no such bound. Who keeps count is `server/guard`.

use super::network::Network;

/// The bounds of the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// Connections in all (no bound but the system's descriptors). At it: a new one is closed at once.
    pub connections_max: usize,
    /// Connections from one address, IPv6 by its /64 (4,096). At it: a new one is closed at once.
    pub address_connections_max: usize,
    /// New connections a second from one address (512, with what comes in `burst_ms` at once). Above it: closed at once.
    pub address_arrivals_per_second: usize,
    /// Addresses to which no bound per address applies (this machine): a proxy or a load test on the same machine.
    pub address_exceptions: Vec<Network>,
    /// Messages a second (no bound). Above it: `rate`, then not read for a while, then `bye`.
    pub messages_per_second: PerWhom,
    /// Bytes received a second (no bound). Above it: the same.
    pub bytes_per_second: PerWhom,
    /// New channels a minute, and as many at once (no bound). Above it: the request is refused, `rate`.
    pub channels_per_minute: PerWhom,
    /// How long a rate may have been unused to be used up at once (5 s): a bucket holds what comes in this time.
    pub burst_ms: u64,
    /// Who is over is not read for so long at most (the interval of pings): a WebSocket that is not read must not seem
    /// silent.
    pub pause_ms_max: u64,
    /// Told so often that it sends too much (10), a connection is closed: `bye` with reason `rate`.
    pub strikes_max: u32,
    /// After so long without a strike (1 minute) the ones before are forgiven.
    pub strikes_forgiven_ms: u64,
}

/// One bound, for each of those whom it may be counted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerWhom {
    /// For one connection.
    pub connection: usize,
    /// For all connections of one user.
    pub user: usize,
    /// For all connections of one address.
    pub address: usize,
}

impl Default for GuardLimits {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        GuardLimits {
            connections_max: 0,
            address_connections_max: 4_096,
            address_arrivals_per_second: 512,
            address_exceptions: loopback.map(|text| text.parse().expect("these are networks")).into(),
            messages_per_second: PerWhom::default(),
            bytes_per_second: PerWhom::default(),
            channels_per_minute: PerWhom::default(),
            burst_ms: 5_000,
            pause_ms_max: 25_000,
            strikes_max: 10,
            strikes_forgiven_ms: 60_000,
        }
    }
}

impl GuardLimits {
    /// No bounds at all.
    pub fn none() -> Self {
        GuardLimits { address_connections_max: 0, address_arrivals_per_second: 0, ..GuardLimits::default() }
    }
}
