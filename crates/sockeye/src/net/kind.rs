//! The kinds of sockets, and what each of them can do, honestly.

use super::{Error, Result};
use crate::address::{Address, Base, Layer, Shape, UDP_BYTES_MAX};

/// A kind of socket.
///
/// # Examples
///
/// ```
/// use sockeye::net::{FramedKind, Kind};
///
/// let kind = Kind::of(&"ws://localhost:7625/ws".parse()?)?;
/// assert_eq!(kind, Kind::Message(FramedKind::WebSocket));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Bytes in order, without boundaries.
    Stream(StreamKind),
    /// Messages with boundaries; each may be lost, or overtaken by another.
    Datagram(DatagramKind),
    /// Messages with boundaries, in order.
    Message(FramedKind),
}

/// The kinds of streams.
///
/// # Examples
///
/// ```
/// use sockeye::net::{Kind, StreamKind};
///
/// assert_eq!(Kind::of(&"unix:/run/app.sock".parse()?)?, Kind::Stream(StreamKind::Unix));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamKind {
    /// TCP.
    Tcp,
    /// A Unix-domain stream.
    Unix,
    /// TLS, over whatever is beneath.
    Tls,
    /// A child process: its standard input and output.
    Process,
    /// A descriptor that this process was given.
    Descriptor,
    /// A file.
    File,
    /// Standard input and output.
    Standard,
    /// One request over HTTP, whose body is sent, and its answer, whose body is received.
    Http,
}

/// The kinds of datagram sockets.
///
/// # Examples
///
/// ```
/// use sockeye::net::{DatagramKind, Kind};
///
/// assert_eq!(Kind::of(&"udp:localhost:53".parse()?)?, Kind::Datagram(DatagramKind::Udp));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatagramKind {
    /// UDP.
    Udp,
    /// A Unix-domain datagram socket.
    Unix,
}

/// The kinds of messages on a stream.
///
/// # Examples
///
/// ```
/// use sockeye::net::{FramedKind, Kind};
///
/// assert_eq!(Kind::of(&"lines+tcp:localhost:7000".parse()?)?, Kind::Message(FramedKind::Lines));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FramedKind {
    /// WebSocket, over whatever is beneath.
    WebSocket,
    /// Lines on a stream.
    Lines,
    /// Messages with their length before them on a stream.
    Length,
    /// Messages as JSON objects, one on each line, on a stream: with their kind, and a close with its code and reason.
    JsonLines,
}

/// What a kind of socket can do.
///
/// # Examples
///
/// ```
/// use sockeye::net::{DatagramKind, Kind};
///
/// let traits = Kind::Datagram(DatagramKind::Udp).traits();
/// assert!(traits.boundaries && !traits.ordered && !traits.reliable);
/// assert_eq!(traits.message_bytes_max, Some(65_507));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traits {
    /// What was sent at once is received at once.
    pub boundaries: bool,
    /// What was sent first is received first.
    pub ordered: bool,
    /// What was sent is received, or both ends learn that the connection broke.
    pub reliable: bool,
    /// One direction can end while the other goes on.
    pub half_close: bool,
    /// A peer that ends is noticed.
    pub end: bool,
    /// Text is told from bytes.
    pub text: bool,
    /// An end has a code and a reason.
    pub close_reason: bool,
    /// The largest message that can be sent; none where the peer decides, and for streams.
    pub message_bytes_max: Option<usize>,
    /// A peer has an address of its own, by which it is told from others.
    pub peer_address: bool,
}

impl Kind {
    /// The kind of socket that an address means.
    ///
    /// # Errors
    /// When that kind has no sockets in this library; the error names it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Kind;
    ///
    /// assert_eq!(Kind::of(&"wss://example.org/live".parse()?)?.name(), "websocket");
    /// assert!(Kind::of(&"packet:eth0".parse()?).is_err(), "this version has none");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(address: &Address) -> Result<Kind> {
        let absent = |name: String| {
            Err(Error::usage(
                address,
                format!("{name} is in the grammar, but this version has no sockets of that kind"),
            ))
        };
        for layer in &address.layers {
            if matches!(layer, Layer::Socks5 | Layer::Connect | Layer::ProxyProtocol) {
                return absent(format!("the layer {}+", layer.name()));
            }
        }
        Ok(match (&address.base, address.layers.first()) {
            (Base::Seqpacket(_) | Base::Ip(_) | Base::Packet(_), _) => {
                return absent(format!("{}:", address.base.name()));
            }
            (Base::WebSocket(_) | Base::Channel { .. }, _) | (_, Some(Layer::WebSocket)) => {
                Kind::Message(FramedKind::WebSocket)
            }
            (_, Some(Layer::Lines)) => Kind::Message(FramedKind::Lines),
            (_, Some(Layer::Length)) => Kind::Message(FramedKind::Length),
            (_, Some(Layer::JsonLines)) => Kind::Message(FramedKind::JsonLines),
            (Base::Tls(_), _) | (_, Some(Layer::Tls)) => Kind::Stream(StreamKind::Tls),
            (Base::Tcp(_), _) => Kind::Stream(StreamKind::Tcp),
            (Base::Unix(_), _) => Kind::Stream(StreamKind::Unix),
            (Base::Exec(_) | Base::Shell(_), _) => Kind::Stream(StreamKind::Process),
            (Base::Descriptor(_), _) => Kind::Stream(StreamKind::Descriptor),
            (Base::File(_), _) => Kind::Stream(StreamKind::File),
            (Base::Standard, _) => Kind::Stream(StreamKind::Standard),
            (Base::Http(_), _) => Kind::Stream(StreamKind::Http),
            (Base::Udp(_), _) => Kind::Datagram(DatagramKind::Udp),
            (Base::UnixDatagram(_), _) => Kind::Datagram(DatagramKind::Unix),
        })
    }

    /// How it carries what is sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Shape;
    /// use sockeye::net::{Kind, StreamKind};
    ///
    /// assert_eq!(Kind::Stream(StreamKind::Tls).shape(), Shape::Stream);
    /// ```
    pub fn shape(self) -> Shape {
        match self {
            Kind::Stream(_) => Shape::Stream,
            Kind::Datagram(_) => Shape::Datagram,
            Kind::Message(_) => Shape::Message,
        }
    }

    /// What it can do.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Kind, StreamKind::Tcp};
    ///
    /// let traits = Kind::Stream(Tcp).traits();
    /// assert!(traits.half_close && !traits.boundaries);
    /// ```
    pub fn traits(self) -> Traits {
        let stream = Traits {
            boundaries: false,
            ordered: true,
            reliable: true,
            half_close: true,
            end: true,
            text: false,
            close_reason: false,
            message_bytes_max: None,
            peer_address: false,
        };
        match self {
            Kind::Stream(StreamKind::Tcp | StreamKind::Tls | StreamKind::Http) => {
                Traits { peer_address: true, ..stream }
            }
            Kind::Stream(_) => stream,
            Kind::Datagram(DatagramKind::Udp) => Traits {
                boundaries: true,
                ordered: false,
                reliable: false,
                half_close: false,
                end: false,
                message_bytes_max: Some(UDP_BYTES_MAX),
                peer_address: true,
                ..stream
            },
            // The kernel keeps the order, and makes the sender wait rather than lose anything; the bound is the send buffer.
            Kind::Datagram(DatagramKind::Unix) => {
                Traits { boundaries: true, half_close: false, end: false, peer_address: true, ..stream }
            }
            // RFC 6455, 5.5.1: after a close frame nothing more is sent, and the peer answers with its own.
            Kind::Message(FramedKind::WebSocket) => Traits {
                boundaries: true,
                half_close: false,
                text: true,
                close_reason: true,
                peer_address: true,
                ..stream
            },
            Kind::Message(FramedKind::Lines | FramedKind::Length) => {
                Traits { boundaries: true, peer_address: true, ..stream }
            }
            Kind::Message(FramedKind::JsonLines) => {
                Traits { boundaries: true, text: true, close_reason: true, peer_address: true, ..stream }
            }
        }
    }

    /// In a word.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Kind, StreamKind};
    ///
    /// assert_eq!(Kind::Stream(StreamKind::Tcp).name(), "tcp");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Kind::Stream(StreamKind::Tcp) => "tcp",
            Kind::Stream(StreamKind::Unix) => "unix",
            Kind::Stream(StreamKind::Tls) => "tls",
            Kind::Stream(StreamKind::Process) => "process",
            Kind::Stream(StreamKind::Descriptor) => "descriptor",
            Kind::Stream(StreamKind::File) => "file",
            Kind::Stream(StreamKind::Standard) => "standard input and output",
            Kind::Stream(StreamKind::Http) => "http",
            Kind::Datagram(DatagramKind::Udp) => "udp",
            Kind::Datagram(DatagramKind::Unix) => "unixgram",
            Kind::Message(FramedKind::WebSocket) => "websocket",
            Kind::Message(FramedKind::Lines) => "lines",
            Kind::Message(FramedKind::Length) => "length-prefixed messages",
            Kind::Message(FramedKind::JsonLines) => "JSON lines",
        }
    }
}
