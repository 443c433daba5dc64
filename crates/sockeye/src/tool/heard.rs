//! What was heard in datagrams: what is lost on the way, comes twice or comes late shows in the positions.
//!
//! Deliberately absent: asking for what was lost, and putting what came late where it belongs.

use std::collections::HashMap;

use serde_json::json;

use super::said::Said;

/// Channels of which this is known. With more, all are forgotten: one begins again with its next message.
const CHANNELS_MAX: usize = 4_096;
/// So many of the newest positions of a channel are known one by one. What is older is not heard any more: it was heard before, or
/// told as lost.
const WINDOW: u64 = 1_024;

const WORDS: usize = WINDOW as usize / 64;

/// What was heard of each channel.
#[derive(Debug, Default)]
pub(super) struct Heard {
    channels: HashMap<String, Channel>,
}

/// What is to be done about an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heed {
    /// It is new, or it was told as lost and has come after all.
    New,
    /// It is new, and before it this gap is told.
    Behind(Vec<u8>),
    /// It came before.
    Again,
}

#[derive(Debug)]
struct Channel {
    epoch: String,
    /// The newest position.
    last: u64,
    /// Of the last [`WINDOW`] positions, a bit for each that was heard, or that the server has told as missing.
    settled: [u64; WORDS],
}

impl Heard {
    /// Takes a message or a gap of the server's. What has no position is new.
    pub(super) fn take(&mut self, said: &Said<'_>) -> Heed {
        let (Some(channel), Some((epoch, from, to))) = (said.ch.as_deref(), positions(said)) else {
            return Heed::New;
        };
        let known = self.channel(channel, epoch, from.saturating_sub(1));
        if to <= known.last {
            return if known.settle(from, to) { Heed::New } else { Heed::Again };
        }
        let lost = gap(channel, epoch, known.last, from);
        known.advance(to);
        known.settle(from, to);
        lost.map_or(Heed::New, Heed::Behind)
    }

    /// Takes the answer to a subscription, which says where the channel stands: a gap of what is missing up to there.
    pub(super) fn take_answer(&mut self, channel: &str, said: &Said<'_>) -> Option<Vec<u8>> {
        let (epoch, _, at) = positions(said)?;
        let known = self.channel(channel, epoch, at);
        let lost = gap(channel, epoch, known.last, at.saturating_add(1));
        known.advance(at);
        lost
    }

    /// What is known of a channel, which begins behind that position if it is new or began anew.
    fn channel(&mut self, name: &str, epoch: &str, last: u64) -> &mut Channel {
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(name) {
            self.channels.clear();
        }
        let new = || Channel { epoch: epoch.to_owned(), last, settled: [0; WORDS] };
        let known = self.channels.entry(name.to_owned()).or_insert_with(new);
        if known.epoch != epoch {
            *known = new();
        }
        known
    }
}

impl Channel {
    /// Makes a position the newest, if it is.
    fn advance(&mut self, to: u64) {
        if to <= self.last {
            return;
        }
        for position in (self.last + 1..=to).rev().take(WINDOW as usize) {
            let (word, bit) = place(position);
            self.settled[word] &= !bit;
        }
        self.last = to;
    }

    /// Settles positions; false when there was nothing to settle.
    fn settle(&mut self, from: u64, to: u64) -> bool {
        let oldest = self.last.saturating_sub(WINDOW - 1);
        let mut is_new = false;
        for position in from.max(oldest)..=to {
            let (word, bit) = place(position);
            is_new |= self.settled[word] & bit == 0;
            self.settled[word] |= bit;
        }
        is_new
    }
}

/// Whether a message or a gap is not behind the position of an answer: then an earlier question had been understood, too.
pub(super) fn precedes(said: &Said<'_>, answer: &Said<'_>) -> bool {
    let (Some((epoch, from, _)), Some((its_epoch, _, at))) = (positions(said), positions(answer)) else {
        return false;
    };
    epoch == its_epoch && from <= at
}

/// The epoch, and the first and last position that an object is about.
fn positions<'a>(said: &'a Said<'_>) -> Option<(&'a str, u64, u64)> {
    let (from, to) = match &said.gap {
        Some(gap) => (gap.from.as_str(), gap.to.as_str()),
        None => (said.at.as_deref()?, said.at.as_deref()?),
    };
    let (epoch, from) = from.split_once(':')?;
    Some((epoch, from.parse().ok()?, to.split_once(':')?.1.parse().ok()?))
}

/// What is missing between two positions, as the server would say it.
fn gap(channel: &str, epoch: &str, last: u64, next: u64) -> Option<Vec<u8>> {
    let first = last.saturating_add(1);
    (first < next).then(|| {
        let gap = json!({"ch": channel, "gap": {
            "from": format!("{epoch}:{first}"), "to": format!("{epoch}:{}", next - 1), "why": "lost"
        }});
        gap.to_string().into_bytes()
    })
}

fn place(position: u64) -> (usize, u64) {
    let index = position % WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::said::Gap;
    use super::*;

    fn message(channel: &str, at: &str) -> Said<'static> {
        Said { ch: Some(channel.into()), at: Some(at.into()), ..Said::default() }
    }

    fn missing(from: &str, to: &str) -> Said<'static> {
        let gap = Gap { from: from.into(), to: to.into(), why: "too_large".into() };
        Said { ch: Some("a".into()), gap: Some(gap), ..Said::default() }
    }

    fn lost(gap: &[u8]) -> Value {
        serde_json::from_slice::<Value>(gap).expect("JSON")["gap"].clone()
    }

    #[test]
    fn what_is_lost_on_the_way_shows_in_the_positions() {
        let mut heard = Heard::default();
        let mut take = |channel: &str, at: &str| match heard.take(&message(channel, at)) {
            Heed::Behind(gap) => lost(&gap),
            Heed::New => Value::Null,
            Heed::Again => json!("again"),
        };

        assert_eq!(take("a", "k:7"), Value::Null);
        assert_eq!(take("a", "k:8"), Value::Null);
        assert_eq!(take("b", "k:1"), Value::Null);
        assert_eq!(take("a", "k:11"), json!({ "from": "k:9", "to": "k:10", "why": "lost" }));
        // One that comes late, twice, and the next.
        assert_eq!(take("a", "k:10"), Value::Null);
        assert_eq!(take("a", "k:10"), json!("again"));
        assert_eq!(take("a", "k:12"), Value::Null);
        // One before the first.
        assert_eq!(take("a", "k:6"), Value::Null);
        // The channel began anew.
        assert_eq!(take("a", "n:5"), Value::Null);
        assert_eq!(take("a", "n:0"), Value::Null);
        assert_eq!(take("a", "nonsense"), Value::Null);
    }

    #[test]
    fn what_the_server_announces_is_not_told_twice() {
        let mut heard = Heard::default();

        assert_eq!(heard.take(&message("a", "k:1")), Heed::New);
        assert_eq!(heard.take(&missing("k:2", "k:4")), Heed::New);
        assert_eq!(heard.take(&missing("k:2", "k:4")), Heed::Again);
        assert_eq!(heard.take(&message("a", "k:5")), Heed::New);
        assert_eq!(heard.take(&missing("k:2", "k:4")), Heed::Again);
    }

    #[test]
    fn an_answer_tells_what_was_lost_while_nobody_was_subscribed() {
        let mut heard = Heard::default();

        assert_eq!(heard.take_answer("a", &message("", "k:7")), None);
        assert_eq!(heard.take(&message("a", "k:8")), Heed::New);
        let gap = heard.take_answer("a", &message("", "k:10")).expect("two are missing");
        assert_eq!(lost(&gap), json!({ "from": "k:9", "to": "k:10", "why": "lost" }));
        assert_eq!(heard.take(&message("a", "k:9")), Heed::New, "it was late");
        assert_eq!(heard.take(&message("a", "k:11")), Heed::New);
        assert_eq!(heard.take_answer("a", &message("", "k:3")), None, "an answer that is late");
        assert_eq!(heard.take_answer("a", &message("", "n:3")), None, "the channel began anew");
        assert!(matches!(heard.take(&message("a", "n:5")), Heed::Behind(_)));
    }

    #[test]
    fn what_is_older_than_the_window_is_not_heard_again_and_no_number_is_too_large() {
        let mut heard = Heard::default();
        let at = |position: u64| message("a", &format!("k:{position}"));

        for position in 1..=WINDOW {
            assert_eq!(heard.take(&at(position)), Heed::New);
        }
        assert!((1..=WINDOW).all(|position| heard.take(&at(position)) == Heed::Again));
        assert_eq!(heard.take(&at(WINDOW + 1)), Heed::New);
        assert_eq!(heard.take(&at(1)), Heed::Again);
        assert!(matches!(heard.take(&at(u64::MAX)), Heed::Behind(_)));
        assert_eq!(heard.take(&at(u64::MAX)), Heed::Again);
        assert_eq!(heard.take(&at(u64::MAX - WINDOW + 1)), Heed::New);
        assert_eq!(heard.take(&at(u64::MAX - WINDOW)), Heed::Again);
        let everything = heard.take(&missing("k:0", &format!("k:{}", u64::MAX)));
        assert_eq!((everything, heard.take(&at(u64::MAX - 5))), (Heed::New, Heed::Again));
        assert_eq!(heard.take_answer("a", &at(u64::MAX)), None);
    }
}
