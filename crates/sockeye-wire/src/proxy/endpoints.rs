//! Between whom a relayed connection is.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// Between whom a connection is, as a proxy tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// The proxy speaks for itself (a health check): the addresses are those of its own connection.
    Local,
    /// It is relayed, from somewhere that the header does not tell.
    Unknown,
    /// It is relayed over IPv4.
    Inet4 {
        /// Stream or datagram.
        transport: Transport,
        /// Who connected to the proxy.
        source: SocketAddrV4,
        /// Where he connected to.
        destination: SocketAddrV4,
    },
    /// It is relayed over IPv6.
    Inet6 {
        /// Stream or datagram.
        transport: Transport,
        /// Who connected to the proxy.
        source: SocketAddrV6,
        /// Where he connected to.
        destination: SocketAddrV6,
    },
    /// It is relayed from a Unix-domain socket.
    Unix(Box<UnixEndpoints>),
}

impl Endpoints {
    /// A TCP connection between two addresses. Where their families differ, the one of IPv4 is mapped into IPv6.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        let transport = Transport::Stream;
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                Endpoints::Inet4 { transport, source, destination }
            }
            (source, destination) => {
                Endpoints::Inet6 { transport, source: mapped(source), destination: mapped(destination) }
            }
        }
    }

    /// Who connected to the proxy, where that is an IP address.
    pub fn source(&self) -> Option<SocketAddr> {
        match self {
            Endpoints::Inet4 { source, .. } => Some((*source).into()),
            Endpoints::Inet6 { source, .. } => Some((*source).into()),
            Endpoints::Local | Endpoints::Unknown | Endpoints::Unix(_) => None,
        }
    }
}

/// What an address has beside IP and port cannot be told, and is 0.
fn mapped(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0),
    }
}

/// What is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, or a Unix stream.
    Stream,
    /// UDP, or Unix datagrams.
    Datagram,
}

/// The two ends of a relayed Unix-domain socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixEndpoints {
    /// Stream or datagram.
    pub transport: Transport,
    /// Who connected to the proxy; usually without a name.
    pub source: UnixPath,
    /// Where he connected to.
    pub destination: UnixPath,
}

/// The name of a Unix-domain socket: at most 108 bytes. One in the abstract namespace begins with a zero byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnixPath([u8; UNIX_PATH_BYTES]);

/// Section 2.2: both names have this length, filled up with zero bytes.
pub(super) const UNIX_PATH_BYTES: usize = 108;

impl UnixPath {
    /// Takes a name, if it is not too long.
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; UNIX_PATH_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(UnixPath(bytes))
    }

    pub(super) fn filled(bytes: [u8; UNIX_PATH_BYTES]) -> Self {
        UnixPath(bytes)
    }

    pub(super) fn as_filled(&self) -> &[u8; UNIX_PATH_BYTES] {
        &self.0
    }

    /// The name, without the zero bytes that fill it up.
    pub fn as_bytes(&self) -> &[u8] {
        let length = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self.0[..length]
    }
}

impl std::fmt::Debug for UnixPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}
