//! Waiting: how much may be read before other shards have answered.
//!
//! A datagram cannot be left unread for one peer alone, since its socket is everybody's. So nothing is read that could
//! be one request too many for its sender, whoever that is: neither for those without a session, who share the helpers,
//! nor for the session that has the most under way. A session that asks more than its share slows its socket by that,
//! for as long as another shard takes to answer, which every shard does; it cannot stop it.
//!
//! Deliberately absent: a look at all sessions. Each stands here under the most that it may have under way, which grows
//! only here, and is looked at again when it seems to be the busiest.

use std::collections::BTreeSet;

use sockeye_hub::{ClientId, Hub};

use super::Datagrams;
use crate::limit::Limits;

/// Sessions for which other shards have something to answer, by how much that was when it was looked at. There are no
/// more of them than sessions.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeSet<(usize, ClientId)>);

impl Waiting {
    /// Forgets a session that stands under this number.
    pub(super) fn remove(&mut self, in_flight: usize, client: ClientId) {
        if in_flight > 0 {
            self.0.remove(&(in_flight, client));
        }
    }

    fn insert(&mut self, in_flight: usize, client: ClientId) {
        if in_flight > 0 {
            self.0.insert((in_flight, client));
        }
    }
}

impl Datagrams {
    /// How many datagrams may be handled before another shard has answered: no socket is read beyond them.
    pub fn room(&mut self, hub: &Hub, limits: &Limits) -> usize {
        limits.requests_in_flight_max.saturating_sub(self.helpers_busy(hub).max(self.busiest(hub)))
    }

    /// Notes that a session has asked something.
    #[inline]
    pub(super) fn charge(&mut self, client: ClientId, hub: &Hub) {
        let in_flight = hub.requests_in_flight(client);
        if in_flight > 0 && self.sessions.get(&client).is_some_and(|session| session.in_flight < in_flight) {
            self.note_waiting(client, in_flight);
        }
    }

    /// How many requests of the session that has the most of them are under way.
    fn busiest(&mut self, hub: &Hub) -> usize {
        while let Some((noted, client)) = self.waiting.0.last().copied() {
            let in_flight = hub.requests_in_flight(client);
            if in_flight == noted {
                return noted;
            }
            self.note_waiting(client, in_flight);
        }
        0
    }

    /// Has a session stand under another number.
    fn note_waiting(&mut self, client: ClientId, in_flight: usize) {
        let session = self.sessions.get_mut(&client).expect("who waits has a session");
        self.waiting.remove(session.in_flight, client);
        self.waiting.insert(in_flight, client);
        session.in_flight = in_flight;
    }
}
