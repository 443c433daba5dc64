//! One blocking connection: handshake, subscription and the first exchange, where content is checked. What
//! comes after goes through the loops, which take the stream out of here.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::framing::{Framing, Head, Kind};

/// RFC 6455, 1.3: the key of the standard's example, and what a server must answer.
const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to the only key that the generator sends.
pub(crate) const UPGRADE_ACCEPTED: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How long anything may take while a connection is set up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the server is spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// A WebSocket at a path.
    WebSocket(&'static str),
    /// A WebSocket at a path, with compression offered. It is not undone here: who looks at a message sees what came.
    Deflated(&'static str),
    /// Lines on TCP.
    Lines,
    /// A floor program: one byte is a handshake.
    Floor(Framing),
}

/// A connection during set-up.
pub(crate) struct Socket {
    stream: TcpStream,
    framing: Framing,
    /// Bytes that were received and not used.
    pending: Vec<u8>,
}

impl Socket {
    /// Connects and goes through the door.
    pub(crate) fn open(address: SocketAddr, door: Door) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let framing = match door {
            Door::WebSocket(_) | Door::Deflated(_) => Framing::WebSocket,
            Door::Lines => Framing::Line,
            Door::Floor(framing) => framing,
        };
        let mut socket = Self { stream, framing, pending: Vec::new() };
        match door {
            Door::WebSocket(path) => socket.upgrade(address, path, "")?,
            Door::Deflated(path) => {
                socket.upgrade(address, path, "Sec-WebSocket-Extensions: permessage-deflate\r\n")?;
            }
            Door::Lines => {}
            Door::Floor(_) => {
                socket.send(b"h")?;
                socket.fill()?;
                ensure!(socket.pending == b"h", "a floor greeted with {:?}", socket.pending);
                socket.pending.clear();
            }
        }
        Ok(socket)
    }

    fn upgrade(&mut self, address: SocketAddr, path: &str, offer: &str) -> anyhow::Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {UPGRADE_KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
        );
        self.send(request.as_bytes())?;
        let end = loop {
            if let Some(end) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().context("upgrade")?;
        };
        let head = String::from_utf8_lossy(&self.pending[..end]).into_owned();
        ensure!(
            head.starts_with("HTTP/1.1 101 ") && head.contains(UPGRADE_ACCEPTED),
            "the upgrade of {path} was refused: {head}"
        );
        self.pending.drain(..end);
        Ok(())
    }

    /// Subscribes to a channel and waits until the server has said so.
    pub(crate) fn subscribe(&mut self, channel: &str) -> anyhow::Result<()> {
        self.send(&self.framing.request(Kind::Text, &super::payload::subscribe(channel)))?;
        let answer = self.receive()?;
        ensure!(
            answer.starts_with(br#"{"ok":1"#),
            "subscribing to {channel}: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).context("send")
    }

    /// Receives one message.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(message) = take_message(self.framing, &mut self.pending)? {
                return Ok(message);
            }
            self.fill()?;
        }
    }

    /// The stream, when nothing was received that was not used; from here on it does not block.
    pub(crate) fn into_stream(self) -> anyhow::Result<TcpStream> {
        ensure!(
            self.pending.is_empty(),
            "the server said more than expected: {}",
            String::from_utf8_lossy(&self.pending)
        );
        self.stream.set_nonblocking(true)?;
        Ok(self.stream)
    }

    /// The stream itself, for options.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 32 * 1024];
        let length = self.stream.read(&mut buffer).context("receive")?;
        if length == 0 {
            bail!("the server closed the connection after: {}", String::from_utf8_lossy(&self.pending));
        }
        self.pending.extend_from_slice(&buffer[..length]);
        Ok(())
    }
}

/// Takes the first whole message out of `pending`, without its frame.
pub(crate) fn take_message(framing: Framing, pending: &mut Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    let (start, end, next) = match framing {
        Framing::WebSocket => {
            let Some(head) = Head::parse(pending)? else { return Ok(None) };
            let end = head.head_bytes + head.payload_bytes;
            if pending.len() < end {
                return Ok(None);
            }
            if !head.is_message() {
                bail!(
                    "a control frame (opcode {}) instead of a message: {}",
                    head.opcode,
                    String::from_utf8_lossy(&pending[head.head_bytes..end])
                );
            }
            (head.head_bytes, end, end)
        }
        Framing::Line => match pending.iter().position(|byte| *byte == b'\n') {
            Some(end) => (0, end, end + 1),
            None => return Ok(None),
        },
    };
    let message = pending[start..end].to_vec();
    pending.drain(..next);
    Ok(Some(message))
}
