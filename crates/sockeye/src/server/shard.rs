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

use sockeye_gateway::{Connection, CookieKey, Form, Limits, Out, Site, Tally};
use sockeye_hub::{ClientId, ClientSetup, Hub, Now};
use tracing::{debug, debug_span, warn};

use super::batch::Batch;
use super::board::{Board, Shown};
use super::chronicle::{Chronicle, ClientEvent};
use super::desk::{Desk, Fate};
use super::exchange::Exchange;
use super::figures::Figures;
use super::gather::Gather;
use super::guard::Guard;
use super::kernel::{DATAGRAM_TOKENS, Event, Kernel, LISTENER_TOKENS, Stream as _};
use super::peer::Peer;
use super::post::Post;
use super::receive_buffer::ReceiveBuffer;
use super::timer::Wheel;
use super::tls::Tls;
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
    /// What proves the addresses of datagrams' senders: the same on all shards.
    pub cookie_key: CookieKey,
    /// Where shards show each other their figures.
    pub board: Arc<Board>,
    /// The embedded pages.
    pub assets: fn(&str) -> Option<sockeye_gateway::Asset>,
    /// TLS, where it is spoken: for its figures.
    pub tls: Option<Arc<Tls>>,
}

/// One shard: its connections, its hub, its timers.
pub struct Shard<K: Kernel> {
    pub(super) kernel: K,
    pub(super) peers: Vec<Option<Box<Peer<K::Stream>>>>,
    pub(super) desk: Desk,
    pub(super) post: Post,
    pub(super) exchange: Exchange<K::Stream>,
    pub(super) buffer: ReceiveBuffer,
    events: Vec<Event>,
    due: Vec<u64>,
    next_stats_ms: u64,
    /// Whose turn it is to be looked at, whether it is still there.
    next_look: usize,
    /// Which state of the known tokens this shard goes by.
    tokens_generation: u64,
    /// When figures may be shown again, and whether there is anything to show.
    next_show_ms: u64,
    pub(super) has_news: bool,
}

impl<K: Kernel> Shard<K> {
    /// Makes a shard on a kernel whose listeners are open.
    pub fn new(kernel: K, mut setup: Setup) -> Self {
        let now = kernel.now();
        let tokens_generation = setup.site.tokens.as_ref().map_or(0, |tokens| tokens.generation());
        setup.hub.set_anonymous(setup.site.anonymous(), now);
        let listeners = kernel.listeners() as u64;
        let datagram_sockets = kernel.datagram_sockets();
        Shard {
            kernel,
            peers: Vec::new(),
            events: Vec::with_capacity(1024),
            due: Vec::new(),
            buffer: ReceiveBuffer::new(setup.server_limits.receive_bytes_max),
            next_stats_ms: now.ms,
            next_look: 0,
            post: Post::new(setup.cookie_key, datagram_sockets, &setup.guard),
            tokens_generation,
            next_show_ms: now.ms,
            has_news: false,
            exchange: Exchange::new(setup.hub.shard().count),
            desk: Desk {
                hub: setup.hub,
                site: setup.site,
                limits: setup.limits,
                server_limits: setup.server_limits,
                assets: setup.assets,
                guard: setup.guard,
                tls: setup.tls,
                figures: Figures::new(now),
                tally: Tally::default(),
                board: setup.board,
                chronicle: Chronicle::default(),
                wheel: Wheel::new(now.ms),
                out: Out::new(),
                gather: Gather::default(),
                batch: Batch::default(),
                now,
                welcoming: true,
                leaves_ms: None,
                draining: false,
                quiet: false,
                // A listener may have connections that came before it was watched.
                ready: (0..listeners)
                    .map(|index| LISTENER_TOKENS + index)
                    .chain((0..datagram_sockets as u64).map(|index| DATAGRAM_TOKENS + index))
                    .collect(),
            },
        }
    }

    /// The time of the current turn.
    pub fn now(&self) -> Now {
        self.desk.now
    }

    /// The kernel, for who owns both.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The hub, for who joins several shards.
    pub fn hub(&mut self) -> &mut Hub {
        &mut self.desk.hub
    }

    /// Whether the whole server is to end, and this loop with it.
    pub fn is_over(&self) -> bool {
        self.exchange.is_over
    }

    /// Whether nothing is left to do before the next edge, timer, or message of another shard: poll would wait.
    pub fn is_idle(&self) -> bool {
        self.desk.ready.is_empty() && !self.desk.hub.has_touched() && self.exchange.received.is_empty()
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
        self.desk.look_who_hears();
        self.take_letters();
        self.has_news |= !self.exchange.is_alone() && (waiting > 0 || !events.is_empty());
        for event in events.drain(..) {
            self.make_room();
            self.handle_event(event);
        }
        self.events = events;
        polled?;

        // What was asked of us is answered, and what we ask is asked less, until the inboxes are emptier.
        let waiting = if self.exchange.is_congested { 0 } else { waiting };
        self.resume_datagrams();
        for _ in 0..waiting {
            let Some(token) = self.desk.ready.pop_front() else { break };
            self.make_room();
            if token >= DATAGRAM_TOKENS {
                self.handle_datagram_turn(token);
            } else if token >= LISTENER_TOKENS {
                self.accept(token);
            } else {
                self.at_desk(ClientId::from_u64(token), Desk::serve);
            }
        }
        self.post_letters();
        self.launch();
        if self.desk.quiet {
            self.go_on_draining();
        }
        self.desk.tell_channels();
        self.post_letters();
        self.flush_touched();
        self.send_mail();
        self.handle_timers();
        self.launch();
        self.tell_datagrams();
        self.post_letters();
        Ok(())
    }

    /// How long poll may wait.
    fn wait(&self, wait_max: Option<Duration>) -> Option<Duration> {
        if !self.is_idle() {
            return Some(if self.exchange.is_congested { CONGESTED_WAIT } else { Duration::ZERO });
        }
        let timers = [
            self.desk.wheel.next_ms(),
            self.desk.hub.poll_timeout(),
            Some(self.next_stats_ms),
            self.post.poll_timeout(),
            self.exchange.drain.deadline_ms(),
            self.desk.leaves_ms,
            self.has_news.then_some(self.next_show_ms),
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
            return match event.token {
                DATAGRAM_TOKENS.. => self.handle_datagram_edge(event.token, event.readable || event.ended),
                _ => self.accept(event.token),
            };
        }
        let client = ClientId::from_u64(event.token);
        let Some(peer) = peer_of(&mut self.peers, client) else { return };
        // What the stream itself still holds goes first.
        let was_clogged = event.writable && peer.stream.is_clogged();
        if was_clogged {
            peer.stream.flush();
        }
        if event.writable && (peer.blocked || was_clogged) {
            peer.machine.handle_taken(self.desk.now, &self.desk.limits);
        }
        if event.writable && peer.blocked {
            peer.blocked = false;
            self.desk.hub.touch(client);
        }
        if event.readable || event.ended {
            peer.readable = true;
            peer.ended_edge |= event.ended;
            // One that is listed already is served in this turn too.
            if self.exchange.is_congested {
                self.desk.list(peer);
            } else if !peer.listed
                && let Fate::Ends(why, error) =
                    self.desk.serve(peer, self.desk.batch.room_of(&mut self.buffer))
            {
                self.remove(client, why, error.as_ref());
            }
        }
        if was_clogged {
            self.at_desk(client, |desk, peer, _| desk.settle(peer));
        }
    }

    /// Works on one connection at the desk, and removes it if that was its end. Returns false where there is none.
    pub(super) fn at_desk(
        &mut self,
        client: ClientId,
        work: impl FnOnce(&mut Desk, &mut Peer<K::Stream>, &mut [u8]) -> Fate,
    ) -> bool {
        let Some(peer) = peer_of(&mut self.peers, client) else { return false };
        let room = self.desk.batch.room_of(&mut self.buffer);
        if let Fate::Ends(why, error) = work(&mut self.desk, peer, room) {
            self.remove(client, why, error.as_ref());
        }
        true
    }

    fn accept(&mut self, token: u64) {
        if self.accept_share(token) {
            self.desk.ready.push_back(token);
        }
    }

    /// Accepts a share of the connections that wait. Returns whether there may be more.
    pub(super) fn accept_share(&mut self, token: u64) -> bool {
        let index = (token - LISTENER_TOKENS) as usize;
        for _ in 0..self.desk.server_limits.accepts_per_turn_max {
            match self.kernel.accept(index) {
                Ok(_) if self.desk.draining => {}
                Ok(accepted) if self.kernel.is_sole(index) && self.desk.welcoming => {
                    self.hand_round(accepted)
                }
                Ok(accepted) => self.welcome(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if is_exhausted(&error) => {
                    if self.kernel.turn_away(index) {
                        self.desk.figures.turned_away += 1;
                    } else {
                        self.tell_exhausted(&error);
                        self.retry_listener_later(token);
                        return false;
                    }
                    self.tell_exhausted(&error);
                }
                // The connection was gone before it was accepted (ECONNABORTED and its like): the next one.
                Err(error) => debug!(%error, "a connection ended before it was accepted"),
            }
        }
        true
    }

    /// A listener that cannot accept is tried again at every turn that something else causes, and by the wheel.
    fn retry_listener_later(&mut self, token: u64) {
        self.desk.wheel.insert(self.desk.now.ms + self.desk.server_limits.accept_retry_ms, token);
    }

    fn tell_exhausted(&mut self, error: &io::Error) {
        if self.desk.board.may_tell_exhausted(self.desk.now.ms) {
            let (open, turned_away) = (self.desk.figures.open(), self.desk.figures.turned_away);
            warn!(%error, open, turned_away, "out of descriptors: connections are turned away (raise the limit: ulimit -n)");
        }
    }

    pub(super) fn welcome(&mut self, accepted: super::kernel::Accepted<K::Stream>) {
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
            shard = self.desk.hub.shard().index,
            id = self.desk.hub.publisher_number(client),
            peer = address.map(tracing::field::display),
            client = tracing::field::Empty,
            protocol = tracing::field::Empty
        );
        debug!(parent: &span, "accepted");
        self.desk.figures.opened(machine.protocol(), accepted.transport);
        let index = client.index();
        if index >= self.peers.len() {
            self.peers.resize_with(index + 1, || None);
        }
        self.peers[index] = Some(Box::new(Peer::new(stream, machine, standing, owes_header, span, address)));
        self.at_desk(client, |desk, peer, _| {
            // Whom a proxy relays is told by its header.
            if !peer.owes_header {
                desk.tell_client(peer, ClientEvent::Connected);
            }
            desk.settle(peer)
        });
    }

    /// Ends a connection: its socket is closed, the hub forgets it.
    pub(super) fn remove(&mut self, client: ClientId, why: &'static str, error: Option<&io::Error>) {
        let index = client.index();
        if peer_of(&mut self.peers, client).is_none() {
            return;
        }
        let Some(mut peer) = self.peers[index].take() else { return };
        if peer.said {
            self.desk.batch.forget(client);
        }
        // Its last step may have ended it before anybody saw what it had become.
        if let Some((before, after)) = peer.machine.take_change() {
            self.desk.figures.changed(before, after);
        }
        self.desk.figures.closed(peer.machine.protocol(), why);
        let gone = ClientEvent::Disconnected(peer.machine.protocol(), why);
        self.desk.tell_client(&mut peer, gone);
        let error = error.map(tracing::field::display);
        debug!(parent: &peer.span, why, error, remark = peer.stream.remark(), "closed");
        if let Some(standing) = &mut peer.standing {
            standing.settle_creations(self.desk.hub.creations(client), self.desk.now);
        }
        self.desk.hub.disconnect(client);
    }

    fn handle_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.desk.wheel.expire(self.desk.now.ms, &mut due);
        let mut has_news = !due.is_empty();
        for token in due.drain(..) {
            if token >= LISTENER_TOKENS {
                self.desk.ready.push_back(token);
                continue;
            }
            self.at_desk(ClientId::from_u64(token), |desk, peer, _| desk.time_out(peer));
        }
        self.due = due;
        self.handle_datagram_timers();
        if self.desk.hub.poll_timeout().is_some_and(|due_ms| due_ms <= self.desk.now.ms) {
            self.desk.hub.handle_timeout(self.desk.now);
            has_news = true;
        }
        if self.next_stats_ms <= self.desk.now.ms {
            self.next_stats_ms = self.desk.now.ms + self.desk.server_limits.stats_interval_ms;
            let lost = self.kernel.datagrams_lost();
            has_news |= std::mem::replace(&mut self.desk.figures.datagrams_lost, lost) != lost;
            self.refresh_identities();
            self.drop_lost();
            self.publish_stats();
            let Desk { chronicle, hub, now, .. } = &mut self.desk;
            if chronicle.heard {
                chronicle.begin_second(hub, *now);
            }
        }
        self.has_news |= has_news && !self.exchange.is_alone();
        if self.has_news && self.next_show_ms <= self.desk.now.ms {
            self.show_figures();
        }
        if self.desk.leaves_ms.is_some_and(|leaves_ms| leaves_ms <= self.desk.now.ms) {
            self.begin_drain();
        }
        if self.exchange.drain.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= self.desk.now.ms) {
            self.cut_all();
        }
    }

    /// Looks at a share of the connections, each three times in the time that a peer's system may be silent, for those whose
    /// peers are gone. Keep-alive does not ask while something is under way, and the system itself gives up after a quarter
    /// of an hour.
    fn drop_lost(&mut self) {
        let lost_timeout_ms = self.desk.server_limits.lost_timeout_ms;
        let turns = (lost_timeout_ms / 3 / self.desk.server_limits.stats_interval_ms.max(1)).max(1);
        for _ in 0..self.peers.len().div_ceil(turns as usize) {
            let place = self.next_look;
            self.next_look = (place + 1) % self.peers.len();
            let Some(peer) = &mut self.peers[place] else { continue };
            let Some(keeping) = peer.look(self.desk.now.ms) else { continue };
            // One that takes nothing is asked by its own system now and then, and answers.
            let is_lost = keeping.is_under_way
                && self.desk.now.ms >= keeping.kept_up_ms + lost_timeout_ms
                && keeping.silent_ms >= lost_timeout_ms;
            if is_lost {
                let client = peer.client();
                self.remove(client, "lost", None);
            }
        }
    }

    /// What is known of tokens may have changed: then everybody becomes what he is now.
    fn refresh_identities(&mut self) {
        let Some(tokens) = self.desk.site.tokens.clone() else { return };
        let generation = tokens.generation();
        if generation == self.tokens_generation {
            return;
        }
        self.tokens_generation = generation;
        self.desk.hub.set_anonymous(Some(tokens.anonymous()), self.desk.now);
        self.desk.hub.reconsider(|credential| tokens.known_again(credential), self.desk.now);
    }

    /// Tells the figures of the whole server to those who hear them. One shard does: the home of their channel.
    fn publish_stats(&mut self) {
        use super::stats::{CHANNEL, object};
        let Desk { hub, figures, tally, board, now, .. } = &mut self.desk;
        if hub.home_of(CHANNEL) == hub.shard().index && hub.has_audience(CHANNEL) {
            let stats = object(&board.all(figures, tally, hub), *now);
            hub.publish_system(CHANNEL, sockeye_hub::Kind::Json, stats.into(), *now);
        }
    }

    /// Shows the other shards how it goes here.
    fn show_figures(&mut self) {
        self.has_news = false;
        self.next_show_ms = self.desk.now.ms + self.desk.server_limits.figures_interval_ms;
        let Desk { hub, figures, tally, board, .. } = &self.desk;
        board.show(
            hub.shard().index,
            Shown { figures: figures.clone(), tally: tally.clone(), stats: hub.stats() },
        );
    }
}

/// How long a shard waits that has work which must not be done before the inboxes are emptier.
const CONGESTED_WAIT: Duration = Duration::from_millis(1);

/// The peer of a client, unless it is gone (its place may be another's by now).
pub(super) fn peer_of<S>(peers: &mut [Option<Box<Peer<S>>>], client: ClientId) -> Option<&mut Peer<S>> {
    peers.get_mut(client.index())?.as_deref_mut().filter(|peer| peer.client() == client)
}

/// EMFILE and ENFILE, and the kernel's memory for sockets.
fn is_exhausted(error: &io::Error) -> bool {
    const OUT_OF: [i32; 4] =
        [24 /* EMFILE */, 23 /* ENFILE */, 105 /* ENOBUFS */, 12 /* ENOMEM */];
    error.raw_os_error().is_some_and(|code| OUT_OF.contains(&code))
}
