//! Subscribing and letting go: where a client enters the audience of a channel or pattern, and where it leaves.

use std::sync::Arc;

use crate::{
    audience::{Listener, Options},
    away::Asked,
    channel::Side,
    client::{ClientId, Exact, PatternSubscription, count_new},
    error::{Refusal, RefusalCode},
    hub::Hub,
    lag::Lag,
    name,
    outbox::Done,
    planted::{Planted, is_planted},
    position::Position,
    request::{Now, Start, Subscribe, Tag},
    shard::{Inner, Started},
};

impl Hub {
    /// Subscribes to a channel, or to a pattern, which is live only. The same name again replaces the options and is
    /// answered anew.
    pub fn subscribe(&mut self, client: ClientId, tag: Tag, name: &str, subscribe: Subscribe, now: Now) {
        self.latest = now;
        if !self.is_serving(client) {
            return;
        }
        if let Err(refusal) = self.check_subscribe(client, name, &subscribe) {
            return self.answer(client, tag, Err(refusal));
        }
        let options = Options { own: subscribe.own, slow: subscribe.slow };
        if name::is_pattern(name) {
            return self.subscribe_pattern(client, tag, name, options);
        }
        let home = self.home_of(name);
        if home == self.shard.index {
            match self.start(name, subscribe.start, (None, self.creating(client)), now) {
                Ok((index, started)) => {
                    if started.created {
                        self.note_created(client);
                    }
                    self.attach(client, tag, index, options, started, now);
                    self.settle(index, now);
                    self.keep_totals(now);
                }
                Err(refusal) => self.answer(client, tag, Err(refusal)),
            }
        } else if self.may_ask(client, &tag) {
            let index = self.open_away(name, home);
            let channel = self.channels.get_mut(index);
            channel.away_mut().expect("its home is elsewhere").pending += 1;
            let channel_name = Arc::clone(&channel.name);
            self.clients.cold[client.index()].pending.get_or_insert_default().exacts.push(index);
            let (creating, reserved) = self.reserve_creation(client);
            let request = self.ask(client, tag, Asked::Subscribe { channel: index, options, reserved });
            let start = subscribe.start;
            self.send(home, Inner::Subscribe { request, channel: channel_name, start, creating });
        }
    }

    /// Ends a subscription. After its answer nothing of it follows.
    pub fn unsubscribe(&mut self, client: ClientId, tag: Tag, name: &str, now: Now) {
        self.latest = now;
        if !self.is_serving(client) {
            return;
        }
        if let Err(error) = name::check_pattern(name) {
            return self.answer(client, tag, Err(error.into()));
        }
        if name::is_pattern(name) {
            if self.shard.count == 1 {
                self.detach_pattern(client, tag, name);
            } else if self.may_ask(client, &tag) {
                let waits_for = self.shard.count - 1;
                let asked = Asked::UnsubscribePattern { pattern: name.into(), waits_for };
                let request = self.ask(client, tag, asked);
                self.send_to_others(|| Inner::Echo { request });
            }
            return;
        }
        let home = self.home_of(name);
        if home == self.shard.index {
            self.detach_exact(client, tag, name);
        } else if self.may_ask(client, &tag) {
            let mut tag = tag;
            if is_planted(Planted::ConfirmedTooSoon) && self.hears_exactly(client, name) {
                let tag = std::mem::replace(&mut tag, Tag::Silent);
                self.answer(client, tag, Ok(Done::Unsubscribed));
            }
            let request = self.ask(client, tag, Asked::Unsubscribe { channel: name.into() });
            self.send(home, Inner::Echo { request });
        }
    }

    /// Lets a client hear a channel from the moment that its home told.
    pub(crate) fn attach(
        &mut self,
        client: ClientId,
        tag: Tag,
        index: u32,
        options: Options,
        started: Started,
        now: Now,
    ) {
        let number = client.index() as u32;
        let is_behind = started.next <= started.head || started.live_next <= started.head;
        let others = self.clients.cold[client.index()].lags.iter().filter(|lag| lag.channel != index).count();
        if is_behind && others >= self.limits.lagging_channels_max {
            // What was heard before goes on as it was.
            let why = format!("{} channels are being read on already", self.limits.lagging_channels_max);
            return self.answer(client, tag, Err(Refusal::passing(RefusalCode::Busy, why)));
        }
        // A lag of what was heard before is over: the answer begins the story anew.
        self.end_lag(number, index);

        let channel = self.channels.get_mut(index);
        let cold = &mut self.clients.cold[client.index()];
        match cold.exacts.iter().find(|exact| exact.channel == index) {
            Some(exact) => channel.exact.get_mut(exact.listener).options = options,
            None => {
                let slot = cold.exacts.len() as u32;
                let listener = channel.exact.insert(Listener { client: number, slot, options });
                cold.exacts.push(Exact { channel: index, listener });
                self.clients.subscriptions += 1;
                self.events.system_hearers += usize::from(name::is_system(&channel.name));
            }
        }
        if is_behind {
            let waiting = started.next > started.live_next;
            let lag = Lag { channel: index, waiting, options, next: started.next, replay_to: started.head };
            self.clients.insert_lag(number, lag, &mut channel.laggards);
        }
        let at = Some(Position { epoch: started.epoch, sequence: started.head });
        self.answer(client, tag, Ok(Done::Subscribed { at, recovered: started.recovered }));
        self.raise_barrier(client);
        self.pump(client, now);
    }

    /// Lets a client no longer hear a channel, and answers.
    pub(crate) fn detach_exact(&mut self, client: ClientId, tag: Tag, name: &str) {
        let index = self.channels.find(name);
        if index.is_some_and(|index| self.drop_exact(client, index)) {
            self.answer(client, tag, Ok(Done::Unsubscribed));
            self.raise_barrier(client);
        } else {
            self.answer(client, tag, Err(not_subscribed(name)));
        }
    }

    /// Lets a client hear a pattern, after all shards know of it.
    pub(crate) fn attach_pattern(&mut self, client: ClientId, tag: Tag, number: u32, options: Options) {
        let index = client.index() as u32;
        let replaced = self.drop_pattern_subscription(client, number);
        let pattern = self.patterns.get_mut(number);
        pattern.references += 1;
        self.events.system_hearers += usize::from(name::is_system(&pattern.text));
        let listener = pattern.audience.insert(Listener { client: index, slot: 0, options });
        let cold = &mut self.clients.cold[client.index()];
        cold.patterns.push(PatternSubscription { pattern: number, listener, options });
        self.clients.hot[client.index()].many_patterns = cold.patterns.len() > 1;
        self.clients.patterns += 1;
        if replaced {
            self.hand_over_lags(client);
        }
        self.answer(client, tag, Ok(Done::Subscribed { at: None, recovered: None }));
        self.raise_barrier(client);
    }

    /// Lets a client no longer hear a pattern, and answers.
    pub(crate) fn detach_pattern(&mut self, client: ClientId, tag: Tag, text: &str) {
        let number = self.patterns.find(text);
        if number.is_some_and(|number| self.drop_pattern(client, number)) {
            self.answer(client, tag, Ok(Done::Unsubscribed));
            self.raise_barrier(client);
        } else {
            self.answer(client, tag, Err(not_subscribed(text)));
        }
    }

    /// Takes a client out of a pattern's audience, with all that follows. Tells whether it was in it.
    pub(crate) fn drop_pattern(&mut self, client: ClientId, number: u32) -> bool {
        let was_heard = self.drop_pattern_subscription(client, number);
        if was_heard {
            self.hand_over_lags(client);
            self.release_pattern_if_unused(number);
        }
        was_heard
    }

    /// A subscription to a pattern that other shards were asked about is made real or given up: the promise ends.
    pub(crate) fn release_pattern(&mut self, number: u32) {
        self.patterns.get_mut(number).references -= 1;
        self.release_pattern_if_unused(number);
    }

    /// Ends everything a client hears.
    pub(crate) fn detach_all(&mut self, client: ClientId) {
        while let Some(subscription) = self.clients.cold[client.index()].patterns.last().copied() {
            self.drop_pattern_subscription(client, subscription.pattern);
            self.release_pattern_if_unused(subscription.pattern);
        }
        while let Some(exact) = self.clients.cold[client.index()].exacts.last().copied() {
            self.drop_exact(client, exact.channel);
        }
        while let Some(lag) = self.clients.cold[client.index()].lags.back().copied() {
            self.end_lag(client.index() as u32, lag.channel);
            self.release_away(lag.channel);
        }
    }

    fn check_subscribe(&self, client: ClientId, name: &str, subscribe: &Subscribe) -> Result<(), Refusal> {
        name::check_pattern(name)?;
        self.check_hearing(client, name)?;
        let cold = &self.clients.cold[client.index()];
        if !name::is_pattern(name) {
            let pending = cold.pending_exacts();
            if cold.exacts.len() + pending.len() < self.limits.subscriptions_max {
                return Ok(());
            }
            let is_attached = |channel: u32| cold.exacts.iter().any(|exact| exact.channel == channel);
            let count = cold.exacts.len() + count_new(pending, is_attached);
            let index = self.channels.find(name);
            let is_known = index.is_some_and(|index| is_attached(index) || pending.contains(&index));
            if count >= self.limits.subscriptions_max && !is_known {
                let why = format!("a client has at most {} subscriptions", self.limits.subscriptions_max);
                return Err(Refusal::lasting(RefusalCode::TooMany, why));
            }
            return Ok(());
        }
        if subscribe.start != Start::Live {
            let why = "since and last take a channel, not a pattern";
            return Err(Refusal::lasting(RefusalCode::BadRequest, why));
        }
        let pending = cold.pending_patterns();
        let is_attached = |number: u32| cold.patterns.iter().any(|attached| attached.pattern == number);
        let count = cold.patterns.len() + count_new(pending, is_attached);
        let number = self.patterns.find(name);
        let is_known = number.is_some_and(|number| is_attached(number) || pending.contains(&number));
        if count >= self.limits.patterns_max && !is_known {
            let why = format!("a client has at most {} patterns", self.limits.patterns_max);
            return Err(Refusal::lasting(RefusalCode::TooMany, why));
        }
        Ok(())
    }

    fn subscribe_pattern(&mut self, client: ClientId, tag: Tag, text: &str, options: Options) {
        if self.shard.count == 1 {
            let number = self.patterns.find_or_insert(text);
            return self.attach_pattern(client, tag, number, options);
        }
        if self.may_ask(client, &tag) {
            let number = self.patterns.find_or_insert(text);
            let pattern = self.patterns.get_mut(number);
            pattern.references += 1;
            let text = Arc::clone(&pattern.text);
            self.clients.cold[client.index()].pending.get_or_insert_default().patterns.push(number);
            let waits_for = self.shard.count - 1;
            let asked = Asked::SubscribePattern { pattern: number, options, waits_for };
            let request = self.ask(client, tag, asked);
            self.send_to_others(|| Inner::Register { request, pattern: Arc::clone(&text) });
        }
    }

    fn hears_exactly(&self, client: ClientId, name: &str) -> bool {
        let index = self.channels.find(name);
        self.clients.cold[client.index()].exacts.iter().any(|exact| Some(exact.channel) == index)
    }

    /// Takes a client out of a channel's audience. Tells whether it was in it.
    pub(crate) fn drop_exact(&mut self, client: ClientId, index: u32) -> bool {
        let number = client.index() as u32;
        let cold = &mut self.clients.cold[client.index()];
        let Some(slot) = cold.exacts.iter().position(|exact| exact.channel == index) else { return false };
        let removed = cold.exacts.swap_remove(slot);
        // Both arrays fill the hole from their end, and the other side of what moved is told its new place.
        if let Some(moved) = cold.exacts.get(slot) {
            self.channels.get_mut(moved.channel).exact.get_mut(moved.listener).slot = slot as u32;
        }
        if let Some(moved) = self.channels.get_mut(index).exact.remove(removed.listener) {
            self.clients.cold[moved.client as usize].exacts[moved.slot as usize].listener = removed.listener;
        }
        self.clients.subscriptions -= 1;
        self.events.system_hearers -= usize::from(name::is_system(&self.channels.get(index).name));
        // A pattern may still mean this channel: what was missed is its story then.
        self.hand_over_lag(number, index);
        match &self.channels.get(index).side {
            Side::Home(_) => self.settle(index, self.latest),
            Side::Away(_) => self.release_away(index),
        }
        true
    }

    /// Takes a client out of a pattern's audience. Tells whether it was in it.
    fn drop_pattern_subscription(&mut self, client: ClientId, number: u32) -> bool {
        let cold = &mut self.clients.cold[client.index()];
        let Some(place) = cold.patterns.iter().position(|subscription| subscription.pattern == number) else {
            return false;
        };
        // The order stays: the oldest wins.
        let removed = cold.patterns.remove(place);
        self.clients.hot[client.index()].many_patterns = cold.patterns.len() > 1;
        self.clients.patterns -= 1;
        let pattern = self.patterns.get_mut(number);
        pattern.references -= 1;
        self.events.system_hearers -= usize::from(name::is_system(&pattern.text));
        if let Some(moved) = pattern.audience.remove(removed.listener) {
            let mut subscriptions = self.clients.cold[moved.client as usize].patterns.iter_mut();
            let subscription = subscriptions.find(|subscription| subscription.pattern == number);
            subscription.expect("a listener has a subscription").listener = removed.listener;
        }
        true
    }

    /// Drops a pattern that nobody here hears, and tells the other shards.
    fn release_pattern_if_unused(&mut self, number: u32) {
        let pattern = self.patterns.get(number);
        if pattern.references > 0 {
            return;
        }
        let text = Arc::clone(&pattern.text);
        self.send_to_others(|| Inner::Unregister { pattern: Arc::clone(&text) });
        self.patterns.remove_if_unused(number);
    }

    /// The client's patterns have changed: each of its lags goes on under what means its channel, or ends.
    fn hand_over_lags(&mut self, client: ClientId) {
        let number = client.index() as u32;
        let channels: Vec<u32> =
            self.clients.cold[client.index()].lags.iter().map(|lag| lag.channel).collect();
        for channel in channels {
            self.hand_over_lag(number, channel);
            self.release_away(channel);
        }
    }

    /// What is queued before this moment belongs to a story that has ended.
    pub(crate) fn raise_barrier(&mut self, client: ClientId) {
        let hot = &self.clients.hot[client.index()];
        self.clients.cold[client.index()].barrier = hot.popped + hot.outbox.len() as u64;
    }

    fn send_to_others(&mut self, message: impl Fn() -> Inner) {
        for shard in 0..self.shard.count {
            if shard != self.shard.index {
                self.send(shard, message());
            }
        }
    }
}

fn not_subscribed(name: &str) -> Refusal {
    Refusal::lasting(RefusalCode::NotFound, format!("there is no subscription to {name}"))
}
