//! Options of sockets: those of an address, applied when it is opened, and the same as typed methods.
//!
//! An option that a kind of socket does not have is an error that says so; nothing is ignored.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::address::Options;

/// The bound of each step of connecting, unless the address says otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections may wait to be accepted, unless the address says otherwise.
pub(super) const BACKLOG: u32 = 1_024;
/// The largest message that is received, unless the address says otherwise, and that is read from standard input, unless a
/// flag does.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How many bytes are read at once: less costs throughput, more only memory.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Applies what must be known before a socket of a network is bound or connected.
pub(super) fn apply_ip(socket: SockRef<'_>, options: &Options, to: SocketAddr) -> io::Result<()> {
    if let Some(device) = &options.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    if let Some(tos) = options.tos {
        set_tos(&socket, to.is_ipv6(), tos)?;
    }
    if let Some(ttl) = options.ttl {
        set_ttl(&socket, to.ip(), ttl)?;
    }
    if options.reuse_port == Some(true) {
        socket.set_reuse_port(true)?;
    }
    apply_buffers(&socket, options)
}

pub(super) fn apply_buffers(socket: &SockRef<'_>, options: &Options) -> io::Result<()> {
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

/// Applies what concerns TCP only.
pub(super) fn apply_tcp(socket: SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(options.no_delay.unwrap_or(true))?;
    match options.keep_alive {
        Some(idle) => set_keep_alive(&socket, Some(idle)),
        None => Ok(()),
    }
}

pub(super) fn set_keep_alive(socket: &SockRef<'_>, idle: Option<Duration>) -> io::Result<()> {
    let Some(idle) = idle else { return socket.set_keepalive(false) };
    // The kernel counts in seconds. Three questions without an answer, and the connection is broken.
    let seconds = Duration::from_secs(idle.as_secs().max(1));
    let interval = Duration::from_secs((idle.as_secs() / 3).max(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(seconds).with_interval(interval).with_retries(3))
}

pub(super) fn set_tos(socket: &SockRef<'_>, is_ipv6: bool, tos: u8) -> io::Result<()> {
    if is_ipv6 { socket.set_tclass_v6(tos.into()) } else { socket.set_tos_v4(tos.into()) }
}

pub(super) fn set_ttl(socket: &SockRef<'_>, to: IpAddr, ttl: u8) -> io::Result<()> {
    let ttl = u32::from(ttl);
    match (to, to.is_multicast()) {
        (IpAddr::V4(_), false) => socket.set_ttl_v4(ttl),
        (IpAddr::V4(_), true) => socket.set_multicast_ttl_v4(ttl),
        (IpAddr::V6(_), false) => socket.set_unicast_hops_v6(ttl),
        (IpAddr::V6(_), true) => socket.set_multicast_hops_v6(ttl),
    }
}

/// The bound of each step of connecting.
pub(super) fn timeout(options: &Options) -> Duration {
    options.timeout.unwrap_or(TIMEOUT)
}

pub(super) fn message_bytes_max(options: &Options) -> usize {
    options.message_max.unwrap_or(MESSAGE_BYTES_MAX)
}
