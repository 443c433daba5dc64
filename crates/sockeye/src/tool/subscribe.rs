//! Hearing a channel or a pattern, one message a line.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Instant;

use serde_json::json;
use serde_json::value::RawValue;
use sockeye_hub::is_pattern;

use super::ToolError;
use super::gram::{Grams, is_datagram};
use super::heard::{Heard, Heed, precedes};
use super::link::{Link, Patience};
use super::said::{Said, or_unknown};
use super::show::{harmless, harmless_json};
use super::silence::{BOUNDS, Due, QUESTION, Silence};
use crate::address::Address;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The payload on a line of its own: line breaks inside it are written as `\n`, binary as base64. Messages heard
    /// through a pattern have the channel's name and a space before them.
    Line,
    /// The payload's bytes and nothing else.
    Raw,
    /// The whole object of the protocol, gaps included, and the answer when it says that not everything was kept.
    Json,
}

/// What is heard, and for how long.
#[derive(Clone, Debug)]
pub struct Hearing<'a> {
    /// A channel or a pattern.
    pub name: &'a str,
    /// Begin after this position.
    pub since: Option<&'a str>,
    /// Begin with this many of the newest messages.
    pub last: Option<u64>,
    /// End after this many messages.
    pub count: Option<u64>,
    /// How messages are written.
    pub format: Format,
    /// Nothing in them may steer the terminal to which they are written.
    pub is_for_terminal: bool,
    /// Called once, when the server has answered: from then on nothing may come for a long time.
    pub when_answered: fn(),
}

/// Hears until `count` messages have come, the server ends, or `out` takes no more.
///
/// # Errors
/// When the server refuses the subscription, or the connection ends before `count` messages came.
pub fn subscribe(
    address: &Address,
    token: Option<&str>,
    hearing: &Hearing<'_>,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    if hearing.count == Some(0) {
        return Ok(());
    }
    if is_datagram(address) {
        return subscribe_datagrams(address, token, hearing, out);
    }
    let mut link = Link::connect(address)?;
    link.show(token)?;
    link.wait_with(Patience::Answer)?;
    link.speaker().send(&request(hearing))?;
    let mut heard = 0;
    let mut is_answered = false;
    while let Some(object) = link.receive()? {
        if !is_answered {
            is_answered = true;
            (hearing.when_answered)();
            link.wait_with(Patience::Listening)?;
        }
        let said = Said::read(address, &object)?;
        let is_message = said.is_message();
        match write(&said, &object, hearing, out).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) => return unwritten(address, error),
        }
        if let Some(failure) = said.into_failure(address) {
            return Err(failure);
        }
        heard += u64::from(is_message);
        if Some(heard) == hearing.count {
            // The end of input alone would leave the subscription: it means only that nothing more is asked.
            let speaker = link.speaker();
            if speaker.send(json!({ "unsub": hearing.name }).to_string().as_bytes()).is_ok() {
                speaker.finish();
            }
            return Ok(());
        }
    }
    Err(ToolError::EndedEarly { address: address.clone(), why: "the server closed it".into() })
}

/// The same in datagrams: the subscription is renewed, and made again when the server has forgotten it. What is lost on the
/// way shows in the positions, and is told like any other gap, with `lost` as its reason; what comes twice is written once.
fn subscribe_datagrams(
    address: &Address,
    token: Option<&str>,
    hearing: &Hearing<'_>,
    out: &mut dyn Write,
) -> Result<(), ToolError> {
    if hearing.since.is_some() || hearing.last.is_some() {
        let why = "datagrams have no --since and no --last: use tcp: or ws:, or leave them out";
        return Err(ToolError::Unusable { address: address.clone(), why });
    }
    let mut grams = Grams::connect(address)?;
    grams.show(token)?;
    let subscribe = format!("\"sub\":{},\"id\":1", json!(hearing.name));
    let is_channel = !is_pattern(hearing.name);
    let mut positions = Heard::default();
    let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
    let mut heard = 0;
    let mut is_answered = false;
    let mut silence = Silence::new(BOUNDS);
    let mut renewed = None;
    loop {
        if renewed.is_none() {
            // A message may overtake the answer.
            grams.ask(&subscribe, |said, object| {
                let is_answer = said.is_done(1);
                if said.ch.is_some() {
                    waiting.push_back(object.to_vec());
                } else if is_answer {
                    put_answer(&mut waiting, said, object);
                }
                is_answer
            })?;
            if !std::mem::replace(&mut is_answered, true) {
                (hearing.when_answered)();
            }
            renewed = Some(Instant::now());
            silence.heard();
        }
        let next = renewed.map_or_else(Instant::now, |at| at + silence.wait());
        let came = match waiting.pop_front() {
            Some(came) => Some(came),
            None => grams.receive(next)?,
        };
        let Some(object) = came else {
            if silence.passed() == Due::GiveUp {
                return Err(grams.gone());
            }
            grams.send(QUESTION)?;
            renewed = Some(Instant::now());
            continue;
        };
        silence.heard();
        let said = Said::read(address, &object)?;
        if grams.takes_cookie(&said) || said.code.as_deref() == Some("gone") {
            renewed = None;
            continue;
        }
        let is_message = said.is_message();
        let lost = match positions.take(&said) {
            Heed::Again => continue,
            Heed::Behind(gap) => Some(gap),
            Heed::New if is_channel && said.is_done(1) => positions.take_answer(hearing.name, &said),
            Heed::New => None,
        };
        let written = match lost {
            Some(gap) => write(&Said::read(address, &gap)?, &gap, hearing, out),
            None => Ok(()),
        };
        let written = written.and_then(|()| write(&said, &object, hearing, out));
        match written.and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) => return unwritten(address, error),
        }
        if let Some(failure) = said.into_failure(address) {
            return Err(failure);
        }
        heard += u64::from(is_message);
        if Some(heard) == hearing.count {
            // Without an answer, the session ends by itself.
            return grams.send(&format!("\"unsub\":{}", json!(hearing.name)));
        }
    }
}

/// Puts the answer to a subscription where it belongs among what came before it: a message may overtake it, but when one is not
/// behind its position, an earlier question had been understood, and it is the answer to a repetition.
fn put_answer(waiting: &mut VecDeque<Vec<u8>>, said: &Said<'_>, object: &[u8]) {
    let is_earlier = |came: &Vec<u8>| serde_json::from_slice(came).is_ok_and(|came| precedes(&came, said));
    if waiting.iter().any(is_earlier) {
        waiting.push_back(object.to_vec());
    } else {
        waiting.push_front(object.to_vec());
    }
}

fn request(hearing: &Hearing<'_>) -> Vec<u8> {
    let mut object = json!({ "sub": hearing.name, "id": 1 });
    if let Some(since) = hearing.since {
        object["since"] = since.into();
    }
    if let Some(last) = hearing.last {
        object["last"] = last.into();
    }
    object.to_string().into_bytes()
}

fn write(said: &Said<'_>, object: &[u8], hearing: &Hearing<'_>, out: &mut dyn Write) -> io::Result<()> {
    if hearing.format == Format::Json {
        // An answer is no message; but what it says of what is missing is said nowhere else.
        if said.ch.is_some() || said.recovered == Some(false) {
            if hearing.is_for_terminal {
                out.write_all(harmless_json(&String::from_utf8_lossy(object)).as_bytes())?;
            } else {
                out.write_all(object)?;
            }
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    if !said.is_message() {
        if let Some(words) = missing(said) {
            // Where nobody can be told, hearing goes on.
            let _ = writeln!(io::stderr(), "{}", harmless(&words));
        }
        return Ok(());
    }
    let payload = payload(said)?;
    if hearing.format == Format::Raw {
        return match payload {
            Payload::Text(text) => out.write_all(text.as_bytes()),
            Payload::Json(json) => out.write_all(json.as_bytes()),
            Payload::Binary(encoded) => {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
                out.write_all(&bytes.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?)
            }
        };
    }
    let mut line = match payload {
        Payload::Text(text) => text.replace('\n', "\\n").replace('\r', "\\r"),
        Payload::Json(json) if hearing.is_for_terminal => harmless_json(json),
        Payload::Json(json) => json.to_owned(),
        Payload::Binary(encoded) => encoded.to_owned(),
    };
    if is_pattern(hearing.name) {
        line = format!("{} {line}", or_unknown(said.ch.as_deref()));
    }
    if hearing.is_for_terminal {
        line = harmless(&line);
    }
    writeln!(out, "{line}")
}

/// How hearing ends when a message cannot be written.
fn unwritten(address: &Address, error: io::Error) -> Result<(), ToolError> {
    match error.kind() {
        // Whoever read our output has heard enough.
        io::ErrorKind::BrokenPipe => Ok(()),
        // It is not the output, but the message.
        io::ErrorKind::InvalidData => {
            let why = format!("the server sent a message that is none: {error}");
            Err(ToolError::EndedEarly { address: address.clone(), why })
        }
        _ => Err(ToolError::Output { what: "cannot write to standard output", source: error }),
    }
}

/// What was missed, for people.
fn missing(said: &Said<'_>) -> Option<String> {
    if let Some(gap) = &said.gap {
        let channel = or_unknown(said.ch.as_deref());
        return Some(format!("missed {channel} {} to {}: {}", gap.from, gap.to, gap.why));
    }
    let (why, at) = (or_unknown(said.why.as_deref()), or_unknown(said.at.as_deref()));
    (said.recovered == Some(false))
        .then(|| format!("not everything since then is kept ({why}): live from {at}"))
}

/// A payload is one of three.
enum Payload<'a> {
    Text(String),
    Json(&'a str),
    /// In base64.
    Binary(&'a str),
}

fn payload<'a>(said: &'a Said<'_>) -> io::Result<Payload<'a>> {
    match (said.data.map(RawValue::get), &said.b64) {
        // Only the quotation mark tells text from JSON.
        (Some(data), _) if data.starts_with('"') => Ok(Payload::Text(serde_json::from_str(data)?)),
        (Some(data), _) => Ok(Payload::Json(data)),
        (None, Some(encoded)) => Ok(Payload::Binary(encoded)),
        (None, None) => Err(io::Error::new(io::ErrorKind::InvalidData, "it has no payload")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey_and_a_pipe_everything() {
        let address = "udp:localhost:7625".parse().expect("an address");
        let text = "{\"ch\":\"a\",\"data\":\"x\\u001b]0;title\\u0007\\u009b2J\\ty\"}";
        let json = "{\"ch\":\"a\",\"data\":{\"n\":\"\u{9b}2J\u{7f}\"}}";
        let shown = |object: &str, format, is_for_terminal| {
            let hearing = Hearing {
                name: "+",
                since: None,
                last: None,
                count: None,
                format,
                is_for_terminal,
                when_answered: || {},
            };
            let said = Said::read(&address, object.as_bytes()).expect("an object");
            let mut out = Vec::new();
            write(&said, object.as_bytes(), &hearing, &mut out).expect("memory takes everything");
            String::from_utf8(out).expect("it is text")
        };

        assert_eq!(shown(text, Format::Line, true), "a x\\u{1b}]0;title\\u{7}\\u{9b}2J\ty\n");
        assert_eq!(shown(json, Format::Line, true), "a {\"n\":\"\\u009b2J\\u007f\"}\n");
        assert_eq!(shown(json, Format::Json, true), "{\"ch\":\"a\",\"data\":{\"n\":\"\\u009b2J\\u007f\"}}\n");
        assert_eq!(shown(text, Format::Line, false), "a x\u{1b}]0;title\u{7}\u{9b}2J\ty\n");
        assert_eq!(shown(json, Format::Json, false), format!("{json}\n"));
        assert_eq!(shown(text, Format::Raw, true), "x\u{1b}]0;title\u{7}\u{9b}2J\ty");
    }
}
