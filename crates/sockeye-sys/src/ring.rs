//! Many sends on many sockets in one call: `io_uring`, used as if it were `sendmmsg` across sockets.
//!
//! A call submits its sends and takes all of their outcomes before it returns, so nothing is borrowed for longer than the
//! call, and nothing is under way between calls. Deliberately absent: everything asynchronous that the interface offers.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use io_uring::{IoUring, opcode, types};

/// The most sends of one call.
pub const SENDS_MAX: usize = 512;

/// A queue to the kernel for sends. It stays on the thread that made it.
pub struct SendRing {
    ring: IoUring,
    /// How many of the sends that were written down the kernel has not been shown to be done with.
    under_way: usize,
    /// A queue belongs to one thread: the kernel takes submissions from no other.
    _stays: std::marker::PhantomData<*const ()>,
}

impl SendRing {
    /// Opens a queue of [`SENDS_MAX`] places.
    ///
    /// # Errors
    /// The system's: where the kernel has no `io_uring` (`ENOSYS`), or it is not allowed here (`EPERM`), as in most containers.
    pub fn new() -> io::Result<Self> {
        let places = SENDS_MAX as u32;
        // Outcomes are taken by the thread that submits, when it asks for them (Linux 6.1); older kernels do without.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .build(places)
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => IoUring::new(places),
                _ => Err(error),
            })?;
        Ok(SendRing { ring, under_way: 0, _stays: std::marker::PhantomData })
    }

    /// Sends each piece on its socket, as `send` with `MSG_DONTWAIT` and `MSG_NOSIGNAL` does, and appends what became of each
    /// to `outcomes`, in order.
    ///
    /// # Errors
    /// The system's, when it took none of the sends; then nothing was appended, and the queue is of no more use.
    ///
    /// # Panics
    /// If there are more than [`SENDS_MAX`], or an earlier call ended in an error or a panic.
    pub fn send_each<'a>(
        &mut self,
        sends: impl Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
        outcomes: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        assert_eq!(self.under_way, 0, "a queue that failed is not used again");
        // Whatever ends this call early leaves the count above zero, and so the queue unused.
        for (socket, bytes) in sends {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(self.under_way as u64);
            self.under_way += 1;
            // SAFETY: socket and bytes are borrowed until this call returns. It returns when the kernel has told the outcome
            // of every send it took; after an error or a panic the queue is never submitted again, so a send that it did
            // not take is not begun later either.
            unsafe { self.ring.submission().push(&send) }.expect("there are places for all sends of a call");
        }
        let first = outcomes.len();
        outcomes.resize_with(first + self.under_way, || Ok(0));
        self.finish(&mut outcomes[first..]).inspect_err(|_| outcomes.truncate(first))
    }

    /// Submits what was written down, and waits for all of it. No send waits for anything, so none is left under way.
    fn finish(&mut self, outcomes: &mut [io::Result<usize>]) -> io::Result<()> {
        while self.under_way > 0 {
            let submitted = self.ring.submit_and_wait(self.under_way);
            for entry in self.ring.completion() {
                let result = entry.result();
                outcomes[entry.user_data() as usize] = match usize::try_from(result) {
                    Ok(length) => Ok(length),
                    Err(_) => Err(io::Error::from_raw_os_error(-result)),
                };
                self.under_way -= 1;
            }
            if let Err(error) = submitted {
                let took_none = self.ring.submission().len() == outcomes.len();
                if took_none && error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
                // It ran out of memory on the way, or was interrupted: the rest is submitted again.
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_socket_gets_its_piece_and_each_outcome_its_place() {
        let Some(mut ring) = ring() else { return };
        let pairs: Vec<_> = (0..SENDS_MAX).map(|_| UnixStream::pair().expect("a pair")).collect();
        let pieces: Vec<String> = (0..pairs.len()).map(|number| format!("piece {number}")).collect();

        for _ in 0..3 {
            let mut outcomes = Vec::new();
            let sends = pairs.iter().zip(&pieces).map(|((ours, _), piece)| (ours.as_fd(), piece.as_bytes()));
            ring.send_each(sends, &mut outcomes).expect("it is taken");

            for ((outcome, piece), (_, theirs)) in outcomes.into_iter().zip(&pieces).zip(&pairs) {
                assert_eq!(outcome.expect("it is sent"), piece.len());
                let mut read = vec![0; piece.len()];
                (&*theirs).read_exact(&mut read).expect("it has come");
                assert_eq!(read, piece.as_bytes());
            }
        }
    }

    #[test]
    fn a_full_socket_takes_a_part_and_then_would_block_and_a_closed_one_is_told() {
        let Some(mut ring) = ring() else { return };
        let (full, _reader) = UnixStream::pair().expect("a pair");
        let (closed, reader) = UnixStream::pair().expect("a pair");
        drop(reader);
        let much = vec![7; 8 << 20];

        let mut outcomes = Vec::new();
        // Blocking sockets: that nothing waits is the call's own doing.
        for _ in 0..2 {
            let sends = [(full.as_fd(), &much[..]), (closed.as_fd(), &much[..])];
            ring.send_each(sends.into_iter(), &mut outcomes).expect("it is taken");
        }

        let taken = *outcomes[0].as_ref().expect("a part is sent");
        assert!(taken > 0 && taken < much.len(), "{taken}");
        let kinds: Vec<_> = outcomes[1..].iter().map(|o| o.as_ref().map_err(io::Error::kind)).collect();
        assert_eq!(
            kinds,
            [Err(io::ErrorKind::BrokenPipe), Err(io::ErrorKind::WouldBlock), Err(io::ErrorKind::BrokenPipe)]
        );
    }

    /// None where the system does not allow it: then there is nothing to claim.
    fn ring() -> Option<SendRing> {
        SendRing::new().inspect_err(|error| eprintln!("io_uring is not to be had here: {error}")).ok()
    }
}
