//! TCP: connecting to whichever address of a host answers first (Happy Eyeballs, RFC 8305), and listening.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::option::{BACKLOG, apply_ip, apply_tcp};
use super::resolve::{resolve, resolve_local, step};
use super::timing::{Timings, timed};
use super::{Error, Result};
use crate::address::{Address, HostPort, Options};

/// RFC 8305, 5: how long an attempt has before the next one begins beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to a host.
pub(super) async fn connect(address: &Address, at: &HostPort, timings: &mut Timings) -> Result<TcpStream> {
    let candidates = timed(&mut timings.name, resolve(address, at)).await?;
    let local = match &address.options.bind {
        Some(local) => resolve_local(address, local).await?,
        None => Vec::new(),
    };
    let racing = step(address, "connecting", race(&candidates, &local, &address.options));
    let stream = timed(&mut timings.connect, racing).await?;
    stream.map_err(|error| Error::system(address.shown(), "cannot connect", error))
}

/// Tries one candidate after the other, each beside those before it, and keeps the first that answers.
async fn race(candidates: &[SocketAddr], local: &[SocketAddr], options: &Options) -> io::Result<TcpStream> {
    // Dropping the set ends the attempts that lost.
    let mut attempts = JoinSet::new();
    let mut waiting = candidates.iter();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let mut more = false;
        if let Some(candidate) = waiting.next() {
            let from = local.iter().find(|local| local.is_ipv4() == candidate.is_ipv4()).copied();
            if from.is_none() && !local.is_empty() {
                continue;
            }
            attempts.spawn(attempt(*candidate, from, options.clone()));
            more = waiting.len() > 0;
        }
        let outcome = if more {
            match tokio::time::timeout(ATTEMPT_DELAY, attempts.join_next()).await {
                Ok(outcome) => outcome,
                // RFC 8305, 5: the next attempt begins, and those before it go on.
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match outcome {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last_error = error,
            Some(Err(error)) => last_error = io::Error::other(error),
            None if waiting.len() == 0 => return Err(last_error),
            None => {}
        }
    }
}

async fn attempt(to: SocketAddr, from: Option<SocketAddr>, options: Options) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    apply_ip(SockRef::from(&socket), &options, to)?;
    if let Some(from) = from {
        socket.bind(from)?;
    }
    let stream = socket.connect(to).await?;
    apply_tcp(SockRef::from(&stream), &options)?;
    Ok(stream)
}

/// Listens on every local address that the host stands for: one socket for each.
pub(super) async fn listen(address: &Address, at: &HostPort) -> Result<Vec<TcpListener>> {
    let mut listening: Vec<TcpListener> = Vec::new();
    let mut port = at.port;
    for mut local in resolve_local(address, at).await? {
        local.set_port(port);
        match listen_on(local, &address.options) {
            Ok(listener) => {
                // With port 0 the second family takes the port that the first was given.
                port = listener.local_addr().map_or(port, |local| local.port());
                listening.push(listener);
            }
            // A system without one of the families is no reason not to listen on the other.
            Err(error) if is_family_missing(&error) && (!listening.is_empty() || at.host.is_empty()) => {}
            Err(error) => return Err(Error::system(address.shown(), "cannot listen", error)),
        }
    }
    if listening.is_empty() {
        let error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        return Err(Error::system(address.shown(), "cannot listen", error));
    }
    Ok(listening)
}

fn listen_on(local: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(local), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if local.is_ipv6() {
        // Each family has its own socket, so that what is listened on is what is written.
        socket.set_only_v6(true)?;
    }
    // A port whose last connections are still in TIME_WAIT can be listened on again.
    socket.set_reuse_address(true)?;
    apply_ip(SockRef::from(&socket), options, local)?;
    // What follows is inherited by every accepted connection.
    apply_tcp(SockRef::from(&socket), options)?;
    socket.bind(&local.into())?;
    socket.listen(i32::try_from(options.backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

pub(super) fn is_family_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}
