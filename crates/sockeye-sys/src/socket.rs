//! Options of sockets.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Bounds the bytes that a TCP socket takes from us beyond what it has sent (`TCP_NOTSENT_LOWAT`).
///
/// The socket is reported writable only below this. A stalled peer otherwise hides megabytes in the kernel. Sockets
/// accepted by a listener inherit its value.
///
/// # Errors
/// The system's, when the socket is not TCP.
pub fn set_unsent_bytes_max(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    let value = libc::c_uint::from(bytes);
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("an integer's size fits");
    // SAFETY: the descriptor is open while it is borrowed; the pointer and the length are those of a live integer,
    // which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes a stream socket has taken from us that its peer's system has not taken from it (`SIOCOUTQ`: of TCP what is
/// not acknowledged, of Unix about what is not read).
///
/// # Errors
/// The system's, when it does not tell.
pub fn unsent(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed; the call writes one integer, which is alive.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or_default()) } else { Err(io::Error::last_os_error()) }
}

/// How a TCP socket gets on with bringing its peer what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that the peer's system has acknowledged since the beginning.
    pub acknowledged: u64,
    /// Something was written that it has not acknowledged.
    pub is_under_way: bool,
    /// Since when it has acknowledged nothing, new or old.
    pub silence: Duration,
}

/// What the kernel tells of a TCP connection (`TCP_INFO`), to the last member that is used here. Later kernels tell more.
#[repr(C)]
struct TcpInfo {
    bytes: [u8; 8],
    rto_to_rcv_mss: [u32; 4],
    unacked: u32,
    sacked_to_last_data_recv: [u32; 7],
    last_ack_recv_ms: u32,
    pmtu_to_total_retrans: [u32; 11],
    pacing_rates: [u64; 2],
    bytes_acked: u64,
    bytes_received: u64,
    segments: [u32; 2],
    notsent_bytes: u32,
    min_rtt: u32,
}

/// Asks how a TCP socket gets on.
///
/// # Errors
/// The system's, when the socket is not TCP; `Unsupported` before Linux 4.6.
pub fn flow(socket: &impl AsFd) -> io::Result<Flow> {
    // SAFETY: it is plain integers, for which zero is a value.
    let mut info: TcpInfo = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed; the call writes at most `length` bytes into the structure, whose
    // size that is, and any bytes are a value of it.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < mem::size_of_val(&info) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Flow {
        acknowledged: info.bytes_acked,
        is_under_way: info.unacked > 0 || info.notsent_bytes > 0,
        silence: Duration::from_millis(info.last_ack_recv_ms.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn what_is_unsent_becomes_less_as_the_peer_reads() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        assert_eq!(unsent(&ours).expect("it is told"), 0);

        ours.write_all(&[7; 20_000]).expect("there is room");
        let before = unsent(&ours).expect("it is told");
        theirs.read_exact(&mut [0; 20_000]).expect("it is there");

        assert!(before >= 20_000);
        assert_eq!(unsent(&ours).expect("it is told"), 0);
    }

    #[test]
    fn tcp_tells_what_is_acknowledged_and_what_is_under_way() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut theirs, _) = listener.accept().expect("it came");
        let begun = flow(&ours).expect("it is told");
        assert!(!begun.is_under_way);

        // More than both kernels hold stays under way; what is read is acknowledged.
        ours.set_nonblocking(true).expect("an option");
        let mut written = 0_u64;
        while let Ok(length) = ours.write(&[7; 1 << 16]) {
            written += length as u64;
        }
        assert!(flow(&ours).expect("it is told").is_under_way);
        let mut left = usize::try_from(written).expect("it fits");
        while left > 0 {
            left -= theirs.read(&mut [0; 1 << 16]).expect("it is there");
        }

        let ended = loop {
            let flow = flow(&ours).expect("it is told");
            if !flow.is_under_way {
                break flow;
            }
        };
        assert_eq!(ended.acknowledged - begun.acknowledged, written);
        assert!(ended.silence < Duration::from_secs(60));
        assert!(flow(&UnixDatagram::unbound().expect("a socket")).is_err());
    }

    #[test]
    fn tcp_takes_a_bound_and_others_say_that_they_do_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let unix = UnixDatagram::unbound().expect("a socket");

        assert!(set_unsent_bytes_max(&tcp, 1 << 17).is_ok());
        assert!(set_unsent_bytes_max(&unix, 1 << 17).is_err());
    }
}
