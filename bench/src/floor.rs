//! The floor: what the kernel alone costs. A bare edge-triggered epoll loop with one receive and one send per
//! ready connection that moves exactly the bytes the server would, and understands none of them.
//!
//! Absent on purpose: any protocol. A connection's first byte is answered with the same byte, so that the
//! generator knows that it was accepted; after that every `received` bytes are worth one prepared reply.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, bail};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::generator::framing::Framing;
use crate::poller::{self, Poller};

/// The size of the one receive buffer, as the server's.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

const LISTENER: usize = usize::MAX;

/// Whom a message goes to. Connections are numbered in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Back to where it came from.
    Echo,
    /// From each even connection to the odd one after it.
    Pairs,
    /// From the first connection to all the others.
    Fanout,
}

/// What a floor program moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    pub(crate) route: Route,
    /// The size of one message as it arrives.
    pub(crate) received_bytes: usize,
    /// The size of one message as it leaves.
    pub(crate) sent_bytes: usize,
    /// What the reply looks like, so that the generator can count messages.
    pub(crate) framing: Framing,
}

impl Floor {
    /// The words that make another process this floor.
    pub(crate) fn to_words(self) -> Vec<String> {
        let route = match self.route {
            Route::Echo => "echo",
            Route::Pairs => "pairs",
            Route::Fanout => "fanout",
        };
        let framing = match self.framing {
            Framing::WebSocket => "websocket",
            Framing::Line => "line",
        };
        vec![
            "floor".into(),
            route.into(),
            self.received_bytes.to_string(),
            self.sent_bytes.to_string(),
            framing.into(),
        ]
    }

    fn from_words(words: &[String]) -> anyhow::Result<Self> {
        let [route, received, sent, framing] = words else {
            bail!("floor takes a route, the bytes received, the bytes sent and a framing");
        };
        Ok(Self {
            route: match route.as_str() {
                "echo" => Route::Echo,
                "pairs" => Route::Pairs,
                "fanout" => Route::Fanout,
                other => bail!("no such route: {other}"),
            },
            received_bytes: received.parse().context("bytes received")?,
            sent_bytes: sent.parse().context("bytes sent")?,
            framing: match framing.as_str() {
                "websocket" => Framing::WebSocket,
                "line" => Framing::Line,
                other => bail!("no such framing: {other}"),
            },
        })
    }
}

/// Runs a floor until its first connection ends.
pub(crate) fn main(words: &[String]) -> anyhow::Result<()> {
    let floor = Floor::from_words(words)?;
    let listener = crate::process::listen_as_child()?;
    listener.set_nonblocking(true)?;
    Loop::new(floor, listener)?.run()?;
    Ok(())
}

struct Connection {
    stream: TcpStream,
    is_greeted: bool,
    /// Bytes of a message that has not wholly arrived.
    received: usize,
    /// Bytes to send, and where in the prepared replies they begin.
    owed: usize,
    sent: usize,
}

struct Loop {
    floor: Floor,
    poller: Poller,
    listener: TcpListener,
    connections: Vec<Connection>,
    /// Several replies in a row, so that one send can carry many.
    replies: Vec<u8>,
}

impl Loop {
    fn new(floor: Floor, listener: TcpListener) -> anyhow::Result<Self> {
        let reply = floor.framing.filler(floor.sent_bytes)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        let replies = reply.repeat((64 * 1024 / reply.len()).clamp(2, 64));
        Ok(Self { floor, poller, listener, connections: Vec::new(), replies })
    }

    fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut events = Poller::room();
        loop {
            self.poller.wait(&mut events, None)?;
            for event in &events {
                let index = poller::token(event);
                if index == LISTENER {
                    self.accept()?;
                    continue;
                }
                if poller::is_readable(event) && !self.receive(index, &mut buffer)? {
                    return Ok(());
                }
                // Only after a short send: otherwise nothing is owed here.
                if self.connections[index].owed > 0 {
                    self.send(index)?;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    self.poller.add(&stream, self.connections.len())?;
                    self.connections.push(Connection {
                        stream,
                        is_greeted: false,
                        received: 0,
                        owed: 0,
                        sent: 0,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives until a short read; false at the end of input.
    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let connection = &mut self.connections[index];
            let mut length = match recv(&connection.stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(false),
                Ok((length, _)) => length,
                Err(rustix::io::Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            let is_last = length < buffer.len();
            if !connection.is_greeted {
                connection.is_greeted = true;
                (&connection.stream).write_all(&buffer[..1])?;
                length -= 1;
            }
            let received = connection.received + length;
            connection.received = received % self.floor.received_bytes;
            self.forward(index, received / self.floor.received_bytes)?;
            if is_last {
                return Ok(true);
            }
        }
    }

    fn forward(&mut self, from: usize, messages: usize) -> io::Result<()> {
        if messages == 0 {
            return Ok(());
        }
        let owed = messages * self.floor.sent_bytes;
        let to = match self.floor.route {
            Route::Echo => from..from + 1,
            Route::Pairs => from + 1..from + 2,
            Route::Fanout => 1..self.connections.len(),
        };
        for index in to {
            self.connections[index].owed += owed;
            self.send(index)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        while connection.owed > 0 {
            let start = connection.sent;
            let end = self.replies.len().min(start + connection.owed);
            match send(&connection.stream, &self.replies[start..end], SendFlags::NOSIGNAL) {
                Ok(length) => {
                    connection.owed -= length;
                    // A message goes on where it stopped; any message's beginning will do for the next one.
                    connection.sent = (start + length) % self.floor.sent_bytes;
                    if length < end - start {
                        return Ok(());
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
