//! How a client's story ends while its last words are still being written.
//!
//! Three endings: [`Hub::close`] is the hub's own (what is queued is dropped, so that a slow client hears soon),
//! [`Hub::bid_farewell`] the server's (what is queued still goes out), [`Hub::hush`] the gateway's (it has said the last
//! word itself). Deliberately absent: the socket, which is closed by its owner.

use crate::{
    client::ClientId,
    hub::Hub,
    outbox::{Bye, Item},
};

impl Hub {
    /// Ends a client's subscriptions, and queues a bye behind everything that it is still to hear.
    pub fn bid_farewell(&mut self, client: ClientId, bye: Bye) {
        if !self.clients.is_open(client) || self.clients.cold[client.index()].bye.is_some() {
            return;
        }
        self.clients.hot[client.index()].closing = true;
        self.clients.cold[client.index()].bye = Some(bye);
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
        let hot = &mut self.clients.hot[client.index()];
        self.clients.outbox_bytes -= hot.outbox.message_bytes();
        let (encoding, encoder) = (hot.encoding, self.encoder);
        hot.outbox.truncate(items_kept, |message| message.encoded(encoding, encoder).len());
        self.clients.outbox_bytes += hot.outbox.message_bytes();
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
