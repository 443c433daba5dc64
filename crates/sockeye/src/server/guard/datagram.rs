//! What datagrams are held to: the rates of [`Guard`], for those who have no connection.
//!
//! Nothing is kept for an address but its account, of which there are boundedly many, and for a session but its standing.
//! Deliberately absent: bounds on connections, their arrivals and new channels, which datagrams do not have.

use std::net::IpAddr;
use std::sync::Arc;

use sockeye_gateway::gate::{Gate, SessionMeter, Verdict};
use sockeye_gateway::mail::{PeerAddress, Source};
use sockeye_gateway::rate::{Meter as _, What, Whose};
use sockeye_hub::Now;

use super::count::{Limit, Outcome};
use super::{Guard, Standing};
use crate::config::holds;

/// The guard, as one shard's datagrams ask it.
#[derive(Debug)]
struct DatagramGate(Arc<Guard>);

/// What one session is held to.
#[derive(Debug)]
struct Session {
    standing: Standing,
    address: Option<IpAddr>,
}

impl Guard {
    /// What datagrams are held to, if they are held to anything.
    pub(in crate::server) fn datagram_gate(self: &Arc<Self>) -> Option<Box<dyn Gate>> {
        let rates = &self.terms().rates;
        let is_bound = rates.connection.bounds_input()
            || rates.user.three.bounds_input()
            || rates.address.three.bounds_input();
        is_bound.then(|| Box::new(DatagramGate(Arc::clone(self))) as Box<dyn Gate>)
    }

    /// Takes a datagram of so many bytes from the rates of its address. `Some`: there was too much of this, and the bucket
    /// is full after so many milliseconds.
    fn take_datagram(
        &self,
        address: Option<IpAddr>,
        bytes: usize,
        is_proved: bool,
        now: Now,
    ) -> Option<(What, u64)> {
        let address = address?;
        let terms = self.terms();
        let rates = &terms.rates.address;
        if !rates.three.bounds_input() || holds(&terms.limits.address_exceptions, Some(address)) {
            return None;
        }
        let table = if is_proved { &self.addresses } else { &self.senders };
        let account = table.open(super::account_of(address), rates, now, |_| Ok(()));
        let account = account.expect("whoever asks for an account alone is given it");
        account.with(|state| state.take_datagram(&rates.three, bytes as u64, now))
    }
}

impl Gate for DatagramGate {
    fn admits(&mut self, source: &Source, bytes: usize, is_proved: bool, now: Now) -> bool {
        let missed = self.0.take_datagram(address_of(source), bytes, is_proved, now);
        if let Some((what, _)) = missed {
            self.0.counts.add(Limit::of_rate(what, Whose::Address), Outcome::Dropped);
        }
        missed.is_none()
    }

    fn begin(&mut self, source: &Source) -> Box<dyn SessionMeter> {
        let standing = Standing::new(Arc::clone(&self.0), false);
        Box::new(Session { standing, address: address_of(source) })
    }
}

impl SessionMeter for Session {
    fn take(&mut self, bytes: usize, user: Option<&Arc<str>>, now: Now) -> Verdict {
        let Session { standing, address } = self;
        if standing.is_paused() && !standing.resume(now) {
            return Verdict::Dropped;
        }
        let taken = standing.share(bytes.max(1), now).and_then(|_| {
            standing.spend(bytes as u64, now);
            standing.take_message(now)?;
            user.map_or(Ok(()), |user| standing.take_message_of(user, now))
        });
        if let Err(over) = taken {
            return Verdict::Over(over);
        }
        match standing.guard().take_datagram(*address, bytes, true, now) {
            Some((what, wait_ms)) => Verdict::Over(standing.strike(what, Whose::Address, wait_ms, now)),
            None => Verdict::Passes,
        }
    }
}

fn address_of(source: &Source) -> Option<IpAddr> {
    match &source.peer {
        PeerAddress::Ip(address) => Some(address.ip()),
        PeerAddress::Unix(_) | PeerAddress::Unnamed => None,
    }
}
