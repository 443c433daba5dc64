//! Listening: what arrives becomes sockets, for kinds with connections and without.
//!
//! Handshakes are under way beside each other, so that a client that stalls in one delays nobody.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;

use super::connect::{needs_tls, stream_core};
use super::datagram::{Carrier, Datagram, bind_udp, bind_unix};
use super::kind::{FramedKind, Kind};
use super::peer::Peer;
use super::session::Hall;
use super::socket::{Core, Socket};
use super::transport::Transport;
use super::unix::SocketFile;
use super::{Error, Result, ToAddress, handshake, tcp, tls, unix};
use crate::address::{Address, Base, HostPort};

/// Handshakes under way at once. Above it no connection is accepted until one of them has ended.
const HANDSHAKES_MAX: usize = 1_024;
/// How long accepting rests when the system is out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// A socket that listens.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use sockeye::net::{Listener, Socket};
///
/// let mut listener = Listener::bind("ws://127.0.0.1:0/live").await?;
/// let client = tokio::spawn(Socket::connect(listener.address().clone()));
/// let (mut server, peer) = listener.accept().await?;
/// server.send(format!("hello {peer}")).await?;
/// assert!(client.await??.recv().await?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Listener {
    /// With the port that the system chose.
    address: Address,
    kind: Kind,
    doors: Vec<Door>,
    acceptor: Option<TlsAcceptor>,
    handshakes: JoinSet<Result<Socket>>,
    rest: Option<Pin<Box<Sleep>>>,
    /// Which door is asked first: each in turn.
    turn: usize,
    _file: Option<SocketFile>,
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
    Hall(Hall),
}

impl Listener {
    /// Listens on an address. A name or an empty host may stand for several; all of them are listened on.
    ///
    /// # Errors
    /// When the address is in use, needs a permission, or is of a kind that nobody can listen on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{ErrorKind, Listener};
    ///
    /// let first = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let second = Listener::bind(first.address()).await;
    /// assert_eq!(second.err().map(|error| error.kind()), Some(ErrorKind::InUse));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bind(address: impl ToAddress) -> Result<Listener> {
        let mut address = address.to_address()?;
        let kind = Kind::of(&address)?;
        let acceptor = if needs_tls(&address) { Some(tls::acceptor(&address)?) } else { None };
        let mut socket_file = None;
        let refused = |error| Error::system(address.shown(), "cannot listen", error);
        let doors = match &address.base {
            Base::Udp(at) => {
                let sockets = bind_udp(&address, at).await?;
                let halls =
                    sockets.into_iter().map(|socket| Hall::open(Carrier::Udp(socket)).map(Door::Hall));
                halls.collect::<io::Result<_>>().map_err(refused)?
            }
            Base::UnixDatagram(name) => {
                let (socket, file) = bind_unix(&address, name)?;
                socket_file = file;
                vec![Door::Hall(Hall::open(Carrier::Unix(socket)).map_err(refused)?)]
            }
            Base::Unix(name) => {
                let (listener, file) = unix::listen(&address, name)?;
                socket_file = file;
                vec![Door::Unix(listener)]
            }
            Base::Channel { .. } => {
                return Err(Error::usage(
                    &address,
                    "a channel is the server's to listen on: `sockeye serve`",
                ));
            }
            Base::Http(_) => {
                let what = "is a request, which a client makes";
                return Err(Error::usage(&address, what)
                    .with_hint("`sockeye serve` is a server of HTTP, and tcp: listens for whatever comes"));
            }
            base => match address.host_port() {
                Some(at) => tcp::listen(&address, at).await?.into_iter().map(Door::Tcp).collect(),
                None => {
                    let what =
                        format!("nobody can connect to {}, so there is nothing to listen for", base.name());
                    return Err(Error::usage(&address, what));
                }
            },
        };
        if let Some(Peer::Ip(local)) = doors.first().and_then(Door::local) {
            set_port(&mut address.base, local.port());
        }
        Ok(Listener {
            address,
            kind,
            doors,
            acceptor,
            handshakes: JoinSet::new(),
            rest: None,
            turn: 0,
            _file: socket_file,
        })
    }

    /// The address, with the port that the system chose where 0 was given.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Listener;
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// assert_ne!(listener.address().host_port().map(|at| at.port), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The kind of the sockets that are accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Kind, Listener, StreamKind};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// assert_eq!(listener.kind(), Kind::Stream(StreamKind::Tcp));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Every local address that is listened on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Listener;
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// assert!(listener.locals()[0].ip().is_some_and(|local| local.ip().is_loopback()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn locals(&self) -> Vec<Peer> {
        self.doors.iter().filter_map(Door::local).collect()
    }

    /// Waits for the next connection, its handshakes done, or for the first datagram of a peer.
    ///
    /// A client whose handshake fails is told in the log and not here. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When listening itself fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let mut listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let client = Socket::connect(listener.address()).await?;
    /// let (server, peer) = listener.accept().await?;
    /// assert_eq!(&peer, server.peer());
    /// assert_eq!(peer, client.local());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accept(&mut self) -> Result<(Socket, Peer)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// [`Listener::accept`], polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let mut listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let client = Socket::connect(listener.address()).await?;
    /// let (server, peer) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
    /// assert_eq!(&peer, server.peer());
    /// assert_eq!(peer, client.local());
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Socket, Peer)>> {
        loop {
            while let Poll::Ready(Some(outcome)) = self.handshakes.poll_join_next(cx) {
                match outcome {
                    Ok(Ok(socket)) => {
                        let peer = socket.peer().clone();
                        return Poll::Ready(Ok((socket, peer)));
                    }
                    Ok(Err(error)) => tracing::info!(%error, "a client was not admitted"),
                    Err(error) => tracing::error!(%error, "a handshake did not end"),
                }
            }
            if self.handshakes.len() >= HANDSHAKES_MAX {
                return Poll::Pending;
            }
            if let Some(rest) = &mut self.rest {
                std::task::ready!(rest.as_mut().poll(cx));
                self.rest = None;
            }
            match std::task::ready!(self.poll_doors(cx)) {
                Ok(Arrival::Socket(socket)) => {
                    let peer = socket.peer().clone();
                    return Poll::Ready(Ok((*socket, peer)));
                }
                // Its task has to be polled once, before it wakes anybody.
                Ok(Arrival::Handshake) => {}
                // The client went away while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if is_exhausted(&error) => {
                    tracing::warn!(%error, "no connection can be accepted for the moment");
                    self.rest = Some(Box::pin(sleep(REST)));
                }
                Err(error) => {
                    return Poll::Ready(Err(Error::system(self.address.shown(), "cannot accept", error)));
                }
            }
        }
    }

    fn poll_doors(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        for step in 0..self.doors.len() {
            let index = (self.turn + step) % self.doors.len();
            let transport = match &mut self.doors[index] {
                Door::Tcp(listener) => match listener.poll_accept(cx) {
                    Poll::Ready(accepted) => Transport::Tcp(accepted?.0),
                    Poll::Pending => continue,
                },
                Door::Unix(listener) => match listener.poll_accept(cx) {
                    Poll::Ready(accepted) => Transport::Unix(accepted?.0),
                    Poll::Pending => continue,
                },
                Door::Hall(hall) => match hall.poll_accept(cx) {
                    Poll::Ready(Some(session)) => {
                        self.turn = index + 1;
                        let core = Core::Datagram(Box::new(Datagram::of_session(session)));
                        let socket = Socket::of(self.kind, self.address.shown(), core);
                        return Poll::Ready(Ok(Arrival::Socket(Box::new(socket))));
                    }
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(io::Error::other("the receiving task has ended")));
                    }
                    Poll::Pending => continue,
                },
            };
            self.turn = index + 1;
            let is_websocket = self.kind == Kind::Message(FramedKind::WebSocket);
            if self.acceptor.is_none() && !is_websocket {
                let core = stream_core(&self.address, self.kind, transport);
                let socket = Socket::of(self.kind, self.address.shown(), core);
                return Poll::Ready(Ok(Arrival::Socket(Box::new(socket))));
            }
            let (address, kind, acceptor) = (self.address.clone(), self.kind, self.acceptor.clone());
            self.handshakes.spawn(async move {
                let mut transport = transport;
                if let Some(acceptor) = acceptor {
                    transport = tls::accept(&address, &acceptor, transport).await?;
                }
                let core = if is_websocket {
                    Core::WebSocket(Box::new(handshake::accept(&address, transport).await?))
                } else {
                    stream_core(&address, kind, transport)
                };
                Ok(Socket::of(kind, address.shown(), core))
            });
            return Poll::Ready(Ok(Arrival::Handshake));
        }
        Poll::Pending
    }
}

enum Arrival {
    Socket(Box<Socket>),
    Handshake,
}

impl Door {
    fn local(&self) -> Option<Peer> {
        match self {
            Door::Tcp(listener) => listener.local_addr().ok().map(Peer::Ip),
            Door::Unix(listener) => listener.local_addr().ok().map(|name| Peer::of_unix(&name.into())),
            Door::Hall(hall) => Some(hall.local()),
        }
    }
}

fn set_port(base: &mut Base, port: u16) {
    let set = |at: &mut HostPort| at.port = port;
    match base {
        Base::Tcp(at) | Base::Tls(at) | Base::Udp(at) => set(at),
        Base::WebSocket(url) | Base::Http(url) => set(&mut url.server),
        _ => {}
    }
}

/// Out of descriptors or memory: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listener { address, kind, .. } = self;
        formatter
            .debug_struct("Listener")
            .field("address", &address.shown())
            .field("kind", kind)
            .finish_non_exhaustive()
    }
}
