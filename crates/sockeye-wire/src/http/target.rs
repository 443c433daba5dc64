//! Request targets and hosts, and what is percent-encoded in them (RFC 9112, 3.2; RFC 3986).
//!
//! Normalizing paths is absent: `.` and `..` are refused as channel levels, and nothing else has them.

use std::borrow::Cow;

use super::HttpError;

/// A request target, taken apart.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Of the absolute form only.
    pub(super) authority: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

pub(super) fn split_target<'a>(method: &str, target: &'a str) -> Result<Target<'a>, HttpError> {
    // RFC 9112, 3.2: a target has neither white space nor a fragment, and is ASCII.
    if target.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err(HttpError::new(400, "the request target has a bad character"));
    }
    if target.starts_with('/') {
        return Ok(Target::new(None, target));
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(Target::new(None, target));
    }
    // RFC 9112, 3.2.2: a server accepts the absolute form in requests.
    let Some(rest) = strip_scheme(target, "http://").or_else(|| strip_scheme(target, "https://")) else {
        return Err(HttpError::new(400, "the request target is neither a path nor an http address"));
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.is_empty() {
        return Err(HttpError::new(400, "the request target has no host"));
    }
    check_host(authority)?;
    let mut target = Target::new(Some(authority), path);
    if target.path.is_empty() {
        target.path = "/";
    }
    Ok(target)
}

impl<'a> Target<'a> {
    fn new(authority: Option<&'a str>, target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { authority, path, query }
    }
}

/// Checks a host with an optional port (RFC 9110, 7.2), more strictly than RFC 3986: names are letters, digits, `-`,
/// `.`, `_` and `~`, so that lists, user names and encoded characters are refused. Empty is left to the caller.
pub(super) fn check_host(host: &str) -> Result<(), HttpError> {
    let bad = || HttpError::new(400, "the Host has a bad character");
    let port = if let Some(literal) = host.strip_prefix('[') {
        let (address, port) = literal.split_once(']').ok_or_else(bad)?;
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(HttpError::new(400, "the Host has a bad IPv6 address"));
        }
        if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) }
    } else {
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            return Err(bad());
        }
        if name.is_empty() && port.is_some() {
            return Err(HttpError::new(400, "the Host has a port only"));
        }
        port
    };
    // RFC 3986, 3.2.3: a port may be empty.
    match port {
        None | Some("") => Ok(()),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok() => Ok(()),
        Some(_) => Err(HttpError::new(400, "the Host has a bad port")),
    }
}

/// Undoes percent-encoding (RFC 3986, 2.1). `None` if an escape is malformed or the result is not UTF-8; `+` stays.
#[must_use]
pub fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push((digit(digits[0])? << 4 | digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

/// The pairs of a query, decoded; in a query `+` is a space. A pair that cannot be decoded is left out.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((percent_decode(&with_spaces(key))?, percent_decode(&with_spaces(value))?))
    })
}

fn with_spaces(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) }
}

fn strip_scheme<'a>(target: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}
