//! How a client's story ends while its last words are still being written.
//!
//! What was asked before the end is answered before it, even where other shards answer. Three endings: [`Hub::close`] is the hub's own (what is queued is dropped, so that a slow client hears soon),
//! [`Hub::bid_farewell`] the server's (what is queued still goes out), [`Hub::hush`] the gateway's (it has said the last
//! word itself). Deliberately absent: the socket, which is closed by its owner.

use crate::{
    client::ClientId,
    error::Refusal,
    hub::Hub,
    outbox::{Bye, Done, GapReason, Item},
    request::Tag,
};

impl Hub {
    /// Ends a client's subscriptions, and queues a bye behind everything that it is still to hear. What it would have read
    /// on from history is announced as missing: this is the last that it hears.
    pub fn bid_farewell(&mut self, client: ClientId, bye: Bye) {
        if !self.clients.is_open(client) || self.clients.cold[client.index()].bye.is_some() {
            return;
        }
        self.last_words.remove(&client.to_u64());
        self.clients.hot[client.index()].closing = true;
        self.clients.cold[client.index()].bye = Some(bye);
        while let Some(lag) = self.clients.cold[client.index()].lags.back().copied() {
            let index = client.index() as u32;
            let end = self.channels.get(lag.channel).head.max(lag.replay_to);
            if lag.next <= end {
                self.announce(index, lag.channel, (lag.next, end), GapReason::Slow);
            }
            self.end_lag(index, lag.channel);
            self.release_away(lag.channel);
        }
        self.detach_all(client);
        self.push_other(client.index() as u32, Item::Bye(Box::new(bye)));
    }

    /// Ends a client's subscriptions, and drops everything queued behind the first `items_kept` items.
    pub fn hush(&mut self, client: ClientId, items_kept: usize) {
        if !self.clients.is_open(client) {
            return;
        }
        self.clients.hot[client.index()].closing = true;
        self.detach_all(client);
        let (encoding, encoder) = (self.clients.hot[client.index()].encoding, self.encoder);
        self.clients.change_outbox(client.index() as u32, |outbox| {
            outbox.truncate(items_kept, |message| message.encoded(encoding, encoder).len());
        });
    }

    /// Bytes of the gateway's own that come after everything else: after the answers that other shards still owe too. It
    /// is to be hushed, or is already.
    pub fn queue_last_bytes(&mut self, client: ClientId, bytes: Box<[u8]>) {
        if self.requests_in_flight(client) == 0 {
            self.queue_bytes(client, bytes);
        } else {
            self.last_words.insert(client.to_u64(), bytes);
        }
    }

    /// Answers what was asked before the end came, unless the client has had its bye: nothing follows that.
    pub(crate) fn answer_late(&mut self, client: ClientId, tag: Tag, result: Result<Done, Refusal>) {
        if self.clients.is_open(client) && self.clients.cold[client.index()].bye.is_none() {
            self.answer(client, tag, result);
        }
    }

    /// The last answer was given: what was to follow it follows.
    pub(crate) fn say_last_words(&mut self, client: ClientId) {
        if !self.last_words.is_empty()
            && self.requests_in_flight(client) == 0
            && let Some(bytes) = self.last_words.remove(&client.to_u64())
        {
            self.queue_bytes(client, bytes);
        }
    }

    /// Puts a client on the list of those that have something to write.
    pub fn touch(&mut self, client: ClientId) {
        if self.clients.is_open(client) {
            self.clients.touch(client.index() as u32);
        }
    }

    /// Whether [`Hub::take_touched`] may have somebody to give.
    pub fn has_touched(&self) -> bool {
        self.clients.has_touched()
    }
}
