//! What a server can listen on: each address by itself, and beside the others. Nothing is looked up or opened here.

use std::net::IpAddr;

use crate::address::{Address, Base, HostPort, UnixName};

/// Checks an address by itself. `Err` says why a server cannot listen there, and what to do.
pub(crate) fn check_address(address: &Address) -> Result<(), String> {
    if !address.layers.is_empty() {
        return Err("the server takes no layers: it tells protocols apart by their first bytes".into());
    }
    if let Some(option) = address.options.given_beside(&[]).first() {
        return Err(format!("the server has no use for the option {option}: leave it out"));
    }
    match &address.base {
        Base::Tcp(_) | Base::Udp(_) => Ok(()),
        Base::Unix(UnixName::Path(_)) | Base::UnixDatagram(UnixName::Path(_)) => Ok(()),
        Base::Unix(UnixName::Abstract(_)) => {
            Err("the server listens on paths only: give one, such as unix:/run/sockeye/sockeye.sock".into())
        }
        Base::UnixDatagram(UnixName::Abstract(_)) => {
            Err("the server receives datagrams at paths only: give one, such as unixgram:/run/sockeye.dgram"
                .into())
        }
        Base::WebSocket(_) | Base::Http(_) => {
            Err("comes on the TCP port: listen on tcp:HOST:PORT, and connect to ws://HOST:PORT/ws".into())
        }
        Base::Tls(_) => {
            Err("comes on the TCP port: listen on tcp:HOST:PORT, and name certificates under [tls]".into())
        }
        base => Err(format!(
            "the server does not listen on {}: give tcp:HOST:PORT, unix:PATH, udp:HOST:PORT or unixgram:PATH",
            base.name()
        )),
    }
}

/// Checks an address beside those before it. With `datagrams`, `tcp:` means UDP on the same port, too.
pub(super) fn check_beside(address: &Address, others: &[Address], datagrams: bool) -> Result<(), String> {
    if others.contains(address) {
        return Err("is listed twice".into());
    }
    for other in others {
        match (&address.base, &other.base) {
            (Base::Tcp(at), Base::Tcp(before)) | (Base::Udp(at), Base::Udp(before))
                if is_shared(at, before) =>
            {
                return Err(format!("is listened on already, for {other}: leave one of the two out"));
            }
            (Base::Udp(at), Base::Tcp(before)) if datagrams && is_shared(at, before) => {
                return Err(format!(
                    "is received already, since {other} means UDP too: leave it out, or say datagrams = false"
                ));
            }
            (Base::Tcp(at), Base::Udp(before)) if datagrams && is_shared(at, before) => {
                return Err(format!(
                    "means UDP too, which is received already, for {other}: leave that out, or say datagrams = false"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether two hosts and ports mean a socket that only one of them can have, as far as that is known without asking
/// anybody for the address of a name.
fn is_shared(one: &HostPort, other: &HostPort) -> bool {
    let meets = |one: &IpAddr, other: &IpAddr| {
        one == other || one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
    };
    let (ones, others) = (one.local_ips().unwrap_or_default(), other.local_ips().unwrap_or_default());
    one.port == other.port
        && one.port != 0
        && (one == other || ones.iter().any(|one| others.iter().any(|other| meets(one, other))))
}
