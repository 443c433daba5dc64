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

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sockeye_gateway::{Connection, Form, Limits, Out, Site};
use sockeye_hub::{Bye, ClientId, ClientSetup, Hub};
use tracing::{debug, debug_span, info, warn};

use super::desk::{Desk, Fate};
use super::figures::Figures;
use super::gather::Gather;
use super::guard::Guard;
use super::kernel::{Event, Kernel, LISTENER_TOKENS};
use super::peer::Peer;
use super::timer::Wheel;
use crate::config::ServerLimits;

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
    /// Who keeps count for all shards.
    pub guard: Arc<Guard>,
    /// The embedded pages.
    pub assets: fn(&str) -> Option<sockeye_gateway::Asset>,
}

/// One shard: its connections, its hub, its timers.
pub struct Shard<K: Kernel> {
    kernel: K,
    peers: Vec<Option<Box<Peer<K::Stream>>>>,
    desk: Desk,
    buffer: Box<[u8]>,
    events: Vec<Event>,
    due: Vec<u64>,
    next_stats_ms: u64,
    drain_deadline_ms: Option<u64>,
    /// When running out of descriptors was last told of.
    exhausted_told_ms: Option<u64>,
}

impl<K: Kernel> Shard<K> {
    /// Makes a shard on a kernel whose listeners are open.
    pub fn new(kernel: K, mut setup: Setup) -> Self {
        let now = kernel.now();
        setup.hub.set_anonymous(setup.site.anonymous.clone(), now);
        let listeners = kernel.listeners() as u64;
        Shard {
            kernel,
            peers: Vec::new(),
            events: Vec::with_capacity(1024),
            due: Vec::new(),
            buffer: vec![0; setup.server_limits.receive_bytes_max].into_boxed_slice(),
            next_stats_ms: now.ms,
            drain_deadline_ms: None,
            exhausted_told_ms: None,
            desk: Desk {
                hub: setup.hub,
                site: setup.site,
                limits: setup.limits,
                server_limits: setup.server_limits,
                assets: setup.assets,
                guard: setup.guard,
                figures: Figures::new(now),
                wheel: Wheel::new(now.ms),
                out: Out::new(),
                gather: Gather::default(),
                now,
                draining: false,
                // A listener may have connections that came before it was watched.
                ready: (0..listeners).map(|index| LISTENER_TOKENS + index).collect(),
            },
        }
    }

    /// The kernel, for who owns both.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The hub, for who joins several shards.
    pub fn hub(&mut self) -> &mut Hub {
        &mut self.desk.hub
    }

    /// Whether `begin_drain` was called.
    pub fn is_draining(&self) -> bool {
        self.desk.draining
    }

    /// Whether everything is done after `begin_drain`.
    pub fn is_drained(&self) -> bool {
        self.desk.draining && self.desk.figures.open() == 0
    }

    /// Whether nothing is left to do before the next edge, timer, or message of another shard: poll would wait.
    pub fn is_idle(&self) -> bool {
        self.desk.ready.is_empty() && !self.desk.hub.has_touched()
    }

    /// Waits for something to do, at most for `wait_max`, and does it: one turn of the loop.
    ///
    /// # Errors
    /// Only when the kernel cannot be waited for any more.
    pub fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        let timeout = self.wait(wait_max);
        let mut events = std::mem::take(&mut self.events);
        let polled = self.kernel.poll(&mut events, timeout);
        self.desk.now = self.kernel.now();
        // Who waits from before is served after the edges, and each of both once.
        let waiting = self.desk.ready.len();
        for event in events.drain(..) {
            self.handle_event(event);
        }
        self.events = events;
        polled?;

        for _ in 0..waiting {
            let Some(token) = self.desk.ready.pop_front() else { break };
            if token >= LISTENER_TOKENS {
                self.accept(token);
            } else {
                self.at_desk(ClientId::from_u64(token), Desk::serve);
            }
        }
        for _ in 0..self.desk.server_limits.writes_per_turn_max {
            let Some(client) = self.desk.hub.take_touched() else { break };
            self.at_desk(client, |desk, peer, _| desk.flush(peer));
        }
        self.handle_timers();
        Ok(())
    }

    /// How long poll may wait.
    fn wait(&self, wait_max: Option<Duration>) -> Option<Duration> {
        if !self.is_idle() {
            return Some(Duration::ZERO);
        }
        let timers = [
            self.desk.wheel.next_ms(),
            self.desk.hub.poll_timeout(),
            Some(self.next_stats_ms),
            self.drain_deadline_ms,
        ];
        let next_ms = timers.into_iter().flatten().min();
        let until_next = next_ms.map(|next| Duration::from_millis(next.saturating_sub(self.desk.now.ms)));
        match (until_next, wait_max) {
            (Some(timer), Some(wait)) => Some(timer.min(wait)),
            (timer, wait) => timer.or(wait),
        }
    }

    /// Remembers what an edge said, and serves whom it is about.
    #[inline]
    fn handle_event(&mut self, event: Event) {
        if event.token >= LISTENER_TOKENS {
            return self.accept(event.token);
        }
        let client = ClientId::from_u64(event.token);
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        if event.writable && peer.blocked {
            peer.blocked = false;
            self.desk.hub.touch(client);
        }
        if event.readable || event.ended {
            peer.readable = true;
            peer.ended_edge |= event.ended;
            // One that is listed already is served in this turn too.
            if !peer.listed
                && let Fate::Ends(why, error) = self.desk.serve(peer, &mut self.buffer)
            {
                self.remove(client, why, error.as_ref());
            }
        }
    }

    /// Works on one connection at the desk, and removes it if that was its end.
    fn at_desk(
        &mut self,
        client: ClientId,
        work: impl FnOnce(&mut Desk, &mut Peer<K::Stream>, &mut [u8]) -> Fate,
    ) {
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        if let Fate::Ends(why, error) = work(&mut self.desk, peer, &mut self.buffer) {
            self.remove(client, why, error.as_ref());
        }
    }

    fn accept(&mut self, token: u64) {
        let index = (token - LISTENER_TOKENS) as usize;
        for _ in 0..self.desk.server_limits.accepts_per_turn_max {
            match self.kernel.accept(index) {
                Ok(accepted) => {
                    if !self.desk.draining {
                        self.welcome(accepted);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_exhausted(&error) => {
                    if self.kernel.turn_away(index) {
                        self.desk.figures.turned_away += 1;
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
        self.desk.ready.push_back(token);
    }

    /// A listener that cannot accept is tried again at every turn that something else causes, and by the wheel.
    fn retry_listener_later(&mut self, token: u64) {
        self.desk.wheel.insert(self.desk.now.ms + self.desk.server_limits.accept_retry_ms, token);
    }

    fn tell_exhausted(&mut self, error: &io::Error) {
        let told = self.exhausted_told_ms.is_some_and(|told| self.desk.now.ms < told + 10_000);
        if !told {
            self.exhausted_told_ms = Some(self.desk.now.ms);
            let (open, turned_away) = (self.desk.figures.open(), self.desk.figures.turned_away);
            warn!(%error, open, turned_away, "out of descriptors: connections are turned away (raise the limit: ulimit -n)");
        }
    }

    fn welcome(&mut self, accepted: super::kernel::Accepted<K::Stream>) {
        let mut stream = accepted.stream;
        let address = accepted.address.map(|(ip, port)| SocketAddr::new(ip, port));
        let ip = address.map(|address| address.ip());
        // The address of a proxy is nobody's: whom it relays is told by its header.
        let owes_header = self.desk.guard.expects_proxy_header(ip);
        let admitted = self.desk.guard.admit().and_then(|mut standing| {
            if !owes_header {
                self.desk.guard.admit_address(&mut standing, ip, self.desk.now)?;
            }
            Ok(standing)
        });
        let standing = match admitted {
            Ok(standing) => standing,
            Err(limit) => return self.desk.tell_turned_away(limit.as_str(), address),
        };
        let client = self.desk.hub.connect(ClientSetup { encoding: Form::Line.encoding(), identity: None });
        if let Err(error) = self.kernel.register(&mut stream, client.to_u64()) {
            warn!(%error, "a connection could not be watched");
            self.desk.hub.disconnect(client);
            return;
        }
        let machine = Connection::new(client, accepted.transport, &self.desk.limits, self.desk.now);
        let span = debug_span!(
            "conn",
            id = self.desk.hub.publisher_number(client),
            peer = address.map(tracing::field::display),
            client = tracing::field::Empty,
            protocol = tracing::field::Empty
        );
        debug!(parent: &span, "accepted");
        self.desk.figures.opened(machine.protocol());
        let index = client.index();
        if index >= self.peers.len() {
            self.peers.resize_with(index + 1, || None);
        }
        self.peers[index] = Some(Box::new(Peer::new(stream, machine, standing, owes_header, span)));
        self.at_desk(client, |desk, peer, _| desk.settle(peer));
    }

    /// Ends a connection: its socket is closed, the hub forgets it.
    fn remove(&mut self, client: ClientId, why: &'static str, error: Option<&io::Error>) {
        let index = client.index();
        if peer_of(&mut self.peers, client).is_none() {
            return;
        }
        let Some(mut peer) = self.peers[index].take() else { return };
        // Its last step may have ended it before anybody saw what it had become.
        if let Some((before, after)) = peer.machine.take_change() {
            self.desk.figures.changed(before, after);
        }
        self.desk.figures.closed(peer.machine.protocol(), why);
        let error = error.map(tracing::field::display);
        debug!(parent: &peer.span, why, error, "closed");
        self.desk.hub.disconnect(client);
    }

    fn handle_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.desk.wheel.expire(self.desk.now.ms, &mut due);
        for token in due.drain(..) {
            if token >= LISTENER_TOKENS {
                self.desk.ready.push_back(token);
                continue;
            }
            self.at_desk(ClientId::from_u64(token), |desk, peer, _| desk.time_out(peer));
        }
        self.due = due;
        if self.desk.hub.poll_timeout().is_some_and(|due_ms| due_ms <= self.desk.now.ms) {
            self.desk.hub.handle_timeout(self.desk.now);
        }
        if self.next_stats_ms <= self.desk.now.ms {
            self.next_stats_ms = self.desk.now.ms + self.desk.server_limits.stats_interval_ms;
            if self.desk.hub.has_audience(super::stats::CHANNEL) {
                let stats = super::stats::object(&self.desk.figures, &self.desk.hub, self.desk.now);
                self.desk.hub.publish_system(
                    super::stats::CHANNEL,
                    sockeye_hub::Kind::Json,
                    stats.into(),
                    self.desk.now,
                );
            }
        }
        if self.drain_deadline_ms.is_some_and(|deadline_ms| deadline_ms <= self.desk.now.ms) {
            self.cut_all();
        }
    }

    /// Stops accepting, says goodbye to everybody, and gives them until the deadline to take what is queued.
    pub fn begin_drain(&mut self) {
        if self.desk.draining {
            return;
        }
        self.desk.now = self.kernel.now();
        self.desk.draining = true;
        self.drain_deadline_ms = Some(self.desk.now.ms + self.desk.server_limits.drain_timeout_ms);
        self.kernel.close_listeners();
        info!(connections = self.desk.figures.open(), "draining");
        let reconnect = Some((
            self.desk.server_limits.drain_reconnect_min_ms,
            self.desk.server_limits.drain_reconnect_max_ms,
        ));
        for index in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[index] else { continue };
            if peer.machine.finishes_request() {
                continue;
            }
            let client = peer.client();
            self.desk.hub.bid_farewell(client, Bye { reason: "drain", reconnect });
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
