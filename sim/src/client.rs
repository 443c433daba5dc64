//! A simulated client: what it asks, how it reads, and what it was told.
//!
//! It speaks the real protocol by bytes. How the server's words are judged is in `model.rs` and `raw.rs`; what it asks
//! for next is in `whim.rs`. Deliberately absent: any look at the server's memory.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use sockeye_wire::websocket::{Opcode, write_masked_frame};

use crate::coverage::{Coverage, Met};
use crate::dice::Dice;
use crate::ear::{Dialect, Ear, Heard};
use crate::guest::{may_hear, may_publish};
use crate::kernel::{Found, SharedWire};
use crate::model::{Author, Begin, CHANNELS, PATTERNS, Truth, View};
use crate::raw::RawView;

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Hear a channel or pattern (its name), oneself or not, from where.
    Subscribe(&'static str, bool, Begin),
    /// Hear it no more.
    Unsubscribe(&'static str),
    /// A publication.
    Publish(Author),
    /// A look into a channel's history.
    Past(usize, Option<u64>, Option<String>),
    /// Something whose answer says nothing.
    Nothing,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Everything, each time.
    Eager,
    /// A few bytes.
    Slow,
    /// Nothing.
    Stalled,
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The client reset it, or went.
    Left,
    /// The server ended it.
    Ended,
    /// It was reset by the server.
    Reset,
}

/// One client and its connection.
#[derive(Debug)]
pub struct Client {
    /// Its number, from 1; nobody else ever has it.
    pub id: u32,
    /// What it speaks.
    pub dialect: Dialect,
    /// Its connection.
    pub wire: SharedWire,
    /// It may not do everything.
    pub guest: bool,
    /// How it reads.
    pub mood: Mood,
    /// What it was promised.
    pub view: View,
    /// What it was promised, on a raw socket.
    pub raw: Option<RawView>,
    /// Why its connection is over.
    pub over: Option<Over>,
    /// It has ended its side.
    pub half_closed: bool,
    /// The server said goodbye, for this reason.
    pub goodbye: Option<String>,
    /// Requests without their answer.
    pub asked: BTreeMap<u64, Asked>,
    /// Requests over HTTP, answered in order.
    pub posts: VecDeque<Asked>,
    /// What it wants to send.
    pub unsent: Vec<u8>,
    pub(crate) next_id: u64,
    pub(crate) published: u32,
    /// Whether to print what it says.
    pub(crate) trace: bool,
    pings: VecDeque<u64>,
    ear: Ear,
    opened: bool,
    mask: u32,
    /// How many of the bytes to send are pongs, which say nothing.
    pong_bytes: usize,
    /// When it last had read everything there was.
    drained_ms: u64,
    /// When it last sent something.
    sent_ms: u64,
}

/// What a client works with while it hears.
pub struct Hearing<'a> {
    /// What the world knows.
    pub truth: &'a mut Truth,
    /// What was met.
    pub coverage: &'a mut Coverage,
    /// The time.
    pub now_ms: u64,
    /// When time last made a leap, in which a healthy reader can look like one who does not read.
    pub leapt_ms: u64,
    /// The server is ending: who has not said what he speaks cannot be told so.
    pub draining: bool,
    /// Whether to print what is heard.
    pub trace: bool,
}

impl Client {
    /// Makes a client on a fresh connection.
    pub fn new(id: u32, dialect: Dialect, wire: SharedWire, now_ms: u64) -> Self {
        Client {
            id,
            dialect,
            wire,
            guest: false,
            mood: Mood::Eager,
            view: View::new(id),
            raw: None,
            over: None,
            half_closed: false,
            goodbye: None,
            asked: BTreeMap::new(),
            posts: VecDeque::new(),
            unsent: Vec::new(),
            next_id: 1,
            published: 0,
            trace: false,
            pings: VecDeque::new(),
            ear: Ear::new(dialect),
            opened: matches!(dialect, Dialect::Lines | Dialect::Http),
            mask: id,
            pong_bytes: 0,
            drained_ms: now_ms,
            sent_ms: now_ms,
        }
    }

    /// Whether the connection goes both ways, and the server has not said goodbye.
    pub fn is_live(&self) -> bool {
        self.over.is_none() && self.goodbye.is_none()
    }

    /// Whether requests can be made.
    pub fn may_ask(&self) -> bool {
        self.is_live() && !self.half_closed && (self.opened || self.dialect == Dialect::WebSocket)
    }

    /// Queues one object of the protocol.
    pub fn say_object(&mut self, object: &str) {
        if self.trace {
            println!("        c{} -> {}", self.id, cut(object));
        }
        if self.dialect == Dialect::Lines {
            self.unsent.extend_from_slice(object.as_bytes());
            self.unsent.push(b'\n');
        } else {
            self.say_frame(Opcode::Text, object.as_bytes());
        }
    }

    /// Queues one frame.
    pub fn say_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.mask = self.mask.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        write_masked_frame(&mut self.unsent, opcode, payload, self.mask.to_be_bytes());
    }

    /// Queues a ping of the protocol.
    pub fn say_ping(&mut self) {
        let value = self.next_id;
        self.next_id += 1;
        self.pings.push_back(value);
        self.say_object(&format!("{{\"ping\":{value}}}"));
    }

    /// Sends some of what is queued; all of it when `whole`. Returns whether anything but pongs went.
    pub fn send(&mut self, dice: &mut Dice, whole: bool, now_ms: u64) -> bool {
        if self.over.is_some() || self.unsent.is_empty() {
            return false;
        }
        let most =
            if whole || dice.chance(60) { self.unsent.len() } else { dice.between(1, self.unsent.len()) };
        let sent = self.wire.borrow_mut().client_send(&self.unsent[..most]);
        self.unsent.drain(..sent);
        if sent > 0 {
            self.sent_ms = now_ms;
        }
        let pong_bytes = self.pong_bytes.min(sent);
        self.pong_bytes -= pong_bytes;
        sent > pong_bytes
    }

    /// Ends this side, behind all that was sent.
    pub fn finish(&mut self) {
        if self.unsent.is_empty() && !self.half_closed && self.over.is_none() {
            self.half_closed = true;
            self.wire.borrow_mut().client_finish();
        }
    }

    /// Reads what the mood allows and handles it. Returns the bytes that came, and whether they said anything.
    pub fn read(&mut self, dice: &mut Dice, hearing: &mut Hearing<'_>) -> Result<(Vec<u8>, bool), String> {
        let most = match self.mood {
            _ if self.over.is_some() => return Ok((Vec::new(), false)),
            Mood::Stalled => return Ok((Vec::new(), false)),
            Mood::Slow => dice.between(1, 200),
            Mood::Eager => usize::MAX,
        };
        let mut bytes = Vec::new();
        let mut said = false;
        let found = self.wire.borrow_mut().client_read(&mut bytes, most);
        self.ear.buffer().extend_from_slice(&bytes);
        while let Some(heard) = self.ear.hear()? {
            if hearing.trace {
                println!("{:>7} c{} <- {}", hearing.now_ms, self.id, written(&heard));
            }
            hearing.truth.stamp += 1;
            said |= !matches!(heard, Heard::Ping(_));
            self.handle(heard, hearing)?;
        }
        match found {
            // A part of something is on its way to be whole.
            Found::Bytes(_) => said |= !self.ear.is_between(),
            Found::Nothing => {}
            Found::End => self.handle_end(Over::Ended, hearing)?,
            Found::Reset => self.handle_end(Over::Reset, hearing)?,
        }
        if self.wire.borrow().is_drained() {
            self.drained_ms = hearing.now_ms;
        }
        Ok((bytes, said))
    }

    fn handle_end(&mut self, over: Over, hearing: &mut Hearing<'_>) -> Result<(), String> {
        // A connection that is cut because its client did not read, or was silent, or at the end of a drain, cannot
        // be told so. Anything else must have been said.
        let was_reading = hearing.now_ms.saturating_sub(self.drained_ms) < 4_000
            && hearing.now_ms.saturating_sub(hearing.leapt_ms) > 6_000;
        let was_speaking =
            self.dialect == Dialect::Lines || hearing.now_ms.saturating_sub(self.sent_ms) < 40_000;
        let was_told =
            self.goodbye.is_some() || self.half_closed || !self.opened || self.wire.borrow().is_turned_away();
        let was_told = was_told || hearing.draining;
        let is_request = matches!(self.dialect, Dialect::Http | Dialect::Events);
        if over == Over::Ended && was_reading && was_speaking && !was_told && !is_request {
            return Err(format!("the server ended the connection of client {} without a word", self.id));
        }
        // A WebSocket that its client ended without a close frame is gone at once, whatever was being said.
        let may_be_cut = self.half_closed && self.dialect != Dialect::Lines;
        if over == Over::Ended && was_reading && !may_be_cut && !self.ear.is_between() {
            let rest = self.ear.rest();
            return Err(format!("the server cut what it said to client {} short: {}", self.id, cut(&rest)));
        }
        if hearing.trace {
            println!("{:>7} c{} <- {over:?}", hearing.now_ms, self.id);
        }
        self.over = Some(over);
        Ok(())
    }

    fn handle(&mut self, heard: Heard, hearing: &mut Hearing<'_>) -> Result<(), String> {
        match heard {
            Heard::Opened => {
                self.opened = true;
                if self.is_forbidden_socket() {
                    return Err(format!("guest {} has a raw socket that is not for guests", self.id));
                }
                if let Some(raw) = &mut self.raw {
                    raw.opened = Some(hearing.truth.stamp);
                }
            }
            Heard::Response(status, body) => self.handle_response(status, &body, hearing)?,
            Heard::Ping(payload) => {
                if !self.half_closed {
                    let before = self.unsent.len();
                    self.say_frame(Opcode::Pong, &payload);
                    self.pong_bytes += self.unsent.len() - before;
                }
            }
            Heard::Close(code) => {
                hearing.coverage.meet(Met::RawClosed, u64::from(self.raw.is_some() && code == Some(1013)));
                self.goodbye = Some(format!("close {code:?}"));
            }
            Heard::Payload(payload) => {
                let author = author_of(&payload, hearing.truth)?;
                let raw = self.raw.as_mut().ok_or("a bare payload on an object socket")?;
                if hearing.truth.sent[&author].is_forbidden {
                    return Err(format!("{author:?} was published without the right"));
                }
                if hearing.truth.sent[&author].channel != raw.channel || (!raw.own && author.0 == self.id) {
                    return Err(format!("raw client {} heard {author:?}, which is not for it", self.id));
                }
                raw.heard.push(author);
                hearing.coverage.meet(Met::RawMessage, 1);
                hearing.coverage.meet(Met::Message, 1);
            }
            Heard::Object(object) => self
                .handle_object(&object, hearing)
                .map_err(|why| format!("client {}: {why}, at {}", self.id, cut(&object.to_string())))?,
        }
        Ok(())
    }

    fn handle_object(&mut self, object: &Value, hearing: &mut Hearing<'_>) -> Result<(), String> {
        if self.goodbye.is_some() {
            return Err("something follows a goodbye".into());
        }
        if let Some(reason) = object["bye"].as_str() {
            self.goodbye = Some(reason.to_owned());
            hearing.coverage.meet(Met::Drained, u64::from(reason == "drain"));
        } else if let Some(value) = object["pong"].as_u64() {
            if self.pings.pop_front() != Some(value) {
                return Err("a pong that was not asked for".into());
            }
        } else if let Some(channel) = object["ch"].as_str() {
            if self.guest && !may_hear(channel) {
                return Err("a guest hears what is not for guests".into());
            }
            let channel = channel_of(channel)?;
            self.handle_push(channel, object, hearing)?;
        } else if let Some(id) = object.get("ok") {
            let asked = self.take_asked(id)?;
            self.handle_ok(asked, object, hearing)?;
        } else if let Some(id) = object.get("error") {
            hearing.coverage.meet(Met::Refused, 1);
            let code = object["code"].as_str().unwrap_or_default();
            // A request without an id is refused with none.
            let asked = if id.is_null() { None } else { Some(self.take_asked(id)?) };
            if code == "denied" {
                hearing.coverage.meet(Met::Denied, 1);
                if !self.guest || asked.is_some_and(|asked| !self.is_forbidden(&asked, hearing.truth)) {
                    return Err("denied what may be done".into());
                }
                return Ok(());
            }
            if !matches!(code, "busy" | "too_many" | "not_found" | "too_large") {
                return Err("an unexpected error".into());
            }
        } else {
            return Err("neither answer nor push".into());
        }
        Ok(())
    }

    fn take_asked(&mut self, id: &Value) -> Result<Asked, String> {
        // An event stream has no ids: its first event is its answer.
        let id = if self.dialect == Dialect::Events && id.is_null() { Some(0) } else { id.as_u64() };
        id.and_then(|id| self.asked.remove(&id)).ok_or_else(|| "an answer that was not asked for".into())
    }

    /// Whether a guest asks for what is not for guests.
    fn is_forbidden(&self, asked: &Asked, truth: &Truth) -> bool {
        self.guest
            && match asked {
                Asked::Subscribe(name, ..) => !may_hear(name),
                Asked::Past(channel, ..) => !may_hear(CHANNELS[*channel]),
                Asked::Publish(author) => truth.sent[author].is_forbidden,
                Asked::Unsubscribe(_) | Asked::Nothing => false,
            }
    }

    /// The same of a raw socket, as it is asked for when it is opened.
    fn is_forbidden_socket(&self) -> bool {
        self.guest
            && self.raw.as_ref().is_some_and(|raw| {
                let name = CHANNELS[raw.channel];
                if raw.hears { !may_hear(name) } else { !may_publish(name) }
            })
    }

    fn handle_ok(&mut self, asked: Asked, object: &Value, hearing: &mut Hearing<'_>) -> Result<(), String> {
        if self.is_forbidden(&asked, hearing.truth) {
            return Err(format!("a guest was allowed what is not for guests: {asked:?}"));
        }
        let at = object["at"].as_str();
        match asked {
            Asked::Nothing => {}
            Asked::Subscribe(name, own, begin) => {
                match CHANNELS.iter().position(|channel| *channel == name) {
                    Some(channel) => {
                        let recovered = object["recovered"].as_bool();
                        hearing.coverage.meet(Met::Resumed, u64::from(recovered == Some(true)));
                        hearing.coverage.meet(Met::NotResumed, u64::from(recovered == Some(false)));
                        let at = at.ok_or("no position")?;
                        self.view.subscribed(hearing.truth, (channel, own), &begin, at, recovered)?;
                    }
                    None => {
                        let pattern = PATTERNS.iter().position(|pattern| *pattern == name);
                        let pattern = pattern.expect("what is no channel is a pattern");
                        self.view.subscribed_pattern(pattern, own, hearing.truth.stamp);
                    }
                }
            }
            Asked::Unsubscribe(name) => self.view.unsubscribed(name)?,
            Asked::Publish(author) => {
                let channel = hearing.truth.sent[&author].channel;
                let (line, sequence) = hearing.truth.position(channel, at.ok_or("no position")?)?;
                if object["again"].as_bool() == Some(true) {
                    hearing.coverage.meet(Met::Again, 1);
                    hearing.truth.note_again(line, sequence, author);
                } else {
                    hearing.coverage.meet(Met::Ack, 1);
                    hearing.truth.note(line, sequence, author)?;
                }
            }
            Asked::Past(channel, last, since) => {
                hearing.coverage.meet(Met::Past, 1);
                self.handle_past(channel, last, since.as_deref(), object, hearing)?;
            }
        }
        Ok(())
    }

    fn handle_past(
        &mut self,
        channel: usize,
        last: Option<u64>,
        since: Option<&str>,
        object: &Value,
        hearing: &mut Hearing<'_>,
    ) -> Result<(), String> {
        let (line, head) = hearing.truth.position(channel, object["at"].as_str().ok_or("no position")?)?;
        let messages = object["messages"].as_array().ok_or("no messages")?;
        let more = object["more"].as_bool().ok_or("no more")?;
        let mut before = None;
        for message in messages {
            let (place, author) = self.read_message(channel, message, hearing)?;
            hearing.truth.note(place.0, place.1, author)?;
            if place.0 != line || before.is_some_and(|before| before + 1 != place.1) {
                return Err("history is not in order".into());
            }
            before = Some(place.1);
        }
        let is_newest = before.is_none_or(|before| before == head);
        if (since.is_none() || !more) && !is_newest {
            return Err("history ends before its newest message".into());
        }
        if last.is_some_and(|last| messages.len() as u64 > last) {
            return Err("more of history than was asked for".into());
        }
        Ok(())
    }

    fn handle_push(
        &mut self,
        channel: usize,
        object: &Value,
        hearing: &mut Hearing<'_>,
    ) -> Result<(), String> {
        if let Some(gap) = object.get("gap") {
            let from = hearing.truth.place(channel, gap["from"].as_str().ok_or("no from")?)?;
            let to = hearing.truth.place(channel, gap["to"].as_str().ok_or("no to")?)?;
            if from.0 != to.0 {
                return Err("a gap over two epochs".into());
            }
            let met = match gap["why"].as_str() {
                Some("slow") => Met::GapSlow,
                Some("evicted") => Met::GapEvicted,
                _ => return Err("a gap without a reason".into()),
            };
            hearing.coverage.meet(met, 1);
            hearing.truth.note_missed(to.0, to.1);
            return self.view.advance(hearing.truth, from.0, (from.1, to.1), None);
        }
        let ((line, sequence), author) = self.read_message(channel, object, hearing)?;
        hearing.truth.note(line, sequence, author)?;
        hearing.coverage.meet(Met::Message, 1);
        hearing.coverage.meet(Met::EventMessage, u64::from(self.dialect == Dialect::Events));
        let is_unanswered = |asked: &Asked| matches!(asked, Asked::Publish(other) if *other == author);
        if author.0 == self.id && self.asked.values().any(is_unanswered) {
            return Err("one's own message came before its answer".into());
        }
        self.view.advance(hearing.truth, line, (sequence, sequence), Some(author))
    }

    /// Where a message of an envelope stands, and whose it is.
    fn read_message(
        &self,
        channel: usize,
        object: &Value,
        hearing: &mut Hearing<'_>,
    ) -> Result<((usize, u64), Author), String> {
        let place = hearing.truth.position(channel, object["at"].as_str().ok_or("no position")?)?;
        let text = match (&object["data"], object["b64"].as_str()) {
            (Value::String(text), None) => text.clone().into_bytes(),
            (Value::Object(data), None) => data.get("p").and_then(Value::as_str).unwrap_or_default().into(),
            (Value::Null, Some(base64)) => {
                use base64::Engine as _;
                let engine = base64::engine::general_purpose::STANDARD;
                engine.decode(base64).map_err(|error| error.to_string())?
            }
            _ => return Err("no payload".into()),
        };
        Ok((place, author_of(&text, hearing.truth)?))
    }

    fn handle_response(&mut self, status: u16, body: &[u8], hearing: &mut Hearing<'_>) -> Result<(), String> {
        if self.dialect != Dialect::Http {
            // An upgrade or stream was refused: 410 for a position that is gone, 429 and 503 for want of room, 403 to guests.
            let is_forbidden = self.is_forbidden_socket()
                || self.asked.values().any(|asked| self.is_forbidden(asked, hearing.truth));
            self.asked.clear();
            self.goodbye = Some(format!("status {status}"));
            hearing.coverage.meet(Met::Denied, u64::from(status == 403));
            return if matches!(status, 404 | 408 | 410 | 429 | 503) || (status == 403 && is_forbidden) {
                Ok(())
            } else {
                Err(format!("client {} was refused with {status}", self.id))
            };
        }
        let asked = self.posts.pop_front().ok_or("an HTTP answer that was not asked for")?;
        let object: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match status {
            200 => self.handle_ok(asked, &object, hearing),
            404 | 408 | 413 | 429 | 503 => Ok(()),
            403 if self.is_forbidden(&asked, hearing.truth) => {
                hearing.coverage.meet(Met::Denied, 1);
                Ok(())
            }
            _ => Err(format!("HTTP {status}: {object}")),
        }
        .map_err(|why| format!("client {}: {why}, at {}", self.id, cut(&object.to_string())))
    }

    /// The server has drained, and everything was read: who was told so had heard all that there was before.
    pub fn judge_farewell(&self, truth: &mut Truth, heads: &[u64]) -> Result<(), String> {
        if self.goodbye.as_deref() != Some("drain") {
            return Ok(());
        }
        self.view.finish_at(truth, heads).map_err(|why| format!("client {} before its bye: {why}", self.id))
    }

    /// The world is at rest and everything was read.
    pub fn judge(&self, truth: &mut Truth) -> Result<(), String> {
        let is_open = self.is_live();
        if let Some(raw) = &self.raw {
            raw.judge(truth, is_open && self.opened && !self.half_closed)?;
        }
        if !is_open {
            return Ok(());
        }
        if self.unsent.len() > self.pong_bytes {
            return Err(format!("client {} is no longer read from", self.id));
        }
        if let Some(asked) = self.asked.values().chain(&self.posts).next() {
            return Err(format!("client {} was never answered: {asked:?}", self.id));
        }
        if !self.pings.is_empty() {
            return Err(format!("client {} was never answered its ping", self.id));
        }
        self.view.finish(truth).map_err(|why| format!("client {}: {why}", self.id))
    }
}

/// Who made this payload; it must be exactly what was sent.
fn author_of(payload: &[u8], truth: &Truth) -> Result<Author, String> {
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let inner = text.strip_prefix("{\"p\":\"").and_then(|text| text.strip_suffix("\"}")).unwrap_or(text);
    let mut parts = inner.split('.');
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let author = number().zip(number()).ok_or_else(|| format!("no payload of ours: {}", cut(text)))?;
    match truth.sent.get(&author) {
        Some(sent) if sent.text == inner => Ok(author),
        _ => Err(format!("nobody sent {}", cut(text))),
    }
}

fn channel_of(name: &str) -> Result<usize, String> {
    CHANNELS.iter().position(|channel| *channel == name).ok_or_else(|| format!("there is no channel {name}"))
}

fn cut(text: &str) -> &str {
    text.get(..200).unwrap_or(text)
}

fn written(heard: &Heard) -> String {
    match heard {
        Heard::Object(object) => cut(&object.to_string()).to_owned(),
        Heard::Payload(payload) | Heard::Response(_, payload) => {
            cut(&String::from_utf8_lossy(payload)).to_owned()
        }
        other => format!("{other:?}"),
    }
}
