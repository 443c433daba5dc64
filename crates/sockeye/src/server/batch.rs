//! Writes that leave together. What a turn says to many connections is written down first, and goes out in one call.
//!
//! ```text
//!   serve ──said at once──┐
//!                         ├─> batch ── one call ──> outcomes ──> outboxes ──> fates
//!   touched ──messages────┘
//! ```
//!
//! One call for many is less work for the kernel than many calls, and what reads, decides and writes does so many times
//! in a row, in caches that are still warm with it. Written down is what is simple: a socket that is not blocked and stands
//! under nothing but encryption, which is done for all of them just before the call, and either one piece that was said
//! at once where nothing waits, or nothing but messages that wait. Everything else is written where it arises (`desk.rs`,
//! `gather.rs`), in the same order for each connection: what was said at once leaves before what waits in the outbox is
//! looked at. A connection stands in a batch at most once.
//!
//! Deliberately absent: the call itself, which is the kernel's.

use std::io;
use std::ops::Range;

use sockeye_gateway::Form;
use sockeye_hub::planted::{Planted, is_planted};
use sockeye_hub::{ClientId, Item, Message, Outbox};

use super::ciphertext::Ciphertext;
use super::desk::{Desk, Fate};
use super::kernel::{Kernel, Stream};
use super::peer::Peer;
use super::shard::{Shard, peer_of};

/// How many writes leave in one call. Each costs some lines of cache while it waits for the others.
const WRITES_MAX: usize = 256;
/// What is said at once and is longer than this is not copied, but written where it arises.
const SAID_BYTES_MAX: usize = 4 << 10;
/// Messages of one outbox are joined into one piece up to this length; above, they are pieces of one vectored write.
const JOINED_BYTES_MAX: usize = 8 << 10;
/// What is free of the receive buffer for every read. A batch that points at more is sent first.
const ROOM_BYTES_MIN: usize = 64 << 10;
/// Above this, what is to be encrypted is not kept until all of it is, but written where it arises.
const ENCRYPTED_BYTES_MAX: usize = 8 << 10;
/// A buffer of copies that was larger than this is given back.
const COPIED_BYTES_KEPT_MAX: usize = 1 << 20;
/// The same of ciphertext: what a full batch may have, so that it is not made anew for each.
const CIPHERTEXT_BYTES_KEPT_MAX: usize = WRITES_MAX * (ENCRYPTED_BYTES_MAX + 256);
/// What points into the receive buffer keeps whole lines of cache, so that nobody else writes to them.
const LINE_BYTES: usize = 64;

/// Writes that wait for the call.
#[derive(Debug, Default)]
pub(super) struct Batch {
    writes: Vec<Write>,
    /// Copies of what was said, and of joined messages.
    copied: Vec<u8>,
    /// How much of the receive buffer is pointed at.
    kept: usize,
    /// The messages that were joined last, by their addresses, in which form and where: who hears the same is sent the
    /// same copy.
    joined: Vec<usize>,
    joined_as: Option<(Form, Range<usize>)>,
    /// Whether anything is to be encrypted.
    encrypts: bool,
    encrypted: Encrypted,
    outcomes: Vec<io::Result<usize>>,
    /// Those of whom more is to be seen to than their outbox, once all outcomes are known.
    unsettled: Vec<(ClientId, Option<io::Error>)>,
    /// Touched, and not simple.
    others: Vec<ClientId>,
}

/// What became of the writes that are encrypted, in their order.
#[derive(Debug, Default)]
struct Encrypted {
    ciphertext: Ciphertext,
    /// Where each lies, if it could be encrypted.
    parts: Vec<io::Result<Range<usize>>>,
}

/// One write.
#[derive(Debug)]
struct Write {
    client: ClientId,
    what: What,
}

/// What is written, and where it lies.
#[derive(Debug)]
enum What {
    /// Said at once, and copied.
    Said(Range<usize>),
    /// Said at once, and still in the receive buffer.
    Received(Range<usize>),
    /// The front message of the outbox, in its shared form.
    Front,
    /// All messages of the outbox, joined.
    Joined(Range<usize>),
}

/// Where input that is answered lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the shard's receive buffer, from the beginning of its free room.
    Buffer,
    /// Somewhere that ends with the call.
    Elsewhere,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The part of the receive buffer that nothing points at.
    #[inline]
    pub(super) fn room_of<'a>(&self, buffer: &'a mut [u8]) -> &'a mut [u8] {
        let kept = self.kept.min(buffer.len());
        &mut buffer[kept..]
    }

    fn is_full(&self, buffer_bytes: usize) -> bool {
        self.writes.len() >= WRITES_MAX
            || buffer_bytes.saturating_sub(self.kept) < ROOM_BYTES_MIN.min(buffer_bytes)
    }

    /// The connection is gone, and with it what it said.
    #[cold]
    pub(super) fn forget(&mut self, client: ClientId) {
        self.writes.retain(|write| write.client != client);
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.copied.len();
        self.copied.extend_from_slice(bytes);
        start..self.copied.len()
    }

    /// Joins the messages of an outbox, unless that was just done with the same ones.
    fn join(&mut self, outbox: &Outbox, form: Form) -> Range<usize> {
        let messages = || outbox.iter().filter_map(message_of);
        let offset = outbox.front_offset();
        if let Some((joined_form, range)) = &self.joined_as
            && offset == 0
            && *joined_form == form
            && self.joined.len() == outbox.len()
            && messages().zip(&self.joined).all(|(message, joined)| address_of(message) == *joined)
        {
            return range.clone();
        }
        let start = self.copied.len();
        messages().for_each(|message| self.copied.extend_from_slice(form.bytes(message)));
        let range = start + offset..self.copied.len();
        self.joined.clear();
        self.joined.extend(messages().map(address_of));
        self.joined_as = (offset == 0).then(|| (form, range.clone()));
        range
    }

    /// Forgets what was written, and keeps the buffers unless they have become large.
    fn clear(&mut self) {
        self.writes.clear();
        self.copied.clear();
        // The addresses mean something only while the messages wait.
        self.joined_as = None;
        self.kept = 0;
        self.encrypts = false;
        self.encrypted.parts.clear();
        self.encrypted.ciphertext.clear();
        self.encrypted.ciphertext.shrink(CIPHERTEXT_BYTES_KEPT_MAX);
        if self.copied.capacity() > COPIED_BYTES_KEPT_MAX {
            self.copied = Vec::new();
        }
    }
}

impl Desk {
    /// Writes down what a machine said at once, to leave with what others say. Returns false where it is to be written now.
    #[inline]
    pub(super) fn write_down_said(
        &mut self,
        peer: &mut Peer<impl Stream>,
        input: &[u8],
        origin: Origin,
    ) -> bool {
        let client = peer.client();
        if peer.said {
            // It waits behind what waits already.
            self.hub.queue_bytes(client, self.out.tail(input, 0));
            self.out.clear();
            return true;
        }
        // Who is at his end, or changes, is looked at with everything written.
        let is_simple = peer.stream.may_join()
            && !peer.blocked
            && peer.machine.is_steady()
            && peer.is_armed()
            && self.hub.is_idle(client)
            && !(peer.stream.is_encrypted() && self.out.len() > ENCRYPTED_BYTES_MAX);
        if !is_simple {
            return false;
        }
        let what = match (self.out.copied(), self.out.single_input()) {
            (Some(said), _) if said.len() <= SAID_BYTES_MAX => What::Said(self.batch.copy(said)),
            (None, Some(range)) if origin == Origin::Buffer => {
                let start = self.batch.kept;
                self.batch.kept = (start + range.end).next_multiple_of(LINE_BYTES);
                What::Received(start + range.start..start + range.end)
            }
            _ => return false,
        };
        self.batch.encrypts |= peer.stream.is_encrypted();
        self.batch.writes.push(Write { client, what });
        self.out.clear();
        peer.said = true;
        true
    }

    /// Writes down what waits in the outbox of a touched connection. Returns false where that is not simple.
    fn write_down_waiting(&mut self, peer: &Peer<impl Stream>) -> bool {
        let client = peer.client();
        let form = peer.machine.form();
        if peer.blocked || !peer.stream.may_join() || form.is_own() {
            return false;
        }
        let Some(outbox) = self.hub.waiting_messages(client) else { return false };
        let is_encrypted = peer.stream.is_encrypted();
        let what = match outbox.len() {
            _ if is_encrypted && outbox.message_bytes() > ENCRYPTED_BYTES_MAX => return false,
            1 => What::Front,
            2.. if outbox.message_bytes() <= JOINED_BYTES_MAX => What::Joined(self.batch.join(outbox, form)),
            _ => return false,
        };
        self.batch.encrypts |= is_encrypted;
        self.batch.writes.push(Write { client, what });
        true
    }
}

impl<K: Kernel> Shard<K> {
    /// Sends the batch if it has no place for one more.
    #[inline]
    pub(super) fn make_room(&mut self) {
        if self.desk.batch.is_full(self.buffer.len()) {
            self.launch();
        }
    }

    /// Writes the outboxes that were touched, each once, and not more of them than the others can wait for.
    pub(super) fn flush_touched(&mut self) {
        let mut left = self.desk.server_limits.writes_per_turn_max;
        let mut others = std::mem::take(&mut self.desk.batch.others);
        while left > 0 {
            while left > 0 && self.desk.batch.writes.len() + others.len() < WRITES_MAX {
                let Some(client) = self.desk.hub.take_touched() else {
                    left = 0;
                    break;
                };
                left -= 1;
                let peer = peer_of(&mut self.peers, client);
                let is_written_down = peer.is_some_and(|peer| {
                    self.desk.settle_answered(peer);
                    self.desk.write_down_waiting(peer)
                });
                if !is_written_down {
                    others.push(client);
                }
            }
            self.launch();
            for client in others.drain(..) {
                if !self.at_desk(client, |desk, peer, _| desk.flush(peer)) {
                    self.flush_session(client);
                }
            }
        }
        self.desk.batch.others = others;
    }

    /// Makes all writes of the batch in one call, and heeds what became of them.
    #[inline]
    pub(super) fn launch(&mut self) {
        if !self.desk.batch.is_empty() {
            self.launch_some();
        }
    }

    fn launch_some(&mut self) {
        let mut batch = std::mem::take(&mut self.desk.batch);
        self.send_each(&mut batch);

        // First every outbox is brought up to date, and only then something is done that may change those of others: who is
        // told of a connection that ended must not be told of it before he has what he was sent already.
        let mut outcomes = std::mem::take(&mut batch.outcomes);
        let Encrypted { ciphertext, parts } = &mut batch.encrypted;
        let mut parts = parts.drain(..);
        for (write, mut outcome) in batch.writes.iter().zip(outcomes.drain(..)) {
            let Some(peer) = peer_of(&mut self.peers, write.client) else { continue };
            let length = bytes_of(write, peer, &self.desk, &batch.copied, &self.buffer).len();
            if peer.stream.is_encrypted()
                && let Some(part) = parts.next()
            {
                outcome = part
                    .and_then(|range| keep_unsent(&mut peer.stream, ciphertext.part(range), outcome))
                    .map(|()| length);
            }
            let error = self.desk.heed_outcome(peer, write, outcome, length, |range| match &write.what {
                What::Received(_) => self.buffer[range].into(),
                _ => batch.copied[range].into(),
            });
            let is_settled = error.is_none()
                && peer.machine.is_steady()
                && peer.is_armed()
                && !peer.blocked
                && !peer.readable
                && !peer.holds;
            if !is_settled {
                batch.unsettled.push((write.client, error));
            }
        }
        drop(parts);
        batch.outcomes = outcomes;
        for (client, error) in batch.unsettled.drain(..) {
            self.at_desk(client, |desk, peer, _| {
                if error.is_some() {
                    return Fate::Ends("lost", error);
                }
                let fate = desk.settle(peer);
                desk.list_if_more(peer);
                fate
            });
        }
        batch.clear();
        self.desk.batch = batch;
    }

    /// Makes the call.
    fn send_each(&mut self, batch: &mut Batch) {
        if batch.encrypts {
            self.encrypt_each(batch);
        }
        let (peers, desk, buffer) = (&self.peers, &self.desk, &self.buffer);
        let mut encrypted = batch.encrypted.pieces();
        let writes = batch.writes.iter().map(|write| {
            let peer = peers[write.client.index()].as_deref().expect("a batch forgets who is gone");
            let bytes = match peer.stream.is_encrypted() {
                true => encrypted.next().unwrap_or_default(),
                false => bytes_of(write, peer, desk, &batch.copied, buffer),
            };
            (&peer.stream, bytes)
        });
        batch.outcomes.clear();
        self.kernel.write_each(writes, &mut batch.outcomes);
    }

    /// Encrypts what is to be. What was sent of a connection meanwhile was encrypted before it, and so it is the next.
    fn encrypt_each(&mut self, batch: &mut Batch) {
        for write in &batch.writes {
            let Some(peer) = peer_of(&mut self.peers, write.client) else { continue };
            if peer.stream.is_encrypted() {
                let bytes = bytes_of(write, peer, &self.desk, &batch.copied, &self.buffer);
                batch.encrypted.put(&mut peer.stream, bytes);
            }
        }
    }
}

impl Encrypted {
    fn put(&mut self, stream: &mut impl Stream, bytes: &[u8]) {
        let start = self.ciphertext.length();
        let encrypted = stream.encrypt(bytes, &mut self.ciphertext);
        self.parts.push(encrypted.map(|()| start..self.ciphertext.length()));
    }

    /// What is to be sent of each: nothing where it could not be encrypted.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.parts
            .iter()
            .map(|part| part.as_ref().map_or(&[][..], |range| self.ciphertext.part(range.clone())))
    }
}

/// What of ciphertext was not sent stays with its stream, and its plain text counts as written.
fn keep_unsent(stream: &mut impl Stream, ciphertext: &[u8], outcome: io::Result<usize>) -> io::Result<()> {
    let kind = outcome.as_ref().map_err(io::Error::kind);
    let sent = match kind {
        Ok(sent) => *sent,
        Err(io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
        Err(_) => return outcome.map(|_| ()),
    };
    if sent < ciphertext.len() && !is_planted(Planted::UnsentForgotten) {
        stream.keep_unsent(&ciphertext[sent..]);
        if kind.is_err_and(|kind| kind == io::ErrorKind::Interrupted) {
            // It was not tried, so no edge would follow.
            stream.flush();
        }
    }
    Ok(())
}

impl Desk {
    /// Heeds what became of a write: what went out leaves the outbox, the rest stays or comes to stand in it. Returns the
    /// error that ended the connection.
    #[inline]
    fn heed_outcome(
        &mut self,
        peer: &mut Peer<impl Stream>,
        write: &Write,
        outcome: io::Result<usize>,
        length: usize,
        rest: impl FnOnce(Range<usize>) -> Box<[u8]>,
    ) -> Option<io::Error> {
        let client = write.client;
        peer.said = false;
        self.figures.writes += 1;
        let (written, is_blocked) = match outcome {
            Ok(written) => (written, written < length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, true),
            // It was not tried: it comes again by itself.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, false),
            Err(error) => return Some(error),
        };
        peer.blocked = is_blocked;
        self.figures.bytes_out += written as u64;
        match &write.what {
            What::Said(range) | What::Received(range) => {
                if written < length && !is_planted(Planted::RestForgotten) {
                    // It was said while nothing waited, so it stands before whatever has come to wait since.
                    self.hub.queue_bytes_front(client, rest(range.start + written..range.end));
                }
            }
            What::Front | What::Joined(_) => {
                let form = peer.machine.form();
                self.hub.note_written(client, written, |message| form.bytes(message).len());
                if written < length && !is_blocked && !is_planted(Planted::UntriedSleeps) {
                    self.hub.touch(client);
                }
            }
        }
        None
    }
}

/// The bytes of one write.
#[inline]
fn bytes_of<'a, S>(
    write: &Write,
    peer: &Peer<S>,
    desk: &'a Desk,
    copied: &'a [u8],
    buffer: &'a [u8],
) -> &'a [u8] {
    match &write.what {
        What::Said(range) | What::Joined(range) => &copied[range.clone()],
        What::Received(range) => &buffer[range.clone()],
        What::Front => {
            let outbox = desk.hub.outbox(write.client);
            let front = outbox.get(0).and_then(message_of);
            front.map_or(&[], |message| &peer.machine.form().bytes(message)[outbox.front_offset()..])
        }
    }
}

fn message_of(item: &Item) -> Option<&Message> {
    if let Item::Message(message) = item { Some(message) } else { None }
}

fn address_of(message: &Message) -> usize {
    std::ptr::from_ref(message).addr()
}
