//! The ring: the newest messages of one channel, and what all rings together cost.
//!
//! A ring only loses messages at its old end, so what it holds is always one unbroken range that ends at the
//! channel's head, or nothing. Deliberately absent: reading pages out of it for somebody (see `channel`).

use std::{collections::VecDeque, mem::size_of, sync::Arc};

use crate::{
    limit::{MESSAGE_ENTRY_BYTES, Rule},
    message::Message,
};

/// What one entry costs in the ring itself.
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>();

/// The ring of one channel.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    /// What was counted for it; encoded forms made later are counted by `recount`.
    counted_bytes: usize,
    /// When it was published, on the monotonic clock.
    ms: u64,
}

/// What all rings of a hub cost, and the order in which their messages go when that is too much.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Names, entries, payloads and encoded forms.
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
    /// Oldest first. A mark whose message is gone already is skipped when its turn comes.
    pub(crate) order: VecDeque<Mark>,
    /// Channels that keep nothing and that nobody hears, in the order in which they came to. One that is gone or idle no more
    /// is skipped as well.
    pub(crate) idle: VecDeque<Idle>,
    /// What those cost.
    pub(crate) idle_bytes: usize,
    /// The same that are remembered for their keys.
    pub(crate) remembered: VecDeque<Idle>,
    pub(crate) evicted: u64,
    pub(crate) expired: u64,
}

/// Messages of one channel that came one after the other, in the order of [`Totals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) channel: u32,
    pub(crate) generation: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// An idle channel, by its place and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(crate) channel: u32,
    pub(crate) generation: u32,
    pub(crate) bytes: usize,
}

impl Totals {
    /// The channel that has been idle for longest, of those that nothing is promised of.
    pub(crate) fn pop_idle(&mut self) -> Option<Idle> {
        let idle = self.idle.pop_front()?;
        self.idle_bytes -= idle.bytes;
        Some(idle)
    }

    /// Drops the marks of idle channels that are gone.
    pub(crate) fn sweep_idle(&mut self, is_there: impl Fn(&Idle) -> bool) {
        self.idle.retain(&is_there);
        self.idle_bytes = self.idle.iter().map(|idle| idle.bytes).sum();
        self.remembered.retain(&is_there);
    }

    /// Marks one message as the newest.
    #[inline]
    pub(crate) fn mark(&mut self, channel: u32, generation: u32, sequence: u64) {
        match self.order.back_mut() {
            // A run: whoever publishes much mostly publishes to one channel.
            Some(mark)
                if (mark.channel, mark.generation, mark.last + 1) == (channel, generation, sequence) =>
            {
                mark.last = sequence;
            }
            _ => self.order.push_back(Mark { channel, generation, first: sequence, last: sequence }),
        }
    }
}

impl History {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest place that is still here.
    pub(crate) fn first_sequence(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.message.sequence)
    }

    /// When the oldest message is too old. The only one stays.
    #[inline]
    pub(crate) fn deadline_ms(&self, rule: &Rule) -> Option<u64> {
        let oldest = self.entries.front().filter(|_| self.entries.len() > 1)?;
        Some(oldest.ms.saturating_add(rule.age_ms))
    }

    /// The messages from this place on.
    pub(crate) fn from(&self, sequence: u64) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        let first = self.first_sequence().unwrap_or(0);
        let skipped = usize::try_from(sequence.saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.range(skipped.min(self.entries.len())..).map(|entry| &entry.message)
    }

    /// Takes in the newest message, and lets go of what the rule's bounds no longer hold.
    pub(crate) fn append(&mut self, message: Arc<Message>, ms: u64, rule: &Rule, totals: &mut Totals) {
        let counted_bytes = message.charge_bytes() + MESSAGE_ENTRY_BYTES;
        self.entries.push_back(Entry { message, counted_bytes, ms });
        self.bytes += counted_bytes;
        totals.bytes += counted_bytes;
        totals.messages += 1;
        self.expire(ms, rule, totals);
        self.trim(rule, totals);
    }

    /// Lets go of the oldest message where the next one will push it out anyway.
    pub(crate) fn give_way(&mut self, rule: &Rule, totals: &mut Totals) -> Option<Arc<Message>> {
        if self.entries.len() < 2 || self.entries.len() < rule.messages {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.counted_bytes;
        totals.bytes -= entry.counted_bytes;
        totals.messages -= 1;
        totals.evicted += 1;
        Some(entry.message)
    }

    /// Counts the encoded forms that the newest messages got since they were appended.
    pub(crate) fn recount(&mut self, rule: &Rule, totals: &mut Totals) {
        for entry in self.entries.iter_mut().rev().take(2) {
            let counted_bytes = entry.message.charge_bytes() + MESSAGE_ENTRY_BYTES;
            let grown_bytes = counted_bytes - entry.counted_bytes;
            entry.counted_bytes = counted_bytes;
            self.bytes += grown_bytes;
            totals.bytes += grown_bytes;
        }
        self.trim(rule, totals);
    }

    /// Lets go of what is too old, but for the newest.
    pub(crate) fn expire(&mut self, now_ms: u64, rule: &Rule, totals: &mut Totals) {
        while self.entries.len() > 1
            && self.entries.front().is_some_and(|entry| now_ms.saturating_sub(entry.ms) >= rule.age_ms)
        {
            self.pop_front(totals);
            totals.expired += 1;
        }
    }

    /// Lets go of the oldest message, even if it is the newest.
    pub(crate) fn evict(&mut self, totals: &mut Totals) {
        if self.pop_front(totals) {
            totals.evicted += 1;
        }
    }

    fn trim(&mut self, rule: &Rule, totals: &mut Totals) {
        while self.entries.len() > 1 && (self.entries.len() > rule.messages || self.bytes > rule.bytes) {
            self.evict(totals);
        }
    }

    fn pop_front(&mut self, totals: &mut Totals) -> bool {
        let Some(entry) = self.entries.pop_front() else { return false };
        self.bytes -= entry.counted_bytes;
        totals.bytes -= entry.counted_bytes;
        totals.messages -= 1;
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        true
    }
}
