//! The one queue of a client: answers, messages, gaps and the gateway's own bytes, first in, first out.
//!
//! The queue holds references to shared messages, yet counts them at their full encoded length, so that its bound is
//! what a stalled client may cost at most. Deliberately absent: who decides what enters (see `deliver` and `lag`).

use std::{collections::VecDeque, mem::size_of, sync::Arc};

use crate::{
    error::Refusal,
    message::Message,
    position::{Epoch, Position},
    request::Tag,
};

/// A queue that was longer than this gives its memory back when it is drained.
const ITEMS_KEPT_MAX: usize = 64;

/// One thing to be written.
#[derive(Debug)]
pub enum Item {
    /// A message the client hears.
    Message(Arc<Message>),
    /// The outcome of a request.
    Answer(Box<Answer>),
    /// What the client did not get.
    Gap(Box<Gap>),
    /// What happens to the client by itself.
    Notice(Box<Notice>),
    /// Bytes of the gateway's own, ready for the wire.
    Bytes(Box<[u8]>),
    /// The same, of a message or gap that was encoded for this client alone.
    Pushed(Box<[u8]>),
    /// The last item: the connection is closed after it.
    Bye(Box<Bye>),
}

/// The outcome of one request.
#[derive(Debug)]
pub struct Answer {
    /// What the request is recognized by.
    pub tag: Tag,
    /// What was done, or why not.
    pub result: Result<Done, Refusal>,
}

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// The client hears the channel or pattern.
    Subscribed {
        /// The channel's newest position at that moment; `None` for a pattern.
        at: Option<Position>,
        /// Whether the wanted position could be taken up; `None` if none was asked for.
        recovered: Option<Result<(), NotRecovered>>,
    },
    /// The subscription is over.
    Unsubscribed,
    /// The message has its place.
    Published {
        /// The place.
        at: Position,
        /// Whether its key was seen before, and this is the place of the first.
        again: bool,
    },
    /// A look into history.
    Past {
        /// The channel's newest position.
        at: Position,
        /// The messages, oldest first.
        messages: Vec<Arc<Message>>,
        /// Whether there is more within what was asked for.
        more: bool,
    },
}

/// Why a wanted position could not be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotRecovered {
    /// It belongs to another incarnation of the channel.
    Epoch,
    /// History does not reach back to it.
    Evicted,
    /// The channel has not come so far.
    Ahead,
}

impl NotRecovered {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Evicted => "evicted",
            Self::Ahead => "ahead",
        }
    }
}

/// A range of one channel that the client did not get. Both ends are inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The channel's name.
    pub channel: Arc<str>,
    /// The incarnation of the channel.
    pub epoch: Epoch,
    /// The first missing place.
    pub from: u64,
    /// The last missing place.
    pub to: u64,
    /// Why.
    pub why: GapReason,
}

/// Why a range is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The client did not keep up, and history no longer reaches back.
    Slow,
    /// The channel's incarnation ended before the client had read it.
    Evicted,
    /// The message does not fit the client's socket.
    TooLarge,
}

impl GapReason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Evicted => "evicted",
            Self::TooLarge => "too_large",
        }
    }
}

/// What a client is told without having asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A subscription has ended, because the client may no longer hear it.
    Ended {
        /// The channel or pattern.
        name: Arc<str>,
    },
    /// The client's identity ends, and the connection with it, unless another token is shown before.
    Expires {
        /// After so many milliseconds.
        in_ms: u64,
    },
}

/// The end of a connection, told to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bye {
    /// Why, in a word: `slow`, `drain`, ...
    pub reason: &'static str,
    /// When to come back: after a random wait in this range, in milliseconds.
    pub reconnect: Option<(u64, u64)>,
}

/// The queue of one client.
#[derive(Debug, Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    front_offset: usize,
    message_bytes: usize,
    other_bytes: usize,
    messages: u32,
    gaps: u32,
}

impl Outbox {
    /// How many bytes of the front item are written already.
    #[inline]
    pub fn front_offset(&self) -> usize {
        self.front_offset
    }

    /// How many items wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item at `index`, counted from the front.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    /// The items from the front.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// The full encoded length of the messages that wait.
    #[inline]
    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// What everything else that waits costs: answers, gaps and the gateway's bytes.
    #[inline]
    pub fn other_bytes(&self) -> usize {
        self.other_bytes
    }

    /// Whether more than so many bytes of that were asked for: not what is pushed, which who only hears may leave unread. It is
    /// not counted as it comes and goes, for a queue that fan-out looks at has the length of a line of cache.
    pub fn has_answers_over(&self, bytes: usize) -> bool {
        self.other_bytes > bytes && self.items.iter().map(answer_cost_bytes).sum::<usize>() > bytes
    }

    /// How many messages wait.
    #[inline]
    pub fn messages(&self) -> usize {
        self.messages as usize
    }

    /// How many gaps wait.
    pub(crate) fn gaps(&self) -> usize {
        self.gaps as usize
    }

    #[inline]
    pub(crate) fn push_message(&mut self, message: Arc<Message>, length: usize) {
        self.items.push_back(Item::Message(message));
        self.message_bytes += length;
        self.messages += 1;
    }

    /// Appends anything but a message. A gap that continues the gap before it becomes one with it.
    pub(crate) fn push_other(&mut self, item: Item) {
        if let (Item::Gap(gap), Some(Item::Gap(last))) = (&item, self.items.back_mut())
            && last.epoch == gap.epoch
            && last.channel == gap.channel
            && last.why == gap.why
            && last.to + 1 == gap.from
        {
            last.to = gap.to;
            return;
        }
        self.count_other(&item);
        self.items.push_back(item);
    }

    fn count_other(&mut self, item: &Item) {
        self.other_bytes += other_cost_bytes(item);
        self.gaps += u32::from(matches!(item, Item::Gap(_)));
    }

    fn discount_other(&mut self, item: &Item) {
        self.other_bytes -= other_cost_bytes(item);
        self.gaps -= u32::from(matches!(item, Item::Gap(_)));
    }

    /// Puts bytes before everything that waits. Only possible while nothing of the front item is written.
    pub(crate) fn push_front_bytes(&mut self, bytes: Box<[u8]>) {
        assert_eq!(self.front_offset, 0, "what is half written cannot be preceded");
        let item = Item::Bytes(bytes);
        self.count_other(&item);
        self.items.push_front(item);
    }

    /// Replaces an item by its encoded bytes; `length` tells the encoded length of a message.
    pub(crate) fn replace(&mut self, index: usize, bytes: Box<[u8]>, length: impl FnOnce(&Message) -> usize) {
        let new = match self.items.get(index) {
            Some(Item::Message(_) | Item::Gap(_) | Item::Pushed(_)) => Item::Pushed(bytes),
            Some(_) => Item::Bytes(bytes),
            None => return,
        };
        self.count_other(&new);
        let old = std::mem::replace(&mut self.items[index], new);
        match &old {
            Item::Message(message) => {
                self.message_bytes -= length(message);
                self.messages -= 1;
            }
            other => self.discount_other(other),
        }
    }

    /// Removes the front item, which is wholly written; `length` tells the encoded length of a message.
    pub(crate) fn pop_front(&mut self, length: impl FnOnce(&Message) -> usize) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.front_offset = 0;
        match &item {
            Item::Message(message) => {
                self.message_bytes -= length(message);
                self.messages -= 1;
            }
            other => self.discount_other(other),
        }
        if self.items.is_empty() && self.items.capacity() > ITEMS_KEPT_MAX {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    pub(crate) fn set_front_offset(&mut self, offset: usize) {
        self.front_offset = offset;
    }

    /// Takes every item out, to put back those that stay. The half-written mark stays.
    pub(crate) fn take_items(&mut self) -> VecDeque<Item> {
        self.message_bytes = 0;
        self.other_bytes = 0;
        self.messages = 0;
        self.gaps = 0;
        std::mem::take(&mut self.items)
    }

    /// Drops messages and gaps, but for a message that is half written.
    pub(crate) fn drop_pushes(&mut self, length: impl Fn(&Message) -> usize) {
        let half_written = usize::from(self.front_offset > 0);
        for (place, item) in self.take_items().into_iter().enumerate() {
            match item {
                Item::Message(message) if place < half_written => {
                    let length = length(&message);
                    self.push_message(message, length);
                }
                Item::Message(_) | Item::Gap(_) => {}
                other => self.push_other(other),
            }
        }
    }

    /// Drops everything behind the first `items_kept` items, but for one that is half written.
    pub(crate) fn truncate(&mut self, items_kept: usize, length: impl Fn(&Message) -> usize) {
        let items_kept = items_kept.max(usize::from(self.front_offset > 0));
        while self.items.len() > items_kept {
            match self.items.pop_back() {
                Some(Item::Message(message)) => {
                    self.message_bytes -= length(&message);
                    self.messages -= 1;
                }
                Some(other) => self.discount_other(&other),
                None => {}
            }
        }
    }

    /// Counts the messages anew, because the client takes another encoded form.
    pub(crate) fn measure_again(&mut self, length: impl Fn(&Message) -> usize) {
        let lengths = self.items.iter().map(|item| match item {
            Item::Message(message) => length(message),
            _ => 0,
        });
        self.message_bytes = lengths.sum();
    }

    /// The gap at `index`, if it is one.
    pub(crate) fn gap_mut(&mut self, index: usize) -> Option<&mut Gap> {
        match self.items.get_mut(index) {
            Some(Item::Gap(gap)) => Some(gap),
            _ => None,
        }
    }
}

/// What of an item's cost was asked for.
fn answer_cost_bytes(item: &Item) -> usize {
    if matches!(item, Item::Gap(_) | Item::Pushed(_)) { 0 } else { other_cost_bytes(item) }
}

/// What an item other than a message costs while it waits.
fn other_cost_bytes(item: &Item) -> usize {
    match item {
        Item::Message(_) => 0,
        Item::Bytes(bytes) | Item::Pushed(bytes) => bytes.len(),
        Item::Gap(_) => size_of::<Gap>(),
        Item::Notice(_) => size_of::<Notice>(),
        Item::Bye(_) => size_of::<Bye>(),
        Item::Answer(answer) => {
            let tag_bytes = match &answer.tag {
                Tag::Id(id) => id.len(),
                Tag::Silent | Tag::Number(_) => 0,
            };
            let result_bytes = match &answer.result {
                Ok(Done::Past { messages, .. }) => {
                    messages.iter().map(|message| size_of::<Arc<Message>>() + message.payload.len()).sum()
                }
                Ok(_) => 0,
                Err(refusal) => refusal.why.len(),
            };
            size_of::<Answer>() + tag_bytes + result_bytes
        }
    }
}
