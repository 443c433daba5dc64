//! One JSON object becomes one call of the hub; what the hub need not know is answered here.

use sockeye_hub::{ClientId, Identity, Kind, Past, Position, Publish, Slow, Start, Subscribe, Tag};
use sockeye_wire::json::{self, BadRequest, Code, Request, Verb};

use crate::context::Context;
use crate::form::{self, Form};
use crate::protocol::Protocol;
use crate::rate::Over;
use crate::token::{self, Shown};

/// The version of the protocol that this server speaks.
const PROTOCOL_VERSION: u64 = 1;

/// A conversation in JSON objects: how they are framed, and how well it goes.
#[derive(Debug)]
pub(crate) struct Objects {
    form: Form,
    /// What is spoken, for the tally.
    protocol: Protocol,
    unreadable_in_a_row: u32,
    /// A message was one too many: what stands behind it is not handled yet.
    paused: bool,
    /// Tokens in a row that were refused.
    pub(crate) refused_tokens: u32,
}

impl Objects {
    pub(crate) fn new(form: Form) -> Self {
        let protocol = match form {
            Form::Line => Protocol::Lines,
            Form::Frame => Protocol::WebSocket,
            _ => Protocol::Unknown,
        };
        Objects { form, protocol, unreadable_in_a_row: 0, paused: false, refused_tokens: 0 }
    }

    /// One datagram's conversation.
    pub(crate) fn of_datagrams(protocol: Protocol) -> Self {
        Objects { protocol, ..Objects::new(Form::Datagram) }
    }

    /// Says one object to the client: at once, or behind what its outbox holds.
    pub(crate) fn say(&self, client: ClientId, cx: &mut Context<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        let form = self.form;
        cx.say(client, |out| frame(form, out, 0, write));
    }

    /// Says that there was too much.
    pub(crate) fn say_over(&self, client: ClientId, id: Option<&str>, over: Over, cx: &mut Context<'_>) {
        cx.tally.refused(Code::Rate);
        self.say(client, cx, |out| json::write_rate_error(out, id, &over.why(), over.retry_ms));
    }

    /// Refuses a message that was one too many. Returns false: nothing behind it is handled yet.
    fn pause(&mut self, client: ClientId, id: Option<&str>, over: Over, cx: &mut Context<'_>) -> bool {
        self.say_over(client, id, over, cx);
        self.paused = true;
        false
    }

    /// Whether the connection is not at its end, but has to wait. Asked once, where a message was the last one for some
    /// reason.
    pub(crate) fn take_paused(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Refuses what could not be read. Returns false when it was one too many in a row.
    pub(crate) fn refuse_unreadable(
        &mut self,
        client: ClientId,
        code: Code,
        why: &str,
        cx: &mut Context<'_>,
    ) -> bool {
        cx.tally.refused(code);
        self.say(client, cx, |out| json::write_error(out, None, code, why, code.retry()));
        self.unreadable_in_a_row += 1;
        self.unreadable_in_a_row < cx.limits.unreadable_max
    }
}

/// Appends what `write` appends, framed for `form`. `guess` is about how many bytes that will be.
pub(crate) fn frame(form: Form, out: &mut Vec<u8>, guess: usize, write: impl FnOnce(&mut Vec<u8>)) {
    match form {
        Form::Line => {
            write(out);
            out.push(b'\n');
        }
        Form::Datagram => write(out),
        Form::Frame | Form::DeflatedFrame | Form::OwnFrame => form::write_framed(out, guess, write),
        Form::Event | Form::PatternEvent => {
            let mut data = Vec::new();
            write(&mut data);
            sockeye_wire::http::write_event(out, None, &data);
        }
        // A raw socket has no place for anything but payloads.
        Form::Raw | Form::DeflatedRaw | Form::OwnRaw => {}
    }
}

/// Handles one object. Returns whether the next one may be handled: not when the connection is to close, nor when it has
/// to wait, which [`Objects::take_paused`] tells.
#[inline]
pub(crate) fn handle(objects: &mut Objects, client: ClientId, text: &str, cx: &mut Context<'_>) -> bool {
    cx.count_work(text.len());
    match json::parse_request_text(text) {
        Ok(request) => carry_out(objects, client, request, cx),
        Err(bad) => refuse_counted(objects, client, &bad, cx),
    }
}

/// Does what a request asks for. Returns as [`handle`] does.
#[inline]
pub(crate) fn carry_out(
    objects: &mut Objects,
    client: ClientId,
    request: Request<'_>,
    cx: &mut Context<'_>,
) -> bool {
    objects.unreadable_in_a_row = 0;
    let id = request.id.as_ref().map(|id| id.as_str());
    if let Err(over) = cx.count_message(client, objects.protocol) {
        return objects.pause(client, id, over, cx);
    }
    let tag = || id.map_or(Tag::Silent, |id| Tag::Id(id.into()));

    match request.verb {
        Verb::Publish { channel, payload, key } => {
            let kind = kind_of(payload.kind);
            let publish = Publish { channel: &channel, kind, payload: payload.bytes, key: key.as_deref() };
            cx.hub.publish(client, tag(), publish, cx.now);
        }
        Verb::Subscribe { name, since, last, own, slow } => {
            let start = match (since.as_deref().map(parse_since), last) {
                (None, None) => Ok(Start::Live),
                (None, Some(count)) => Ok(Start::Last(count)),
                (Some(since), None) => since.map(Start::Since),
                (Some(_), Some(_)) => Err("\"since\" and \"last\" exclude each other in \"sub\""),
            };
            match start {
                Ok(start) => cx.hub.subscribe(
                    client,
                    tag(),
                    &name,
                    Subscribe { start, own, slow: slow_of(slow) },
                    cx.now,
                ),
                Err(why) => bad(objects, client, id, why, cx),
            }
        }
        Verb::Unsubscribe { name } => cx.hub.unsubscribe(client, tag(), &name, cx.now),
        Verb::Past { channel, last, since } => match since.as_deref().map(parse_since).transpose() {
            Ok(since) => cx.hub.past(client, tag(), &channel, Past { last, since }, cx.now),
            Err(why) => bad(objects, client, id, why, cx),
        },
        Verb::Ping { value } => objects.say(client, cx, |out| json::write_pong(out, value.as_str())),
        Verb::Hello { version: PROTOCOL_VERSION, token } => {
            let shown = token.map(|token| token::check(objects, client, id, &token, cx));
            let known = match shown {
                Some(Shown::Refused { goes_on }) => return goes_on,
                Some(Shown::Known(identity)) => Some(identity),
                Some(Shown::Meaningless) | None => None,
            };
            if let Some(id) = id {
                hello(objects, client, id, known.as_deref(), cx);
            }
            if known.is_some() {
                cx.hub.authorize(client, known, cx.now);
            }
        }
        Verb::Auth { token } => {
            let known = match token::check(objects, client, id, &token, cx) {
                Shown::Refused { goes_on } => return goes_on,
                Shown::Known(identity) => Some(identity),
                Shown::Meaningless => None,
            };
            // The answer goes first: what ends with the rights that are lost is told after it.
            if let Some(id) = id {
                let now = cx.now;
                objects.say(client, cx, |out| {
                    out.extend_from_slice(b"{\"ok\":");
                    out.extend_from_slice(id.as_bytes());
                    token::write_identity(out, known.as_deref(), now);
                    out.push(b'}');
                });
            }
            if known.is_some() {
                cx.hub.authorize(client, known, cx.now);
            }
        }
        Verb::Hello { .. } => {
            bad(objects, client, id, "this server speaks version 1 of the protocol: {\"hello\":1}", cx)
        }
    }
    true
}

fn hello(objects: &Objects, client: ClientId, id: &str, known: Option<&Identity>, cx: &mut Context<'_>) {
    use std::io::Write as _;
    let you = cx.hub.publisher_number(client);
    let (server, limits, shard) = (&cx.site.server, cx.limits, cx.hub.shard().index);
    let mut answer = Vec::with_capacity(128);
    write!(
        answer,
        "{{\"ok\":{id},\"server\":\"{server}\",\"you\":\"c{you}\",\"shard\":{shard},\"ping_ms\":{},\"message_bytes_max\":{}",
        limits.ping_interval_ms, limits.message_bytes_max
    )
    .expect("a write into memory succeeds");
    let current = cx.hub.identity(client).map(|identity| &**identity);
    token::write_identity(&mut answer, known.or(current), cx.now);
    answer.push(b'}');
    objects.say(client, cx, |out| out.extend_from_slice(&answer));
}

fn bad(objects: &Objects, client: ClientId, id: Option<&str>, why: &str, cx: &mut Context<'_>) {
    cx.tally.refused(Code::BadRequest);
    objects.say(client, cx, |out| json::write_error(out, id, Code::BadRequest, why, false));
}

/// Refuses what is no request, which is a message all the same. Returns as [`handle`] does.
pub(crate) fn refuse_counted(
    objects: &mut Objects,
    client: ClientId,
    bad: &BadRequest,
    cx: &mut Context<'_>,
) -> bool {
    match cx.count_message(client, objects.protocol) {
        Ok(()) => refuse(objects, client, bad, cx),
        Err(over) => objects.pause(client, bad.id.as_deref(), over, cx),
    }
}

/// Refuses what is no request. Returns whether the connection goes on.
pub(crate) fn refuse(
    objects: &mut Objects,
    client: ClientId,
    bad: &BadRequest,
    cx: &mut Context<'_>,
) -> bool {
    if bad.unreadable {
        return objects.refuse_unreadable(client, bad.code, &bad.why, cx);
    }
    objects.unreadable_in_a_row = 0;
    cx.tally.refused(bad.code);
    objects.say(client, cx, |out| {
        json::write_error(out, bad.id.as_deref(), bad.code, &bad.why, bad.code.retry())
    });
    true
}

/// What the hub calls a payload of this kind. A text came as a JSON string, and stays one.
pub(crate) fn kind_of(kind: json::Kind) -> Kind {
    match kind {
        json::Kind::Text => Kind::String,
        json::Kind::Json => Kind::Json,
        json::Kind::Binary => Kind::Binary,
    }
}

/// Reads a position as clients write it.
pub(crate) fn parse_since(text: &str) -> Result<Position, &'static str> {
    text.parse().map_err(|_| "\"since\" takes a position as in \"at\", such as \"k3f:118\"")
}

pub(crate) fn slow_of(slow: json::Slow) -> Slow {
    match slow {
        json::Slow::All => Slow::All,
        json::Slow::Latest => Slow::Latest,
        json::Slow::Close => Slow::Close,
    }
}
