//! The loop of one shard: readiness in, bytes through the machines and the hub, one write per touched connection.
//!
//! ```text
//! poll ─> edges ─> ready list ─> read ─> machine ─> hub ─> touched list ─> write ─> timers ─> poll ...
//! ```
//!
//! Edges are reported once, so what they said is remembered per connection until the socket itself says otherwise:
//! *may be readable* is cleared only by would-block, or by a short read when the edge carried no end (data and end come
//! as one edge, and nothing follows). What is still readable after its share goes to the back of the ready list, and so
//! do resumed readers, and listeners that ran out of descriptors. While that list or the touched list holds anything,
//! poll does not wait.
//!
//! Deliberately absent: the operating system (`kernel.rs`), threads, and any knowledge of protocols or channels.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sockeye_gateway::{Connection, Context, Ending, Limits, Out, Site};
use sockeye_hub::{Bye, ClientId, ClientSetup, Hub, Now};
use tracing::{debug, debug_span, info, warn};

use super::figures::Figures;
use super::gather::{Gather, Speech, Written};
use super::kernel::{Event, Kernel, LISTENER_TOKENS, Stream};
use super::peer::Peer;
use super::stats::ShardPages;
use super::timer::Wheel;
use crate::config::ServerLimits;
use sockeye_gateway::Form;

/// What a shard is made with.
pub struct Setup {
    /// The hub, empty.
    pub hub: Hub,
    /// The server's fixed facts.
    pub site: Arc<Site>,
    /// Bounds of connections.
    pub limits: Limits,
    /// Bounds of the loop.
    pub server_limits: ServerLimits,
    /// The embedded pages.
    pub assets: fn(&str) -> Option<sockeye_gateway::Asset>,
}

/// One shard: its connections, its hub, its timers.
pub struct Shard<K: Kernel> {
    kernel: K,
    hub: Hub,
    site: Arc<Site>,
    limits: Limits,
    server_limits: ServerLimits,
    assets: fn(&str) -> Option<sockeye_gateway::Asset>,
    peers: Vec<Option<Box<Peer<K::Stream>>>>,
    figures: Figures,
    events: Vec<Event>,
    /// Connections and listeners to be read from without a new edge.
    ready: VecDeque<u64>,
    wheel: Wheel,
    due: Vec<u64>,
    buffer: Box<[u8]>,
    out: Out,
    gather: Gather,
    now: Now,
    next_stats_ms: u64,
    drain: Option<Drain>,
    /// When running out of descriptors was last told of.
    exhausted_told_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    deadline_ms: u64,
}

impl<K: Kernel> Shard<K> {
    /// Makes a shard on a kernel whose listeners are open.
    pub fn new(kernel: K, setup: Setup) -> Self {
        let now = kernel.now();
        let listeners = kernel.listeners() as u64;
        Shard {
            hub: setup.hub,
            site: setup.site,
            limits: setup.limits,
            assets: setup.assets,
            peers: Vec::new(),
            figures: Figures::new(now),
            events: Vec::with_capacity(1024),
            // A listener may have connections that came before it was watched.
            ready: (0..listeners).map(|index| LISTENER_TOKENS + index).collect(),
            wheel: Wheel::new(now.ms),
            due: Vec::new(),
            buffer: vec![0; setup.server_limits.receive_bytes_max].into_boxed_slice(),
            server_limits: setup.server_limits,
            out: Out::new(),
            gather: Gather::default(),
            now,
            next_stats_ms: now.ms,
            drain: None,
            exhausted_told_ms: None,
            kernel,
        }
    }

    /// The kernel, for who owns both.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The hub, for who joins several shards.
    pub fn hub(&mut self) -> &mut Hub {
        &mut self.hub
    }

    /// Whether everything is done after `begin_drain`.
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() && self.figures.open() == 0
    }

    /// Waits for something to do, at most for `wait_max`, and does it: one turn of the loop.
    ///
    /// # Errors
    /// Only when the kernel cannot be waited for any more.
    pub fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        let timeout = self.wait(wait_max);
        let mut events = std::mem::take(&mut self.events);
        let polled = self.kernel.poll(&mut events, timeout);
        self.now = self.kernel.now();
        for event in events.drain(..) {
            self.note(event);
        }
        self.events = events;
        polled?;

        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else { break };
            if token >= LISTENER_TOKENS {
                self.accept(token);
            } else {
                self.serve(ClientId::from_u64(token));
            }
        }
        for _ in 0..self.server_limits.writes_per_turn_max {
            let Some(client) = self.hub.take_touched() else { break };
            self.flush(client);
        }
        self.handle_timers();
        Ok(())
    }

    /// How long poll may wait.
    fn wait(&self, wait_max: Option<Duration>) -> Option<Duration> {
        if !self.ready.is_empty() || self.hub.has_touched() {
            return Some(Duration::ZERO);
        }
        let timers = [
            self.wheel.next_ms(),
            self.hub.poll_timeout(),
            Some(self.next_stats_ms),
            self.drain.map(|drain| drain.deadline_ms),
        ];
        let next_ms = timers.into_iter().flatten().min();
        let until_next = next_ms.map(|next| Duration::from_millis(next.saturating_sub(self.now.ms)));
        match (until_next, wait_max) {
            (Some(timer), Some(wait)) => Some(timer.min(wait)),
            (timer, wait) => timer.or(wait),
        }
    }

    /// Remembers what an edge said.
    fn note(&mut self, event: Event) {
        if event.token >= LISTENER_TOKENS {
            self.ready.push_back(event.token);
            return;
        }
        let client = ClientId::from_u64(event.token);
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        peer.ended_edge |= event.ended;
        if event.readable || event.ended {
            peer.readable = true;
            if !peer.listed {
                peer.listed = true;
                self.ready.push_back(event.token);
            }
        }
        if event.writable && peer.blocked {
            peer.blocked = false;
            self.hub.touch(client);
        }
    }

    /// Reads one share from a connection and handles it.
    fn serve(&mut self, client: ClientId) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        peer.listed = false;
        if peer.is_lingering() {
            return self.discard(client);
        }
        if !peer.machine.may_read(&self.hub, &self.limits) {
            if peer.machine.ending() == Ending::No {
                // It is listed again when its answers are read; but a connection that is gone will never read them.
                if peer.ended_edge {
                    self.hub.touch(client);
                }
                return;
            }
            return self.settle(client);
        }
        if !peer.held.is_empty() {
            let mut held = std::mem::take(&mut peer.held);
            let taken = self.handle(client, &mut held);
            if taken < held.len() {
                held.drain(..taken);
                if let Some(peer) = peer_of(&mut self.peers, client) {
                    peer.held = held;
                }
            }
            return self.relist(client);
        }
        if !peer.readable {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        match retry(|| peer.stream.read(&mut buffer)) {
            Ok(0) => {
                peer.readable = false;
                self.handle_end(client);
            }
            Ok(length) => {
                if length < buffer.len() && !peer.ended_edge {
                    peer.readable = false;
                }
                self.figures.bytes_in += length as u64;
                self.figures.reads += 1;
                let taken = self.handle(client, &mut buffer[..length]);
                if taken < length
                    && let Some(peer) = peer_of(&mut self.peers, client)
                {
                    peer.held = buffer[taken..length].to_vec();
                }
                self.relist(client);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                peer.readable = false;
                peer.ended_edge = false;
            }
            Err(error) => self.remove(client, "lost", Some(&error)),
        }
        self.buffer = buffer;
    }

    /// Lists a connection that has more to give.
    fn relist(&mut self, client: ClientId) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        if !peer.listed
            && (peer.readable || !peer.held.is_empty())
            && (peer.is_lingering() || peer.machine.may_read(&self.hub, &self.limits))
        {
            peer.listed = true;
            self.ready.push_back(client.to_u64());
        }
    }

    /// Gives input to the machine, and writes what it said at once. Returns how much of the input was taken.
    fn handle(&mut self, client: ClientId, input: &mut [u8]) -> usize {
        let Some(peer) = peer_of(&mut self.peers, client) else { return input.len() };
        let before = peer.machine.protocol();
        let pages = ShardPages {
            figures: &self.figures,
            assets: self.assets,
            draining: self.drain.is_some(),
            now: self.now,
        };
        let mut cx = Context {
            hub: &mut self.hub,
            now: self.now,
            limits: &self.limits,
            site: &self.site,
            pages: &pages,
            out: &mut self.out,
        };
        let taken = peer.machine.handle_input(input, &mut cx);
        let after = peer.machine.protocol();
        if before != after {
            self.figures.changed(before, after);
            peer.span.record("protocol", after.as_str());
        }
        if !self.out.is_empty() {
            self.write(client, input);
        }
        self.settle(client);
        taken
    }

    fn handle_end(&mut self, client: ClientId) {
        self.with_machine(client, |machine, cx| machine.handle_end(cx));
    }

    /// Lets a machine act without input, and writes what it said.
    fn with_machine(&mut self, client: ClientId, act: impl FnOnce(&mut Connection, &mut Context<'_>)) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        let pages = ShardPages {
            figures: &self.figures,
            assets: self.assets,
            draining: self.drain.is_some(),
            now: self.now,
        };
        let mut cx = Context {
            hub: &mut self.hub,
            now: self.now,
            limits: &self.limits,
            site: &self.site,
            pages: &pages,
            out: &mut self.out,
        };
        act(&mut peer.machine, &mut cx);
        if !self.out.is_empty() {
            self.write(client, &[]);
        }
        self.settle(client);
    }

    /// Writes a touched connection's outbox: one call, and once more next turn if there is more.
    fn flush(&mut self, client: ClientId) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        if let Some(bye) = self.hub.closing(client) {
            peer.machine.handle_closing(bye.reason, self.now, &self.limits);
        }
        if !peer.blocked {
            self.hub.pump(client, self.now);
            if !self.hub.outbox(client).is_empty() {
                self.write(client, &[]);
            }
        }
        self.settle(client);
        self.relist(client);
    }

    /// One write: what was said at once, and as much of the outbox as one call takes.
    fn write(&mut self, client: ClientId, input: &[u8]) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return self.out.clear() };
        if peer.blocked {
            let tail = self.out.tail(input, 0);
            self.out.clear();
            if !tail.is_empty() {
                self.hub.queue_bytes(client, tail);
            }
            return;
        }
        let before = peer.machine.protocol();
        let mut speech = Speech {
            machine: &mut peer.machine,
            hub: &mut self.hub,
            limits: &self.limits,
            now: self.now,
            out: &self.out,
            input,
        };
        let written = self.gather.write(&mut peer.stream, &mut speech);
        self.out.clear();
        let after = peer.machine.protocol();
        if before != after {
            self.figures.changed(before, after);
            peer.span.record("protocol", after.as_str());
        }
        self.figures.writes += 1;
        match written {
            Written::All(bytes) => {
                self.figures.bytes_out += bytes as u64;
                self.hub.pump(client, self.now);
                if !self.hub.outbox(client).is_empty() {
                    self.hub.touch(client);
                }
            }
            Written::Blocked(bytes) => {
                self.figures.bytes_out += bytes as u64;
                peer.blocked = true;
            }
            Written::Gone(error) => self.remove(client, "lost", Some(&error)),
        }
    }

    /// Looks whether a connection is at its end, and keeps its timer.
    fn settle(&mut self, client: ClientId) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        if peer.machine.ending() == Ending::No
            && peer.machine.is_input_ended()
            && self.hub.outbox(client).is_empty()
        {
            let pages = ShardPages {
                figures: &self.figures,
                assets: self.assets,
                draining: self.drain.is_some(),
                now: self.now,
            };
            let mut cx = Context {
                hub: &mut self.hub,
                now: self.now,
                limits: &self.limits,
                site: &self.site,
                pages: &pages,
                out: &mut self.out,
            };
            peer.machine.handle_written(&mut cx);
        }
        match peer.machine.ending() {
            Ending::No => {}
            Ending::Now => {
                let why = peer.machine.why();
                return self.remove(client, why, None);
            }
            Ending::AfterOutput if self.hub.outbox(client).is_empty() && !peer.is_lingering() => {
                if peer.machine.is_input_ended() {
                    let why = peer.machine.why();
                    return self.remove(client, why, None);
                }
                // What the peer still sends is read and dropped for a while: closing with unread input would reset the
                // connection, and could take our last words with it (RFC 9112, 9.6).
                peer.stream.finish();
                peer.linger_ms = self.now.ms + self.server_limits.linger_timeout_ms;
                peer.readable = true;
                peer.held = Vec::new();
                if !peer.listed {
                    peer.listed = true;
                    self.ready.push_back(client.to_u64());
                }
            }
            Ending::AfterOutput => {}
        }
        let deadline_ms = peer.deadline_ms();
        if deadline_ms < peer.armed_ms {
            peer.armed_ms = self.wheel.insert(deadline_ms, client.to_u64());
        }
    }

    /// Reads on from a connection that was told its end, until it ends too.
    fn discard(&mut self, client: ClientId) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        match retry(|| peer.stream.read(&mut self.buffer)) {
            Ok(length) if length > 0 => {
                peer.listed = true;
                self.ready.push_back(client.to_u64());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.readable = false,
            _ => {
                let why = peer.machine.why();
                self.remove(client, why, None);
            }
        }
    }

    fn accept(&mut self, token: u64) {
        let index = (token - LISTENER_TOKENS) as usize;
        for _ in 0..self.server_limits.accepts_per_turn_max {
            match self.kernel.accept(index) {
                Ok(accepted) => {
                    if self.drain.is_none() {
                        self.welcome(accepted);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_exhausted(&error) => {
                    if self.kernel.turn_away(index) {
                        self.figures.turned_away += 1;
                    } else {
                        self.tell_exhausted(&error);
                        return self.retry_listener_later(token);
                    }
                    self.tell_exhausted(&error);
                }
                // The connection was gone before it was accepted (ECONNABORTED and its like): the next one.
                Err(error) => debug!(%error, "a connection ended before it was accepted"),
            }
        }
        self.ready.push_back(token);
    }

    /// A listener that cannot accept is tried again at every turn that something else causes, and by the wheel.
    fn retry_listener_later(&mut self, token: u64) {
        self.wheel.insert(self.now.ms + self.server_limits.accept_retry_ms, token);
    }

    fn tell_exhausted(&mut self, error: &io::Error) {
        let told = self.exhausted_told_ms.is_some_and(|told| self.now.ms < told + 10_000);
        if !told {
            self.exhausted_told_ms = Some(self.now.ms);
            let (open, turned_away) = (self.figures.open(), self.figures.turned_away);
            warn!(%error, open, turned_away, "out of descriptors: connections are turned away (raise the limit: ulimit -n)");
        }
    }

    fn welcome(&mut self, accepted: super::kernel::Accepted<K::Stream>) {
        let mut stream = accepted.stream;
        let client = self.hub.connect(ClientSetup { encoding: Form::Line.encoding(), user: None });
        if let Err(error) = self.kernel.register(&mut stream, client.to_u64()) {
            warn!(%error, "a connection could not be watched");
            self.hub.disconnect(client);
            return;
        }
        let machine = Connection::new(client, accepted.transport, &self.limits, self.now);
        let span = debug_span!(
            "conn",
            id = self.hub.publisher_number(client),
            peer = accepted
                .address
                .map(|(ip, port)| tracing::field::display(std::net::SocketAddr::new(ip, port))),
            protocol = tracing::field::Empty
        );
        debug!(parent: &span, "accepted");
        self.figures.opened(machine.protocol());
        let index = client.index();
        if index >= self.peers.len() {
            self.peers.resize_with(index + 1, || None);
        }
        self.peers[index] = Some(Box::new(Peer::new(stream, machine, span)));
        self.settle(client);
    }

    /// Ends a connection: its socket is closed, the hub forgets it.
    fn remove(&mut self, client: ClientId, why: &'static str, error: Option<&io::Error>) {
        let index = client.index();
        if peer_of(&mut self.peers, client).is_none() {
            return;
        }
        let Some(peer) = self.peers[index].take() else { return };
        self.figures.closed(peer.machine.protocol(), why);
        let error = error.map(tracing::field::display);
        debug!(parent: &peer.span, why, error, "closed");
        self.hub.disconnect(client);
    }

    fn handle_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.now.ms, &mut due);
        for token in due.drain(..) {
            if token >= LISTENER_TOKENS {
                self.ready.push_back(token);
                continue;
            }
            let client = ClientId::from_u64(token);
            let Some(peer) = peer_of(&mut self.peers, client) else { continue };
            if peer.armed_ms > self.now.ms {
                continue;
            }
            peer.armed_ms = u64::MAX;
            if peer.deadline_ms() > self.now.ms {
                self.settle(client);
            } else if peer.is_lingering() {
                let why = peer.machine.why();
                self.remove(client, why, None);
            } else {
                self.with_machine(client, |machine, cx| machine.handle_timeout(cx));
            }
        }
        self.due = due;
        if self.hub.poll_timeout().is_some_and(|due_ms| due_ms <= self.now.ms) {
            self.hub.handle_timeout(self.now);
        }
        if self.next_stats_ms <= self.now.ms {
            self.next_stats_ms = self.now.ms + self.server_limits.stats_interval_ms;
            if self.hub.has_audience(super::stats::CHANNEL) {
                let stats = super::stats::object(&self.figures, &self.hub, self.now);
                self.hub.publish_system(
                    super::stats::CHANNEL,
                    sockeye_hub::Kind::Json,
                    stats.into(),
                    self.now,
                );
            }
        }
        if self.drain.is_some_and(|drain| drain.deadline_ms <= self.now.ms) {
            self.cut_all();
        }
    }

    /// Stops accepting, says goodbye to everybody, and gives them until the deadline to take what is queued.
    pub fn begin_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        self.now = self.kernel.now();
        self.drain = Some(Drain { deadline_ms: self.now.ms + self.server_limits.drain_timeout_ms });
        self.kernel.close_listeners();
        info!(connections = self.figures.open(), "draining");
        let reconnect =
            Some((self.server_limits.drain_reconnect_min_ms, self.server_limits.drain_reconnect_max_ms));
        for index in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[index] else { continue };
            let client = peer.client();
            self.hub.bid_farewell(client, Bye { reason: "drain", reconnect });
        }
    }

    /// The drain's time is over.
    fn cut_all(&mut self) {
        let mut cut = 0;
        for index in 0..self.peers.len() {
            if let Some(peer) = &self.peers[index] {
                let client = peer.client();
                self.remove(client, "drain", None);
                cut += 1;
            }
        }
        if cut > 0 {
            warn!(connections = cut, "the drain's time is over: cut");
        }
    }
}

/// The peer of a client, unless it is gone (its place may be another's by now).
fn peer_of<S>(peers: &mut [Option<Box<Peer<S>>>], client: ClientId) -> Option<&mut Peer<S>> {
    peers.get_mut(client.index())?.as_deref_mut().filter(|peer| peer.client() == client)
}

/// EMFILE and ENFILE, and the kernel's memory for sockets.
fn is_exhausted(error: &io::Error) -> bool {
    const OUT_OF: [i32; 4] =
        [24 /* EMFILE */, 23 /* ENFILE */, 105 /* ENOBUFS */, 12 /* ENOMEM */];
    error.raw_os_error().is_some_and(|code| OUT_OF.contains(&code))
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
