//! Bounded: one stalled subscriber among 16 while 1 GiB goes by in messages of 16 KiB. The others must hear
//! everything, memory must stay within its bounds, and the stalled one must get exact gaps when it wakes.
//!
//! The publisher is paced by the slowest healthy subscriber, because a bound that everybody hits shows nothing.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rustix::event::epoll::Event;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::Bench;
use crate::generator::closed_loop::STALL_TIMEOUT;
use crate::generator::framing::{Framing, Kind};
use crate::generator::payload;
use crate::generator::socket::{Door, Socket};
use crate::generator::tail::{Heard, Reader};
use crate::poller::{self, Poller};
use crate::process::{self, Build, Process, Program};
use crate::report::{Report, Row, Target, Unit};

const CHANNEL: &str = "bench";
const MESSAGE_BYTES: usize = 16 * 1024;
const TOTAL_BYTES: usize = 1024 * 1024 * 1024;
const SUBSCRIBERS: usize = 16;

/// How far the publisher may be ahead of the slowest healthy subscriber: half an outbox.
const AHEAD_MAX: u64 = 8;

/// What the stalled peer's own kernel may keep; that is not the server's to bound.
const STALLED_RECEIVE_BYTES: usize = 64 * 1024;

/// What a healthy peer's kernel may keep. On loopback a segment is 64 KiB, and a window that is smaller than that
/// waits 200 ms for a probe: that would be measured, and it is nobody's fault here.
const HEALTHY_RECEIVE_BYTES: usize = 512 * 1024;

/// How often the stalled subscriber shows that it is alive.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(10);

/// The configured bounds: an outbox of 256 KiB for each connection, and the channel's history of 256 KiB, with
/// the shard's buffers and what an allocator needs around them.
const USER_BYTES_MAX: f64 = ((SUBSCRIBERS + 2) * 256 * 1024 + 2 * 1024 * 1024) as f64;
/// For the stalled socket: TCP_NOTSENT_LOWAT of 128 KiB, which one segment of 64 KiB may pass, and a receive
/// window of 128 KiB under way. (Unbounded, the kernel takes 4 MiB.)
const KERNEL_QUEUE_BYTES_MAX: f64 = 320.0 * 1024.0;
/// For all sockets of the cell: a low-water mark and as much under way for each, with the kernel's overhead.
const KERNEL_TOTAL_BYTES_MAX: f64 = ((SUBSCRIBERS + 1) * 1024 * 1024) as f64;

/// Runs it once: nothing here is a matter of noise.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let total = if bench.is_quick { TOTAL_BYTES / 16 } else { TOTAL_BYTES };
    let messages = (total / MESSAGE_BYTES) as u64;
    let cell = format!("bounded: 1 of {SUBSCRIBERS} stalled, {} MiB", total >> 20);

    let mut process = bench.start(&Program::Sockeye(Build::This))?;
    let mut stalled = open_subscriber(&process)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(stalled.stream(), STALLED_RECEIVE_BYTES)?;
    let stalled_port = stalled.stream().local_addr()?.port();
    stalled.subscribe(CHANNEL)?;
    let mut crowd = Crowd::open(&process)?;

    let user_before = process.memory()?.resident;
    let kernel_before = process::kernel_tcp_bytes()?;
    let mut kernel_peak = kernel_before;
    let mut queue_peak = 0;
    let begin = Instant::now();
    let mut spoke_at = begin;
    crowd.run(messages, || {
        // It does not read, but it is not gone: without a word it would be closed as silent.
        // RFC 6455, 5.5.3: a pong that nobody asked for is allowed.
        if spoke_at.elapsed() > SIGN_OF_LIFE_INTERVAL {
            stalled.send(&Framing::WebSocket.request(Kind::Pong, b""))?;
            spoke_at = Instant::now();
        }
        kernel_peak = kernel_peak.max(process::kernel_tcp_bytes()?);
        queue_peak = queue_peak.max(process::kernel_queues(process.address.port(), stalled_port)?.0);
        Ok(())
    })?;
    let elapsed = begin.elapsed();
    let user_peak = process.resident_peak()?;

    let heard = wake(stalled, messages)?;
    ensure!(process.is_running()?, "the server ended");

    let bytes = |figure: &str, value: f64, bound: f64| {
        Row::of_value(&cell, figure, value, Unit::Bytes, Target::AtMost(bound))
    };
    let grown = user_peak.saturating_sub(user_before) as f64;
    report.push(
        bytes("growth of user memory, at its peak", grown, USER_BYTES_MAX)
            .with_note(format!("{:.1} s", elapsed.as_secs_f64())),
    );
    report.push(bytes("the stalled socket's queue, at its peak", queue_peak as f64, KERNEL_QUEUE_BYTES_MAX));
    let kernel_grown = kernel_peak.saturating_sub(kernel_before) as f64;
    report.push(bytes("growth of kernel memory, all TCP sockets", kernel_grown, KERNEL_TOTAL_BYTES_MAX));

    let everything = ((SUBSCRIBERS - 1) as u64 * messages) as f64;
    let missing = everything - crowd.heard() as f64;
    report.push(Row::of_value(
        &cell,
        "messages that healthy subscribers missed",
        missing,
        Unit::Count,
        Target::AtMost(0.0),
    ));
    let unexplained = messages - heard.messages - heard.missed;
    report.push(
        Row::of_value(
            &cell,
            "messages the stalled one neither heard nor was told of",
            unexplained as f64,
            Unit::Count,
            Target::AtMost(0.0),
        )
        .with_note(format!("{} heard, {} in {} gaps", heard.messages, heard.missed, heard.gaps)),
    );
    Ok(())
}

fn open_subscriber(process: &Process) -> anyhow::Result<Socket> {
    Socket::open(process.address, Door::WebSocket("/ws"))
}

/// Reads what was kept for the stalled subscriber, until the newest message.
fn wake(stalled: Socket, messages: u64) -> anyhow::Result<Heard> {
    let stream = stalled.into_stream()?;
    let poller = Poller::new()?;
    poller.add(&stream, 0)?;
    let mut events = Poller::room();
    let mut buffer = vec![0; crate::floor::BUFFER_BYTES];
    let mut reader = Reader::new();
    loop {
        match recv(&stream, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => bail!("the server closed the stalled connection after {:?}", reader.heard()),
            Ok((length, _)) => reader.take(&buffer[..length])?,
            Err(Errno::AGAIN) => {
                let pongs = reader.take_pongs();
                if !pongs.is_empty() {
                    send(&stream, &pongs, SendFlags::NOSIGNAL)?;
                }
                if reader.heard().last >= messages {
                    return Ok(reader.heard());
                }
                poller.wait(&mut events, Some(STALL_TIMEOUT))?;
                ensure!(!events.is_empty(), "the woken subscriber heard no end: {:?}", reader.heard());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The publisher and the healthy subscribers.
struct Crowd {
    poller: Poller,
    events: Vec<Event>,
    publisher: std::net::TcpStream,
    subscribers: Vec<(std::net::TcpStream, Reader)>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Crowd {
    fn open(process: &Process) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        let mut subscribers = Vec::new();
        for index in 0..SUBSCRIBERS - 1 {
            let mut subscriber = open_subscriber(process)?;
            rustix::net::sockopt::set_socket_recv_buffer_size(subscriber.stream(), HEALTHY_RECEIVE_BYTES)?;
            subscriber.subscribe(CHANNEL)?;
            let stream = subscriber.into_stream()?;
            poller.add(&stream, index)?;
            subscribers.push((stream, Reader::new()));
        }
        let publisher = open_subscriber(process)?.into_stream()?;
        poller.add(&publisher, subscribers.len())?;
        let request =
            Framing::WebSocket.request(Kind::Text, &payload::publish(CHANNEL, &payload::text(MESSAGE_BYTES)));
        let buffer = vec![0; crate::floor::BUFFER_BYTES];
        Ok(Self { poller, events: Poller::room(), publisher, subscribers, request, buffer })
    }

    /// How many messages all of them heard together.
    fn heard(&self) -> u64 {
        self.subscribers.iter().map(|(_, reader)| reader.heard().messages).sum()
    }

    fn slowest(&self) -> u64 {
        self.subscribers.iter().map(|(_, reader)| reader.heard().last).min().unwrap_or(0)
    }

    /// Publishes `messages`, and calls `look` about 64 times on the way.
    fn run(&mut self, messages: u64, mut look: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut published = 0;
        let mut sent = 0;
        let mut next_look = 0;
        loop {
            let slowest = self.slowest();
            if slowest >= messages {
                return look();
            }
            if slowest >= next_look {
                look()?;
                next_look = slowest + (messages / 64).max(1);
            }
            while published < messages && published < slowest + AHEAD_MAX {
                match send(&self.publisher, &self.request[sent..], SendFlags::NOSIGNAL) {
                    Ok(length) => sent += length,
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
                if sent == self.request.len() {
                    sent = 0;
                    published += 1;
                }
            }
            self.turn()?;
        }
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        self.poller.wait(&mut self.events, Some(STALL_TIMEOUT))?;
        ensure!(!self.events.is_empty(), "nothing was heard for {STALL_TIMEOUT:?}");
        for event in &self.events {
            if !poller::is_readable(event) {
                continue;
            }
            let Some((stream, reader)) = self.subscribers.get_mut(poller::token(event)) else {
                crate::generator::closed_loop::fail_if_answered(&self.publisher, &mut self.buffer)?;
                continue;
            };
            loop {
                match recv(&*stream, &mut *self.buffer, RecvFlags::empty()) {
                    Ok((0, _)) => bail!("the server closed a healthy connection"),
                    Ok((length, _)) => {
                        reader.take(&self.buffer[..length])?;
                        if length < self.buffer.len() {
                            break;
                        }
                    }
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            let pongs = reader.take_pongs();
            if !pongs.is_empty() {
                send(&*stream, &pongs, SendFlags::NOSIGNAL)?;
            }
        }
        Ok(())
    }
}
