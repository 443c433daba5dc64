//! The PROXY protocol, versions 1 and 2: who a connection is from, told by a proxy before the connection's own bytes.
//!
//! ```text
//!   v1  "PROXY TCP4 192.0.2.1 192.0.2.9 51234 443\r\n"       at most 107 bytes
//!   v2  signature (12) | version, command | family, transport | length (2) | addresses | TLVs
//! ```
//!
//! After HAProxy's `proxy-protocol.txt` (2020/03/05), whose sections are named beside the lines that obey them. Like a
//! head of HTTP, a header is decoded where it lies: the caller keeps the bytes until a whole one is there, and what
//! follows it belongs to the connection. Deliberately absent: the meaning of TLVs. They are checked, and passed over.

mod endpoints;
mod error;
mod v1;
mod v2;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use endpoints::{Endpoints, Transport, UnixEndpoints, UnixPath};
pub use error::ProxyError;

/// The longest header that is taken: that of version 2 with many TLVs, such as a client's certificate.
///
/// Section 2.2 allows 65,551 bytes, and asks receivers for 536 at least.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// What a header begins with in version 2.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Which version of the protocol a header is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

/// A header that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How it was written.
    pub version: Version,
    /// Between whom the proxy says that the connection is.
    pub endpoints: Endpoints,
}

/// Reads the header at the beginning of `input`, and tells how many bytes it has. `Ok(None)`: not enough bytes yet.
///
/// # Errors
///
/// When `input` does not begin as a header does, or the header breaks its rules: see [`ProxyError`]. More bytes do not
/// change an error.
pub fn decode(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some(first) = input.first() else { return Ok(None) };
    let (version, decoded) = match first {
        b'P' => (Version::One, v1::decode(input)?),
        // Section 2.2: the signature cannot begin anything that is said by version 1.
        b'\r' => (Version::Two, v2::decode(input)?),
        _ => return Err(ProxyError::Missing),
    };
    Ok(decoded.map(|(endpoints, length)| (Header { version, endpoints }, length)))
}

/// Appends a header.
///
/// Version 1 has no words for all endpoints: those of Unix sockets, of datagrams and of the proxy itself are written as
/// `UNKNOWN`.
pub fn write(out: &mut Vec<u8>, header: &Header) {
    match header.version {
        Version::One => v1::write(out, &header.endpoints),
        Version::Two => v2::write(out, &header.endpoints),
    }
}

/// Says whether `input` is the beginning of `whole`, as far as it goes.
fn is_begun(input: &[u8], whole: &[u8]) -> bool {
    let length = input.len().min(whole.len());
    input[..length] == whole[..length]
}
