//! How one connection is served: read a share, let its machine handle it, write what there is to say, see how it stands.
//!
//! The desk holds everything of a shard but the connections themselves, so that one of them can be worked on with all
//! of it at hand. Deliberately absent: who is served when (`shard.rs`), and the removal of a connection, which follows
//! from the [`Fate`] that every step returns.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use sockeye_gateway::rate::Meter;
use sockeye_gateway::{Asset, Connection, Context, Ending, Limits, Out, Site, Tally};
use sockeye_hub::planted::{Planted, is_planted};
use sockeye_hub::{Hub, Now};
use tracing::debug;

use super::batch::{Batch, Origin};
use super::board::Board;
use super::chronicle::{Chronicle, ClientEvent};
use super::figures::Figures;
use super::gather::{Gather, Speech, Written};
use super::guard::Guard;
use super::kernel::{News, Secured, Stream};
use super::peer::{Keeping, Peer};
use super::stats::ShardPages;
use super::steward::Orders;
use super::timer::Wheel;
use super::tls::Tls;
use crate::config::ServerLimits;

/// Everything of a shard but its connections.
pub(super) struct Desk {
    pub(super) hub: Hub,
    pub(super) site: Arc<Site>,
    pub(super) limits: Limits,
    pub(super) server_limits: ServerLimits,
    pub(super) assets: fn(&str) -> Option<Asset>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) figures: Figures,
    pub(super) tally: Tally,
    pub(super) guard: Arc<Guard>,
    pub(super) board: Arc<Board>,
    pub(super) chronicle: Chronicle,
    pub(super) wheel: Wheel,
    pub(super) out: Out,
    pub(super) gather: Gather,
    /// What leaves together.
    pub(super) batch: Batch,
    pub(super) now: Now,
    /// `/readyz` says that new work is welcome.
    pub(super) welcoming: bool,
    /// When the drain that was announced begins.
    pub(super) leaves_ms: Option<u64>,
    pub(super) draining: bool,
    /// It drains, and what was published before it did is still on its way between shards: nobody is read from.
    pub(super) quiet: bool,
    /// Connections and listeners to be served without a new edge.
    pub(super) ready: VecDeque<u64>,
}

/// What becomes of a connection after a step.
#[derive(Debug)]
#[must_use = "a connection that ends must be removed"]
pub(super) enum Fate {
    /// It stays.
    Stays,
    /// It is to be removed, for this reason.
    Ends(&'static str, Option<io::Error>),
}

impl Desk {
    /// Reads one share from a connection and handles it.
    pub(super) fn serve(&mut self, peer: &mut Peer<impl Stream>, buffer: &mut [u8]) -> Fate {
        peer.listed = false;
        if peer.is_apart() {
            return self.serve_apart(peer, buffer);
        }
        self.serve_plain(peer, buffer)
    }

    /// Reads one share, unless the machine may not be given any.
    #[inline]
    pub(super) fn serve_plain(&mut self, peer: &mut Peer<impl Stream>, buffer: &mut [u8]) -> Fate {
        if self.quiet && !peer.machine.finishes_request() {
            return Fate::Stays;
        }
        if !peer.machine.may_read(&self.hub, &self.limits) {
            if peer.machine.is_input_ended() && peer.stream.is_gone() {
                return Fate::Ends("gone", None);
            }
            peer.stream.flush();
            // It is listed again when its answers are read; a connection that is gone will be found so by writing.
            if peer.ended_edge {
                self.hub.touch(peer.client());
            }
            return self.settle(peer);
        }
        if peer.holds {
            let mut held = peer.take_held();
            let (taken, fate) = self.handle(peer, &mut held, Origin::Elsewhere);
            held.drain(..taken);
            peer.hold(held);
            self.list_if_more(peer);
            return fate;
        }
        if !peer.readable {
            return Fate::Stays;
        }
        let length = match retry(|| peer.stream.read(buffer)) {
            Ok(0) => {
                peer.readable = false;
                let fate = self.with_machine(peer, |machine, cx| machine.handle_end(cx));
                // Who has only ended his own side may go on hearing; who is gone would be kept until the next message.
                let gone = matches!(fate, Fate::Stays) && peer.stream.is_gone();
                return if gone { Fate::Ends("gone", None) } else { fate };
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.rest(peer, buffer.len()),
            Err(error) => return Fate::Ends("lost", Some(error)),
        };
        // A short read has emptied the socket, and new data makes a new edge; but after an end none will come.
        if peer.stream.is_emptied(length, buffer.len())
            && (!peer.ended_edge || is_planted(Planted::LostWakeUp))
        {
            peer.readable = false;
        }
        self.figures.bytes_in += length as u64;
        self.figures.reads += 1;
        let (taken, fate) = self.handle(peer, &mut buffer[..length], Origin::Buffer);
        if taken < length {
            peer.hold(buffer[taken..length].to_vec());
        }
        if taken < length || peer.readable {
            self.list_if_more(peer);
        }
        fate
    }

    /// There is nothing to read from a connection: it rests until an edge, unless there is news of it.
    #[cold]
    fn rest(&mut self, peer: &mut Peer<impl Stream>, buffer_bytes: usize) -> Fate {
        let Some(news) = peer.stream.take_news() else {
            peer.readable = false;
            peer.ended_edge = false;
            return Fate::Stays;
        };
        // An edge that was an end is the last one.
        if peer.ended_edge || !peer.stream.is_emptied(0, buffer_bytes) {
            self.list(peer);
        } else {
            peer.readable = false;
        }
        self.heed(peer, news);
        self.settle(peer)
    }

    /// Heeds what a stream has come to know of itself.
    fn heed(&mut self, peer: &mut Peer<impl Stream>, news: News) {
        match news {
            News::Waits => {}
            News::HandshakeBegan => {
                peer.machine.came_by_tls(self.now.ms + self.server_limits.handshake_timeout_ms);
            }
            News::Secured(secured) => {
                peer.machine.expect_input_by(self.now.ms + self.limits.first_byte_timeout_ms);
                let Secured { version, suite, resumed, client } = *secured;
                debug!(parent: &peer.span, version, suite, resumed, client, "secured");
                // What did not go along with an answer goes by itself.
                peer.stream.flush();
            }
        }
    }

    /// Lists a connection that has more to give, if it may.
    pub(super) fn list_if_more(&mut self, peer: &mut Peer<impl Stream>) {
        if (peer.readable || peer.holds)
            && !peer.listed
            && !peer.is_paused()
            && (peer.is_lingering() || peer.machine.may_read(&self.hub, &self.limits))
        {
            self.list(peer);
        }
    }

    pub(super) fn list(&mut self, peer: &mut Peer<impl Stream>) {
        if !peer.listed {
            peer.listed = true;
            self.ready.push_back(peer.client().to_u64());
        }
    }

    /// Gives input to the machine, and writes what it said at once. Returns how much of the input was taken.
    #[inline]
    fn handle(&mut self, peer: &mut Peer<impl Stream>, input: &mut [u8], origin: Origin) -> (usize, Fate) {
        let taken = self.act(peer, |machine, cx| machine.handle_input(input, cx));
        let fate = self.speak(peer, input, origin);
        (taken, fate)
    }

    /// Lets a machine act without input, and writes what it said.
    pub(super) fn with_machine(
        &mut self,
        peer: &mut Peer<impl Stream>,
        act: impl FnOnce(&mut Connection, &mut Context<'_>),
    ) -> Fate {
        self.act(peer, act);
        self.speak(peer, &[], Origin::Elsewhere)
    }

    /// Lets a machine act with everything of the shard at hand.
    #[inline]
    fn act<T>(
        &mut self,
        peer: &mut Peer<impl Stream>,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> T,
    ) -> T {
        let meter = peer.standing.as_deref_mut().map(|standing| standing as &mut (dyn Meter + 'static));
        self.with_context(meter, |cx| act(&mut peer.machine, cx))
    }

    /// Makes what machines work with of everything of the shard.
    #[inline]
    pub(super) fn with_context<T>(
        &mut self,
        meter: Option<&mut (dyn Meter + 'static)>,
        act: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        self.hub.grant_work(self.limits.work_per_turn);
        let pages = ShardPages {
            figures: &self.figures,
            counts: &self.guard.counts,
            board: &self.board,
            assets: self.assets,
            ready: self.welcoming,
            tls: self.tls.as_deref(),
            draining: self.draining,
            now: self.now,
        };
        let mut cx = Context {
            hub: &mut self.hub,
            now: self.now,
            limits: &self.limits,
            site: &self.site,
            pages: &pages,
            out: &mut self.out,
            tally: &mut self.tally,
            meter: meter.map(|meter| meter as &mut dyn Meter),
        };
        act(&mut cx)
    }

    /// Has what the machine said at once written, and sees how the connection stands.
    #[inline]
    fn speak(&mut self, peer: &mut Peer<impl Stream>, input: &[u8], origin: Origin) -> Fate {
        if !self.out.is_empty()
            && !self.write_down_said(peer, input, origin)
            && !self.write_said(peer, input)
            && let end @ Fate::Ends(..) = self.write(peer, input)
        {
            return end;
        }
        self.settle(peer)
    }

    /// The common case of what is said at once: one piece, with nothing waiting before or behind it. Returns false where
    /// it is not that, or the socket did not take any of it, and nothing was done.
    #[inline]
    fn write_said(&mut self, peer: &mut Peer<impl Stream>, input: &[u8]) -> bool {
        let client = peer.client();
        if peer.blocked || !self.hub.is_idle(client) {
            return false;
        }
        let Some(piece) = self.out.single(input) else { return false };
        let Ok(written) = peer.stream.write(piece) else { return false };
        if written < piece.len() {
            self.hub.queue_bytes(client, piece[written..].into());
            peer.blocked = true;
        }
        self.figures.writes += 1;
        self.figures.bytes_out += written as u64;
        self.out.clear();
        true
    }

    /// Writes a touched connection's outbox: one call, and once more in the next turn if there is more.
    pub(super) fn flush(&mut self, peer: &mut Peer<impl Stream>) -> Fate {
        let client = peer.client();
        if let Some(bye) = self.hub.closing(client) {
            peer.machine.handle_closing(bye.reason, self.now, &self.limits);
        }
        if !peer.blocked {
            self.hub.pump(client, self.now);
            if !self.hub.outbox(client).is_empty()
                && let end @ Fate::Ends(..) = self.write(peer, &[])
            {
                return end;
            }
        }
        // What it could not be given waited for this.
        if (peer.readable || peer.holds) && !peer.listed {
            peer.machine.excuse_unfinished(self.now, &self.limits);
        }
        let fate = self.settle(peer);
        self.list_if_more(peer);
        fate
    }

    /// One write: what was said at once, and as much of the outbox as one call takes.
    fn write(&mut self, peer: &mut Peer<impl Stream>, input: &[u8]) -> Fate {
        let client = peer.client();
        if peer.blocked {
            let tail = self.out.tail(input, 0);
            self.out.clear();
            // It was said while nothing waited, so it stands before whatever has come to wait since.
            self.hub.queue_bytes_front(client, tail);
            return Fate::Stays;
        }
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
            Written::Gone(error) => return Fate::Ends("lost", Some(error)),
        }
        Fate::Stays
    }

    /// Sees how a connection stands: what it became, whether it is at its end, when it is to be looked at.
    #[inline]
    pub(super) fn settle(&mut self, peer: &mut Peer<impl Stream>) -> Fate {
        if peer.blocked && peer.machine.handle_blocked(&self.hub, self.now, &self.limits) {
            peer.look(self.now.ms);
        }
        if peer.machine.is_steady() && peer.is_armed() { Fate::Stays } else { self.settle_change(peer) }
    }

    fn settle_change(&mut self, peer: &mut Peer<impl Stream>) -> Fate {
        // The first input may come along with the end of a handshake.
        if let Some(news) = peer.stream.take_news() {
            self.heed(peer, news);
        }
        if let Some((before, after)) = peer.machine.take_change() {
            self.figures.changed(before, after);
            peer.span.record("protocol", after.as_str());
            self.tell_client(peer, ClientEvent::Speaks(after));
        }
        if peer.machine.is_input_ended() || peer.machine.ending() != Ending::No {
            return self.settle_ending(peer);
        }
        self.arm(peer);
        Fate::Stays
    }

    fn arm(&mut self, peer: &mut Peer<impl Stream>) {
        let deadline_ms = peer.deadline_ms();
        if deadline_ms < peer.armed_ms {
            peer.armed_ms = self.wheel.insert(deadline_ms, peer.client().to_u64());
        }
    }

    #[cold]
    fn settle_ending(&mut self, peer: &mut Peer<impl Stream>) -> Fate {
        let client = peer.client();
        if peer.machine.ending() == Ending::No && self.hub.outbox(client).is_empty() {
            peer.machine.handle_written(&mut self.hub, self.now, &self.limits);
        }
        match peer.machine.ending() {
            Ending::No => {}
            Ending::Now => return Fate::Ends(peer.machine.why(), None),
            // What was asked before the end is answered, also where another shard answers.
            Ending::AfterOutput
                if self.hub.outbox(client).is_empty()
                    && self.hub.requests_in_flight(client) == 0
                    && !peer.is_lingering()
                    && !peer.said
                    && !peer.stream.is_clogged() =>
            {
                if peer.machine.is_input_ended() {
                    peer.stream.farewell();
                    return Fate::Ends(peer.machine.why(), None);
                }
                // What the peer still sends is read and dropped for a while: closing with unread input would reset the
                // connection, and could take our last words with it (RFC 9112, 9.6).
                peer.stream.finish();
                peer.linger(self.now.ms + self.server_limits.linger_timeout_ms);
                self.list(peer);
            }
            Ending::AfterOutput => {}
        }
        self.arm(peer);
        Fate::Stays
    }

    /// Reads on from a connection that was told its end, until it ends too.
    pub(super) fn discard(&mut self, peer: &mut Peer<impl Stream>, buffer: &mut [u8]) -> Fate {
        match retry(|| peer.stream.read(buffer)) {
            Ok(length) if length > 0 => self.list(peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.readable = false,
            _ => return Fate::Ends(peer.machine.why(), None),
        }
        Fate::Stays
    }

    /// Tells those who hear it what has become of a connection.
    #[inline]
    pub(super) fn tell_client(&mut self, peer: &mut Peer<impl Stream>, event: ClientEvent) {
        // Whom nobody was told of does not go, either: it showed no PROXY header, or one from where too many are.
        match event {
            ClientEvent::Connected => peer.is_told = true,
            ClientEvent::Speaks(_) => {}
            ClientEvent::Disconnected(..) if !peer.is_told => return,
            ClientEvent::Disconnected(..) => {}
        }
        if self.chronicle.heard {
            let bound = (self.server_limits.events_per_second_max, self.now);
            self.chronicle.tell_client(&mut self.hub, peer.client(), peer.address, event, bound);
        }
    }

    /// Tells those who hear it what has become of channels, and the other shards whether somebody here does.
    #[inline]
    pub(super) fn tell_channels(&mut self) {
        if self.chronicle.heard {
            self.chronicle.tell_channels(&mut self.hub, self.server_limits.events_per_second_max, self.now);
        }
        if self.hub.hears_system() != self.chronicle.hears {
            self.chronicle.hears = self.hub.hears_system();
            self.board.note_hearing(self.chronicle.hears);
            self.look_who_hears();
        }
    }

    /// Looks whether anybody hears what this shard could tell of itself.
    #[inline]
    pub(super) fn look_who_hears(&mut self) {
        let heard = self.board.is_system_heard();
        if heard != self.chronicle.heard {
            self.chronicle.set_heard(heard, &mut self.hub);
        }
    }

    /// Goes on with another configuration.
    pub(super) fn reconfigure(&mut self, orders: &Orders) {
        let config = &orders.config;
        let limits = config.hub.part_of(self.hub.shard().count);
        self.hub.reconfigure(limits, config.all_rules(), self.now);
        self.limits = config.connection.clone();
        self.server_limits = config.server.clone();
        self.site = Arc::clone(&orders.site);
        orders.done();
    }

    /// The wheel brought a connection up.
    pub(super) fn time_out(&mut self, peer: &mut Peer<impl Stream>) -> Fate {
        if peer.is_paused() {
            peer.machine.excuse_unfinished(self.now, &self.limits);
            self.resume(peer);
        }
        if peer.armed_ms > self.now.ms {
            return Fate::Stays;
        }
        peer.armed_ms = u64::MAX;
        if peer.deadline_ms() > self.now.ms {
            return self.settle(peer);
        }
        if peer.is_lingering() {
            return Fate::Ends(peer.machine.why(), None);
        }
        if peer.stream.expires_in_handshake() {
            return Fate::Ends("no TLS handshake in time", None);
        }
        if let Some(keeping) = peer.look(self.now.ms) {
            let Keeping { kept_up_ms, is_under_way, .. } = keeping;
            peer.machine.note_way(kept_up_ms, is_under_way, self.now, &self.limits);
        }
        self.with_machine(peer, |machine, cx| machine.handle_timeout(cx))
    }
}

pub(super) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
