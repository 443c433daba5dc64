//! Options of an open socket, as typed methods. One that a kind does not have is an error that says so.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use socket2::SockRef;

use super::datagram::{join, set_loop};
use super::kind::{DatagramKind, Kind};
use super::option::{set_keep_alive, set_tos, set_ttl};
use super::socket::Socket;
use super::{Error, ErrorKind, Result};

impl Socket {
    /// Sends small writes at once, without waiting for more. On by default.
    ///
    /// # Errors
    /// When there is no TCP beneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// socket.set_no_delay(false)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_no_delay(&self, on: bool) -> Result<()> {
        self.set("no-delay", Of::Tcp, |socket| socket.set_tcp_nodelay(on))
    }

    /// Lets the kernel ask whether the peer is there, after this silence; `None` stops it.
    ///
    /// # Errors
    /// When there is no TCP beneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// socket.set_keep_alive(Some(std::time::Duration::from_secs(30)))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_keep_alive(&self, idle: Option<Duration>) -> Result<()> {
        self.set("keep-alive", Of::Tcp, |socket| set_keep_alive(socket, idle))
    }

    /// Sets the size of the kernel's buffer for what is sent. Linux doubles it for its own needs.
    ///
    /// # Errors
    /// When there is no socket beneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// socket.set_send_buffer(65_536)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_send_buffer(&self, bytes: usize) -> Result<()> {
        self.set("send-buffer", Of::Any, |socket| socket.set_send_buffer_size(bytes))
    }

    /// Sets the size of the kernel's buffer for what is received. Linux doubles it for its own needs.
    ///
    /// # Errors
    /// When there is no socket beneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// socket.set_receive_buffer(65_536)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<()> {
        self.set("receive-buffer", Of::Any, |socket| socket.set_recv_buffer_size(bytes))
    }

    /// Sets how many routers a packet may pass.
    ///
    /// # Errors
    /// When there is no network beneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// socket.set_ttl(3)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_ttl(&self, ttl: u8) -> Result<()> {
        let to = self.network();
        self.set("ttl", Of::Network, |socket| set_ttl(socket, to, ttl))
    }

    /// Sets the type of service: the DSCP and ECN bits of every packet.
    ///
    /// # Errors
    /// When there is no network beneath.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// socket.set_tos(0x10)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_tos(&self, tos: u8) -> Result<()> {
        let is_ipv6 = self.network().is_ipv6();
        self.set("tos", Of::Network, |socket| set_tos(socket, is_ipv6, tos))
    }

    /// Sets the mark that routing and firewall rules see. Needs CAP_NET_ADMIN.
    ///
    /// # Errors
    /// When there is no network beneath, or the capability is missing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// // Who lacks CAP_NET_ADMIN is told so.
    /// let _ = socket.set_mark(7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_mark(&self, mark: u32) -> Result<()> {
        self.set("mark", Of::Network, |socket| socket.set_mark(mark))
    }

    /// Uses one network interface only; `None` lifts that.
    ///
    /// # Errors
    /// When there is no network beneath, or no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let socket = Socket::connect(listener.address()).await?;
    /// // Older kernels ask for CAP_NET_RAW.
    /// let _ = socket.set_device(Some("lo"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_device(&self, name: Option<&str>) -> Result<()> {
        self.set("device", Of::Network, |socket| socket.bind_device(name.map(str::as_bytes)))
    }

    /// Allows datagrams to broadcast addresses.
    ///
    /// # Errors
    /// When this is no UDP socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::bind("udp:127.0.0.1:0").await?;
    /// socket.set_broadcast(true)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_broadcast(&self, on: bool) -> Result<()> {
        self.set("broadcast", Of::Udp, |socket| socket.set_broadcast(on))
    }

    /// Lets multicast datagrams come back to this machine. On by default.
    ///
    /// # Errors
    /// When this is no UDP socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::bind("udp:127.0.0.1:0").await?;
    /// socket.set_multicast_loop(false)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_multicast_loop(&self, on: bool) -> Result<()> {
        let is_ipv6 = self.network().is_ipv6();
        self.set("loop", Of::Udp, |socket| set_loop(socket, is_ipv6, on))
    }

    /// Joins a multicast group on the interface that has this name or address.
    ///
    /// # Errors
    /// When this is no UDP socket, or no such interface.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let socket = Socket::bind("udp::0?family=4").await?;
    /// // A machine without an interface for multicast refuses.
    /// let _ = socket.join("239.1.2.3".parse()?, "lo");
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(&self, group: IpAddr, interface: &str) -> Result<()> {
        self.set("join", Of::Udp, |socket| join(socket, group, interface))
    }

    /// An address of the family that is spoken.
    fn network(&self) -> IpAddr {
        let ip = self.peer().ip().or_else(|| self.local().ip());
        ip.map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip())
    }

    fn set(&self, option: &str, of: Of, set: impl FnOnce(&SockRef<'_>) -> io::Result<()>) -> Result<()> {
        let is_udp = self.kind == Kind::Datagram(DatagramKind::Udp);
        let is_network = self.peer().ip().is_some() || self.local().ip().is_some();
        let (applies, where_it_does) = match of {
            Of::Tcp => (is_network && !is_udp, "what stands on TCP"),
            Of::Udp => (is_udp, "UDP sockets"),
            Of::Network => (is_network, "sockets of a network"),
            Of::Any => (true, "sockets"),
        };
        let Some(descriptor) = self.descriptor().filter(|_| applies) else {
            let what =
                format!("{option} does not apply to {} sockets: it is for {where_it_does}", self.kind.name());
            return Err(Error::new(ErrorKind::Usage, &self.name, what));
        };
        set(&SockRef::from(&descriptor))
            .map_err(|error| Error::system(&self.name, &format!("cannot set {option}"), error))
    }
}

/// What an option is for.
enum Of {
    Tcp,
    Udp,
    Network,
    Any,
}
