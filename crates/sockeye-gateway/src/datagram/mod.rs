//! Datagrams: the protocol where a sender's address may be forged, and nothing is connected.
//!
//! ```text
//!              ┌─ carries ok, error, ch, pong, bye, or a cookie alone ──> nothing, ever
//!   datagram ──┼─ cookie is not good ──────────────────────────────────> a cookie
//!              ├─ without a cookie ── pub ──> done, answered          ─┐ at most three times
//!              │                   ├─ sub ──> a cookie                 ├ the bytes received
//!              │                   └─ else ─> answered, or a cookie   ─┘
//!              └─ cookie is good ──── sub ──> a session: a client of the hub, for 60 s
//!                                  └─ else ─> done for the session, which lives for another 60 s
//! ```
//!
//! Before an address is proved, nothing about it is kept: a hundred thousand forged ones cost what one costs. A few
//! clients of the hub, the *helpers*, publish for everybody who has no session; each is lent to one datagram until that
//! is answered.
//!
//! Deliberately absent: sockets (letters go into a [`Mail`]), retransmission, and `since`, `last` and `past`, whose
//! answers no datagram can carry.

mod count;
mod gram;
mod lending;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use sockeye_hub::{Bye, ClientId, ClientSetup, Hub, Item, Now};
use sockeye_wire::json::{self, BadRequest, Code, PlainPublish, Request, Verb};

use crate::answer;
use crate::context::Context;
use crate::cookie::{CookieKey, Proof};
use crate::form::Form;
use crate::gate::{Gate, SessionMeter, Verdict};
use crate::limit::Limits;
use crate::mail::{DatagramKind, Letter, Mail, PeerAddress, Source};
use crate::protocol::Protocol;
use crate::rate::Over;
use crate::request::{self, Objects};
pub use count::{DatagramCounts, KindCounts};
use gram::{cut, encode, make_fitting, too_large};
use lending::Helper;
use waiting::Waiting;

/// Before its address is proved, a peer is sent at most so many times the bytes that it sent (RFC 9000, 8.1).
pub const AMPLIFICATION_MAX: usize = 3;

/// Items of one session's outbox that are sent in one turn. The rest comes in the next, after the others.
const ITEMS_PER_FLUSH_MAX: usize = 64;

/// All that is known of datagram peers on one shard.
#[derive(Debug)]
pub struct Datagrams {
    key: CookieKey,
    by_source: BTreeMap<Source, ClientId>,
    sessions: BTreeMap<ClientId, Session>,
    /// When each session is to be looked at. A session that was renewed meanwhile is put in again.
    deadlines: BTreeSet<(u64, ClientId)>,
    /// Sessions whose socket takes nothing for the time being.
    blocked: BTreeSet<ClientId>,
    helpers: Vec<Helper>,
    waiting: Waiting,
    scratch: Vec<u8>,
    counts: DatagramCounts,
    /// What is asked of rates, where any is configured.
    gate: Option<Box<dyn Gate>>,
}

/// A proved address that hears something.
#[derive(Debug)]
struct Session {
    source: Source,
    /// When it ends, unless a valid cookie comes.
    expires_ms: u64,
    /// When it is looked at, which is not later.
    due_ms: u64,
    /// Under which number it stands among those who wait for other shards; 0: it does not.
    in_flight: usize,
    /// What it is held to, if it is held to anything.
    meter: Option<Box<dyn SessionMeter>>,
}

impl Datagrams {
    /// Makes the machine of one shard. The key is secret, and the same on all shards, since a peer may come to another
    /// one with its next socket.
    pub fn new(key: CookieKey) -> Self {
        Datagrams {
            key,
            by_source: BTreeMap::new(),
            sessions: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            blocked: BTreeSet::new(),
            helpers: Vec::new(),
            waiting: Waiting::default(),
            scratch: Vec::new(),
            counts: DatagramCounts::default(),
            gate: None,
        }
    }

    /// Asks of rates from here on, or not any more. A session that nothing was asked of stays so.
    pub fn set_gate(&mut self, gate: Option<Box<dyn Gate>>) {
        self.gate = gate;
    }

    /// What was counted.
    pub fn counts(&self) -> &DatagramCounts {
        &self.counts
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Handles one datagram. `is_cut` says that it was longer than the buffer, and `input` is its beginning.
    pub fn handle_input(
        &mut self,
        source: &Source,
        input: &[u8],
        is_cut: bool,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        let counts = self.counts.of(source.peer.kind());
        counts.received += 1;
        counts.received_bytes += input.len() as u64;
        if !is_cut
            && self.gate.is_none()
            && let Some(PlainPublish { channel, payload, id: None }) = json::parse_plain_publish(input)
        {
            return self.publish(source, input.len(), channel, payload, mail, cx);
        }
        let datagram = json::parse_datagram(input);
        // What does not even begin as an object is no message of this protocol. Whoever sends it may be a service that
        // answers everything (echo, chargen), and would never stop.
        let is_object = input.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if datagram.is_answer || !is_object {
            counts.ignored += 1;
            return;
        }
        let request = if is_cut { Err(cut()) } else { datagram.request };
        let Some(cookie) = datagram.cookie else {
            if self.admits(source, input.len(), false, cx.now) {
                self.handle_unproved(source, input.len(), request, mail, cx);
            }
            return;
        };
        match self.key.check(&cookie, source, cx.now) {
            Proof::None => {
                if self.admits(source, input.len(), false, cx.now) {
                    self.give_cookie(source, input.len().saturating_mul(AMPLIFICATION_MAX), mail, cx.now);
                }
            }
            proof => self.handle_proved(source, input.len(), proof, request, mail, cx),
        }
    }

    /// Whether what comes without a session is within the rate of its address. What is not is dropped without a word.
    #[inline]
    fn admits(&mut self, source: &Source, bytes: usize, is_proved: bool, now: Now) -> bool {
        let admits = self.gate.as_mut().is_none_or(|gate| gate.admits(source, bytes, is_proved, now));
        if !admits {
            self.counts.of(source.peer.kind()).dropped += 1;
        }
        admits
    }

    /// Does for somebody whose address may be forged what needs no proof.
    #[inline]
    fn handle_unproved(
        &mut self,
        source: &Source,
        input_bytes: usize,
        mut request: Result<Request<'_>, BadRequest>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        let bytes_max = input_bytes.saturating_mul(AMPLIFICATION_MAX);
        match &request {
            Ok(request) if needs_session(request) => {
                self.give_cookie(source, bytes_max, mail, cx.now);
            }
            _ => {
                make_fitting(&mut request);
                self.lend_helper(source, bytes_max, request, mail, cx);
            }
        }
    }

    /// Does what somebody asks for who receives at this address.
    fn handle_proved(
        &mut self,
        source: &Source,
        input_bytes: usize,
        proof: Proof,
        mut request: Result<Request<'_>, BadRequest>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        make_fitting(&mut request);
        let mut session = self.by_source.get(source).copied();
        if let Some(client) = session {
            // Who was told its end is not kept by going on.
            if cx.hub.closing(client).is_some() {
                self.counts.of(source.peer.kind()).dropped += 1;
                return;
            }
            let session = self.sessions.get_mut(&client).expect("who has a source has a session");
            session.expires_ms = cx.now.ms + cx.limits.datagram_session_timeout_ms;
            // It does not read its answers: what waits for other shards is left in the socket.
            if cx.must_wait(client) {
                self.counts.of(source.peer.kind()).dropped += 1;
                return;
            }
            if let Some(meter) = &mut session.meter {
                let user = cx.hub.identity(client).and_then(|identity| identity.user.as_ref());
                match meter.take(input_bytes, user, cx.now) {
                    Verdict::Passes => {}
                    Verdict::Dropped => {
                        self.counts.of(source.peer.kind()).dropped += 1;
                        return;
                    }
                    Verdict::Over(over) => return self.refuse_over(source, client, &request, over, mail, cx),
                }
            }
        } else if !self.admits(source, input_bytes, true, cx.now) {
            return;
        }
        if session.is_none() && request.as_ref().is_ok_and(needs_session) {
            session = self.open(source, cx);
            if session.is_none() {
                let id = request.as_ref().ok().and_then(|request| request.id);
                let why =
                    "the server has as many datagram sessions as it may: come back later, or use a stream";
                return mail.put(source, None, |out| {
                    json::write_error(out, id.map(|id| id.as_str()), Code::TooMany, why, true);
                });
            }
        }
        let Some(client) = session else {
            if let Ok(Request { verb: Verb::Ping { .. }, id }) = &request {
                // It believes that it has a session, and would wait for ever.
                let id = id.as_ref().map(|id| id.as_str());
                let why = "this address has no session any more: subscribe again";
                return mail.put(source, None, |out| json::write_error(out, id, Code::Gone, why, false));
            }
            return self.lend_helper(source, usize::MAX, request, mail, cx);
        };
        match request {
            Ok(Request { verb: Verb::Ping { value }, .. }) if proof == Proof::Aging => {
                let cookie = self.key.cookie(source, cx.now);
                cx.tally.asked(protocol_of(source));
                cx.say(client, |out| {
                    json::Object::open(out, "pong", Some(value.as_str())).str("cookie", text(&cookie)).end();
                });
            }
            request => {
                carry_out(source, client, request, cx);
                self.charge(client, cx.hub);
            }
        }
        self.take_said(source, Some(client), mail, cx);
    }

    /// Tells a session that it sends too much: what comes of it for a while is dropped, and if that was the last time it ends.
    #[cold]
    fn refuse_over(
        &mut self,
        source: &Source,
        client: ClientId,
        request: &Result<Request<'_>, BadRequest>,
        over: Over,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        self.counts.of(source.peer.kind()).dropped += 1;
        cx.tally.refused(Code::Rate);
        let id = match request {
            Ok(request) => request.id.as_ref().map(|id| id.as_str()),
            Err(bad) => bad.id.as_deref(),
        };
        let why = over.why_of_datagrams();
        cx.say(client, |out| json::write_rate_error(out, id, &why, over.retry_ms));
        self.take_said(source, Some(client), mail, cx);
        if over.is_last {
            // Who came in a rush is not told to come back in one.
            let reconnect = Some((over.retry_ms, over.retry_ms.saturating_mul(2)));
            cx.hub.bid_farewell(client, Bye { reason: "rate", reconnect });
        }
    }

    /// Tells an address how to prove itself.
    fn give_cookie(&mut self, source: &Source, bytes_max: usize, mail: &mut Mail, now: Now) {
        const BEFORE: &[u8] = b"{\"cookie\":\"";
        let cookie = self.key.cookie(source, now);
        let counts = self.counts.of(source.peer.kind());
        let is_unnamed = source.peer == PeerAddress::Unnamed;
        if is_unnamed || BEFORE.len() + cookie.len() + 2 > bytes_max {
            counts.unanswered += 1;
            return;
        }
        counts.cookies += 1;
        mail.put(source, None, |out| {
            out.extend_from_slice(BEFORE);
            out.extend_from_slice(&cookie);
            out.extend_from_slice(b"\"}");
        });
    }

    /// Begins a session, if there is room for one.
    fn open(&mut self, source: &Source, cx: &mut Context<'_>) -> Option<ClientId> {
        if self.sessions.len() >= cx.limits.datagram_sessions_max {
            return None;
        }
        let client = cx.hub.connect(ClientSetup { encoding: Form::Datagram.encoding(), identity: None });
        let expires_ms = cx.now.ms + cx.limits.datagram_session_timeout_ms;
        self.by_source.insert(source.clone(), client);
        let meter = self.gate.as_mut().map(|gate| gate.begin(source));
        self.sessions.insert(
            client,
            Session { source: source.clone(), expires_ms, due_ms: expires_ms, in_flight: 0, meter },
        );
        self.deadlines.insert((expires_ms, client));
        let counts = self.counts.of(source.peer.kind());
        counts.sessions += 1;
        counts.opened += 1;
        Some(client)
    }

    /// Ends a session at once: its time is over, or nothing can be sent to it. Harmless for whoever has none.
    pub fn end(&mut self, client: ClientId, hub: &mut Hub) {
        let Some(session) = self.sessions.remove(&client) else { return };
        self.by_source.remove(&session.source);
        self.deadlines.remove(&(session.due_ms, client));
        self.blocked.remove(&client);
        self.waiting.remove(session.in_flight, client);
        self.counts.of(session.source.peer.kind()).sessions -= 1;
        hub.disconnect(client);
    }

    /// Ends all sessions at once.
    pub fn end_all(&mut self, hub: &mut Hub) {
        while let Some((&client, _)) = self.sessions.first_key_value() {
            self.end(client, hub);
        }
    }

    /// Says goodbye to all sessions. Each ends when that is sent.
    pub fn bid_farewell(&mut self, bye: Bye, hub: &mut Hub) {
        for client in self.sessions.keys() {
            hub.bid_farewell(*client, bye);
        }
    }

    /// Writes letters from what waits for a client, if it is one of these: returns whether it is.
    pub fn flush(
        &mut self,
        client: ClientId,
        mail: &mut Mail,
        hub: &mut Hub,
        now: Now,
        limits: &Limits,
    ) -> bool {
        let Some(session) = self.sessions.get(&client) else {
            return self.flush_helper(client, mail, hub, now);
        };
        if self.blocked.contains(&client) {
            return true;
        }
        hub.pump(client, now);
        let mut is_over = false;
        for _ in 0..ITEMS_PER_FLUSH_MAX {
            let Some(item) = hub.outbox(client).get(0) else { break };
            let to = &session.source;
            match item {
                Item::Message(message) => {
                    let envelope = Form::Datagram.bytes(message);
                    if envelope.len() > limits.datagram_message_bytes_max {
                        self.counts.of(to.peer.kind()).too_large += 1;
                        mail.put(to, Some(client), |out| answer::write_gap(out, &too_large(message)));
                    } else {
                        mail.put(to, Some(client), |out| out.extend_from_slice(envelope));
                    }
                }
                Item::Bye(_) => {
                    is_over = true;
                    mail.put(to, None, |out| encode(item, out));
                }
                item => mail.put(to, Some(client), |out| encode(item, out)),
            }
            hub.pop_front(client);
        }
        if is_over {
            self.end(client, hub);
            return true;
        }
        hub.pump(client, now);
        if !hub.outbox(client).is_empty() {
            hub.touch(client);
        }
        true
    }

    /// The socket did not take these letters: what is from a session goes back to it, in order, and the session waits for
    /// [`Datagrams::unblock`]. What is from nobody is lost, and counted.
    pub fn take_back(&mut self, mail: &Mail, letters: &[Letter], hub: &mut Hub) {
        for letter in letters.iter().rev() {
            match letter.client.filter(|client| self.sessions.contains_key(client)) {
                Some(client) => {
                    hub.queue_bytes_front(client, mail.text(letter).into());
                    self.blocked.insert(client);
                }
                None => self.counts.of(letter.to.peer.kind()).send_dropped += 1,
            }
        }
    }

    /// Counts what was sent.
    pub fn note_sent(&mut self, mail: &Mail, letters: &[Letter]) {
        for letter in letters {
            let counts = self.counts.of(letter.to.peer.kind());
            counts.sent += 1;
            counts.sent_bytes += mail.text(letter).len() as u64;
        }
    }

    /// Counts a letter that could not be sent at all.
    pub fn note_lost(&mut self, letter: &Letter) {
        self.counts.of(letter.to.peer.kind()).send_dropped += 1;
    }

    /// A socket may take something again: its sessions go on.
    pub fn unblock(&mut self, socket: u16, hub: &mut Hub) {
        self.blocked.retain(|client| {
            let is_other = self.sessions.get(client).is_some_and(|session| session.source.socket != socket);
            if !is_other {
                hub.touch(*client);
            }
            is_other
        });
    }

    /// When [`Datagrams::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.deadlines.first().map(|(due_ms, _)| *due_ms)
    }

    /// Ends the sessions whose time is over.
    pub fn handle_timeout(&mut self, hub: &mut Hub, now: Now) {
        while let Some(&(due_ms, client)) = self.deadlines.first() {
            if due_ms > now.ms {
                return;
            }
            match self.sessions.get_mut(&client) {
                Some(session) if session.expires_ms > now.ms => {
                    session.due_ms = session.expires_ms;
                    self.deadlines.pop_first();
                    self.deadlines.insert((session.expires_ms, client));
                }
                _ => self.end(client, hub),
            }
        }
    }

    /// What the machines said at once becomes one letter.
    fn take_said(&mut self, to: &Source, client: Option<ClientId>, mail: &mut Mail, cx: &mut Context<'_>) {
        if !cx.out.is_empty() {
            mail.put(to, client, |out| out.extend_from_slice(cx.out.scratch()));
            cx.out.clear();
        }
    }
}

/// Does what a request asks for, or says why it is none.
#[inline]
fn carry_out(
    source: &Source,
    client: ClientId,
    request: Result<Request<'_>, BadRequest>,
    cx: &mut Context<'_>,
) {
    let mut objects = Objects::of_datagrams(protocol_of(source));
    // How many were unreadable in a row is nobody's concern here: there is no connection to close.
    match request {
        Ok(request) => request::carry_out(&mut objects, client, request, cx),
        Err(bad) => request::refuse_counted(&mut objects, client, &bad, cx),
    };
}

/// Whether a request makes its sender somebody, or is answered again and again: only a session keeps either.
fn needs_session(request: &Request<'_>) -> bool {
    matches!(request.verb, Verb::Subscribe { .. } | Verb::Auth { .. } | Verb::Hello { token: Some(_), .. })
}

/// What is spoken, for the tally.
fn protocol_of(source: &Source) -> Protocol {
    match source.peer.kind() {
        DatagramKind::Udp => Protocol::Udp,
        DatagramKind::Unix => Protocol::UnixDatagram,
    }
}

fn text(cookie: &[u8]) -> &str {
    std::str::from_utf8(cookie).expect("a cookie is made of digits")
}
