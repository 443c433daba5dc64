//! The address grammar, shared by flags, the configuration file and the library.
//!
//! ```text
//! address = [layer+]*base:[//][user@]target[/path][?key=value&...]
//! ```
//!
//! The base names the kind of socket, layers stand before it, the outermost first; options come last. What listens and
//! what connects is decided by the verb, so one address serves both. In a URL (`ws:`, `wss:`, `http:`, `https:`) the query
//! belongs to the URL, and options stand behind a `#`, which is never sent. A character that the grammar needs for
//! itself is percent-encoded. The whole rest of `exec:` and `sh:` is the command.
//!
//! Deliberately absent: sockets. An address is a value; what it leads to is opened by the server, the tools and `net`.
//!
//! # Examples
//!
//! ```
//! use sockeye::address::{Address, Base};
//!
//! let address: Address = "tcp:[::1]:7625?keep-alive=30s".parse()?;
//! assert!(matches!(&address.base, Base::Tcp(at) if at.port == 7625));
//! assert_eq!(address.to_string(), "tcp:[::1]:7625?keep-alive=30s");
//! # Ok::<(), sockeye::address::AddressError>(())
//! ```

mod error;
mod host;
mod nearest;
mod option;
mod parse;
mod percent;
mod print;
#[cfg(test)]
mod properties;
mod secret;
mod side;
#[cfg(test)]
mod tests;
pub mod unit;
mod words;

use std::path::PathBuf;

pub use error::AddressError;
pub use host::{HostPort, UnixName};
pub(crate) use nearest::nearest;
pub use option::{Family, File, List, Mode, Options};
use option::{KEYS, Parts};
pub use secret::{Secret, Source};
pub use side::{Role, Side};

/// The port of a server that was not given one: S-O-C-K on a telephone.
pub const DEFAULT_PORT: u16 = 7625;

/// What the longest UDP datagram over IPv4 carries: 65,535 bytes without the headers of both (RFC 768, RFC 791).
pub(crate) const UDP_BYTES_MAX: usize = 65_507;

/// Where a socket is, and of which kind.
///
/// # Examples
///
/// ```
/// use sockeye::address::Address;
///
/// let address: Address = "ws+tls+unix:/run/app.sock?path=/live".parse()?;
/// assert_eq!(address.layers.len(), 2);
/// assert_eq!(address.to_string(), "ws+tls+unix:/run/app.sock?path=/live");
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// What is put over the base, the outermost first.
    pub layers: Box<[Layer]>,
    /// The kind of socket, and where it is.
    pub base: Base,
    /// What is to be different from the default.
    pub options: Box<Options>,
}

/// The kind of socket, and where it is.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Base};
///
/// let address: Address = "exec:tr a-z A-Z".parse()?;
/// assert_eq!(address.base, Base::Exec(vec!["tr".into(), "a-z".into(), "A-Z".into()]));
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Base {
    /// `tcp:HOST:PORT`
    Tcp(HostPort),
    /// `tls:HOST:PORT`: TLS over TCP.
    Tls(HostPort),
    /// `udp:HOST:PORT`
    Udp(HostPort),
    /// `unix:PATH`: a Unix-domain stream.
    Unix(UnixName),
    /// `unixgram:PATH`: a Unix-domain datagram socket.
    UnixDatagram(UnixName),
    /// `seqpacket:PATH`: a Unix-domain stream of messages.
    Seqpacket(UnixName),
    /// `ws://HOST[:PORT]/PATH` and `wss:`: WebSocket over TCP and TLS.
    WebSocket(Box<Url>),
    /// `http://HOST[:PORT]/PATH` and `https:`: one request or one response.
    Http(Box<Url>),
    /// `ip:HOST?proto=PROTOCOL`: raw IP.
    Ip(String),
    /// `packet:INTERFACE`: whole frames of a network.
    Packet(String),
    /// `exec:COMMAND`: a program and its arguments, without a shell.
    Exec(Vec<String>),
    /// `sh:COMMAND`: a command of the shell.
    Shell(String),
    /// `fd:NUMBER`: a descriptor that this process was given.
    Descriptor(u32),
    /// `file:PATH`
    File(PathBuf),
    /// `-`: standard input and output.
    Standard,
    /// `ch:HOST[:PORT]/CHANNEL`: a channel of a Sockeye server.
    Channel {
        /// The server.
        server: HostPort,
        /// The channel's name, without escapes.
        channel: Box<str>,
    },
}

/// A URL's target.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Base};
///
/// let address: Address = "wss://example.org/live?room=1".parse()?;
/// let Base::WebSocket(url) = &address.base else { unreachable!("it is one") };
/// assert!(url.secure && url.server.port == 443 && url.path == "/live?room=1");
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// Whether TLS is beneath (`wss:`, `https:`).
    pub secure: bool,
    /// The server.
    pub server: HostPort,
    /// What is asked for: beginning with `/`, with its query, as it is sent.
    pub path: String,
}

/// What is put over a base.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Layer};
///
/// let address: Address = "lines+tcp:localhost:7000".parse()?;
/// assert_eq!(*address.layers, [Layer::Lines]);
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// `tls+`: encryption.
    Tls,
    /// `ws+`: WebSocket.
    WebSocket,
    /// `socks5+`: through a SOCKS5 proxy.
    Socks5,
    /// `connect+`: through an HTTP proxy.
    Connect,
    /// `proxyproto+`: with a PROXY protocol header.
    ProxyProtocol,
    /// `lines+`: each line is a message.
    Lines,
    /// `len+`: each message has its length before it, in four bytes, the most significant first.
    Length,
    /// `jsonl+`: each line is a JSON object that tells a message with its kind.
    JsonLines,
}

/// How a socket carries what is sent.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Shape};
///
/// assert_eq!("udp:localhost:53".parse::<Address>()?.shape(), Shape::Datagram);
/// assert_eq!("lines+tcp:localhost:7000".parse::<Address>()?.shape(), Shape::Message);
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Bytes in order, without boundaries.
    Stream,
    /// Messages with boundaries; each may be lost, or overtaken by another.
    Datagram,
    /// Messages with boundaries, in order.
    Message,
    /// Packets as they are on the network.
    Raw,
}

impl Layer {
    /// Every layer.
    pub(super) const ALL: [Layer; 8] = [
        Layer::Tls,
        Layer::WebSocket,
        Layer::Socks5,
        Layer::Connect,
        Layer::ProxyProtocol,
        Layer::Lines,
        Layer::Length,
        Layer::JsonLines,
    ];

    /// As it is written, without its `+`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Layer;
    ///
    /// assert_eq!(Layer::Socks5.name(), "socks5");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Layer::Tls => "tls",
            Layer::WebSocket => "ws",
            Layer::Socks5 => "socks5",
            Layer::Connect => "connect",
            Layer::ProxyProtocol => "proxyproto",
            Layer::Lines => "lines",
            Layer::Length => "len",
            Layer::JsonLines => "jsonl",
        }
    }

    fn parts(self) -> Parts {
        match self {
            Layer::Tls => Parts::TLS,
            Layer::WebSocket => Parts::WEBSOCKET.and(Parts::WEBSOCKET_LAYER),
            Layer::Socks5 | Layer::Connect => Parts::PROXY,
            Layer::ProxyProtocol => Parts::NONE,
            Layer::Lines | Layer::Length | Layer::JsonLines => Parts::FRAMED,
        }
    }

    fn shape(self) -> Shape {
        match self {
            Layer::Tls | Layer::Socks5 | Layer::Connect | Layer::ProxyProtocol => Shape::Stream,
            Layer::WebSocket | Layer::Lines | Layer::Length | Layer::JsonLines => Shape::Message,
        }
    }
}

impl Base {
    /// As it is written, without its colon; `-` is standard input and output.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// assert_eq!("tcp:localhost:7000".parse::<Address>()?.base.name(), "tcp");
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn name(&self) -> &'static str {
        match self {
            Base::Tcp(_) => "tcp",
            Base::Tls(_) => "tls",
            Base::Udp(_) => "udp",
            Base::Unix(_) => "unix",
            Base::UnixDatagram(_) => "unixgram",
            Base::Seqpacket(_) => "seqpacket",
            Base::WebSocket(url) => {
                if url.secure {
                    "wss"
                } else {
                    "ws"
                }
            }
            Base::Http(url) => {
                if url.secure {
                    "https"
                } else {
                    "http"
                }
            }
            Base::Ip(_) => "ip",
            Base::Packet(_) => "packet",
            Base::Exec(_) => "exec",
            Base::Shell(_) => "sh",
            Base::Descriptor(_) => "fd",
            Base::File(_) => "file",
            Base::Standard => "-",
            Base::Channel { .. } => "ch",
        }
    }

    fn parts(&self) -> Parts {
        match self {
            Base::Tcp(_) => Parts::TCP,
            Base::Tls(_) => Parts::TCP.and(Parts::TLS),
            Base::Udp(_) => Parts::UDP,
            Base::Unix(_) | Base::UnixDatagram(_) | Base::Seqpacket(_) => Parts::UNIX,
            Base::WebSocket(url) if url.secure => Parts::TCP.and(Parts::TLS).and(Parts::WEBSOCKET),
            Base::WebSocket(_) => Parts::TCP.and(Parts::WEBSOCKET),
            Base::Http(url) if url.secure => Parts::TCP.and(Parts::TLS).and(Parts::HTTP),
            Base::Http(_) => Parts::TCP.and(Parts::HTTP),
            Base::Ip(_) => Parts::RAW_IP,
            Base::Packet(_) | Base::Exec(_) | Base::Shell(_) | Base::Descriptor(_) | Base::Standard => {
                Parts::NONE
            }
            Base::File(_) => Parts::FILE,
            Base::Channel { .. } => Parts::TCP.and(Parts::WEBSOCKET).and(Parts::CHANNEL),
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Base::Udp(_) | Base::UnixDatagram(_) => Shape::Datagram,
            Base::Seqpacket(_) | Base::WebSocket(_) | Base::Channel { .. } => Shape::Message,
            Base::Ip(_) | Base::Packet(_) => Shape::Raw,
            _ => Shape::Stream,
        }
    }

    /// Whether the query is a URL's own, so that options stand behind `#`.
    fn is_url(&self) -> bool {
        matches!(self, Base::WebSocket(_) | Base::Http(_))
    }
}

impl Address {
    /// An address without layers and options.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::{Address, Base};
    ///
    /// assert_eq!(Address::new(Base::Standard).to_string(), "-");
    /// ```
    pub fn new(base: Base) -> Address {
        Address { layers: Box::default(), base, options: Box::default() }
    }

    /// `tcp:HOST:PORT`
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// assert_eq!(Address::tcp("localhost", 7000), "tcp:localhost:7000".parse()?);
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn tcp(host: impl Into<String>, port: u16) -> Address {
        Address::new(Base::Tcp(HostPort::new(host, port)))
    }

    /// `udp:HOST:PORT`
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// assert_eq!(Address::udp("localhost", 53), "udp:localhost:53".parse()?);
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn udp(host: impl Into<String>, port: u16) -> Address {
        Address::new(Base::Udp(HostPort::new(host, port)))
    }

    /// `unix:PATH`
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// assert_eq!(Address::unix("/run/app.sock"), "unix:/run/app.sock".parse()?);
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn unix(path: impl Into<PathBuf>) -> Address {
        Address::new(Base::Unix(UnixName::Path(path.into())))
    }

    /// How the whole stack carries what is sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::{Address, Shape};
    ///
    /// assert_eq!("tls:localhost:7000".parse::<Address>()?.shape(), Shape::Stream);
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn shape(&self) -> Shape {
        match self.layers.first() {
            // Encryption does not change how a channel speaks.
            Some(Layer::Tls) if matches!(self.base, Base::Channel { .. }) => self.base.shape(),
            Some(layer) => layer.shape(),
            None => self.base.shape(),
        }
    }

    /// The host and port, of a base that has them.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// let address: Address = "tcp:localhost:7000".parse()?;
    /// assert_eq!(address.host_port().map(|at| at.port), Some(7000));
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn host_port(&self) -> Option<&HostPort> {
        match &self.base {
            Base::Tcp(at) | Base::Tls(at) | Base::Udp(at) => Some(at),
            Base::WebSocket(url) | Base::Http(url) => Some(&url.server),
            Base::Channel { server, .. } => Some(server),
            _ => None,
        }
    }

    /// Says whether only this machine can be reached by it, or can reach it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// assert!("unix:/run/app.sock".parse::<Address>()?.is_local());
    /// assert!(!"tcp::7000".parse::<Address>()?.is_local());
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn is_local(&self) -> bool {
        match &self.base {
            Base::Ip(_) | Base::Packet(_) => false,
            _ => self.host_port().is_none_or(HostPort::is_loopback),
        }
    }

    /// The options that may be given to this address: name, what it does, and what holds without it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// let address: Address = "tcp:localhost:7000".parse()?;
    /// assert!(address.options_known().any(|(name, ..)| name == "keep-alive"));
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn options_known(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let parts = self.parts();
        KEYS.iter().filter(move |key| parts.meets(key.parts)).map(|key| (key.name, key.comment, key.default))
    }

    fn parts(&self) -> Parts {
        self.layers.iter().fold(self.base.parts(), |parts, layer| parts.and(layer.parts()))
    }
}
