//! Hearing a channel or a pattern, one message a line.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ToolError;
use super::gram::{Grams, is_datagram};
use super::link::Link;
use crate::address::Address;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The payload on a line of its own: line breaks inside it are written as `\n`, binary as base64. Messages heard
    /// through a pattern have the channel's name and a space before them.
    Line,
    /// The payload's bytes and nothing else.
    Raw,
    /// The whole object of the protocol, gaps included.
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
    link.hurry(true)?;
    link.speaker().send(&request(hearing))?;
    let mut heard = 0;
    let mut is_answered = false;
    while let Some(object) = link.receive()? {
        if !is_answered {
            is_answered = true;
            link.hurry(false)?;
        }
        let Ok(said) = serde_json::from_slice::<Value>(&object) else { continue };
        if said.get("error").is_some() {
            let why = format!("{}: {}", text(&said["code"]), text(&said["why"]));
            return Err(ToolError::Refused { address: address.clone(), why });
        }
        if let Some(reason) = said.get("bye") {
            let why = format!("the server said goodbye: {}", text(reason));
            return Err(ToolError::EndedEarly { address: address.clone(), why });
        }
        let is_message = said.get("ch").is_some() && said.get("gap").is_none();
        match write(&said, &object, is_message, hearing, out).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read our output has heard enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(source) => return Err(ToolError::Output { what: "cannot write to standard output", source }),
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

/// The session is renewed this often, well within the minute for which it lasts.
const RENEW: Duration = Duration::from_secs(20);
/// A server from which nothing came for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Channels whose last position is remembered, to notice what is lost on the way. With more, all are forgotten.
const CHANNELS_MAX: usize = 4_096;

/// The same in datagrams: the subscription is renewed, and made again when the server has forgotten it. What is lost on the
/// way shows in the positions, and is told like any other gap, with `lost` as its reason.
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
    let mut positions = HashMap::new();
    let mut waiting: VecDeque<(Vec<u8>, Value)> = VecDeque::new();
    let mut heard = 0;
    let mut last_heard = Instant::now();
    let mut renewed = None;
    loop {
        if renewed.is_none() {
            // A message may overtake the answer.
            grams.ask(&subscribe, |said| {
                if said.get("ch").is_some() {
                    waiting.push_back((said.to_string().into_bytes(), said.clone()));
                }
                said.get("ok").is_some()
            })?;
            renewed = Some(Instant::now());
            last_heard = Instant::now();
        }
        let next = renewed.map_or_else(Instant::now, |at| at + RENEW);
        let came = match waiting.pop_front() {
            Some(came) => Some(came),
            None => grams.receive(next)?,
        };
        let Some((object, said)) = came else {
            if last_heard.elapsed() > SILENCE_MAX {
                let why = "the server does not answer any more".into();
                return Err(ToolError::EndedEarly { address: address.clone(), why });
            }
            grams.send("\"ping\":1")?;
            renewed = Some(Instant::now());
            continue;
        };
        last_heard = Instant::now();
        if grams.takes_cookie(&said) || said.get("code").is_some_and(|code| code == "gone") {
            renewed = None;
            continue;
        }
        if said.get("error").is_some() {
            return Err(grams.refused(&said));
        }
        if let Some(reason) = said.get("bye") {
            let why = format!("the server said goodbye: {}", text(reason));
            return Err(ToolError::EndedEarly { address: address.clone(), why });
        }
        let is_message = said.get("ch").is_some() && said.get("gap").is_none();
        let lost = note_position(&mut positions, &said);
        let written = match &lost {
            Some(gap) => write(gap, gap.to_string().as_bytes(), false, hearing, out),
            None => Ok(()),
        };
        let written = written.and_then(|()| write(&said, &object, is_message, hearing, out));
        match written.and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read our output has heard enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(source) => return Err(ToolError::Output { what: "cannot write to standard output", source }),
        }
        heard += u64::from(is_message);
        if Some(heard) == hearing.count {
            // Without an answer, the session ends by itself.
            return grams.send(&format!("\"unsub\":{}", json!(hearing.name)));
        }
    }
}

/// Remembers the position of a message or of a gap's end, and makes a gap of what is missing before it.
fn note_position(positions: &mut HashMap<String, (String, u64)>, said: &Value) -> Option<Value> {
    let channel = said.get("ch")?.as_str()?;
    let (from, to) = match said.get("gap") {
        Some(gap) => (gap["from"].as_str()?, gap["to"].as_str()?),
        None => (said["at"].as_str()?, said["at"].as_str()?),
    };
    let (epoch, from) = from.split_once(':')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.split_once(':')?.1.parse().ok()?);
    if positions.len() >= CHANNELS_MAX && !positions.contains_key(channel) {
        positions.clear();
    }
    let (known, last) =
        positions.entry(channel.to_owned()).or_insert_with(|| (epoch.to_owned(), from.saturating_sub(1)));
    let is_same = known == epoch;
    let expected = *last + 1;
    // One that comes late was told as missing, and is not the newest.
    if !is_same || to > *last {
        (*known, *last) = (epoch.to_owned(), to);
    }
    (is_same && from > expected).then(|| {
        json!({"ch": channel, "gap": {
            "from": format!("{epoch}:{expected}"), "to": format!("{epoch}:{}", from - 1), "why": "lost"
        }})
    })
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

fn write(
    said: &Value,
    object: &[u8],
    is_message: bool,
    hearing: &Hearing<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if hearing.format == Format::Json {
        if said.get("ch").is_some() {
            out.write_all(object)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    if !is_message {
        if let Some(gap) = said.get("gap") {
            let (from, to) = (text(&gap["from"]), text(&gap["to"]));
            let _ =
                writeln!(io::stderr(), "missed {} {from} to {to}: {}", text(&said["ch"]), text(&gap["why"]));
        } else if said.get("recovered") == Some(&Value::Bool(false)) {
            let _ = writeln!(
                io::stderr(),
                "not everything since then is kept ({}): live from {}",
                text(&said["why"]),
                text(&said["at"])
            );
        }
        return Ok(());
    }
    match hearing.format {
        Format::Raw => match (said.get("data"), said.get("b64")) {
            (Some(Value::String(data)), _) => out.write_all(data.as_bytes()),
            (Some(data), _) => out.write_all(data.to_string().as_bytes()),
            (None, binary) => {
                use base64::Engine as _;
                let encoded = binary.and_then(Value::as_str).unwrap_or_default();
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(encoded).map_err(io::Error::other)?;
                out.write_all(&bytes)
            }
        },
        _ => {
            if hearing.name.contains(['+', '#']) {
                write!(out, "{} ", text(&said["ch"]))?;
            }
            let line = match (said.get("data"), said.get("b64")) {
                (Some(Value::String(data)), _) => data.replace('\n', "\\n").replace('\r', "\\r"),
                (Some(data), _) => data.to_string(),
                (None, binary) => text(binary.unwrap_or(&Value::Null)).to_owned(),
            };
            writeln!(out, "{line}")
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_on_the_way_shows_in_the_positions() {
        let mut positions = HashMap::new();
        let mut note = |channel: &str, at: &str| {
            note_position(&mut positions, &json!({ "ch": channel, "at": at })).map(|gap| gap["gap"].clone())
        };

        assert_eq!(note("a", "k:7"), None);
        assert_eq!(note("a", "k:8"), None);
        assert_eq!(note("b", "k:1"), None);
        assert_eq!(note("a", "k:11"), Some(json!({ "from": "k:9", "to": "k:10", "why": "lost" })));
        // One that comes late, and the next.
        assert_eq!(note("a", "k:10"), None);
        assert_eq!(note("a", "k:12"), None);
        // The channel began anew.
        assert_eq!(note("a", "n:5"), None);
        assert_eq!(note("a", "n:0"), None);
        assert_eq!(note("a", "nonsense"), None);
    }

    #[test]
    fn what_the_server_announces_is_not_told_twice() {
        let mut positions = HashMap::new();
        note_position(&mut positions, &json!({ "ch": "a", "at": "k:1" }));

        let gap = json!({ "ch": "a", "gap": { "from": "k:2", "to": "k:4", "why": "too_large" } });

        assert_eq!(note_position(&mut positions, &gap), None);
        assert_eq!(note_position(&mut positions, &json!({ "ch": "a", "at": "k:5" })), None);
    }
}
