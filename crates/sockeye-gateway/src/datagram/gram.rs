//! What one datagram carries, and what none can.
//!
//! Deliberately absent: who sends it, and whether he may (`mod.rs`).

use sockeye_hub::{Gap, GapReason, Item, Message};
use sockeye_wire::json::{BadRequest, Code, Request, Verb};

use crate::answer;
use crate::form::Form;

/// Refuses what no datagram can answer.
#[inline]
pub(super) fn make_fitting(request: &mut Result<Request<'_>, BadRequest>) {
    let why = match request {
        Ok(Request { verb: Verb::Past { .. }, .. }) => {
            "datagrams have no \"past\": ask over TCP, WebSocket or HTTP"
        }
        Ok(Request {
            verb: Verb::Subscribe { since: Some(_), .. } | Verb::Subscribe { last: Some(_), .. },
            ..
        }) => "datagrams have no \"since\" and no \"last\": subscribe over TCP or WebSocket, or without them",
        _ => return,
    };
    let id = request.as_ref().ok().and_then(|request| request.id).map(|id| id.as_str().into());
    *request = Err(BadRequest { id, code: Code::BadRequest, why: why.into(), unreadable: false });
}

/// What is said of a datagram that did not fit the buffer.
pub(super) fn cut() -> BadRequest {
    let why = "the datagram is longer than the server receives";
    BadRequest { id: None, code: Code::TooLarge, why: why.into(), unreadable: true }
}

/// The gap in the place of a message that no datagram carries.
pub(super) fn too_large(message: &Message) -> Gap {
    Gap {
        channel: message.channel.clone(),
        epoch: message.epoch,
        from: message.sequence,
        to: message.sequence,
        why: GapReason::TooLarge,
    }
}

/// Appends one item as one datagram.
pub(super) fn encode(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Message(message) => out.extend_from_slice(Form::Datagram.bytes(message)),
        Item::Answer(answer) => answer::write_answer(out, answer),
        Item::Gap(gap) => answer::write_gap(out, gap),
        Item::Notice(notice) => answer::write_notice(out, notice),
        Item::Bytes(bytes) | Item::Pushed(bytes) => out.extend_from_slice(bytes),
        Item::Bye(bye) => answer::write_bye(out, bye),
    }
}
