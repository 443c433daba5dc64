//! A kernel for the loop that knows the truth about every socket, and is as awkward as Linux is allowed to be.
//!
//! ```text
//!   client ── client_send ──> inbound  ── read ──> shard
//!   client <── client_read ── outbound <── write ── shard         edges: pending ── poll ──> shard
//! ```
//!
//! What holds of edge-triggered epoll holds here. Something that happens to a socket makes its edge pending; what the
//! edge says is what is true when it is taken out, so several happenings become one edge; none is repeated. Reads give
//! all that is there and fits; a write is short only when the socket is full, and then room is told once. What is left
//! to chance: how many edges come out of one poll, which, in which order, and some that nothing happened for.
//!
//! Deliberately absent: packets, loss and latency. TCP hides them, and delayed edges stand for what is left of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use sockeye::server::Letter;
use sockeye::server::ciphertext::Ciphertext;
use sockeye::server::kernel::{Accepted, Event, LISTENER_TOKENS, Stream};
use sockeye_gateway::Transport;
use sockeye_gateway::mail::Source;
use sockeye_hub::Now;

use crate::dice::Dice;

/// One connection, seen from both ends.
#[derive(Debug)]
pub struct Wire {
    inbound: VecDeque<u8>,
    inbound_bytes_max: usize,
    inbound_end: bool,
    /// The server knows of the end.
    end_read: bool,
    outbound: VecDeque<u8>,
    outbound_bytes_max: usize,
    outbound_end: bool,
    /// The connection was reset, by the client or because it is gone.
    reset: bool,
    outbound_reset: bool,
    /// The client is gone without a word: what is written to it comes back as a reset.
    vanished: bool,
    server_closed: bool,
    /// A write was short, and room has not been told since.
    full: bool,
    /// Its writes may leave with others.
    joins: bool,
    /// What is written is encrypted: by its place in the stream, so that it is noise to who missed anything of it.
    is_encrypted: bool,
    encrypted_bytes: u64,
    decrypted_bytes: u64,
    /// What was encrypted and did not fit.
    unsent: Vec<u8>,
    /// The server's end comes after what is unsent.
    shuts_down: bool,
    token: Option<u64>,
    pending: bool,
    /// What is pending is data as well as an end.
    arrivals: (bool, bool),
    dice: Dice,
}

/// A wire with both its ends.
pub type SharedWire = Rc<RefCell<Wire>>;

/// What a client finds when it reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// So many bytes were appended.
    Bytes(usize),
    /// There is nothing.
    Nothing,
    /// The server has ended its side.
    End,
    /// The connection was reset.
    Reset,
}

impl Wire {
    /// Makes a wire whose buffers take so many bytes each way.
    pub fn new(inbound_bytes_max: usize, outbound_bytes_max: usize, mut dice: Dice) -> SharedWire {
        let (joins, is_encrypted) = (dice.chance(75), dice.chance(30));
        Rc::new(RefCell::new(Wire {
            inbound: VecDeque::new(),
            inbound_bytes_max,
            inbound_end: false,
            end_read: false,
            outbound: VecDeque::new(),
            outbound_bytes_max,
            outbound_end: false,
            reset: false,
            outbound_reset: false,
            vanished: false,
            server_closed: false,
            full: false,
            joins,
            is_encrypted,
            encrypted_bytes: 0,
            decrypted_bytes: 0,
            unsent: Vec::new(),
            shuts_down: false,
            token: None,
            pending: false,
            arrivals: (false, false),
            dice,
        }))
    }

    /// The client sends, as far as it fits. Returns how much was taken.
    pub fn client_send(&mut self, bytes: &[u8]) -> usize {
        if self.server_closed || self.reset {
            // What is sent to a closed socket is answered by a reset.
            self.outbound_reset |= self.server_closed;
            return bytes.len();
        }
        let taken = bytes.len().min(self.inbound_bytes_max - self.inbound.len());
        self.inbound.extend(&bytes[..taken]);
        if taken > 0 {
            self.pending = true;
            self.arrivals.0 = true;
        }
        taken
    }

    /// The client ends its side.
    pub fn client_finish(&mut self) {
        self.inbound_end = true;
        self.pending = true;
        self.arrivals.1 = true;
    }

    /// The client resets the connection. What it had sent may be lost.
    pub fn client_abort(&mut self) {
        self.reset = true;
        self.outbound.clear();
        if self.dice.chance(50) {
            self.inbound.clear();
        }
        self.pending = true;
    }

    /// The client closes its socket with nothing unread: the server learns of it when it writes.
    pub fn client_vanish(&mut self) {
        self.vanished = true;
        self.outbound.clear();
        self.full = false;
        self.client_finish();
    }

    /// The client reads at most `most` bytes.
    pub fn client_read(&mut self, into: &mut Vec<u8>, most: usize) -> Found {
        if self.outbound_reset && (self.outbound.is_empty() || self.dice.chance(50)) {
            // A reset may overtake what was sent before it.
            return Found::Reset;
        }
        let length = most.min(self.outbound.len());
        if length == 0 {
            return if self.outbound.is_empty() && self.outbound_end { Found::End } else { Found::Nothing };
        }
        let start = into.len();
        into.extend(self.outbound.drain(..length));
        if self.is_encrypted {
            cipher(&mut self.decrypted_bytes, &mut into[start..]);
        }
        let room = self.outbound_bytes_max - self.outbound.len();
        if self.full && room >= self.outbound_bytes_max.div_ceil(3) {
            self.full = false;
            self.pending = true;
        }
        Found::Bytes(length)
    }

    /// Whether nothing waits to be read by the client.
    pub fn is_drained(&self) -> bool {
        self.outbound.is_empty() && self.unsent.is_empty()
    }

    /// What the server has encrypted and could not send.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// Whether the connection was closed before anybody spoke on it, for want of a descriptor or because of a drain.
    pub fn is_turned_away(&self) -> bool {
        self.server_closed && self.token.is_none()
    }

    /// The token under which the server watches this wire, while it does.
    pub fn token(&self) -> Option<u64> {
        self.token.filter(|_| !self.server_closed)
    }

    /// Whether the server could read something, and no edge is on its way to tell it.
    pub fn is_silently_readable(&self) -> bool {
        !self.pending && !self.end_read && (!self.inbound.is_empty() || self.inbound_end || self.reset)
    }

    /// Whether the server could write something, and no edge is on its way to tell it.
    pub fn is_silently_writable(&self) -> bool {
        !self.pending && !self.full
    }

    /// Takes what the server offers, as far as it fits.
    fn take_in(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.vanished {
            self.reset = true;
            self.pending = true;
            return Ok(offered);
        }
        let mut room = self.outbound_bytes_max - self.outbound.len();
        if self.full && self.dice.chance(50) {
            room = 0;
        }
        let taken = offered.min(room);
        let mut left = taken;
        for piece in pieces {
            let length = left.min(piece.len());
            self.outbound.extend(&piece[..length]);
            left -= length;
        }
        self.full |= taken < offered;
        if taken == 0 && offered > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }

    /// Encrypts what the server writes, and keeps what of it does not fit: all of it counts as written.
    fn take_in_encrypted(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.send_unsent();
        if self.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.unsent.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut ciphertext = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
        let offered = ciphertext.len();
        cipher(&mut self.encrypted_bytes, &mut ciphertext);
        self.unsent = ciphertext;
        self.send_unsent();
        Ok(offered)
    }

    fn send_unsent(&mut self) {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let sent = match self.take_in(&[io::IoSlice::new(&unsent)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                // Who cannot be told has gone, which reading will tell.
                sent => sent.unwrap_or(unsent.len()),
            };
            self.unsent = unsent[sent..].to_vec();
        }
        self.outbound_end |= self.shuts_down && self.unsent.is_empty();
    }

    fn edge(&mut self, token: u64) -> Option<Event> {
        self.pending = false;
        self.arrivals = (false, false);
        let ended = self.inbound_end || self.reset;
        let readable = ended || !self.inbound.is_empty();
        let writable = !self.full || self.reset;
        (readable || writable).then_some(Event { token, readable, writable, ended })
    }
}

/// What the kernel did that is worth counting.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelCounts {
    /// Edges that told of data and of the end at once.
    pub merged_edges: u64,
    /// Edges for which nothing had happened.
    pub spurious_edges: u64,
    /// Edges that were held back in a poll.
    pub delayed_edges: u64,
    /// Writes that were made together with others.
    pub batched_writes: u64,
    /// Those of them that were encrypted.
    pub encrypted_writes: u64,
    /// Accepts that failed for want of a descriptor.
    pub exhausted: u64,
}

/// What belongs to the kernel of one shard, shared with the world around it.
#[derive(Debug)]
pub struct Net {
    backlog: VecDeque<SharedWire>,
    listener_pending: bool,
    listening: bool,
    wires: Vec<SharedWire>,
    /// What this shard wrote, to whom: on its way.
    pub written: Vec<(u16, Letter<SimStream>)>,
    /// What has arrived here and is not taken yet.
    pub inbox: VecDeque<Letter<SimStream>>,
    /// Descriptors have run out.
    pub exhausted: bool,
    /// Edges come at once and in order, and none is spurious.
    pub calm: bool,
    /// The most edges of one poll.
    pub events_max: usize,
    /// The time.
    pub now: Now,
    /// What happened.
    pub counts: KernelCounts,
    dice: Dice,
}

impl Net {
    /// Makes the network of one shard.
    pub fn new(now: Now, events_max: usize, dice: Dice) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Net {
            backlog: VecDeque::new(),
            listener_pending: false,
            listening: true,
            wires: Vec::new(),
            written: Vec::new(),
            inbox: VecDeque::new(),
            exhausted: false,
            calm: false,
            events_max,
            now,
            counts: KernelCounts::default(),
            dice,
        }))
    }

    /// A client connects. Returns false when nobody listens.
    pub fn connect(&mut self, wire: SharedWire) -> bool {
        if self.listening {
            self.backlog.push_back(wire);
            self.listener_pending = true;
        }
        self.listening
    }

    /// Whether an edge or a letter waits to be taken.
    pub fn has_pending(&self) -> bool {
        self.listener_pending
            || !self.inbox.is_empty()
            || !self.written.is_empty()
            || self.wires.iter().any(|wire| wire.borrow().pending)
    }

    /// The wires that the shard watches.
    pub fn wires(&self) -> &[SharedWire] {
        &self.wires
    }

    /// How many connections wait to be accepted.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    fn poll(&mut self, events: &mut Vec<Event>) {
        self.wires.retain(|wire| !wire.borrow().server_closed);
        let events_max = if self.calm { usize::MAX } else { self.events_max };
        let mut order: Vec<usize> = (0..self.wires.len()).collect();
        if !self.calm {
            for place in (1..order.len()).rev() {
                order.swap(place, self.dice.roll(place + 1));
            }
        }
        if self.listener_pending && (self.calm || self.dice.chance(70)) {
            self.listener_pending = false;
            events.push(Event { token: LISTENER_TOKENS, readable: true, writable: false, ended: false });
        }
        for place in order {
            if events.len() >= events_max {
                break;
            }
            let mut wire = self.wires[place].borrow_mut();
            let Some(token) = wire.token else { continue };
            let happened = wire.pending;
            let comes = match (happened, self.calm) {
                (true, true) => true,
                (false, true) => false,
                (true, false) => self.dice.chance(70),
                (false, false) => self.dice.chance(3),
            };
            if !comes {
                self.counts.delayed_edges += u64::from(happened);
                continue;
            }
            self.counts.merged_edges += u64::from(wire.arrivals == (true, true) && !wire.inbound.is_empty());
            if let Some(event) = wire.edge(token) {
                self.counts.spurious_edges += u64::from(!happened);
                events.push(event);
            }
        }
    }

    fn hands_round(&mut self) -> bool {
        self.dice.chance(20)
    }

    /// Inboxes are full now and then.
    fn is_congested(&mut self) -> bool {
        !self.calm && self.dice.chance(5)
    }

    fn accept(&mut self) -> io::Result<Accepted<SimStream>> {
        if self.exhausted && !self.backlog.is_empty() {
            self.counts.exhausted += 1;
            return Err(io::Error::from_raw_os_error(24));
        }
        let wire = self.backlog.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        if wire.borrow().reset && self.dice.chance(50) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let address = Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000));
        Ok(Accepted { stream: SimStream(wire), transport: Transport::Tcp, address })
    }
}

/// The kernel under one shard.
#[derive(Debug)]
pub struct SimKernel(pub Rc<RefCell<Net>>);

impl sockeye::server::Kernel for SimKernel {
    type Stream = SimStream;

    fn poll(&mut self, events: &mut Vec<Event>, _timeout: Option<Duration>) -> io::Result<()> {
        self.0.borrow_mut().poll(events);
        Ok(())
    }

    fn listeners(&self) -> usize {
        1
    }

    fn is_sole(&self, _index: usize) -> bool {
        self.0.borrow_mut().hands_round()
    }

    fn write_each<'a>(
        &mut self,
        writes: impl ExactSizeIterator<Item = (&'a SimStream, &'a [u8])>,
        outcomes: &mut Vec<io::Result<usize>>,
    ) {
        let mut net = self.0.borrow_mut();
        let writes: Vec<_> = writes.collect();
        if writes.len() > 1 {
            net.counts.batched_writes += writes.len() as u64;
            net.counts.encrypted_writes +=
                writes.iter().filter(|(stream, _)| stream.is_encrypted()).count() as u64;
        }
        let writes = writes.into_iter();
        if !net.calm && net.dice.chance(2) {
            // The call failed as a whole.
            return outcomes.extend(writes.map(|_| Err(io::ErrorKind::Interrupted.into())));
        }
        outcomes
            .extend(writes.map(|(stream, bytes)| stream.0.borrow_mut().take_in(&[io::IoSlice::new(bytes)])));
    }

    fn send(&mut self, shard: u16, letters: &mut Vec<Letter<SimStream>>) {
        self.0.borrow_mut().written.extend(letters.drain(..).map(|letter| (shard, letter)));
    }

    fn receive(&mut self, letters: &mut VecDeque<Letter<SimStream>>) {
        if letters.is_empty() {
            std::mem::swap(&mut self.0.borrow_mut().inbox, letters);
        }
    }

    fn is_congested(&self) -> bool {
        self.0.borrow_mut().is_congested()
    }

    fn accept(&mut self, _index: usize) -> io::Result<Accepted<SimStream>> {
        self.0.borrow_mut().accept()
    }

    fn turn_away(&mut self, _index: usize) -> bool {
        let mut net = self.0.borrow_mut();
        if net.dice.chance(50) {
            return false;
        }
        let wire = net.backlog.pop_front();
        wire.map(SimStream).is_some()
    }

    fn receive_datagrams(
        &mut self,
        _socket: usize,
        _most: usize,
        _each: &mut dyn FnMut(&Source, &[u8], bool),
    ) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send_datagrams(&mut self, _socket: usize, _letters: &[(&Source, &[u8])]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn close_listeners(&mut self) {
        let mut net = self.0.borrow_mut();
        net.listening = false;
        let waiting = std::mem::take(&mut net.backlog);
        drop(net);
        drop(waiting.into_iter().map(SimStream).collect::<Vec<_>>());
    }

    fn register(&mut self, stream: &mut SimStream, token: u64) -> io::Result<()> {
        let mut wire = stream.0.borrow_mut();
        wire.token = Some(token);
        // What is there already is told when the watching begins.
        wire.pending = true;
        self.0.borrow_mut().wires.push(Rc::clone(&stream.0));
        Ok(())
    }

    fn now(&self) -> Now {
        self.0.borrow().now
    }
}

/// The server's end of a wire.
#[derive(Debug)]
pub struct SimStream(SharedWire);

impl Stream for SimStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        wire.send_unsent();
        let length = buffer.len().min(wire.inbound.len());
        if length == 0 {
            return match (wire.reset, wire.inbound_end) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => {
                    wire.end_read = true;
                    Ok(0)
                }
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        for (place, byte) in buffer.iter_mut().zip(wire.inbound.drain(..length)) {
            *place = byte;
        }
        Ok(length)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.is_encrypted { wire.take_in_encrypted(pieces) } else { wire.take_in(pieces) }
    }

    fn may_join(&self) -> bool {
        let wire = self.0.borrow();
        wire.joins && wire.unsent.is_empty()
    }

    fn is_encrypted(&self) -> bool {
        self.0.borrow().is_encrypted
    }

    fn encrypt(&mut self, bytes: &[u8], ciphertext: &mut Ciphertext) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        let mut encrypted = bytes.to_vec();
        cipher(&mut wire.encrypted_bytes, &mut encrypted);
        ciphertext.put(&std::mem::take(&mut wire.unsent));
        ciphertext.put(&encrypted);
        Ok(())
    }

    fn keep_unsent(&mut self, ciphertext: &[u8]) {
        self.0.borrow_mut().unsent = ciphertext.to_vec();
    }

    fn is_clogged(&self) -> bool {
        !self.0.borrow().unsent.is_empty()
    }

    fn flush(&mut self) {
        self.0.borrow_mut().send_unsent();
    }

    fn finish(&mut self) {
        self.0.borrow_mut().shuts_down = true;
        self.flush();
    }
}

/// Encrypts or decrypts what follows so many bytes of a stream.
fn cipher(place: &mut u64, bytes: &mut [u8]) {
    for byte in bytes {
        *byte ^= (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        *place += 1;
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.server_closed = true;
        wire.outbound_end = true;
        // Closing with unread input resets the connection.
        if !wire.inbound.is_empty() {
            wire.outbound_reset = true;
        }
    }
}
