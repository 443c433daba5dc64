//! Networks as people write them: `10.0.0.0/8`, `2001:db8::/32`, one address, or `unix`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A set of peers: the addresses with one prefix, or everybody who comes by a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The addresses that share their first so many bits with this one.
    Prefix {
        /// The first address of the network.
        first: IpAddr,
        /// How many bits its addresses have in common.
        bits: u32,
    },
    /// Peers of Unix sockets, which have no address.
    Unix,
}

impl Network {
    /// Says whether a peer belongs to it. `None` is a peer of a Unix socket.
    pub fn holds(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Network::Unix, None) => true,
            (Network::Prefix { first, bits }, Some(address)) => {
                first.is_ipv4() == address.is_ipv4() && masked(address, *bits) == *first
            }
            _ => false,
        }
    }
}

/// Says whether a peer belongs to one of these networks.
pub fn holds(networks: &[Network], peer: Option<IpAddr>) -> bool {
    networks.iter().any(|network| network.holds(peer))
}

/// The first address of the network with this prefix. `bits` is at most the length of the address.
pub fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Network::Unix);
        }
        let refused =
            || format!("{text:?} is not a network: write 10.0.0.0/8, 2001:db8::/32, one address, or unix");
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let length = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(length), |bits| bits.parse().map_err(|_| refused()))?;
        if bits > length {
            return Err(format!("{text:?}: an address of this family has {length} bits"));
        }
        let first = masked(address, bits);
        if first != address {
            return Err(format!("{text:?} has bits behind its prefix: is {first}/{bits} meant?"));
        }
        Ok(Network::Prefix { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Prefix { first, bits } => write!(f, "{first}/{bits}"),
            Network::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (written, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "ffff::", "0.0.0.0"),
            ("::1", "::1", "::2"),
        ] {
            assert!(network(written).holds(inside.parse().ok()), "{written} {inside}");
            assert!(!network(written).holds(outside.parse().ok()), "{written} {outside}");
            assert!(!network(written).holds(None), "{written}");
        }
        assert!(network("unix").holds(None) && !network("unix").holds("::1".parse().ok()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["10.0.0.0/8", "2001:db8::/32", "::1/128", "0.0.0.0/0", "unix"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_is_meant() {
        for (text, said) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("10.0.0.0/33", "32 bits"),
            ("::/129", "128 bits"),
            ("localhost", "not a network"),
            ("10.0.0.0/-1", "not a network"),
            ("", "not a network"),
        ] {
            let why = text.parse::<Network>().expect_err(text);
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
