//! The truth by positions, slow and obvious, and what every client must have heard of it.
//!
//! The [`Truth`] is what anybody was told of where a message stands; two stories about one place fail the run. A
//! [`View`] follows the stream of one client: each push is the next position, or a gap names exactly what is between.
//! What cannot be judged at once, because the truth is not known yet, becomes a claim that is judged at the end.
//!
//! Deliberately absent: the server's own data. The model knows what went over the wires, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use sockeye_hub::matches;

/// The channels of the world.
pub const CHANNELS: [&str; 7] = ["live/a", "live/b", "k/a", "k/b", "k/c/d", "z/1", "z"];
/// The patterns that clients listen to.
pub const PATTERNS: [&str; 6] = ["#", "live/#", "k/+", "+/a", "z/#", "k/#"];

/// Who published a message, and which of his it is.
pub type Author = (u32, u32);

/// What is known of a message from the moment it was made.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its channel.
    pub channel: usize,
    /// When it was made, on the clock of the world's happenings.
    pub stamp: u64,
    /// Its content.
    pub text: String,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Its author has no right to publish there.
    pub is_forbidden: bool,
}

/// One incarnation of one channel: what stands where.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The channel.
    pub channel: usize,
    /// The epoch.
    pub epoch: String,
    /// The messages whose places are known.
    pub places: BTreeMap<u64, Author>,
    /// The newest position that anybody was told.
    pub head: u64,
    /// The newest position that a gap named.
    pub missed: u64,
    /// `head` was asked for at the very end.
    pub audited: bool,
}

/// Something that must turn out to be so when everything is known.
#[derive(Clone, Debug)]
enum Claim {
    /// What stands at these places of a line is by this author, who does not want to hear himself.
    ByHimself { line: usize, from: u64, to: u64, client: u32 },
    /// A pattern's listener heard this line from `first` on, and was told before `stamp` that he would hear everything.
    NothingMissedBefore { line: usize, first: u64, stamp: u64, client: u32, own: bool },
    /// This place repeats one with the same key.
    Repeats { line: usize, sequence: u64, author: Author },
}

/// What the world knows.
#[derive(Debug, Default)]
pub struct Truth {
    /// Every message that was made.
    pub sent: BTreeMap<Author, Sent>,
    /// Every incarnation that anybody was told of.
    pub lines: Vec<Line>,
    numbers: BTreeMap<(usize, String), usize>,
    /// Where each message stands.
    pub places: BTreeMap<Author, (usize, u64)>,
    claims: Vec<Claim>,
    /// Counts what happens in the world.
    pub stamp: u64,
}

impl Truth {
    /// The line of a position `epoch:sequence`, and the sequence. Whoever was told of it knows that it has come so far.
    pub fn position(&mut self, channel: usize, at: &str) -> Result<(usize, u64), String> {
        let (line, sequence) = self.place(channel, at)?;
        self.lines[line].head = self.lines[line].head.max(sequence);
        Ok((line, sequence))
    }

    /// The same without that knowledge: what a gap names is believed by nobody.
    pub fn place(&mut self, channel: usize, at: &str) -> Result<(usize, u64), String> {
        let (epoch, sequence) = at.split_once(':').ok_or_else(|| format!("no position: {at}"))?;
        let sequence: u64 = sequence.parse().map_err(|_| format!("no position: {at}"))?;
        let lines = &mut self.lines;
        let number = *self.numbers.entry((channel, epoch.to_owned())).or_insert_with(|| {
            lines.push(Line { channel, epoch: epoch.to_owned(), ..Line::default() });
            lines.len() - 1
        });
        Ok((number, sequence))
    }

    /// A message was seen, or acknowledged, at a place.
    pub fn note(&mut self, line: usize, sequence: u64, author: Author) -> Result<(), String> {
        if let Some(other) = self.lines[line].places.insert(sequence, author)
            && other != author
        {
            return Err(format!("{author:?} and {other:?} both stand at {}", self.name(line, sequence)));
        }
        if let Some(other) = self.places.insert(author, (line, sequence))
            && other != (line, sequence)
        {
            let other = self.name(other.0, other.1);
            return Err(format!("{author:?} stands at {} and at {other}", self.name(line, sequence)));
        }
        if self.sent.get(&author).is_some_and(|sent| sent.is_forbidden) {
            return Err(format!(
                "{author:?} at {} was published without the right",
                self.name(line, sequence)
            ));
        }
        let channel = self.sent.get(&author).map(|sent| sent.channel);
        if channel != Some(self.lines[line].channel) {
            return Err(format!("{author:?} at {} was never sent there", self.name(line, sequence)));
        }
        Ok(())
    }

    /// A gap reached up to here.
    pub fn note_missed(&mut self, line: usize, to: u64) {
        self.lines[line].missed = self.lines[line].missed.max(to);
    }

    /// An acknowledgement said that a message with this key was published before.
    pub fn note_again(&mut self, line: usize, sequence: u64, author: Author) {
        self.claims.push(Claim::Repeats { line, sequence, author });
    }

    /// How a place is written in a failure.
    pub fn name(&self, line: usize, sequence: u64) -> String {
        let Line { channel, epoch, .. } = &self.lines[line];
        format!("{} {epoch}:{sequence}", CHANNELS[*channel])
    }

    /// Judges what could not be judged before.
    pub fn judge(&self) -> Result<(), String> {
        for claim in &self.claims {
            match *claim {
                Claim::ByHimself { line, from, to, client } => {
                    let other =
                        self.lines[line].places.range(from..=to).find(|(_, author)| author.0 != client);
                    if let Some((sequence, author)) = other {
                        let place = self.name(line, *sequence);
                        return Err(format!("client {client} was never told of {place} by {author:?}"));
                    }
                }
                Claim::NothingMissedBefore { line, first, stamp, client, own } => {
                    let missed = self.lines[line]
                        .places
                        .range(..first)
                        .find(|(_, author)| self.sent[author].stamp > stamp && (own || author.0 != client));
                    if let Some((sequence, author)) = missed {
                        let place = self.name(line, *sequence);
                        return Err(format!("client {client} missed {place} by {author:?} before its first"));
                    }
                }
                Claim::Repeats { line, sequence, author } => {
                    let first = self.lines[line].places.get(&sequence).map(|first| &self.sent[first].key);
                    if first.is_some_and(|key| *key != self.sent[&author].key) {
                        let place = self.name(line, sequence);
                        return Err(format!("{author:?} does not have the key of {place}"));
                    }
                }
            }
        }
        for (number, line) in self.lines.iter().enumerate() {
            self.judge_order(number)?;
            if line.audited && line.missed > line.head {
                return Err(format!("a gap told of {}, which never was", self.name(number, line.missed)));
            }
        }
        Ok(())
    }

    /// What one client publishes to one channel takes its places in order.
    fn judge_order(&self, line: usize) -> Result<(), String> {
        let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
        for (sequence, (client, number)) in &self.lines[line].places {
            if newest.insert(*client, *number).is_some_and(|before| before > *number) {
                return Err(format!(
                    "{} stands behind a later one of client {client}",
                    self.name(line, *sequence)
                ));
            }
        }
        Ok(())
    }
}

/// Where the story of one channel goes on for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Exactly here.
    At { line: usize, next: u64 },
    /// Somewhere from `min` to `max`: a reader of the last few.
    From { line: usize, min: u64, max: u64 },
    /// Anywhere: a pattern's listener.
    Anywhere,
}

/// How a subscription started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With what comes.
    Live,
    /// Behind this position.
    Since(String),
    /// With so many that came before.
    Last(u64),
}

/// What one client was promised, and how far it has been kept.
#[derive(Debug, Default)]
pub struct View {
    /// The client.
    pub client: u32,
    /// Subscriptions to a channel, and whether they hear the client itself.
    pub exacts: BTreeMap<usize, bool>,
    /// Subscriptions to a pattern, oldest first: which, whether it hears the client itself, and since when.
    pub patterns: Vec<(usize, bool, u64)>,
    stories: BTreeMap<usize, Next>,
    finished: BTreeSet<usize>,
    /// Channels on which the client did not hear itself at some time since the newest push.
    quiet: BTreeSet<usize>,
    /// Channels on which it did not hear itself at some time since it listens.
    quiet_once: BTreeSet<usize>,
}

impl View {
    /// Makes the view of a client that was promised nothing.
    pub fn new(client: u32) -> Self {
        View { client, ..View::default() }
    }

    /// Which incarnation of a channel was heard last.
    pub fn line(&self, channel: usize) -> Option<usize> {
        match self.stories.get(&channel) {
            Some(Next::At { line, .. } | Next::From { line, .. }) => Some(*line),
            Some(Next::Anywhere) | None => None,
        }
    }

    /// Whether the client hears itself on a channel, and since when; `None` if it does not hear that channel.
    fn hearing(&self, channel: usize) -> Option<(bool, u64)> {
        let mut patterns = self.patterns.iter();
        let oldest = patterns.find(|(pattern, ..)| matches(PATTERNS[*pattern], CHANNELS[channel]));
        let exact = self.exacts.get(&channel).map(|own| (*own, 0));
        exact.or(oldest.map(|(_, own, stamp)| (*own, *stamp)))
    }

    /// What is heard, and how, is about to change.
    fn turn(&mut self) {
        for channel in 0..CHANNELS.len() {
            if self.hearing(channel).is_some_and(|(own, _)| !own) {
                self.quiet.insert(channel);
                self.quiet_once.insert(channel);
            }
        }
    }

    /// A subscription to a channel was answered.
    pub fn subscribed(
        &mut self,
        truth: &mut Truth,
        (channel, own): (usize, bool),
        begin: &Begin,
        at: &str,
        recovered: Option<bool>,
    ) -> Result<(), String> {
        let (line, head) = truth.position(channel, at)?;
        self.quiet.remove(&channel);
        if let Some(Next::At { line: other, next }) = self.stories.get(&channel)
            && *other == line
            && head + 1 < *next
        {
            return Err(format!("the answer says {at}, but {} was heard", truth.name(line, next - 1)));
        }
        if self.exacts.insert(channel, own).is_some()
            && matches!(self.stories.get(&channel), Some(Next::At { line: other, .. }) if *other != line)
        {
            return Err(format!("the epoch changed to {at} while the channel was heard"));
        }
        if let Some(old) = self.line(channel).filter(|old| *old != line) {
            self.finished.insert(old);
        }
        let live = Next::At { line, next: head + 1 };
        let next = match (begin, recovered) {
            (Begin::Live, None) => live,
            (Begin::Last(count), None) => {
                let min = (head + 1).saturating_sub(*count).max(1);
                Next::From { line, min, max: head + 1 }
            }
            (Begin::Since(since), Some(recovered)) => {
                let (epoch, sequence) = since.split_once(':').ok_or("no position was asked for")?;
                let sequence: u64 = sequence.parse().map_err(|_| "no position was asked for")?;
                let fits = epoch == truth.lines[line].epoch && sequence <= head;
                match recovered {
                    true if !fits => return Err(format!("{since} was recovered at {at}")),
                    true => Next::At { line, next: sequence + 1 },
                    false if fits && sequence == head => {
                        return Err(format!("{since} was not recovered at {at}"));
                    }
                    false => live,
                }
            }
            _ => {
                return Err(format!("a subscription from {begin:?} was answered by recovered {recovered:?}"));
            }
        };
        self.stories.insert(channel, next);
        Ok(())
    }

    /// A subscription to a pattern was answered. The same one again is the youngest.
    pub fn subscribed_pattern(&mut self, pattern: usize, own: bool, stamp: u64) {
        self.turn();
        let before = self.patterns.iter().position(|(other, ..)| *other == pattern);
        let since = before.map_or(stamp, |place| self.patterns.remove(place).2);
        self.patterns.push((pattern, own, since));
    }

    /// The end of a subscription was answered: what nothing else means is not heard from here on.
    pub fn unsubscribed(&mut self, name: &str) -> Result<(), String> {
        self.turn();
        let channel = CHANNELS.iter().position(|channel| *channel == name);
        let was_heard = match channel {
            Some(channel) => self.exacts.remove(&channel).is_some(),
            None => {
                let before = self.patterns.len();
                self.patterns.retain(|(pattern, ..)| PATTERNS[*pattern] != name);
                self.patterns.len() < before
            }
        };
        let over: Vec<usize> =
            self.stories.keys().copied().filter(|channel| self.hearing(*channel).is_none()).collect();
        for channel in over {
            self.stories.remove(&channel);
            self.quiet.remove(&channel);
            self.quiet_once.remove(&channel);
        }
        if was_heard {
            Ok(())
        } else {
            Err(format!("{name} was not subscribed to, but its end was confirmed"))
        }
    }

    /// A push (`from == to`, by `author`) or a gap came for these places.
    pub fn advance(
        &mut self,
        truth: &mut Truth,
        line: usize,
        (from, to): (u64, u64),
        author: Option<Author>,
    ) -> Result<(), String> {
        let place = truth.name(line, from);
        let channel = truth.lines[line].channel;
        let (own, stamp) =
            self.hearing(channel).ok_or_else(|| format!("{place} came without a subscription"))?;
        if !own && author.is_some_and(|author| author.0 == self.client) {
            return Err(format!("{place} is one's own, which was not wanted"));
        }
        if from == 0 || to < from {
            return Err(format!("a gap from {place} to {to}"));
        }
        let own = !self.quiet.remove(&channel) && own;
        let story = self.stories.get(&channel).copied().unwrap_or(Next::Anywhere);
        match story {
            Next::At { line: at, next: min } | Next::From { line: at, min, .. }
                if at == line && from < min =>
            {
                return Err(format!("{place} came where {min} was to come: twice, or out of order"));
            }
            Next::At { line: at, next: max } | Next::From { line: at, max, .. } if at == line => {
                self.skip(truth, line, (max, from), own)?;
            }
            Next::At { line: old, next: max } | Next::From { line: old, max, .. } => {
                if self.exacts.contains_key(&channel) {
                    return Err(format!("the epoch changed to {place} while the channel was heard"));
                }
                if !self.finished.insert(old) || self.finished.contains(&line) {
                    return Err(format!("{place} came after the next incarnation"));
                }
                self.skip(truth, old, (max, u64::MAX), own)?;
                self.begin(truth, line, from, (own, stamp));
            }
            Next::Anywhere => self.begin(truth, line, from, (own, stamp)),
        }
        self.stories.insert(channel, Next::At { line, next: to + 1 });
        Ok(())
    }

    fn begin(&self, truth: &mut Truth, line: usize, first: u64, (own, stamp): (bool, u64)) {
        let own = own && !self.quiet_once.contains(&truth.lines[line].channel);
        truth.claims.push(Claim::NothingMissedBefore { line, first, stamp, client: self.client, own });
    }

    /// These places were passed over without a word, which is right only for one's own.
    fn skip(&self, truth: &mut Truth, line: usize, (from, end): (u64, u64), own: bool) -> Result<(), String> {
        let known_end = end.min(truth.lines[line].head + 1);
        if from < known_end && own {
            let place = truth.name(line, from);
            return Err(format!("{place} to {} never came, and no gap told of it", known_end - 1));
        }
        if from < end {
            // Nobody is called 0: then nothing may turn out to have been there.
            let client = if own { 0 } else { self.client };
            truth.claims.push(Claim::ByHimself { line, from, to: end - 1, client });
        }
        Ok(())
    }

    /// All lines were heard up to these places, or what is missing was told.
    pub fn finish_at(&self, truth: &mut Truth, heads: &[u64]) -> Result<(), String> {
        for (channel, story) in &self.stories {
            let Some((own, _)) = self.hearing(*channel) else { continue };
            let own = own && !self.quiet.contains(channel);
            if let Next::At { line, next: max } | Next::From { line, max, .. } = *story
                && let Some(head) = heads.get(line).filter(|head| **head >= max)
            {
                self.skip(truth, line, (max, *head + 1), own)?;
            }
        }
        Ok(())
    }

    /// The world is at rest, and everything was read: everybody has heard everything, or was told what is missing.
    pub fn finish(&self, truth: &mut Truth) -> Result<(), String> {
        for (channel, story) in &self.stories {
            let Some((own, _)) = self.hearing(*channel) else { continue };
            let own = own && !self.quiet.contains(channel);
            if let Next::At { line, next: max } | Next::From { line, max, .. } = *story {
                self.skip(truth, line, (max, u64::MAX), own).map_err(|why| format!("at the end, {why}"))?;
            }
        }
        // A pattern's listener heard something of every line that went on after he was told that he would.
        for line in 0..truth.lines.len() {
            let channel = truth.lines[line].channel;
            let is_known = self.line(channel) == Some(line);
            let exact = self.exacts.contains_key(&channel);
            if let Some(hearing) = self.hearing(channel).filter(|_| !is_known && !exact)
                && !self.finished.contains(&line)
            {
                self.begin(truth, line, u64::MAX, hearing);
            }
        }
        Ok(())
    }
}
