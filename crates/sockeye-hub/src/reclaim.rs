//! When all outboxes together are too large: queued messages are turned back into lag.
//!
//! The clients whose queues have not moved for the longest go first, down to seven eighths of the bound, so that the
//! search is not repeated for each message. Nothing is lost by it: what was queued is read again from history, and
//! what cannot be is announced.

use std::sync::Arc;

use crate::{
    hub::Hub,
    lag::Lag,
    message::Message,
    outbox::{Gap, GapReason, Item, Outbox},
    planted::{Planted, is_planted},
};

impl Hub {
    /// Turns queued messages back into lag until all outboxes together fit. The client that is just being read on is
    /// spared: what it was given would be taken from it at once.
    pub(crate) fn reclaim(&mut self, spared: Option<u32>) {
        let target_bytes = self.limits.outbox_total_bytes_max / 8 * 7;
        let mut stalest: Vec<(u64, u32)> = Vec::new();
        for (index, hot) in self.clients.hot.iter().enumerate() {
            if hot.outbox.messages() > 0 && Some(index as u32) != spared {
                stalest.push((hot.moved, index as u32));
            }
        }
        stalest.sort_unstable();
        for (_, index) in stalest {
            if self.clients.outbox_bytes <= target_bytes {
                break;
            }
            self.turn_back(index);
        }
    }

    /// Takes the queued messages of one client back. What stands before its newest change of subscriptions belongs to
    /// a story that has ended: it becomes a gap in its place. What comes after is read again.
    fn turn_back(&mut self, client: u32) {
        let hot = &self.clients.hot[client as usize];
        let encoding = hot.encoding;
        let half_written = usize::from(hot.outbox.front_offset() > 0);
        let before = self.clients.cold[client as usize].barrier;
        let popped = hot.popped;
        let items = self.clients.change_outbox(client, Outbox::take_items);

        // Where the gaps of the current run of pushes stand in the new queue: a run ends at anything else.
        let mut run: Vec<usize> = Vec::new();
        let mut must_close = false;
        for (place, item) in items.into_iter().enumerate() {
            let is_current = popped + place as u64 >= before;
            let item = match item {
                Item::Message(message) if place < half_written => {
                    let length = message.encoded(encoding, self.encoder).len();
                    self.clients.change_outbox(client, |outbox| outbox.push_message(message, length));
                    continue;
                }
                Item::Message(message) => {
                    self.stats.reclaimed += 1;
                    match self.heard_channel(client, &message.channel, &message) {
                        Some(_) if is_current && is_planted(Planted::ReclaimForgets) => {}
                        Some(lag) if is_current => must_close |= !self.lower_lag(client, lag),
                        _ => self.replace_by_gap(client, &message, &mut run),
                    }
                    continue;
                }
                Item::Gap(gap) if is_current && place >= half_written => {
                    let index = self.channels.find(&gap.channel);
                    let index = index.filter(|index| self.channels.get(*index).epoch == gap.epoch);
                    // A gap behind a message that was taken back is part of what is read again.
                    let lag = index.and_then(|index| {
                        let place = self.clients.find_lag(client, index)?;
                        Some(self.clients.cold[client as usize].lags[place])
                    });
                    match lag {
                        Some(lag) if lag.next <= gap.from => continue,
                        _ => Item::Gap(gap),
                    }
                }
                other => other,
            };
            if !matches!(item, Item::Gap(_)) {
                run.clear();
            }
            self.clients.change_outbox(client, |outbox| outbox.push_other(item));
        }
        if must_close {
            self.close_slow(client);
        }
    }

    /// How a client would lag on a message's channel, if it still hears this incarnation.
    fn heard_channel(&self, client: u32, name: &str, message: &Message) -> Option<Lag> {
        let index = self.channels.find(name)?;
        if self.channels.get(index).epoch != message.epoch {
            return None;
        }
        let options = self.hearing(client, index)?;
        Some(Lag::new(index, message.sequence, options))
    }

    /// Lets a lag begin at an earlier place, or begins it. Tells whether the client may lag on one more channel.
    fn lower_lag(&mut self, client: u32, wanted: Lag) -> bool {
        if let Some(place) = self.clients.find_lag(client, wanted.channel) {
            let lag = &mut self.clients.cold[client as usize].lags[place];
            if wanted.next < lag.next {
                lag.next = wanted.next;
                lag.waiting = false;
            }
            return true;
        }
        if self.clients.cold[client as usize].lags.len() >= self.limits.lagging_channels_max {
            return false;
        }
        self.clients.insert_lag(client, wanted, &mut self.channels.get_mut(wanted.channel).laggards);
        true
    }

    /// Puts a gap where a message was, or lengthens the gap of its channel in the same run.
    fn replace_by_gap(&mut self, client: u32, message: &Arc<Message>, run: &mut Vec<usize>) {
        let outbox = &mut self.clients.hot[client as usize].outbox;
        for place in run.iter() {
            if let Some(gap) = outbox.gap_mut(*place)
                && gap.channel == message.channel
                && gap.epoch == message.epoch
                && gap.to + 1 == message.sequence
            {
                gap.to = message.sequence;
                self.stats.missed_slow += 1;
                return;
            }
        }
        let gap = Gap {
            channel: Arc::clone(&message.channel),
            epoch: message.epoch,
            from: message.sequence,
            to: message.sequence,
            why: GapReason::Slow,
        };
        self.count_gap(&gap);
        self.clients.change_outbox(client, |outbox| {
            let length = outbox.len();
            outbox.push_other(Item::Gap(Box::new(gap)));
            if outbox.len() > length {
                run.push(length);
            }
        });
    }
}
