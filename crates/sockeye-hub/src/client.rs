//! The clients of one shard: a dense part that fan-out walks over, and the rest beside it.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    audience::Options,
    auth::Identity,
    creation::Creations,
    lag::{Lag, Reading},
    message::Encoding,
    outbox::{Bye, Outbox},
};

/// One connection of the hub. Its place is reused after it is gone, with a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    index: u32,
    generation: u32,
}

impl ClientId {
    /// The place in dense arrays.
    #[inline]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Place and generation as one number.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The opposite of [`ClientId::to_u64`].
    pub fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// What the hub needs to know of a new connection.
#[derive(Clone, Debug, Default)]
pub struct ClientSetup {
    /// Which encoded form it takes.
    pub encoding: Encoding,
    /// What it is known as from the start; otherwise it is anonymous ([`crate::Hub::set_anonymous`]).
    pub identity: Option<Arc<Identity>>,
}

/// What fan-out reads and writes of each client: two cache lines, and none of them shared with a neighbour.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Hot {
    pub(crate) outbox: Outbox,
    /// The unique number of the connection.
    pub(crate) publisher: u64,
    /// When the queue last moved, as a count of movements in the whole hub.
    pub(crate) moved: u64,
    /// The delivery that last found this client as an exact subscriber.
    pub(crate) stamp: u32,
    /// How many items have left the outbox in all: numbers the items that wait.
    pub(crate) popped: u64,
    /// How often this place was used before.
    pub(crate) generation: u32,
    /// Requests that other shards have not answered.
    pub(crate) in_flight: u32,
    /// The place of the channel it last published to, which is where most publish next.
    pub(crate) published_to: u32,
    /// How many channels lag, for a glance.
    pub(crate) lagging: u16,
    pub(crate) encoding: Encoding,
    /// The place is in use.
    pub(crate) open: bool,
    /// It stands in the list of touched clients.
    pub(crate) touched: bool,
    /// Nothing more is delivered to it.
    pub(crate) closing: bool,
    /// It has more than one pattern, so which of them wins must be asked.
    pub(crate) many_patterns: bool,
    /// It has asked another shard for the past, of which one answer may be long.
    pub(crate) awaits_past: bool,
    /// It may not publish everywhere, so whether it may must be asked.
    pub(crate) limited: bool,
}

/// One exact subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub(crate) channel: u32,
    /// The place in the channel's audience.
    pub(crate) listener: u32,
}

/// One pattern subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatternSubscription {
    pub(crate) pattern: u32,
    /// The place in the pattern's audience.
    pub(crate) listener: u32,
    pub(crate) options: Options,
}

/// What a client has asked of other shards to hear: as many as it may have requests in flight.
#[derive(Debug, Default)]
pub(crate) struct PendingSubscriptions {
    /// Channels, each as often as it was asked for.
    pub(crate) exacts: Vec<u32>,
    /// The same of patterns.
    pub(crate) patterns: Vec<u32>,
}

impl Cold {
    pub(crate) fn pending_exacts(&self) -> &[u32] {
        self.pending.as_ref().map_or(&[], |pending| &pending.exacts)
    }

    pub(crate) fn pending_patterns(&self) -> &[u32] {
        self.pending.as_ref().map_or(&[], |pending| &pending.patterns)
    }

    /// Notes that a channel was answered.
    pub(crate) fn settle_exact(&mut self, channel: u32) {
        self.settle_pending(|pending| &mut pending.exacts, channel);
    }

    /// Notes that a pattern was answered.
    pub(crate) fn settle_pattern(&mut self, pattern: u32) {
        self.settle_pending(|pending| &mut pending.patterns, pattern);
    }

    fn settle_pending(&mut self, which: fn(&mut PendingSubscriptions) -> &mut Vec<u32>, number: u32) {
        let Some(pending) = &mut self.pending else { return };
        let list = which(pending);
        if let Some(place) = list.iter().position(|other| *other == number) {
            list.swap_remove(place);
        }
        if pending.exacts.is_empty() && pending.patterns.is_empty() {
            self.pending = None;
        }
    }
}

/// How many numbers of `more` are neither in `known` nor repeated.
pub(crate) fn count_new(more: &[u32], known: impl Fn(u32) -> bool) -> usize {
    let is_new = |(place, number): (usize, &u32)| !known(*number) && !more[..place].contains(number);
    more.iter().enumerate().filter(|item| is_new(*item)).count()
}

/// The rest of a client.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    /// `None`: it may do everything.
    pub(crate) identity: Option<Arc<Identity>>,
    /// How many channels it may create; `None`: as many as it likes.
    pub(crate) creations: Option<Creations>,
    pub(crate) exacts: Vec<Exact>,
    /// Oldest first.
    pub(crate) patterns: Vec<PatternSubscription>,
    /// Served in turn from the front.
    pub(crate) lags: VecDeque<Lag>,
    /// The one page asked of another shard.
    pub(crate) reading: Option<Reading>,
    /// Subscriptions asked of other shards and not answered yet; none while there are none.
    pub(crate) pending: Option<Box<PendingSubscriptions>>,
    /// The number of the newest item that changed the subscriptions: what stands before it belongs to another story.
    pub(crate) barrier: u64,
    pub(crate) bye: Option<Bye>,
}

/// All clients of a shard, by index.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) hot: Vec<Hot>,
    pub(crate) cold: Vec<Cold>,
    free: Vec<u32>,
    touched: VecDeque<u32>,
    /// Sum of the message bytes of all outboxes.
    pub(crate) outbox_bytes: usize,
    /// Sum of what everything else in them costs.
    pub(crate) answers_bytes: usize,
    /// Counts the movements of all queues.
    pub(crate) movements: u64,
    pub(crate) connected: usize,
    pub(crate) subscriptions: usize,
    pub(crate) patterns: usize,
    pub(crate) lagging: usize,
}

impl Clients {
    pub(crate) fn insert(&mut self, setup: ClientSetup, publisher: u64) -> ClientId {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.hot.len()).expect("there are fewer connections than 2^32");
                self.hot.push(Hot::default());
                self.cold.push(Cold::default());
                index
            }
        };
        let generation = self.hot[index as usize].generation;
        self.hot[index as usize] = Hot {
            encoding: setup.encoding,
            publisher,
            generation,
            open: true,
            // Far from zero, since items that are put in front are numbered downwards.
            popped: 1 << 32,
            ..Hot::default()
        };
        self.cold[index as usize] = Cold::default();
        self.connected += 1;
        ClientId { index, generation }
    }

    /// Frees the place. Its subscriptions and lags are gone already.
    pub(crate) fn remove(&mut self, id: ClientId) {
        self.change_outbox(id.index, |outbox| *outbox = Outbox::default());
        self.hot[id.index()] = Hot { generation: id.generation.wrapping_add(1), ..Hot::default() };
        self.cold[id.index()] = Cold::default();
        self.free.push(id.index);
        self.connected -= 1;
    }

    /// Changes what waits for a client, and keeps the sums of all outboxes.
    #[inline]
    pub(crate) fn change_outbox<T>(&mut self, index: u32, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let outbox = &mut self.hot[index as usize].outbox;
        self.outbox_bytes -= outbox.message_bytes();
        self.answers_bytes -= outbox.other_bytes();
        let outcome = change(outbox);
        self.outbox_bytes += outbox.message_bytes();
        self.answers_bytes += outbox.other_bytes();
        outcome
    }

    #[inline]
    pub(crate) fn is_open(&self, id: ClientId) -> bool {
        self.hot.get(id.index()).is_some_and(|hot| hot.open && hot.generation == id.generation)
    }

    /// Everybody who is connected.
    pub(crate) fn open(&self) -> Vec<ClientId> {
        let all = 0..self.hot.len() as u32;
        all.filter(|index| self.hot[*index as usize].open).map(|index| self.id(index)).collect()
    }

    pub(crate) fn id(&self, index: u32) -> ClientId {
        ClientId { index, generation: self.hot[index as usize].generation }
    }

    /// Notes that a client has something to write.
    #[inline]
    pub(crate) fn touch(&mut self, index: u32) {
        let hot = &mut self.hot[index as usize];
        if !hot.touched {
            hot.touched = true;
            self.touched.push_back(index);
        }
    }

    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    pub(crate) fn take_touched(&mut self) -> Option<ClientId> {
        while let Some(index) = self.touched.pop_front() {
            // A client that is gone left its entry behind, and its place untouched.
            if std::mem::take(&mut self.hot[index as usize].touched) {
                return Some(self.id(index));
            }
        }
        None
    }

    /// Notes that the queue moved: that it got its first item, or lost one.
    #[inline]
    pub(crate) fn note_moved(&mut self, index: u32) {
        self.movements += 1;
        self.hot[index as usize].moved = self.movements;
    }
}
