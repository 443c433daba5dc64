//! What a socket tells about itself: what it can do, who is at its ends, what was agreed on.

use super::der;
use super::kind::{Kind, StreamKind, Traits};
use super::message::Close;
use super::peer::Peer;
use super::socket::{Core, Socket};
use super::transport::Transport;

impl Socket {
    /// What the kind can do.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::bind("udp:127.0.0.1:0").await?;
    /// let traits = socket.traits();
    /// assert!(traits.boundaries && !traits.reliable && !traits.half_close);
    /// # Ok(())
    /// # }
    /// ```
    pub fn traits(&self) -> Traits {
        let traits = self.kind.traits();
        match self.kind {
            // What stands on a stream has the addresses of what is beneath.
            Kind::Message(_) | Kind::Stream(StreamKind::Tls) => {
                Traits { peer_address: self.peer().ip().is_some(), ..traits }
            }
            _ => traits,
        }
    }

    /// The kind.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{DatagramKind, Kind, Socket};
    ///
    /// let socket = Socket::bind("udp:127.0.0.1:0").await?;
    /// assert_eq!(socket.kind(), Kind::Datagram(DatagramKind::Udp));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Who is at the other end.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Peer, Socket};
    ///
    /// let mut listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let client = Socket::connect(listener.address()).await?;
    /// let (server, _peer) = listener.accept().await?;
    /// assert_eq!(server.peer(), &client.local());
    /// # Ok(())
    /// # }
    /// ```
    pub fn peer(&self) -> &Peer {
        match &self.core {
            Core::Datagram(datagram) => datagram.peer(),
            _ => &self.peer,
        }
    }

    /// Our own end.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::bind("udp:127.0.0.1:0").await?;
    /// assert!(socket.local().ip().is_some_and(|local| local.port() != 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn local(&self) -> Peer {
        match &self.core {
            Core::Datagram(datagram) => datagram.local(),
            core => core.transport().map_or(Peer::Unnamed, Transport::local),
        }
    }

    /// The address that it was opened with, for people.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::connect("exec:cat").await?;
    /// assert_eq!(socket.name(), "exec:cat");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the peer closed it, of a WebSocket that it closed, or of `jsonl+`.
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
    /// server.finish_with(Close::new(4001, "closed for lunch")).await?;
    /// assert!(client.recv().await?.is_none());
    /// assert_eq!(client.closed().and_then(|close| close.code), Some(4001));
    /// # Ok(())
    /// # }
    /// ```
    pub fn closed(&self) -> Option<&Close> {
        match &self.core {
            Core::WebSocket(websocket) => websocket.closed.as_ref(),
            Core::Framed(framed) => framed.closed.as_ref(),
            _ => None,
        }
    }

    /// The subprotocol that was agreed on, of a WebSocket.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let mut listener = Listener::bind("ws://127.0.0.1:0/#subprotocol=chat").await?;
    /// let connecting = tokio::spawn(Socket::connect(listener.address().clone()));
    /// let (_server, _peer) = listener.accept().await?;
    /// assert_eq!(connecting.await??.subprotocol(), Some("chat"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn subprotocol(&self) -> Option<&str> {
        match &self.core {
            Core::WebSocket(websocket) => websocket.subprotocol.as_deref(),
            _ => None,
        }
    }

    /// The state of TLS, of a socket that has it: version, cipher, protocol, the peer's certificates.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> sockeye::net::Result<()> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::connect("tls:example.org:443").await?;
    /// let version = socket.tls().and_then(|tls| tls.protocol_version());
    /// println!("{version:?}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls(&self) -> Option<&rustls::CommonState> {
        self.core.transport().and_then(Transport::tls)
    }

    /// When the peer's certificate ends, in seconds of Unix time, of a socket with TLS.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> sockeye::net::Result<()> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::connect("wss://example.org/live").await?;
    /// println!("{:?}", socket.certificate_ends_at());
    /// # Ok(())
    /// # }
    /// ```
    pub fn certificate_ends_at(&self) -> Option<i64> {
        let chain = self.tls()?.peer_certificates()?;
        der::not_after(chain.first()?)
    }
}
