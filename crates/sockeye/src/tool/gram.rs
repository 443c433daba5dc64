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

use rustix::io::Errno;

use super::ToolError;
use super::link::gone;
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
    /// An unanswered request is repeated after this.
    repeat: Duration,
    /// What the system said last of the way there, since the last datagram was sent.
    borne: Option<io::Error>,
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
                let address = address.clone();
                let mut grams = Grams {
                    address,
                    socket,
                    cookie: None,
                    is_met: false,
                    repeat: REPEAT,
                    borne: None,
                    buffer,
                };
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

    /// Sends the fields of a request, with the cookie if there is one. That it did not leave is no error where the way there
    /// may be back for the repetition.
    ///
    /// # Errors
    /// When nothing can be sent there, or it does not fit a datagram.
    pub(super) fn send(&mut self, fields: &str) -> Result<(), ToolError> {
        let request = self.request(fields);
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
        self.borne = None;
        match sent {
            Ok(_) => Ok(()),
            // What an earlier datagram has met is told now; the repetition will meet it again, if it lasts.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && self.is_udp() => Ok(()),
            Err(error) => self.bear(error),
        }
    }

    fn request(&self, fields: &str) -> String {
        match &self.cookie {
            Some(cookie) => format!("{{{fields},\"cookie\":\"{cookie}\"}}"),
            None => format!("{{{fields}}}"),
        }
    }

    /// Remembers an error of the way there that a repetition may not meet. Any other is the end.
    fn bear(&mut self, error: io::Error) -> Result<(), ToolError> {
        if !self.is_met || !self.is_udp() || !may_pass(&error) {
            return Err(self.without_receiver(error));
        }
        self.borne = Some(error);
        Ok(())
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
            let until = Instant::now() + self.repeat;
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
        Err(self.unanswered(self.request(fields).len()))
    }

    /// All repetitions of a request were for nothing.
    fn unanswered(&mut self, length: usize) -> ToolError {
        let address = self.address.clone();
        let seconds = REPEAT.as_secs() * u64::from(TRIES);
        match self.borne.take() {
            None => ToolError::TimedOut { address, step: "the server's answer", seconds },
            Some(error) if is_too_large(&error) => {
                let why = format!(
                    "a datagram of {length} bytes does not fit on the way there ({error}): use tcp: or ws:"
                );
                ToolError::Refused { address, why }
            }
            Some(error) => {
                let why = format!("nothing could be sent to the server for {seconds} s ({error})");
                ToolError::EndedEarly { address, why }
            }
        }
    }

    /// The server was silent for as long as that is borne.
    pub(super) fn gone(&mut self) -> ToolError {
        match self.borne.take() {
            None => gone(&self.address),
            Some(error) => {
                let why = format!("nothing could be sent to the server any more ({error})");
                ToolError::EndedEarly { address: self.address.clone(), why }
            }
        }
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
                Err(error) => self.bear(error)?,
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
            true if is_too_large(&source) => {
                let why =
                    format!("a message does not fit a datagram of this socket ({source}): use a stream");
                ToolError::Refused { address: self.address.clone(), why }
            }
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

/// Whether an error of a UDP socket tells of the way to the server, which may be another for the next datagram. A datagram that
/// was too large has taught the system how large they may be, and the next is sent in fragments; an interface, an address, a
/// route or a rule of a firewall may come back.
fn may_pass(error: &io::Error) -> bool {
    const PASSING: [Errno; 11] = [
        Errno::MSGSIZE,
        Errno::NETUNREACH,
        Errno::HOSTUNREACH,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::NETDOWN,
        Errno::NODEV,
        Errno::ADDRNOTAVAIL,
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOBUFS,
    ];
    Errno::from_io_error(error).is_some_and(|errno| PASSING.contains(&errno))
}

fn is_too_large(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MSGSIZE)
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread;

    use rustix::net::sockopt::{Ipv6PathMtuDiscovery, set_ipv6_mtu_discover};

    use super::*;

    /// Over IPv6 on loopback (RFC 8200, 3: a packet without fragments has this much behind its header, less 40 of an MTU of
    /// 65,536), so long a datagram leaves in fragments, or not at all.
    const TOO_LARGE: usize = 65_500;

    #[test]
    fn what_is_wrong_with_the_way_may_pass_and_what_the_server_says_may_not() {
        let may_pass = |errno: Errno| may_pass(&errno.into());

        for errno in [
            Errno::MSGSIZE,
            Errno::NETUNREACH,
            Errno::HOSTUNREACH,
            Errno::NETDOWN,
            Errno::PERM,
            Errno::ACCESS,
            Errno::ADDRNOTAVAIL,
        ] {
            assert!(may_pass(errno), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::NOTCONN, Errno::BADF, Errno::PIPE] {
            assert!(!may_pass(errno), "{errno}");
        }
        assert!(!super::may_pass(&io::ErrorKind::AddrNotAvailable.into()), "the system did not say it");
    }

    #[test]
    fn a_datagram_that_was_too_large_for_the_way_is_sent_again() {
        let Some((mut grams, server)) = met() else { return };
        let way = without_fragments(&grams);
        // It comes when the first was not sent: from then on fragments are.
        server.send(b"{\"pong\":9}").expect("it listens");
        let answering = thread::spawn(move || {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            let length = server.recv(&mut buffer).expect("a request");
            server.send(b"{\"ok\":1}").expect("it listens");
            length
        });
        let is_first = Cell::new(true);

        let asked = grams.ask(&padded(), |said, _| {
            if said.pong.is_some() && is_first.replace(false) {
                set_ipv6_mtu_discover(&way, Ipv6PathMtuDiscovery::WANT).expect("an option");
            }
            said.is_done(1)
        });

        asked.expect("the repetition is answered");
        assert!(!is_first.get());
        assert_eq!(answering.join().expect("it ends"), TOO_LARGE);
    }

    #[test]
    fn a_datagram_that_never_fits_is_named_when_it_was_tried_often() {
        let Some((mut grams, _server)) = met() else { return };
        without_fragments(&grams);
        grams.repeat = Duration::from_millis(10);

        let error = grams.ask(&padded(), |_, _| false).expect_err("it is never sent");

        assert!(matches!(error, ToolError::Refused { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains(&TOO_LARGE.to_string()) && words.contains("does not fit"), "{words}");
    }

    #[test]
    fn a_way_that_stays_away_is_told_and_no_end_of_the_server() {
        let Some((mut grams, _server)) = met() else { return };

        grams.bear(Errno::NETUNREACH.into()).expect("it may come back");

        let words = grams.unanswered(100).to_string();
        assert!(words.contains("nothing could be sent") && words.contains("unreachable"), "{words}");
        grams.bear(Errno::PERM.into()).expect("it may come back");
        assert!(grams.gone().to_string().contains("not permitted"));
        assert!(grams.gone().to_string().contains("does not answer"));
        assert!(grams.bear(Errno::CONNREFUSED.into()).is_err());
    }

    /// A conversation with a server that has answered once. `None` where there is no IPv6.
    fn met() -> Option<(Grams, UdpSocket)> {
        let server = UdpSocket::bind("[::1]:0").ok()?;
        let address = format!("udp:{}", server.local_addr().expect("an address")).parse().expect("it is one");
        let answering = thread::spawn(move || {
            let (_, from) = server.recv_from(&mut [0; 100]).expect("a ping");
            server.connect(from).expect("it has an address");
            server.send(b"{\"pong\":0}").expect("it listens");
            server
        });
        let grams = Grams::connect(&address).expect("it answers");
        Some((grams, answering.join().expect("it ends")))
    }

    /// From here on what does not fit one packet is not sent; a handle to the same socket.
    fn without_fragments(grams: &Grams) -> UdpSocket {
        let Socket::Udp(udp) = &grams.socket else { panic!("it is UDP") };
        set_ipv6_mtu_discover(udp, Ipv6PathMtuDiscovery::DO).expect("an option");
        udp.try_clone().expect("a second handle")
    }

    /// The fields of a request of that length.
    fn padded() -> String {
        format!("\"id\":1,\"pad\":\"{}\"", "x".repeat(TOO_LARGE - 17))
    }
}
