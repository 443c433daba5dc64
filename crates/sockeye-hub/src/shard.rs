//! What passes between the hubs of several shards: messages, and the bound on what is under way.
//!
//! Between two shards messages are first-in-first-out, and nobody waits for anybody. Requests are bounded by what a
//! client may have in flight; deliveries by a window per link: the receiver gives credit back in batches, and what
//! does not fit marks (channel, shard) as lagging. The two sides are in `home` and `away`.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use crate::{
    channel::Page,
    client::ClientId,
    creation::Creating,
    error::Refusal,
    limit::Limits,
    message::{Kind, Message},
    outbox::NotRecovered,
    position::{Epoch, Position},
    request::{Past, Start},
};

/// How many shards there can be.
pub(crate) const SHARDS_MAX: usize = 256;

/// Which shard a hub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its number, from 0.
    pub index: u16,
    /// How many there are, at most 256.
    pub count: u16,
}

impl ShardInfo {
    /// The only shard.
    pub fn single() -> Self {
        Self { index: 0, count: 1 }
    }
}

/// A message from one shard's hub to another's. It must arrive in the order in which it was given out.
#[derive(Debug)]
pub struct ShardMessage(pub(crate) Inner);

impl ShardMessage {
    /// What it carries that no window bounds: the payload of a message that has no place yet.
    pub fn payload_bytes(&self) -> usize {
        match &self.0 {
            Inner::Publish { publish, .. } => publish.payload.len(),
            _ => 0,
        }
    }
}

/// What a [`ShardMessage`] says.
#[derive(Debug)]
pub(crate) enum Inner {
    /// To the home: a client here wants to hear a channel, and from then on this shard does.
    Subscribe {
        request: u64,
        channel: Arc<str>,
        start: Start,
        creating: Creating,
    },
    Subscribed {
        request: u64,
        result: Result<Started, Refusal>,
    },
    /// To the home: nobody here hears this channel exactly.
    Forget {
        channel: Arc<str>,
    },
    /// To everybody: somebody here hears this pattern; answered by `Echoed`.
    Register {
        request: u64,
        pattern: Arc<str>,
    },
    /// To everybody: nobody here hears this pattern.
    Unregister {
        pattern: Arc<str>,
    },
    /// Comes back when all that was sent before has been handled.
    Echo {
        request: u64,
    },
    Echoed {
        request: u64,
    },
    /// To the home. Request 0 wants no answer.
    Publish {
        request: u64,
        channel: Arc<str>,
        publish: Box<Publication<'static>>,
    },
    Published {
        request: u64,
        result: Result<(Position, bool), Refusal>,
        /// Its channel was created for it.
        created: bool,
    },
    /// To the home.
    Past {
        request: u64,
        channel: Arc<str>,
        past: Past,
    },
    PastFound {
        request: u64,
        result: Result<PastFound, Refusal>,
    },
    /// To the home: a client here lags and has room for a page.
    Read {
        number: u64,
        client: ClientId,
        channel: Arc<str>,
        epoch: Epoch,
        next: u64,
        newest_only: bool,
    },
    /// `live_next` is the next place that this shard will be delivered.
    Page {
        number: u64,
        client: ClientId,
        page: Page,
        live_next: u64,
    },
    /// From the home: the next message of a channel.
    Deliver {
        message: Arc<Message>,
    },
    /// From the home: these places will not be delivered to this shard.
    Skipped {
        channel: Arc<str>,
        epoch: Epoch,
        from: u64,
        to: u64,
    },
    /// From the home: the incarnation has ended. What was delivered ends before `live_next`.
    Forgotten {
        channel: Arc<str>,
        epoch: Epoch,
        live_next: u64,
        head: u64,
    },
    /// To the home: so much of what was delivered is handled.
    Credit {
        messages: usize,
        bytes: usize,
    },
}

/// The moment at which a subscription begins, as the home tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) epoch: Epoch,
    /// The newest position.
    pub(crate) head: u64,
    /// The first place that is wanted.
    pub(crate) next: u64,
    pub(crate) recovered: Option<Result<(), NotRecovered>>,
    /// The next place that the subscriber's shard will be delivered.
    pub(crate) live_next: u64,
    /// The channel was created for it.
    pub(crate) created: bool,
}

/// A message without its channel and its position there.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: Cow<'a, [u8]>,
    pub(crate) key: Option<Box<str>>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) publisher: u64,
    pub(crate) creating: Creating,
}

/// What a look into history found.
#[derive(Debug)]
pub(crate) struct PastFound {
    pub(crate) at: Position,
    pub(crate) messages: Vec<Arc<Message>>,
    pub(crate) more: bool,
}

/// A shard that reads on from a channel's history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardLag {
    pub(crate) shard: u16,
    pub(crate) next: u64,
}

/// The link to one other shard.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Delivered to it and not yet handled there.
    under_way_messages: usize,
    under_way_bytes: usize,
    /// Handled from it and not yet given back.
    owed_messages: usize,
    owed_bytes: usize,
    /// The channels that lag for it: place and generation, served in turn.
    pub(crate) lagging: VecDeque<(u32, u32)>,
}

impl Link {
    /// Whether one more delivery may be under way.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.under_way_messages < limits.link_messages_max && self.under_way_bytes < limits.link_bytes_max
    }

    pub(crate) fn note_sent(&mut self, message: &Message) {
        self.under_way_messages += 1;
        self.under_way_bytes += message.payload.len();
    }

    pub(crate) fn note_credit(&mut self, messages: usize, bytes: usize) {
        self.under_way_messages = self.under_way_messages.saturating_sub(messages);
        self.under_way_bytes = self.under_way_bytes.saturating_sub(bytes);
    }

    /// Notes a delivery that was handled here, and tells when it is time to give credit back: at a quarter of the
    /// window, so that a full window always gives some back.
    pub(crate) fn note_handled(&mut self, message: &Message, limits: &Limits) -> Option<(usize, usize)> {
        self.owed_messages += 1;
        self.owed_bytes += message.payload.len();
        let is_due = self.owed_messages >= limits.link_messages_max.div_ceil(4)
            || self.owed_bytes >= limits.link_bytes_max.div_ceil(4);
        is_due.then(|| (std::mem::take(&mut self.owed_messages), std::mem::take(&mut self.owed_bytes)))
    }
}

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet {
    bits: [u64; SHARDS_MAX / 64],
}

impl ShardSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    pub(crate) fn insert(&mut self, shard: u16) {
        self.bits[usize::from(shard) / 64 % 4] |= 1 << (shard % 64);
    }

    pub(crate) fn remove(&mut self, shard: u16) {
        self.bits[usize::from(shard) / 64 % 4] &= !(1 << (shard % 64));
    }

    pub(crate) fn union(&mut self, other: &Self) {
        for (word, others) in self.bits.iter_mut().zip(other.bits) {
            *word |= others;
        }
    }

    /// The shards, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        (0..SHARDS_MAX as u16)
            .filter(move |shard| self.bits[usize::from(*shard) / 64] >> (shard % 64) & 1 == 1)
    }
}
