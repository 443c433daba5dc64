//! One small world for all tests of the hub: some shards, links between them, clients that read when told.
//!
//! What a client reads comes back as short texts, so that a test shows a conversation: `chat 3 hi` is a message,
//! `ok 1 at 3` an answer, `chat gap 4..7 slow` a gap.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use sockeye_hub::{
    Bye, ClientId, ClientSetup, Done, Encoded, Encoder, Encoding, Epoch, Hub, Identity, Item, Kind, Limits,
    Message, Notice, Now, Past, Position, Publish, Rights, Rule, ShardInfo, ShardMessage, Start, Subscribe,
    Tag,
};

/// A client, and the shard it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) shard: usize,
    pub(crate) id: ClientId,
}

pub(crate) struct World {
    pub(crate) hubs: Vec<Hub>,
    /// What is under way between shards, by sender and receiver.
    pub(crate) links: Vec<Vec<VecDeque<ShardMessage>>>,
    pub(crate) now: Now,
    next_tag: i64,
}

/// Eight bytes of envelope around the payload, another letter for each encoding.
pub(crate) fn encode(encoding: Encoding, message: &Message, _: usize) -> Encoded {
    let mut bytes = vec![b'a' + encoding.0; 8];
    bytes.extend_from_slice(&message.payload);
    Encoded::Own(bytes.into())
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default(), Vec::new())
    }

    pub(crate) fn with(limits: Limits, rules: Vec<Rule>) -> Self {
        Self::with_shards(1, limits, rules)
    }

    pub(crate) fn with_shards(count: u16, limits: Limits, rules: Vec<Rule>) -> Self {
        let hubs = (0..count).map(|index| {
            let shard = ShardInfo { index, count };
            Hub::new(limits.clone(), rules.clone(), shard, 77 + u64::from(index), 5, Encoder::new(encode, 0))
        });
        let links = (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect();
        Self { hubs: hubs.collect(), links, now: Now { ms: 1_000, unix_ms: 1_764_000_000_000 }, next_tag: 0 }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hubs[0]
    }

    pub(crate) fn connect(&mut self) -> Who {
        self.connect_to(0, None)
    }

    pub(crate) fn connect_to(&mut self, shard: usize, user: Option<&str>) -> Who {
        let identity = user.map(|user| {
            let (user, rights) = (Some(user.into()), Arc::new(Rights::open()));
            Arc::new(Identity { user, rights, expires_ms: None, credential: None })
        });
        let setup = ClientSetup { encoding: Encoding(0), identity };
        Who { shard, id: self.hubs[shard].connect(setup) }
    }

    pub(crate) fn disconnect(&mut self, who: Who) {
        self.hubs[who.shard].disconnect(who.id);
    }

    fn tag(&mut self) -> Tag {
        self.next_tag += 1;
        Tag::Number(self.next_tag)
    }

    pub(crate) fn sub(&mut self, who: Who, name: &str) {
        self.sub_with(who, name, Subscribe::default());
    }

    pub(crate) fn sub_with(&mut self, who: Who, name: &str, subscribe: Subscribe) {
        let tag = self.tag();
        let now = self.now;
        self.hubs[who.shard].subscribe(who.id, tag, name, subscribe, now);
    }

    pub(crate) fn sub_from(&mut self, who: Who, name: &str, start: Start) {
        self.sub_with(who, name, Subscribe { start, ..Subscribe::default() });
    }

    pub(crate) fn unsub(&mut self, who: Who, name: &str) {
        let tag = self.tag();
        let now = self.now;
        self.hubs[who.shard].unsubscribe(who.id, tag, name, now);
    }

    /// Publishes without wanting an answer.
    pub(crate) fn say(&mut self, who: Who, channel: &str, text: &str) {
        let publish =
            Publish { channel, kind: Kind::Text, payload: Cow::Borrowed(text.as_bytes()), key: None };
        let now = self.now;
        self.hubs[who.shard].publish(who.id, Tag::Silent, publish, now);
    }

    pub(crate) fn publish(&mut self, who: Who, channel: &str, text: &str, key: Option<&str>) {
        let tag = self.tag();
        let publish = Publish { channel, kind: Kind::Text, payload: Cow::Borrowed(text.as_bytes()), key };
        let now = self.now;
        self.hubs[who.shard].publish(who.id, tag, publish, now);
    }

    pub(crate) fn past(&mut self, who: Who, channel: &str, past: Past) {
        let tag = self.tag();
        let now = self.now;
        self.hubs[who.shard].past(who.id, tag, channel, past, now);
    }

    /// Lets time pass, and the hubs know.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_ms += ms;
        for hub in &mut self.hubs {
            while hub.poll_timeout().is_some_and(|due| due <= self.now.ms) {
                hub.handle_timeout(self.now);
            }
        }
    }

    /// The newest position of a channel, as a fresh client is told it.
    pub(crate) fn position(&mut self, channel: &str) -> Position {
        let asker = self.connect();
        self.past(asker, channel, Past { last: Some(1), since: None });
        self.settle();
        let item = self.hubs[0].pop_front(asker.id);
        self.disconnect(asker);
        match item {
            Some(Item::Answer(answer)) => match answer.result {
                Ok(Done::Past { at, .. }) => at,
                other => panic!("no position: {other:?}"),
            },
            other => panic!("no answer: {other:?}"),
        }
    }

    /// Takes what the hubs want to tell each other onto the links.
    pub(crate) fn collect(&mut self) {
        for from in 0..self.hubs.len() {
            while let Some((to, message)) = self.hubs[from].poll_shard_output() {
                self.links[from][usize::from(to)].push_back(message);
            }
        }
    }

    /// Lets one message of a link arrive.
    pub(crate) fn arrive(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.links[from][to].pop_front() else { return false };
        let now = self.now;
        self.hubs[to].handle_shard(from as u16, message, now);
        self.collect();
        true
    }

    /// Lets everything arrive that is under way between shards.
    pub(crate) fn settle(&mut self) {
        self.collect();
        loop {
            let mut moved = false;
            for from in 0..self.hubs.len() {
                for to in 0..self.hubs.len() {
                    moved |= self.arrive(from, to);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Reads everything that waits for a client, as short texts.
    pub(crate) fn read(&mut self, who: Who) -> Vec<String> {
        let mut texts = Vec::new();
        self.settle();
        loop {
            let now = self.now;
            self.hubs[who.shard].pump(who.id, now);
            self.settle();
            let Some(item) = self.hubs[who.shard].pop_front(who.id) else { return texts };
            texts.push(describe(&item));
        }
    }

    /// Reads one item, without reading on from history.
    pub(crate) fn read_one(&mut self, who: Who) -> Option<String> {
        self.hubs[who.shard].pop_front(who.id).map(|item| describe(&item))
    }

    pub(crate) fn bye(&self, who: Who) -> Option<Bye> {
        self.hubs[who.shard].closing(who.id)
    }
}

pub(crate) fn describe(item: &Item) -> String {
    match item {
        Item::Message(message) => {
            format!("{} {} {}", message.channel, message.sequence, String::from_utf8_lossy(&message.payload))
        }
        Item::Gap(gap) => format!("{} gap {}..{} {}", gap.channel, gap.from, gap.to, gap.why.as_str()),
        Item::Bytes(bytes) | Item::Pushed(bytes) => format!("bytes {}", String::from_utf8_lossy(bytes)),
        Item::Bye(bye) => format!("bye {}", bye.reason),
        Item::Notice(notice) => match &**notice {
            Notice::Ended { name } => format!("{name} ended"),
            Notice::Expires { in_ms } => format!("expires in {in_ms}"),
        },
        Item::Answer(answer) => {
            let tag = match &answer.tag {
                Tag::Silent => "-".to_owned(),
                Tag::Id(id) => id.to_string(),
                Tag::Number(number) => number.to_string(),
            };
            match &answer.result {
                Err(refusal) => format!("error {tag} {}", refusal.code.as_str()),
                Ok(Done::Unsubscribed) => format!("ok {tag}"),
                Ok(Done::Published { at, again: false }) => format!("ok {tag} at {}", at.sequence),
                Ok(Done::Published { at, again: true }) => format!("ok {tag} at {} again", at.sequence),
                Ok(Done::Past { at, messages, more }) => {
                    let sequences: Vec<_> =
                        messages.iter().map(|message| message.sequence.to_string()).collect();
                    let more = if *more { " more" } else { "" };
                    format!("ok {tag} at {} [{}]{more}", at.sequence, sequences.join(" "))
                }
                Ok(Done::Subscribed { at, recovered }) => {
                    let at = at.map_or_else(String::new, |at| format!(" at {}", at.sequence));
                    let recovered = match recovered {
                        None => String::new(),
                        Some(Ok(())) => " recovered".to_owned(),
                        Some(Err(why)) => format!(" not recovered {}", why.as_str()),
                    };
                    format!("ok {tag}{at}{recovered}")
                }
            }
        }
    }
}

/// A position of some other incarnation.
pub(crate) fn foreign(sequence: u64) -> Position {
    Position { epoch: Epoch::parse("zz9").expect("an epoch"), sequence }
}
