//! One publisher and many subscribers: the next write follows when everyone has heard the last one.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rustix::event::epoll::Event;
use rustix::net::{SendFlags, send};

use super::closed_loop::{STALL_TIMEOUT, fail_if_answered, hear};
use super::counter::Counter;
use super::framing::Framing;
use crate::histogram::Histogram;
use crate::poller::{self, Poller};

/// What the publisher does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Burst {
    /// Writes in a row before anyone reads.
    pub(crate) writes: usize,
    /// Messages in each write.
    pub(crate) messages_per_write: usize,
}

impl Burst {
    /// Messages in flight.
    pub(crate) fn messages(self) -> usize {
        self.writes * self.messages_per_write
    }
}

/// A fan-out that runs.
pub(crate) struct Broadcast {
    poller: Poller,
    events: Vec<Event>,
    publisher: TcpStream,
    subscribers: Vec<(TcpStream, Counter)>,
    /// One write.
    request: Vec<u8>,
    burst: Burst,
    buffer: Vec<u8>,
}

impl Broadcast {
    /// Takes the sockets over; `message` is one message as the publisher sends it.
    pub(crate) fn new(
        publisher: TcpStream,
        subscribers: Vec<TcpStream>,
        framing: Framing,
        message: &[u8],
        burst: Burst,
    ) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&publisher, subscribers.len())?;
        for (index, subscriber) in subscribers.iter().enumerate() {
            poller.add(subscriber, index)?;
        }
        Ok(Self {
            poller,
            events: Poller::room(),
            publisher,
            subscribers: subscribers.into_iter().map(|stream| (stream, Counter::new(framing))).collect(),
            request: message.repeat(burst.messages_per_write),
            burst,
            buffer: vec![0; crate::floor::BUFFER_BYTES],
        })
    }

    /// Goes on for `duration`. Returns the deliveries; each one's latency since its burst began is recorded.
    pub(crate) fn run(&mut self, duration: Duration, latency: &mut Histogram) -> anyhow::Result<u64> {
        let begin = Instant::now();
        let mut deliveries = 0;
        while begin.elapsed() < duration {
            let sent_at = Instant::now();
            for _ in 0..self.burst.writes {
                let length = send(&self.publisher, &self.request, SendFlags::NOSIGNAL)?;
                ensure!(length == self.request.len(), "the server does not keep up with one publisher");
            }
            let expected = self.subscribers.len() * self.burst.messages();
            let mut heard = 0;
            while heard < expected {
                heard += self.turn(sent_at, latency)?;
            }
            ensure!(heard == expected, "subscribers heard more than was published");
            deliveries += expected as u64;
        }
        Ok(deliveries)
    }

    fn turn(&mut self, sent_at: Instant, latency: &mut Histogram) -> anyhow::Result<usize> {
        self.poller.wait(&mut self.events, Some(STALL_TIMEOUT))?;
        if self.events.is_empty() {
            bail!("nothing was heard for {STALL_TIMEOUT:?}");
        }
        let mut heard = 0;
        for event in &self.events {
            if !poller::is_readable(event) {
                continue;
            }
            let Some((stream, counter)) = self.subscribers.get_mut(poller::token(event)) else {
                fail_if_answered(&self.publisher, &mut self.buffer)?;
                continue;
            };
            let messages = hear(stream, counter, &mut self.buffer)?;
            latency.record(sent_at.elapsed(), messages as u64);
            heard += messages;
        }
        Ok(heard)
    }
}
