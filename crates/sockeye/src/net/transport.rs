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
    Tls(Box<tokio_rustls::TlsStream<Beneath>>),
    Process(Box<Process>),
    Descriptor(Descriptor),
}

/// A stream under TLS, which counts what it takes: what TLS has taken may still be in its buffer.
#[derive(Debug)]
pub(super) struct Beneath {
    stream: Transport,
    taken: u64,
}

impl Beneath {
    pub(super) fn new(stream: Transport) -> Beneath {
        Beneath { stream, taken: 0 }
    }

    fn count(&mut self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = taken {
            self.taken += count as u64;
        }
        taken
    }
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
            Transport::Tls(tls) => tls.get_ref().0.stream.peer(),
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
            Transport::Tls(tls) => tls.get_ref().0.stream.local(),
            Transport::Process(_) | Transport::Descriptor(_) => Peer::Unnamed,
        }
    }

    /// The socket beneath everything, if there is one.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Transport::Tcp(tcp) => Some(tcp.as_fd()),
            Transport::Unix(unix) => Some(unix.as_fd()),
            Transport::Tls(tls) => tls.get_ref().0.stream.socket(),
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
            Transport::Tls(tls) => tls.get_mut().0.stream.process_mut(),
            _ => None,
        }
    }

    /// How many bytes the stream under TLS has taken; none where there is no TLS.
    pub(super) fn taken_beneath(&self) -> u64 {
        match self {
            Transport::Tls(tls) => tls.get_ref().0.taken + tls.get_ref().0.stream.taken_beneath(),
            _ => 0,
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

impl AsyncRead for Beneath {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Beneath {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(taken)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream as StdStream;

    use base64::Engine as _;

    use super::super::{ToAddress as _, tls};
    use super::*;

    #[tokio::test]
    async fn what_leaves_the_buffer_of_tls_is_counted() {
        let (mut ours, mut raw) = tls_over_unix().await;
        // Until the socket is full, and then the buffer of TLS.
        while poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_write(cx, &[7; 8_192]))).await.is_ready() {}
        let before = ours.taken_beneath();

        let mut piece = [0; 65_536];
        while raw.read(&mut piece).is_ok() {}
        poll_fn(|cx| Pin::new(&mut ours).poll_flush(cx)).await.expect("there is room for all of it");

        let mut left = 0;
        while let Ok(count) = raw.read(&mut piece) {
            left += count as u64;
        }
        assert!(left > 0);
        assert_eq!(ours.taken_beneath() - before, left);
    }

    /// One end of a connection, and the socket at the other, which nobody reads.
    async fn tls_over_unix() -> (Transport, StdStream) {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let pem = |label: &str, der: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let both =
            pem("CERTIFICATE", made.cert.der()) + &pem("PRIVATE KEY", &made.signing_key.serialize_der());
        let file = folder.path().join("both.pem");
        std::fs::write(&file, both).expect("a file");
        let address = |option: &str| {
            format!("tls:localhost:1?{option}={}", file.display()).to_address().expect("an address")
        };
        let (server, client) = (address("cert"), address("ca"));
        let acceptor = tls::acceptor(&server).expect("a certificate");
        let prepared = tls::prepare(&client).expect("an authority");
        let (ours, theirs) = StdStream::pair().expect("a pair");
        let raw = theirs.try_clone().expect("a second descriptor");
        let [ours, theirs] = [ours, theirs].map(|stream| {
            stream.set_nonblocking(true).expect("a socket can be");
            Transport::Unix(UnixStream::from_std(stream).expect("a runtime"))
        });

        let (ours, theirs) =
            tokio::join!(tls::accept(&server, &acceptor, ours), tls::connect(&client, prepared, theirs));

        theirs.expect("they shake hands");
        (ours.expect("they shake hands"), raw)
    }
}
