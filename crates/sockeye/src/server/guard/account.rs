//! What is remembered of one address or user: its connections, and what is left of its rates.

use std::sync::{Mutex, PoisonError};

use sockeye_gateway::rate::{Bucket, What};
use sockeye_hub::Now;

use super::count::Limit;
use super::standing::missed;
use super::{Shared, Three};

/// The account of one address or user, shared by its connections on all shards.
#[derive(Debug, Default)]
pub(super) struct Account(Mutex<State>);

/// What an account holds.
#[derive(Debug, Default)]
pub(super) struct State {
    connections: usize,
    arrivals: Bucket,
    pub(super) messages: Bucket,
    pub(super) bytes: Bucket,
    pub(super) channels: Bucket,
}

impl Account {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere leaves numbers behind, and these can be used whatever they are.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Takes in one more connection. `connections_max` of 0 is no bound.
    pub(super) fn admit(&mut self, connections_max: usize, rates: &Shared, now: Now) -> Result<(), Limit> {
        if connections_max > 0 && self.connections >= connections_max {
            return Err(Limit::AddressConnections);
        }
        if let Some(rate) = &rates.arrivals
            && !self.arrivals.take(rate, now.ms)
        {
            return Err(Limit::AddressArrivals);
        }
        self.connections += 1;
        Ok(())
    }

    /// Takes a datagram of so many bytes. `Some`: there was too much of this, and the bucket is full after so long.
    pub(super) fn take_datagram(&mut self, rates: &Three, bytes: u64, now: Now) -> Option<(What, u64)> {
        if let Some(rate) = &rates.bytes {
            if self.bytes.available(rate, now.ms) == 0 {
                return Some((What::Bytes, self.bytes.full_in_ms(rate, now.ms)));
            }
            self.bytes.spend(rate, bytes, now.ms);
        }
        missed(&mut self.messages, rates.messages.as_ref(), now).map(|wait_ms| (What::Messages, wait_ms))
    }

    /// Lets one go.
    pub(super) fn leave(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    pub(super) fn has_connections(&self) -> bool {
        self.connections > 0
    }

    /// Whether a new account would be the same.
    pub(super) fn is_as_new(&mut self, rates: &Shared, now: Now) -> bool {
        let is_full = |bucket: &mut Bucket, rate: &Option<_>| match rate {
            Some(rate) => bucket.full_in_ms(rate, now.ms) == 0,
            None => true,
        };
        !self.has_connections()
            && is_full(&mut self.arrivals, &rates.arrivals)
            && is_full(&mut self.messages, &rates.three.messages)
            && is_full(&mut self.bytes, &rates.three.bytes)
            && is_full(&mut self.channels, &rates.three.channels)
    }
}
