//! One HTTP/1.1 connection: a head, perhaps a body, an answer, and the next.
//!
//! ```text
//!   Head ──whole──> route ──┬──answer known────────────> Head (keep-alive) or the end
//!                           ├──Body ──whole──> publish ──┐
//!                           └──hub asked ────────────────┴──> Waiting ──answer──> Head, a Socket, or Events
//! ```
//!
//! One request at a time: what is pipelined behind one is not looked at until its answer is queued. Deliberately
//! absent: what a request means (`route.rs`) and what every answer looks like (`reply.rs`).

use std::borrow::Cow;

use sockeye_hub::{Answer, ClientId, Done, Kind, Now, Publish, Start, Tag};
use sockeye_wire::http::{
    Body, BodyDecoder, HeadFinder, HeadLimits, HttpError, RequestHead, ResponseHead, parse_whole_head,
    write_continue, write_event,
};
use sockeye_wire::json::{self, Code};

use crate::answer;
use crate::connection::State;
use crate::context::Context;
use crate::form::Form;
use crate::limit::Limits;
use crate::protocol::{Protocol, Transport};
use crate::rate::Over;
use crate::reply::{Manner, Reply, allow_origin};
use crate::request::Objects;
use crate::route::{Action, Content, Handshake, route};
use crate::token;
use crate::websocket::{Mode, Raw, Socket};

/// The state of an HTTP connection.
#[derive(Debug)]
pub(crate) struct Http {
    /// A head that came in pieces.
    head: Vec<u8>,
    finder: HeadFinder,
    phase: Phase,
    manner: Manner,
    deadline_ms: u64,
    /// What is spoken over the WebSocket that is asked for, if the client named it.
    subprotocol: Option<&'static str>,
    /// Tokens that were refused, one after the other.
    refused_tokens: u32,
}

#[derive(Debug)]
enum Phase {
    Head,
    Body(Posting),
    Waiting(Wanted),
}

/// A body that is to be published.
#[derive(Debug)]
struct Posting {
    decoder: BodyDecoder,
    body: Vec<u8>,
    channel: String,
    content: Content,
    key: Option<String>,
    started_ms: u64,
}

/// What the hub's answer will become.
#[derive(Debug)]
enum Wanted {
    Object,
    Events { form: Form, start: Start },
    Raw { handshake: Handshake, form: Form, raw: Box<Raw> },
}

/// What follows a step.
pub(crate) enum Next {
    /// The connection goes on.
    Goes,
    /// It goes on, but nothing more is handled yet.
    Pauses,
    /// It ends when its answer is written, for this reason.
    Ends(&'static str),
    /// It is something else from here on.
    Becomes(State),
}

impl Http {
    /// Begins with the first byte of a head at `now`.
    pub(crate) fn new(now: Now, limits: &Limits) -> Self {
        Http {
            head: Vec::new(),
            finder: HeadFinder::new(),
            phase: Phase::Head,
            manner: Manner { keep_alive: false, head_only: false, is_1_0: false, origin: None },
            deadline_ms: now.ms + limits.head_timeout_ms,
            subprotocol: None,
            refused_tokens: 0,
        }
    }

    pub(crate) fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Says whether the hub is still to answer.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Says whether it is between two requests.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.head.is_empty()
    }

    /// The peer took some of what was left unread, at that time: it was not idle.
    pub(crate) fn handle_taken(&mut self, at_ms: u64, limits: &Limits) {
        if self.is_between() {
            self.deadline_ms = self.deadline_ms.max(at_ms + limits.http_idle_timeout_ms);
        }
    }

    /// It was not read until now: what has begun to come has its time from here on.
    pub(crate) fn excuse_unfinished(&mut self, now: Now, limits: &Limits) {
        match &mut self.phase {
            Phase::Head if self.head.is_empty() => {}
            Phase::Head => self.deadline_ms = now.ms + limits.head_timeout_ms,
            Phase::Body(posting) => {
                posting.started_ms = now.ms;
                self.deadline_ms = now.ms + limits.arrival_timeout_ms(posting.body.len());
            }
            Phase::Waiting(_) => {}
        }
    }

    /// The form of the messages that will follow the answer.
    pub(crate) fn form_wanted(&self) -> Form {
        match &self.phase {
            Phase::Waiting(Wanted::Events { form, .. }) => *form,
            Phase::Waiting(Wanted::Raw { form, .. }) => *form,
            _ => Form::Line,
        }
    }

    /// The peer has ended its side; the answer is the last thing to say.
    pub(crate) fn end_after_answer(&mut self) {
        self.manner.keep_alive = false;
    }

    /// The server drains. Says whether a request has begun: it is still answered, and is the last one.
    pub(crate) fn finishes_request(&mut self) -> bool {
        let begun = match &self.phase {
            Phase::Head => !self.head.is_empty(),
            Phase::Body(_) | Phase::Waiting(Wanted::Object) => true,
            Phase::Waiting(_) => false,
        };
        self.manner.keep_alive &= !begun;
        begun
    }

    /// Takes requests from `input[*at..]` until all is taken, or one has to wait for its answer.
    pub(crate) fn handle_input(
        &mut self,
        client: ClientId,
        transport: Transport,
        input: &[u8],
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Next {
        loop {
            if *at == input.len() || cx.must_pause(client) {
                return Next::Goes;
            }
            let said = cx.out.len();
            let next = match &mut self.phase {
                Phase::Waiting(_) => return Next::Goes,
                Phase::Body(posting) => {
                    let piece = posting.decoder.decode(input, at);
                    match piece {
                        Err(error) => self.refuse(client, &error, cx),
                        Ok(piece) => {
                            posting.body.extend_from_slice(piece.unwrap_or_default());
                            let allowed_ms = cx.limits.arrival_timeout_ms(posting.body.len());
                            self.deadline_ms = posting.started_ms + allowed_ms;
                            if posting.decoder.is_done() { self.handle_body(client, cx) } else { Next::Goes }
                        }
                    }
                }
                Phase::Head => match self.find_head(input, at, cx) {
                    Err(error) => self.refuse(client, &error, cx),
                    Ok(None) => return Next::Goes,
                    Ok(Some(head)) => self.handle_head(client, transport, &head, cx),
                },
            };
            // A page is more work than the request for it.
            cx.count_work(cx.out.len().saturating_sub(said));
            if !matches!(next, Next::Goes) {
                return next;
            }
        }
    }

    /// A whole head, without a copy if it came in one piece.
    fn find_head<'i>(
        &mut self,
        input: &'i [u8],
        at: &mut usize,
        cx: &Context<'_>,
    ) -> Result<Option<Cow<'i, [u8]>>, HttpError> {
        let limits = head_limits(cx.limits);
        let rest = &input[*at..];
        if self.head.is_empty() {
            // The first byte of a head starts its clock.
            self.deadline_ms = self.deadline_ms.min(cx.now.ms + cx.limits.head_timeout_ms);
            let found = self.finder.find(rest, &limits)?;
            let Some(length) = found else {
                self.head.extend_from_slice(rest);
                *at = input.len();
                return Ok(None);
            };
            self.finder = HeadFinder::new();
            *at += length;
            return Ok(Some(Cow::Borrowed(&rest[..length])));
        }
        let held = self.head.len();
        self.head.extend_from_slice(rest);
        let Some(length) = self.finder.find(&self.head, &limits)? else {
            *at = input.len();
            return Ok(None);
        };
        self.finder = HeadFinder::new();
        let mut head = std::mem::take(&mut self.head);
        head.truncate(length);
        *at += length - held;
        Ok(Some(Cow::Owned(head)))
    }

    fn handle_head(
        &mut self,
        client: ClientId,
        transport: Transport,
        head: &[u8],
        cx: &mut Context<'_>,
    ) -> Next {
        let head = match parse_whole_head(head, &head_limits(cx.limits)) {
            Ok(head) => head,
            Err(error) => return self.refuse(client, &error, cx),
        };
        self.manner = Manner {
            keep_alive: head.keep_alive && !cx.pages.draining(),
            head_only: head.method == "HEAD",
            is_1_0: head.minor == 0,
            origin: head.header("origin").filter(|origin| cx.site.lists(origin)).map(Into::into),
        };
        cx.tally.asked(Protocol::Http);
        if let Err(over) = cx.count_unclaimed() {
            return self.refuse_request_over(client, &head, over, cx);
        }
        self.subprotocol =
            head.list_contains("sec-websocket-protocol", token::SUBPROTOCOL).then_some(token::SUBPROTOCOL);
        let admitted = token::admit(client, &head, transport, &mut self.refused_tokens, cx);
        // As with unreadable messages: who goes on like this is guessing.
        self.manner.keep_alive &= self.refused_tokens < cx.limits.unreadable_max;
        // It is the request of whom its token names, not of who spoke before on this connection; a refused one is nobody's.
        if admitted.is_ok()
            && let Err(over) = cx.count_claimed(client)
        {
            return self.refuse_request_over(client, &head, over, cx);
        }
        let (action, expires_ms) = match admitted {
            Ok(expires_ms) => (self.check_rights(client, route(&head, cx), cx), expires_ms),
            Err(refusal) => (Action::Answer(refusal), None),
        };
        let action = match action {
            Action::Publish { .. } => action,
            action if is_bodiless(&head) => action,
            action => {
                // A body that nobody asked for is not read: the connection ends instead, since it must not be taken for the
                // next request. (A handshake with a body was refused where it was read.)
                self.manner.keep_alive = false;
                action
            }
        };
        if let Some(expires_ms) = expires_ms.filter(|_| action.lasts()) {
            token::keep_end(client, expires_ms, cx);
        }
        match action {
            Action::Answer(reply) => self.answer(client, &reply, cx),
            Action::Publish { channel, content, key } => {
                if let Body::Length(bytes) = head.body
                    && bytes > cx.limits.message_bytes_max as u64
                {
                    return self.refuse(client, &too_large(cx.limits), cx);
                }
                if head.expect_continue {
                    cx.say(client, write_continue);
                }
                let decoder = BodyDecoder::new(head.body, cx.limits.message_bytes_max as u64);
                let posting =
                    Posting { decoder, body: Vec::new(), channel, content, key, started_ms: cx.now.ms };
                self.deadline_ms = cx.now.ms + cx.limits.body_timeout_ms;
                let is_done = posting.decoder.is_done();
                self.phase = Phase::Body(posting);
                if is_done { self.handle_body(client, cx) } else { Next::Goes }
            }
            Action::History { channel, past } => {
                self.wait(Wanted::Object);
                cx.hub.past(client, WANTED, &channel, past, cx.now);
                Next::Goes
            }
            Action::Events { .. } if self.manner.head_only => {
                self.manner.keep_alive = false;
                let (http, now) = (&*self, cx.now);
                cx.say(client, |out| http.write_events_head(out, now));
                self.answered(cx.now, cx.limits)
            }
            Action::Events { name, form, subscribe } => {
                self.wait(Wanted::Events { form, start: subscribe.start });
                cx.hub.set_encoding(client, form.encoding());
                cx.hub.subscribe(client, WANTED, &name, subscribe, cx.now);
                Next::Goes
            }
            Action::Objects { handshake } => {
                cx.hub.set_encoding(client, handshake.form(Form::Frame, cx.limits).encoding());
                self.accept(client, &handshake, Mode::Objects(Objects::new(Form::Frame)), cx)
            }
            Action::Echo { handshake } => self.accept(client, &handshake, Mode::Echo, cx),
            Action::Raw { handshake, channel, publishes, subscribe } => {
                let form = handshake.form(Form::Raw, cx.limits);
                cx.hub.set_encoding(client, form.encoding());
                let consents_to_gaps =
                    subscribe.is_some_and(|options| options.slow == sockeye_hub::Slow::Latest);
                let raw = Box::new(Raw { channel: channel.as_str().into(), publishes, consents_to_gaps });
                let Some(subscribe) = subscribe else {
                    return self.accept(client, &handshake, Mode::Raw(raw), cx);
                };
                self.wait(Wanted::Raw { handshake, form, raw });
                cx.hub.subscribe(client, WANTED, &channel, subscribe, cx.now);
                Next::Goes
            }
        }
    }

    /// A request is one too many. A body that is not wanted is not read: the connection ends instead.
    fn refuse_request_over(
        &mut self,
        client: ClientId,
        head: &RequestHead<'_>,
        over: Over,
        cx: &mut Context<'_>,
    ) -> Next {
        self.manner.keep_alive &= is_bodiless(head);
        self.refuse_over(client, over, cx)
    }

    /// What has no right to its channel is refused before its body comes, or before it is a socket that can only be closed.
    fn check_rights(&self, client: ClientId, action: Action, cx: &Context<'_>) -> Action {
        let checked = match &action {
            Action::Publish { channel, .. } | Action::Raw { channel, subscribe: None, .. } => {
                cx.hub.check_publishing(client, channel)
            }
            // It is not subscribed to, which would have been refused.
            Action::Events { name, .. } if self.manner.head_only => cx.hub.check_hearing(client, name),
            _ => return action,
        };
        match checked {
            Ok(()) => action,
            Err(refusal) => Action::Answer(Reply::error(answer::code_of(refusal.code), &refusal.why)),
        }
    }

    /// The hub will answer: nothing of this connection is timed until then.
    fn wait(&mut self, wanted: Wanted) {
        self.phase = Phase::Waiting(wanted);
        self.deadline_ms = u64::MAX;
    }

    fn accept(&mut self, client: ClientId, handshake: &Handshake, mode: Mode, cx: &mut Context<'_>) -> Next {
        let subprotocol = self.subprotocol;
        cx.say(client, |out| handshake.accept(out, subprotocol));
        Next::Becomes(State::Socket(Socket::new(mode, handshake.deflate.as_ref(), cx.limits)))
    }

    /// A body is whole: it is published.
    fn handle_body(&mut self, client: ClientId, cx: &mut Context<'_>) -> Next {
        let Phase::Body(posting) = std::mem::replace(&mut self.phase, Phase::Head) else { return Next::Goes };
        let kind = match posting.content {
            Content::Binary => Kind::Binary,
            Content::Either if std::str::from_utf8(&posting.body).is_err() => Kind::Binary,
            Content::Either => Kind::Text,
            Content::Text if std::str::from_utf8(&posting.body).is_err() => {
                return self.answer(
                    client,
                    &Reply::error(Code::BadRequest, "the body is not UTF-8, as its Content-Type says"),
                    cx,
                );
            }
            Content::Text => Kind::Text,
            Content::Json if !json::is_json(&posting.body) => {
                return self.answer(
                    client,
                    &Reply::error(
                        Code::BadRequest,
                        "the body is not JSON of at most 63 levels, as its Content-Type says",
                    ),
                    cx,
                );
            }
            Content::Json => Kind::Json,
        };
        let payload = match kind {
            Kind::Json => Cow::Owned(json::without_line_breaks(&posting.body).into_owned()),
            _ => Cow::Owned(posting.body),
        };
        self.wait(Wanted::Object);
        let publish = Publish { channel: &posting.channel, kind, payload, key: posting.key.as_deref() };
        cx.hub.publish(client, WANTED, publish, cx.now);
        Next::Goes
    }

    /// Says an answer that is known at once.
    fn answer(&mut self, client: ClientId, reply: &Reply, cx: &mut Context<'_>) -> Next {
        if let Some(code) = reply.code {
            cx.tally.refused(code);
        }
        let (manner, now) = (&self.manner, cx.now);
        cx.say(client, |out| reply.write(out, manner, now));
        self.answered(cx.now, cx.limits)
    }

    /// Refuses a request that was one too many. Nothing behind it is handled for a while, nor ever after the last time.
    pub(crate) fn refuse_over(&mut self, client: ClientId, over: Over, cx: &mut Context<'_>) -> Next {
        self.manner.keep_alive &= !over.is_last;
        cx.tally.refused(Code::Rate);
        match self.answer(client, &Reply::rate(&over.why(), over.retry_ms), cx) {
            Next::Goes => Next::Pauses,
            _ => Next::Ends("rate"),
        }
    }

    /// Refuses whatever is under way, for too many bytes: it is the last that is said.
    pub(crate) fn end_over(&mut self, client: ClientId, over: Over, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Head) {
            // How the request wants its answer is not known yet.
            self.manner.head_only = false;
            self.manner.origin = None;
        }
        self.refuse_over(client, over, cx);
    }

    fn answered(&mut self, now: Now, limits: &Limits) -> Next {
        self.phase = Phase::Head;
        self.deadline_ms = now.ms + limits.http_idle_timeout_ms;
        if self.manner.keep_alive { Next::Goes } else { Next::Ends("answered") }
    }

    /// Refuses what cannot be read: where the next request would begin is not known, so this is the end.
    fn refuse(&mut self, client: ClientId, error: &HttpError, cx: &mut Context<'_>) -> Next {
        self.manner.keep_alive = false;
        let code = if matches!(error.status, 413 | 414 | 431) { Code::TooLarge } else { Code::BadRequest };
        let reply = Reply::refusal(error.status, code, &error.why);
        cx.tally.refused(code);
        let (manner, now) = (&self.manner, cx.now);
        cx.say(client, |out| reply.write(out, manner, now));
        Next::Ends("refused")
    }

    /// The time for the current step is over. Returns why the connection ends.
    pub(crate) fn handle_timeout(&mut self, client: ClientId, cx: &mut Context<'_>) -> &'static str {
        if self.is_between() {
            return "idle";
        }
        self.manner.keep_alive = false;
        let what = if matches!(self.phase, Phase::Head) { "head" } else { "body" };
        let reply =
            Reply::refusal(408, Code::Timeout, &format!("the {what} of the request did not arrive in time"));
        let (manner, now) = (&self.manner, cx.now);
        cx.say(client, |out| reply.write(out, manner, now));
        "request timeout"
    }

    /// The hub has answered: so does HTTP.
    pub(crate) fn encode_answer(
        &mut self,
        answer: &Answer,
        out: &mut Vec<u8>,
        limits: &Limits,
        now: Now,
    ) -> Next {
        let Phase::Waiting(wanted) = std::mem::replace(&mut self.phase, Phase::Head) else {
            return Next::Goes;
        };
        let done = match &answer.result {
            Ok(done) => done,
            Err(refusal) => {
                let reply = match refusal.retry_ms {
                    Some(retry_ms) => Reply::rate(&refusal.why, retry_ms),
                    None => Reply::error(answer::code_of(refusal.code), &refusal.why),
                };
                reply.write(out, &self.manner, now);
                return self.answered(now, limits);
            }
        };
        match wanted {
            Wanted::Object => {
                Reply::json(200, |out| answer::write_done(out, None, done)).write(out, &self.manner, now);
                self.answered(now, limits)
            }
            Wanted::Events { form, start } => {
                self.write_events_head(out, now);
                write_first_event(out, done, start);
                Next::Becomes(State::Events(form))
            }
            Wanted::Raw { handshake, raw, .. } => {
                // A raw socket has no place to say that something was missed, so it does not begin with a gap.
                if let Done::Subscribed { recovered: Some(Err(why)), .. } = done
                    && !raw.consents_to_gaps
                {
                    let why = format!(
                        "what followed since= is no longer kept ({}): connect without it",
                        why.as_str()
                    );
                    self.manner.keep_alive = false;
                    Reply::error(Code::Gone, &why).write(out, &self.manner, now);
                    return Next::Ends("gone");
                }
                handshake.accept(out, self.subprotocol);
                Next::Becomes(State::Socket(Socket::new(Mode::Raw(raw), handshake.deflate.as_ref(), limits)))
            }
        }
    }

    /// An event stream has no length and is not chunked: it ends with its connection.
    fn write_events_head(&self, out: &mut Vec<u8>, now: Now) {
        let mut head = ResponseHead::new(200)
            .date(now.unix_ms)
            .header("Content-Type", "text/event-stream")
            .header("Cache-Control", "no-store")
            .header("X-Accel-Buffering", "no")
            .close();
        if let Some(origin) = &self.manner.origin {
            head = allow_origin(head, origin);
        }
        head.write(out);
    }
}

/// The first event of a stream is the answer, so that even a reader who has heard nothing yet has a position to come back
/// to.
fn write_first_event(out: &mut Vec<u8>, done: &Done, start: Start) {
    let mut data = Vec::new();
    answer::write_done(&mut data, None, done);
    let id = match (done, start) {
        // What is replayed is still to come: who is cut off before it must come back to where he was.
        (Done::Subscribed { recovered: Some(Ok(())), .. }, Start::Since(since)) => Some(since.to_string()),
        (Done::Subscribed { .. }, Start::Last(_)) => None,
        (Done::Subscribed { at: Some(at), .. }, _) => Some(at.to_string()),
        _ => None,
    };
    write_event(out, id.as_deref(), &data);
}

/// Whether the next request begins where the head ends.
fn is_bodiless(head: &RequestHead<'_>) -> bool {
    matches!(head.body, Body::None | Body::Length(0))
}

/// An HTTP request always wants its answer.
const WANTED: Tag = Tag::Number(0);

fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        head_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max,
        target_bytes_max: limits.target_bytes_max,
    }
}

fn too_large(limits: &Limits) -> HttpError {
    HttpError {
        status: 413,
        why: Cow::Owned(format!("a message may have {} bytes", limits.message_bytes_max)),
    }
}
