//! Where tokens come from, and what becomes of them: a client that is known, or a refusal that is always the same.
//!
//! HTTP shows a token with each request, everything else once, and again to renew it. Deliberately absent: what makes a
//! token good (the shell's [`TokenCheck`]) and what its owner may do (the hub).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use sockeye_hub::{ClientId, Identity, Now};
use sockeye_wire::http::{self as wire, RequestHead};
use sockeye_wire::json::{self, Code};

use crate::answer;
use crate::context::Context;
use crate::protocol::Transport;
use crate::reply::Reply;
use crate::request::Objects;
use crate::route;

/// Knows tokens. One for all shards; it may come to know others while the server runs.
pub trait TokenCheck: fmt::Debug + Send + Sync {
    /// Says who shows a token; `None` refuses it.
    fn verify(&self, token: &str, now: Now) -> Option<Identity>;
    /// What somebody is who shows none.
    fn anonymous(&self) -> Arc<Identity>;
    /// Changes whenever what is known changes.
    fn generation(&self) -> u64;
    /// What somebody is now who has shown the token of this credential; `None` if it is not known any more.
    fn known_again(&self, credential: u64) -> Option<Identity>;
}

/// The subprotocol beside which a browser offers its token, and which the server chooses.
pub(crate) const SUBPROTOCOL: &str = "sockeye";
/// What a token has before it among the subprotocols.
const SUBPROTOCOL_TOKEN: &str = "bearer.";

/// What a refused token is answered with, whatever is wrong with it.
pub(crate) const REFUSED: &str = "the token was refused";

/// Lets a request in, and makes its connection what its token says. Counts in `refused` how many tokens were refused in a
/// row. What is answered at once is not cut off when the token ends; for a stream or a socket, see [`keep_end`], which
/// takes what this returns.
pub(crate) fn admit(
    client: ClientId,
    head: &RequestHead<'_>,
    transport: Transport,
    refused: &mut u32,
    cx: &mut Context<'_>,
) -> Result<Option<u64>, Reply> {
    route::check_caller(head, transport, cx)?;
    let Some(tokens) = cx.site.tokens.as_deref() else { return Ok(None) };
    let token = find(head).map_err(|why| {
        let challenge = "Bearer realm=\"sockeye\", error=\"invalid_request\"";
        Reply::error(Code::BadRequest, why).with("WWW-Authenticate", challenge)
    })?;
    let Some(token) = token else {
        // The request before this one on the same connection may have shown a token.
        let anonymous = cx.hub.anonymous().cloned();
        cx.hub.authorize(client, anonymous, cx.now);
        return check_page(client, head, cx).map(|()| None);
    };
    let Some(mut identity) = tokens.verify(&token, cx.now) else {
        *refused += 1;
        return Err(Reply::refusal(Code::Unauthorized.http_status(), Code::Unauthorized, REFUSED)
            .with("WWW-Authenticate", "Bearer realm=\"sockeye\", error=\"invalid_token\""));
    };
    *refused = 0;
    let expires_ms = identity.expires_ms.take();
    cx.hub.authorize(client, Some(Arc::new(identity)), cx.now);
    check_page(client, head, cx).map(|()| expires_ms)
}

/// What the request asks for lasts: it ends with the token that was shown for it.
pub(crate) fn keep_end(client: ClientId, expires_ms: u64, cx: &mut Context<'_>) {
    if let Some(identity) = cx.hub.identity(client) {
        let identity = Identity { expires_ms: Some(expires_ms), ..(**identity).clone() };
        cx.hub.authorize(client, Some(Arc::new(identity)), cx.now);
    }
}

/// The figures are for those who may hear them, too.
fn check_page(client: ClientId, head: &RequestHead<'_>, cx: &Context<'_>) -> Result<(), Reply> {
    if head.path != "/metrics" {
        return Ok(());
    }
    cx.hub.check_hearing(client, "$sys/stats").map_err(|refusal| {
        let why = refusal.why.replace("hearing $sys/", "reading /metrics");
        Reply::error(answer::code_of(refusal.code), &why)
    })
}

/// The one token of a request.
fn find<'h>(head: &'h RequestHead<'_>) -> Result<Option<Cow<'h, str>>, &'static str> {
    let mut found: Option<Cow<'h, str>> = None;
    let mut add = |token: Cow<'h, str>| {
        // RFC 6750, 2: clients must not use more than one method in each request.
        if found.replace(token).is_some() {
            return Err("more than one token: show it in Authorization, in token= or as a subprotocol, once");
        }
        Ok(())
    };
    for value in head.header_all("authorization") {
        // Another scheme is somebody else's, such as a proxy's.
        if let Some((scheme, token)) = value.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            add(Cow::Borrowed(token.trim()))?;
        }
    }
    for (name, value) in wire::query_pairs(head.query) {
        if name == "token" {
            add(Cow::Owned(value))?;
        }
    }
    for value in head.header_all("sec-websocket-protocol") {
        for offered in value.split(',') {
            if let Some(token) = offered.trim().strip_prefix(SUBPROTOCOL_TOKEN) {
                add(Cow::Borrowed(token))?;
            }
        }
    }
    Ok(found)
}

/// A token was shown in an object. Where nobody is asked for one it means nothing. Returns whether the connection goes on,
/// and what the client is from then on; the caller answers first and lets it take effect then.
pub(crate) fn check(
    objects: &mut Objects,
    client: ClientId,
    id: Option<&str>,
    token: &str,
    cx: &mut Context<'_>,
) -> Shown {
    let Some(tokens) = cx.site.tokens.as_deref() else { return Shown::Meaningless };
    match tokens.verify(token, cx.now) {
        Some(identity) => {
            objects.refused_tokens = 0;
            Shown::Known(Arc::new(identity))
        }
        None => {
            objects.say(client, cx, |out| json::write_error(out, id, Code::Unauthorized, REFUSED, false));
            objects.refused_tokens += 1;
            Shown::Refused { goes_on: objects.refused_tokens < cx.limits.unreadable_max }
        }
    }
}

/// What came of a token in an object.
pub(crate) enum Shown {
    /// The server asks nobody for a token.
    Meaningless,
    /// Somebody.
    Known(Arc<Identity>),
    /// The refusal was said.
    Refused {
        /// Whether it was not one too many.
        goes_on: bool,
    },
}

/// Appends to an answer who the client is, and how long.
pub(crate) fn write_identity(out: &mut Vec<u8>, identity: Option<&Identity>, now: Now) {
    let Some(identity) = identity else { return };
    if let Some(user) = &identity.user {
        out.extend_from_slice(b",\"user\":");
        json::write_string(out, user);
    }
    if let Some(expires_ms) = identity.expires_ms {
        let in_ms = expires_ms.saturating_sub(now.ms);
        out.extend_from_slice(format!(",\"expires_ms\":{in_ms}").as_bytes());
    }
}
