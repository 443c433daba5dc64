//! What a hub can tell about itself.

use crate::error::RefusalCode;

/// Gauges and counters of one hub. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients connected.
    pub clients: u64,
    /// Channels known, those of other shards that are heard here included.
    pub channels: u64,
    /// Channels whose home this is: over all shards, each channel is counted once.
    pub homes: u64,
    /// Subscriptions to one channel.
    pub subscriptions: u64,
    /// Subscriptions to a pattern.
    pub patterns: u64,
    /// (Client, channel) pairs that read on from history.
    pub lagging: u64,
    /// Full encoded length of all messages in outboxes.
    pub outbox_bytes: u64,
    /// What everything else in outboxes costs, answers above all.
    pub answers_bytes: u64,
    /// What history costs: names, entries, payloads and encoded forms.
    pub history_bytes: u64,
    /// Messages in history.
    pub history_messages: u64,
    /// Idempotency keys remembered.
    pub keys: u64,
    /// Counter: messages given a position here.
    pub published: u64,
    /// Counter: messages put into outboxes.
    pub delivered: u64,
    /// Counter: times a (client, channel) began to lag because its outbox was full.
    pub lagged: u64,
    /// Counter: gaps announced.
    pub gaps: u64,
    /// Counter: positions announced as missing because the reader was slow.
    pub missed_slow: u64,
    /// Counter: positions announced as missing because the channel was forgotten.
    pub missed_evicted: u64,
    /// Counter: queued messages taken back because all outboxes together were over their bound.
    pub reclaimed: u64,
    /// Counter: messages that left history because of a bound.
    pub evicted: u64,
    /// Counter: messages that left history because of their age.
    pub expired: u64,
    /// Counter: channels forgotten.
    pub forgotten: u64,
    /// Counter: clients closed for being slow.
    pub closed_slow: u64,
    /// Counter: requests refused.
    pub refused: u64,
    /// The same by kind, as [`RefusalCode::ALL`] lists them.
    pub refused_by_code: [u64; RefusalCode::ALL.len()],
    /// Of these, publishes.
    pub publishes_refused: [u64; RefusalCode::ALL.len()],
    /// Counter: publishes that were known by their key already.
    pub published_again: u64,
}

impl Stats {
    /// Adds the figures of another shard's hub.
    pub fn add(&mut self, other: &Self) {
        let Self {
            clients,
            channels,
            homes,
            subscriptions,
            patterns,
            lagging,
            outbox_bytes,
            answers_bytes,
            history_bytes,
            history_messages,
            keys,
            published,
            delivered,
            lagged,
            gaps,
            missed_slow,
            missed_evicted,
            reclaimed,
            evicted,
            expired,
            forgotten,
            closed_slow,
            refused,
            refused_by_code,
            publishes_refused,
            published_again,
        } = other;
        self.clients += clients;
        self.channels += channels;
        self.homes += homes;
        self.subscriptions += subscriptions;
        self.patterns += patterns;
        self.lagging += lagging;
        self.outbox_bytes += outbox_bytes;
        self.answers_bytes += answers_bytes;
        self.history_bytes += history_bytes;
        self.history_messages += history_messages;
        self.keys += keys;
        self.published += published;
        self.delivered += delivered;
        self.lagged += lagged;
        self.gaps += gaps;
        self.missed_slow += missed_slow;
        self.missed_evicted += missed_evicted;
        self.reclaimed += reclaimed;
        self.evicted += evicted;
        self.expired += expired;
        self.forgotten += forgotten;
        self.closed_slow += closed_slow;
        self.refused += refused;
        for code in 0..RefusalCode::ALL.len() {
            self.refused_by_code[code] += refused_by_code[code];
            self.publishes_refused[code] += publishes_refused[code];
        }
        self.published_again += published_again;
    }
}
