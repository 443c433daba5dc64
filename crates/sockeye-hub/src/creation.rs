//! How many channels a client may still create: the gateway says, and the hub keeps to it.
//!
//! A request to another shard reserves a creation until it is answered, for whether it needs one is known only there.
//! Deliberately absent: rates, users and time. The gateway
//! gives a new allowance whenever it likes.

use crate::{
    client::ClientId,
    error::{Refusal, RefusalCode},
    hub::Hub,
};

/// What a client may still create, and what it is told when that is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creations {
    /// So many channels.
    pub left: u32,
    /// So many more are reserved for requests that other shards have not answered.
    pub reserved: u32,
    /// After so many milliseconds it may be worth another try.
    pub retry_ms: u32,
}

/// Whether a request may create its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creating {
    Allowed,
    Refused { retry_ms: u32 },
}

impl Creating {
    /// The channel is not known, and would be created.
    ///
    /// # Errors
    ///
    /// It may not be.
    pub(crate) fn check(self, name: &str) -> Result<(), Refusal> {
        let Creating::Refused { retry_ms } = self else { return Ok(()) };
        let why = format!("{name} would be a new channel, and too many were created in a short time");
        Err(Refusal { retry_ms: Some(retry_ms.into()), ..Refusal::passing(RefusalCode::Rate, why) })
    }
}

impl Hub {
    /// Lets a client create so many channels more; `None` is no bound.
    pub fn allow_creations(&mut self, client: ClientId, creations: Option<Creations>) {
        if self.clients.is_open(client) {
            self.clients.cold[client.index()].creations = creations;
        }
    }

    /// What is left of the last allowance.
    pub fn creations(&self, client: ClientId) -> Option<Creations> {
        if self.clients.is_open(client) { self.clients.cold[client.index()].creations } else { None }
    }

    pub(crate) fn creating(&self, client: ClientId) -> Creating {
        match self.clients.cold[client.index()].creations {
            Some(Creations { left: 0, retry_ms, .. }) => Creating::Refused { retry_ms },
            _ => Creating::Allowed,
        }
    }

    /// A request of this client has created its channel here.
    pub(crate) fn note_created(&mut self, client: ClientId) {
        if let Some(creations) = &mut self.clients.cold[client.index()].creations {
            creations.left = creations.left.saturating_sub(1);
        }
    }

    /// A request of this client goes to another shard. Tells whether a creation is reserved for it.
    pub(crate) fn reserve_creation(&mut self, client: ClientId) -> (Creating, bool) {
        let creating = self.creating(client);
        match &mut self.clients.cold[client.index()].creations {
            Some(creations) if creations.left > 0 => {
                creations.left -= 1;
                creations.reserved += 1;
                (creating, true)
            }
            _ => (creating, false),
        }
    }

    /// It was answered.
    pub(crate) fn settle_reserved(&mut self, client: ClientId, was_reserved: bool, created: bool) {
        if was_reserved
            && self.clients.is_open(client)
            && let Some(creations) = &mut self.clients.cold[client.index()].creations
        {
            creations.reserved = creations.reserved.saturating_sub(1);
            creations.left += u32::from(!created);
        }
    }
}
