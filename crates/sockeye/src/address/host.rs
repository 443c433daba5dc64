//! Where a base leads: a host with its port, or the name of a Unix socket.
//!
//! Deliberately absent: looking names up, which is the business of whoever connects or listens.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::PathBuf;

use super::percent;

/// A host and a port.
///
/// # Examples
///
/// ```
/// use sockeye::address::HostPort;
///
/// assert_eq!(HostPort::new("::1", 7625).to_string(), "[::1]:7625");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address without its brackets (with its zone, if it has one: `fe80::1%eth0`).
    /// Empty means every local address, for who listens.
    pub host: String,
    /// The port; 0 lets the system choose, for who listens.
    pub port: u16,
}

impl HostPort {
    /// Puts the two together; `*` is every local address, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::HostPort;
    ///
    /// assert_eq!(HostPort::new("*", 7625).host, "");
    /// ```
    pub fn new(host: impl Into<String>, port: u16) -> HostPort {
        let host = host.into();
        HostPort { host: if host == "*" { String::new() } else { host }, port }
    }

    /// Reads `host:port`, `:port` or `[address]:port`.
    pub(super) fn parse(text: &str, default_port: Option<u16>) -> Result<HostPort, &'static str> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or("the bracket of an IPv6 address is not closed")?;
            let (address, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
            address.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is not an IPv6 address")?;
            // RFC 6874, 2: in a URI the percent sign before the zone is written `%25`. Alone it is the zone 25 (RFC 4007, 11).
            let zone =
                zone.map(|zone| zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone));
            let host = zone.map_or_else(|| address.to_owned(), |zone| format!("{address}%{zone}"));
            match after.strip_prefix(':') {
                None if !after.is_empty() => return Err("behind the bracket comes :PORT"),
                port => (Cow::Owned(host), port),
            }
        } else {
            match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err("an IPv6 address stands in brackets: tcp:[::1]:7625");
                }
                Some((host, port)) => (Cow::Borrowed(host), Some(port)),
                None => (Cow::Borrowed(text), None),
            }
        };
        let is_odd = |character: char| {
            character.is_whitespace() || character.is_control() || "/?#@&\\\"[]".contains(character)
        };
        if host.contains(is_odd) || (host.contains('%') && !host.contains(':')) {
            return Err("the host has a character that no host has");
        }
        let port = match (port, default_port) {
            (Some(port), _) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().map_err(|_| "the port is not a number from 0 to 65535")?
            }
            (Some(_), _) => return Err("the port is not a number from 0 to 65535"),
            (None, Some(default_port)) => default_port,
            (None, None) => {
                return Err("a port is missing: write HOST:PORT, for example 127.0.0.1:7625");
            }
        };
        Ok(HostPort::new(host.into_owned(), port))
    }

    /// The host as an IP address, if it is one and has no zone.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::HostPort;
    ///
    /// assert!(HostPort::new("127.0.0.1", 1).ip().is_some());
    /// assert!(HostPort::new("localhost", 1).ip().is_none());
    /// ```
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The host as others know it: the zone of an IPv6 address means something on this machine only (RFC 6874, 1).
    pub(crate) fn without_zone(&self) -> &str {
        self.host.split_once('%').map_or(&self.host, |(address, _)| address)
    }

    /// The addresses that a listener has, if no name has to be looked up for them.
    pub(crate) fn local_ips(&self) -> Option<Vec<IpAddr>> {
        // `localhost` is not looked up: it is loopback by definition (RFC 6761, 6.3).
        if self.host.eq_ignore_ascii_case("localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if self.host.is_empty() {
            return Some(vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]);
        }
        self.ip().map(|ip| vec![ip])
    }

    /// Says whether only this machine can be meant.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::HostPort;
    ///
    /// assert!(HostPort::new("localhost", 7625).is_loopback());
    /// assert!(!HostPort::new("", 7625).is_loopback());
    /// ```
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.ip().is_some_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

/// The name of a Unix-domain socket.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Base, UnixName};
///
/// let address: Address = "unix:@demo".parse()?;
/// assert_eq!(address.base, Base::Unix(UnixName::Abstract(b"demo".to_vec())));
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A path in the file system.
    Path(PathBuf),
    /// An abstract name, which is no file and goes with its last socket (Linux).
    Abstract(Vec<u8>),
}

impl UnixName {
    pub(super) fn parse(text: &str) -> Result<UnixName, &'static str> {
        const ESCAPE: &str = "% begins an escape such as %20: write %25 for the character itself";
        let (name, is_abstract) = match text.strip_prefix('@') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = percent::decode(name).ok_or(ESCAPE)?;
        if name.is_empty() {
            return Err(if is_abstract {
                "a name is missing: write unix:@name"
            } else {
                "a path is missing: write unix:/run/sockeye/sockeye.sock"
            });
        }
        // sockaddr_un has room for 108 bytes: the closing NUL of a path, the opening one of an abstract name included.
        if name.len() > 107 {
            return Err("the path is longer than the 107 bytes that a Unix socket can have");
        }
        if is_abstract {
            return Ok(UnixName::Abstract(name));
        }
        if name.contains(&0) {
            return Err("a path has no NUL");
        }
        Ok(UnixName::Path(PathBuf::from(OsStr::from_bytes(&name))))
    }

    /// The path, of a name that is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::UnixName;
    ///
    /// assert!(UnixName::Path("/run/app.sock".into()).path().is_some());
    /// assert!(UnixName::Abstract(b"demo".to_vec()).path().is_none());
    /// ```
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            UnixName::Path(path) => Some(path),
            UnixName::Abstract(_) => None,
        }
    }

    /// The name as the system takes it.
    ///
    /// # Errors
    /// When the name does not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::UnixName;
    ///
    /// let address = UnixName::Path("/run/app.sock".into()).socket_address()?;
    /// assert!(address.as_pathname().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn socket_address(&self) -> io::Result<UnixAddr> {
        match self {
            UnixName::Path(path) => UnixAddr::from_pathname(path),
            UnixName::Abstract(name) => UnixAddr::from_abstract_name(name),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A path that begins with the sign of abstract names is told apart by its escape.
            UnixName::Path(path) => match path.as_os_str().as_bytes() {
                [b'@', rest @ ..] => write!(formatter, "%40{}", percent::encode(rest)),
                path => formatter.write_str(&percent::encode(path)),
            },
            UnixName::Abstract(name) => write!(formatter, "@{}", percent::encode(name)),
        }
    }
}
