//! The floor of relaying: one pair of TCP connections and a bare edge-triggered loop that splices whatever comes from either
//! into the other, through a pipe for each direction. It passes no ends and has no limits.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::poller::Poller;

/// The room of each pipe, as the relay's.
const PIPE_BYTES: usize = 1 << 20;

/// The words that make another process this floor, in front of a server.
pub(crate) fn words(to: SocketAddr) -> [String; 2] {
    ["relay-floor".into(), to.to_string()]
}

/// Joins the first connection with the server until its parent ends.
pub(crate) fn main(words: &[String]) -> anyhow::Result<()> {
    let to: SocketAddr = words.first().context("relay-floor takes an address")?.parse()?;
    let listener = crate::process::listen_as_child()?;
    let (near, _) = listener.accept()?;
    let far = TcpStream::connect(to)?;
    let poller = Poller::new()?;
    for (token, stream) in [&near, &far].into_iter().enumerate() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poller.add(stream, token)?;
    }
    let mut ways = [Way::new()?, Way::new()?];
    let mut events = Poller::room();
    loop {
        poller.wait(&mut events, None)?;
        ways[0].pass(&near, &far)?;
        ways[1].pass(&far, &near)?;
    }
}

/// One direction.
struct Way {
    outlet: OwnedFd,
    inlet: OwnedFd,
    held: usize,
}

impl Way {
    fn new() -> io::Result<Self> {
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&inlet, PIPE_BYTES)?;
        Ok(Self { outlet, inlet, held: 0 })
    }

    fn pass(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            while self.held > 0 {
                match splice(&self.outlet, None, to, None, self.held, flags) {
                    Ok(moved) => self.held -= moved,
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            match splice(from, None, &self.inlet, None, PIPE_BYTES, flags) {
                // The end of either is the harness' goodbye.
                Ok(0) => std::process::exit(0),
                Ok(taken) => self.held = taken,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
