//! Lagging and reading on: one mechanism for slow readers, recovery after a reconnect, and paging.
//!
//! ```text
//!             outbox full, or a start in the past
//!   in sync --------------------------------------> lagging at `next`
//!      ^                                               |  room in the outbox: a page is read from the ring,
//!      |   next is what comes next                     |  what the ring has lost is announced as a gap
//!      +-----------------------------------------------+
//!      |   `next` comes in its turn                    v
//!      +------------------------------------------- waiting: ahead of what this shard was delivered
//! ```
//!
//! While a (client, channel) lags, nothing of that channel enters its outbox but through pages, so order holds and
//! nothing comes twice. Pages of channels that live on another shard are asked for, one at a time per client.

use crate::{
    audience::Options,
    channel::{Page, Side},
    client::{ClientId, Clients},
    hub::Hub,
    limit::Limits,
    outbox::{Gap, GapReason, Item, Outbox},
    planted::{Planted, is_planted},
    request::{Now, Slow},
    shard::Inner,
};

/// One client that reads on from the history of one channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) channel: u32,
    /// It has everything this shard was delivered and more: it waits for `next` to come in its turn.
    pub(crate) waiting: bool,
    pub(crate) options: Options,
    /// The first place it has not got.
    pub(crate) next: u64,
    /// Up to here it asked for the past, so `slow: latest` does not skip it.
    pub(crate) replay_to: u64,
}

/// A page that was asked of another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) number: u64,
    /// `None` when the lag it was asked for is gone.
    pub(crate) channel: Option<u32>,
    pub(crate) next: u64,
}

impl Lag {
    pub(crate) fn new(channel: u32, next: u64, options: Options) -> Self {
        Self { channel, waiting: false, options, next, replay_to: 0 }
    }
}

impl Outbox {
    /// Whether a message of this encoded length may enter. One always may where none waits, however long it is.
    #[inline]
    pub(crate) fn has_room_for(&self, length: usize, limits: &Limits) -> bool {
        let fits = self.message_bytes() + length <= limits.outbox_bytes_max
            && self.messages() < limits.outbox_messages_max;
        fits || self.messages() == 0
    }
}

impl Clients {
    pub(crate) fn find_lag(&self, client: u32, channel: u32) -> Option<usize> {
        self.cold[client as usize].lags.iter().position(|lag| lag.channel == channel)
    }

    pub(crate) fn insert_lag(&mut self, client: u32, lag: Lag, laggards: &mut Vec<u32>) {
        self.cold[client as usize].lags.push_back(lag);
        self.hot[client as usize].lagging += 1;
        self.lagging += 1;
        laggards.push(client);
    }

    /// Ends a lag. A page that is under way for it is not wanted any more.
    pub(crate) fn remove_lag(&mut self, client: u32, channel: u32, laggards: &mut Vec<u32>) -> Option<Lag> {
        let place = self.find_lag(client, channel)?;
        let cold = &mut self.cold[client as usize];
        let lag = cold.lags.remove(place);
        if let Some(reading) = cold.reading.as_mut().filter(|reading| reading.channel == Some(channel)) {
            reading.channel = None;
        }
        self.hot[client as usize].lagging -= 1;
        self.lagging -= 1;
        if let Some(place) = laggards.iter().position(|laggard| *laggard == client) {
            laggards.swap_remove(place);
        }
        lag
    }
}

impl Hub {
    /// Reads lagging channels on from history while the outbox has room: in turn, 16 KiB each.
    ///
    /// The shell calls it before it gathers the outbox of a touched or writable client, and again after draining it.
    #[inline]
    pub fn pump(&mut self, client: ClientId, now: Now) {
        if self.clients.is_open(client) && self.clients.hot[client.index()].lagging > 0 {
            self.pump_lags(client, now);
        }
    }

    #[cold]
    fn pump_lags(&mut self, client: ClientId, now: Now) {
        let index = client.index() as u32;
        // Every lag is looked at until none of them gets on: each round either moves one, or counts towards the end.
        let mut passed = 0;
        while passed < self.clients.cold[client.index()].lags.len() && self.has_room_for_page(index) {
            let lags = &mut self.clients.cold[client.index()].lags;
            lags.rotate_left(1);
            let lag = *lags.back().expect("there are more lags than were passed");
            passed = if self.read_on(index, lag, now) { 0 } else { passed + 1 };
        }
        if self.clients.outbox_bytes > self.limits.outbox_total_bytes_max {
            self.reclaim(Some(index));
        }
    }

    /// Whether it is time to read on: less than half of the outbox is used. All outboxes together are minded too, yet
    /// one message may always enter where none waits, so that everybody gets on.
    fn has_room_for_page(&self, client: u32) -> bool {
        let outbox = &self.clients.hot[client as usize].outbox;
        let fits = outbox.message_bytes() < self.limits.outbox_bytes_max / 2
            && outbox.messages() < self.limits.outbox_messages_max / 2
            && self.clients.outbox_bytes < self.limits.outbox_total_bytes_max;
        fits || outbox.messages() == 0
    }

    /// Reads one page for one lag, or asks its home for one. Tells whether the lag got on.
    fn read_on(&mut self, client: u32, lag: Lag, now: Now) -> bool {
        let newest_only = lag.options.slow == Slow::Latest && lag.next > lag.replay_to;
        let channel = self.channels.get_mut(lag.channel);
        if let Side::Away(away) = &channel.side {
            let cold = &mut self.clients.cold[client as usize];
            if lag.waiting || cold.reading.is_some() {
                return false;
            }
            self.number += 1;
            let (number, home) = (self.number, away.home);
            cold.reading = Some(Reading { number, channel: Some(lag.channel), next: lag.next });
            let read = Inner::Read {
                number,
                client: self.clients.id(client),
                channel: channel.name.clone(),
                epoch: channel.epoch,
                next: lag.next,
                newest_only,
            };
            self.send(home, read);
            return false;
        }
        let page_bytes = self.limits.page_bytes;
        let page = channel.page(lag.next, newest_only, page_bytes, &self.rules, now.ms, &mut self.totals);
        let live_next = channel.head + 1;
        self.apply_page(client, lag.channel, page, live_next)
    }

    /// Puts a page into the outbox, as far as it fits. Tells whether the lag got on. `live_next` is the next place
    /// that comes to this shard by itself.
    pub(crate) fn apply_page(&mut self, client: u32, channel: u32, page: Page, live_next: u64) -> bool {
        let Some(place) = self.clients.find_lag(client, channel) else { return false };
        let lag = self.clients.cold[client as usize].lags[place];
        let mut next = lag.next;

        if let Some((from, to)) = page.gap {
            if lag.options.slow == Slow::Close {
                self.close_slow(client);
                return true;
            }
            let short = u64::from(to > from && is_planted(Planted::GapTooShort));
            self.announce(client, channel, (from, to - short), GapReason::Slow);
            next = to + 1;
        }
        let mut is_whole = true;
        for message in page.messages {
            let hot = &mut self.clients.hot[client as usize];
            if hot.publisher != message.publisher || lag.options.own {
                let length = message.encoded(hot.encoding, self.encoder).len();
                let is_over = self.clients.outbox_bytes + length > self.limits.outbox_total_bytes_max
                    && hot.outbox.messages() > 0;
                if is_over || !hot.outbox.has_room_for(length, &self.limits) {
                    is_whole = false;
                    break;
                }
                if hot.outbox.is_empty() {
                    self.clients.note_moved(client);
                }
                next = message.sequence + 1;
                self.clients.hot[client as usize].outbox.push_message(message, length);
                self.clients.outbox_bytes += length;
                self.stats.delivered += 1;
                self.clients.touch(client);
            }
        }
        if is_whole {
            next = page.next;
        }

        if next == live_next {
            self.end_lag(client, channel);
            return true;
        }
        let lag_now = &mut self.clients.cold[client as usize].lags[place];
        lag_now.next = next;
        lag_now.waiting = next > live_next;
        next != lag.next
    }

    /// Tells a client what it will not get.
    pub(crate) fn announce(&mut self, client: u32, channel: u32, (from, to): (u64, u64), why: GapReason) {
        let channel = self.channels.get(channel);
        let gap = Gap { channel: channel.name.clone(), epoch: channel.epoch, from, to, why };
        self.count_gap(&gap);
        self.push_other(client, Item::Gap(Box::new(gap)));
    }

    /// Counts a gap that is announced.
    pub(crate) fn count_gap(&mut self, gap: &Gap) {
        let missed = gap.to - gap.from + 1;
        self.stats.gaps += 1;
        match gap.why {
            GapReason::Evicted => self.stats.missed_evicted += missed,
            GapReason::Slow | GapReason::TooLarge => self.stats.missed_slow += missed,
        }
    }

    /// Begins a lag at `next`, unless there is one. A client that may not lag is closed.
    pub(crate) fn begin_lag(&mut self, client: u32, channel: u32, next: u64, options: Options) {
        if self.clients.hot[client as usize].closing || self.clients.find_lag(client, channel).is_some() {
            return;
        }
        let is_full = self.clients.cold[client as usize].lags.len() >= self.limits.lagging_channels_max;
        if is_full || options.slow == Slow::Close {
            self.close_slow(client);
            return;
        }
        let lag = Lag::new(channel, next, options);
        self.clients.insert_lag(client, lag, &mut self.channels.get_mut(channel).laggards);
    }

    /// Ends a lag, whatever is left of it.
    pub(crate) fn end_lag(&mut self, client: u32, channel: u32) -> Option<Lag> {
        self.clients.remove_lag(client, channel, &mut self.channels.get_mut(channel).laggards)
    }

    /// How a client hears a channel: by its exact subscription, else by its oldest pattern that means the name.
    pub(crate) fn hearing(&self, client: u32, channel: u32) -> Option<Options> {
        let cold = &self.clients.cold[client as usize];
        let channel_heard = self.channels.get(channel);
        if let Some(exact) = cold.exacts.iter().find(|exact| exact.channel == channel) {
            return Some(channel_heard.exact.listeners()[exact.listener as usize].options);
        }
        let mut patterns = cold.patterns.iter();
        let winner = patterns.find(|subscription| {
            crate::name::matches(&self.patterns.get(subscription.pattern).text, &channel_heard.name)
        });
        winner.map(|subscription| subscription.options)
    }

    /// A subscription that may have fed this lag is gone: the next one takes it over, or it ends.
    pub(crate) fn hand_over_lag(&mut self, client: u32, channel: u32) {
        match self.hearing(client, channel) {
            Some(options) => {
                if let Some(place) = self.clients.find_lag(client, channel) {
                    self.clients.cold[client as usize].lags[place].options = options;
                }
            }
            None => {
                self.end_lag(client, channel);
            }
        }
    }
}
