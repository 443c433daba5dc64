//! From a host to IP addresses, and the order in which they are tried (RFC 8305, 4).

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::option::timeout;
use super::{Error, ErrorKind, Result};
use crate::address::{Address, Family, HostPort};

/// The addresses of a host, in the order of preference: the families alternate.
pub(super) async fn resolve(address: &Address, at: &HostPort) -> Result<Vec<SocketAddr>> {
    let found = look_up(address, at).await?;
    let wanted: Vec<SocketAddr> =
        found.into_iter().filter(|found| fits(address.options.family, found)).collect();
    if wanted.is_empty() {
        return Err(not_found(address, &at.host, "it has no address of that family"));
    }
    Ok(interleave(wanted))
}

/// The local addresses that a host stands for: an empty one for all.
pub(super) async fn resolve_local(address: &Address, at: &HostPort) -> Result<Vec<SocketAddr>> {
    if !at.host.is_empty() {
        return resolve(address, at).await;
    }
    let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let all = all.map(|ip| SocketAddr::new(ip, at.port));
    Ok(all.into_iter().filter(|local| fits(address.options.family, local)).collect())
}

async fn look_up(address: &Address, at: &HostPort) -> Result<Vec<SocketAddr>> {
    if let Some(ip) = at.ip() {
        return Ok(vec![SocketAddr::new(ip, at.port)]);
    }
    // An empty host is this machine, for who connects. `localhost` is not looked up: it is loopback by definition
    // (RFC 6761, 6.3).
    if at.host.is_empty() || at.host.eq_ignore_ascii_case("localhost") {
        let loopback = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        return Ok(loopback.map(|ip| SocketAddr::new(ip, at.port)).to_vec());
    }
    let look_up = tokio::net::lookup_host((at.host.as_str(), at.port));
    let found = step(address, "looking up the name", look_up).await?;
    match found {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(not_found(address, &at.host, &error.to_string())),
    }
}

fn not_found(address: &Address, host: &str, why: &str) -> Error {
    let what = format!("the name {host:?} was not found ({why})");
    Error::new(ErrorKind::NameNotFound, address.shown(), what)
        .with_hint("check its spelling, or give an IP address")
}

fn fits(family: Option<Family>, address: &SocketAddr) -> bool {
    match family {
        Some(Family::V4) => address.is_ipv4(),
        Some(Family::V6) => address.is_ipv6(),
        None => true,
    }
}

/// RFC 8305, 4: the families alternate, beginning with that of the first; within a family the order stays.
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            mixed.dedup();
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Runs one step of connecting within the bound that the address sets for each.
pub(super) async fn step<T>(address: &Address, name: &str, work: impl Future<Output = T>) -> Result<T> {
    let bound: Duration = timeout(&address.options);
    tokio::time::timeout(bound, work).await.map_err(|_| Error::timed_out(address.shown(), name, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1))
    }

    #[test]
    fn families_alternate_beginning_with_the_first() {
        assert_eq!(interleave(vec![v6(1), v6(2), v4(1), v4(2), v4(3)]), [v6(1), v4(1), v6(2), v4(2), v4(3)]);
        assert_eq!(interleave(vec![v4(1), v6(1)]), [v4(1), v6(1)]);
        assert_eq!(interleave(vec![]), []);
    }
}
