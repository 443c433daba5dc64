//! A conversation with a server in datagrams, over UDP or a Unix datagram socket.
//!
//! What a stream has by nature is done by hand here: a request is repeated until it is answered (a published message has
//! a key, so that it is published once), the address is proved by a cookie, and pings keep the session. Deliberately
//! absent: asking for what was lost, which no datagram could carry.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::time::{Duration, Instant};

use super::ToolError;
use super::said::Said;
use crate::address::{Address, Base, UDP_BYTES_MAX};

/// An unanswered request is repeated after this.
const REPEAT: Duration = Duration::from_secs(1);
/// So often it is sent in all, before the server is said not to answer.
const TRIES: u32 = 5;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// A conversation.
pub(super) struct Grams {
    address: Address,
    socket: Socket,
    cookie: Option<String>,
    /// The server has answered once: when nobody receives there any more, it has ended.
    is_met: bool,
    buffer: Vec<u8>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Whether an address is one of datagrams.
pub(super) fn is_datagram(address: &Address) -> bool {
    matches!(address.base, Base::Udp(_) | Base::UnixDatagram(_))
}

impl Grams {
    /// Finds a server that answers.
    ///
    /// # Errors
    /// Says which step failed, to which address, and what to try.
    pub(super) fn connect(address: &Address) -> Result<Grams, ToolError> {
        let unreachable = |source| ToolError::unconnected(address, source);
        if !address.layers.is_empty() || !address.options.is_empty() {
            let why = "layers and options are not spoken here: leave them out";
            return Err(ToolError::Unusable { address: address.clone(), why });
        }
        let mut sockets = Vec::new();
        match &address.base {
            Base::Udp(at) => {
                let found = (at.host.as_str(), at.port).to_socket_addrs();
                let found = found.map_err(|source| ToolError::NameNotFound {
                    address: address.clone(),
                    host: at.host.clone(),
                    source,
                })?;
                for to in found {
                    sockets.push(connect_udp(to).map(Socket::Udp));
                }
            }
            Base::UnixDatagram(name) => {
                let to = name.socket_address().map_err(unreachable)?;
                sockets.push(connect_unix(&to).map(Socket::Unix));
            }
            _ => {
                let why = "give udp:HOST:PORT or unixgram:PATH";
                return Err(ToolError::Unusable { address: address.clone(), why });
            }
        }
        let mut last = unreachable(io::ErrorKind::AddrNotAvailable.into());
        for socket in sockets {
            let tried = socket.map_err(unreachable).and_then(|socket| {
                let buffer = vec![0; DATAGRAM_BYTES_MAX];
                let mut grams =
                    Grams { address: address.clone(), socket, cookie: None, is_met: false, buffer };
                grams.ask("\"ping\":0", |said, _| said.pong.is_some())?;
                grams.is_met = true;
                Ok(grams)
            });
            match tried {
                Ok(grams) => return Ok(grams),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Shows a token, if there is one: it opens a session that keeps it.
    ///
    /// # Errors
    /// When the server refuses it, or does not answer.
    pub(super) fn show(&mut self, token: Option<&str>) -> Result<(), ToolError> {
        let Some(token) = token else { return Ok(()) };
        let fields = format!("\"auth\":{},\"id\":0", serde_json::json!(token));
        self.ask(&fields, |said, _| said.is_done(0))
    }

    /// Sends the fields of a request, with the cookie if there is one.
    ///
    /// # Errors
    /// When nothing can be sent there, or it does not fit a datagram.
    pub(super) fn send(&self, fields: &str) -> Result<(), ToolError> {
        let request = match &self.cookie {
            Some(cookie) => format!("{{{fields},\"cookie\":\"{cookie}\"}}"),
            None => format!("{{{fields}}}"),
        };
        if request.len() > UDP_BYTES_MAX {
            let why = format!(
                "a datagram has at most {UDP_BYTES_MAX} bytes, this one would have {}",
                request.len()
            );
            return Err(ToolError::Refused { address: self.address.clone(), why });
        }
        let sent = match &self.socket {
            Socket::Udp(udp) => udp.send(request.as_bytes()),
            Socket::Unix(unix) => unix.send(request.as_bytes()),
        };
        match sent {
            Ok(_) => Ok(()),
            // What an earlier datagram has met is told now; the repetition will meet it again, if it lasts.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && self.is_udp() => Ok(()),
            Err(source) => Err(self.without_receiver(source)),
        }
    }

    /// Sends a request again and again until something comes that answers it, or refuses it. What is asked whether it does
    /// is given the object and how it was written.
    ///
    /// # Errors
    /// When nothing comes in time, or an error of the server does.
    pub(super) fn ask(
        &mut self,
        fields: &str,
        mut is_answer: impl FnMut(&Said<'_>, &[u8]) -> bool,
    ) -> Result<(), ToolError> {
        for _ in 0..TRIES {
            self.send(fields)?;
            let until = Instant::now() + REPEAT;
            while let Some(object) = self.receive(until)? {
                let said = Said::read(&self.address, &object)?;
                if self.takes_cookie(&said) {
                    self.send(fields)?;
                } else if is_answer(&said, &object) {
                    return Ok(());
                } else if said.error.is_some()
                    && let Some(failure) = said.into_failure(&self.address)
                {
                    return Err(failure);
                }
            }
        }
        let seconds = REPEAT.as_secs() * u64::from(TRIES);
        Err(ToolError::TimedOut { address: self.address.clone(), step: "the server's answer", seconds })
    }

    /// The next datagram that comes until then.
    ///
    /// # Errors
    /// When nobody receives at the address.
    pub(super) fn receive(&mut self, until: Instant) -> Result<Option<Vec<u8>>, ToolError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let received = match &self.socket {
                Socket::Udp(udp) => {
                    udp.set_read_timeout(Some(left)).and_then(|()| udp.recv(&mut self.buffer))
                }
                Socket::Unix(unix) => {
                    unix.set_read_timeout(Some(left)).and_then(|()| unix.recv(&mut self.buffer))
                }
            };
            match received {
                Ok(length) => return Ok(Some(self.buffer[..length].to_vec())),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.without_receiver(source)),
            }
        }
    }

    /// Takes the cookie that something carries. True when it is nothing but a cookie, which means: ask again.
    pub(super) fn takes_cookie(&mut self, said: &Said<'_>) -> bool {
        match &said.cookie {
            Some(cookie) => {
                self.cookie = Some(cookie.clone());
                said.pong.is_none()
            }
            None => false,
        }
    }

    /// Nobody receives at the address, or not any more.
    fn without_receiver(&self, source: io::Error) -> ToolError {
        match self.is_met {
            true => {
                let why = format!("the server has ended ({source})");
                ToolError::EndedEarly { address: self.address.clone(), why }
            }
            false => ToolError::unconnected(&self.address, source),
        }
    }

    fn is_udp(&self) -> bool {
        matches!(self.socket, Socket::Udp(_))
    }
}

fn connect_udp(to: SocketAddr) -> io::Result<UdpSocket> {
    let any =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let any: SocketAddr = any;
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket)
}

/// Nobody can answer a socket that has no name: this one has an abstract one, that goes when it goes.
fn connect_unix(to: &UnixAddress) -> io::Result<UnixDatagram> {
    let name = format!("sockeye-{}", key());
    let socket = UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(name)?)?;
    socket.connect_addr(to)?;
    Ok(socket)
}

/// Sixteen digits that nobody else has.
pub(super) fn key() -> String {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("the system has randomness once it runs");
    format!("{:016x}", u64::from_ne_bytes(bytes))
}
