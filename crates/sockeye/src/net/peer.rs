//! Who is at the other end.

use std::fmt;
use std::net::SocketAddr;

use crate::address::UnixName;

/// Who is at the other end of a socket.
///
/// # Examples
///
/// ```
/// use sockeye::net::Peer;
///
/// let peer = Peer::Ip("127.0.0.1:7000".parse()?);
/// assert_eq!(peer.to_string(), "127.0.0.1:7000");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// Somebody on a network.
    Ip(SocketAddr),
    /// A process of this machine, by the name of its socket if it has one.
    Unix(Option<UnixName>),
    /// A child process, by its number.
    Process(u32),
    /// Nobody with a name: a file, a pipe, a terminal.
    Unnamed,
}

impl Peer {
    pub(super) fn of_unix(name: &std::os::unix::net::SocketAddr) -> Peer {
        use std::os::linux::net::SocketAddrExt as _;
        if let Some(path) = name.as_pathname() {
            return Peer::Unix(Some(UnixName::Path(path.to_owned())));
        }
        Peer::Unix(name.as_abstract_name().map(|name| UnixName::Abstract(name.to_owned())))
    }

    /// The IP address and port, of a peer on a network.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Peer;
    ///
    /// let peer = Peer::Ip("[::1]:7000".parse()?);
    /// assert_eq!(peer.ip().map(|address| address.port()), Some(7000));
    /// assert_eq!(Peer::Unnamed.ip(), None);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Peer::Ip(address) => Some(*address),
            _ => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(address) => write!(formatter, "{address}"),
            Peer::Unix(Some(name)) => write!(formatter, "unix:{name}"),
            Peer::Unix(None) => formatter.write_str("unix"),
            Peer::Process(number) => write!(formatter, "process {number}"),
            Peer::Unnamed => formatter.write_str("unnamed"),
        }
    }
}
