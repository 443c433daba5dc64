//! What happens to channels, for who wants to know: made, forgotten, heard, heard by nobody.
//!
//! A channel's home tells it, once for all shards. While nobody wants it, nothing is kept. Deliberately absent: the
//! server's own channels, which would tell of themselves, and what becomes of an event, which is the shell's.

use std::{collections::VecDeque, sync::Arc};

use crate::{hub::Hub, name};

/// Events that wait to be taken; more are counted and not kept.
const EVENTS_MAX: usize = 1024;

/// What happened to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It has its first exact subscriber.
    Heard,
    /// Its last exact subscriber is gone.
    Unheard,
    /// It was forgotten: nothing was kept, and nobody heard it exactly.
    Forgotten,
}

impl Change {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Heard => "heard",
            Self::Unheard => "unheard",
            Self::Forgotten => "forgotten",
        }
    }
}

/// Something that happened to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelEvent {
    /// Which.
    pub channel: Arc<str>,
    /// What.
    pub change: Change,
}

/// What has happened and was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    wanted: bool,
    waiting: VecDeque<ChannelEvent>,
    skipped: u64,
    /// Subscriptions of clients of this shard to what the server says about itself.
    pub(crate) system_hearers: usize,
}

impl Hub {
    /// Says whether [`Hub::take_channel_event`] will be called.
    pub fn want_channel_events(&mut self, wanted: bool) {
        self.events.wanted = wanted;
        if !wanted {
            self.events.waiting = VecDeque::new();
            self.events.skipped = 0;
        }
    }

    /// Takes the next event of a channel whose home this is.
    #[inline]
    pub fn take_channel_event(&mut self) -> Option<ChannelEvent> {
        self.events.waiting.pop_front()
    }

    /// Takes the count of events that were not kept, because too many waited.
    pub fn take_skipped_channel_events(&mut self) -> u64 {
        std::mem::take(&mut self.events.skipped)
    }

    /// Whether a client of this shard hears what the server says about itself.
    #[inline]
    pub fn hears_system(&self) -> bool {
        self.events.system_hearers > 0
    }

    /// Something happened to a channel whose home this is.
    pub(crate) fn note_channel(&mut self, channel: &Arc<str>, change: Change) {
        if !self.events.wanted || name::is_system(channel) {
            return;
        }
        if self.events.waiting.len() >= EVENTS_MAX {
            self.events.skipped += 1;
        } else {
            self.events.waiting.push_back(ChannelEvent { channel: Arc::clone(channel), change });
        }
    }
}
