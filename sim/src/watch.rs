//! What must hold after every turn of a shard: bounds are kept, and nothing is stuck.
//!
//! A shard that would wait must have been told of everything: no socket may have something to read or room to write
//! that the shard has use for, and no edge on its way. This is where a lost wake-up shows, at the moment of its loss.

use std::fmt::{self, Write as _};

use sockeye::server::Shard;
use sockeye_hub::{ClientId, ShardMessage};

use crate::kernel::{Net, SimKernel};
use crate::plan::Plan;

/// Checks one shard.
///
/// # Errors
/// Names what is over its bound, or stuck.
pub fn check(shard: &mut Shard<SimKernel>, net: &Net, plan: &Plan) -> Result<(), String> {
    let is_idle = shard.is_idle();
    // While it drains, a shard leaves unread what nobody is to answer.
    let is_draining = shard.is_draining();
    let hub = shard.hub();
    let message_bytes_max = 2 * plan.hub.message_bytes_max + 400;
    let (mut outboxes_bytes, mut answers_bytes) = (0, 0);
    for wire in net.wires() {
        let wire = wire.borrow();
        let Some(token) = wire.token() else { continue };
        let client = ClientId::from_u64(token);
        let outbox = hub.outbox(client);
        outboxes_bytes += outbox.message_bytes() as u64;
        answers_bytes += outbox.other_bytes() as u64;
        if outbox.message_bytes() > plan.hub.outbox_bytes_max && outbox.messages() > 1 {
            return Err(format!("an outbox holds {} bytes of messages", outbox.message_bytes()));
        }
        let answers_bytes_max = plan.connection.answers_bytes_max
            + 2 * (plan.hub.past_bytes_max + message_bytes_max)
            + plan.hub.requests_in_flight_max * message_bytes_max
            + plan.hub.lagging_channels_max * 256
            + plan.server.receive_bytes_max;
        if outbox.other_bytes() > answers_bytes_max {
            return Err(format!("an outbox holds {} bytes of answers", outbox.other_bytes()));
        }
        if !is_idle {
            continue;
        }
        if !(outbox.is_empty() && wire.unsent().is_empty()) && wire.is_silently_writable() {
            return Err(format!("client {token} has an outbox and room to write, and nobody will ever know"));
        }
        let is_wanted = !is_draining
            && outbox.is_empty()
            && wire.unsent().is_empty()
            && hub.requests_in_flight(client) == 0
            && hub.closing(client).is_none();
        if is_wanted && wire.is_silently_readable() {
            return Err(format!("client {token} has something to read, and nobody will ever know"));
        }
    }
    let stats = hub.stats();
    if (stats.outbox_bytes, stats.answers_bytes) != (outboxes_bytes, answers_bytes) {
        return Err(format!(
            "outboxes hold {outboxes_bytes} bytes of messages and {answers_bytes} of others, and {} and {} are counted",
            stats.outbox_bytes, stats.answers_bytes
        ));
    }
    let outboxes_bytes_max = plan.hub.outbox_total_bytes_max + net.wires().len() * message_bytes_max;
    if stats.outbox_bytes > outboxes_bytes_max as u64 {
        return Err(format!("all outboxes hold {} bytes", stats.outbox_bytes));
    }
    if stats.history_bytes > plan.hub.history_total_bytes_max as u64 && stats.history_messages > 0 {
        return Err(format!("history costs {} bytes", stats.history_bytes));
    }
    Ok(())
}

/// The first word of what a shard says to another: enough to count by.
pub fn word(message: &ShardMessage) -> String {
    let mut word = Word { text: String::new(), skipped: false };
    // It stops at the end of the word, which is no failure here.
    let _ = write!(word, "{message:?}");
    word.text
}

/// Keeps the word behind the first bracket, and refuses the rest.
struct Word {
    text: String,
    skipped: bool,
}

impl fmt::Write for Word {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match (self.skipped, character) {
                (false, '(') => self.skipped = true,
                (false, _) => {}
                (true, letter) if letter.is_alphanumeric() => self.text.push(letter),
                (true, _) => return Err(fmt::Error),
            }
        }
        Ok(())
    }
}
