//! Streams that the kernel carries by itself, taken out of their socket: for whoever moves bytes without looking at them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::kind::Kind;
use super::socket::{Core, Socket};
use super::transport::Transport;

/// A stream with nothing of ours upon it.
#[derive(Debug)]
pub(crate) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Gives the same call to either kind.
macro_rules! each {
    ($plain:expr, $stream:ident => $call:expr) => {
        match $plain {
            Plain::Tcp($stream) => $call,
            Plain::Unix($stream) => $call,
        }
    };
}

impl Plain {
    /// Reads what there is; nothing is the end.
    pub(crate) fn poll_read(&mut self, room: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, room))
    }

    /// Writes as much as is taken.
    pub(crate) fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match each!(self, stream => Pin::new(stream).poll_shutdown(cx)) {
            // The peer has gone already: there is nobody left to tell.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => other,
        }
    }

    /// Makes a call of the system that takes from the stream, when there is something. Would-block must mean that there is not.
    pub(crate) fn poll_taking(
        &self,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_calling(Interest::READABLE, call, cx)
    }

    /// Makes a call of the system that gives to the stream, when it takes something. Would-block must mean that it does not.
    pub(crate) fn poll_giving(
        &self,
        call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_calling(Interest::WRITABLE, call, cx)
    }

    fn poll_calling(
        &self,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let outcome = each!(self, stream => {
                if interest.is_readable() {
                    ready!(stream.poll_read_ready(cx))?;
                } else {
                    ready!(stream.poll_write_ready(cx))?;
                }
                stream.try_io(interest, || call(stream.as_fd()))
            });
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl Socket {
    /// Says whether [`Socket::into_plain`] gives a stream.
    pub(crate) fn is_plain(&self) -> bool {
        let is_bare = matches!(&self.core, Core::Stream(stream) if stream.is_idle());
        let by_kernel = matches!(self.core.transport(), Some(Transport::Tcp(_) | Transport::Unix(_)));
        matches!(self.kind, Kind::Stream(_)) && is_bare && by_kernel
    }

    /// The stream beneath, if there is nothing else in this socket.
    pub(crate) fn into_plain(self) -> std::result::Result<Plain, Socket> {
        if !self.is_plain() {
            return Err(self);
        }
        let Core::Stream(stream) = self.core else { unreachable!("it was just looked at") };
        match stream.into_transport() {
            Transport::Tcp(tcp) => Ok(Plain::Tcp(tcp)),
            Transport::Unix(unix) => Ok(Plain::Unix(unix)),
            _ => unreachable!("it was just looked at"),
        }
    }
}
