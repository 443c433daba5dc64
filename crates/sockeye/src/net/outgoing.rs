//! The outgoing slot of a stream: one message, encoded, and how much of it was written.
//!
//! What is in the slot belongs to the socket: dropping the future that put it there changes nothing, and whatever writes
//! next writes its rest first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::transport::Transport;

/// Up to this many bytes a payload is copied behind its header: cheaper than a second slice.
const COPIED_BYTES_MAX: usize = 4_096;

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Control frames, which go between messages.
    control: Vec<u8>,
    control_written: usize,
    /// How long the control frame is that is half written, with those that were put in before it was begun.
    control_begun: usize,
    /// How many bytes the stream has taken in all.
    taken: u64,
    head: Vec<u8>,
    body: Vec<u8>,
    /// How much of head and body was written.
    written: usize,
    /// Written to the stream, but perhaps not through it.
    unflushed: bool,
    /// Our side of the stream was ended: nothing is put in any more.
    pub(super) ended: bool,
}

impl Outgoing {
    /// Says whether a message may be put in.
    pub(super) fn is_free(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Says whether control frames wait for room, in here or in the stream below.
    pub(super) fn holds_control(&self) -> bool {
        !self.control.is_empty() || self.unflushed
    }

    /// How many bytes the stream has taken in all.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Puts a message in: `write_head` writes what comes before the body.
    pub(super) fn put(&mut self, body: Vec<u8>, write_head: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.is_free(), "one message at a time");
        write_head(&mut self.head);
        if self.head.is_empty() || body.len() > COPIED_BYTES_MAX {
            self.body = body;
        } else {
            self.head.extend_from_slice(&body);
        }
    }

    /// Puts bytes between messages: before the one in the slot, unless it was begun.
    pub(super) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    /// Drops control frames that were not begun.
    pub(super) fn forget_control(&mut self) {
        self.control.truncate(if self.control_written == 0 { 0 } else { self.control_begun });
    }

    /// Writes what there is until nothing is left, and through the stream.
    ///
    /// # Errors
    /// The stream's. Where nothing can be written any more, that is told once, and what was in the slot is gone.
    pub(super) fn poll_flush(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(self.poll_write_out(stream, cx));
        if outcome.as_ref().is_err_and(is_lasting) {
            *self = Outgoing { ended: self.ended, taken: self.taken, ..Outgoing::default() };
        }
        Poll::Ready(outcome)
    }

    fn poll_write_out(&mut self, stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mid_message = self.written > 0;
            if !self.control.is_empty() && !mid_message {
                if self.control_written == 0 {
                    self.control_begun = self.control.len();
                }
                let bytes = &self.control[self.control_written..];
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
                self.unflushed = true;
                self.control_written += nonzero(count)?;
                self.taken += count as u64;
                if self.control_written == self.control.len() {
                    (self.control, self.control_written) = (Vec::new(), 0);
                }
            } else if !self.is_free() {
                let count = ready!(self.poll_write_message(stream, cx))?;
                self.unflushed = true;
                self.written += nonzero(count)?;
                self.taken += count as u64;
                if self.written == self.head.len() + self.body.len() {
                    self.head.clear();
                    self.body = Vec::new();
                    self.written = 0;
                }
            } else if self.unflushed {
                ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                self.unflushed = false;
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write_message(&self, stream: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        let Some(head) = self.head.get(self.written..).filter(|head| !head.is_empty()) else {
            return stream.poll_write(cx, &self.body[self.written - self.head.len()..]);
        };
        if self.body.is_empty() {
            return stream.poll_write(cx, head);
        }
        stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(&self.body)])
    }
}

/// Whether a stream that failed so takes nothing any more.
fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind as Io;
    matches!(
        error.kind(),
        Io::BrokenPipe | Io::ConnectionReset | Io::ConnectionAborted | Io::NotConnected | Io::TimedOut
    )
}

fn nonzero(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}
