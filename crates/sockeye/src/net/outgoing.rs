//! The outgoing slot of a stream: one message, encoded, and how much of it was written.
//!
//! What is in the slot belongs to the socket: dropping the future that put it there changes nothing, and whatever writes
//! next writes its rest first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Up to this many bytes a payload is copied behind its header: cheaper than a second slice.
const COPIED_BYTES_MAX: usize = 4_096;

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Control frames, which go between messages; nothing of them was written.
    control: Vec<u8>,
    /// Control frames of which a part was written, and how much: they go to their end.
    begun: Vec<u8>,
    begun_written: usize,
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
        !self.control.is_empty() || !self.begun.is_empty() || self.unflushed
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

    /// Drops control frames of which nothing was written.
    pub(super) fn forget_control(&mut self) {
        self.control.clear();
    }

    /// Writes what there is until nothing is left, and through the stream.
    ///
    /// # Errors
    /// The stream's. Where nothing can be written any more, that is told once, and what was in the slot is gone.
    pub(super) fn poll_flush(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(self.poll_write_out(stream, cx));
        if outcome.as_ref().is_err_and(is_lasting) {
            *self = Outgoing { ended: self.ended, taken: self.taken, ..Outgoing::default() };
        }
        Poll::Ready(outcome)
    }

    fn poll_write_out(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mid_message = self.written > 0;
            if !self.begun.is_empty() {
                let bytes = &self.begun[self.begun_written..];
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
                self.unflushed = true;
                self.begun_written += nonzero(count)?;
                self.taken += count as u64;
                if self.begun_written == self.begun.len() {
                    (self.begun, self.begun_written) = (Vec::new(), 0);
                }
            } else if !self.control.is_empty() && !mid_message {
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.control))?;
                self.unflushed = true;
                let written = nonzero(count)?;
                self.taken += count as u64;
                let control = std::mem::take(&mut self.control);
                if written < control.len() {
                    (self.begun, self.begun_written) = (control, written);
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

    fn poll_write_message(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A pong of so many bytes takes the place of those that were not begun.
        Pong(u8),
        Message(u16),
        /// The stream takes so many bytes more.
        Room(u16),
    }

    proptest! {
        #[test]
        fn frames_stay_whole_and_only_the_newest_pong_waits(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut outgoing = Outgoing::default();
            let mut stream = Narrow::default();
            let (mut pongs, mut messages) = (0, 0);
            // How much had been written when each pong came.
            let mut written_before = Vec::new();
            for step in steps {
                match step {
                    Step::Pong(bytes) => {
                        written_before.push(stream.taken.len());
                        outgoing.forget_control();
                        write_frame(outgoing.control(), b'p', pongs, usize::from(bytes));
                        pongs += 1;
                    }
                    Step::Message(bytes) if outgoing.is_free() => {
                        let mut frame = Vec::new();
                        write_frame(&mut frame, b'm', messages, usize::from(bytes));
                        let body = frame.split_off(HEAD_BYTES);
                        outgoing.put(body, |head| head.extend_from_slice(&frame));
                        messages += 1;
                    }
                    Step::Message(_) => {}
                    Step::Room(bytes) => {
                        stream.room = usize::from(bytes);
                        let _ = flush(&mut outgoing, &mut stream);
                    }
                }
            }
            stream.room = usize::MAX;
            prop_assert!(flush(&mut outgoing, &mut stream).is_ready());

            let frames = read_frames(&stream.taken)?;

            let sent = |kind| frames.iter().filter(move |frame| frame.kind == kind);
            prop_assert!(sent(b'm').map(|frame| frame.index).eq(0..messages));
            prop_assert!(sent(b'p').is_sorted_by(|one, next| one.index < next.index));
            prop_assert_eq!(sent(b'p').next_back().map(|frame| frame.index), pongs.checked_sub(1));
            for frame in sent(b'p').filter(|frame| frame.index + 1 < pongs) {
                let was_begun = frame.at < written_before[frame.index as usize + 1];
                prop_assert!(was_begun, "{} went out though a newer one had come before it began", frame.index);
            }
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..=125_u8).prop_map(Step::Pong),
            1 => (0..6_000_u16).prop_map(Step::Message),
            4 => (0..200_u16).prop_map(Step::Room),
            1 => (0..10_000_u16).prop_map(Step::Room),
        ]
    }

    /// A stream that takes what there is room for.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let count = bytes.len().min(this.room);
            if count == 0 {
                return Poll::Pending;
            }
            this.room -= count;
            this.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn flush(outgoing: &mut Outgoing, stream: &mut Narrow) -> Poll<io::Result<()>> {
        outgoing.poll_flush(stream, &mut Context::from_waker(Waker::noop()))
    }

    /// Kind, index and length of what follows, which is the index again and again.
    const HEAD_BYTES: usize = 4;

    struct Frame {
        at: usize,
        kind: u8,
        index: u8,
    }

    fn write_frame(out: &mut Vec<u8>, kind: u8, index: u8, bytes: usize) {
        out.extend([kind, index]);
        out.extend((bytes as u16).to_be_bytes());
        out.resize(out.len() + bytes, index);
    }

    fn read_frames(mut bytes: &[u8]) -> Result<Vec<Frame>, TestCaseError> {
        let total = bytes.len();
        let mut frames = Vec::new();
        while let [kind @ (b'p' | b'm'), index, high, low, rest @ ..] = bytes {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            prop_assert!(rest.len() >= length, "the last frame is cut");
            let (body, rest) = rest.split_at(length);
            prop_assert!(body.iter().all(|byte| byte == index), "another frame begins within one");
            frames.push(Frame { at: total - bytes.len(), kind: *kind, index: *index });
            bytes = rest;
        }
        prop_assert!(bytes.is_empty(), "no frame begins with {:?}", bytes.first());
        Ok(frames)
    }
}
