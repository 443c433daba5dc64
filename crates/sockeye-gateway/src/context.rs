//! What a machine works with while it handles one input: everything of the shard that is not its own.
//!
//! Deliberately absent: anything that outlives the input.

use sockeye_hub::{ClientId, Hub, Now};

use crate::limit::Limits;
use crate::out::Out;
use crate::protocol::Protocol;
use crate::rate::{Meter, Over};
use crate::site::{Pages, Site};
use crate::tally::Tally;

/// What any request costs, in units of the hub's work.
const REQUEST_WORK: usize = 8;
/// How many bytes of a request cost one unit more. JSON that is deeply nested is the slowest to read.
const BYTES_PER_WORK: usize = 16;

/// What a connection works with while it handles one input.
pub struct Context<'a> {
    /// The shard's hub.
    pub hub: &'a mut Hub,
    /// The time.
    pub now: Now,
    /// Bounds and timeouts.
    pub limits: &'a Limits,
    /// The server's fixed facts.
    pub site: &'a Site,
    /// The server's pages and figures.
    pub pages: &'a dyn Pages,
    /// Where what is said at once goes.
    pub out: &'a mut Out,
    /// What was asked and refused.
    pub tally: &'a mut Tally,
    /// What the connection is held to, if it is held to anything.
    pub meter: Option<&'a mut (dyn Meter + 'a)>,
}

impl Context<'_> {
    /// Says something to the client itself: at once, or behind what its outbox holds already.
    pub(crate) fn say(&mut self, client: ClientId, write: impl FnOnce(&mut Vec<u8>)) {
        if self.hub.outbox(client).is_empty() {
            write(self.out.scratch());
        } else {
            let mut bytes = Vec::new();
            write(&mut bytes);
            self.hub.queue_bytes(client, bytes.into_boxed_slice());
        }
    }

    /// A message has come. `Err`: it is one too many, and nothing behind it is to be handled before the shell reads on.
    #[inline]
    pub(crate) fn count_message(&mut self, client: ClientId, protocol: Protocol) -> Result<(), Over> {
        self.tally.asked(protocol);
        self.meter_message(client)
    }

    /// The same for what asks for nothing, and is not counted.
    #[inline]
    pub(crate) fn meter_message(&mut self, client: ClientId) -> Result<(), Over> {
        if self.meter.is_none() {
            return Ok(());
        }
        self.count_unclaimed()?;
        self.count_claimed(client)
    }

    /// The part of `meter_message` that does not ask who it is from, for where that is not known yet.
    pub(crate) fn count_unclaimed(&mut self) -> Result<(), Over> {
        self.meter.as_mut().map_or(Ok(()), |meter| meter.take_message(self.now))
    }

    /// The other part.
    pub(crate) fn count_claimed(&mut self, client: ClientId) -> Result<(), Over> {
        let Some(meter) = &mut self.meter else { return Ok(()) };
        if let Some(user) = self.hub.identity(client).and_then(|identity| identity.user.as_ref()) {
            meter.take_message_of(user, self.now)?;
        }
        let creations = meter.creations(self.hub.creations(client), self.now);
        self.hub.allow_creations(client, creations);
        Ok(())
    }

    /// Counts the work of handling so many bytes of input, whatever they ask for.
    #[inline]
    pub(crate) fn count_work(&mut self, bytes: usize) {
        self.hub.count_work(REQUEST_WORK + bytes / BYTES_PER_WORK);
    }

    /// Says whether no more input may be handled now: the client has to be waited for, or it is the turn of others.
    #[inline]
    pub(crate) fn must_pause(&self, client: ClientId) -> bool {
        self.hub.is_work_done() || self.must_wait(client)
    }

    /// Says whether the client has to read its answers, or another shard to answer, before it may ask more.
    #[inline]
    pub(crate) fn must_wait(&self, client: ClientId) -> bool {
        if self.hub.is_idle(client) {
            return self.out.len() > self.limits.answers_bytes_max;
        }
        let outbox = self.hub.outbox(client);
        outbox.other_bytes() + self.out.len() > self.limits.answers_bytes_max
            || self.hub.has_asked_enough(client)
    }
}
