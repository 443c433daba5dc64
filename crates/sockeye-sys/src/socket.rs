//! Options of sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
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
    fn tcp_takes_a_bound_and_others_say_that_they_do_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let unix = UnixDatagram::unbound().expect("a socket");

        assert!(set_unsent_bytes_max(&tcp, 1 << 17).is_ok());
        assert!(set_unsent_bytes_max(&unix, 1 << 17).is_err());
    }
}
