//! Many independent links, each with one write in flight: when everything it caused was heard, the next follows.
//! An echo is a link to oneself; a pair talks on one socket and hears on another.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rustix::event::epoll::Event;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::counter::Counter;
use super::framing::Framing;
use crate::poller::{self, Poller};

/// A run in which nothing moves for this long has failed.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// One link before it runs.
pub(crate) struct Link {
    /// The socket that talks, if it is not the one that hears.
    pub(crate) talker: Option<TcpStream>,
    pub(crate) hearer: TcpStream,
    /// What one write sends.
    pub(crate) request: Arc<[u8]>,
}

struct Running {
    link: Link,
    counter: Counter,
    /// Messages heard of those the last write caused.
    heard: usize,
    /// Where a short send stopped.
    sent: usize,
}

impl Running {
    fn send(&mut self) -> anyhow::Result<()> {
        let socket = self.link.talker.as_ref().unwrap_or(&self.link.hearer);
        while self.sent < self.link.request.len() {
            match send(socket, &self.link.request[self.sent..], SendFlags::NOSIGNAL) {
                Ok(length) => self.sent += length,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// All links of a run.
pub(crate) struct ClosedLoop {
    poller: Poller,
    events: Vec<Event>,
    links: Vec<Running>,
    messages_per_write: usize,
    buffer: Vec<u8>,
}

impl ClosedLoop {
    /// Takes the links over. Each write of each of them is worth `messages_per_write` messages.
    pub(crate) fn new(links: Vec<Link>, framing: Framing, messages_per_write: usize) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        for (index, link) in links.iter().enumerate() {
            poller.add(&link.hearer, index)?;
            if let Some(talker) = &link.talker {
                poller.add(talker, links.len() + index)?;
            }
        }
        let links = links
            .into_iter()
            .map(|link| Running { sent: link.request.len(), link, counter: Counter::new(framing), heard: 0 })
            .collect();
        Ok(Self {
            poller,
            events: Poller::room(),
            links,
            messages_per_write,
            buffer: vec![0; crate::floor::BUFFER_BYTES],
        })
    }

    /// Goes on for `duration`, then waits until nothing is in flight. Returns the messages heard.
    pub(crate) fn run(&mut self, duration: Duration) -> anyhow::Result<u64> {
        let deadline = Instant::now() + duration;
        let mut active = self.links.len();
        let mut messages = 0;
        for link in &mut self.links {
            link.sent = 0;
            link.send()?;
        }
        while active > 0 {
            let is_over = Instant::now() >= deadline;
            self.poller.wait(&mut self.events, Some(STALL_TIMEOUT))?;
            if self.events.is_empty() {
                bail!("nothing was heard for {STALL_TIMEOUT:?}, {active} links are waiting");
            }
            for event in &self.events {
                let token = poller::token(event);
                let is_talker = token >= self.links.len();
                let index = if is_talker { token - self.links.len() } else { token };
                let link = &mut self.links[index];
                if link.sent < link.link.request.len() {
                    link.send()?;
                }
                if !poller::is_readable(event) {
                    continue;
                }
                if is_talker {
                    let socket = link.link.talker.as_ref().unwrap_or(&link.link.hearer);
                    fail_if_answered(socket, &mut self.buffer)?;
                    continue;
                }
                let heard = hear(&link.link.hearer, &mut link.counter, &mut self.buffer)?;
                link.heard += heard;
                messages += heard as u64;
                if link.heard < self.messages_per_write || heard == 0 {
                    continue;
                }
                ensure!(link.heard == self.messages_per_write, "link {index} heard more than it asked for");
                link.heard = 0;
                if is_over {
                    active -= 1;
                } else {
                    link.sent = 0;
                    link.send()?;
                }
            }
        }
        Ok(messages)
    }
}

/// Reads what is there and counts its messages.
pub(crate) fn hear(socket: &TcpStream, counter: &mut Counter, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut messages = 0;
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => bail!("the server closed a connection"),
            Ok((length, _)) => {
                messages += counter.count(&buffer[..length])?;
                if length < buffer.len() {
                    return Ok(messages);
                }
            }
            Err(Errno::AGAIN) => return Ok(messages),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A publisher without an id hears nothing but errors.
pub(crate) fn fail_if_answered(socket: &TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    match recv(socket, &mut *buffer, RecvFlags::empty()) {
        Ok((0, _)) => bail!("the server closed a publisher's connection"),
        Ok((length, _)) => {
            bail!("the server told a publisher: {}", String::from_utf8_lossy(&buffer[..length]))
        }
        Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
