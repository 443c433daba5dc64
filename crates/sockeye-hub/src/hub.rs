//! The public door: clients come and go, ask, and are written to.
//!
//! What happens behind it is in `subscription` (attaching and letting go), `deliver` (fan-out), `lag` (reading on),
//! `home` and `away` (the two sides of a channel).

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, VecDeque},
    hash::BuildHasher,
    sync::Arc,
};

use foldhash::{fast, quality};

use crate::{
    admission::Admission,
    away::{Asked, Pending},
    channel::Channels,
    client::{ClientId, ClientSetup, Clients},
    creation::Creating,
    error::{Refusal, RefusalCode},
    event::Events,
    history::Totals,
    key::Keys,
    limit::{Limits, Rule},
    message::{Encoder, Encoding, Kind, Message},
    name,
    outbox::{Answer, Bye, Done, Item, Outbox},
    pattern::Patterns,
    planted::{Planted, is_planted},
    request::{Now, Past, Publish, Tag},
    shard::{Inner, Link, PastFound, Publication, SHARDS_MAX, ShardInfo, ShardMessage},
    stats::Stats,
};

/// How many channels are looked at in one call of [`Hub::handle_timeout`].
const TIMEOUTS_PER_CALL_MAX: usize = 1024;

/// Who hears what on one shard.
///
/// Requests have their outcome in the client's [`Outbox`]: at once where this shard is the channel's home, otherwise
/// when the home has answered. What is asked of a client that is gone, or is being closed, is ignored.
#[derive(Debug)]
pub struct Hub {
    pub(crate) limits: Limits,
    pub(crate) rules: Vec<Rule>,
    pub(crate) shard: ShardInfo,
    pub(crate) encoder: Encoder,
    home_hasher: quality::FixedState,
    pub(crate) clients: Clients,
    pub(crate) channels: Channels,
    pub(crate) patterns: Patterns,
    pub(crate) totals: Totals,
    pub(crate) keys: Keys,
    pub(crate) admission: Admission,
    /// What happened to channels.
    pub(crate) events: Events,
    /// When to look at a channel again.
    pub(crate) timers: BTreeSet<(u64, u32)>,
    /// By shard; the one to itself is never used.
    pub(crate) links: Vec<Link>,
    pub(crate) outgoing: VecDeque<(u16, ShardMessage)>,
    /// What other shards have not answered, by number. It is never iterated.
    pub(crate) requests: HashMap<u64, Pending, fast::FixedState>,
    /// What follows the last answer of a client that is being hushed. It is never iterated.
    pub(crate) last_words: HashMap<u64, Box<[u8]>, fast::FixedState>,
    /// The newest number of a request or page.
    pub(crate) number: u64,
    /// The newest mark of a delivery.
    pub(crate) delivery: u32,
    /// How much may still be done of what was granted ([`Hub::grant_work`]).
    work_left: i64,
    /// How many connections there have been.
    connections: u64,
    random: u64,
    /// The newest time that was told.
    pub(crate) latest: Now,
    pub(crate) stats: Stats,
}

impl Hub {
    /// Makes the hub of one shard.
    ///
    /// The first of `rules` that matches a name decides what its channel keeps; [`Rule::kept`] for every name is
    /// added as the last. `seed` must differ between shards and runs, and makes the epochs. `hash_key` must be secret,
    /// and the same on all shards of a run: it decides which shard is a channel's home.
    ///
    /// # Panics
    ///
    /// If `shard` is not one of its count, or the count is above 256.
    pub fn new(
        limits: Limits,
        mut rules: Vec<Rule>,
        shard: ShardInfo,
        seed: u64,
        hash_key: u64,
        encoder: Encoder,
    ) -> Self {
        assert!(shard.index < shard.count && usize::from(shard.count) <= SHARDS_MAX, "there is no {shard:?}");
        rules.push(Rule::kept("#"));
        let hasher = || fast::FixedState::with_seed(hash_key);
        Self {
            limits,
            rules,
            shard,
            encoder,
            home_hasher: quality::FixedState::with_seed(hash_key),
            clients: Clients::default(),
            channels: Channels::new(hasher()),
            patterns: Patterns::new(hasher()),
            totals: Totals::default(),
            keys: Keys::new(hasher()),
            admission: Admission::default(),
            events: Events::default(),
            timers: BTreeSet::new(),
            links: (0..shard.count).map(|_| Link::default()).collect(),
            outgoing: VecDeque::new(),
            requests: HashMap::with_hasher(hasher()),
            last_words: HashMap::with_hasher(hasher()),
            number: 0,
            delivery: 0,
            work_left: i64::MAX,
            connections: 0,
            random: seed,
            latest: Now::default(),
            stats: Stats::default(),
        }
    }

    /// Takes in a new connection.
    pub fn connect(&mut self, setup: ClientSetup) -> ClientId {
        self.connections += 1;
        // Unique over all shards, and never 0: that is the server itself.
        let publisher = self.connections * u64::from(self.shard.count) + u64::from(self.shard.index);
        let identity = setup.identity.clone().or_else(|| self.anonymous().cloned());
        let client = self.clients.insert(setup, publisher);
        self.admit(client, identity);
        client
    }

    /// Lets a client go, and with it everything it heard or still asked for.
    pub fn disconnect(&mut self, client: ClientId) {
        if !self.clients.is_open(client) {
            return;
        }
        self.detach_all(client);
        self.admission.clear_timer(client);
        self.last_words.remove(&client.to_u64());
        self.clients.remove(client);
    }

    /// Changes which encoded form a client takes.
    pub fn set_encoding(&mut self, client: ClientId, encoding: Encoding) {
        if !self.clients.is_open(client) {
            return;
        }
        self.clients.hot[client.index()].encoding = encoding;
        let encoder = self.encoder;
        self.clients.change_outbox(client.index() as u32, |outbox| {
            outbox.measure_again(|message| message.encoded(encoding, encoder).len());
        });
    }

    /// The unique number of a connection, which its messages carry as [`crate::Message::publisher`]. 0 once it is gone.
    pub fn publisher_number(&self, client: ClientId) -> u64 {
        if self.clients.is_open(client) { self.clients.hot[client.index()].publisher } else { 0 }
    }

    /// Publishes a message, if the client may. Nobody publishes to `$sys/`.
    pub fn publish(&mut self, client: ClientId, tag: Tag, publish: Publish<'_>, now: Now) {
        self.latest = now;
        if !self.is_serving(client) {
            return;
        }
        let known = self.channels.find_near(publish.channel, self.clients.hot[client.index()].published_to);
        if let Err(refusal) = self.check_publish(client, &publish, known.is_some()) {
            self.stats.publishes_refused[refusal.code as usize] += 1;
            return self.answer(client, tag, Err(refusal));
        }
        let home = self.home_of(publish.channel);
        let mut publication = Publication {
            kind: publish.kind,
            payload: publish.payload,
            key: publish.key.map(Into::into),
            user: self.identity(client).and_then(|identity| identity.user.clone()),
            publisher: self.clients.hot[client.index()].publisher,
            // What is there need not be created, and asking would only touch memory.
            creating: if known.is_some() { Creating::Allowed } else { self.creating(client) },
        };
        if home == self.shard.index {
            match self.place(publish.channel, known, &mut publication, now) {
                Ok(placed) => {
                    self.clients.hot[client.index()].published_to = placed.channel;
                    if placed.created {
                        self.note_created(client);
                    }
                    // The answer goes first: a client hears of its own message after its answer.
                    if tag != Tag::Silent {
                        let done = Done::Published { at: self.position_of(&placed), again: placed.again };
                        self.answer(client, tag, Ok(done));
                    }
                    self.spread(&placed, now);
                }
                Err(refusal) => self.answer(client, tag, Err(refusal)),
            }
        } else if self.may_ask(client, &tag) {
            let (creating, reserved) = self.reserve_creation(client);
            let channel = match known {
                Some(index) => Arc::clone(&self.channels.get(index).name),
                None => publish.channel.into(),
            };
            let Publication { kind, payload, key, user, publisher, .. } = publication;
            let payload = Cow::Owned(payload.into_owned());
            let publish = Box::new(Publication { kind, payload, key, user, publisher, creating });
            let request = self.ask(client, tag, Asked::Publish { reserved });
            self.send(home, Inner::Publish { request, channel, publish });
        }
    }

    /// Publishes a message of the server's own, such as `$sys/stats`. One that cannot be placed is dropped.
    pub fn publish_system(&mut self, channel: &str, kind: Kind, payload: Box<[u8]>, now: Now) {
        self.latest = now;
        if name::check_name(channel).is_err() {
            return;
        }
        let mut publication = Publication {
            kind,
            payload: Cow::Owned(payload.into_vec()),
            key: None,
            user: None,
            publisher: 0,
            creating: Creating::Allowed,
        };
        let home = self.home_of(channel);
        if home != self.shard.index {
            let (channel, publish) = (channel.into(), Box::new(publication));
            return self.send(home, Inner::Publish { request: 0, channel, publish });
        }
        let known = self.channels.find(channel);
        if let Ok(placed) = self.place(channel, known, &mut publication, now) {
            self.spread(&placed, now);
        }
    }

    /// Looks into a channel's history. A channel that is not known is not created by it.
    pub fn past(&mut self, client: ClientId, tag: Tag, channel: &str, past: Past, now: Now) {
        self.latest = now;
        if !self.is_serving(client) {
            return;
        }
        let checked = name::check_name(channel).map_err(Refusal::from);
        if let Err(refusal) = checked.and_then(|()| self.check_hearing(client, channel)) {
            return self.answer(client, tag, Err(refusal));
        }
        let home = self.home_of(channel);
        if home == self.shard.index {
            let found = self.look_back(channel, past, now);
            let done = self.past_done(found);
            self.answer(client, tag, done);
        } else if self.may_ask(client, &tag) {
            let request = self.ask(client, tag, Asked::Past);
            self.send(home, Inner::Past { request, channel: channel.into(), past });
        }
    }

    /// Whether somebody on this shard hears a channel, so that what nobody hears need not be made.
    pub fn has_audience(&self, channel: &str) -> bool {
        let is_heard_exactly =
            self.channels.find(channel).is_some_and(|index| self.channels.get(index).has_exact_subscriber());
        is_heard_exactly || (!self.patterns.is_empty() && !self.patterns.matching(channel).0.is_empty())
    }

    /// How many subscriptions a client has, patterns included.
    pub fn subscriptions(&self, client: ClientId) -> usize {
        if !self.clients.is_open(client) {
            return 0;
        }
        let cold = &self.clients.cold[client.index()];
        cold.exacts.len() + cold.patterns.len()
    }

    /// Whether a client must be answered by other shards before it is read from again: it has asked as much as may be
    /// under way ([`Limits::requests_in_flight_max`]), or for the past, since what waits for a client that does not read is
    /// bounded by one long answer.
    pub fn has_asked_enough(&self, client: ClientId) -> bool {
        self.clients.is_open(client) && {
            let hot = &self.clients.hot[client.index()];
            hot.awaits_past || hot.in_flight as usize >= self.limits.requests_in_flight_max
        }
    }

    /// How many requests of a client other shards have not answered.
    pub fn requests_in_flight(&self, client: ClientId) -> usize {
        if self.clients.is_open(client) { self.clients.hot[client.index()].in_flight as usize } else { 0 }
    }

    /// Grants so much work to what is handled from here on. A unit is about what one delivery costs, some 50 ns.
    #[inline]
    pub fn grant_work(&mut self, units: u32) {
        self.work_left = i64::from(units);
    }

    /// Counts work that was done, here or for the hub's user. Nothing is refused for it: who hands input over asks
    /// [`Hub::is_work_done`] between two requests, and lets others have their turn.
    #[inline]
    pub fn count_work(&mut self, units: usize) {
        self.work_left = self.work_left.saturating_sub_unsigned(units as u64);
    }

    /// Whether all work that was granted is done.
    #[inline]
    pub fn is_work_done(&self) -> bool {
        self.work_left < 0
    }

    /// Whether nothing waits to be written to a client, and it waits for nothing: what it says can be answered at once.
    #[inline]
    pub fn is_idle(&self, client: ClientId) -> bool {
        self.clients.hot.get(client.index()).is_some_and(|hot| hot.outbox.is_empty() && hot.in_flight == 0)
    }

    /// Which shard this is.
    pub fn shard(&self) -> ShardInfo {
        self.shard
    }

    /// Whether another shard was sent everything that it is to hear: no channel lags for it.
    pub fn is_caught_up(&self, shard: u16) -> bool {
        self.links.get(usize::from(shard)).is_none_or(|link| link.lagging.is_empty())
    }

    /// The bounds this hub was given.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes the next message for another shard. The caller brings it there, in this order.
    pub fn poll_shard_output(&mut self) -> Option<(u16, ShardMessage)> {
        self.outgoing.pop_front()
    }

    /// Lets go of what is too old. What is left for later is told by [`Hub::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Now) {
        self.latest = now;
        self.forget_keys(now);
        self.expire_identities(now);
        for _ in 0..TIMEOUTS_PER_CALL_MAX {
            let Some((ms, channel)) = self.timers.first().copied() else { break };
            if ms > now.ms {
                break;
            }
            self.timers.pop_first();
            self.handle_channel_timeout(channel, now);
        }
        self.keep_totals(now);
    }

    /// When [`Hub::handle_timeout`] is due, in monotonic milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        let channel = self.timers.first().map(|(ms, _)| *ms);
        let key = self.keys.next_timeout(self.limits.key_age_ms);
        channel.into_iter().chain(key).chain(self.admission.next_timeout()).min()
    }

    /// Takes the next client that has got something to write, or is to be closed, since it was last taken.
    pub fn take_touched(&mut self) -> Option<ClientId> {
        self.clients.take_touched()
    }

    /// What waits to be written to a client.
    ///
    /// # Panics
    ///
    /// If the client has been disconnected.
    #[inline]
    pub fn outbox(&self, client: ClientId) -> &Outbox {
        assert!(self.clients.is_open(client), "the client is gone");
        &self.clients.hot[client.index()].outbox
    }

    /// Appends bytes of the gateway's own.
    pub fn queue_bytes(&mut self, client: ClientId, bytes: Box<[u8]>) {
        if self.clients.is_open(client) {
            self.push_other(client.index() as u32, Item::Bytes(bytes));
        }
    }

    /// Puts bytes before everything that waits, such as the unwritten rest of something.
    ///
    /// # Panics
    ///
    /// If a part of the front item is written already.
    pub fn queue_bytes_front(&mut self, client: ClientId, bytes: Box<[u8]>) {
        if !self.clients.is_open(client) {
            return;
        }
        let index = client.index() as u32;
        if self.clients.hot[client.index()].outbox.is_empty() {
            self.clients.note_moved(index);
        }
        self.clients.change_outbox(index, |outbox| outbox.push_front_bytes(bytes));
        // Items are numbered as they leave, so one more in front has the number before.
        self.clients.hot[client.index()].popped -= 1;
        self.clients.touch(index);
    }

    /// Replaces an item by its encoded bytes: an answer, a gap or a bye, or a message that was encoded for this client
    /// alone. From then on it is never taken back.
    pub fn replace_front_item(&mut self, client: ClientId, index: usize, bytes: Box<[u8]>) {
        if !self.clients.is_open(client) {
            return;
        }
        let encoder = self.encoder;
        let encoding = self.clients.hot[client.index()].encoding;
        self.clients.change_outbox(client.index() as u32, |outbox| {
            outbox.replace(index, bytes, |message| message.encoded(encoding, encoder).len());
        });
    }

    /// What waits to be written to a client, if it is messages alone and nothing else is to be done for it first: it is not
    /// being closed, and lags nowhere.
    #[inline]
    pub fn waiting_messages(&self, client: ClientId) -> Option<&Outbox> {
        if !self.clients.is_open(client) {
            return None;
        }
        let hot = &self.clients.hot[client.index()];
        let outbox = &hot.outbox;
        (!hot.closing && hot.lagging == 0 && outbox.messages() == outbox.len()).then_some(outbox)
    }

    /// Notes that so many bytes, from where writing stopped, were written of a queue of messages, whose lengths as they are
    /// written are given: those that are wholly written leave it.
    #[inline]
    pub fn note_written(&mut self, client: ClientId, bytes: usize, length: impl Fn(&Message) -> usize) {
        if !self.clients.is_open(client) {
            return;
        }
        let mut left = self.clients.hot[client.index()].outbox.front_offset() + bytes;
        while let Some(Item::Message(message)) = self.clients.hot[client.index()].outbox.get(0) {
            let length = length(message);
            if left < length {
                break;
            }
            left -= length;
            self.pop_front(client);
        }
        if left > 0 {
            self.set_front_offset(client, left);
        }
    }

    /// Removes the front item, which is wholly written.
    #[inline]
    pub fn pop_front(&mut self, client: ClientId) -> Option<Item> {
        if !self.clients.is_open(client) {
            return None;
        }
        self.clients.movements += 1;
        let hot = &mut self.clients.hot[client.index()];
        let (encoding, encoder) = (hot.encoding, self.encoder);
        hot.moved = self.clients.movements;
        let item = self.clients.change_outbox(client.index() as u32, |outbox| {
            outbox.pop_front(|message| message.encoded(encoding, encoder).len())
        });
        self.clients.hot[client.index()].popped += u64::from(item.is_some());
        item
    }

    /// Notes how many bytes of the front item are written.
    #[inline]
    pub fn set_front_offset(&mut self, client: ClientId, offset: usize) {
        if self.clients.is_open(client) {
            self.clients.movements += 1;
            let hot = &mut self.clients.hot[client.index()];
            hot.outbox.set_front_offset(offset);
            hot.moved = self.clients.movements;
        }
    }

    /// Ends a client's connection: queued messages and gaps are dropped, answers kept, and the bye is the last item.
    pub fn close(&mut self, client: ClientId, bye: Bye) {
        if !self.clients.is_open(client) || self.clients.cold[client.index()].bye.is_some() {
            return;
        }
        let index = client.index() as u32;
        self.clients.hot[client.index()].closing = true;
        self.clients.cold[client.index()].bye = Some(bye);
        self.detach_all(client);
        let (encoding, encoder) = (self.clients.hot[client.index()].encoding, self.encoder);
        self.clients.change_outbox(index, |outbox| {
            outbox.drop_pushes(|message| message.encoded(encoding, encoder).len());
        });
        self.push_other(index, Item::Bye(Box::new(bye)));
    }

    /// Why a client is being closed, if it is.
    pub fn closing(&self, client: ClientId) -> Option<Bye> {
        let is_closing = self.clients.is_open(client) && self.clients.hot[client.index()].closing;
        if is_closing { self.clients.cold[client.index()].bye } else { None }
    }

    /// What this hub can tell about itself.
    pub fn stats(&self) -> Stats {
        Stats {
            clients: self.clients.connected as u64,
            channels: self.channels.len() as u64,
            homes: self.channels.homes() as u64,
            subscriptions: self.clients.subscriptions as u64,
            patterns: self.clients.patterns as u64,
            lagging: self.clients.lagging as u64,
            outbox_bytes: self.clients.outbox_bytes as u64,
            answers_bytes: self.clients.answers_bytes as u64,
            history_bytes: self.totals.bytes as u64,
            history_messages: self.totals.messages as u64,
            keys: self.keys.len() as u64,
            evicted: self.totals.evicted,
            expired: self.totals.expired,
            ..self.stats
        }
    }

    /// Which shard is the home of a channel.
    #[inline]
    pub fn home_of(&self, channel: &str) -> u16 {
        if self.shard.count == 1 { 0 } else { self.home_of_many(channel) }
    }

    fn home_of_many(&self, channel: &str) -> u16 {
        (self.home_hasher.hash_one(channel) % u64::from(self.shard.count)) as u16
    }

    /// Whether requests of this client are carried out.
    pub(crate) fn is_serving(&self, client: ClientId) -> bool {
        self.clients.is_open(client) && !self.clients.hot[client.index()].closing
    }

    /// Whether a client may ask another shard; if not, it is told.
    pub(crate) fn may_ask(&mut self, client: ClientId, tag: &Tag) -> bool {
        let may = self.requests_in_flight(client) < self.limits.requests_in_flight_max;
        if !may {
            let why = format!("{} requests are under way", self.limits.requests_in_flight_max);
            self.answer(client, tag.clone(), Err(Refusal::passing(RefusalCode::Busy, why)));
        }
        may
    }

    fn check_publish(&self, client: ClientId, publish: &Publish<'_>, is_known: bool) -> Result<(), Refusal> {
        // The name of a channel that is known was checked when it became that.
        if !is_known {
            name::check_name(publish.channel)?;
        }
        if self.clients.hot[client.index()].limited && !is_planted(Planted::RightUnasked) {
            self.check_publishing(client, publish.channel)?;
        }
        if name::is_system(publish.channel) {
            let why =
                format!("{} is the server's own: names under $sys/ are not published to", publish.channel);
            return Err(Refusal::lasting(RefusalCode::Denied, why));
        }
        let length = publish.payload.len();
        if length > self.limits.message_bytes_max {
            let why = format!(
                "a message has at most {} bytes, this one has {length}",
                self.limits.message_bytes_max
            );
            return Err(Refusal::lasting(RefusalCode::TooLarge, why));
        }
        let key_length = publish.key.map_or(0, str::len);
        if key_length > self.limits.key_bytes_max {
            let why =
                format!("a key has at most {} bytes, this one has {key_length}", self.limits.key_bytes_max);
            return Err(Refusal::lasting(RefusalCode::TooLarge, why));
        }
        Ok(())
    }

    /// What to answer to a look into history: it is the one answer that may be long, so there are bounds to how many of
    /// them may wait.
    pub(crate) fn past_done(&self, found: Result<PastFound, Refusal>) -> Result<Done, Refusal> {
        let PastFound { at, messages, more } = found?;
        let bytes_max = self.limits.answers_total_bytes_max;
        if self.clients.answers_bytes >= bytes_max {
            let why = format!("answers of {bytes_max} bytes wait for clients that do not read them");
            return Err(Refusal::passing(RefusalCode::Busy, why));
        }
        Ok(Done::Past { at, messages, more })
    }

    /// Queues the outcome of a request.
    pub(crate) fn answer(&mut self, client: ClientId, tag: Tag, result: Result<Done, Refusal>) {
        if let Err(refusal) = &result {
            self.stats.refused += 1;
            self.stats.refused_by_code[refusal.code as usize] += 1;
        }
        if tag == Tag::Silent && result.is_ok() {
            return;
        }
        self.push_other(client.index() as u32, Item::Answer(Box::new(Answer { tag, result })));
    }

    /// Queues anything but a message.
    pub(crate) fn push_other(&mut self, client: u32, item: Item) {
        if self.clients.hot[client as usize].outbox.is_empty() {
            self.clients.note_moved(client);
        }
        self.clients.change_outbox(client, |outbox| outbox.push_other(item));
        self.clients.touch(client);
    }

    pub(crate) fn close_slow(&mut self, client: u32) {
        let client = self.clients.id(client);
        self.stats.closed_slow += u64::from(self.closing(client).is_none());
        self.close(client, Bye { reason: "slow", reconnect: None });
    }

    pub(crate) fn send(&mut self, shard: u16, message: Inner) {
        self.outgoing.push_back((shard, ShardMessage(message)));
    }

    /// The next of a sequence of numbers that the seed decides (SplitMix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
