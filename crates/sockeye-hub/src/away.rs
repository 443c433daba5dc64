//! The other side of a channel: what a shard does that is not its home, and the requests it has sent there.
//!
//! A subscriber is attached, or let go, when the home's answer is handled here, never before: so the requests of one
//! connection to one channel take effect in order. What was asked for a client that has gone meanwhile is undone.

use std::sync::Arc;

use crate::{
    audience::Options,
    channel::{Away, Page, Side},
    client::ClientId,
    error::Refusal,
    hub::Hub,
    message::Message,
    outbox::Done,
    planted::{Planted, is_planted},
    position::{Epoch, Position},
    request::{Now, Tag},
    shard::{Inner, PastFound, ShardMessage, Started},
};

/// A request that other shards have not answered yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) client: ClientId,
    pub(crate) tag: Tag,
    pub(crate) what: Asked,
}

/// What was asked.
#[derive(Debug)]
pub(crate) enum Asked {
    Subscribe { channel: u32, options: Options, reserved: bool },
    Unsubscribe { channel: Arc<str> },
    SubscribePattern { pattern: u32, options: Options, waits_for: u16 },
    UnsubscribePattern { pattern: Arc<str>, waits_for: u16 },
    Publish { reserved: bool },
    Past,
}

impl Hub {
    /// Notes a request that another shard must answer, and gives it its number.
    pub(crate) fn ask(&mut self, client: ClientId, tag: Tag, what: Asked) -> u64 {
        self.number += 1;
        let hot = &mut self.clients.hot[client.index()];
        hot.in_flight += 1;
        hot.awaits_past |= matches!(what, Asked::Past);
        self.requests.insert(self.number, Pending { client, tag, what });
        self.number
    }

    /// Takes a request that was answered.
    fn answered(&mut self, request: u64) -> Option<Pending> {
        let pending = self.requests.remove(&request)?;
        if self.clients.is_open(pending.client) {
            let hot = &mut self.clients.hot[pending.client.index()];
            hot.in_flight -= 1;
            hot.awaits_past &= !matches!(pending.what, Asked::Past);
            // It may be waiting for this to be read from again, even if there is nothing to tell it.
            if !is_planted(Planted::SilentAnswerSleeps) {
                self.touch(pending.client);
            }
        }
        Some(pending)
    }

    /// Whether a client still wants what it asked for.
    fn is_listening(&self, client: ClientId) -> bool {
        self.clients.is_open(client) && !self.clients.hot[client.index()].closing
    }

    /// The record of a channel that lives elsewhere, which is made if there was none.
    pub(crate) fn open_away(&mut self, name: &str, home: u16) -> u32 {
        if let Some(index) = self.channels.find(name) {
            return index;
        }
        let away = Away { home, interest: false, pending: 0 };
        self.channels.insert(name, Epoch::from_random(0), Side::Away(away))
    }

    /// Drops the record of a channel that nobody here hears. The home is told when nobody hears it exactly.
    pub(crate) fn release_away(&mut self, index: u32) {
        // What lives here stays, and is not looked at: that would cost it memory at a moment when nobody asks for the bound.
        if let Side::Home(_) = self.channels.get(index).side {
            return;
        }
        self.refresh_matched(index);
        let channel = self.channels.get_mut(index);
        let is_wanted =
            channel.has_exact_subscriber() || !channel.laggards.is_empty() || !channel.matched.is_empty();
        let has_exact_subscriber = channel.has_exact_subscriber();
        let name = Arc::clone(&channel.name);
        let Side::Away(away) = &mut channel.side else { return };
        let home = away.home;
        if away.interest && !has_exact_subscriber {
            away.interest = false;
            self.send(home, Inner::Forget { channel: name });
        }
        if !is_wanted {
            self.channels.remove(index);
        }
    }

    pub(crate) fn handle_subscribed(&mut self, request: u64, result: Result<Started, Refusal>, now: Now) {
        let Some(Pending { client, tag, what: Asked::Subscribe { channel: index, options, reserved } }) =
            self.answered(request)
        else {
            return;
        };
        let channel = self.channels.get_mut(index);
        let away = channel.away_mut().expect("what was asked of another shard lives there");
        away.pending -= 1;
        if let Ok(started) = &result {
            away.interest = true;
            channel.epoch = started.epoch;
        }
        if self.clients.is_open(client) {
            self.clients.cold[client.index()].settle_exact(index);
        }
        self.settle_reserved(client, reserved, result.as_ref().is_ok_and(|started| started.created));
        let name = Arc::clone(&self.channels.get(index).name);
        // The rights may have changed since this was asked.
        let result = result.and_then(|started| self.check_hearing(client, &name).map(|()| started));
        match result {
            Ok(started) if self.is_listening(client) => {
                self.attach(client, tag, index, options, started, now);
            }
            Ok(Started { epoch, head, recovered, .. }) => {
                let at = Some(Position { epoch, sequence: head });
                self.answer_late(client, tag, Ok(Done::Subscribed { at, recovered }));
            }
            Err(refusal) => self.answer_late(client, tag, Err(refusal)),
        }
        self.say_last_words(client);
        if self.channels.exists(index) {
            self.release_away(index);
        }
    }

    /// Another shard has handled everything up to this request.
    pub(crate) fn handle_echoed(&mut self, request: u64) {
        let Some(pending) = self.requests.get_mut(&request) else { return };
        if let Asked::SubscribePattern { waits_for, .. } | Asked::UnsubscribePattern { waits_for, .. } =
            &mut pending.what
        {
            *waits_for -= 1;
            if *waits_for > 0 {
                return;
            }
        }
        let Some(Pending { client, tag, what }) = self.answered(request) else { return };
        let is_listening = self.is_listening(client);
        match what {
            Asked::Unsubscribe { channel } if is_listening => self.detach_exact(client, tag, &channel),
            Asked::UnsubscribePattern { pattern, .. } if is_listening => {
                self.detach_pattern(client, tag, &pattern);
            }
            // Everything it heard has ended already.
            Asked::Unsubscribe { .. } | Asked::UnsubscribePattern { .. } => {
                self.answer_late(client, tag, Ok(Done::Unsubscribed));
            }
            Asked::SubscribePattern { pattern, options, .. } => {
                if self.clients.is_open(client) {
                    self.clients.cold[client.index()].settle_pattern(pattern);
                }
                // The subscription that was promised while asking is made real, or given up.
                if is_listening {
                    let text = Arc::clone(&self.patterns.get(pattern).text);
                    // As with a channel, the rights may have changed.
                    match self.check_hearing(client, &text) {
                        Ok(()) => self.attach_pattern(client, tag, pattern, options),
                        Err(refusal) => self.answer(client, tag, Err(refusal)),
                    }
                } else {
                    self.answer_late(client, tag, Ok(Done::Subscribed { at: None, recovered: None }));
                }
                self.release_pattern(pattern);
            }
            _ => {}
        }
        self.say_last_words(client);
    }

    pub(crate) fn handle_published(
        &mut self,
        request: u64,
        result: Result<(Position, bool), Refusal>,
        created: bool,
    ) {
        let Some(pending) = self.answered(request) else { return };
        let reserved = matches!(pending.what, Asked::Publish { reserved: true });
        self.settle_reserved(pending.client, reserved, created);
        let done = result.map(|(at, again)| Done::Published { at, again });
        self.answer_late(pending.client, pending.tag, done);
        self.say_last_words(pending.client);
    }

    pub(crate) fn handle_past(&mut self, request: u64, result: Result<PastFound, Refusal>) {
        let Some(pending) = self.answered(request) else { return };
        let done = self.past_done(result);
        self.answer_late(pending.client, pending.tag, done);
        self.say_last_words(pending.client);
    }

    /// A page for a client that reads on. One that nobody waits for any more is dropped.
    pub(crate) fn handle_page(
        &mut self,
        (number, client): (u64, ClientId),
        page: Page,
        live_next: u64,
        now: Now,
    ) {
        if !self.clients.is_open(client) {
            return;
        }
        let cold = &mut self.clients.cold[client.index()];
        let Some(reading) = cold.reading.take_if(|reading| reading.number == number) else { return };
        let index = client.index() as u32;
        let mut got_on = true;
        if let Some(channel) = reading.channel
            && let Some(place) = self.clients.find_lag(index, channel)
            && self.clients.cold[client.index()].lags[place].next == reading.next
        {
            got_on = self.apply_page(index, channel, page, live_next);
            if self.channels.exists(channel) {
                self.release_away(channel);
            }
        }
        // A page of which nothing fitted is asked for again when the outbox has been drained further, not at once.
        if got_on {
            self.pump(client, now);
        }
    }

    /// The next message of a channel that lives elsewhere.
    pub(crate) fn handle_delivery(&mut self, from: u16, message: &Arc<Message>) {
        let index = self.open_away(&message.channel, from);
        let channel = self.channels.get_mut(index);
        channel.epoch = message.epoch;
        channel.head = message.sequence;
        self.fan_out(index, message);
        if let Some(index) = self.channels.find(&message.channel) {
            self.release_away(index);
        }
        let due = self.links[usize::from(from)].note_handled(message, &self.limits);
        if let Some((messages, bytes)) = due {
            self.send(from, Inner::Credit { messages, bytes });
        }
    }

    /// Some places of a channel will not come by themselves: whoever had come so far must ask for them.
    pub(crate) fn handle_skipped(
        &mut self,
        from_shard: u16,
        name: &str,
        epoch: Epoch,
        (from, to): (u64, u64),
    ) {
        let index = self.open_away(name, from_shard);
        let channel = self.channels.get_mut(index);
        channel.epoch = epoch;
        channel.head = channel.head.max(to);
        for (client, options) in self.hearers(index) {
            match self.clients.find_lag(client, index) {
                Some(place) => {
                    let lag = &mut self.clients.cold[client as usize].lags[place];
                    if lag.waiting && lag.next <= to {
                        lag.waiting = false;
                        self.clients.touch(client);
                    }
                }
                None => {
                    self.begin_lag(client, index, from, options);
                    self.clients.touch(client);
                }
            }
        }
        if self.channels.exists(index) {
            self.release_away(index);
        }
    }

    /// The channel's incarnation has ended at `head`, and what was delivered here ends before `live_next`.
    pub(crate) fn handle_forgotten(
        &mut self,
        from: u16,
        name: &str,
        epoch: Epoch,
        (live_next, head): (u64, u64),
    ) {
        let index = self.open_away(name, from);
        self.channels.get_mut(index).epoch = epoch;
        if live_next <= head {
            for (client, _) in self.hearers(index) {
                if self.clients.find_lag(client, index).is_none() {
                    self.announce_end(client, index, (live_next, head));
                }
            }
        }
        self.end_lags(index, head);
        // Closing a client may have dropped the record; one that a subscription waits for lives on.
        if let Some(index) = self.channels.find(name)
            && !self.channels.get(index).has_exact_subscriber()
        {
            self.channels.remove(index);
        }
    }

    /// Handles a message of another shard, which must come in the order in which it was given out there.
    pub fn handle_shard(&mut self, from: u16, message: ShardMessage, now: Now) {
        self.latest = now;
        if usize::from(from) >= self.links.len() {
            return;
        }
        match message.0 {
            Inner::Subscribe { request, channel, start, creating } => {
                let result =
                    self.start(&channel, start, (Some(from), creating), now).map(|(_, started)| started);
                self.send(from, Inner::Subscribed { request, result });
                self.keep_totals(now);
            }
            Inner::Subscribed { request, result } => self.handle_subscribed(request, result, now),
            Inner::Forget { channel } => self.forget_interest(from, &channel, now),
            Inner::Register { request, pattern } => {
                let number = self.patterns.find_or_insert(&pattern);
                self.patterns.get_mut(number).shards.insert(from);
                self.send(from, Inner::Echoed { request });
            }
            Inner::Unregister { pattern } => {
                if let Some(number) = self.patterns.find(&pattern) {
                    self.patterns.get_mut(number).shards.remove(from);
                    self.patterns.remove_if_unused(number);
                }
            }
            Inner::Echo { request } => self.send(from, Inner::Echoed { request }),
            Inner::Echoed { request } => self.handle_echoed(request),
            Inner::Publish { request, channel, mut publish } => {
                let known = self.channels.find(&channel);
                let placed = self.place(&channel, known, &mut publish, now);
                let created = placed.as_ref().is_ok_and(|placed| placed.created);
                let result = match &placed {
                    Ok(placed) => Ok((self.position_of(placed), placed.again)),
                    Err(refusal) => Err(refusal.clone()),
                };
                // The answer goes first: a client hears of its own message after its answer.
                if request > 0 {
                    self.send(from, Inner::Published { request, result, created });
                }
                if let Ok(placed) = placed {
                    self.spread(&placed, now);
                }
            }
            Inner::Published { request, result, created } => {
                self.handle_published(request, result, created);
            }
            Inner::Past { request, channel, past } => {
                let result = self.look_back(&channel, past, now);
                self.send(from, Inner::PastFound { request, result });
            }
            Inner::PastFound { request, result } => self.handle_past(request, result),
            Inner::Read { number, client, channel, epoch, next, newest_only } => {
                self.answer_read(from, (number, client), (&channel, epoch), (next, newest_only), now);
            }
            Inner::Page { number, client, page, live_next } => {
                self.handle_page((number, client), page, live_next, now);
            }
            Inner::Deliver { message } => self.handle_delivery(from, &message),
            Inner::Skipped { channel, epoch, from: first, to } => {
                self.handle_skipped(from, &channel, epoch, (first, to));
            }
            Inner::Forgotten { channel, epoch, live_next, head } => {
                self.handle_forgotten(from, &channel, epoch, (live_next, head));
            }
            Inner::Credit { messages, bytes } => {
                self.links[usize::from(from)].note_credit(messages, bytes);
                self.read_on_for_shard(from, now);
            }
        }
    }
}
