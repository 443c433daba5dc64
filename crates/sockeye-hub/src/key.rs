//! Idempotency keys: a publish that is repeated with the same key gives the first position again.
//!
//! Keys are per channel and user, and go in the order they came: by age, by the channel's bound, by the total.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::FixedState;

/// What is remembered: who published what where.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyName {
    /// The channel's place and generation: one incarnation.
    pub(crate) channel: (u32, u32),
    pub(crate) user: Box<str>,
    pub(crate) key: Box<str>,
}

/// The keys of one channel, oldest first.
pub(crate) type ChannelKeys = VecDeque<Arc<KeyName>>;

/// All keys of a hub.
#[derive(Debug)]
pub(crate) struct Keys {
    known: HashMap<Arc<KeyName>, Known, FixedState>,
    /// Oldest first. An entry whose serial is not the known one is stale.
    order: VecDeque<(u64, u64, Arc<KeyName>)>,
    serial: u64,
}

#[derive(Debug)]
struct Known {
    sequence: u64,
    serial: u64,
    ms: u64,
}

impl Keys {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { known: HashMap::with_hasher(hasher), order: VecDeque::new(), serial: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is remembered, and nothing stale is left either.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The position a key was first given, if it is remembered.
    pub(crate) fn find(&self, name: &KeyName, now_ms: u64, age_ms: u64) -> Option<u64> {
        let known = self.known.get(name)?;
        (now_ms.saturating_sub(known.ms) < age_ms).then_some(known.sequence)
    }

    /// Remembers a key. One of the same name, which is too old, gives way.
    pub(crate) fn insert(&mut self, name: KeyName, sequence: u64, now_ms: u64, of_channel: &mut ChannelKeys) {
        if self.known.contains_key(&name) {
            of_channel.retain(|other| **other != name);
            self.known.remove(&name);
        }
        self.serial += 1;
        let name = Arc::new(name);
        self.known.insert(Arc::clone(&name), Known { sequence, serial: self.serial, ms: now_ms });
        of_channel.push_back(Arc::clone(&name));
        self.order.push_back((now_ms, self.serial, name));
        if self.order.len() > 2 * self.known.len() + 64 {
            let Self { known, order, .. } = self;
            order.retain(|(_, serial, name)| known.get(name).is_some_and(|known| known.serial == *serial));
        }
    }

    /// Forgets a key whose channel has let go of it.
    pub(crate) fn remove(&mut self, name: &KeyName) {
        self.known.remove(name);
    }

    /// Forgets the oldest key if it is too old, or if there are more than `keys_max`. Gives it back, so that its
    /// channel can let go of it: it is the oldest there too.
    pub(crate) fn pop_oldest(&mut self, now_ms: u64, age_ms: u64, keys_max: usize) -> Option<Arc<KeyName>> {
        loop {
            let (ms, serial, name) = self.order.front()?;
            let is_known = self.known.get(name).is_some_and(|known| known.serial == *serial);
            if is_known && now_ms.saturating_sub(*ms) < age_ms && self.known.len() <= keys_max {
                return None;
            }
            let (_, _, name) = self.order.pop_front().expect("the front was just seen");
            if is_known {
                self.known.remove(&name);
                return Some(name);
            }
        }
    }

    /// When the oldest key is too old.
    pub(crate) fn next_timeout(&self, age_ms: u64) -> Option<u64> {
        self.order.front().map(|(ms, _, _)| ms.saturating_add(age_ms))
    }
}
