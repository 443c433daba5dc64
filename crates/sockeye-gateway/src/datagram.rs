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

use std::collections::{BTreeMap, BTreeSet};

use sockeye_hub::{Bye, ClientId, ClientSetup, Gap, GapReason, Hub, Item, Message, Now};
use sockeye_wire::json::{self, BadRequest, Code, Request, Verb};

use crate::answer;
use crate::context::Context;
use crate::cookie::{CookieKey, Proof};
use crate::form::Form;
use crate::limit::Limits;
use crate::mail::{DatagramKind, Letter, Mail, PeerAddress, Source};
use crate::request::{self, Objects};

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
    scratch: Vec<u8>,
    counts: DatagramCounts,
}

/// A proved address that hears something.
#[derive(Debug)]
struct Session {
    source: Source,
    /// When it ends, unless a valid cookie comes.
    expires_ms: u64,
    /// When it is looked at, which is not later.
    due_ms: u64,
}

/// A client of the hub that publishes for whoever has no session.
#[derive(Debug)]
struct Helper {
    client: ClientId,
    /// For whom it waits for another shard's answer.
    asked: Option<Asked>,
}

/// Somebody who is to be answered.
#[derive(Clone, Debug)]
struct Asked {
    source: Source,
    /// The longest answer that may be sent there.
    bytes_max: usize,
}

/// What is counted of datagrams, by [`DatagramKind`]. Totals since the start, but for `sessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounts {
    /// UDP.
    pub udp: KindCounts,
    /// Unix-domain datagrams.
    pub unix: KindCounts,
}

/// What is counted of datagrams of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Sessions that live.
    pub sessions: u64,
    /// Sessions that began.
    pub opened: u64,
    /// Datagrams received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Datagrams that are never answered, and were dropped: what servers say, and what is no object.
    pub ignored: u64,
    /// Datagrams dropped because their session has too much to read, or no helper was free.
    pub dropped: u64,
    /// Cookies handed out.
    pub cookies: u64,
    /// Answers that were not sent, because they were over three times the bytes received, or had no address to go to.
    pub unanswered: u64,
    /// Messages that were announced as gaps because no datagram carries them.
    pub too_large: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Datagrams that could not be sent: answers to addresses without a session that the socket did not take, and
    /// whatever the system refused, which ends its session.
    pub send_dropped: u64,
}

impl KindCounts {
    fn add(&mut self, other: &KindCounts) {
        let KindCounts {
            sessions,
            opened,
            received,
            received_bytes,
            ignored,
            dropped,
            cookies,
            unanswered,
            too_large,
            sent,
            sent_bytes,
            send_dropped,
        } = other;
        self.sessions += sessions;
        self.opened += opened;
        self.received += received;
        self.received_bytes += received_bytes;
        self.ignored += ignored;
        self.dropped += dropped;
        self.cookies += cookies;
        self.unanswered += unanswered;
        self.too_large += too_large;
        self.sent += sent;
        self.sent_bytes += sent_bytes;
        self.send_dropped += send_dropped;
    }
}

impl DatagramCounts {
    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &DatagramCounts) {
        self.udp.add(&other.udp);
        self.unix.add(&other.unix);
    }

    /// The counts of one kind.
    pub fn of(&mut self, kind: DatagramKind) -> &mut KindCounts {
        match kind {
            DatagramKind::Udp => &mut self.udp,
            DatagramKind::Unix => &mut self.unix,
        }
    }
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
            scratch: Vec::new(),
            counts: DatagramCounts::default(),
        }
    }

    /// What was counted.
    pub fn counts(&self) -> &DatagramCounts {
        &self.counts
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many datagrams may be handled before another shard has answered: the socket is not read beyond them.
    pub fn room(&self, hub: &Hub, limits: &Limits) -> usize {
        let busy = self.helpers.iter().filter(|helper| !helper.is_free(hub)).count();
        limits.requests_in_flight_max.saturating_sub(busy)
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
            return self.handle_unproved(source, input.len(), request, mail, cx);
        };
        match self.key.check(&cookie, source, cx.now) {
            Proof::None => {
                self.give_cookie(source, input.len().saturating_mul(AMPLIFICATION_MAX), mail, cx.now)
            }
            proof => self.handle_proved(source, proof, request, mail, cx),
        }
    }

    /// Does for somebody whose address may be forged what needs no proof.
    #[inline]
    fn handle_unproved(
        &mut self,
        source: &Source,
        input_bytes: usize,
        request: Result<Request<'_>, BadRequest>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        let bytes_max = input_bytes.saturating_mul(AMPLIFICATION_MAX);
        match request {
            Ok(Request { verb: Verb::Subscribe { .. } | Verb::Auth { .. }, .. }) => {
                self.give_cookie(source, bytes_max, mail, cx.now);
            }
            request => self.lend_helper(source, bytes_max, fitting(request), mail, cx),
        }
    }

    /// Does what somebody asks for who receives at this address.
    fn handle_proved(
        &mut self,
        source: &Source,
        proof: Proof,
        request: Result<Request<'_>, BadRequest>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        let request = fitting(request);
        let mut session = self.by_source.get(source).copied();
        if let Some(client) = session {
            if cx.hub.closing(client).is_some() || cx.must_pause(client) {
                self.counts.of(source.peer.kind()).dropped += 1;
                return;
            }
            let session = self.sessions.get_mut(&client).expect("who has a source has a session");
            session.expires_ms = cx.now.ms + cx.limits.datagram_session_timeout_ms;
        }
        if session.is_none()
            && matches!(&request, Ok(Request { verb: Verb::Subscribe { .. } | Verb::Auth { .. }, .. }))
        {
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
                Objects::new(Form::Datagram).say(client, cx, |out| {
                    json::Object::open(out, "pong", Some(value.as_str())).str("cookie", text(&cookie)).end();
                });
            }
            request => carry_out(client, request, cx),
        }
        self.take_said(source, Some(client), mail, cx);
    }

    /// Lets a helper carry out a request, and answers it now or when another shard has.
    fn lend_helper(
        &mut self,
        source: &Source,
        bytes_max: usize,
        mut request: Result<Request<'_>, BadRequest>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        // A helper is nobody, and stays nobody: who wants to be somebody has a session.
        match &mut request {
            Ok(Request { verb: Verb::Hello { token, .. }, .. }) => *token = None,
            Ok(Request { verb: Verb::Auth { .. }, id }) => {
                let id = id.map(|id| id.as_str().into());
                let why = "a token is kept by a session, and there is none".into();
                request = Err(BadRequest { id, code: Code::BadRequest, why, unreadable: false });
            }
            _ => {}
        }
        let Some(index) = self.free_helper(cx) else {
            self.counts.of(source.peer.kind()).dropped += 1;
            return;
        };
        let client = self.helpers[index].client;
        carry_out(client, request, cx);
        if !cx.out.is_empty() {
            let mut said = std::mem::take(&mut self.scratch);
            said.extend_from_slice(cx.out.scratch());
            cx.out.clear();
            self.answer(source, bytes_max, &said, mail, cx.now);
            self.keep_scratch(said);
        }
        if !cx.hub.is_idle(client) {
            self.helpers[index].asked = Some(Asked { source: source.clone(), bytes_max });
            self.settle_helper(index, mail, cx.hub, cx.now);
        }
    }

    /// A helper that nobody waits for.
    #[inline]
    fn free_helper(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        if let Some(index) = self.helpers.iter().position(|helper| helper.is_free(cx.hub)) {
            self.helpers[index].asked = None;
            return Some(index);
        }
        if self.helpers.len() >= cx.limits.requests_in_flight_max {
            return None;
        }
        let client = cx.hub.connect(ClientSetup { encoding: Form::Datagram.encoding(), identity: None });
        self.helpers.push(Helper { client, asked: None });
        Some(self.helpers.len() - 1)
    }

    /// Sends on what the hub has answered to a helper.
    fn settle_helper(&mut self, index: usize, mail: &mut Mail, hub: &mut Hub, now: Now) {
        let client = self.helpers[index].client;
        let asked = self.helpers[index].asked.take();
        let mut said = std::mem::take(&mut self.scratch);
        while let Some(item) = hub.outbox(client).get(0) {
            said.clear();
            encode(item, &mut said);
            hub.pop_front(client);
            if let Some(Asked { source, bytes_max }) = &asked {
                self.answer(source, *bytes_max, &said, mail, now);
            }
        }
        self.keep_scratch(said);
        if !hub.is_idle(client) {
            self.helpers[index].asked = asked;
        }
    }

    /// Answers somebody who has no session. What is too long for an address that is not proved is answered by a cookie:
    /// only what had no effect can be, since the answer to a message that was published is shorter than three times it.
    fn answer(&mut self, source: &Source, bytes_max: usize, said: &[u8], mail: &mut Mail, now: Now) {
        if said.len() > bytes_max {
            self.give_cookie(source, bytes_max, mail, now);
        } else if source.peer == PeerAddress::Unnamed {
            self.counts.of(source.peer.kind()).unanswered += 1;
        } else {
            mail.put(source, None, |out| out.extend_from_slice(said));
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
        self.sessions.insert(client, Session { source: source.clone(), expires_ms, due_ms: expires_ms });
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
            let helper = self.helpers.iter().position(|helper| helper.client == client);
            if let Some(index) = helper {
                self.settle_helper(index, mail, hub, now);
            }
            return helper.is_some();
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

    fn keep_scratch(&mut self, mut said: Vec<u8>) {
        said.clear();
        self.scratch = said;
    }
}

impl Helper {
    /// Nobody waits for it: every request that it made is answered, and every answer sent on.
    fn is_free(&self, hub: &Hub) -> bool {
        hub.is_idle(self.client)
    }
}

/// Does what a request asks for, or says why it is none.
#[inline]
fn carry_out(client: ClientId, request: Result<Request<'_>, BadRequest>, cx: &mut Context<'_>) {
    let mut objects = Objects::new(Form::Datagram);
    // How many were unreadable in a row is nobody's concern here: there is no connection to close.
    match request {
        Ok(request) => request::carry_out(&mut objects, client, request, cx),
        Err(bad) => request::refuse(&mut objects, client, &bad, cx),
    };
}

/// Refuses what no datagram can answer.
fn fitting(request: Result<Request<'_>, BadRequest>) -> Result<Request<'_>, BadRequest> {
    let why = match &request {
        Ok(Request { verb: Verb::Past { .. }, .. }) => {
            "datagrams have no \"past\": ask over TCP, WebSocket or HTTP"
        }
        Ok(Request {
            verb: Verb::Subscribe { since: Some(_), .. } | Verb::Subscribe { last: Some(_), .. },
            ..
        }) => "datagrams have no \"since\" and no \"last\": subscribe over TCP or WebSocket, or without them",
        _ => return request,
    };
    let id = request.ok().and_then(|request| request.id).map(|id| id.as_str().into());
    Err(BadRequest { id, code: Code::BadRequest, why: why.into(), unreadable: false })
}

/// What is said of a datagram that did not fit the buffer.
fn cut() -> BadRequest {
    let why = "the datagram is longer than the server receives";
    BadRequest { id: None, code: Code::TooLarge, why: why.into(), unreadable: true }
}

/// The gap in the place of a message that no datagram carries.
fn too_large(message: &Message) -> Gap {
    Gap {
        channel: message.channel.clone(),
        epoch: message.epoch,
        from: message.sequence,
        to: message.sequence,
        why: GapReason::TooLarge,
    }
}

/// Appends one item as one datagram.
fn encode(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Message(message) => out.extend_from_slice(Form::Datagram.bytes(message)),
        Item::Answer(answer) => answer::write_answer(out, answer),
        Item::Gap(gap) => answer::write_gap(out, gap),
        Item::Notice(notice) => answer::write_notice(out, notice),
        Item::Bytes(bytes) => out.extend_from_slice(bytes),
        Item::Bye(bye) => answer::write_bye(out, bye),
    }
}

fn text(cookie: &[u8]) -> &str {
    std::str::from_utf8(cookie).expect("a cookie is made of digits")
}
