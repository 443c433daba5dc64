//! A stream of bytes, whatever carries it: what TLS, WebSocket and framing stand upon.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::descriptor::Descriptor;
use super::peer::Peer;
use super::process::Process;

/// A connected stream.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::TlsStream<Transport>>),
    Process(Box<Process>),
    Descriptor(Descriptor),
}

impl Transport {
    /// Who is at the other end.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Transport::Tcp(tcp) => tcp.peer_addr().map_or(Peer::Unnamed, Peer::Ip),
            Transport::Unix(unix) => match unix.peer_addr() {
                Ok(name) => Peer::of_unix(&name.into()),
                Err(_) => Peer::Unix(None),
            },
            Transport::Tls(tls) => tls.get_ref().0.peer(),
            Transport::Process(process) => process.id().map_or(Peer::Unnamed, Peer::Process),
            Transport::Descriptor(_) => Peer::Unnamed,
        }
    }

    /// Our own end.
    pub(super) fn local(&self) -> Peer {
        match self {
            Transport::Tcp(tcp) => tcp.local_addr().map_or(Peer::Unnamed, Peer::Ip),
            Transport::Unix(unix) => match unix.local_addr() {
                Ok(name) => Peer::of_unix(&name.into()),
                Err(_) => Peer::Unix(None),
            },
            Transport::Tls(tls) => tls.get_ref().0.local(),
            Transport::Process(_) | Transport::Descriptor(_) => Peer::Unnamed,
        }
    }

    /// The socket beneath everything, if there is one.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Transport::Tcp(tcp) => Some(tcp.as_fd()),
            Transport::Unix(unix) => Some(unix.as_fd()),
            Transport::Tls(tls) => tls.get_ref().0.socket(),
            Transport::Process(_) | Transport::Descriptor(_) => None,
        }
    }

    pub(super) fn tls(&self) -> Option<&rustls::CommonState> {
        match self {
            Transport::Tls(tls) => Some(match &**tls {
                tokio_rustls::TlsStream::Client(client) => client.get_ref().1,
                tokio_rustls::TlsStream::Server(server) => server.get_ref().1,
            }),
            _ => None,
        }
    }

    pub(super) fn process_mut(&mut self) -> Option<&mut Process> {
        match self {
            Transport::Process(process) => Some(process),
            Transport::Tls(tls) => tls.get_mut().0.process_mut(),
            _ => None,
        }
    }

    /// Whether reading may have to write and writing to read, so that one waker must serve both halves.
    pub(super) fn is_entangled(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }
}

/// Gives the same call to whatever carries the stream.
macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport.get_mut() {
            Transport::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Transport::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Transport::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Transport::Process(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Transport::Descriptor(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match each!(self, stream => stream.poll_shutdown(cx)) {
            // The peer has gone already: there is nobody left to tell.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => other,
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Tcp(_) | Transport::Unix(_) => true,
            Transport::Tls(tls) => tls.is_write_vectored(),
            Transport::Process(_) | Transport::Descriptor(_) => false,
        }
    }
}
