//! What shards write to each other: messages of their hubs, connections, and what the whole server is told.
//!
//! Between two shards letters arrive in the order in which they were written. Deliberately absent: how they get there
//! (`inbox.rs` on the real kernel), and what a hub's message says, which only hubs know.

use std::sync::Arc;

use sockeye_hub::ShardMessage;

use super::kernel::Accepted;
use super::steward::Orders;

/// One letter.
#[derive(Debug)]
pub struct Letter<S> {
    /// The shard that wrote it.
    pub from: u16,
    /// What it says.
    pub content: Content<S>,
}

/// What a letter says.
#[derive(Debug)]
pub enum Content<S> {
    /// From that shard's hub to this one's.
    Hub(ShardMessage),
    /// A connection to take in, which came to a listener that only one shard has.
    Connection(Box<Accepted<S>>),
    /// How far the drain of that shard has come.
    Drain(Stage),
    /// What the whole server is told.
    Control(Control),
}

/// What the whole server is told, each shard by a letter of its own.
#[derive(Clone, Debug)]
pub enum Control {
    /// End in good order.
    Drain,
    /// Go on with another configuration.
    Reload(Arc<Orders>),
    /// End the loop: every shard is drained, or one of them cannot go on.
    End,
}

/// How far the drain of a shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It takes no new requests: whatever it has published stands before this letter.
    Quiet,
    /// It has placed what was published before that: whatever is to be heard stands before this letter.
    Spread,
}

impl<S> Letter<S> {
    /// What it carries that no window bounds.
    pub(super) fn payload_bytes(&self) -> usize {
        match &self.content {
            Content::Hub(message) => message.payload_bytes(),
            _ => 0,
        }
    }
}
