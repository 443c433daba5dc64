//! The address grammar, shared by flags, the configuration file and the library.
//!
//! `base:target`, where the base names the kind of socket. Spoken so far: `tcp:HOST:PORT`, `unix:PATH` and, for
//! clients, `ws://HOST[:PORT]/PATH`. Deliberately absent: bases and options that nothing here can use yet; they are
//! refused by name.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a server that was not given one: S-O-C-K on a telephone.
pub const DEFAULT_PORT: u16 = 7625;

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP, over IPv4 or IPv6. An empty host means every local address, for who listens.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without its brackets.
        host: String,
        /// The port; 0 lets the system choose, for who listens.
        port: u16,
    },
    /// A Unix-domain stream.
    Unix(PathBuf),
    /// WebSocket over TCP.
    WebSocket {
        /// As for TCP.
        host: String,
        /// As for TCP.
        port: u16,
        /// The path, beginning with `/`, with its query.
        path: String,
    },
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no base.
    #[error("address {0:?} has no base: write tcp:HOST:PORT, unix:PATH or ws://HOST:PORT/PATH")]
    NoBase(String),
    /// The base is not known, or nothing here speaks it.
    #[error("address {address:?} begins with the unknown base {base:?}: {hint}")]
    UnknownBase {
        /// The whole text.
        address: String,
        /// Its base.
        base: String,
        /// What is allowed.
        hint: String,
    },
    /// The target is not of the base's form.
    #[error("address {address:?}: {why}")]
    BadTarget {
        /// The whole text.
        address: String,
        /// What is wrong, and what is allowed.
        why: &'static str,
    },
}

const BASES: [&str; 3] = ["tcp", "unix", "ws"];

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = |why| AddressError::BadTarget { address: text.to_owned(), why };
        let Some((base, target)) = text.split_once(':') else {
            return Err(AddressError::NoBase(text.to_owned()));
        };
        let target_in = target.strip_prefix("//").unwrap_or(target);
        match base {
            "tcp" => {
                let (host, port) = split_host(target_in, None).map_err(bad)?;
                Ok(Address::Tcp { host, port })
            }
            "unix" => {
                if target.is_empty() {
                    return Err(bad("a path is missing: write unix:/run/sockeye.sock"));
                }
                if target.starts_with('@') {
                    return Err(bad(
                        "abstract names are not spoken: give a path, such as unix:/run/sockeye.sock",
                    ));
                }
                // sockaddr_un has room for 108 bytes, the closing NUL included.
                if target.len() > 107 {
                    return Err(bad("the path is longer than the 107 bytes that a Unix socket can have"));
                }
                Ok(Address::Unix(PathBuf::from(target)))
            }
            "ws" => {
                let (authority, path) = match target_in.find('/') {
                    Some(slash) => (&target_in[..slash], &target_in[slash..]),
                    None => (target_in, "/ws"),
                };
                if path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
                    return Err(bad("the path has a blank or a character that must be percent-encoded"));
                }
                let (host, port) = split_host(authority, Some(DEFAULT_PORT)).map_err(bad)?;
                if host.is_empty() {
                    return Err(bad("a host is missing: write ws://HOST:PORT/ws"));
                }
                Ok(Address::WebSocket { host, port, path: path.to_owned() })
            }
            _ => {
                let hint = match nearest(base, &BASES) {
                    Some(near) => format!("did you mean {near}: ?"),
                    None => format!("known are {}", BASES.map(|base| format!("{base}:")).join(" ")),
                };
                Err(AddressError::UnknownBase { address: text.to_owned(), base: base.to_owned(), hint })
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(formatter, "tcp:[{host}]:{port}"),
            Address::Tcp { host, port } => write!(formatter, "tcp:{host}:{port}"),
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Address::WebSocket { host, port, path } if host.contains(':') => {
                write!(formatter, "ws://[{host}]:{port}{path}")
            }
            Address::WebSocket { host, port, path } => write!(formatter, "ws://{host}:{port}{path}"),
        }
    }
}

/// Takes `host:port`, `:port` or `[address]:port` apart.
fn split_host(target: &str, default_port: Option<u16>) -> Result<(String, u16), &'static str> {
    let (host, port) = if let Some(rest) = target.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket of an IPv6 address is not closed")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "what stands in brackets is not an IPv6 address")?;
        (host, after.strip_prefix(':'))
    } else {
        match target.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("an IPv6 address stands in brackets: tcp:[::1]:7625");
            }
            Some((host, port)) => (host, Some(port)),
            None => (target, None),
        }
    };
    if host.bytes().any(|byte| byte <= b' ' || matches!(byte, b'/' | b'?' | b'#' | b'@' | 0x7f)) {
        return Err("the host has a character that no host has");
    }
    let port = match (port, default_port) {
        (Some(port), _) => port.parse().map_err(|_| "the port is not a number from 0 to 65535")?,
        (None, Some(default_port)) => default_port,
        (None, None) => return Err("a port is missing: write tcp:HOST:PORT, for example tcp:127.0.0.1:7625"),
    };
    Ok((host.to_owned(), port))
}

/// The known word that is nearest to `word`, if one is near.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|&candidate| (distance(word, candidate), candidate)).min()?;
    (near.0 <= 1 + word.len() / 4).then_some(near.1)
}

/// How many letters were added, left out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "tcp:127.0.0.1:7625",
            "tcp:[::1]:0",
            "tcp::7625",
            "tcp:localhost:1",
            "unix:/run/s.sock",
            "unix:relative.sock",
            "ws://localhost:7625/ws",
            "ws://[::1]:80/ch/chat/42?pub=0",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
        assert_eq!("ws:localhost".parse::<Address>().expect("short").to_string(), "ws://localhost:7625/ws");
        assert_eq!("tcp://h:1".parse::<Address>().expect("slashes").to_string(), "tcp:h:1");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for (text, said) in [
            ("7625", "has no base"),
            ("tpc:localhost:1", "did you mean tcp:"),
            ("quic:h:1", "known are tcp: unix: ws:"),
            ("tcp:localhost", "a port is missing"),
            ("tcp:localhost:70000", "0 to 65535"),
            ("tcp:::1:7625", "brackets"),
            ("tcp:[::1:7625", "not closed"),
            ("tcp:[nonsense]:1", "not an IPv6"),
            ("tcp:a b:1", "character"),
            ("unix:", "a path is missing"),
            ("unix:@name", "abstract"),
            ("ws::7625", "a host is missing"),
            ("ws://h/a b", "percent-encoded"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(said) && error.contains(text), "{text}: {error}");
        }
    }
}
