//! From an address to a socket: the stack is built from the base outwards, each step within its bound.

use std::fmt;

use super::datagram::{Carrier, Datagram, bind_udp, bind_unix, connect_udp, connect_unix};
use super::framed::Framed;
use super::http::{Exchange, Request};
use super::kind::{FramedKind, Kind, StreamKind};
use super::option::message_bytes_max;
use super::socket::{ByteStream, Core, Socket};
use super::timing::{Timings, timed};
use super::transport::Transport;
use super::{Error, ErrorKind, Listener, Result, descriptor, handshake, process, tcp, tls, unix};
use crate::address::{Address, Base, Layer};

/// What can be an address: a text or an [`Address`].
///
/// # Examples
///
/// ```
/// use sockeye::address::Address;
/// use sockeye::net::ToAddress;
///
/// assert_eq!("tcp:localhost:7000".to_address()?, Address::tcp("localhost", 7000));
/// # Ok::<(), sockeye::net::Error>(())
/// ```
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    /// When the text is none; see [`AddressError`](crate::address::AddressError).
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{ErrorKind, ToAddress};
    ///
    /// let error = "tpc:localhost:7000".to_address().expect_err("it is misspelt");
    /// assert_eq!(error.kind(), ErrorKind::Usage);
    /// ```
    fn to_address(&self) -> Result<Address>;
}

impl ToAddress for str {
    fn to_address(&self) -> Result<Address> {
        // The error of the grammar names the address itself, without secrets.
        self.parse().map_err(|error: crate::address::AddressError| {
            let text = error.to_string();
            let text = text.strip_prefix("address ").unwrap_or(&text);
            Error::new(ErrorKind::Usage, "address", text)
        })
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Result<Address> {
        self.as_str().to_address()
    }
}

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address> {
        Ok(self.clone())
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Result<Address> {
        (**self).to_address()
    }
}

/// Connecting, with what an address does not say.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> sockeye::net::Result<()> {
/// use sockeye::net::Connector;
///
/// let socket = Connector::new("wss://example.org/live")?.header("X-Room", "42").connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    address: Address,
    /// What it is called in errors, if not by its address.
    name: Option<String>,
    headers: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Connector {
    /// Begins with an address.
    ///
    /// # Errors
    /// When it is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Connector;
    ///
    /// assert!(Connector::new("tcp:localhost:7000").is_ok());
    /// assert!(Connector::new("localhost").is_err());
    /// ```
    pub fn new(address: impl ToAddress) -> Result<Connector> {
        let address = address.to_address()?;
        Ok(Connector { address, name: None, headers: Vec::new(), environment: Vec::new() })
    }

    /// Calls it in errors by an address as it was given, of which another was made.
    #[must_use]
    pub(crate) fn named(mut self, name: impl Into<String>) -> Connector {
        self.name = Some(name.into());
        self
    }

    /// Adds a header to the request, of a WebSocket or over HTTP. Its value is not shown anywhere.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Connector;
    ///
    /// let connector = Connector::new("ws://localhost:7625/ws")?.header("X-Room", "42");
    /// # drop(connector);
    /// # Ok::<(), sockeye::net::Error>(())
    /// ```
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Connector {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a variable to the environment of a child process.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Connector;
    ///
    /// let connector = Connector::new("sh:echo $ROOM")?.environment("ROOM", "42");
    /// let mut socket = connector.connect().await?;
    /// assert_eq!(socket.recv().await?.map(|message| message.bytes), Some(b"42\n".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Connector {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// Says which step failed, and what to try.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Connector;
    ///
    /// let mut socket = Connector::new("exec:cat")?.connect().await?;
    /// socket.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self) -> Result<Socket> {
        self.connect_timed().await.0
    }

    /// Connects, and tells how long each step took, also of those before one that failed.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Connector, Listener};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let (socket, timings) = Connector::new(listener.address())?.connect_timed().await;
    /// assert!(socket.is_ok() && timings.connect.is_some() && timings.tls.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_timed(self) -> (Result<Socket>, Timings) {
        let mut timings = Timings::default();
        let outcome = self.build(&mut timings).await;
        let outcome = match self.name {
            Some(name) => outcome.map_err(|error| error.about(name)),
            None => outcome,
        };
        (outcome, timings)
    }

    async fn build(&self, timings: &mut Timings) -> Result<Socket> {
        let address = &self.address;
        let kind = Kind::of(address)?;
        let name = self.name.clone().unwrap_or_else(|| address.shown());
        let core = match &address.base {
            Base::Udp(at) => {
                let datagram = timed(&mut timings.connect, connect_udp(address, at)).await?;
                Core::Datagram(Box::new(datagram))
            }
            Base::UnixDatagram(at) => Core::Datagram(Box::new(connect_unix(address, at)?)),
            base => {
                // What cannot be asked for is told before anybody is connected to.
                let request = match base {
                    Base::Http(url) => Some(Request::new(address, url, &self.headers)?),
                    _ => None,
                };
                let prepared = needs_tls(address).then(|| tls::prepare(address)).transpose()?;
                let mut transport = self.open(timings).await?;
                if let Some(prepared) = prepared {
                    let handshake = tls::connect(address, prepared, transport);
                    transport = timed(&mut timings.tls, handshake).await?;
                }
                if let Some(request) = request {
                    Core::Http(Box::new(Exchange::new(request, transport)))
                } else if kind == Kind::Message(FramedKind::WebSocket) {
                    let handshake = handshake::connect(address, transport, &self.headers);
                    Core::WebSocket(Box::new(timed(&mut timings.handshake, handshake).await?))
                } else {
                    stream_core(address, kind, transport)
                }
            }
        };
        Ok(Socket::of(kind, name, core))
    }

    /// The stream at the bottom.
    async fn open(&self, timings: &mut Timings) -> Result<Transport> {
        let address = &self.address;
        Ok(match &address.base {
            Base::Unix(name) => {
                Transport::Unix(timed(&mut timings.connect, unix::connect(address, name)).await?)
            }
            Base::Exec(_) | Base::Shell(_) => process::start(address, &self.environment)?,
            Base::File(_) | Base::Descriptor(_) | Base::Standard => descriptor::open(address).await?,
            base => {
                let at = address.host_port();
                let at = at.ok_or_else(|| Error::usage(address, format!("{} is no stream", base.name())))?;
                Transport::Tcp(tcp::connect(address, at, timings).await?)
            }
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and variables may hold secrets.
        formatter.debug_struct("Connector").field("address", &self.address.shown()).finish_non_exhaustive()
    }
}

/// Whether TLS stands over the base, by the base itself or by a layer.
pub(crate) fn needs_tls(address: &Address) -> bool {
    match &address.base {
        Base::Tls(_) => true,
        Base::WebSocket(url) | Base::Http(url) => url.secure,
        _ => address.layers.contains(&Layer::Tls),
    }
}

/// What stands on a stream that is ready, but for WebSocket.
pub(super) fn stream_core(address: &Address, kind: Kind, transport: Transport) -> Core {
    let bytes_max = message_bytes_max(&address.options);
    match kind {
        Kind::Message(FramedKind::Lines) => Core::Framed(Box::new(Framed::lines(transport, bytes_max))),
        Kind::Message(FramedKind::Length) => Core::Framed(Box::new(Framed::length(transport, bytes_max))),
        Kind::Message(FramedKind::JsonLines) => {
            Core::Framed(Box::new(Framed::json_lines(transport, bytes_max)))
        }
        _ => Core::Stream(Box::new(ByteStream::new(transport))),
    }
}

/// Makes a datagram socket without a peer.
pub(super) async fn bind(address: Address) -> Result<Socket> {
    let kind = Kind::of(&address)?;
    let name = address.shown();
    let datagram = match &address.base {
        Base::Udp(at) => {
            let mut sockets = bind_udp(&address, at).await?;
            if sockets.len() > 1 {
                // One socket cannot hear both families by itself; a listener can.
                sockets.truncate(1);
            }
            let socket = sockets.pop().expect("bind_udp gives at least one");
            Datagram::of(Carrier::Udp(socket), None, None)
        }
        Base::UnixDatagram(at) => {
            let (socket, file) = bind_unix(&address, at)?;
            Datagram::of(Carrier::Unix(socket), None, file)
        }
        _ => {
            let what = format!("{} sockets have a peer: connect, or listen", kind.name());
            return Err(Error::usage(&address, what));
        }
    };
    Ok(Socket::of(kind, name, Core::Datagram(Box::new(datagram))))
}

/// A socket before it has an address: what the call `socket()` gives.
///
/// # Examples
///
/// The five classical steps of a server, and the three of a client:
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use sockeye::net::{Kind, Socket, StreamKind::Tcp};
///
/// let server = Socket::new(Kind::Stream(Tcp))?; // socket()
/// let server = server.bind("tcp:127.0.0.1:0")?; // bind()
/// let mut listener = server.listen().await?; // listen()
///
/// let client = Socket::new(Kind::Stream(Tcp))?; // socket()
/// let mut client = client.connect_to(listener.address()).await?; // connect()
///
/// let (mut connection, _peer) = listener.accept().await?; // accept()
/// client.send("hello").await?; // send()
/// assert_eq!(connection.recv().await?.map(|message| message.bytes), Some(b"hello".to_vec())); // recv()
/// connection.close().await?; // close()
/// # Ok::<(), sockeye::net::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Draft {
    kind: Kind,
    local: Option<Address>,
}

impl Socket {
    /// Makes a socket of a kind that has no address yet: TCP, Unix, or either kind of datagrams. The others are made by an
    /// address, because a stack has no single call.
    ///
    /// The system's socket is made with the address, which says of which family it is.
    ///
    /// # Errors
    /// When the kind needs an address.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{FramedKind, Kind, Socket, StreamKind};
    ///
    /// assert!(Socket::new(Kind::Stream(StreamKind::Tcp)).is_ok());
    /// assert!(Socket::new(Kind::Message(FramedKind::WebSocket)).is_err());
    /// ```
    #[expect(
        clippy::new_ret_no_self,
        reason = "the classical life begins before there is a socket that could be used"
    )]
    pub fn new(kind: Kind) -> Result<Draft> {
        match kind {
            Kind::Stream(StreamKind::Tcp | StreamKind::Unix) | Kind::Datagram(_) => {
                Ok(Draft { kind, local: None })
            }
            _ => {
                let what = "is made by its address: use Socket::connect or Listener::bind";
                Err(Error::new(ErrorKind::Usage, kind.name(), what))
            }
        }
    }
}

impl Draft {
    /// Sets the local address.
    ///
    /// # Errors
    /// When it is of another kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Kind, Socket, StreamKind};
    ///
    /// let draft = Socket::new(Kind::Stream(StreamKind::Tcp))?;
    /// assert!(draft.bind("udp:127.0.0.1:0").is_err(), "it is of another kind");
    /// # Ok::<(), sockeye::net::Error>(())
    /// ```
    pub fn bind(mut self, address: impl ToAddress) -> Result<Draft> {
        let address = address.to_address()?;
        self.check(&address)?;
        self.local = Some(address);
        Ok(self)
    }

    /// Listens for connections, or for the peers of a datagram socket.
    ///
    /// # Errors
    /// When there is no local address, or it cannot be listened on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Kind, Socket, StreamKind};
    ///
    /// let draft = Socket::new(Kind::Stream(StreamKind::Tcp))?.bind("tcp:127.0.0.1:0")?;
    /// let listener = draft.listen().await?;
    /// assert_eq!(listener.locals().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn listen(self) -> Result<Listener> {
        let Some(local) = self.local else {
            return Err(Error::new(
                ErrorKind::Usage,
                self.kind.name(),
                "has no address to listen on: bind it first",
            ));
        };
        Listener::bind(local).await
    }

    /// Makes it a datagram socket without a peer.
    ///
    /// # Errors
    /// When there is no local address, it cannot be bound, or this is a kind with connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{DatagramKind, Kind, Socket};
    ///
    /// let draft = Socket::new(Kind::Datagram(DatagramKind::Udp))?.bind("udp:127.0.0.1:0")?;
    /// let mut socket = draft.open().await?;
    /// let local = socket.local();
    /// socket.send_to("to myself", &local).await?;
    /// assert_eq!(socket.recv_from().await?, (b"to myself".to_vec(), local));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(self) -> Result<Socket> {
        let Some(local) = self.local else {
            return Err(Error::new(
                ErrorKind::Usage,
                self.kind.name(),
                "has no local address: bind it first",
            ));
        };
        Socket::bind(local).await
    }

    /// Connects, from the local address if one was set.
    ///
    /// # Errors
    /// Says which step failed, and what to try.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Kind, Listener, Socket, StreamKind};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let draft = Socket::new(Kind::Stream(StreamKind::Tcp))?;
    /// let socket = draft.connect_to(listener.address()).await?;
    /// assert_eq!(socket.peer(), &listener.locals()[0]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_to(self, address: impl ToAddress) -> Result<Socket> {
        let mut address = address.to_address()?;
        self.check(&address)?;
        if let Some(local) = &self.local {
            let Some(at) = local.host_port() else {
                let what = "the local name of a Unix socket is chosen by the kernel: leave bind out";
                return Err(Error::usage(local, what));
            };
            address.options.bind = Some(at.clone());
        }
        Connector::new(address)?.connect().await
    }

    fn check(&self, address: &Address) -> Result<()> {
        let kind = Kind::of(address)?;
        if kind == self.kind {
            return Ok(());
        }
        Err(Error::usage(
            address,
            format!("is an address of {}, and this socket is {}", kind.name(), self.kind.name()),
        ))
    }
}
