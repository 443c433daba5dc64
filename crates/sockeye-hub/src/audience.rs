//! Who hears one channel, or one pattern: a dense array that fan-out walks over.
//!
//! Each listener knows its client, and the client's subscription knows the place of its listener, so that both ends
//! are removed without a search. Deliberately absent: whether somebody lags (the client's `lags` know).

use crate::request::Slow;

/// How a subscription wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) own: bool,
    pub(crate) slow: Slow,
}

/// One subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) client: u32,
    /// The place among the client's exact subscriptions; unused for patterns, which are few per client.
    pub(crate) slot: u32,
    pub(crate) options: Options,
}

/// The subscribers, in no particular order, yet always the same for the same history.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    listeners: Vec<Listener>,
}

impl Audience {
    #[inline]
    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    pub(crate) fn get_mut(&mut self, place: u32) -> &mut Listener {
        &mut self.listeners[place as usize]
    }

    /// Adds a listener and tells its place.
    pub(crate) fn insert(&mut self, listener: Listener) -> u32 {
        let place = u32::try_from(self.listeners.len()).expect("clients are fewer than 2^32");
        self.listeners.push(listener);
        place
    }

    /// Removes a listener. The one that took its place is given back, so that its client can be told.
    pub(crate) fn remove(&mut self, place: u32) -> Option<Listener> {
        self.listeners.swap_remove(place as usize);
        if self.listeners.is_empty() {
            self.listeners = Vec::new();
        }
        self.listeners.get(place as usize).copied()
    }
}
