//! The opening handshake (RFC 6455, 4): the one HTTP exchange after which frames begin.
//!
//! A server parses the request as HTTP first (`http`), gives the method, version and headers to [`verify_upgrade`] and
//! answers with [`write_accept`]. A client writes [`write_upgrade_request`] and reads [`parse_upgrade_response`].
//!
//! Deliberately absent: extensions other than compression, the `Origin` and `Host` headers (whom to admit is the
//! gateway's decision), redirects and authentication.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1_smol::Sha1;

use super::extension::{self, Deflate, DeflateOffer};

/// RFC 6455, 1.3: what is appended to a key before it is hashed.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Subprotocols that one request may offer; more are refused.
pub(super) const SUBPROTOCOLS_MAX: usize = 32;

/// The head of a response that is not complete within this many bytes is refused.
pub(super) const RESPONSE_HEAD_BYTES_MAX: usize = crate::http::ANSWER_HEAD_BYTES_MAX;

/// Headers that a response may have; more are refused.
const RESPONSE_HEADERS_MAX: usize = 64;

/// A request to become a WebSocket that obeys RFC 6455.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// What [`write_accept`] answers to.
    pub key: &'a str,
    /// What the client would like to speak, its favourite first.
    pub subprotocols: Vec<&'a str>,
    /// How the client would like messages to be compressed, its favourite first; none if it would not.
    pub deflate: Vec<DeflateOffer>,
}

/// Why a request to upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct UpgradeError {
    /// The HTTP status: 400, or 426, whose response carries `Upgrade: websocket` and `Sec-WebSocket-Version: 13`.
    pub status: u16,
    /// The reason, for people.
    pub why: &'static str,
}

/// Checks whether a request asks for a WebSocket, and whether it does so by RFC 6455, 4.2.1. `Ok(None)`: it does not ask.
///
/// `minor` is the second digit of the HTTP version, and `headers` are all headers in the order received, their values as
/// `str` or `[u8]`.
///
/// # Errors
///
/// [`UpgradeError`], if it asks and must not get one.
///
/// # Examples
///
/// ```
/// use sockeye_wire::websocket::verify_upgrade;
///
/// let headers = [
///     ("Host", "localhost"),
///     ("Upgrade", "websocket"),
///     ("Connection", "keep-alive, Upgrade"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
///     ("Sec-WebSocket-Version", "13"),
/// ];
/// let upgrade = verify_upgrade("GET", 1, headers)?.expect("an upgrade is asked for");
/// assert_eq!(upgrade.key, "dGhlIHNhbXBsZSBub25jZQ==");
/// # Ok::<(), sockeye_wire::websocket::UpgradeError>(())
/// ```
pub fn verify_upgrade<'a, V: AsRef<[u8]> + ?Sized + 'a>(
    method: &str,
    minor: u8,
    headers: impl IntoIterator<Item = (&'a str, &'a V)>,
) -> Result<Option<Upgrade<'a>>, UpgradeError> {
    const BAD_REQUEST: u16 = 400;
    const UPGRADE_REQUIRED: u16 = 426;
    let refuse = |status, why| Err(UpgradeError { status, why });

    let (mut asks, mut connection, mut has_body) = (false, false, false);
    let (mut keys, mut versions) = (Once::default(), Once::default());
    let mut subprotocols = Vec::new();
    let mut subprotocols_are_bad = false;
    let mut deflate = Vec::new();
    let mut extensions_are_bad = false;
    for (name, value) in headers {
        let value = value.as_ref().trim_ascii();
        if name.eq_ignore_ascii_case("upgrade") {
            asks |= elements(value).any(|element| element.eq_ignore_ascii_case(b"websocket"));
        } else if name.eq_ignore_ascii_case("connection") {
            connection |= elements(value).any(|element| element.eq_ignore_ascii_case(b"upgrade"));
        } else if name.eq_ignore_ascii_case("sec-websocket-key") {
            keys.set(value);
        } else if name.eq_ignore_ascii_case("sec-websocket-version") {
            versions.set(value);
        } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            for element in elements(value) {
                match token(element) {
                    Some(subprotocol) if subprotocols.len() < SUBPROTOCOLS_MAX => {
                        subprotocols.push(subprotocol)
                    }
                    _ => subprotocols_are_bad = true,
                }
            }
        } else if name.eq_ignore_ascii_case("sec-websocket-extensions") {
            extensions_are_bad |= !extension::read_offers(value, &mut deflate);
        } else if name.eq_ignore_ascii_case("content-length") {
            has_body |= value != b"0";
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            has_body = true;
        }
    }

    // RFC 9110, 7.8: a server must ignore an Upgrade header in an HTTP/1.0 request.
    if !asks || minor == 0 {
        return Ok(None);
    }
    if method != "GET" {
        return refuse(BAD_REQUEST, "a websocket is asked for with GET");
    }
    if !connection {
        return refuse(BAD_REQUEST, "the connection header does not name upgrade");
    }
    if has_body {
        // What follows the head would be a body to one reader and frames to another.
        return refuse(
            BAD_REQUEST,
            "a request for a websocket has no body: send it without content-length and transfer-encoding",
        );
    }
    // RFC 6455, 4.2.2: a version that is not spoken is answered by 426 and the one that is.
    if versions.get() != Some(b"13") {
        return refuse(UPGRADE_REQUIRED, "the websocket version must be 13");
    }
    let Some(key) = keys.get().and_then(key_text) else {
        return refuse(BAD_REQUEST, "sec-websocket-key must be one value of 16 bytes in base64");
    };
    if subprotocols_are_bad {
        return refuse(BAD_REQUEST, "sec-websocket-protocol must be at most 32 tokens");
    }
    // RFC 6455, 9.1: what does not follow the grammar fails the connection.
    if extensions_are_bad {
        return refuse(BAD_REQUEST, "sec-websocket-extensions must be a list of extensions with parameters");
    }
    Ok(Some(Upgrade { key, subprotocols, deflate }))
}

/// Computes the answer to a key: `Sec-WebSocket-Accept`, 28 characters of base64 (RFC 6455, 4.2.2, 5.4).
pub fn accept_key(key: &str) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    let mut accept = [0; 28];
    STANDARD.encode_slice(hash.digest().bytes(), &mut accept).expect("20 bytes are 28 characters of base64");
    accept
}

/// Appends the response after which frames follow. `subprotocol` is one of those that were offered, `deflate` what was
/// accepted of the offers.
pub fn write_accept(out: &mut Vec<u8>, key: &str, subprotocol: Option<&str>, deflate: Option<&Deflate>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    if let Some(subprotocol) = subprotocol {
        debug_assert!(token(subprotocol.as_bytes()).is_some(), "{subprotocol:?} cannot have been offered");
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    if let Some(deflate) = deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        deflate.write(out);
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Makes a client's key of a nonce, which must be random for each connection (RFC 6455, 4.1).
pub fn request_key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// Why a request cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeRequestError {
    /// The host is empty or has white space or control characters in it.
    #[error("{0:?} cannot be a host")]
    Host(String),
    /// The path does not begin with `/`, or has white space or control characters in it.
    #[error("{0:?} cannot be a path")]
    Path(String),
    /// A header's name is not a token, or is one that the handshake writes itself.
    #[error("{0:?} cannot be a header's name")]
    HeaderName(String),
    /// A header's value has control characters in it.
    #[error("the value of header {0:?} has control characters in it")]
    HeaderValue(String),
}

/// Appends a client's request (RFC 6455, 4.1). `path` includes the query; subprotocols are offered by a header
/// `Sec-WebSocket-Protocol` among `headers`. If compression is offered, the same offer reads the response.
///
/// # Errors
///
/// [`UpgradeRequestError`], if a part would break the request; nothing is appended then.
pub fn write_upgrade_request(
    out: &mut Vec<u8>,
    host: &str,
    path: &str,
    key: &str,
    headers: &[(&str, &str)],
    deflate: Option<&DeflateOffer>,
) -> Result<(), UpgradeRequestError> {
    const OWN_HEADERS: [&str; 6] = [
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
    ];

    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UpgradeRequestError::Host(host.to_owned()));
    }
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UpgradeRequestError::Path(path.to_owned()));
    }
    for (name, value) in headers {
        let is_own = OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own));
        if is_own || token(name.as_bytes()).is_none() {
            return Err(UpgradeRequestError::HeaderName((*name).to_owned()));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(UpgradeRequestError::HeaderValue((*name).to_owned()));
        }
    }

    for part in ["GET ", path, " HTTP/1.1\r\nHost: ", host] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13");
    out.extend_from_slice(b"\r\nSec-WebSocket-Key: ");
    out.extend_from_slice(key.as_bytes());
    if let Some(offer) = deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        offer.write(out);
    }
    for (name, value) in headers {
        for part in ["\r\n", name, ": ", value] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

/// A server's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeResponse<'a> {
    /// The length of the response: frames begin behind it.
    pub head_bytes: usize,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<&'a str>,
    /// How messages are compressed, if they are.
    pub deflate: Option<Deflate>,
}

/// Why a response is not a server's consent (RFC 6455, 4.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeResponseError {
    /// It is not HTTP.
    #[error("the response is not http: {0}")]
    NotHttp(httparse::Error),
    /// It is another answer: a refusal, a redirect, a page.
    #[error("the server answered {status} {reason}")]
    Status {
        /// The status.
        status: u16,
        /// The server's phrase for it.
        reason: String,
    },
    /// A header that must be there is not, or has another value.
    #[error("the response has no valid {0} header")]
    Header(&'static str),
    /// `Sec-WebSocket-Accept` does not fit the key: whoever answered did not read the request.
    #[error("the response does not answer the key that was sent")]
    WrongAccept,
    /// The server wants an extension that was not offered, or offered otherwise.
    #[error("the server uses extension {0:?}, which was not offered so")]
    Extension(String),
    /// The server chose a subprotocol that was not offered.
    #[error("the server chose subprotocol {0:?}, which was not offered")]
    Subprotocol(String),
    /// The head does not end within 16 KiB.
    #[error("the response's head is longer than {RESPONSE_HEAD_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads the response to a request that was sent with `key` and offered `subprotocols` and `deflate`. `Ok(None)`: its head is not all
/// there; call again with more behind the same bytes.
///
/// # Errors
///
/// [`UpgradeResponseError`], if the server did not consent by the rules: the connection is no WebSocket.
pub fn parse_upgrade_response<'a>(
    bytes: &'a [u8],
    key: &str,
    subprotocols: &[&str],
    deflate: Option<&DeflateOffer>,
) -> Result<Option<UpgradeResponse<'a>>, UpgradeResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= RESPONSE_HEAD_BYTES_MAX => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < RESPONSE_HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err(UpgradeResponseError::TooLong),
        Err(error) => return Err(UpgradeResponseError::NotHttp(error)),
    };
    let (status, reason) = (response.code.unwrap_or(0), response.reason.unwrap_or(""));
    if status != 101 {
        return Err(UpgradeResponseError::Status { status, reason: reason.to_owned() });
    }

    let (mut upgrade, mut connection) = (false, false);
    let (mut accepts, mut chosen) = (Once::default(), Once::default());
    let mut agreed = None;
    for header in response.headers {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("upgrade") {
            upgrade |= value.eq_ignore_ascii_case(b"websocket");
        } else if header.name.eq_ignore_ascii_case("connection") {
            connection |= elements(value).any(|element| element.eq_ignore_ascii_case(b"upgrade"));
        } else if header.name.eq_ignore_ascii_case("sec-websocket-accept") {
            accepts.set(value);
        } else if header.name.eq_ignore_ascii_case("sec-websocket-protocol") {
            chosen.set(value);
        } else if header.name.eq_ignore_ascii_case("sec-websocket-extensions") {
            // RFC 6455, 9.1: only what was offered, and each extension once.
            for extension in elements(value) {
                let answer = deflate.filter(|_| agreed.is_none()).and_then(|offer| offer.agree(extension));
                if answer.is_none() {
                    let extension = String::from_utf8_lossy(extension).into_owned();
                    return Err(UpgradeResponseError::Extension(extension));
                }
                agreed = answer;
            }
        }
    }
    if !upgrade {
        return Err(UpgradeResponseError::Header("upgrade"));
    }
    if !connection {
        return Err(UpgradeResponseError::Header("connection"));
    }
    match accepts.get() {
        None => return Err(UpgradeResponseError::Header("sec-websocket-accept")),
        Some(accept) if accept != accept_key(key) => return Err(UpgradeResponseError::WrongAccept),
        Some(_) => {}
    }
    let subprotocol = match chosen {
        Once::Never => None,
        Once::At(name) => match token(name) {
            Some(name) if subprotocols.contains(&name) => Some(name),
            _ => return Err(UpgradeResponseError::Subprotocol(String::from_utf8_lossy(name).into_owned())),
        },
        Once::Again => return Err(UpgradeResponseError::Header("sec-websocket-protocol")),
    };
    Ok(Some(UpgradeResponse { head_bytes, subprotocol, deflate: agreed }))
}

/// A header that must not appear more than once (RFC 6455, 11.3).
#[derive(Clone, Copy, Default)]
enum Once<'a> {
    #[default]
    Never,
    At(&'a [u8]),
    Again,
}

impl<'a> Once<'a> {
    fn set(&mut self, value: &'a [u8]) {
        *self = match self {
            Once::Never => Once::At(value),
            Once::At(_) | Once::Again => Once::Again,
        };
    }

    fn get(self) -> Option<&'a [u8]> {
        match self {
            Once::At(value) => Some(value),
            Once::Never | Once::Again => None,
        }
    }
}

/// The elements of a comma-separated list; empty ones are skipped (RFC 9110, 5.6.1.2).
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// RFC 9110, 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn token(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|_| is_token(bytes))
}

/// RFC 6455, 4.2.1, 5: base64 that decodes to 16 bytes, which is 22 characters and two of padding.
fn key_text(bytes: &[u8]) -> Option<&str> {
    let (characters, padding) = bytes.split_at_checked(22)?;
    let is_key = padding == b"=="
        && characters.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    str::from_utf8(bytes).ok().filter(|_| is_key)
}
