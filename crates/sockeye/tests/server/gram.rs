//! A simple client of datagrams, over UDP or Unix, with the patience of the others. It answers nothing by itself.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;

use serde_json::Value;

use crate::world::{PATIENCE, Server};

/// A datagram socket, and the cookie that it was given.
pub(crate) struct Grams {
    socket: Socket,
    cookie: Option<String>,
}

enum Socket {
    Udp(UdpSocket),
    /// Bound in a folder of its own, since nobody can answer a socket that is not bound.
    Unix {
        socket: UnixDatagram,
        _folder: tempfile::TempDir,
    },
}

/// Requests are as long as this before the address is proved, so that their answers fit.
const PADDED_BYTES: usize = 400;

impl Grams {
    pub(crate) fn udp(server: &Server) -> Grams {
        Grams::udp_from(server, "127.0.0.1:0")
    }

    /// From an address of one's own choice.
    pub(crate) fn udp_from(server: &Server, local: &str) -> Grams {
        Grams::udp_between(local, server.tcp())
    }

    /// Between two addresses: nothing is heard that does not come from the one that was asked.
    pub(crate) fn udp_between(local: &str, to: SocketAddr) -> Grams {
        let socket = UdpSocket::bind(local).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Grams { socket: Socket::Udp(socket), cookie: None }
    }

    pub(crate) fn unix(server: &Server) -> Grams {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("c.sock")).unwrap();
        socket.connect(server.unixgram()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Grams { socket: Socket::Unix { socket, _folder: folder }, cookie: None }
    }

    /// Asks for a cookie, as every subscriber has to, and puts it into every request from then on.
    pub(crate) fn prove(mut self) -> Grams {
        self.send("{\"sub\":\"a\"}");
        self.cookie = Some(self.receive_value()["cookie"].as_str().expect("a cookie").to_owned());
        self
    }

    /// Sends a text as it stands.
    pub(crate) fn send(&self, text: &str) {
        let sent = self.try_send(text.as_bytes()).unwrap();
        assert_eq!(sent, text.len());
    }

    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Udp(udp) => udp.send(bytes),
            Socket::Unix { socket, .. } => socket.send(bytes),
        }
    }

    /// Sends a text with the cookie in it where it is a request, and with white space behind it where it is not. (A ping
    /// with a cookie asks for a session, which not everybody has.)
    pub(crate) fn ask(&self, text: &str) {
        const VERBS: [&str; 5] = ["sub", "unsub", "pub", "past", "hello"];
        let object: Option<serde_json::Map<String, Value>> = serde_json::from_str(text).ok();
        let is_request = object.is_some_and(|object| VERBS.iter().any(|verb| object.contains_key(*verb)));
        match (&self.cookie, text.find('{')) {
            (Some(cookie), Some(brace)) if is_request => {
                self.send(&format!("{{\"cookie\":\"{cookie}\",{}", &text[brace + 1..]));
            }
            _ => self.send(&format!("{text:PADDED_BYTES$}")),
        }
    }

    /// Whether something has come and was not received.
    pub(crate) fn is_waiting(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0];
        match &self.socket {
            Socket::Udp(udp) => recv(udp, &mut byte[..], flags).is_ok(),
            Socket::Unix { socket, .. } => recv(socket, &mut byte[..], flags).is_ok(),
        }
    }

    /// The next datagram.
    pub(crate) fn receive(&mut self) -> String {
        self.try_receive().expect("a datagram comes")
    }

    pub(crate) fn try_receive(&mut self) -> io::Result<String> {
        let mut buffer = vec![0; 64 << 10];
        let length = match &self.socket {
            Socket::Udp(udp) => udp.recv(&mut buffer),
            Socket::Unix { socket, .. } => socket.recv(&mut buffer),
        }?;
        buffer.truncate(length);
        Ok(String::from_utf8(buffer).expect("datagrams are text"))
    }

    pub(crate) fn receive_value(&mut self) -> Value {
        let text = self.receive();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
    }

    /// Takes the next cookie out of a pong, where it is beside the protocol that all sockets share.
    pub(crate) fn receive_shared(&mut self) -> String {
        let text = self.receive();
        let mut value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        match value.as_object_mut().filter(|object| object.contains_key("pong")) {
            Some(pong) => {
                if let Some(Value::String(cookie)) = pong.remove("cookie") {
                    self.cookie = Some(cookie);
                }
                value.to_string()
            }
            None => text,
        }
    }
}
