//! Which request asks for what: the table of PROTOCOL.md, "Channels over HTTP", and who may ask at all.
//!
//! Nothing happens here: a request becomes an [`Action`]. A foreign page (Origin) or a foreign name (Host) is refused
//! before anything else is looked at.

use sockeye_hub::{Past, Position, Slow, Start, Subscribe, check_name, is_pattern};
use sockeye_wire::http::{self as wire, RequestHead};
use sockeye_wire::json::Code;
use sockeye_wire::websocket::{self, Deflate};

use crate::compression::{self, Compression};
use crate::context::Context;
use crate::form::Form;
use crate::limit::Limits;
use crate::protocol::Transport;
use crate::reply::{Reply, TEXT};
use crate::request::parse_since;

/// What a request asks for.
pub(crate) enum Action {
    /// An answer that is known at once.
    Answer(Reply),
    /// Publish the body that follows.
    Publish { channel: String, content: Content, key: Option<String> },
    /// A look into history.
    History { channel: String, past: Past },
    /// An event stream.
    Events { name: String, form: Form, subscribe: Subscribe },
    /// The protocol over WebSocket.
    Objects { handshake: Handshake },
    /// The echo.
    Echo { handshake: Handshake },
    /// One channel over WebSocket.
    Raw { handshake: Handshake, channel: String, publishes: bool, subscribe: Option<Subscribe> },
}

impl Action {
    /// Says whether it goes on after it was answered.
    pub(crate) fn lasts(&self) -> bool {
        match self {
            Action::Events { .. } | Action::Objects { .. } | Action::Echo { .. } | Action::Raw { .. } => true,
            Action::Answer(_) | Action::Publish { .. } | Action::History { .. } => false,
        }
    }
}

/// A WebSocket handshake that can be answered.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) key: String,
    /// How messages will be compressed, if they will.
    pub(crate) deflate: Option<Deflate>,
}

impl Handshake {
    /// Appends the answer.
    pub(crate) fn accept(&self, out: &mut Vec<u8>, subprotocol: Option<&str>) {
        websocket::write_accept(out, &self.key, subprotocol, self.deflate.as_ref());
    }

    /// The form in which this connection takes published messages, plain or compressed.
    pub(crate) fn form(&self, plain: Form, limits: &Limits) -> Form {
        Compression::new(self.deflate.as_ref(), limits.deflate).form(plain)
    }
}

/// What a body is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Text,
    Binary,
    /// Text if it is UTF-8, else binary.
    Either,
}

/// Decides what a request asks for.
pub(crate) fn route(head: &RequestHead<'_>, cx: &Context<'_>) -> Action {
    match decide(head, cx).unwrap_or_else(Action::Answer) {
        // A drain lets a request end that has begun, but nothing begins that would stay.
        Action::Events { .. } | Action::Objects { .. } | Action::Echo { .. } | Action::Raw { .. }
            if cx.pages.draining() =>
        {
            Action::Answer(Reply::error(Code::Busy, "the server is draining: come back later"))
        }
        action => action,
    }
}

fn decide(head: &RequestHead<'_>, cx: &Context<'_>) -> Result<Action, Reply> {
    if head.method == "OPTIONS" {
        return Ok(Action::Answer(options(head)));
    }
    match head.path {
        "/ws" => Ok(Action::Objects { handshake: upgrade(head, cx)?.ok_or_else(upgrade_required)? }),
        "/echo" => Ok(Action::Echo { handshake: upgrade(head, cx)?.ok_or_else(upgrade_required)? }),
        "/healthz" => reading(head, || Reply::new(200, TEXT, &b"ok\n"[..])),
        "/readyz" => reading(head, || match cx.pages.ready() {
            true => Reply::new(200, TEXT, &b"ready\n"[..]),
            false => Reply::new(503, TEXT, &b"draining\n"[..]).with("Retry-After", "1"),
        }),
        "/metrics" => reading(head, || {
            Reply::new(
                200,
                "text/plain; version=0.0.4; charset=utf-8",
                cx.pages.metrics(cx.hub, cx.tally).into_bytes(),
            )
            .with("Cache-Control", "no-store")
        }),
        path => match path.strip_prefix("/ch/") {
            Some(name) => channel(head, name, cx),
            None if cx.pages.asset(path).is_some() => reading(head, || asset(head, path, cx)),
            None => Err(Reply::error(
                Code::NotFound,
                "nothing is here: channels are at /ch/NAME, the page is at /",
            )),
        },
    }
}

/// Refuses pages from elsewhere and names that are not ours.
pub(crate) fn check_caller(
    head: &RequestHead<'_>,
    transport: Transport,
    cx: &Context<'_>,
) -> Result<(), Reply> {
    // A browser cannot reach a Unix socket, so neither header can mislead there.
    if transport != Transport::Unix && !head.host.is_empty() && !cx.site.hosts.allow(head.host) {
        let why =
            format!("this server is not called {:?}: use localhost, or list the name under names", head.host);
        return Err(Reply::error(Code::Denied, &why));
    }
    let mut origins = head.header_all("origin");
    if let Some(origin) = origins.next()
        && (!cx.site.trusts(origin, head.host) || origins.next().is_some())
    {
        let why = format!("pages from {origin:?} may not use this server: list that origin under origins");
        return Err(Reply::error(Code::Denied, &why));
    }
    Ok(())
}

/// RFC 9110, 9.3.7, and the preflight of a listed origin. (The server's own pages need none.)
fn options(head: &RequestHead<'_>) -> Reply {
    const METHODS: &str = "GET, HEAD, POST, OPTIONS";
    let reply = Reply::new(204, TEXT, &b""[..]).with("Allow", METHODS);
    if head.header("access-control-request-method").is_none() {
        return reply;
    }
    reply
        .with("Access-Control-Allow-Methods", METHODS)
        .with("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Last-Event-ID")
        .with("Access-Control-Max-Age", "600")
}

fn reading(head: &RequestHead<'_>, reply: impl FnOnce() -> Reply) -> Result<Action, Reply> {
    match head.method {
        "GET" | "HEAD" => Ok(Action::Answer(reply())),
        _ => Err(method_not_allowed("GET, HEAD, OPTIONS")),
    }
}

fn method_not_allowed(allowed: &'static str) -> Reply {
    Reply::refusal(405, Code::BadRequest, &format!("only {allowed} are understood here"))
        .with("Allow", allowed)
}

/// A WebSocket handshake, if one is asked for, and what is agreed to in it.
fn upgrade(head: &RequestHead<'_>, cx: &Context<'_>) -> Result<Option<Handshake>, Reply> {
    match websocket::verify_upgrade(head.method, head.minor, head.headers.iter().copied()) {
        Ok(upgrade) => Ok(upgrade.map(|upgrade| Handshake {
            key: upgrade.key.to_owned(),
            deflate: compression::agree(&upgrade.deflate, cx.limits.deflate),
        })),
        Err(error) if error.status == 426 => Err(upgrade_required()),
        Err(error) => Err(Reply::refusal(error.status, Code::BadRequest, &error.to_string())),
    }
}

/// RFC 9110, 15.5.22: the answer names what must be spoken.
fn upgrade_required() -> Reply {
    Reply::refusal(426, Code::BadRequest, "this is a WebSocket: connect with ws://, version 13")
        .with("Upgrade", "websocket")
        // RFC 9110, 7.8: who sends Upgrade also says so in Connection.
        .with("Connection", "Upgrade")
        .with("Sec-WebSocket-Version", "13")
}

fn asset(head: &RequestHead<'_>, path: &str, cx: &Context<'_>) -> Reply {
    let Some(asset) = cx.pages.asset(path) else {
        return Reply::error(Code::NotFound, "there is no such file");
    };
    let reply = |status, body| Reply::new(status, asset.content_type, body);
    let reply = if is_known(head, asset.etag) { reply(304, &b""[..]) } else { reply(200, asset.bytes) };
    reply
        .with("ETag", asset.etag)
        .with("Cache-Control", "no-cache")
        .with("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
        .with("Referrer-Policy", "no-referrer")
}

fn channel(head: &RequestHead<'_>, encoded: &str, cx: &Context<'_>) -> Result<Action, Reply> {
    let name = channel_name(encoded)?;
    if let Some(handshake) = upgrade(head, cx)? {
        return raw(head, name, handshake);
    }
    match head.method {
        "POST" => {
            plain_name(&name)?;
            let content = content(head.header("content-type"));
            let key = head.header("idempotency-key").map(str::to_owned);
            Ok(Action::Publish { channel: name, content, key })
        }
        "GET" | "HEAD" if accepts(head, "text/event-stream") => events(head, name),
        "GET" | "HEAD" if prefers_page(head) => {
            Ok(Action::Answer(asset(head, "/", cx).with("Vary", "Accept")))
        }
        "GET" | "HEAD" => {
            plain_name(&name)?;
            let options = Options::read(head)?;
            Ok(Action::History { channel: name, past: Past { last: options.last, since: options.since } })
        }
        _ => Err(method_not_allowed("GET, HEAD, POST, OPTIONS")),
    }
}

/// The name in a path: percent-encoding undone, except for a slash, which would make two names of one path.
fn channel_name(encoded: &str) -> Result<String, Reply> {
    let bad = |why: &str| Reply::error(Code::BadRequest, why);
    if encoded.as_bytes().windows(3).any(|triple| triple.eq_ignore_ascii_case(b"%2f")) {
        return Err(bad("%2F in a channel name: write the slash as it is"));
    }
    let name =
        wire::percent_decode(encoded).ok_or_else(|| bad("the channel name is not percent-encoded UTF-8"))?;
    if is_pattern(&name) {
        return Ok(name);
    }
    plain_name(&name)?;
    Ok(name)
}

fn plain_name(name: &str) -> Result<(), Reply> {
    if is_pattern(name) {
        return Err(Reply::error(
            Code::BadRequest,
            "this takes a channel, not a pattern: only an event stream hears patterns",
        ));
    }
    check_name(name).map_err(|error| Reply::error(Code::BadRequest, &format!("channel name: {error}")))
}

fn events(head: &RequestHead<'_>, name: String) -> Result<Action, Reply> {
    let options = Options::read(head)?;
    if is_pattern(&name) {
        if options.since.is_some() || options.last.is_some() {
            return Err(Reply::error(Code::BadRequest, "since and last take a channel, not a pattern"));
        }
        let subscribe = Subscribe { start: Start::Live, own: options.own, slow: options.slow };
        return Ok(Action::Events { name, form: Form::PatternEvent, subscribe });
    }
    let mut start = options.start();
    // WHATWG HTML, 9.2.4: a browser that comes back says what it heard last; that is newer than the page's own wish.
    if let Some(id) = head.header("last-event-id").filter(|id| !id.is_empty()) {
        start = Start::Since(parse_since(id).map_err(|_| {
            Reply::error(Code::BadRequest, "Last-Event-ID is not a position such as k3f:118")
        })?);
    }
    Ok(Action::Events {
        name,
        form: Form::Event,
        subscribe: Subscribe { start, own: options.own, slow: options.slow },
    })
}

fn raw(head: &RequestHead<'_>, channel: String, handshake: Handshake) -> Result<Action, Reply> {
    plain_name(&channel)?;
    let options = Options::read(head)?;
    if !options.hears && !options.publishes {
        return Err(Reply::error(Code::BadRequest, "sub=0 and pub=0 together leave nothing to do"));
    }
    let subscribe = Subscribe { start: options.start(), own: options.own, slow: options.slow };
    Ok(Action::Raw {
        handshake,
        channel,
        publishes: options.publishes,
        subscribe: options.hears.then_some(subscribe),
    })
}

/// The options of a query.
struct Options {
    since: Option<Position>,
    last: Option<u64>,
    slow: Slow,
    own: bool,
    hears: bool,
    publishes: bool,
}

impl Options {
    fn read(head: &RequestHead<'_>) -> Result<Self, Reply> {
        let bad = |why: &str| Reply::error(Code::BadRequest, why);
        let mut options =
            Options { since: None, last: None, slow: Slow::All, own: true, hears: true, publishes: true };
        for (key, value) in wire::query_pairs(head.query) {
            match key.as_str() {
                "since" => options.since = Some(parse_since(&value).map_err(bad)?),
                "last" => options.last = Some(value.parse().map_err(|_| bad("last takes a whole number"))?),
                "slow" => {
                    options.slow = match value.as_str() {
                        "all" => Slow::All,
                        "latest" => Slow::Latest,
                        "close" => Slow::Close,
                        _ => return Err(bad("slow takes all, latest or close")),
                    };
                }
                "self" => options.own = flag(&value).ok_or_else(|| bad("self takes 0 or 1"))?,
                "sub" => options.hears = flag(&value).ok_or_else(|| bad("sub takes 0 or 1"))?,
                "pub" => options.publishes = flag(&value).ok_or_else(|| bad("pub takes 0 or 1"))?,
                // As in objects, what is not known is ignored.
                _ => {}
            }
        }
        Ok(options)
    }

    fn start(&self) -> Start {
        match (self.since, self.last) {
            (Some(since), _) => Start::Since(since),
            (None, Some(count)) => Start::Last(count),
            (None, None) => Start::Live,
        }
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "0" | "false" => Some(false),
        "1" | "true" => Some(true),
        _ => None,
    }
}

/// What a Content-Type says of a payload: the media type alone, without its parameters.
fn content(content_type: Option<&str>) -> Content {
    let media = content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if media == "application/json" || media.ends_with("+json") {
        Content::Json
    } else if media.starts_with("text/") {
        Content::Text
    } else if media == "application/octet-stream" {
        Content::Binary
    } else {
        Content::Either
    }
}

/// The media ranges of Accept that are acceptable, in order, with their weights (RFC 9110, 12.4.2).
fn accepted<'a>(head: &'a RequestHead<'_>) -> impl Iterator<Item = (String, f32)> + 'a {
    head.header_all("accept").flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('='));
        // What is no weight is none.
        let weight = weight.and_then(|weight| weight.trim().parse().ok()).unwrap_or(1.0);
        (weight > 0.0).then_some((media, weight))
    })
}

pub(crate) fn accepts(head: &RequestHead<'_>, media: &str) -> bool {
    accepted(head).any(|(range, _)| range == media)
}

/// A browser would rather have HTML than anything else that could be sent; a program asks for JSON or takes anything.
fn prefers_page(head: &RequestHead<'_>) -> bool {
    let known = accepted(head)
        .filter(|(range, _)| matches!(range.as_str(), "text/html" | "application/json" | "*/*"));
    // The first of those with the greatest weight.
    let best = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.is_some_and(|(range, _)| range == "text/html")
}

/// Whether the client has a file with this tag already (RFC 9110, 13.1.2).
fn is_known(head: &RequestHead<'_>, etag: &str) -> bool {
    head.header_all("if-none-match")
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
