//! Every bound of the hub, its default, and what happens at it.

use std::mem::size_of;

use crate::{error::NameError, history::ENTRY_BYTES, name};

/// The bounds of one hub. Where several shards run, each gets its part of the totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Encoded bytes of messages in one outbox (256 KiB). At it: the (client, channel) lags. A larger message still
    /// reaches a client with no message waiting. Memory per client is at most this.
    pub outbox_bytes_max: usize,
    /// Messages in one outbox (4,096). At it: the (client, channel) lags.
    pub outbox_messages_max: usize,
    /// Lagging channels of one client (256). Above it: bye `slow`.
    pub lagging_channels_max: usize,
    /// Encoded bytes of messages in all outboxes (256 MiB). Above it: the clients whose queues have not moved for the
    /// longest have their queued messages turned back into lag.
    pub outbox_total_bytes_max: usize,
    /// Bytes of answers and other items that are never dropped (256 KiB). Above it the gateway stops reading from the
    /// client; the hub itself does not enforce it.
    pub answers_bytes_max: usize,
    /// What answers and other items that are never dropped cost in all outboxes (256 MiB). At it: a look into history, whose
    /// answer may be long, is answered `busy`; passed by one such answer a client at most, and by its encoding.
    pub answers_total_bytes_max: usize,
    /// What history costs in all (64 MiB): names, entries, payloads, encoded forms. Above it: the oldest message goes,
    /// a channel's newest included; a channel left empty without an exact subscriber is forgotten.
    pub history_total_bytes_max: usize,
    /// Channels whose home this is (1,000,000). At it: `too_many`.
    pub channels_max: usize,
    /// Subscriptions to one channel each, per client (1,024). At it: `too_many`.
    pub subscriptions_max: usize,
    /// Subscriptions to a pattern, per client (32). At it: `too_many`.
    pub patterns_max: usize,
    /// Requests of one client under way on other shards (64). At it the gateway stops reading; beyond it: `busy`.
    pub requests_in_flight_max: usize,
    /// Payload of one message (1 MiB). Above it: `too_large`.
    pub message_bytes_max: usize,
    /// Messages of one look into history (1,000). Above it: cut, `more`.
    pub past_messages_max: usize,
    /// Payload bytes of one look into history (1 MiB), though always one message. Above it: cut, `more`.
    pub past_bytes_max: usize,
    /// Idempotency keys of one channel (1,024). Above it: the oldest is forgotten.
    pub keys_max: usize,
    /// Length of a key (64). Above it: `too_large`.
    pub key_bytes_max: usize,
    /// How long a key is remembered (5 minutes).
    pub key_age_ms: u64,
    /// Idempotency keys in all (65,536). Above it: the oldest is forgotten.
    pub keys_total_max: usize,
    /// How long a channel without retained messages and exact subscribers is remembered (60 s).
    pub channel_grace_ms: u64,
    /// Bytes of history that one lagging channel is served at a time (16 KiB), though always one message.
    pub page_bytes: usize,
    /// Messages under way to one other shard (1,024). At it: the (channel, shard) lags.
    pub link_messages_max: usize,
    /// Payload bytes under way to one other shard (1 MiB), passed by at most one message. At it: the same.
    pub link_bytes_max: usize,
    /// How long before its identity ends a client is told (30 s); then it is closed: bye `expired`.
    pub expiry_notice_ms: u64,
}

impl Limits {
    /// The part of one of so many shards: totals are divided, with something left for each; the rest stays.
    pub fn part_of(&self, shards: u16) -> Self {
        let part = |total: usize| total.div_ceil(usize::from(shards.max(1)));
        Self {
            outbox_total_bytes_max: part(self.outbox_total_bytes_max),
            answers_total_bytes_max: part(self.answers_total_bytes_max),
            history_total_bytes_max: part(self.history_total_bytes_max),
            channels_max: part(self.channels_max),
            keys_total_max: part(self.keys_total_max),
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            outbox_bytes_max: 256 << 10,
            outbox_messages_max: 4096,
            lagging_channels_max: 256,
            outbox_total_bytes_max: 256 << 20,
            answers_bytes_max: 256 << 10,
            answers_total_bytes_max: 256 << 20,
            history_total_bytes_max: 64 << 20,
            channels_max: 1_000_000,
            subscriptions_max: 1024,
            patterns_max: 32,
            requests_in_flight_max: 64,
            message_bytes_max: 1 << 20,
            past_messages_max: 1000,
            past_bytes_max: 1 << 20,
            keys_max: 1024,
            key_bytes_max: 64,
            key_age_ms: 5 * 60_000,
            keys_total_max: 65_536,
            channel_grace_ms: 60_000,
            page_bytes: 16 << 10,
            link_messages_max: 1024,
            link_bytes_max: 1 << 20,
            expiry_notice_ms: 30_000,
        }
    }
}

/// What a channel keeps, for the names that a pattern means. The first rule that matches a name wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which names; a plain name is itself.
    pub pattern: String,
    /// Whether anything is kept.
    pub kind: RuleKind,
    /// At most this many messages (64).
    pub messages: usize,
    /// At most this many bytes, entries and encoded forms counted (256 KiB).
    pub bytes: usize,
    /// For at most this long (10 minutes). The newest message stays, whatever its age and size.
    pub age_ms: u64,
}

/// Whether a channel keeps anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// Nothing is kept.
    Live,
    /// The newest messages are kept.
    Kept,
}

impl Rule {
    /// The default for names that no rule matches: 64 messages, 256 KiB, 10 minutes.
    pub fn kept(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            kind: RuleKind::Kept,
            messages: 64,
            bytes: 256 << 10,
            age_ms: 10 * 60_000,
        }
    }

    /// A rule under which nothing is kept.
    pub fn live(pattern: impl Into<String>) -> Self {
        Self { kind: RuleKind::Live, ..Self::kept(pattern) }
    }

    /// Checks the pattern.
    ///
    /// # Errors
    ///
    /// Names the first fault of the pattern: see [`NameError`].
    pub fn check(&self) -> Result<(), NameError> {
        name::check_pattern(&self.pattern)
    }

    /// Whether this rule is for that name. Unlike a subscription, `#` alone means every name, `$sys/` included.
    pub(crate) fn applies_to(&self, name: &str) -> bool {
        self.pattern == "#" || name::matches(&self.pattern, name)
    }
}

/// What one message costs in history besides its own charge, and one channel besides its name.
pub(crate) const MESSAGE_ENTRY_BYTES: usize = ENTRY_BYTES + 2 * size_of::<u64>();
/// What a channel costs besides its name: its record, its place in the map and the audience's header.
pub(crate) const CHANNEL_BYTES: usize = 384;

/// Which part of history's bound idle channels may take from messages. Above it the longest idle is forgotten instead.
pub(crate) const IDLE_PART: usize = 8;
