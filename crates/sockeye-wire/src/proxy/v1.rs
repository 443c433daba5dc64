//! Version 1: one line of text.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

use super::endpoints::{Endpoints, Transport};
use super::error::ProxyError;
use super::is_begun;

/// Section 2.1: the longest line, `PROXY UNKNOWN` with two full IPv6 addresses and ports, has 107 bytes with its CR LF.
pub(super) const LINE_BYTES_MAX: usize = 107;

const PREFIX: &[u8] = b"PROXY ";

/// Reads a line. It is judged when it is whole, or has become too long.
pub(super) fn decode(input: &[u8]) -> Result<Option<(Endpoints, usize)>, ProxyError> {
    if !is_begun(input, PREFIX) {
        return Err(ProxyError::Missing);
    }
    let window = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < LINE_BYTES_MAX { Ok(None) } else { Err(ProxyError::LineTooLong) };
    };
    // Section 2.1: the line ends with CR LF, and everything after the last byte of it belongs to the connection.
    let line = window[..end].strip_suffix(b"\r").ok_or(ProxyError::Line)?;
    let words = line.strip_prefix(PREFIX).ok_or(ProxyError::Line)?;
    Ok(Some((endpoints(words)?, end + 1)))
}

fn endpoints(words: &[u8]) -> Result<Endpoints, ProxyError> {
    // Section 2.1: what follows UNKNOWN before the CR LF must be ignored.
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Ok(Endpoints::Unknown);
    }
    let words = std::str::from_utf8(words).map_err(|_| ProxyError::Line)?;
    // Exactly one space separates two words, so an empty word is one too many.
    let mut words = words.split(' ');
    let mut next = || words.next().ok_or(ProxyError::Line);
    let (family, source, destination) = (next()?, next()?, next()?);
    let (source_port, destination_port) = (next()?, next()?);
    if words.next().is_some() {
        return Err(ProxyError::Line);
    }
    let transport = Transport::Stream;
    match family {
        "TCP4" => {
            let (source, destination) = (address::<Ipv4Addr>(source)?, address::<Ipv4Addr>(destination)?);
            Ok(Endpoints::Inet4 {
                transport,
                source: SocketAddrV4::new(source, port(source_port)?),
                destination: SocketAddrV4::new(destination, port(destination_port)?),
            })
        }
        "TCP6" => {
            let (source, destination) = (address::<Ipv6Addr>(source)?, address::<Ipv6Addr>(destination)?);
            Ok(Endpoints::Inet6 {
                transport,
                source: SocketAddrV6::new(source, port(source_port)?, 0, 0),
                destination: SocketAddrV6::new(destination, port(destination_port)?, 0, 0),
            })
        }
        _ => Err(ProxyError::Line),
    }
}

/// Section 2.1: leading zeros are not allowed in an address of IPv4, and the standard library refuses them.
fn address<A: FromStr>(text: &str) -> Result<A, ProxyError> {
    text.parse().map_err(|_| ProxyError::Address)
}

/// Section 2.1: a decimal number between 0 and 65535 without leading zeros (nor a sign, which `parse` would take).
fn port(text: &str) -> Result<u16, ProxyError> {
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_canonical { text.parse().map_err(|_| ProxyError::Port) } else { Err(ProxyError::Port) }
}

/// Appends a line.
pub(super) fn write(out: &mut Vec<u8>, endpoints: &Endpoints) {
    let written = match endpoints {
        Endpoints::Inet4 { transport: Transport::Stream, source, destination } => write!(
            out,
            "PROXY TCP4 {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        Endpoints::Inet6 { transport: Transport::Stream, source, destination } => write!(
            out,
            "PROXY TCP6 {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        _ => write!(out, "PROXY UNKNOWN\r\n"),
    };
    written.expect("a write into memory succeeds");
}
