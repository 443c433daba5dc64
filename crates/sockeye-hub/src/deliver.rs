//! Fan-out: one message to everybody on this shard who hears its channel.
//!
//! This is the hot path: per subscriber it looks at one dense entry and one dense client, and appends a reference.
//! Nothing is looked up by hash, and nothing is encoded twice. A client hears a message once: its exact subscription
//! wins, else its oldest pattern that matches.

use std::sync::Arc;

use crate::{
    audience::{Listener, Options},
    channel::Side,
    client::Clients,
    hub::Hub,
    lag::Lag,
    limit::Limits,
    message::{ENCODINGS, Encoder, Encoding, Message},
    pattern::Patterns,
    planted::{Planted, is_planted},
    request::Slow,
    stats::Stats,
};

/// What looking at a node of the matching tree costs, in units of work.
const NODE_WORK: usize = 4;

/// One message on its way to many.
struct Delivery<'a> {
    clients: &'a mut Clients,
    laggards: &'a mut Vec<u32>,
    stats: &'a mut Stats,
    limits: &'a Limits,
    encoder: Encoder,
    message: &'a Arc<Message>,
    channel: u32,
    /// Encoded lengths, asked once per encoding.
    lengths: [Option<usize>; ENCODINGS],
    /// Clients that must be closed for being slow.
    doomed: Vec<u32>,
}

impl Hub {
    /// Gives a message to everybody here who hears its channel. Returns whether there is anybody.
    #[inline]
    pub(crate) fn fan_out(&mut self, index: u32, message: &Arc<Message>) -> bool {
        self.refresh_matched(index);
        let channel = self.channels.get(index);
        let is_heard = !channel.exact.is_empty() || !channel.matched.is_empty();
        if is_heard {
            self.offer_to_all(index, message);
        }
        is_heard
    }

    fn offer_to_all(&mut self, index: u32, message: &Arc<Message>) {
        let stamp = self.next_stamp();
        let channel = self.channels.get_mut(index);
        let mut delivery = Delivery {
            clients: &mut self.clients,
            laggards: &mut channel.laggards,
            stats: &mut self.stats,
            limits: &self.limits,
            encoder: self.encoder,
            message,
            channel: index,
            lengths: [None; ENCODINGS],
            doomed: Vec::new(),
        };

        let mut listeners = channel.exact.listeners().len();
        if channel.matched.is_empty() {
            for listener in channel.exact.listeners() {
                delivery.offer(listener);
            }
        } else {
            for listener in channel.exact.listeners() {
                delivery.clients.hot[listener.client as usize].stamp = stamp;
                delivery.offer(listener);
            }
            for number in &channel.matched {
                self.patterns.get_mut(*number).stamp = stamp;
            }
            for number in &channel.matched {
                let audience = self.patterns.get(*number).audience.listeners();
                listeners += audience.len();
                for listener in audience {
                    if wins(delivery.clients, &self.patterns, listener.client, *number, stamp) {
                        delivery.offer(listener);
                    }
                }
            }
        }

        let doomed = delivery.doomed;
        self.count_work(listeners);
        for client in doomed {
            self.close_slow(client);
        }
        if self.clients.outbox_bytes > self.limits.outbox_total_bytes_max {
            self.reclaim(None);
        }
    }

    /// Everybody here who hears a channel, with the options that win.
    pub(crate) fn hearers(&mut self, index: u32) -> Vec<(u32, Options)> {
        self.refresh_matched(index);
        let stamp = self.next_stamp();
        let channel = self.channels.get(index);
        let mut hearers = Vec::new();
        for listener in channel.exact.listeners() {
            self.clients.hot[listener.client as usize].stamp = stamp;
            hearers.push((listener.client, listener.options));
        }
        for number in &channel.matched {
            self.patterns.get_mut(*number).stamp = stamp;
        }
        for number in &channel.matched {
            for listener in self.patterns.get(*number).audience.listeners() {
                if wins(&self.clients, &self.patterns, listener.client, *number, stamp) {
                    hearers.push((listener.client, listener.options));
                }
            }
        }
        hearers
    }

    /// Brings the channel's list of matching patterns up to date.
    pub(crate) fn refresh_matched(&mut self, index: u32) {
        let version = self.patterns.version();
        let channel = self.channels.get_mut(index);
        if channel.matched_version == version {
            return;
        }
        channel.matched_version = version;
        let (matched, nodes) = match self.patterns.is_empty() {
            true => (Box::default(), 0),
            false => self.patterns.matching(&channel.name),
        };
        // It is kept with a channel, and so it counts to what channels cost.
        if let Side::Home(_) = channel.side {
            self.totals.bytes += size_of_val(&*matched);
            self.totals.bytes -= size_of_val(&*channel.matched);
        }
        channel.matched = matched;
        self.count_work(nodes * NODE_WORK);
    }

    /// The number of the next delivery: never 0, and never one that is still marked somewhere.
    fn next_stamp(&mut self) -> u32 {
        self.delivery = self.delivery.wrapping_add(1);
        if self.delivery == 0 {
            self.patterns.clear_stamps();
            for hot in &mut self.clients.hot {
                hot.stamp = 0;
            }
            self.delivery = 1;
        }
        self.delivery
    }
}

/// Whether, of all the client's subscriptions that mean the stamped channel, this pattern is the one that counts.
#[inline]
fn wins(clients: &Clients, patterns: &Patterns, client: u32, number: u32, stamp: u32) -> bool {
    let hot = &clients.hot[client as usize];
    if hot.stamp == stamp {
        return false;
    }
    if !hot.many_patterns {
        return true;
    }
    let mut subscriptions = clients.cold[client as usize].patterns.iter();
    let oldest = subscriptions.find(|subscription| patterns.get(subscription.pattern).stamp == stamp);
    oldest.is_some_and(|subscription| subscription.pattern == number)
}

impl Delivery<'_> {
    #[inline]
    fn offer(&mut self, listener: &Listener) {
        let index = listener.client as usize;
        if self.clients.hot[index].lagging > 0 && !self.catches_up(listener.client) {
            return;
        }
        let hot = &mut self.clients.hot[index];
        if hot.publisher == self.message.publisher && !listener.options.own {
            return;
        }
        let length = match self.lengths[hot.encoding.index()] {
            Some(length) => length,
            None => self.measure(listener.client),
        };
        let hot = &mut self.clients.hot[index];
        if !hot.outbox.has_room_for(length, self.limits) {
            let is_full = hot.outbox.messages() == self.limits.outbox_messages_max;
            if is_full && is_planted(Planted::FullOutboxDrops) {
                return;
            }
            self.fall_behind(listener);
            return;
        }
        if hot.outbox.is_empty() {
            self.clients.movements += 1;
            hot.moved = self.clients.movements;
        }
        hot.outbox.push_message(Arc::clone(self.message), length);
        self.clients.outbox_bytes += length;
        self.stats.delivered += 1;
        self.clients.touch(listener.client);
    }

    #[cold]
    fn measure(&mut self, client: u32) -> usize {
        let encoding: Encoding = self.clients.hot[client as usize].encoding;
        let length = self.message.encoded(encoding, self.encoder).len();
        self.lengths[encoding.index()] = Some(length);
        length
    }

    /// Whether a client that lags somewhere takes this message as it comes: it does not lag on this channel, or it
    /// waited for exactly this place.
    #[cold]
    fn catches_up(&mut self, client: u32) -> bool {
        let lags = &mut self.clients.cold[client as usize].lags;
        let Some(lag) = lags.iter_mut().find(|lag| lag.channel == self.channel) else { return true };
        if lag.waiting && self.message.sequence < lag.next && is_planted(Planted::PageTwice) {
            return true;
        }
        if !lag.waiting || self.message.sequence < lag.next {
            return false;
        }
        lag.waiting = false;
        if self.message.sequence > lag.next {
            return false;
        }
        self.clients.remove_lag(client, self.channel, self.laggards);
        true
    }

    /// The outbox is full: from this message on the client lags on this channel, or is closed.
    #[cold]
    fn fall_behind(&mut self, listener: &Listener) {
        if self.clients.hot[listener.client as usize].closing {
            return;
        }
        self.stats.lagged += 1;
        let is_full =
            self.clients.cold[listener.client as usize].lags.len() >= self.limits.lagging_channels_max;
        if is_full || listener.options.slow == Slow::Close {
            self.clients.hot[listener.client as usize].closing = true;
            self.doomed.push(listener.client);
            return;
        }
        let next = self.message.sequence + u64::from(is_planted(Planted::LagTooLate));
        let lag = Lag::new(self.channel, next, listener.options);
        self.clients.insert_lag(listener.client, lag, self.laggards);
    }
}
