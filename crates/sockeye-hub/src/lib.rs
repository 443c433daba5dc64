//! Who hears what: channels, positions, history, outboxes, lagging readers and gaps, as a pure state machine.
//!
//! [`Hub`] is the door. Commands come in as calls, their outcomes are [`Item`]s in the [`Outbox`] of the client
//! that asked, in one first-in-first-out queue with the messages it hears. Several hubs, one per shard, exchange
//! [`ShardMessage`]s; one alone does the same work with plain calls.
//!
//! Reading order: names ([`check_name`], [`matches()`]), [`Position`], [`Message`], the requests ([`Subscribe`],
//! [`Publish`], [`Past`]), the [`Outbox`] and its answers, then [`Hub`]. Inside: `channel` (one incarnation of a
//! name), `audience` (who hears it), `history` (the ring), `lag` (slow readers and recovery), `home` and `away`
//! (the two sides of a channel when shards divide the work).
//!
//! Rights ([`Rights`], [`Identity`]) are asked for in `admission`, at the door of every request.
//!
//! Deliberately absent: protocols (a message's encoded forms come from the caller's [`Encoder`]), tokens, sockets,
//! clocks, threads and chance: time and the seed arrive as arguments.

pub mod planted;

mod admission;
mod audience;
mod auth;
mod away;
mod channel;
mod client;
mod creation;
mod deliver;
mod ending;
mod error;
mod event;
mod history;
mod home;
mod hub;
mod key;
mod lag;
mod limit;
mod message;
mod name;
mod outbox;
mod pattern;
mod position;
mod reclaim;
mod reconfigure;
mod request;
mod shard;
mod stats;
mod subscription;
mod tree;

pub use auth::{Identity, Rights, USER_PLACE};
pub use client::{ClientId, ClientSetup};
pub use creation::Creations;
pub use error::{NameError, Refusal, RefusalCode};
pub use event::{Change, ChannelEvent};
pub use hub::Hub;
pub use limit::{Limits, Rule, RuleKind};
pub use message::{ENCODINGS, Encoded, Encoder, Encoding, Kind, Message};
pub use name::{check_name, check_pattern, is_pattern, is_system, matches};
pub use outbox::{Answer, Bye, Done, Gap, GapReason, Item, NotRecovered, Notice, Outbox};
pub use position::{Epoch, Position};
pub use request::{Now, Past, Publish, Slow, Start, Subscribe, Tag};
pub use shard::{ShardInfo, ShardMessage};
pub use stats::Stats;
