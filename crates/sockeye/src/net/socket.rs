//! The one socket: its life from `connect` to `close`, whatever its kind.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::SockRef;

use super::datagram::Datagram;
use super::framed::Framed;
use super::http::Exchange;
use super::kind::Kind;
use super::message::{Close, Message};
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::transport::Transport;
use super::websocket::WebSocket;
use super::{Connector, Error, ErrorKind, Result, ToAddress};

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
    pub(super) taken: u64,
}

pub(super) enum Core {
    Stream(Box<ByteStream>),
    Datagram(Box<Datagram>),
    WebSocket(Box<WebSocket>),
    Framed(Box<Framed>),
    Http(Box<Exchange>),
}

/// A stream of bytes, and what is to be written to it.
pub(super) struct ByteStream {
    pub(super) transport: Transport,
    pub(super) outgoing: Outgoing,
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
            Core::Datagram(_) => Peer::Unnamed,
            core => core.transport().map_or(Peer::Unnamed, Transport::peer),
        };
        Socket { core, kind, name, peer, taken: 0 }
    }

    /// Connects to an address: looks the name up, connects, shakes hands, as its stack demands.
    ///
    /// # Errors
    /// Says which step failed, and what to try; see [`ErrorKind`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("sh:echo hello").await?;
    /// let message = socket.recv().await?.expect("it says something");
    /// assert_eq!(message.as_text(), Some("hello\n"));
    /// # Ok(())
    /// # }
    /// ```
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

    /// Receives pings and pongs as messages, too. A WebSocket answers pings in any case, `jsonl+` never: it only carries
    /// them. Without meaning where there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Message, MessageKind, Socket};
    ///
    /// let mut listener = Listener::bind("ws://127.0.0.1:0/").await?;
    /// let connecting = tokio::spawn(Socket::connect(listener.address().clone()));
    /// let (mut server, _peer) = listener.accept().await?;
    /// let mut client = connecting.await??;
    /// client.show_control(true);
    /// client.send(Message::ping("there?")).await?;
    /// let answering = tokio::spawn(async move { server.recv().await });
    /// let pong = client.recv().await?.expect("it is answered");
    /// assert_eq!((pong.kind, pong.as_text()), (MessageKind::Pong, Some("there?")));
    /// answering.abort();
    /// # Ok(())
    /// # }
    /// ```
    pub fn show_control(&mut self, visible: bool) {
        match &mut self.core {
            Core::WebSocket(websocket) => websocket.control_is_visible = visible,
            Core::Framed(framed) => framed.control_is_visible = visible,
            Core::Stream(_) | Core::Datagram(_) | Core::Http(_) => {}
        }
    }

    /// Leaves the answer to the peer's close to [`Socket::finish`]: when that close is received, messages can still be sent.
    /// RFC 6455, 5.5.1: an endpoint may delay its answer until what it is sending is sent. Without meaning where a close needs no
    /// answer.
    pub(crate) fn hold_close_answer(&mut self) {
        if let Core::WebSocket(websocket) = &mut self.core {
            websocket.answer_is_held = true;
        }
    }

    /// Makes the end of a stream over TCP a reset, when this is dropped. A WebSocket and TLS have ends in good order of their own,
    /// which then are missing; where there is no TCP beneath there is nothing to reset.
    pub(crate) fn reset_when_dropped(&self) {
        if !matches!(self.core, Core::WebSocket(_))
            && let Some(Transport::Tcp(tcp)) = self.core.transport()
        {
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// How many messages were taken to be sent: of a `send` that was dropped, whether its message is among them.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// assert_eq!(socket.taken(), 0);
    /// socket.send("hello").await?;
    /// assert_eq!(socket.taken(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Sends a message, a datagram, or bytes of a stream.
    ///
    /// # Errors
    /// When the connection is broken, or the message does not fit this kind of socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// socket.send("text").await?;
    /// socket.send(vec![0, 1, 2]).await?;
    /// # Ok(())
    /// # }
    /// ```
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

    /// Receives a message, a datagram, or what there is of a stream, at most 64 KiB. `None` is an orderly end;
    /// after an error of a connection it says only that nothing more will come.
    ///
    /// # Errors
    /// When the connection broke, or the peer broke the protocol.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("sh:printf hello").await?;
    /// let mut bytes = Vec::new();
    /// while let Some(message) = socket.recv().await? {
    ///     bytes.extend(message.bytes);
    /// }
    /// assert_eq!(bytes, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Result<Option<Message>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Sends one datagram to a peer.
    ///
    /// # Errors
    /// When this is no datagram socket, or the datagram is too large.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut asks = Socket::bind("udp:127.0.0.1:0").await?;
    /// let mut answers = Socket::bind("udp:127.0.0.1:0").await?;
    /// asks.send_to("ping", &answers.local()).await?;
    /// let (bytes, who) = answers.recv_from().await?;
    /// answers.send_to(bytes, &who).await?;
    /// assert_eq!(asks.recv_from().await?.0, b"ping");
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut asks = Socket::bind("udp:127.0.0.1:0").await?;
    /// let mut answers = Socket::bind("udp:127.0.0.1:0").await?;
    /// asks.send_to("ping", &answers.local()).await?;
    /// let (bytes, who) = answers.recv_from().await?;
    /// answers.send_to(bytes, &who).await?;
    /// assert_eq!(asks.recv_from().await?.0, b"ping");
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use sockeye::net::Socket;
    /// use tokio::time::timeout;
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// // Dropped or not: what was taken is sent, here at the latest.
    /// let _ = timeout(Duration::ZERO, socket.send("hello")).await;
    /// socket.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("sh:cat; echo that was all").await?;
    /// socket.send("one\n").await?;
    /// socket.finish().await?; // cat ends, and the answer comes after that
    /// let mut answer = Vec::new();
    /// while let Some(message) = socket.recv().await? {
    ///     answer.extend(message.bytes);
    /// }
    /// assert_eq!(answer, b"one\nthat was all\n");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn finish(&mut self) -> Result<()> {
        self.finish_with(Close::normal()).await
    }

    /// [`Socket::finish`] with a code and a reason, which only a WebSocket carries.
    ///
    /// # Errors
    /// When the connection is broken.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Close, Listener, Socket};
    ///
    /// let mut listener = Listener::bind("ws://127.0.0.1:0/").await?;
    /// let connecting = tokio::spawn(Socket::connect(listener.address().clone()));
    /// let (mut server, _peer) = listener.accept().await?;
    /// let mut client = connecting.await??;
    /// client.finish_with(Close::new(1001, "going away")).await?;
    /// assert!(server.recv().await?.is_none());
    /// assert_eq!(server.closed().map(|close| close.reason.as_str()), Some("going away"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn finish_with(&mut self, close: Close) -> Result<()> {
        poll_fn(|cx| self.poll_finish(&close, cx)).await
    }

    /// Ends it in good order: writes out what was taken, says goodbye, and of a WebSocket waits up to 5 s for the peer's
    /// goodbye. A stream of which something is still unread, or whose peer was heard meanwhile, is read on, for as long at most,
    /// until the peer ends it too: else the system would reset it, and what the peer has not taken yet were lost. These 5 s begin
    /// when the peer's system has taken everything, of a Unix socket the peer; until then its progress is waited for, as while it is
    /// written. A child process is waited for, whatever went wrong before. What arrives meanwhile is not received.
    ///
    /// # Errors
    /// When the connection is broken before everything was written, and when the peer's system takes nothing for 2 minutes: who
    /// reads is waited for. (Over TCP a system whose buffer was full takes more only when a good share of it was read, of large
    /// buffers some megabytes.) A child process may take its time.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// socket.send("hello").await?;
    /// socket.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&mut self) -> Result<()> {
        self.close_with(Close::normal()).await
    }

    /// [`Socket::close`] with a code and a reason, which only a WebSocket carries.
    ///
    /// # Errors
    /// As [`Socket::close`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Close, Listener, Socket};
    ///
    /// let mut listener = Listener::bind("ws://127.0.0.1:0/").await?;
    /// let connecting = tokio::spawn(Socket::connect(listener.address().clone()));
    /// let (mut server, _peer) = listener.accept().await?;
    /// let mut client = connecting.await??;
    /// let reading = tokio::spawn(async move {
    ///     let end = server.recv().await;
    ///     (end, server.closed().cloned())
    /// });
    /// client.close_with(Close::new(4000, "enough")).await?;
    /// let (end, closed) = reading.await?;
    /// assert!(end?.is_none());
    /// assert_eq!(closed, Some(Close::new(4000, "enough")));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close_with(&mut self, close: Close) -> Result<()> {
        let finished = self.finish_reading_on(&close).await;
        if let Ok(was_heard) = finished {
            self.hear_out(was_heard).await;
        }
        let waited = self.wait().await;
        finished.and(waited).map(drop)
    }

    /// Closes the standard input and output of a child process, waits for its end, and tells how it ended; `None` for what
    /// is no process.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let mut socket = Socket::connect("sh:exit 3").await?;
    /// assert_eq!(socket.wait().await?.and_then(|status| status.code()), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = self.core.transport_mut().and_then(Transport::process_mut) else {
            return Ok(None);
        };
        let status = process.wait().await;
        status.map(Some).map_err(|error| Error::system(&self.name, "cannot wait for the process", error))
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
}

impl Core {
    pub(super) fn transport(&self) -> Option<&Transport> {
        match self {
            Core::Stream(stream) => Some(&stream.transport),
            Core::WebSocket(websocket) => Some(&websocket.transport),
            Core::Framed(framed) => Some(&framed.transport),
            Core::Http(exchange) => Some(&exchange.transport),
            Core::Datagram(_) => None,
        }
    }

    /// What is to be written, of the kinds whose end is that of the stream below.
    pub(super) fn outgoing_mut(&mut self) -> Option<&mut Outgoing> {
        match self {
            Core::Stream(stream) => Some(&mut stream.outgoing),
            Core::Framed(framed) => Some(&mut framed.outgoing),
            Core::WebSocket(_) | Core::Http(_) | Core::Datagram(_) => None,
        }
    }

    /// Says whether our side of the stream was ended.
    pub(super) fn is_ended(&mut self) -> bool {
        self.outgoing_mut().is_some_and(|outgoing| outgoing.ended)
    }

    /// How many bytes the stream below has taken in all; of TLS, what it has taken itself.
    pub(super) fn taken(&self) -> u64 {
        match self {
            Core::Stream(stream) => stream.outgoing.taken(),
            Core::WebSocket(websocket) => websocket.outgoing.taken(),
            Core::Framed(framed) => framed.outgoing.taken(),
            Core::Http(exchange) => exchange.outgoing.taken(),
            Core::Datagram(_) => 0,
        }
    }

    pub(super) fn transport_mut(&mut self) -> Option<&mut Transport> {
        match self {
            Core::Stream(stream) => Some(&mut stream.transport),
            Core::WebSocket(websocket) => Some(&mut websocket.transport),
            Core::Framed(framed) => Some(&mut framed.transport),
            Core::Http(exchange) => Some(&mut exchange.transport),
            Core::Datagram(_) => None,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Socket")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}
