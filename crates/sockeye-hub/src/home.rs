//! The home side of a channel: positions, history, keys, which shards are interested, and when it is forgotten.
//!
//! What a local client asks and what another shard asks come to the same functions here.

use std::sync::Arc;

use crate::{
    channel::{Channel, Home, HomeShards, Side},
    client::ClientId,
    creation::Creating,
    error::{Refusal, RefusalCode},
    event::Change,
    history::{Idle, Mark},
    hub::Hub,
    key::KeyName,
    limit::{CHANNEL_BYTES, IDLE_PART, RuleKind},
    message::Message,
    outbox::{GapReason, NotRecovered},
    position::{Epoch, Position},
    request::{Now, Past, Start},
    shard::{Inner, PastFound, Publication, ShardLag, ShardSet, Started},
};

/// A message that has its position, or the position of the first one with its key.
pub(crate) struct Placed {
    pub(crate) channel: u32,
    pub(crate) sequence: u64,
    /// Its channel was created for it.
    pub(crate) created: bool,
    /// It was published before.
    pub(crate) again: bool,
    /// The message, if it is new and somebody may hear it.
    pub(crate) message: Option<Arc<Message>>,
}

impl Hub {
    /// The channel of this name, which is created if it was not known; and whether it was.
    ///
    /// # Errors
    ///
    /// `too_many` if there are `channels_max`, `rate` if it may not be created.
    pub(crate) fn open_channel(&mut self, name: &str, creating: Creating) -> Result<(u32, bool), Refusal> {
        if let Some(index) = self.channels.find(name) {
            return Ok((index, false));
        }
        creating.check(name)?;
        if self.channels.homes() >= self.limits.channels_max {
            let count = self.channels.homes() * usize::from(self.shard.count);
            let why = format!("there are about {count} channels, which is the most this server keeps");
            return Err(Refusal::passing(RefusalCode::TooMany, why));
        }
        let rule = self.rules.iter().position(|rule| rule.applies_to(name));
        let home = Home {
            rule: rule.expect("the last rule is for every name"),
            history: Default::default(),
            keys: None,
            shards: None,
            heard: false,
            idle_since_ms: None,
            idle_marked: false,
            timer_ms: None,
        };
        let epoch = Epoch::from_random(self.random());
        self.totals.bytes += name.len() + CHANNEL_BYTES;
        let index = self.channels.insert(name, epoch, Side::Home(home));
        let name = Arc::clone(&self.channels.get(index).name);
        self.note_channel(&name, Change::Created);
        Ok((index, true))
    }

    /// Tells where a subscription begins. `shard` is the other shard that asks, which is interested from then on.
    pub(crate) fn start(
        &mut self,
        name: &str,
        start: Start,
        (shard, creating): (Option<u16>, Creating),
        now: Now,
    ) -> Result<(u32, Started), Refusal> {
        let (index, created) = self.open_channel(name, creating)?;
        let channel = self.channels.get_mut(index);
        let (epoch, head) = (channel.epoch, channel.head);
        let home = channel.home_mut().expect("only a home tells where to start");
        home.history.expire(now.ms, &self.rules[home.rule], &mut self.totals);
        let first = home.history.first_sequence().unwrap_or(head + 1);

        let mut live_next = head + 1;
        let mut is_first = false;
        if let Some(shard) = shard {
            is_first = !std::mem::replace(&mut home.heard, true);
            let shards = home.shards.get_or_insert_default();
            shards.interested.insert(shard);
            shards.told.insert(shard);
            if let Some(lag) = shards.lags.iter().find(|lag| lag.shard == shard) {
                live_next = lag.next;
            }
            home.idle_since_ms = None;
        }
        let (next, recovered) = match start {
            Start::Live => (head + 1, None),
            Start::Last(count) => (first.max((head + 1).saturating_sub(count)), None),
            Start::Since(since) if since.epoch != epoch => (head + 1, Some(Err(NotRecovered::Epoch))),
            Start::Since(since) if since.sequence > head => (head + 1, Some(Err(NotRecovered::Ahead))),
            Start::Since(since) if since.sequence + 1 < first => (head + 1, Some(Err(NotRecovered::Evicted))),
            Start::Since(since) => (since.sequence + 1, Some(Ok(()))),
        };
        if is_first {
            let name = Arc::clone(&self.channels.get(index).name);
            self.note_channel(&name, Change::Heard);
        }
        Ok((index, Started { epoch, head, next, recovered, live_next, created }))
    }

    /// Gives a message its position and keeps it. The caller answers, and then lets it `spread`. `known` is the channel of
    /// this name, which the caller has looked for. What is kept of the publication is taken out of it: it is lent, since a copy
    /// of it costs more than most of what is done here.
    pub(crate) fn place(
        &mut self,
        name: &str,
        known: Option<u32>,
        publication: &mut Publication<'_>,
        now: Now,
    ) -> Result<Placed, Refusal> {
        let (index, created) = match known {
            Some(index) => (index, false),
            None => self.open_channel(name, publication.creating).inspect_err(|refusal| {
                self.stats.publishes_refused[refusal.code as usize] += 1;
            })?,
        };
        let channel = self.channels.get_mut(index);
        let key = publication.key.take().map(|key| KeyName {
            channel: (index, channel.generation),
            user: publication.user.as_deref().unwrap_or_default().into(),
            key,
        });
        if let Some(name) = &key
            && let Some(sequence) = self.keys.find(name, now.ms, self.limits.key_age_ms)
        {
            self.stats.published_again += 1;
            return Ok(Placed { channel: index, sequence, created, again: true, message: None });
        }

        channel.head += 1;
        let sequence = channel.head;
        let (epoch, generation, name) = (channel.epoch, channel.generation, &channel.name);
        let Side::Home(home) = &mut channel.side else { unreachable!("only a home gives positions") };
        let rule = &self.rules[home.rule];
        let Publication { kind, publisher, .. } = *publication;
        let (payload, user) = (&mut publication.payload, publication.user.take());
        let mut oldest = match rule.kind {
            RuleKind::Kept => home.history.give_way(rule, &mut self.totals),
            RuleKind::Live => None,
        };
        // The next message is made of the oldest if nobody else holds that.
        let message = match oldest.as_mut().and_then(Arc::get_mut) {
            Some(old) => {
                old.renew(sequence, now.unix_ms, user, kind, payload, publisher);
                oldest.expect("it was just renewed")
            }
            None => {
                let payload = std::mem::take(payload).into_owned().into_boxed_slice();
                let name = Arc::clone(name);
                let at = Position { epoch, sequence };
                Arc::new(Message::new(name, at, now.unix_ms, user, kind, payload, publisher))
            }
        };
        if let Some(name) = key {
            let of_channel = home.keys.get_or_insert_default();
            self.keys.insert(name, sequence, now.ms, of_channel);
            if of_channel.len() > self.limits.keys_max
                && let Some(oldest) = of_channel.pop_front()
            {
                self.keys.remove(&oldest);
            }
        }
        let may_be_heard = self.shard.count > 1 || !channel.exact.is_empty() || !self.patterns.is_empty();
        let heard = may_be_heard.then(|| Arc::clone(&message));
        if rule.kind == RuleKind::Kept {
            home.history.append(message, now.ms, rule, &mut self.totals);
            self.totals.mark(index, generation, sequence);
        }
        home.idle_since_ms = None;
        self.stats.published += 1;
        self.forget_keys(now);
        Ok(Placed { channel: index, sequence, created, again: false, message: heard })
    }

    /// The position of a placed message.
    pub(crate) fn position_of(&self, placed: &Placed) -> Position {
        Position { epoch: self.channels.get(placed.channel).epoch, sequence: placed.sequence }
    }

    /// Gives a placed message, if it is new, to everybody who hears it, here and on other shards.
    pub(crate) fn spread(&mut self, placed: &Placed, now: Now) {
        if placed.again {
            return;
        }
        let index = placed.channel;
        let mut is_heard = false;
        if let Some(message) = &placed.message {
            is_heard = self.fan_out(index, message);
            if self.shard.count > 1 {
                self.deliver_to_shards(index, message);
                is_heard = true;
            }
        }
        if is_heard {
            let channel = self.channels.get_mut(index);
            let home = channel.home_mut().expect("a message spreads from its home");
            home.history.recount(&self.rules[home.rule], &mut self.totals);
        }
        self.settle(index, now);
        self.keep_totals(now);
    }

    /// Looks into history.
    pub(crate) fn look_back(&mut self, name: &str, past: Past, now: Now) -> Result<PastFound, Refusal> {
        let Some(index) = self.channels.find(name) else {
            let why = format!("nobody has published to {name} or hears it");
            return Err(Refusal::lasting(RefusalCode::NotFound, why));
        };
        let channel = self.channels.get_mut(index);
        let at = channel.head_position();
        let home = channel.home_mut().expect("only a home looks back");
        home.history.expire(now.ms, &self.rules[home.rule], &mut self.totals);

        let first = home.history.first_sequence().unwrap_or(at.sequence + 1);
        let from = match past.since {
            Some(since) if since.epoch == at.epoch => since.sequence.saturating_add(1).max(first),
            _ => first,
        };
        let available = usize::try_from((at.sequence + 1).saturating_sub(from)).unwrap_or(usize::MAX);
        let last = past.last.map_or(usize::MAX, |last| usize::try_from(last).unwrap_or(usize::MAX));
        let wanted = available.min(last);
        let count = wanted.min(self.limits.past_messages_max);
        let bytes_max = self.limits.past_bytes_max;
        let range = home.history.from(from);
        let (messages, more) = if past.since.is_some() {
            let messages: Vec<_> = within(range.take(count), bytes_max).collect();
            let more = messages.len() < available;
            (messages, more)
        } else {
            let mut messages: Vec<_> = within(range.rev().take(count), bytes_max).collect();
            messages.reverse();
            let more = messages.len() < wanted;
            (messages, more)
        };
        Ok(PastFound { at, messages, more })
    }

    /// Notes what has become of a channel: whether it is idle, and when to look at it again.
    #[inline(always)]
    pub(crate) fn settle(&mut self, index: u32, now: Now) {
        let channel = self.channels.get_mut(index);
        let has_exact_subscriber = channel.has_exact_subscriber();
        // Most have a timer already, and it is that of a message that is gone since.
        if let Side::Home(home) = &mut channel.side
            && home.heard == has_exact_subscriber
            && let Some(timer_ms) = home.timer_ms
            && home.history.deadline_ms(&self.rules[home.rule]).is_some_and(|due_ms| timer_ms <= due_ms)
        {
            home.idle_since_ms = None;
            return;
        }
        self.settle_change(index, now);
    }

    fn settle_change(&mut self, index: u32, now: Now) {
        let channel = self.channels.get_mut(index);
        let has_exact_subscriber = channel.has_exact_subscriber();
        let generation = channel.generation;
        let Side::Home(home) = &mut channel.side else { return };
        if home.heard != has_exact_subscriber {
            home.heard = has_exact_subscriber;
            let name = Arc::clone(&channel.name);
            self.note_channel(&name, if has_exact_subscriber { Change::Heard } else { Change::Unheard });
            return self.settle(index, now);
        }
        let is_idle = !has_exact_subscriber && home.history.is_empty();
        let deadline = if is_idle {
            let since = *home.idle_since_ms.get_or_insert(now.ms);
            // A key is remembered as long as promised, even where nothing else is.
            let has_keys = home.has_keys();
            if !home.idle_marked {
                home.idle_marked = true;
                let bytes = channel.name.len() + CHANNEL_BYTES + size_of_val(&*channel.matched);
                let idle = Idle { channel: index, generation, bytes };
                if has_keys {
                    self.totals.remembered.push_back(idle);
                } else {
                    self.totals.idle_bytes += bytes;
                    self.totals.idle.push_back(idle);
                }
            }
            let grace_ms =
                self.limits.channel_grace_ms.max(if has_keys { self.limits.key_age_ms } else { 0 });
            since.saturating_add(grace_ms)
        } else {
            home.idle_since_ms = None;
            let Some(deadline_ms) = home.history.deadline_ms(&self.rules[home.rule]) else { return };
            deadline_ms
        };
        match home.timer_ms {
            Some(timer_ms) if timer_ms <= deadline => {}
            previous => {
                if let Some(timer_ms) = previous {
                    self.timers.remove(&(timer_ms, index));
                }
                home.timer_ms = Some(deadline);
                self.timers.insert((deadline, index));
            }
        }
        if is_idle && self.totals.idle.len() + self.totals.remembered.len() > self.marks_max() {
            let Self { channels, totals, .. } = self;
            totals.sweep_idle(|idle| channels.get_if_same(idle.channel, idle.generation).is_some());
        }
    }

    /// A channel's time has come: old messages go, and so does a channel that has been idle for its grace.
    pub(crate) fn handle_channel_timeout(&mut self, index: u32, now: Now) {
        let channel = self.channels.get_mut(index);
        let home = channel.home_mut().expect("only a home has a timer");
        home.timer_ms = None;
        home.history.expire(now.ms, &self.rules[home.rule], &mut self.totals);
        let is_over = home
            .idle_since_ms
            .is_some_and(|since| now.ms >= since.saturating_add(self.limits.channel_grace_ms));
        if is_over && !home.has_keys() {
            self.forget(index);
        } else {
            self.settle(index, now);
        }
    }

    /// Lets go of the oldest messages while all history together is over its bound.
    #[inline]
    pub(crate) fn keep_totals(&mut self, now: Now) {
        let is_over = self.totals.bytes > self.limits.history_total_bytes_max;
        if is_over || self.totals.order.len() > self.marks_max() {
            self.let_go(now);
        }
    }

    /// Marks of messages that are gone are dropped before they are more than those that stand for something.
    #[inline]
    fn marks_max(&self) -> usize {
        2 * (self.totals.messages + self.channels.len()) + 1024
    }

    fn let_go(&mut self, now: Now) {
        let bytes_max = self.limits.history_total_bytes_max;
        while self.totals.bytes > bytes_max {
            // Names alone that nobody hears, of which anybody who may hear can make any number, push out only one another, and
            // no message.
            if (self.totals.idle_bytes > bytes_max / IDLE_PART || self.totals.order.is_empty())
                && let Some(idle) = self.totals.pop_idle()
            {
                if self.unmark_idle(idle) {
                    self.forget_if_idle(idle.channel, now);
                }
            } else if let Some(mark) = self.totals.order.pop_front() {
                self.let_go_of_message(mark, now);
            } else if let Some(idle) = self.totals.remembered.pop_front() {
                // No message is left, so these channels alone are too many.
                if self.unmark_idle(idle) {
                    self.forget(idle.channel);
                }
            } else {
                break;
            }
        }
        let marks_max = self.marks_max();
        let Self { channels, totals, .. } = self;
        if totals.order.len() > marks_max {
            totals.order.retain(|mark| {
                let channel = channels.get_if_same(mark.channel, mark.generation);
                match channel.map(|channel| &channel.side) {
                    Some(Side::Home(home)) => {
                        home.history.first_sequence().is_some_and(|first| first <= mark.last)
                    }
                    _ => false,
                }
            });
        }
    }

    /// A channel's mark was taken out. Tells whether it is idle still.
    fn unmark_idle(&mut self, idle: Idle) -> bool {
        if self.channels.get_if_same(idle.channel, idle.generation).is_none() {
            return false;
        }
        let channel = self.channels.get_mut(idle.channel);
        let has_exact_subscriber = channel.has_exact_subscriber();
        let home = channel.home_mut().expect("only a home is marked");
        home.idle_marked = false;
        home.history.is_empty() && !has_exact_subscriber
    }

    /// The oldest message of all goes.
    fn let_go_of_message(&mut self, mark: Mark, now: Now) {
        if self.channels.get_if_same(mark.channel, mark.generation).is_none() {
            return;
        }
        let home = self.channels.get_mut(mark.channel).home_mut().expect("only a home is marked");
        let oldest = home.history.first_sequence();
        let Some(first) = oldest.filter(|first| (mark.first..=mark.last).contains(first)) else { return };
        home.history.evict(&mut self.totals);
        if first < mark.last {
            self.totals.order.push_front(Mark { first: first + 1, ..mark });
        }
        self.forget_if_idle(mark.channel, now);
    }

    /// Forgets a channel of which nothing is kept, and that nobody hears or is promised to be remembered.
    fn forget_if_idle(&mut self, index: u32, now: Now) {
        let channel = self.channels.get_mut(index);
        let has_exact_subscriber = channel.has_exact_subscriber();
        let home = channel.home_mut().expect("only a home is forgotten");
        if !home.history.is_empty() {
            return;
        }
        if has_exact_subscriber || home.has_keys() {
            self.settle(index, now);
        } else {
            self.forget(index);
        }
    }

    /// Forgets keys that are too old or too many.
    #[inline]
    pub(crate) fn forget_keys(&mut self, now: Now) {
        if !self.keys.is_empty() {
            self.forget_some_keys(now);
        }
    }

    fn forget_some_keys(&mut self, now: Now) {
        let (age_ms, keys_max) = (self.limits.key_age_ms, self.limits.keys_total_max);
        while let Some(key) = self.keys.pop_oldest(now.ms, age_ms, keys_max) {
            self.release_key(&key, now);
        }
    }

    /// The oldest key of all was forgotten, which is the oldest of its channel too.
    fn release_key(&mut self, key: &KeyName, now: Now) {
        let (index, generation) = key.channel;
        if self.channels.get_if_same(index, generation).is_none() {
            return;
        }
        let home = self.channels.get_mut(index).home_mut().expect("only a home has keys");
        let Some(of_channel) = &mut home.keys else { return };
        of_channel.pop_front();
        if of_channel.is_empty() {
            home.keys = None;
            self.settle(index, now);
        }
    }

    /// Ends an incarnation. Whoever had not read to its end is told what is missing.
    pub(crate) fn forget(&mut self, index: u32) {
        let channel = self.channels.get_mut(index);
        let (name, epoch, head) = (Arc::clone(&channel.name), channel.epoch, channel.head);
        if let Side::Home(home) = &channel.side
            && let Some(shards) = &home.shards
        {
            let told: Vec<(u16, u64)> = shards
                .told
                .iter()
                .map(|shard| {
                    let lag = shards.lags.iter().find(|lag| lag.shard == shard);
                    (shard, lag.map_or(head + 1, |lag| lag.next))
                })
                .collect();
            for (shard, live_next) in told {
                self.send(shard, Inner::Forgotten { channel: Arc::clone(&name), epoch, live_next, head });
            }
        }
        self.end_lags(index, head);
        let Some(channel) = self.channels.remove(index) else { return };
        self.totals.bytes -= name.len() + CHANNEL_BYTES + size_of_val(&*channel.matched);
        self.stats.forgotten += 1;
        if let Side::Home(mut home) = channel.side {
            self.note_channel(&name, Change::Forgotten);
            while !home.history.is_empty() {
                home.history.evict(&mut self.totals);
            }
            for key in home.keys.iter().flat_map(|keys| keys.iter()) {
                self.keys.remove(key);
            }
            if let Some(timer_ms) = home.timer_ms {
                self.timers.remove(&(timer_ms, index));
            }
        }
    }

    /// The incarnation has ended at `head`: every client that lags is told what it does not get.
    pub(crate) fn end_lags(&mut self, index: u32, head: u64) {
        while let Some(client) = self.channels.get(index).laggards.last().copied() {
            let Some(lag) = self.end_lag(client, index) else { break };
            if lag.next <= head {
                self.announce_end(client, index, (lag.next, head));
            }
        }
    }

    /// Announces the rest of an ended incarnation. It cannot wait for room, so a client that lets too many of these
    /// pile up is closed.
    pub(crate) fn announce_end(&mut self, client: u32, index: u32, missing: (u64, u64)) {
        if self.clients.hot[client as usize].outbox.gaps() >= self.limits.lagging_channels_max {
            self.close_slow(client);
        } else {
            self.announce(client, index, missing, GapReason::Evicted);
        }
    }

    /// Sends a message to the other shards that hear its channel, as far as their windows reach.
    fn deliver_to_shards(&mut self, index: u32, message: &Arc<Message>) {
        // Fan-out may have closed a client, and its patterns with it.
        self.refresh_matched(index);
        let channel = self.channels.get_mut(index);
        let generation = channel.generation;
        let mut targets = ShardSet::default();
        for number in &channel.matched {
            targets.union(&self.patterns.get(*number).shards);
        }
        let home = channel.home_mut().expect("only a home delivers");
        if let Some(shards) = &home.shards {
            targets.union(&shards.interested);
        }
        if targets.is_empty() {
            return;
        }
        let shards: &mut HomeShards = home.shards.get_or_insert_default();
        shards.told.union(&targets);
        for shard in targets.iter() {
            if shards.lags.iter().any(|lag| lag.shard == shard) {
                continue;
            }
            let link = &mut self.links[usize::from(shard)];
            if link.has_room(&self.limits) {
                link.note_sent(message);
                let deliver = Inner::Deliver { message: Arc::clone(message) };
                self.outgoing.push_back((shard, crate::ShardMessage(deliver)));
            } else {
                shards.lags.push(ShardLag { shard, next: message.sequence });
                link.lagging.push_back((index, generation));
            }
        }
    }

    /// There is credit: the channels that lag for this shard are read on, in turn.
    pub(crate) fn read_on_for_shard(&mut self, shard: u16, now: Now) {
        while self.links[usize::from(shard)].has_room(&self.limits) {
            let Some((index, generation)) = self.links[usize::from(shard)].lagging.pop_front() else { break };
            if self.channels.get_if_same(index, generation).is_none() {
                continue;
            }
            let channel = self.channels.get_mut(index);
            let (name, epoch, head) = (Arc::clone(&channel.name), channel.epoch, channel.head);
            let Some(mut next) = shard_lag(channel, shard).map(|lag| lag.next) else { continue };
            let page_bytes = self.limits.page_bytes;
            let page = channel.page(next, false, page_bytes, &self.rules, now.ms, &mut self.totals);

            if let Some((from, to)) = page.gap {
                self.send(shard, Inner::Skipped { channel: name, epoch, from, to });
                next = to + 1;
            }
            for message in page.messages {
                let link = &mut self.links[usize::from(shard)];
                if !link.has_room(&self.limits) {
                    break;
                }
                link.note_sent(&message);
                next = message.sequence + 1;
                self.send(shard, Inner::Deliver { message });
            }
            let channel = self.channels.get_mut(index);
            if next > head {
                let shards = channel.home_mut().and_then(|home| home.shards.as_mut());
                shards.expect("a lag was just found").lags.retain(|lag| lag.shard != shard);
            } else {
                shard_lag(channel, shard).expect("a lag was just found").next = next;
                self.links[usize::from(shard)].lagging.push_back((index, generation));
            }
        }
    }

    /// A client on another shard reads on. It is always answered, if only with an empty page.
    pub(crate) fn answer_read(
        &mut self,
        shard: u16,
        (number, client): (u64, ClientId),
        (name, epoch): (&str, Epoch),
        (next, newest_only): (u64, bool),
        now: Now,
    ) {
        let found = self.channels.find(name).filter(|index| self.channels.get(*index).epoch == epoch);
        let (page, live_next) = match found {
            Some(index) => {
                let page_bytes = self.limits.page_bytes;
                let channel = self.channels.get_mut(index);
                let head = channel.head;
                let page = channel.page(next, newest_only, page_bytes, &self.rules, now.ms, &mut self.totals);
                let live_next = shard_lag(channel, shard).map_or(head + 1, |lag| lag.next);
                (page, live_next)
            }
            // The shard was told that this incarnation ended, before this answer reaches it.
            None => (crate::channel::Page { gap: None, messages: Vec::new(), next }, next),
        };
        self.send(shard, Inner::Page { number, client, page, live_next });
    }

    /// A shard has no exact subscriber any more.
    pub(crate) fn forget_interest(&mut self, shard: u16, name: &str, now: Now) {
        let Some(index) = self.channels.find(name) else { return };
        if let Some(shards) = self.channels.get_mut(index).home_mut().and_then(|home| home.shards.as_mut()) {
            shards.interested.remove(shard);
            self.settle(index, now);
            self.keep_totals(now);
        }
    }
}

/// How this shard lags on this channel, if it does.
fn shard_lag(channel: &mut Channel, shard: u16) -> Option<&mut ShardLag> {
    let shards = channel.home_mut()?.shards.as_mut()?;
    shards.lags.iter_mut().find(|lag| lag.shard == shard)
}

/// The messages up to this many bytes, though always one.
fn within<'a>(
    messages: impl Iterator<Item = &'a Arc<Message>>,
    bytes_max: usize,
) -> impl Iterator<Item = Arc<Message>> {
    let mut bytes = 0;
    messages.enumerate().map_while(move |(index, message)| {
        bytes += message.payload.len();
        (index == 0 || bytes <= bytes_max).then(|| Arc::clone(message))
    })
}
