//! One connection from its first byte to its end.
//!
//! ```text
//!   Detect ──'{'──────────────────────> Lines
//!     │
//!     ├──'GET '──> Http ──answer──> Http (keep-alive)
//!     │              ├──upgrade───> Socket (protocol, raw, echo)
//!     │              └──events────> Events
//!     └──anything else──> one error line, ending
//!
//!   ending:  No ──> AfterOutput (what is queued is still written) ──> the shell closes
//! ```

use sockeye_hub::{ClientId, Hub, Item, Message, Notice, Now};
use sockeye_wire::json::{self, Code};
use sockeye_wire::websocket::{self, Opcode};

use crate::context::Context;
use crate::detect::{Detected, detect};
use crate::form::Form;
use crate::http::Http;
use crate::limit::Limits;
use crate::line::Lines;
use crate::patience::Patience;
use crate::protocol::{Protocol, Transport};
use crate::rate::Over;
use crate::reply::{Manner, Reply};
use crate::websocket::{Mode, Outcome, Socket, close, say_close};
use crate::{answer, request};

/// Whether and how a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    No,
    /// It ends when everything queued is written. Its input is of no more interest.
    AfterOutput,
    /// It ends at once: the peer is gone or silent.
    Now,
}

/// The state machine of one connection.
///
/// What every delivery looks at stands first, within half a cache line: with thousands of connections, the lines that
/// are touched cost more than the instructions.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    client: ClientId,
    /// When the current step must be done, or the next one is due. `u64::MAX`: never.
    deadline_ms: u64,
    form: Form,
    ending: Ending,
    input_ended: bool,
    /// The hub or the server wants it closed: when the deadline comes, it is.
    closing: bool,
    changed: bool,
    /// What it spoke when the shell was last told.
    told: Protocol,
    pinged: bool,
    transport: Transport,
    last_input_ms: u64,
    patience: Patience,
    state: State,
    why: &'static str,
}

#[derive(Debug)]
pub(crate) enum State {
    Detect(Vec<u8>),
    Lines(Lines),
    Http(Box<Http>),
    Socket(Socket),
    Events(Form),
}

impl Connection {
    /// Makes the machine of a connection that was accepted at `now`.
    pub fn new(client: ClientId, transport: Transport, limits: &Limits, now: Now) -> Self {
        Connection {
            client,
            deadline_ms: now.ms + limits.first_byte_timeout_ms,
            form: Form::Line,
            ending: Ending::No,
            input_ended: false,
            closing: false,
            changed: false,
            told: Protocol::Unknown,
            pinged: false,
            transport,
            last_input_ms: now.ms,
            patience: Patience::default(),
            state: State::Detect(Vec::new()),
            why: "done",
        }
    }

    /// The hub's name for this connection.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        match &self.state {
            State::Detect(_) => Protocol::Unknown,
            State::Lines(_) => Protocol::Lines,
            State::Http(_) => Protocol::Http,
            State::Socket(socket) => match socket.mode() {
                Mode::Objects(_) => Protocol::WebSocket,
                Mode::Raw(_) => Protocol::Raw,
                Mode::Echo => Protocol::Echo,
            },
            State::Events(_) => Protocol::Events,
        }
    }

    /// What it spoke and what it speaks, if that has changed since this was last asked.
    pub fn take_change(&mut self) -> Option<(Protocol, Protocol)> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let after = self.protocol();
        let before = std::mem::replace(&mut self.told, after);
        (before != after).then_some((before, after))
    }

    /// The form in which it takes published messages.
    #[inline]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Sees which form the state asks for.
    fn refresh_form(&mut self) {
        self.form = match &self.state {
            State::Socket(socket) => socket.form(),
            State::Events(form) => *form,
            State::Http(http) => http.form_wanted(),
            State::Detect(_) | State::Lines(_) => Form::Line,
        };
    }

    /// Says whether the peer has ended its side.
    pub fn is_input_ended(&self) -> bool {
        self.input_ended
    }

    /// Says whether it goes on, and speaks what it spoke when that was last asked.
    #[inline]
    pub fn is_steady(&self) -> bool {
        self.ending == Ending::No && !self.input_ended && !self.changed
    }

    /// Whether and how it ends.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Why it ends, in a word for logs and figures.
    pub fn why(&self) -> &'static str {
        self.why
    }

    /// Says whether input may be handled: false while answers wait to be read or to come.
    pub fn may_read(&self, hub: &Hub, limits: &Limits) -> bool {
        if self.ending != Ending::No || self.closing || self.input_ended {
            return false;
        }
        if let State::Http(http) = &self.state
            && http.is_waiting()
        {
            return false;
        }
        hub.is_idle(self.client)
            || hub.outbox(self.client).other_bytes() <= limits.answers_bytes_max
                && !hub.has_asked_enough(self.client)
    }

    /// Handles what was received, and returns how much of it. What is left is to be given again, before anything newer,
    /// when `may_read` allows it.
    pub fn handle_input(&mut self, input: &mut [u8], cx: &mut Context<'_>) -> usize {
        self.last_input_ms = cx.now.ms;
        self.pinged = false;
        let mut at = 0;
        loop {
            if self.ending != Ending::No {
                return input.len();
            }
            match &mut self.state {
                State::Socket(socket) => {
                    if socket.handle_input(self.client, input, &mut at, cx) == Outcome::Closing {
                        self.end(Ending::AfterOutput, "closed", cx);
                        continue;
                    }
                    if socket.unfinished_bytes().is_some() || self.patience.awaits_rest() {
                        self.note_unfinished(cx);
                    }
                    return at;
                }
                State::Lines(lines) => {
                    if !lines.handle_input(self.client, input, &mut at, cx) {
                        self.end(Ending::AfterOutput, "unreadable", cx);
                        continue;
                    }
                    if lines.unfinished_bytes().is_some() || self.patience.awaits_rest() {
                        self.note_unfinished(cx);
                    }
                    return at;
                }
                State::Http(http) => {
                    let next = http.handle_input(self.client, self.transport, input, &mut at, cx);
                    self.deadline_ms = http.deadline_ms();
                    self.form = http.form_wanted();
                    match next {
                        crate::http::Next::Goes | crate::http::Next::Pauses => return at,
                        crate::http::Next::Ends(why) => self.end(Ending::AfterOutput, why, cx),
                        crate::http::Next::Becomes(state) => self.become_state(state, cx.now, cx.limits),
                    }
                }
                // What follows an event stream's request has no meaning.
                State::Events(_) => return input.len(),
                State::Detect(held) => {
                    if held.is_empty() && !matches!(detect(input), Detected::More) {
                        let detected = detect(input);
                        self.begin(detected, cx);
                        continue;
                    }
                    // An upper-case word in pieces: hold it until its space is here, then handle it as if in one.
                    held.extend_from_slice(input);
                    let mut whole = std::mem::take(held);
                    match detect(&whole) {
                        Detected::More => self.state = State::Detect(whole),
                        detected => {
                            self.begin(detected, cx);
                            // The word's space came now, so more than what was held is taken.
                            let held = whole.len() - input.len();
                            let taken = self.handle_input(&mut whole, cx).saturating_sub(held);
                            // What is said points into the whole, which ends here.
                            cx.out.detach(&whole);
                            return taken;
                        }
                    }
                    return input.len();
                }
            }
        }
    }

    /// The shell has received more than is allowed: what has a place for it is told so, before it is not read for a while.
    pub fn handle_over(&mut self, over: Over, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Lines(lines) => lines.objects().say_over(self.client, None, over, cx),
            State::Socket(socket) => {
                if let Mode::Objects(objects) = socket.mode() {
                    objects.say_over(self.client, None, over, cx);
                }
            }
            State::Http(http) if over.is_last && !http.is_waiting() => {
                http.end_over(self.client, over, cx);
                self.end(Ending::AfterOutput, "rate", cx);
            }
            State::Http(_) | State::Events(_) | State::Detect(_) => {}
        }
    }

    /// Refuses a connection whose beginning the shell could not read.
    pub fn refuse(&mut self, why: &str, ended_for: &'static str, cx: &mut Context<'_>) {
        request::frame(Form::Line, cx.out.scratch(), 0, |out| {
            json::write_error(out, None, Code::BadRequest, why, false);
        });
        self.end(Ending::AfterOutput, ended_for, cx);
    }

    /// A proxy by the side relays a connection that came by TCP, as a browser's does.
    pub fn came_by_tcp(&mut self) {
        self.transport = Transport::Tcp;
    }

    /// The peer ended its side: what it sent is answered, and a subscriber goes on hearing.
    pub fn handle_end(&mut self, cx: &mut Context<'_>) {
        if self.input_ended {
            return;
        }
        self.input_ended = true;
        match &mut self.state {
            State::Lines(lines) => {
                lines.handle_end(self.client, cx);
                self.handle_written(cx.hub, cx.now, cx.limits);
            }
            State::Http(http) if http.is_waiting() => http.end_after_answer(),
            State::Events(_) => {}
            State::Detect(_) | State::Http(_) => self.end(Ending::AfterOutput, "ended", cx),
            // RFC 6455, 7.1.5: without a close frame this is an abnormal end, and there is nobody to talk to.
            State::Socket(_) => self.end(Ending::Now, "ended without a close frame", cx),
        }
    }

    /// The stream below has begun something of its own: if it has nothing to say by then, the connection ends.
    pub fn expect_input_by(&mut self, deadline_ms: u64) {
        if matches!(self.state, State::Detect(_)) && self.ending == Ending::No && !self.closing {
            self.deadline_ms = deadline_ms;
        }
    }

    /// The stream below turned out to be encrypted, and has until then to agree on how.
    pub fn came_by_tls(&mut self, deadline_ms: u64) {
        self.transport = Transport::Tls;
        self.expect_input_by(deadline_ms);
    }

    /// Everything queued for this connection was written, and its peer has ended its side.
    pub fn handle_written(&mut self, hub: &mut Hub, now: Now, limits: &Limits) {
        if self.input_ended
            && self.ending == Ending::No
            && matches!(self.state, State::Lines(_))
            && hub.subscriptions(self.client) == 0
            && hub.requests_in_flight(self.client) == 0
        {
            hub.hush(self.client, usize::MAX);
            self.end_at(Ending::AfterOutput, "ended", now, limits);
        }
    }

    /// The peer, which had left much unread, has taken some of it: who reads is waited for, however slow his link is.
    pub fn handle_taken(&mut self, now: Now, limits: &Limits) {
        if self.closing || self.ending == Ending::AfterOutput {
            self.deadline_ms = now.ms + limits.close_timeout_ms;
        } else if let State::Http(http) = &mut self.state {
            http.handle_taken(now.ms, limits);
            self.deadline_ms = http.deadline_ms();
        }
        self.patience.forget_stalled();
    }

    /// A deadline has come, and this is what the shell sees of the way to the peer: when its system was last seen to take
    /// something, or to have taken everything, and whether something is under way to it now. Who takes what he can is
    /// neither stalled nor silent, however long that takes.
    pub fn note_way(&mut self, kept_up_ms: u64, is_under_way: bool, now: Now, limits: &Limits) {
        self.patience.note_way(kept_up_ms, is_under_way, now, limits);
        if !is_under_way {
            return;
        }
        if self.closing || self.ending == Ending::AfterOutput {
            self.deadline_ms = self.deadline_ms.max(kept_up_ms + limits.close_timeout_ms);
        } else if let State::Http(http) = &mut self.state {
            http.handle_taken(kept_up_ms, limits);
            self.deadline_ms = http.deadline_ms();
        }
    }

    /// The socket takes nothing for the time being. Whoever asked for answers has to take them. Returns whether his time
    /// for it begins.
    pub fn handle_blocked(&mut self, hub: &Hub, now: Now, limits: &Limits) -> bool {
        let is_asking = matches!(self.state, State::Lines(_) | State::Socket(_));
        // What waits is looked at last, and once: every delivery asks.
        let begins = is_asking
            && !self.patience.is_stalled()
            && self.ending == Ending::No
            && !self.closing
            && hub.outbox(self.client).has_answers_over(limits.stalled_bytes_min);
        if begins {
            self.patience.note_stalled(now);
            self.deadline_ms = self.deadline_ms.min(self.patience.stalled_until_ms(limits));
        }
        begins
    }

    /// Says whether nothing was taken of answers for too long.
    fn is_stalled(&mut self, cx: &Context<'_>) -> bool {
        if !cx.hub.outbox(self.client).has_answers_over(cx.limits.stalled_bytes_min) {
            self.patience.forget_stalled();
        }
        cx.now.ms >= self.patience.stalled_until_ms(cx.limits)
    }

    /// How many bytes of an unfinished message or line have come, if one is unfinished.
    fn unfinished_bytes(&self) -> Option<usize> {
        match &self.state {
            State::Socket(socket) => socket.unfinished_bytes(),
            State::Lines(lines) => lines.unfinished_bytes(),
            State::Detect(_) | State::Http(_) | State::Events(_) => None,
        }
    }

    /// Sees to it that what is unfinished is finished in time.
    #[cold]
    fn note_unfinished(&mut self, cx: &Context<'_>) {
        let was_unfinished = self.patience.awaits_rest();
        let has_finished = match &mut self.state {
            State::Socket(socket) => socket.take_finished(),
            State::Lines(lines) => lines.take_finished(),
            State::Detect(_) | State::Http(_) | State::Events(_) => false,
        };
        let bytes = self.unfinished_bytes();
        self.patience.note_unfinished(has_finished, bytes, cx.now);
        // A line has no other time to keep but for that of answers.
        if bytes.is_none() && was_unfinished && matches!(self.state, State::Lines(_)) && !self.closing {
            self.deadline_ms = self.patience.stalled_until_ms(cx.limits);
        }
        self.deadline_ms = self.deadline_ms.min(self.patience.unfinished_until_ms(bytes, cx.limits));
    }

    /// It was not read until now: what is unfinished has its time from here on.
    pub fn excuse_unfinished(&mut self, now: Now, limits: &Limits) {
        self.patience.excuse_unfinished(now);
        if let State::Http(http) = &mut self.state
            && self.ending == Ending::No
            && !self.closing
        {
            http.excuse_unfinished(now, limits);
            self.deadline_ms = http.deadline_ms();
        }
    }

    /// What was begun is not finished in time. Returns whether it is to be waited for no more.
    fn is_overdue(&mut self, cx: &Context<'_>) -> bool {
        let bytes = self.unfinished_bytes();
        if bytes.is_some() && !self.may_read(cx.hub, cx.limits) {
            self.excuse_unfinished(cx.now, cx.limits);
        }
        cx.now.ms >= self.patience.unfinished_until_ms(bytes, cx.limits)
    }

    /// The time at which `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        (self.deadline_ms != u64::MAX).then_some(self.deadline_ms)
    }

    /// Does what the time asks for; harmless when nothing is due.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if cx.now.ms < self.deadline_ms {
            return;
        }
        if self.ending != Ending::No || self.closing {
            if !cx.hub.outbox(self.client).is_empty() {
                self.why = "stalled";
            }
            self.ending = Ending::Now;
            self.deadline_ms = u64::MAX;
            return;
        }
        if self.is_stalled(cx) {
            return self.end(Ending::Now, "stalled", cx);
        }
        let is_overdue = self.is_overdue(cx);
        match &mut self.state {
            State::Lines(_) if is_overdue => {
                cx.say(self.client, |out| {
                    let why = "the line was not finished in time";
                    request::frame(Form::Line, out, 0, |out| {
                        json::write_error(out, None, Code::BadRequest, why, false);
                    });
                });
                self.end(Ending::AfterOutput, "slow input", cx);
            }
            State::Socket(_) if is_overdue => {
                say_close(self.client, close::POLICY, "the message was not finished in time", cx);
                self.end(Ending::AfterOutput, "slow input", cx);
            }
            State::Detect(_) => self.end(Ending::Now, "no first byte in time", cx),
            // It is not idle, but takes nothing of its answer any more.
            State::Http(http) if http.is_between() && !cx.hub.outbox(self.client).is_empty() => {
                self.end(Ending::Now, "stalled", cx);
            }
            State::Http(http) => {
                let why = http.handle_timeout(self.client, cx);
                self.end(Ending::AfterOutput, why, cx);
            }
            State::Socket(socket) => {
                let silent_ms = cx.now.ms - self.last_input_ms;
                if silent_ms >= cx.limits.silence_timeout_ms && self.patience.excuses_silence() {
                    self.deadline_ms = cx.now.ms + cx.limits.pong_timeout_ms();
                } else if silent_ms >= cx.limits.silence_timeout_ms {
                    self.end(Ending::Now, "silent", cx);
                } else if silent_ms >= cx.limits.ping_interval_ms {
                    if !self.pinged {
                        self.pinged = true;
                        socket.rest();
                        cx.say(self.client, |out| websocket::write_frame(out, Opcode::Ping, b""));
                    }
                    self.deadline_ms = self.last_input_ms + cx.limits.silence_timeout_ms;
                } else {
                    self.deadline_ms = self.last_input_ms + cx.limits.ping_interval_ms;
                }
            }
            State::Events(_) => {
                if cx.hub.outbox(self.client).is_empty() {
                    cx.say(self.client, |out| sockeye_wire::http::write_comment(out, ""));
                }
                self.deadline_ms = cx.now.ms + cx.limits.comment_interval_ms;
            }
            State::Lines(_) => self.deadline_ms = u64::MAX,
        }
        if self.ending == Ending::No {
            let bytes = self.unfinished_bytes();
            let waits = [
                self.patience.stalled_until_ms(cx.limits),
                self.patience.unfinished_until_ms(bytes, cx.limits),
            ];
            self.deadline_ms = waits.into_iter().fold(self.deadline_ms, u64::min);
        }
    }

    /// Appends a message of the outbox, compressed for this connection alone (see [`Form::is_own`]). Returns false, and
    /// appends nothing, where its shared form is as good. Called once a message, in order: what was appended must be sent.
    pub fn compress(&mut self, message: &Message, out: &mut Vec<u8>, limits: &Limits) -> bool {
        match &mut self.state {
            State::Socket(socket) => socket.compress(message, out, limits),
            _ => false,
        }
    }

    /// Appends one item of the outbox that is for this client alone. Called once an item, in order.
    pub fn encode(&mut self, item: &Item, out: &mut Vec<u8>, limits: &Limits, now: Now) {
        match item {
            Item::Message(message) => out.extend_from_slice(self.form().bytes(message)),
            Item::Bytes(bytes) | Item::Pushed(bytes) => out.extend_from_slice(bytes),
            Item::Answer(answer) => match &mut self.state {
                State::Http(http) => {
                    let next = http.encode_answer(answer, out, limits, now);
                    self.deadline_ms = http.deadline_ms();
                    match next {
                        crate::http::Next::Goes | crate::http::Next::Pauses => {}
                        crate::http::Next::Ends(why) => self.end_at(Ending::AfterOutput, why, now, limits),
                        crate::http::Next::Becomes(state) => self.become_state(state, now, limits),
                    }
                }
                // As with a gap, below.
                State::Socket(socket) if socket.is_raw() && self.ending != Ending::No => {}
                State::Socket(socket) => {
                    if socket.encode_answer(answer, out, limits) == Outcome::Closing {
                        self.end_at(Ending::AfterOutput, "refused", now, limits);
                    }
                }
                State::Lines(_) | State::Detect(_) => {
                    request::frame(Form::Line, out, 0, |out| answer::write_answer(out, answer));
                }
                State::Events(form) => request::frame(*form, out, 0, |out| answer::write_answer(out, answer)),
            },
            Item::Gap(gap) => match &self.state {
                // It was told of its end already, and that is all that a raw socket can be told.
                State::Socket(socket) if socket.is_raw() && self.ending != Ending::No => {}
                State::Socket(socket) => {
                    if socket.encode_gap(gap, out) == Outcome::Closing {
                        self.end_at(Ending::AfterOutput, "slow", now, limits);
                    }
                }
                State::Events(form) => request::frame(*form, out, 0, |out| answer::write_gap(out, gap)),
                State::Lines(_) | State::Detect(_) | State::Http(_) => {
                    request::frame(Form::Line, out, 0, |out| answer::write_gap(out, gap));
                }
            },
            Item::Notice(notice) => match &self.state {
                State::Socket(socket) => {
                    if socket.encode_notice(notice, out) == Outcome::Closing {
                        self.end_at(Ending::AfterOutput, "denied", now, limits);
                    }
                }
                State::Events(form) => {
                    request::frame(*form, out, 0, |out| answer::write_notice(out, notice));
                    // It has this one subscription only.
                    if matches!(**notice, Notice::Ended { .. }) {
                        self.end_at(Ending::AfterOutput, "denied", now, limits);
                    }
                }
                State::Lines(_) => {
                    request::frame(Form::Line, out, 0, |out| answer::write_notice(out, notice))
                }
                // Between two requests there is nobody to tell.
                State::Http(_) | State::Detect(_) => {}
            },
            Item::Bye(bye) => {
                match &self.state {
                    // RFC 6455, 5.5.1: nothing follows a close frame, and this one has said it.
                    State::Socket(_) if self.ending == Ending::AfterOutput => {}
                    State::Socket(socket) => {
                        if !socket.is_raw() {
                            request::frame(Form::Frame, out, 64, |out| answer::write_bye(out, bye));
                        }
                        let code = match bye.reason {
                            "drain" => close::GOING_AWAY,
                            "expired" | "revoked" => close::POLICY,
                            _ => close::TRY_AGAIN_LATER,
                        };
                        websocket::write_close(out, Some(code), bye.reason);
                    }
                    State::Lines(_) => request::frame(Form::Line, out, 0, |out| answer::write_bye(out, bye)),
                    State::Events(form) => request::frame(*form, out, 0, |out| answer::write_bye(out, bye)),
                    // A request that is being answered has its answer; there is nobody else to say goodbye to.
                    State::Http(_) | State::Detect(_) => {}
                }
                self.end_at(Ending::AfterOutput, bye.reason, now, limits);
            }
        }
    }

    /// The server drains. Says whether this connection is to be left alone, because a request has begun on it: that one
    /// is answered, and then the connection ends.
    pub fn finishes_request(&mut self) -> bool {
        match &mut self.state {
            State::Http(http) if !self.input_ended => http.finishes_request(),
            _ => false,
        }
    }

    /// The hub or the server wants this connection closed: it has a last while to take what is queued.
    pub fn handle_closing(&mut self, why: &'static str, now: Now, limits: &Limits) {
        if self.ending == Ending::No && !self.closing {
            self.why = why;
            self.closing = true;
            self.deadline_ms = now.ms + limits.close_timeout_ms;
        }
    }

    fn begin(&mut self, detected: Detected, cx: &mut Context<'_>) {
        self.changed = true;
        if cx.site.requires_tls && self.transport == Transport::Tcp {
            return self.refuse_plain(detected, cx);
        }
        match detected {
            Detected::Lines => {
                cx.hub.set_encoding(self.client, Form::Line.encoding());
                self.deadline_ms = u64::MAX;
                self.state = State::Lines(Lines::new(cx.limits.request_bytes_max()));
            }
            Detected::Http => {
                let http = Http::new(cx.now, cx.limits);
                self.deadline_ms = http.deadline_ms();
                self.state = State::Http(Box::new(http));
            }
            Detected::Unknown(why) => {
                self.refuse(why, "unknown protocol", cx);
            }
            Detected::More => {}
        }
    }

    /// Everything here is encrypted, and this is not: says so in the words of who came.
    fn refuse_plain(&mut self, detected: Detected, cx: &mut Context<'_>) {
        const WHY: &str = "this server speaks TLS only: connect with https:, wss: or tls:";
        let (now, out) = (cx.now, cx.out.scratch());
        if detected == Detected::Http {
            let manner = Manner { keep_alive: false, head_only: false, is_1_0: false, origin: None };
            Reply::error(Code::Denied, WHY).write(out, &manner, now);
        } else {
            request::frame(Form::Line, out, 0, |out| json::write_error(out, None, Code::Denied, WHY, false));
        }
        self.end(Ending::AfterOutput, "plain text", cx);
    }

    fn become_state(&mut self, state: State, now: Now, limits: &Limits) {
        self.changed = true;
        self.deadline_ms = match state {
            State::Events(_) => now.ms + limits.comment_interval_ms,
            _ => now.ms + limits.ping_interval_ms,
        };
        self.state = state;
        self.refresh_form();
    }

    fn end(&mut self, ending: Ending, why: &'static str, cx: &mut Context<'_>) {
        // What is queued still goes out; nothing more is queued.
        cx.hub.hush(self.client, usize::MAX);
        self.end_at(ending, why, cx.now, cx.limits);
    }

    fn end_at(&mut self, ending: Ending, why: &'static str, now: Now, limits: &Limits) {
        self.ending = ending;
        self.why = why;
        self.deadline_ms = now.ms + limits.close_timeout_ms;
    }
}
