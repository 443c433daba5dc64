//! Pipes through which the kernel hands bytes from one socket to another, without their passing through our memory.
//!
//! A pipe is taken from a pool when there are bytes, and returned when it is empty, so that a stream that is silent holds
//! none. Deliberately absent: small amounts, which cost less by being read and written.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// What a pipe is asked to hold, and what is moved at once. A kernel that allows less gives what it allows.
pub(super) const PIPE_BYTES: usize = 1 << 20;
/// Pipes in use at once, since each is two descriptors. Above it bytes are read and written.
const PIPES_MAX: usize = 1_024;
/// Empty pipes that are kept. Above it they are closed.
const KEPT_MAX: usize = 32;

thread_local! {
    static KEPT: RefCell<Vec<(OwnedFd, OwnedFd)>> = const { RefCell::new(Vec::new()) };
    static IN_USE: Cell<usize> = const { Cell::new(0) };
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Where bytes come out, and where they go in; taken by dropping.
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
}

impl Pipe {
    /// An empty pipe, if there is one to be had.
    pub(super) fn take() -> Option<Pipe> {
        if IN_USE.get() >= PIPES_MAX {
            return None;
        }
        let kept = KEPT.with_borrow_mut(Vec::pop);
        let ends = kept.or_else(|| {
            let ends = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // Less room is slower, and nothing else.
            let _ = fcntl_setpipe_size(&ends.1, PIPE_BYTES);
            Some(ends)
        })?;
        IN_USE.set(IN_USE.get() + 1);
        Some(Pipe { ends: Some(ends), held: 0 })
    }

    /// How many bytes are in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what a socket has into the pipe, which is empty: so would-block always means that the socket has nothing.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert!(self.held == 0, "a full pipe and an empty socket would look the same");
        let (_, inlet) = self.ends.as_ref().expect("it is there until it is dropped");
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        self.held = splice(from, None, inlet, None, PIPE_BYTES, flags)?;
        Ok(self.held)
    }

    /// Moves what is in the pipe into a socket, as much as that takes.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let (outlet, _) = self.ends.as_ref().expect("it is there until it is dropped");
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(outlet, None, to, None, self.held, flags)?;
        self.held -= moved;
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        IN_USE.set(IN_USE.get().saturating_sub(1));
        // With bytes in it, it would give them to whoever takes it next.
        if self.held == 0
            && let Some(ends) = self.ends.take()
        {
            KEPT.with_borrow_mut(|kept| {
                if kept.len() < KEPT_MAX {
                    kept.push(ends);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_pass_and_an_emptied_pipe_is_kept() {
        let (mut speaker, from) = UnixStream::pair().expect("a pair");
        let (to, mut hearer) = UnixStream::pair().expect("a pair");
        speaker.write_all(b"hello").expect("room");

        let mut pipe = Pipe::take().expect("a pipe");
        assert_eq!(pipe.fill(&from).expect("five bytes"), 5);
        assert_eq!(pipe.drain(&to).expect("room"), 5);
        drop(pipe);

        let mut heard = [0; 5];
        hearer.read_exact(&mut heard).expect("five bytes");
        assert_eq!(&heard, b"hello");
        assert_eq!((KEPT.with_borrow(Vec::len), IN_USE.get()), (1, 0));
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_given_to_nobody() {
        let (mut speaker, from) = UnixStream::pair().expect("a pair");
        speaker.write_all(b"secret").expect("room");
        let mut pipe = Pipe::take().expect("a pipe");
        assert_eq!(pipe.fill(&from).expect("six bytes"), 6);

        drop(pipe);

        assert_eq!((KEPT.with_borrow(Vec::len), IN_USE.get()), (0, 0));
    }
}
