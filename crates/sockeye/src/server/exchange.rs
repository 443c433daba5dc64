//! How a shard's loop writes to the other shards, and reads what they wrote.
//!
//! What a turn has for another shard goes there in one push, before the turn's own writes, so that the other shard
//! works while this one does. Deliberately absent: the inbox itself (`inbox.rs`), and what hubs say to each other.

use sockeye_hub::ShardMessage;

use super::drain::Drain;
use super::kernel::{Accepted, Kernel};
use super::letter::{Content, Control, Letter};
use super::shard::Shard;

/// What a shard keeps about the others.
#[derive(Debug)]
pub(super) struct Exchange<S> {
    /// Taken from the inbox and not handled yet.
    pub(super) received: std::collections::VecDeque<Letter<S>>,
    /// To each shard; the one to itself stays empty.
    written: Box<[Vec<Letter<S>>]>,
    /// The shard that gets the next connection of a listener that only one shard has.
    next_shard: u16,
    /// Too much waits in the inboxes: nobody is read from.
    pub(super) is_congested: bool,
    /// How the drain goes.
    pub(super) drain: Drain,
    /// The whole server is to end.
    pub(super) is_over: bool,
}

impl<S> Exchange<S> {
    pub(super) fn new(shards: u16) -> Self {
        Exchange {
            received: std::collections::VecDeque::new(),
            written: (0..shards).map(|_| Vec::new()).collect(),
            next_shard: 0,
            is_congested: false,
            drain: Drain::default(),
            is_over: false,
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.written.len() == 1
    }
}

impl<K: Kernel> Shard<K> {
    /// Handles what other shards wrote, and what the whole server is told.
    #[inline]
    pub(super) fn take_letters(&mut self) {
        self.kernel.receive(&mut self.exchange.received);
        if !self.exchange.received.is_empty() {
            self.has_news = !self.exchange.is_alone();
            self.handle_letters();
        }
        if !self.exchange.is_alone() {
            self.exchange.is_congested = self.kernel.is_congested();
        }
    }

    fn handle_letters(&mut self) {
        self.desk.hub.grant_work(self.desk.limits.work_per_turn);
        for _ in 0..self.desk.server_limits.letters_per_turn_max {
            if self.desk.hub.is_work_done() {
                break;
            }
            let Some(letter) = self.exchange.received.pop_front() else { break };
            match letter.content {
                Content::Hub(message) => self.desk.hub.handle_shard(letter.from, message, self.desk.now),
                Content::Connection(accepted) => {
                    // It comes too late to be heard, and ends with the others.
                    if !self.exchange.drain.has_said_farewell() {
                        self.welcome(*accepted);
                    }
                }
                Content::Drain(stage) => self.note_stage(letter.from, stage),
                Content::Control(Control::Drain) => self.announce_drain(),
                Content::Control(Control::Reload(orders)) => {
                    self.post.reconfigure(&self.desk.guard);
                    self.desk.reconfigure(&orders);
                }
                Content::Control(Control::End) => self.exchange.is_over = true,
            }
        }
    }

    /// Hands what there is for other shards to the kernel.
    #[inline]
    pub(super) fn post_letters(&mut self) {
        if !self.exchange.is_alone() {
            self.collect_letters();
            for (shard, letters) in self.exchange.written.iter_mut().enumerate() {
                if !letters.is_empty() {
                    self.kernel.send(shard as u16, letters);
                }
            }
        }
    }

    /// Brings what the hub has for other shards behind what is written to them already.
    pub(super) fn collect_letters(&mut self) {
        while let Some((shard, message)) = self.desk.hub.poll_shard_output() {
            self.write_message(shard, message);
        }
    }

    fn write_message(&mut self, shard: u16, message: ShardMessage) {
        self.write(shard, Content::Hub(message));
    }

    pub(super) fn write(&mut self, shard: u16, content: Content<K::Stream>) {
        let from = self.desk.hub.shard().index;
        self.exchange.written[usize::from(shard)].push(Letter { from, content });
    }

    /// Takes in a connection of a listener that only this shard has, or hands it to the next in turn.
    pub(super) fn hand_round(&mut self, accepted: Accepted<K::Stream>) {
        let shard = self.exchange.next_shard;
        let shards = self.desk.hub.shard();
        self.exchange.next_shard = (shard + 1) % shards.count;
        if shard == shards.index {
            self.welcome(accepted);
        } else {
            self.write(shard, Content::Connection(Box::new(accepted)));
        }
    }
}
