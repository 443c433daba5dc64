//! One incarnation of one name on one shard, and the table of all of them.
//!
//! A channel has a home, the shard that gives positions and keeps history. Its other records are away: they know who
//! hears it on their shard, and nothing else.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::FixedState;

use crate::{
    audience::Audience,
    history::{History, Totals},
    key::ChannelKeys,
    limit::Rule,
    message::Message,
    position::{Epoch, Position},
    shard::{ShardLag, ShardSet},
};

/// One channel, as one shard knows it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: Arc<str>,
    pub(crate) epoch: Epoch,
    /// The newest position given.
    pub(crate) head: u64,
    /// Tells this incarnation from others that had the same place in the table.
    pub(crate) generation: u32,
    /// The exact subscribers.
    pub(crate) exact: Audience,
    /// The clients that lag here.
    pub(crate) laggards: Vec<u32>,
    /// The patterns that mean this name, as of `matched_version`.
    pub(crate) matched: Box<[u32]>,
    pub(crate) matched_version: u64,
    pub(crate) side: Side,
}

/// Whether this shard is the channel's home.
#[derive(Debug)]
pub(crate) enum Side {
    Home(Home),
    Away(Away),
}

/// What only the home knows.
#[derive(Debug)]
pub(crate) struct Home {
    /// Which of the hub's rules.
    pub(crate) rule: usize,
    pub(crate) history: History,
    pub(crate) keys: Option<Box<ChannelKeys>>,
    pub(crate) shards: Option<Box<HomeShards>>,
    /// It has an exact subscriber, on whatever shard, as was last told.
    pub(crate) heard: bool,
    /// Since when nothing is kept and nobody listens exactly.
    pub(crate) idle_since_ms: Option<u64>,
    /// It stands as idle in the order of totals.
    pub(crate) idle_marked: bool,
    /// Its entry among the hub's timers.
    pub(crate) timer_ms: Option<u64>,
}

/// What the home knows of other shards.
#[derive(Debug, Default)]
pub(crate) struct HomeShards {
    /// They have exact subscribers.
    pub(crate) interested: ShardSet,
    /// They were sent something, so they may have clients that lag.
    pub(crate) told: ShardSet,
    /// Those that did not take deliveries as fast as they came.
    pub(crate) lags: Vec<ShardLag>,
}

/// What is known away from home.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) home: u16,
    /// The home counts this shard as an exact subscriber.
    pub(crate) interest: bool,
    /// Subscriptions that the home has not answered yet.
    pub(crate) pending: u32,
}

/// A piece of history for somebody who lags.
#[derive(Debug)]
pub(crate) struct Page {
    /// What is missing before the messages, both ends inclusive.
    pub(crate) gap: Option<(u64, u64)>,
    pub(crate) messages: Vec<Arc<Message>>,
    /// The place after the page.
    pub(crate) next: u64,
}

impl Home {
    pub(crate) fn has_keys(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| !keys.is_empty())
    }
}

impl Channel {
    pub(crate) fn home_mut(&mut self) -> Option<&mut Home> {
        match &mut self.side {
            Side::Home(home) => Some(home),
            Side::Away(_) => None,
        }
    }

    pub(crate) fn away_mut(&mut self) -> Option<&mut Away> {
        match &mut self.side {
            Side::Home(_) => None,
            Side::Away(away) => Some(away),
        }
    }

    pub(crate) fn head_position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.head }
    }

    /// Whether somebody hears exactly this channel, here or on another shard.
    pub(crate) fn has_exact_subscriber(&self) -> bool {
        let elsewhere = match &self.side {
            Side::Home(home) => home.shards.as_ref().is_some_and(|shards| !shards.interested.is_empty()),
            Side::Away(away) => away.pending > 0,
        };
        elsewhere || !self.exact.is_empty()
    }

    /// Reads a page for somebody whose next place is `next`. At the home only; elsewhere it is empty.
    pub(crate) fn page(
        &mut self,
        next: u64,
        newest_only: bool,
        page_bytes: usize,
        rules: &[Rule],
        now_ms: u64,
        totals: &mut Totals,
    ) -> Page {
        let head = self.head;
        let Some(home) = self.home_mut().filter(|_| next <= head) else {
            return Page { gap: None, messages: Vec::new(), next };
        };
        home.history.expire(now_ms, &rules[home.rule], totals);

        let first = home.history.first_sequence().unwrap_or(head + 1);
        let wanted = if newest_only { head } else { next };
        let target = wanted.max(first);
        let mut messages = Vec::new();
        let mut bytes = 0;
        for message in home.history.from(target) {
            bytes += message.payload.len() + message.channel.len();
            if !messages.is_empty() && bytes > page_bytes {
                break;
            }
            messages.push(Arc::clone(message));
        }

        let gap = (target > next).then(|| (next, target - 1));
        Page { gap, next: target + messages.len() as u64, messages }
    }
}

/// All channels of a shard.
#[derive(Debug)]
pub(crate) struct Channels {
    slots: Vec<Option<Box<Channel>>>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, u32, FixedState>,
    /// How many of them have their home here.
    homes: usize,
    generation: u32,
}

impl Channels {
    pub(crate) fn new(hasher: FixedState) -> Self {
        let by_name = HashMap::with_hasher(hasher);
        Self { slots: Vec::new(), free: Vec::new(), by_name, homes: 0, generation: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many places there are, some of them empty.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many have their home here. The others are heard here, and as many as there are subscriptions at most.
    pub(crate) fn homes(&self) -> usize {
        self.homes
    }

    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The same, where it is likely to be in this place.
    #[inline]
    pub(crate) fn find_near(&self, name: &str, likely: u32) -> Option<u32> {
        match self.slots.get(likely as usize) {
            Some(Some(channel)) if is_same(channel.name.as_bytes(), name.as_bytes()) => Some(likely),
            _ => self.find(name),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Channel {
        self.slots[index as usize].as_ref().expect("a channel lives while it is referred to")
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Channel {
        self.slots[index as usize].as_mut().expect("a channel lives while it is referred to")
    }

    pub(crate) fn exists(&self, index: u32) -> bool {
        self.slots.get(index as usize).is_some_and(Option::is_some)
    }

    /// The channel of a mark or timer, if it is still the same incarnation.
    pub(crate) fn get_if_same(&self, index: u32, generation: u32) -> Option<&Channel> {
        let channel = self.slots.get(index as usize)?.as_deref()?;
        (channel.generation == generation).then_some(channel)
    }

    pub(crate) fn insert(&mut self, name: &str, epoch: Epoch, side: Side) -> u32 {
        let name: Arc<str> = name.into();
        self.generation = self.generation.wrapping_add(1);
        self.homes += usize::from(matches!(side, Side::Home(_)));
        let channel = Box::new(Channel {
            name: Arc::clone(&name),
            epoch,
            head: 0,
            generation: self.generation,
            exact: Audience::default(),
            laggards: Vec::new(),
            matched: Box::default(),
            matched_version: 0,
            side,
        });
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(channel);
                index
            }
            None => {
                self.slots.push(Some(channel));
                u32::try_from(self.slots.len() - 1).expect("channels_max is below 2^32")
            }
        };
        self.by_name.insert(name, index);
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Box<Channel>> {
        let channel = self.slots[index as usize].take()?;
        self.by_name.remove(&channel.name);
        self.homes -= usize::from(matches!(channel.side, Side::Home(_)));
        self.free.push(index);
        Some(channel)
    }
}

/// Whether two names are the same. Names are short, and a call for a dozen bytes costs more than the bytes.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();
    let word = |bytes: &[u8; WORD]| u64::from_ne_bytes(*bytes);
    if one.len() != other.len() {
        return false;
    }
    match (one.first_chunk(), other.first_chunk(), one.last_chunk(), other.last_chunk()) {
        (Some(first), Some(other_first), Some(last), Some(other_last)) if one.len() <= 2 * WORD => {
            // The two words overlap where there are not bytes enough for both.
            (word(first) ^ word(other_first)) | (word(last) ^ word(other_last)) == 0
        }
        _ => one == other,
    }
}
