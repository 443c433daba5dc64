//! One run: shards on their kernels, links between them, clients, and time.
//!
//! ```text
//!   step:  time passes ─> clients ask, send, read ─> shards turn ─> links carry some of what shards say to each other
//!   end:   everything becomes calm and everybody reads ─> nothing moves any more ─> the model judges
//! ```
//!
//! Deliberately absent: judgement of streams (`model.rs`, `raw.rs`) and of bounds and stuck sockets (`watch.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use sockeye::config::GuardLimits;
use sockeye::server::guard::Guard;
use sockeye::server::{Board, Content, Letter, Setup, Shard};
use sockeye_gateway::{CookieKey, Site, TokenCheck, form, site::Hosts};
use sockeye_hub::{Hub, Now, ShardInfo};

use crate::client::{Client, Hearing, Mood, Over};
use crate::coverage::{Coverage, Met};
use crate::dice::Dice;
use crate::ear::Dialect;
use crate::guest::Doorkeeper;
use crate::kernel::{Net, SimKernel, SimStream, Wire};
use crate::model::{CHANNELS, Truth};
use crate::plan::Plan;
use crate::watch;

/// What came of a run that did not fail.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was met.
    pub coverage: Coverage,
    /// A digest of every byte that every client received: two runs of one seed have the same.
    pub digest: u64,
}

/// A run.
pub struct World {
    pub(crate) plan: Plan,
    dice: Dice,
    pub(crate) shards: Vec<Shard<SimKernel>>,
    pub(crate) nets: Vec<Rc<RefCell<Net>>>,
    /// From a shard to a shard.
    links: Vec<Vec<VecDeque<Letter<SimStream>>>>,
    pub(crate) clients: Vec<Client>,
    gone: Vec<Client>,
    truth: Truth,
    coverage: Coverage,
    now: Now,
    next_client: u32,
    digest: u64,
    leapt_ms: u64,
    draining: bool,
    trace: bool,
}

/// The time at which every run begins.
const START: Now = Now { ms: 1_000_000, unix_ms: 1_764_000_000_000 };

impl World {
    /// Makes the world of a seed.
    pub fn new(seed: u64, trace: bool) -> Self {
        let plan = Plan::draw(&mut Dice::new(seed, 1));
        if trace {
            println!("{plan:#?}");
        }
        let site = Arc::new(Site {
            server: "sockeye/sim".into(),
            origins: Vec::new(),
            hosts: Hosts::default(),
            anonymous: None,
            requires_tls: false,
            tokens: (plan.guests > 0).then(|| Arc::new(Doorkeeper::new()) as Arc<dyn TokenCheck>),
        });
        let guard = Arc::new(Guard::new(&GuardLimits::none(), &[]));
        let count = plan.shards;
        let mut dice = Dice::new(seed, 2);
        let board = Board::new(count);
        let mut nets = Vec::new();
        let mut shards = Vec::new();
        for index in 0..count {
            let net = Net::new(START, dice.pick(&[1, 3, 1_024]), Dice::new(seed, 100 + u64::from(index)));
            let shard = ShardInfo { index, count };
            let (limits, rules) = (plan.hub.clone(), plan.rules.clone());
            let setup = Setup {
                hub: Hub::new(
                    limits,
                    rules,
                    shard,
                    seed ^ u64::from(index) << 48,
                    seed,
                    form::encoder(plan.connection.deflate_bytes_min),
                ),
                site: Arc::clone(&site),
                limits: plan.connection.clone(),
                server_limits: plan.server.clone(),
                guard: Arc::clone(&guard),
                board: Arc::clone(&board),
                cookie_key: CookieKey::new(1, 2),
                assets: |_| None,
                tls: None,
            };
            shards.push(Shard::new(SimKernel(Rc::clone(&net)), setup));
            nets.push(net);
        }
        let count = usize::from(count);
        World {
            plan,
            dice,
            shards,
            nets,
            links: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
            clients: Vec::new(),
            gone: Vec::new(),
            truth: Truth::default(),
            coverage: Coverage::default(),
            now: START,
            next_client: 1,
            digest: 0xcbf2_9ce4_8422_2325,
            leapt_ms: 0,
            draining: false,
            trace,
        }
    }

    /// Runs so many steps, lets everything come to rest, and judges.
    ///
    /// # Errors
    /// The first thing that must not be.
    pub fn run(mut self, steps: usize) -> Result<Outcome, String> {
        for _ in 0..steps {
            self.step()?;
        }
        if self.plan.drains_amid {
            self.drain()?;
        } else {
            self.rest()?;
            for client in self.clients.iter().chain(&self.gone) {
                client.judge(&mut self.truth)?;
            }
            self.audit()?;
            if self.plan.drains {
                self.drain()?;
            }
        }
        self.truth.judge()?;
        self.count();
        Ok(Outcome { coverage: self.coverage, digest: self.digest })
    }

    fn step(&mut self) -> Result<(), String> {
        let ms = match self.dice.roll(200) {
            0 if self.dice.chance(50) => self.dice.between(1_000, 12_000),
            0..10 => self.dice.between(50, 700),
            _ => self.dice.pick(&[0, 0, 1, 3, 20]),
        };
        self.pass(ms as u64);
        if self.clients.len() < 2 || (self.clients.len() < self.plan.clients_max && self.dice.chance(6)) {
            self.connect();
        }
        for _ in 0..self.dice.between(1, 3) {
            self.act();
        }
        for index in 0..self.clients.len() {
            self.clients[index].send(&mut self.dice, false, self.now.ms);
        }
        self.read_all()?;
        for shard in 0..self.shards.len() {
            if self.dice.chance(3) {
                let mut net = self.nets[shard].borrow_mut();
                net.exhausted = !net.exhausted && self.dice.chance(50);
            }
            for _ in 0..self.dice.between(0, self.plan.turns_max) {
                self.turn(shard)?;
            }
        }
        self.carry(false);
        Ok(())
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { ms: self.now.ms + ms, unix_ms: self.now.unix_ms + ms };
        for net in &self.nets {
            net.borrow_mut().now = self.now;
        }
        if ms > 500 {
            self.leapt_ms = self.now.ms;
        }
    }

    fn connect(&mut self) {
        let dialect = match self.dice.roll(100) {
            0..45 => Dialect::Lines,
            45..75 => Dialect::WebSocket,
            75..87 => Dialect::Raw,
            87..94 => Dialect::Events,
            _ => Dialect::Http,
        };
        let guest = self.dice.chance(self.plan.guests);
        self.connect_as(dialect, guest);
    }

    fn connect_as(&mut self, dialect: Dialect, guest: bool) {
        let id = self.next_client;
        self.next_client += 1;
        let sizes = [50, 200, 1_000, 8_000, 100_000];
        let (inbound, outbound) = (self.dice.pick(&sizes), self.dice.pick(&sizes));
        let wire = Wire::new(inbound, outbound, Dice::new(self.dice.number(), 3));
        let shard = self.dice.roll(self.shards.len());
        if !self.nets[shard].borrow_mut().connect(Rc::clone(&wire)) {
            return;
        }
        if self.trace {
            println!("{:>7} c{id} connects to shard {shard} as {dialect:?}", self.now.ms);
        }
        let mut client = Client::new(id, dialect, wire, self.now.ms);
        client.trace = self.trace;
        client.guest = guest;
        client.open(&mut self.dice, &mut self.truth);
        self.clients.push(client);
    }

    /// Some client does something.
    fn act(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.dice.roll(self.clients.len());
        let client = &mut self.clients[index];
        match self.dice.roll(1_000) {
            0..8 => {
                self.coverage.meet(Met::Aborted, 1);
                client.wire.borrow_mut().client_abort();
                client.over = Some(Over::Left);
            }
            8..14 => {
                self.coverage.meet(Met::Vanished, 1);
                client.wire.borrow_mut().client_vanish();
                client.over = Some(Over::Left);
            }
            14..24 => {
                client.finish();
                self.coverage.meet(Met::HalfClosed, u64::from(client.half_closed));
            }
            24..80 => client.mood = self.dice.pick(&[Mood::Eager, Mood::Eager, Mood::Slow, Mood::Stalled]),
            _ => client.act(&mut self.dice, &mut self.truth, &self.plan),
        }
        self.bury();
    }

    fn bury(&mut self) {
        for index in (0..self.clients.len()).rev() {
            if self.clients[index].over.is_some() {
                self.gone.push(self.clients.remove(index));
            }
        }
    }

    /// Everybody reads. Returns whether anything was said.
    fn read_all(&mut self) -> Result<bool, String> {
        let mut came = false;
        for client in &mut self.clients {
            let mut hearing = Hearing {
                truth: &mut self.truth,
                coverage: &mut self.coverage,
                now_ms: self.now.ms,
                leapt_ms: self.leapt_ms,
                draining: self.draining,
                trace: self.trace,
            };
            let (bytes, said) = client.read(&mut self.dice, &mut hearing)?;
            came |= said;
            for byte in bytes {
                self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            self.digest ^= u64::from(client.id) << 32;
        }
        self.bury();
        Ok(came)
    }

    /// One turn of one shard, and what must hold after it.
    fn turn(&mut self, shard: usize) -> Result<(), String> {
        self.shards[shard].turn(None).map_err(|error| error.to_string())?;
        let written = std::mem::take(&mut self.nets[shard].borrow_mut().written);
        for (to, letter) in written {
            self.coverage_of(&letter);
            self.links[shard][usize::from(to)].push_back(letter);
        }
        watch::check(&mut self.shards[shard], &self.nets[shard].borrow(), &self.plan)
            .map_err(|why| format!("shard {shard}: {why}"))
    }

    fn coverage_of(&mut self, letter: &Letter<SimStream>) {
        let message = match &letter.content {
            Content::Hub(message) => message,
            Content::Connection(_) => return self.coverage.meet(Met::HandedRound, 1),
            _ => return,
        };
        let met = match watch::word(message).as_str() {
            "Page" => Met::CrossPage,
            "Deliver" => Met::CrossDelivery,
            "Skipped" => Met::CrossSkip,
            _ => return,
        };
        self.coverage.meet(met, 1);
    }

    /// Links carry some of what is under way, or all. Returns whether anything was carried.
    fn carry(&mut self, all: bool) -> bool {
        let mut carried = false;
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                let waiting = self.links[from][to].len();
                if waiting == 0 || (!all && self.dice.chance(40)) {
                    continue;
                }
                let count = if all { waiting } else { self.dice.between(1, waiting) };
                let letters = self.links[from][to].drain(..count);
                self.nets[to].borrow_mut().inbox.extend(letters);
                carried = true;
            }
        }
        carried
    }

    /// Everything becomes calm, everybody reads and sends, until nothing moves any more.
    fn rest(&mut self) -> Result<(), String> {
        for net in &self.nets {
            let mut net = net.borrow_mut();
            net.calm = true;
            net.exhausted = false;
        }
        for client in &mut self.clients {
            client.mood = Mood::Eager;
        }
        let mut quiet = 0;
        let mut restless = Vec::new();
        for _ in 0..20_000 {
            let mut moved = Vec::new();
            for client in &mut self.clients {
                if client.send(&mut self.dice, true, self.now.ms) {
                    moved.push(format!("client {} sent", client.id));
                }
            }
            for shard in 0..self.shards.len() {
                self.turn(shard)?;
                if !self.shards[shard].is_idle() || self.nets[shard].borrow().has_pending() {
                    moved.push(format!("shard {shard} is not idle"));
                }
            }
            if self.carry(true) {
                moved.push("shards spoke".into());
            }
            if self.read_all()? {
                moved.push("clients heard".into());
            }
            quiet = if moved.is_empty() { quiet + 1 } else { 0 };
            restless = moved;
            if quiet > 6 {
                return self
                    .nets
                    .iter()
                    .all(|net| net.borrow().backlog() == 0)
                    .then_some(())
                    .ok_or_else(|| "connections wait to be accepted although everything is at rest".into());
            }
            if quiet > 0 {
                // What waits for time gets some: retries of accepting, lingering, closing.
                self.pass(1_500);
            }
        }
        Err(format!("the world does not come to rest: {}", restless.join(", ")))
    }

    /// A last client asks how far each channel has come, so that nothing can hide behind what nobody was told.
    fn audit(&mut self) -> Result<(), String> {
        if self.plan.hub.subscriptions_max < CHANNELS.len() || self.plan.hub.channels_max < CHANNELS.len() {
            return Ok(());
        }
        self.connect_as(Dialect::Lines, false);
        let Some(auditor) = self.clients.last_mut() else { return Ok(()) };
        for (number, channel) in CHANNELS.iter().enumerate() {
            auditor.say_object(&format!("{{\"sub\":\"{channel}\",\"id\":{}}}", number + 1));
            let asked = crate::client::Asked::Subscribe(channel, true, crate::model::Begin::Live);
            auditor.asked.insert(number as u64 + 1, asked);
        }
        let id = auditor.id;
        self.rest()?;
        let auditor =
            self.clients.iter().find(|client| client.id == id).ok_or("the auditor was sent away")?;
        for channel in 0..CHANNELS.len() {
            let line = auditor.view.line(channel).ok_or("the auditor was not answered")?;
            self.truth.lines[line].audited = true;
        }
        for client in &self.clients {
            client.judge(&mut self.truth)?;
        }
        Ok(())
    }

    /// The server ends in good order.
    fn drain(&mut self) -> Result<(), String> {
        // Whatever anybody was told of before comes to everybody who hears it, before his bye.
        let heads: Vec<u64> = self.truth.lines.iter().map(|line| line.head).collect();
        self.draining = true;
        for shard in 0..self.shards.len() {
            self.shards[shard].begin_drain();
            if self.plan.drains_amid {
                self.step()?;
            }
        }
        if self.plan.drains_amid {
            for _ in 0..20 {
                self.step()?;
            }
        }
        self.rest()?;
        for client in self.clients.iter().chain(&self.gone) {
            client.judge_farewell(&mut self.truth, &heads)?;
        }
        self.pass(self.plan.server.drain_timeout_ms);
        self.rest()?;
        for client in &self.clients {
            client.judge(&mut self.truth)?;
        }
        match self.shards.iter().position(|shard| !shard.is_drained()) {
            Some(shard) => Err(format!("shard {shard} is not drained")),
            None => Ok(()),
        }
    }

    fn count(&mut self) {
        for (shard, net) in self.shards.iter_mut().zip(&self.nets) {
            let stats = shard.hub().stats();
            let kernel = net.borrow().counts;
            for (met, count) in [
                (Met::Lag, stats.lagged),
                (Met::Evicted, stats.evicted),
                (Met::Expired, stats.expired),
                (Met::Forgotten, stats.forgotten),
                (Met::Reclaimed, stats.reclaimed),
                (Met::ClosedSlow, stats.closed_slow),
                (Met::MergedEdge, kernel.merged_edges),
                (Met::SpuriousEdge, kernel.spurious_edges),
                (Met::BatchedWrite, kernel.batched_writes),
                (Met::EncryptedWrite, kernel.encrypted_writes),
                (Met::DelayedEdge, kernel.delayed_edges),
                (Met::Exhausted, kernel.exhausted),
            ] {
                self.coverage.meet(met, count);
            }
        }
    }
}
