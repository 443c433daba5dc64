//! The end in good order: everybody hears what was published, is told when to come back, and has a while to take it.
//!
//! ```text
//!   told ──> quiet: nobody is read from but who is in the middle of a request
//!              │  "quiet" to every other shard: all that we have published stands before it
//!              │  every other shard is quiet, and its publications are placed here
//!              │  "spread" to every shard that has been sent all that it is to hear
//!              v  every other shard has spread
//!            farewell: a bye behind everything that a client is still to hear
//!              │  the last connection is gone, or time is up
//!              v
//!            drained
//! ```
//!
//! So what a publisher was told is accepted comes to its subscribers before their bye, on whichever shard they are. One
//! shard alone passes all of this in one step. Deliberately absent: when the loops end (`serve.rs`), which is not before
//! all shards are drained, since each is the home of some channels.

use sockeye_gateway::Protocol;
use sockeye_hub::Bye;
use tracing::{info, warn};

use super::desk::Desk;
use super::kernel::{Kernel, LISTENER_TOKENS};
use super::letter::{Content, Stage};
use super::shard::Shard;

/// How the drain of a shard goes.
#[derive(Debug, Default)]
pub(super) struct Drain {
    deadline_ms: Option<u64>,
    /// How many other shards are quiet, and how many have spread.
    quiet_shards: u16,
    spread_shards: u16,
    /// Which shards were told that we have spread.
    told: Vec<u16>,
    said_farewell: bool,
}

impl Drain {
    /// When what is left is cut.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// Whether everybody was told.
    pub(super) fn has_said_farewell(&self) -> bool {
        self.said_farewell
    }
}

impl<K: Kernel> Shard<K> {
    /// Whether `begin_drain` was called.
    pub fn is_draining(&self) -> bool {
        self.desk.draining
    }

    /// Whether the drain was announced.
    pub fn is_leaving(&self) -> bool {
        self.desk.draining || self.desk.leaves_ms.is_some()
    }

    /// How long it takes from the announcement of a drain to its end.
    pub fn drain_ms(&self) -> u64 {
        self.desk.server_limits.drain_delay_ms + self.desk.server_limits.drain_timeout_ms
    }

    /// Says at `/readyz` that the server drains, and does so after the delay that proxies need to see it.
    pub fn announce_drain(&mut self) {
        let delay_ms = self.desk.server_limits.drain_delay_ms;
        if delay_ms == 0 {
            return self.begin_drain();
        }
        if !self.is_leaving() {
            self.desk.welcoming = false;
            self.desk.leaves_ms = Some(self.desk.now.ms + delay_ms);
            info!(shard = self.desk.hub.shard().index, delay_ms, "will drain");
        }
    }

    /// Whether everything is done after `begin_drain`.
    pub fn is_drained(&self) -> bool {
        self.exchange.drain.said_farewell && self.desk.figures.open() == 0
    }

    /// Stops accepting, says goodbye to everybody, and gives them until the deadline to take what is queued.
    pub fn begin_drain(&mut self) {
        if self.desk.draining {
            return;
        }
        self.desk.now = self.kernel.now();
        self.hear_newcomers();
        self.desk.draining = true;
        self.desk.leaves_ms = None;
        self.desk.quiet = true;
        self.exchange.drain.deadline_ms = Some(self.desk.now.ms + self.desk.server_limits.drain_timeout_ms);
        self.kernel.close_listeners();
        let shards = self.desk.hub.shard();
        info!(shard = shards.index, connections = self.desk.figures.open(), "draining");
        self.collect_letters();
        for shard in (0..shards.count).filter(|shard| *shard != shards.index) {
            self.write(shard, Content::Drain(Stage::Quiet));
        }
        self.go_on_draining();
    }

    /// Takes in who has come already, and hears what those have said who were not heard yet: they did not come too late.
    fn hear_newcomers(&mut self) {
        // Nobody is handed to another shard any more, which may be draining already.
        self.desk.welcoming = false;
        let limits = &self.desk.server_limits;
        // So many shares wait at most; who comes meanwhile comes too late.
        let shares = limits.backlog_max.unsigned_abs() as usize / limits.accepts_per_turn_max.max(1) + 1;
        for index in 0..self.kernel.listeners() as u64 {
            let _ = (0..shares).all(|_| self.accept_share(LISTENER_TOKENS + index));
        }
        for index in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[index] else { continue };
            if peer.machine.protocol() == Protocol::Unknown {
                let client = peer.client();
                peer.readable = true;
                self.at_desk(client, Desk::serve);
            }
        }
    }

    /// Another shard has come so far.
    pub(super) fn note_stage(&mut self, _shard: u16, stage: Stage) {
        match stage {
            Stage::Quiet => self.exchange.drain.quiet_shards += 1,
            Stage::Spread => self.exchange.drain.spread_shards += 1,
        }
    }

    /// Takes the next steps of the drain that can be taken.
    pub(super) fn go_on_draining(&mut self) {
        if !self.desk.quiet {
            return;
        }
        let shards = self.desk.hub.shard();
        let others = shards.count - 1;
        if self.exchange.drain.quiet_shards == others {
            // What the hub has for the others goes first: it is what has been spread.
            self.collect_letters();
            for shard in (0..shards.count).filter(|shard| *shard != shards.index) {
                if !self.exchange.drain.told.contains(&shard) && self.desk.hub.is_caught_up(shard) {
                    self.exchange.drain.told.push(shard);
                    self.write(shard, Content::Drain(Stage::Spread));
                }
            }
            if self.exchange.drain.spread_shards == others {
                self.say_farewell();
            }
        }
    }

    fn say_farewell(&mut self) {
        if self.exchange.drain.told.len() < usize::from(self.desk.hub.shard().count) - 1 {
            return;
        }
        self.desk.quiet = false;
        self.exchange.drain.said_farewell = true;
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
        self.bid_sessions_farewell(Bye { reason: "drain", reconnect });
    }

    /// The drain's time is over.
    pub(super) fn cut_all(&mut self) {
        self.desk.quiet = false;
        self.exchange.drain.said_farewell = true;
        let mut cut = self.cut_sessions();
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
