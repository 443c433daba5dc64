//! What is said to one client only, as the JSON objects of PROTOCOL.md: answers, errors, gaps, farewells.
//!
//! Each function appends one object without a line end or frame. Deliberately absent: published messages, which are
//! encoded once for all their readers in `form.rs`.

use sockeye_hub::{Answer, Bye, Done, Gap, Notice, Position, Refusal, RefusalCode, Tag};
use sockeye_wire::json::{self, At, Code};

use crate::form;

/// Appends the answer of the hub.
pub(crate) fn write_answer(out: &mut Vec<u8>, answer: &Answer) {
    let id = tag_text(&answer.tag);
    match &answer.result {
        Ok(done) => write_done(out, id, done),
        Err(refusal) => write_refusal(out, id, refusal),
    }
}

/// Appends `{"error":..}` for a refusal of the hub.
pub(crate) fn write_refusal(out: &mut Vec<u8>, id: Option<&str>, refusal: &Refusal) {
    match refusal.retry_ms {
        Some(retry_ms) => json::write_rate_error(out, id, &refusal.why, retry_ms),
        None => json::write_error(out, id, code_of(refusal.code), &refusal.why, refusal.retry),
    }
}

/// Appends `{"ok":..}`.
pub(crate) fn write_done(out: &mut Vec<u8>, id: Option<&str>, done: &Done) {
    out.extend_from_slice(b"{\"ok\":");
    out.extend_from_slice(id.unwrap_or("null").as_bytes());
    match done {
        Done::Unsubscribed => {}
        Done::Subscribed { at, recovered } => {
            if let Some(at) = at {
                write_position(out, "at", *at);
            }
            match recovered {
                None => {}
                Some(Ok(())) => out.extend_from_slice(b",\"recovered\":true"),
                Some(Err(why)) => {
                    out.extend_from_slice(b",\"recovered\":false,\"why\":");
                    json::write_string(out, why.as_str());
                }
            }
        }
        Done::Published { at, again } => {
            write_position(out, "at", *at);
            out.extend_from_slice(b",\"ack\":\"accepted\"");
            if *again {
                out.extend_from_slice(b",\"again\":true");
            }
        }
        Done::Past { at, messages, more } => {
            write_position(out, "at", *at);
            out.extend_from_slice(b",\"messages\":[");
            for (index, message) in messages.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(form::envelope(message));
            }
            out.extend_from_slice(if *more { b"],\"more\":true" } else { b"],\"more\":false" });
        }
    }
    out.push(b'}');
}

/// Appends a gap.
pub(crate) fn write_gap(out: &mut Vec<u8>, gap: &Gap) {
    let epoch = gap.epoch.as_str();
    json::write_gap(
        out,
        &gap.channel,
        At { epoch, sequence: gap.from },
        At { epoch, sequence: gap.to },
        gap.why.as_str(),
    );
}

/// Appends what happens to the client by itself: an error that names the subscription it has ended, or how long its
/// token is still good.
pub(crate) fn write_notice(out: &mut Vec<u8>, notice: &Notice) {
    match notice {
        Notice::Ended { name } => {
            let why = format!("no permission to hear {name} any more");
            json::write_ended(out, Code::Denied, &why, name);
        }
        Notice::Expires { in_ms } => json::write_expires(out, *in_ms),
    }
}

/// Appends a farewell.
pub(crate) fn write_bye(out: &mut Vec<u8>, bye: &Bye) {
    json::write_bye(out, bye.reason, bye.reconnect);
}

/// The wire's word for a refusal.
pub(crate) fn code_of(code: RefusalCode) -> Code {
    match code {
        RefusalCode::BadRequest => Code::BadRequest,
        RefusalCode::Unauthorized => Code::Unauthorized,
        RefusalCode::Denied => Code::Denied,
        RefusalCode::NotFound => Code::NotFound,
        RefusalCode::TooLarge => Code::TooLarge,
        RefusalCode::Rate => Code::Rate,
        RefusalCode::TooMany => Code::TooMany,
        RefusalCode::Busy => Code::Busy,
        // The hub's list may grow; what has no word of its own here is an error of ours.
        _ => Code::Internal,
    }
}

/// The id of a tag as it goes onto the wire.
pub(crate) fn tag_text(tag: &Tag) -> Option<&str> {
    match tag {
        Tag::Id(text) => Some(text),
        _ => None,
    }
}

fn write_position(out: &mut Vec<u8>, key: &str, at: Position) {
    use std::io::Write as _;
    write!(out, ",\"{key}\":\"{at}\"").expect("a write into memory succeeds");
}
