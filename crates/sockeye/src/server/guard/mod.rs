//! The guard: keeps one address or connection from taking what belongs to all.
//!
//! One guard serves all shards. It is asked when a connection comes and when it goes, and otherwise only about
//! connections for which a rate is configured: for everybody else the loop tests one flag. What it holds for an address
//! is one small account; there are at most `ACCOUNTS_IDLE_MAX` beside those of addresses that have connections.
//! Deliberately absent: sockets, and what a peer is told, which is the desk's and the gateway's part.

mod account;
mod count;
mod datagram;
mod standing;
mod table;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sockeye_gateway::rate::{Patience, Rate};
use sockeye_hub::Now;

use crate::config::{GuardLimits, Network, PerWhom, holds, masked};

use account::Account;
pub use count::{Counts, Limit, Outcome};
pub(super) use standing::Standing;
use table::Table;

/// Keeps count for all shards of a server.
#[derive(Debug)]
pub struct Guard {
    /// What holds for whom. Whoever asks holds the lock for as long as it takes to copy the pointer.
    terms: RwLock<Arc<Terms>>,
    connections: AtomicUsize,
    addresses: Table<IpAddr>,
    /// Addresses that datagrams say they are from, without proof.
    senders: Table<IpAddr>,
    users: Table<Arc<str>>,
    /// What was limited, for `/metrics`.
    pub counts: Counts,
    limit_told_ms: AtomicU64,
    header_told_ms: AtomicU64,
}

/// The bounds as they are asked for. A change of the configuration replaces them all.
#[derive(Debug)]
struct Terms {
    limits: GuardLimits,
    rates: Rates,
    patience: Patience,
    proxies: Vec<Network>,
}

/// The rates of [`GuardLimits`]; `None` is no bound.
#[derive(Debug)]
struct Rates {
    connection: Three,
    user: Shared,
    address: Shared,
}

/// The rates of an account.
#[derive(Debug)]
struct Shared {
    arrivals: Option<Rate>,
    three: Three,
}

/// How many messages and how many bytes a second, and how many new channels a minute.
#[derive(Clone, Copy, Debug)]
struct Three {
    messages: Option<Rate>,
    bytes: Option<Rate>,
    channels: Option<Rate>,
}

impl Three {
    fn is_bound(&self) -> bool {
        self.bounds_input() || self.channels.is_some()
    }

    fn bounds_input(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

/// Accounts of addresses without a connection, kept until their buckets are full again. Above it the ones that are met
/// first are forgotten, which gives those addresses full buckets.
pub(super) const ACCOUNTS_IDLE_MAX: usize = 65_536;

impl Guard {
    /// Makes the guard of a server. `proxies` are the networks whose connections begin with a PROXY header.
    pub fn new(limits: &GuardLimits, proxies: &[Network]) -> Self {
        Guard {
            terms: RwLock::new(Arc::new(Terms::new(limits, proxies))),
            connections: AtomicUsize::new(0),
            addresses: Table::new(),
            senders: Table::new(),
            users: Table::new(),
            counts: Counts::default(),
            limit_told_ms: AtomicU64::new(0),
            header_told_ms: AtomicU64::new(0),
        }
    }

    /// Goes on under other bounds. They hold at once for new connections, and for those that are held to a rate already;
    /// a connection that nothing was asked of stays so. No connection is closed for it.
    pub fn change(&self, limits: &GuardLimits, proxies: &[Network]) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Terms::new(limits, proxies));
    }

    fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether a connection from this peer must begin with a PROXY header.
    pub fn expects_proxy_header(&self, peer: Option<IpAddr>) -> bool {
        let terms = self.terms();
        !terms.proxies.is_empty() && holds(&terms.proxies, peer)
    }

    /// A connection has come. What it counts for is given back when the standing is dropped; `None` is a connection
    /// that nothing is counted for. The address is not looked at yet: that of a proxy is nobody's.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Option<Box<Standing>>, Limit> {
        let terms = self.terms();
        let mut is_counted = false;
        if terms.limits.connections_max > 0 {
            let before = self.connections.fetch_add(1, Ordering::Relaxed);
            if before >= terms.limits.connections_max {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err(self.turned_away(Limit::Connections));
            }
            is_counted = true;
        }
        let is_metered = terms.rates.connection.is_bound() || terms.rates.user.three.is_bound();
        Ok((is_counted || is_metered).then(|| Box::new(Standing::new(Arc::clone(self), is_counted))))
    }

    /// The address of a connection is known: counts it there too.
    ///
    /// # Errors
    /// That address has as many as it may have, or they come too fast.
    pub(super) fn admit_address(
        self: &Arc<Self>,
        standing: &mut Option<Box<Standing>>,
        address: Option<IpAddr>,
        now: Now,
    ) -> Result<(), Limit> {
        let Some(address) = address else { return Ok(()) };
        let terms = self.terms();
        if !terms.has_address_bounds() || holds(&terms.limits.address_exceptions, Some(address)) {
            return Ok(());
        }
        let account = self
            .addresses
            .open(account_of(address), &terms.rates.address, now, |state| {
                state.admit(terms.limits.address_connections_max, &terms.rates.address, now)
            })
            .map_err(|limit| self.turned_away(limit))?;
        standing.get_or_insert_with(|| Box::new(Standing::new(Arc::clone(self), false))).belong_to(account);
        Ok(())
    }

    /// Whether it is time to tell the operator again that connections are turned away.
    pub(super) fn may_tell_of_limit(&self, now: Now) -> bool {
        may_tell(&self.limit_told_ms, now)
    }

    /// Whether it is time to tell the operator again that a proxy sends no header.
    pub(super) fn may_tell_of_header(&self, now: Now) -> bool {
        may_tell(&self.header_told_ms, now)
    }

    fn turned_away(&self, limit: Limit) -> Limit {
        self.counts.add(limit, Outcome::TurnedAway);
        limit
    }

    /// The account of a user, which one more connection belongs to.
    fn join_user(&self, user: &Arc<str>, rates: &Shared, now: Now) -> Arc<Account> {
        let joined = self.users.open(Arc::clone(user), rates, now, |state| state.admit(0, rates, now));
        joined.expect("there is no bound on the connections of a user")
    }
}

impl Terms {
    fn new(limits: &GuardLimits, proxies: &[Network]) -> Self {
        let rate = |per_second: usize| Rate::new(per_second as u64, 1_000, limits.burst_ms);
        let three = |of: fn(&PerWhom) -> usize| Three {
            messages: rate(of(&limits.messages_per_second)),
            bytes: rate(of(&limits.bytes_per_second)),
            // A client names many channels when it begins, so a minute's worth may come at once.
            channels: Rate::new(of(&limits.channels_per_minute) as u64, 60_000, 60_000),
        };
        Terms {
            rates: Rates {
                connection: three(|whom| whom.connection),
                user: Shared { arrivals: None, three: three(|whom| whom.user) },
                address: Shared {
                    arrivals: rate(limits.address_arrivals_per_second),
                    three: three(|whom| whom.address),
                },
            },
            patience: Patience { strikes_max: limits.strikes_max, forgiven_ms: limits.strikes_forgiven_ms },
            limits: limits.clone(),
            proxies: proxies.to_vec(),
        }
    }

    fn has_address_bounds(&self) -> bool {
        self.limits.address_connections_max > 0
            || self.rates.address.arrivals.is_some()
            || self.rates.address.three.is_bound()
    }
}

/// At most once in ten seconds, whoever asks. The time is kept plus one, since 0 is never.
fn may_tell(told_ms: &AtomicU64, now: Now) -> bool {
    const INTERVAL_MS: u64 = 10_000;
    let told = told_ms.load(Ordering::Relaxed);
    (told == 0 || now.ms >= told - 1 + INTERVAL_MS)
        && told_ms.compare_exchange(told, now.ms + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Who is counted together: one address of IPv4; of IPv6 a /64, which is the least that one customer is given.
fn account_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v6 @ IpAddr::V6(_) => masked(v6, 64),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
