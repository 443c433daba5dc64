//! The one socket: its life from `connect` to `close`, whatever its kind.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::datagram::Datagram;
use super::framed::Framed;
use super::kind::{Kind, StreamKind, Traits};
use super::message::{Close, Message, MessageKind};
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::transport::Transport;
use super::websocket::{WebSocket, poll_fill};
use super::{Connector, Error, ErrorKind, Result, ToAddress, der};

/// How long a close may wait for the peer's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket of any kind.
///
/// | classical call | here |
/// |---|---|
/// | `socket()` | [`Socket::new`], or implied by an address |
/// | `bind()` | [`Draft::bind`](crate::net::Draft::bind), [`Socket::bind`] |
/// | `listen()`, `accept()` | [`Listener::bind`](crate::net::Listener::bind), [`Listener::accept`](crate::net::Listener::accept) |
/// | `connect()` | [`Socket::connect`] |
/// | `send()`, `recv()` | [`Socket::send`], [`Socket::recv`] |
/// | `sendto()`, `recvfrom()` | [`Socket::send_to`], [`Socket::recv_from`] |
/// | `shutdown()` | [`Socket::finish`] |
/// | `close()` | [`Socket::close`]; dropping is abrupt |
///
/// # Dropped futures
///
/// A dropped `recv` loses nothing: whatever arrived is received by the next. `send` first empties the socket's one
/// outgoing slot, then puts its message there and writes it out; from the moment the message is in the slot it will be
/// sent, once, by whatever is called next ([`Socket::flush`] does only that). [`Socket::taken`] tells how many messages
/// got that far.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use sockeye::net::{Listener, Socket};
///
/// let mut listener = Listener::bind("tcp:127.0.0.1:0").await?;
/// let mut client = Socket::connect(listener.address()).await?;
/// let (mut server, _peer) = listener.accept().await?;
///
/// client.send("hello").await?;
/// client.finish().await?;
/// assert_eq!(server.recv().await?.map(|message| message.bytes), Some(b"hello".to_vec()));
/// assert!(server.recv().await?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Socket {
    pub(super) core: Core,
    pub(super) kind: Kind,
    /// The address, for errors.
    pub(super) name: String,
    pub(super) peer: Peer,
    taken: u64,
}

pub(super) enum Core {
    Stream(Box<ByteStream>),
    Datagram(Box<Datagram>),
    WebSocket(Box<WebSocket>),
    Framed(Box<Framed>),
}

/// A stream of bytes, and what is to be written to it.
pub(super) struct ByteStream {
    transport: Transport,
    outgoing: Outgoing,
}

impl ByteStream {
    pub(super) fn new(transport: Transport) -> ByteStream {
        ByteStream { transport, outgoing: Outgoing::default() }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.is_free()
    }

    pub(super) fn into_transport(self) -> Transport {
        self.transport
    }
}

impl Socket {
    pub(super) fn of(kind: Kind, name: String, core: Core) -> Socket {
        let peer = match &core {
            Core::Datagram(datagram) => datagram.peer(),
            core => core.transport().map_or(Peer::Unnamed, Transport::peer),
        };
        Socket { core, kind, name, peer, taken: 0 }
    }

    /// Connects to an address: looks the name up, connects, shakes hands, as its stack demands.
    ///
    /// # Errors
    /// Says which step failed, and what to try; see [`ErrorKind`].
    pub async fn connect(address: impl ToAddress) -> Result<Socket> {
        Connector::new(address)?.connect().await
    }

    /// Makes a datagram socket with a local address and no peer: for [`Socket::recv_from`] and [`Socket::send_to`].
    ///
    /// # Errors
    /// When the address is of another kind, or cannot be bound.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use sockeye::net::Socket;
    ///
    /// let mut a = Socket::bind("udp:127.0.0.1:0").await?;
    /// let mut b = Socket::bind("udp:127.0.0.1:0").await?;
    /// a.send_to(b"ping".to_vec(), &b.local()).await?;
    /// let (bytes, from) = b.recv_from().await?;
    /// assert_eq!((bytes, from), (b"ping".to_vec(), a.local()));
    /// # Ok::<(), sockeye::net::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn bind(address: impl ToAddress) -> Result<Socket> {
        super::connect::bind(address.to_address()?).await
    }

    /// What the kind can do.
    pub fn traits(&self) -> Traits {
        let traits = self.kind.traits();
        match self.kind {
            // What stands on a stream has the addresses of what is beneath.
            Kind::Message(_) | Kind::Stream(StreamKind::Tls) => {
                Traits { peer_address: self.peer.ip().is_some(), ..traits }
            }
            _ => traits,
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Our own end.
    pub fn local(&self) -> Peer {
        match &self.core {
            Core::Datagram(datagram) => datagram.local(),
            core => core.transport().map_or(Peer::Unnamed, Transport::local),
        }
    }

    /// The address that it was opened with, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the peer closed it, of a WebSocket that it closed.
    pub fn closed(&self) -> Option<&Close> {
        match &self.core {
            Core::WebSocket(websocket) => websocket.closed.as_ref(),
            _ => None,
        }
    }

    /// The subprotocol that was agreed on, of a WebSocket.
    pub fn subprotocol(&self) -> Option<&str> {
        match &self.core {
            Core::WebSocket(websocket) => websocket.subprotocol.as_deref(),
            _ => None,
        }
    }

    /// The state of TLS, of a socket that has it: version, cipher, protocol, the peer's certificates.
    pub fn tls(&self) -> Option<&rustls::CommonState> {
        self.core.transport().and_then(Transport::tls)
    }

    /// When the peer's certificate ends, in seconds of Unix time, of a socket with TLS.
    pub fn certificate_ends_at(&self) -> Option<i64> {
        let chain = self.tls()?.peer_certificates()?;
        der::not_after(chain.first()?)
    }

    /// Receives pings and pongs as messages, too. Pings are answered in any case. Without meaning where there are none.
    pub fn show_control(&mut self, visible: bool) {
        if let Core::WebSocket(websocket) = &mut self.core {
            websocket.control_is_visible = visible;
        }
    }

    /// How many messages were taken to be sent: of a `send` that was dropped, whether its message is among them.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Sends a message, a datagram, or bytes of a stream.
    ///
    /// # Errors
    /// When the connection is broken, or the message does not fit this kind of socket.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        let mut message = Some(message.into());
        poll_fn(|cx| {
            ready!(self.poll_ready(cx))?;
            if let Some(message) = message.take() {
                self.start_send(message)?;
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Receives a message, a datagram, or what there is of a stream, at most 64 KiB. `None` is an orderly end.
    ///
    /// # Errors
    /// When the connection broke, or the peer broke the protocol.
    pub async fn recv(&mut self) -> Result<Option<Message>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Sends one datagram to a peer.
    ///
    /// # Errors
    /// When this is no datagram socket, or the datagram is too large.
    pub async fn send_to(&mut self, bytes: impl Into<Vec<u8>>, to: &Peer) -> Result<()> {
        let mut bytes = Some(bytes.into());
        poll_fn(|cx| {
            ready!(self.poll_ready(cx))?;
            let Core::Datagram(datagram) = &mut self.core else {
                return Poll::Ready(Err(self.cannot("send to a peer by its address")));
            };
            if let Some(bytes) = bytes.take() {
                datagram.start_send(&self.name, bytes, Some(to.clone()))?;
                self.taken += 1;
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Receives one datagram, and whose it is.
    ///
    /// # Errors
    /// When this is no datagram socket.
    pub async fn recv_from(&mut self) -> Result<(Vec<u8>, Peer)> {
        let received = poll_fn(|cx| match &mut self.core {
            Core::Datagram(datagram) => datagram.poll_recv_from(&self.name, cx),
            _ => Poll::Ready(Err(self.cannot("receive with the peer's address"))),
        });
        let received = received.await?;
        received.ok_or_else(|| {
            Error::new(ErrorKind::EndedEarly, &self.name, "the session was idle, and has ended")
        })
    }

    /// Writes out what a dropped `send` left.
    ///
    /// # Errors
    /// As `send`.
    pub async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Says that nothing more will be sent. Receiving goes on until the peer ends.
    ///
    /// A stream is half-closed. A WebSocket is asked to be closed: the peer may still send until it answers. A datagram
    /// socket has no end that could be told.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn finish(&mut self) -> Result<()> {
        self.finish_with(Close::normal()).await
    }

    /// [`Socket::finish`] with a code and a reason, which only a WebSocket carries.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn finish_with(&mut self, close: Close) -> Result<()> {
        poll_fn(|cx| self.poll_finish(&close, cx)).await
    }

    /// Ends it in good order: writes out what was taken, says goodbye, and of a WebSocket waits up to 5 s for the peer's
    /// goodbye. A child process is waited for. What arrives meanwhile is not received.
    ///
    /// # Errors
    /// When the connection is broken before everything was written.
    pub async fn close(&mut self) -> Result<()> {
        self.close_with(Close::normal()).await
    }

    /// [`Socket::close`] with a code and a reason, which only a WebSocket carries.
    ///
    /// # Errors
    /// When the connection is broken before everything was written.
    pub async fn close_with(&mut self, close: Close) -> Result<()> {
        self.finish_with(close).await?;
        if let Core::WebSocket(_) = self.core {
            let end = async { while let Ok(Some(_)) = self.recv().await {} };
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, end).await;
            if let Some(transport) = self.core.transport_mut() {
                let _ = poll_fn(|cx| Pin::new(&mut *transport).poll_shutdown(cx)).await;
            }
        }
        self.wait().await?;
        Ok(())
    }

    /// Closes the standard input and output of a child process, waits for its end, and tells how it ended; `None` for what
    /// is no process.
    ///
    /// # Errors
    /// The system's.
    pub async fn wait(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = self.core.transport_mut().and_then(Transport::process_mut) else {
            return Ok(None);
        };
        let status = process.wait().await;
        status.map(Some).map_err(|error| Error::system(&self.name, "cannot wait for the process", error))
    }

    /// [`Socket::recv`], polled.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        match &mut self.core {
            Core::Stream(stream) => {
                let mut bytes = Vec::new();
                Poll::Ready(match ready!(poll_fill(&mut stream.transport, &mut bytes, cx)) {
                    Ok(0) => Ok(None),
                    Ok(count) => {
                        // What holds little should not hold the room for much.
                        if count < bytes.capacity() / 2 {
                            bytes.shrink_to_fit();
                        }
                        Ok(Some(Message::binary(bytes)))
                    }
                    Err(error) => Err(Error::from_io(&self.name, "the connection broke", error)),
                })
            }
            Core::Datagram(datagram) => {
                let received = ready!(datagram.poll_recv_from(&self.name, cx))?;
                Poll::Ready(Ok(received.map(|(bytes, _)| Message::binary(bytes))))
            }
            Core::WebSocket(websocket) => websocket.poll_recv(&self.name, cx),
            Core::Framed(framed) => framed.poll_recv(&self.name, cx),
        }
    }

    /// Waits until the outgoing slot is free.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let is_free = match &self.core {
            Core::Stream(stream) => stream.outgoing.is_free(),
            Core::Datagram(datagram) => datagram.is_free(),
            Core::WebSocket(websocket) => websocket.outgoing.is_free(),
            Core::Framed(framed) => framed.outgoing.is_free(),
        };
        if is_free { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Puts a message into the outgoing slot; to be called when [`Socket::poll_ready`] was ready.
    ///
    /// # Errors
    /// When the message does not fit this kind of socket.
    ///
    /// # Panics
    /// When the slot is not free.
    pub fn start_send(&mut self, message: Message) -> Result<()> {
        match &mut self.core {
            Core::WebSocket(websocket) => {
                assert!(websocket.outgoing.is_free(), "poll_ready comes before start_send");
                websocket.start_send(&self.name, message)?;
            }
            Core::Framed(framed) => {
                assert!(framed.outgoing.is_free(), "poll_ready comes before start_send");
                framed.start_send(&self.name, message)?;
            }
            _ if matches!(message.kind, MessageKind::Ping | MessageKind::Pong) => {
                return Err(self.cannot("send pings and pongs"));
            }
            Core::Stream(stream) => {
                assert!(stream.outgoing.is_free(), "poll_ready comes before start_send");
                stream.outgoing.put(message.bytes, |_| {});
            }
            Core::Datagram(datagram) => {
                assert!(datagram.is_free(), "poll_ready comes before start_send");
                datagram.start_send(&self.name, message.bytes, None)?;
            }
        }
        self.taken += 1;
        Ok(())
    }

    /// [`Socket::flush`], polled.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let outcome = match &mut self.core {
            Core::Stream(stream) => stream.outgoing.poll_flush(&mut stream.transport, cx),
            Core::Datagram(datagram) => return datagram.poll_flush(&self.name, cx),
            Core::WebSocket(websocket) => websocket.poll_flush(cx),
            Core::Framed(framed) => framed.poll_flush(cx),
        };
        Poll::Ready(ready!(outcome).map_err(|error| Error::from_io(&self.name, "cannot send", error)))
    }

    /// [`Socket::finish_with`], polled.
    pub fn poll_finish(&mut self, close: &Close, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_flush(cx))?;
        let outcome = match &mut self.core {
            Core::Datagram(_) => Poll::Ready(Ok(())),
            Core::WebSocket(websocket) => websocket.poll_finish(close, cx),
            Core::Stream(stream) => Pin::new(&mut stream.transport).poll_shutdown(cx),
            Core::Framed(framed) => Pin::new(&mut framed.transport).poll_shutdown(cx),
        };
        Poll::Ready(
            ready!(outcome).map_err(|error| Error::from_io(&self.name, "cannot end the stream", error)),
        )
    }

    pub(super) fn cannot(&self, what: &str) -> Error {
        let what = format!("{} sockets cannot {what}", self.kind.name());
        Error::new(ErrorKind::Usage, &self.name, what)
    }

    /// The socket of the system, if there is one.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.core {
            Core::Datagram(datagram) => Some(datagram.socket()),
            core => core.transport().and_then(Transport::socket),
        }
    }

    fn stream(&mut self) -> io::Result<(&mut Transport, &mut Outgoing)> {
        match &mut self.core {
            Core::Stream(stream) => Ok((&mut stream.transport, &mut stream.outgoing)),
            _ => {
                Err(Error::new(ErrorKind::Usage, &self.name, "it has messages, not bytes: use recv and send")
                    .into_io())
            }
        }
    }
}

impl Core {
    pub(super) fn transport(&self) -> Option<&Transport> {
        match self {
            Core::Stream(stream) => Some(&stream.transport),
            Core::WebSocket(websocket) => Some(&websocket.transport),
            Core::Framed(framed) => Some(&framed.transport),
            Core::Datagram(_) => None,
        }
    }

    fn transport_mut(&mut self) -> Option<&mut Transport> {
        match self {
            Core::Stream(stream) => Some(&mut stream.transport),
            Core::WebSocket(websocket) => Some(&mut websocket.transport),
            Core::Framed(framed) => Some(&mut framed.transport),
            Core::Datagram(_) => None,
        }
    }
}

/// For streams; a socket with messages gives an error. What was taken by `send` is written first, and the promises are
/// those of tokio's own streams.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (transport, _) = self.get_mut().stream()?;
        Pin::new(transport).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (transport, outgoing) = self.get_mut().stream()?;
        ready!(outgoing.poll_flush(transport, cx))?;
        Pin::new(transport).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (transport, outgoing) = self.get_mut().stream()?;
        ready!(outgoing.poll_flush(transport, cx))?;
        Pin::new(transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (transport, outgoing) = self.get_mut().stream()?;
        ready!(outgoing.poll_flush(transport, cx))?;
        Pin::new(transport).poll_shutdown(cx)
    }
}

/// The messages that are received, until an orderly end.
impl futures_core::Stream for Socket {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        self.get_mut().poll_recv(cx).map(Result::transpose)
    }
}

/// The messages that are sent; closing finishes.
impl futures_sink::Sink<Message> for Socket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<()> {
        self.get_mut().start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_finish(&Close::normal(), cx)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Socket")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
