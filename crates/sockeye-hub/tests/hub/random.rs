//! Random days of several shards: whatever happens, every client's stream is in order, nothing comes twice, and each
//! hole is announced by a gap that fits it exactly.
//!
//! The checker knows nothing of the hub: it reads the streams, and what their own requests and answers promise.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use sockeye_hub::{
    Done, Epoch, Gap, Item, Kind, Limits, Past, Position, Publish, Rule, Slow, Start, Subscribe, Tag, matches,
};

use crate::world::{Who, World, describe};

const CHANNELS: [&str; 7] = ["live/a", "live/b", "k/a", "k/b", "k/c/d", "z", "k"];
const PATTERNS: [&str; 5] = ["#", "+/a", "k/#", "live/+", "k/+"];

/// A generator that a seed decides (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}

/// What a client was promised about one channel.
#[derive(Clone, Debug)]
struct Story {
    epoch: Option<Epoch>,
    /// `None`: whatever comes first.
    next: Option<u64>,
    /// The first message may come from anywhere in this range.
    first: RangeInclusive<u64>,
}

#[derive(Clone, Debug)]
enum Asked {
    Subscribe(String, Subscribe),
    Unsubscribe(String),
    Publish(String),
    Past,
}

/// One client, as somebody who only reads its stream sees it.
struct Reader {
    who: Who,
    own: bool,
    asked: BTreeMap<i64, Asked>,
    exacts: BTreeSet<String>,
    patterns: BTreeSet<String>,
    stories: BTreeMap<String, Story>,
    published: BTreeSet<(String, Epoch, u64)>,
    transcript: Vec<String>,
}

struct Day {
    world: World,
    dice: Dice,
    readers: Vec<Reader>,
    tag: i64,
    /// The newest place anybody has seen, by channel and epoch.
    heads: BTreeMap<(String, Epoch), u64>,
    payloads: BTreeMap<(String, Epoch, u64), Box<[u8]>>,
    /// Stories that ended with an epoch: nothing of it may be found behind this place.
    ended: Vec<(String, Epoch, u64)>,
    published: u64,
    gaps: u64,
    messages: u64,
}

impl Day {
    fn new(seed: u64, shards: u16) -> Self {
        let limits = Limits {
            outbox_bytes_max: 300,
            outbox_messages_max: 6,
            lagging_channels_max: 5,
            outbox_total_bytes_max: 900,
            history_total_bytes_max: 9 << 10,
            requests_in_flight_max: 12,
            channel_grace_ms: 300,
            page_bytes: 60,
            link_messages_max: 3,
            link_bytes_max: 120,
            ..Limits::default()
        };
        let rules = vec![
            Rule::live("live/#"),
            Rule { messages: 5, age_ms: 2_000, ..Rule::kept("k/#") },
            Rule::kept("#"),
        ];
        Self {
            world: World::with_shards(shards, limits, rules),
            dice: Dice(seed),
            readers: Vec::new(),
            tag: 0,
            heads: BTreeMap::new(),
            payloads: BTreeMap::new(),
            ended: Vec::new(),
            published: 0,
            gaps: 0,
            messages: 0,
        }
    }

    fn run(seed: u64, shards: u16, steps: usize) -> Self {
        let mut day = Self::new(seed, shards);
        for _ in 0..steps {
            day.step();
        }
        day.finish();
        day
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..3 if self.readers.len() < 8 => self.connect(),
            3 if !self.readers.is_empty() => {
                let place = self.dice.roll(self.readers.len());
                let reader = self.readers.swap_remove(place);
                self.world.disconnect(reader.who);
            }
            4 => {
                let ms = *self.dice.pick(&[1, 10, 100, 400, 3_000]);
                self.world.wait_ms(ms);
            }
            5..10 => self.subscribe(),
            10..13 => self.unsubscribe(),
            13..16 => self.look_back(),
            16..40 => self.publish(),
            40..60 => self.read_some(),
            _ => {
                self.world.collect();
                let shards = self.world.hubs.len();
                let links: Vec<_> = (0..shards * shards)
                    .map(|link| (link / shards, link % shards))
                    .filter(|(from, to)| !self.world.links[*from][*to].is_empty())
                    .collect();
                if !links.is_empty() {
                    let (from, to) = *self.dice.pick(&links);
                    for _ in 0..=self.dice.roll(12) {
                        self.world.arrive(from, to);
                    }
                }
            }
        }
    }

    fn connect(&mut self) {
        let shard = self.dice.roll(self.world.hubs.len());
        let who = self.world.connect_to(shard, None);
        self.readers.push(Reader {
            who,
            own: self.dice.roll(3) > 0,
            asked: BTreeMap::new(),
            exacts: BTreeSet::new(),
            patterns: BTreeSet::new(),
            stories: BTreeMap::new(),
            published: BTreeSet::new(),
            transcript: Vec::new(),
        });
    }

    fn any_reader(&mut self) -> Option<usize> {
        (!self.readers.is_empty()).then(|| self.dice.roll(self.readers.len()))
    }

    fn ask(&mut self, place: usize, asked: Asked) -> Tag {
        self.tag += 1;
        self.readers[place].asked.insert(self.tag, asked);
        Tag::Number(self.tag)
    }

    fn any_position(&mut self, channel: &str) -> Option<Position> {
        let heads: Vec<_> = self.heads.iter().filter(|((name, _), _)| name == channel).collect();
        let ((_, epoch), head) = *heads.get(self.dice.roll(heads.len().max(1)))?;
        let back = self.dice.roll(8) as u64;
        Some(Position { epoch: *epoch, sequence: (head + 1).saturating_sub(back) })
    }

    fn subscribe(&mut self) {
        let Some(place) = self.any_reader() else { return };
        let own = self.readers[place].own;
        let slow = match self.dice.roll(20) {
            0 => Slow::Close,
            1..5 => Slow::Latest,
            _ => Slow::All,
        };
        let mut subscribe = Subscribe { start: Start::Live, own, slow };
        let name =
            if self.dice.roll(3) == 0 { *self.dice.pick(&PATTERNS) } else { *self.dice.pick(&CHANNELS) };
        if CHANNELS.contains(&name) {
            subscribe.start = match self.dice.roll(3) {
                0 => Start::Live,
                1 => Start::Last(self.dice.roll(7) as u64),
                _ => self.any_position(name).map_or(Start::Live, Start::Since),
            };
        }
        let tag = self.ask(place, Asked::Subscribe(name.to_owned(), subscribe));
        let (who, now) = (self.readers[place].who, self.world.now);
        self.world.hubs[who.shard].subscribe(who.id, tag, name, subscribe, now);
    }

    fn unsubscribe(&mut self) {
        let Some(place) = self.any_reader() else { return };
        let name =
            if self.dice.roll(3) == 0 { *self.dice.pick(&PATTERNS) } else { *self.dice.pick(&CHANNELS) };
        let tag = self.ask(place, Asked::Unsubscribe(name.to_owned()));
        let (who, now) = (self.readers[place].who, self.world.now);
        self.world.hubs[who.shard].unsubscribe(who.id, tag, name, now);
    }

    fn look_back(&mut self) {
        let Some(place) = self.any_reader() else { return };
        let name = *self.dice.pick(&CHANNELS);
        let since = if self.dice.roll(2) == 0 { self.any_position(name) } else { None };
        let last = (self.dice.roll(2) == 0).then_some(3);
        let tag = self.ask(place, Asked::Past);
        let (who, now) = (self.readers[place].who, self.world.now);
        self.world.hubs[who.shard].past(who.id, tag, name, Past { last, since }, now);
    }

    fn publish(&mut self) {
        let Some(place) = self.any_reader() else { return };
        let name = *self.dice.pick(&CHANNELS);
        self.publish_to(place, name);
    }

    fn publish_to(&mut self, place: usize, name: &str) {
        self.published += 1;
        let length = *self.dice.pick(&[0, 5, 20, 20, 60, 400]);
        let payload = format!("{} {}", self.published, "x".repeat(length)).into_bytes();
        let tag = self.ask(place, Asked::Publish(name.to_owned()));
        let publish = Publish { channel: name, kind: Kind::Text, payload: Cow::Owned(payload), key: None };
        let (who, now) = (self.readers[place].who, self.world.now);
        self.world.hubs[who.shard].publish(who.id, tag, publish, now);
    }

    fn read_some(&mut self) {
        let Some(place) = self.any_reader() else { return };
        let count = *self.dice.pick(&[1, 2, 5, 20]);
        self.read(place, count);
        // A message of which only a part could be written.
        if self.dice.roll(4) == 0
            && let Some(reader) = self.readers.get(place)
            && matches!(
                self.world.hubs[reader.who.shard].outbox(reader.who.id).get(0),
                Some(Item::Message(_))
            )
        {
            let who = reader.who;
            self.world.hubs[who.shard].set_front_offset(who.id, 1);
        }
    }

    /// Reads up to `count` items of a client, and checks each.
    fn read(&mut self, place: usize, count: usize) -> bool {
        let mut has_read = false;
        for _ in 0..count {
            let (who, now) = (self.readers[place].who, self.world.now);
            self.world.hubs[who.shard].pump(who.id, now);
            let Some(item) = self.world.hubs[who.shard].pop_front(who.id) else { break };
            has_read = true;
            let mut reader = self.readers.swap_remove(place);
            reader.transcript.push(describe(&item));
            let goes_on = self.check(&mut reader, item);
            if !goes_on {
                self.world.disconnect(who);
                return true;
            }
            self.readers.push(reader);
            let last = self.readers.len() - 1;
            self.readers.swap(place, last);
        }
        has_read
    }

    /// Checks one item against what the client was promised. False: the stream is over.
    fn check(&mut self, reader: &mut Reader, item: Item) -> bool {
        match item {
            Item::Bytes(_) | Item::Pushed(_) | Item::Notice(_) => panic!("nobody queued this"),
            Item::Bye(bye) => {
                assert_eq!(bye.reason, "slow");
                return false;
            }
            Item::Answer(answer) => {
                let Tag::Number(tag) = answer.tag else { panic!("an unknown tag") };
                let asked = reader.asked.remove(&tag).expect("a request is answered once");
                match answer.result {
                    Ok(done) => self.check_done(reader, asked, done),
                    Err(refusal) => {
                        let code = refusal.code.as_str();
                        // What a refused request was to replace goes on.
                        assert!(["busy", "not_found"].contains(&code), "{code} for {asked:?}");
                    }
                }
            }
            Item::Gap(gap) => self.check_gap(reader, &gap),
            Item::Message(message) => {
                let channel = message.channel.to_string();
                self.messages += 1;
                self.note(&channel, message.position());
                let key = (channel.clone(), message.epoch, message.sequence);
                let first = self.payloads.entry(key.clone()).or_insert_with(|| message.payload.clone());
                assert_eq!(*first, message.payload, "two messages in one place");
                assert!(reader.own || !reader.published.contains(&key), "heard its own message {key:?}");
                self.advance(reader, &channel, message.epoch, message.sequence, message.sequence);
            }
        }
        true
    }

    fn check_done(&mut self, reader: &mut Reader, asked: Asked, done: Done) {
        match (asked, done) {
            (Asked::Subscribe(name, subscribe), Done::Subscribed { at: Some(at), recovered }) => {
                self.note(&name, at);
                let (next, first) = match subscribe.start {
                    Start::Since(since) if recovered == Some(Ok(())) => {
                        assert_eq!(since.epoch, at.epoch);
                        assert!(since.sequence <= at.sequence);
                        (Some(since.sequence + 1), 0..=0)
                    }
                    Start::Last(count) => (None, (at.sequence + 1).saturating_sub(count)..=at.sequence + 1),
                    _ => (Some(at.sequence + 1), 0..=0),
                };
                reader.exacts.insert(name.clone());
                reader.stories.insert(name, Story { epoch: Some(at.epoch), next, first });
            }
            (Asked::Subscribe(name, _), Done::Subscribed { at: None, recovered: None }) => {
                for channel in CHANNELS {
                    if matches(&name, channel) && !reader.stories.contains_key(channel) {
                        let story = Story { epoch: None, next: None, first: 0..=u64::MAX };
                        reader.stories.insert(channel.to_owned(), story);
                    }
                }
                reader.patterns.insert(name);
            }
            (Asked::Unsubscribe(name), Done::Unsubscribed) => {
                if !reader.patterns.remove(&name) {
                    assert!(reader.exacts.contains(&name), "unsubscribed from what was not heard");
                }
                self.end_exact(reader, &name);
            }
            (Asked::Publish(name), Done::Published { at, again: false }) => {
                self.note(&name, at);
                reader.published.insert((name, at.epoch, at.sequence));
            }
            (Asked::Past, Done::Past { at, messages, .. }) => {
                for pair in messages.windows(2) {
                    assert_eq!(pair[0].sequence + 1, pair[1].sequence);
                }
                assert!(messages.iter().all(|message| message.epoch == at.epoch));
            }
            (asked, done) => panic!("{asked:?} was answered by {done:?}"),
        }
    }

    /// A subscription is over: stories that nothing means any more end.
    fn end_exact(&mut self, reader: &mut Reader, name: &str) {
        reader.exacts.remove(name);
        let Reader { exacts, patterns, stories, .. } = reader;
        stories.retain(|channel, _| {
            exacts.contains(channel) || patterns.iter().any(|pattern| matches(pattern, channel))
        });
    }

    fn check_gap(&mut self, reader: &mut Reader, gap: &Gap) {
        self.gaps += 1;
        assert!(gap.from <= gap.to);
        let channel = gap.channel.to_string();
        self.note(&channel, Position { epoch: gap.epoch, sequence: gap.to });
        self.advance(reader, &channel, gap.epoch, gap.from, gap.to);
    }

    /// The stream has come from the place before `from` to `to`.
    fn advance(&mut self, reader: &mut Reader, channel: &str, epoch: Epoch, from: u64, to: u64) {
        let transcript = &reader.transcript;
        let tail = || transcript[transcript.len().saturating_sub(30)..].join("\n");
        let Some(story) = reader.stories.get_mut(channel) else {
            panic!("{:?} hears {channel}, which it did not ask for:\n{}", reader.who, tail());
        };
        if story.epoch != Some(epoch) {
            if let Some(old) = story.epoch {
                assert!(!reader.exacts.contains(channel), "a heard channel was forgotten:\n{}", tail());
                if let Some(mut next) = story.next {
                    while !reader.own && reader.published.contains(&(channel.to_owned(), old, next)) {
                        next += 1;
                    }
                    self.ended.push((channel.to_owned(), old, next));
                }
                let own_before = (1..from).all(|place| {
                    !reader.own && reader.published.contains(&(channel.to_owned(), epoch, place))
                });
                // What was not yet heard of the old incarnation leaves open where the next is taken up.
                assert!(
                    story.next.is_none() || from == 1 || own_before,
                    "{channel} begins late:\n{}",
                    tail()
                );
            }
            *story = Story { epoch: Some(epoch), next: None, first: 0..=u64::MAX };
        }
        match story.next {
            Some(mut next) => {
                while next < from
                    && !reader.own
                    && reader.published.contains(&(channel.to_owned(), epoch, next))
                {
                    next += 1;
                }
                assert_eq!(next, from, "{:?} on {channel}:\n{}", reader.who, tail());
            }
            None => assert!(story.first.contains(&from) || !reader.own, "{channel}:\n{}", tail()),
        }
        story.next = Some(to + 1);
    }

    fn note(&mut self, channel: &str, at: Position) {
        let head = self.heads.entry((channel.to_owned(), at.epoch)).or_default();
        *head = (*head).max(at.sequence);
    }

    fn drain(&mut self) {
        loop {
            self.world.settle();
            let mut has_read = false;
            let mut place = 0;
            while place < self.readers.len() {
                let before = self.readers.len();
                has_read |= self.read(place, usize::MAX);
                place += usize::from(self.readers.len() == before);
            }
            if !has_read {
                break;
            }
        }
    }

    /// Everything arrives, everybody reads, one more message is said everywhere: then nobody may lack anything.
    fn finish(&mut self) {
        self.drain();
        let speaker = self.world.connect();
        for channel in CHANNELS {
            self.world.publish(speaker, channel, "the last word", None);
            self.world.settle();
            let Some(Item::Answer(answer)) = self.world.hubs[0].pop_front(speaker.id) else {
                panic!("the last word on {channel} was not answered");
            };
            let Ok(Done::Published { at, .. }) = answer.result else { panic!("{answer:?}") };
            self.note(channel, at);
            self.drain();
        }
        self.world.disconnect(speaker);
        for reader in &self.readers {
            assert!(reader.asked.is_empty(), "{:?} were never answered", reader.asked);
            let hub = &self.world.hubs[reader.who.shard];
            assert_eq!(hub.requests_in_flight(reader.who.id), 0);
            assert_eq!(hub.subscriptions(reader.who.id), reader.exacts.len() + reader.patterns.len());
            for (channel, story) in &reader.stories {
                let epoch = story.epoch.expect("a message was said to everybody");
                let mut next = story.next.unwrap_or(0);
                while !reader.own && reader.published.contains(&(channel.clone(), epoch, next)) {
                    next += 1;
                }
                let head = self.heads[&(channel.clone(), epoch)];
                let tail = reader.transcript[reader.transcript.len().saturating_sub(30)..].join("\n");
                assert_eq!(next, head + 1, "{:?} lacks the end of {channel}:\n{tail}", reader.who);
            }
        }
        for (channel, epoch, next) in &self.ended {
            let head = self.heads[&(channel.clone(), *epoch)];
            assert!(head < *next, "the end of {channel} {epoch} was lost: {next}..{head}");
        }
        for reader in std::mem::take(&mut self.readers) {
            self.world.disconnect(reader.who);
        }
        self.world.settle();
        for hub in &self.world.hubs {
            let stats = hub.stats();
            assert_eq!(
                (stats.clients, stats.subscriptions, stats.patterns, stats.lagging, stats.outbox_bytes),
                (0, 0, 0, 0, 0)
            );
            assert_eq!(stats.answers_bytes, 0);
        }
    }
}

#[test]
fn whatever_happens_on_one_shard_nothing_is_lost_silently() {
    for seed in 0..30 {
        Day::run(seed, 1, 1500);
    }
}

#[test]
fn whatever_happens_on_several_shards_nothing_is_lost_silently() {
    let (mut messages, mut gaps) = (0, 0);
    for seed in 0..60 {
        let day = Day::run(1000 + seed, 2 + (seed % 3) as u16, 2000);
        messages += day.messages;
        gaps += day.gaps;
    }
    assert!(messages > 10_000 && gaps > 500, "{messages} messages and {gaps} gaps prove little");
}

#[test]
fn a_seed_tells_the_same_day_again() {
    let (one, other) = (Day::run(5, 3, 1500), Day::run(5, 3, 1500));

    assert_eq!(one.heads, other.heads);
    assert_eq!((one.messages, one.gaps), (other.messages, other.gaps));
    let stats = |day: &Day| day.world.hubs.iter().map(|hub| hub.stats()).collect::<Vec<_>>();
    assert_eq!(stats(&one), stats(&other));
}
