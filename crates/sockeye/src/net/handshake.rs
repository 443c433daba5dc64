//! The opening handshake of a WebSocket (RFC 6455, 4), on any stream, both sides of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sockeye_wire::http::{HeadLimits, ResponseHead, parse_head};
use sockeye_wire::websocket::{
    ALONE_WINDOW_BITS, Deflate, DeflateOffer, DeflateTerms, UpgradeResponseError, parse_upgrade_response,
    request_key, verify_upgrade, write_accept, write_upgrade_request,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::der::unix_now;
use super::http::{LINE_TIMEOUT, RefusalWords};
use super::option::message_bytes_max;
use super::resolve::step;
use super::transport::Transport;
use super::websocket::{End, WebSocket, random};
use super::{Error, ErrorKind, Result};
use crate::address::{Address, Base, HostPort};

/// Messages of ours stand alone when they are compressed, so that a connection keeps no compressor; the peer's may refer
/// to each other.
const OFFER: DeflateOffer = DeflateOffer {
    server_no_context_takeover: false,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: Some(None),
};

/// What a listener agrees to: the same in both directions, and nothing to keep between two messages.
const TERMS: DeflateTerms = DeflateTerms { takeover: false, window_bits_max: ALONE_WINDOW_BITS };

/// What a client asks for.
struct Target {
    host: String,
    path: String,
}

/// Asks for a WebSocket.
pub(super) async fn connect(
    address: &Address,
    mut transport: Transport,
    headers: &[(String, String)],
) -> Result<WebSocket> {
    let failed = |why: String| {
        Error::new(ErrorKind::Refused, address.shown(), format!("the WebSocket handshake failed: {why}"))
    };
    let target = target(address);
    let key = request_key(random());
    let subprotocols: Vec<&str> =
        address.options.subprotocol.iter().flat_map(|list| &list.0).map(String::as_str).collect();
    let mut own: Vec<(String, String)> = Vec::new();
    if !subprotocols.is_empty() {
        own.push(("Sec-WebSocket-Protocol".into(), subprotocols.join(", ")));
    }
    if let Some(origin) = &address.options.origin {
        own.push(("Origin".into(), origin.clone()));
    }
    own.extend(authorization(address)?);
    let all: Vec<(&str, &str)> =
        own.iter().chain(headers).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let offer = (address.options.deflate == Some(true)).then_some(OFFER);
    let mut request = Vec::new();
    write_upgrade_request(&mut request, &target.host, &target.path, &key, &all, offer.as_ref())
        .map_err(|error| Error::usage(address, error.to_string()))?;

    let exchange = async {
        transport.write_all(&request).await?;
        transport.flush().await?;
        let mut answer = Vec::with_capacity(1_024);
        loop {
            if transport.read_buf(&mut answer).await? == 0 {
                return Ok((answer, None));
            }
            match parse_upgrade_response(&answer, &key, &subprotocols, offer.as_ref()) {
                Ok(None) => {}
                Ok(Some(response)) => {
                    let subprotocol = response.subprotocol.map(str::to_owned);
                    let parts = (response.head_bytes, subprotocol, response.deflate);
                    return Ok((answer, Some(Ok(parts))));
                }
                Err(error) => return Ok((answer, Some(Err(error)))),
            }
        }
    };
    let outcome: std::io::Result<_> = step(address, "the WebSocket handshake", exchange).await?;
    match outcome.map_err(|error| Error::system(address.shown(), "the WebSocket handshake failed", error))? {
        (mut answer, Some(Ok((head_bytes, subprotocol, deflate)))) => {
            answer.drain(..head_bytes);
            Ok(WebSocket::new(
                transport,
                End::Client,
                answer,
                message_bytes_max(&address.options),
                subprotocol,
                deflate,
            ))
        }
        (answer, Some(Err(error))) => {
            let words = match &error {
                UpgradeResponseError::Status { status: 400.., .. } => words(&mut transport, answer).await,
                _ => String::new(),
            };
            let hint = match &error {
                UpgradeResponseError::Status { status: 401 | 403, .. } => {
                    "the server wants to know who asks (token=env:NAME), or from where (origin=URL)"
                }
                UpgradeResponseError::Status { status: 404, .. } => "is the path right?",
                UpgradeResponseError::Status { status: 300..=399, .. } => {
                    "it redirects: give the final address"
                }
                UpgradeResponseError::NotHttp(_) => {
                    "does the server speak WebSocket on that port, and without TLS?"
                }
                _ => "is that a WebSocket server?",
            };
            let status = match &error {
                UpgradeResponseError::Status { status, .. } => Some(*status),
                _ => None,
            };
            let refused = failed(format!("{error}{words}")).with_http_status(status);
            let is_explained = !words.is_empty() && !matches!(status, Some(401 | 403 | 404));
            Err(if is_explained { refused } else { refused.with_hint(hint) })
        }
        (answer, None) if answer.is_empty() => {
            Err(failed("the server closed the connection without an answer".into())
                .with_hint("does it speak WebSocket on that port, and without TLS?"))
        }
        (_, None) => Err(failed("the server closed the connection in the middle of its answer".into())),
    }
}

/// What a server says about its refusal, of which the beginning was received.
async fn words(transport: &mut Transport, answer: Vec<u8>) -> String {
    let Some(mut words) = RefusalWords::begin(answer) else { return String::new() };
    let rest = async {
        let mut received = Vec::with_capacity(1_024);
        while !words.push(&received) {
            received.clear();
            if !matches!(transport.read_buf(&mut received).await, Ok(1..)) {
                return;
            }
        }
    };
    // What came in that time is shown.
    let _ = tokio::time::timeout(LINE_TIMEOUT, rest).await;
    words.suffix()
}

/// The host and path that an address asks for.
fn target(address: &Address) -> Target {
    let options = &address.options;
    match &address.base {
        Base::WebSocket(url) => {
            Target { host: authority(&url.server, if url.secure { 443 } else { 80 }), path: url.path.clone() }
        }
        Base::Channel { server, channel } => {
            let port = if address.layers.is_empty() { 80 } else { 443 };
            Target { host: authority(server, port), path: super::channel::path(channel, options) }
        }
        base => {
            let host = options.host.clone().unwrap_or_else(|| match base {
                Base::Tcp(at) | Base::Tls(at) if !at.host.is_empty() => authority(at, 80),
                _ => "localhost".into(),
            });
            let path = options.path.clone().unwrap_or_else(|| "/".into());
            Target { host, path: if path.starts_with('/') { path } else { format!("/{path}") } }
        }
    }
}

/// RFC 9110, 7.2: the port is left out where it is the scheme's own. A zone is of no concern to the server (RFC 6874).
pub(crate) fn authority(at: &HostPort, scheme_port: u16) -> String {
    let host = at.without_zone();
    let host = if host.is_empty() { "localhost" } else { host };
    match (at.port == scheme_port, host.contains(':')) {
        (true, true) => format!("[{host}]"),
        (true, false) => host.to_owned(),
        _ => HostPort { host: host.to_owned(), port: at.port }.to_string(),
    }
}

/// Who asks: a bearer token (RFC 6750), or a name with a password (RFC 7617).
pub(super) fn authorization(address: &Address) -> Result<Option<(String, String)>> {
    let options = &address.options;
    let read = |option: &str, source: &crate::address::Source| {
        let secret = source.read().map_err(|error| Error::unreadable(address, option, &error))?;
        let text = secret.as_text().map(str::to_owned);
        text.ok_or_else(|| Error::usage(address, format!("{option}: {source} is not UTF-8")))
    };
    let value = match (&options.token, &options.user) {
        (Some(token), _) => format!("Bearer {}", read("token", token)?),
        (None, Some(user)) => {
            let password = match &options.password {
                Some(password) => read("password", password)?,
                None => String::new(),
            };
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(("Authorization".into(), value)))
}

/// Answers a request for a WebSocket. The path is the address's own, if it is not `/`; a token, an origin and
/// subprotocols of the address are demanded of the client.
pub(super) async fn accept(address: &Address, mut transport: Transport) -> Result<WebSocket> {
    let demanded = authorization(address)?.map(|(_, value)| value);
    let exchange = async {
        let limits = HeadLimits::default();
        let mut request = Vec::with_capacity(1_024);
        loop {
            if transport.read_buf(&mut request).await? == 0 {
                return Ok(Err("the client closed the connection before its request was whole".into()));
            }
            let verdict = match parse_head(&request, &limits) {
                Ok(None) => continue,
                Ok(Some((head, head_bytes))) => {
                    judge(address, &head, demanded.as_deref()).map(|accepted| (accepted, head_bytes))
                }
                Err(error) => Err((error.status, error.why.into_owned())),
            };
            match verdict {
                Ok((accepted, head_bytes)) => {
                    let mut answer = Vec::new();
                    let (subprotocol, deflate) = (accepted.subprotocol.as_deref(), accepted.deflate.as_ref());
                    write_accept(&mut answer, &accepted.key, subprotocol, deflate);
                    transport.write_all(&answer).await?;
                    transport.flush().await?;
                    request.drain(..head_bytes);
                    return Ok(Ok((request, accepted)));
                }
                Err((status, why)) => {
                    refuse(&mut transport, status, &why).await?;
                    return Ok(Err(format!("the client was refused with {status}: {why}")));
                }
            }
        }
    };
    let outcome: std::io::Result<std::result::Result<_, String>> =
        step(address, "the WebSocket handshake", exchange).await?;
    match outcome.map_err(|error| Error::system(address.shown(), "the WebSocket handshake failed", error))? {
        Ok((rest, accepted)) => Ok(WebSocket::new(
            transport,
            End::Server,
            rest,
            message_bytes_max(&address.options),
            accepted.subprotocol,
            accepted.deflate,
        )),
        Err(why) => Err(Error::new(ErrorKind::Refused, address.shown(), why)),
    }
}

struct Accepted {
    key: String,
    subprotocol: Option<String>,
    deflate: Option<Deflate>,
}

fn judge(
    address: &Address,
    head: &sockeye_wire::http::RequestHead<'_>,
    demanded: Option<&str>,
) -> std::result::Result<Accepted, (u16, String)> {
    let headers = head.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let upgrade = match verify_upgrade(head.method, head.minor, headers) {
        Ok(Some(upgrade)) => upgrade,
        Ok(None) => return Err((426, "this is a WebSocket server: ask for an upgrade".into())),
        Err(error) => return Err((error.status, error.why.into())),
    };
    let wanted = target(address).path;
    let wanted = wanted.split('?').next().unwrap_or_default();
    if wanted != "/" && head.path != wanted {
        return Err((404, "there is nothing here".into()));
    }
    if demanded.is_some() && head.header("authorization") != demanded {
        return Err((401, "say who you are".into()));
    }
    if let Some(origin) = &address.options.origin
        && head.header("origin") != Some(origin)
    {
        return Err((403, "this origin is not admitted".into()));
    }
    let spoken = address.options.subprotocol.iter().flat_map(|list| &list.0);
    let subprotocol =
        spoken.into_iter().find(|spoken| upgrade.subprotocols.contains(&spoken.as_str())).cloned();
    let is_wanted = address.options.deflate == Some(true);
    let deflate = is_wanted.then(|| DeflateOffer::accept(&upgrade.deflate, TERMS)).flatten();
    Ok(Accepted { key: upgrade.key.to_owned(), subprotocol, deflate })
}

async fn refuse(transport: &mut Transport, status: u16, why: &str) -> std::io::Result<()> {
    let body = format!("{why}\n");
    let mut answer = Vec::new();
    let mut head = ResponseHead::new(status)
        .date(unix_now().unsigned_abs() * 1_000)
        .header("Content-Type", "text/plain; charset=utf-8");
    if status == 426 {
        // RFC 9110, 15.5.22 and RFC 6455, 4.2.2: what would be spoken instead.
        head = head.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    }
    if status == 401 {
        // RFC 9110, 15.5.2: the challenge is not optional.
        head = head.header("WWW-Authenticate", "Bearer");
    }
    head.length(body.len() as u64).close().write(&mut answer);
    answer.extend_from_slice(body.as_bytes());
    transport.write_all(&answer).await?;
    transport.shutdown().await
}
