//! One write for all that a connection has to say: what it said at once, then its outbox, as pieces that are not copied.
//!
//! Messages are pointed at in their shared encoded form. What is for one client only is encoded into a buffer of the
//! shard, once; what of it the socket does not take goes back into the outbox as bytes. That holds for messages too where
//! a connection has its own compression: what was compressed must be sent, for the next one may refer to it. Nothing is popped before it is
//! written, so the tail of a short write keeps references instead of copies.

use std::io::{self, IoSlice};

use sockeye_gateway::{Connection, Ending, Limits, Out};
use sockeye_hub::planted::{Planted, is_planted};
use sockeye_hub::{Hub, Item, Now};

use super::kernel::Stream;

/// The pieces of one write. Above it, the rest goes out in the next turn.
const PIECES_MAX: usize = 64;
/// The bytes of one write, about. Above it, the rest goes out in the next turn.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// The shard's buffers for gathering.
#[derive(Debug, Default)]
pub(super) struct Gather {
    encoded: Vec<u8>,
    planned: Vec<Planned>,
}

/// Where the bytes of one item of the outbox are.
#[derive(Clone, Copy, Debug)]
enum Planned {
    /// In the item itself.
    Shared,
    /// In the buffer of the shard.
    Encoded { start: usize, end: usize },
}

/// What became of one write.
#[derive(Debug)]
pub(super) enum Written {
    /// Everything that was offered went out: so many bytes, in one call unless there were none.
    All(usize),
    /// The socket is full after so many bytes.
    Blocked(usize),
    /// The connection is gone.
    Gone(io::Error),
}

/// What one connection says, and to what it belongs.
pub(super) struct Speech<'a> {
    pub(super) machine: &'a mut Connection,
    pub(super) hub: &'a mut Hub,
    pub(super) limits: &'a Limits,
    pub(super) now: Now,
    /// What was said at once, and the input that it points into.
    pub(super) out: &'a Out,
    pub(super) input: &'a [u8],
}

impl Gather {
    /// Writes what was said at once and as much of the outbox as one call takes.
    pub(super) fn write(&mut self, stream: &mut impl Stream, speech: &mut Speech<'_>) -> Written {
        if speech.out.is_empty()
            && let Some(written) = write_one_message(stream, speech)
        {
            return written;
        }
        self.plan(speech);
        let (result, offered) = self.offer(stream, speech);
        let written = match result {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Written::Gone(error),
        };
        self.settle(speech, written);
        if self.encoded.capacity() > 1 << 20 {
            self.encoded = Vec::new();
        }
        if written == offered { Written::All(written) } else { Written::Blocked(written) }
    }

    /// Decides which items go into this write, and encodes those that are not encoded yet.
    fn plan(&mut self, speech: &mut Speech<'_>) {
        self.encoded.clear();
        self.planned.clear();
        let client = speech.machine.client();
        let form = speech.machine.form();
        let ended_before = speech.machine.ending() != Ending::No;
        let mut bytes = speech.out.len();
        while self.planned.len() < PIECES_MAX && bytes < WRITE_BYTES_MAX {
            let Some(item) = speech.hub.outbox(client).get(self.planned.len()) else { break };
            let is_bye = matches!(item, Item::Bye(_));
            let start = self.encoded.len();
            // What is half written stays as it was begun.
            let is_begun = self.planned.is_empty() && speech.hub.outbox(client).front_offset() > 0;
            let planned = match item {
                Item::Message(message)
                    if form.is_own()
                        && !is_begun
                        && speech.machine.compress(message, &mut self.encoded, speech.limits) =>
                {
                    bytes += self.encoded.len() - start;
                    Planned::Encoded { start, end: self.encoded.len() }
                }
                Item::Message(message) => {
                    bytes += form.bytes(message).len();
                    Planned::Shared
                }
                Item::Bytes(own) | Item::Pushed(own) => {
                    bytes += own.len();
                    Planned::Shared
                }
                item => {
                    speech.machine.encode(item, &mut self.encoded, speech.limits, speech.now);
                    bytes += self.encoded.len() - start;
                    Planned::Encoded { start, end: self.encoded.len() }
                }
            };
            self.planned.push(planned);
            if is_bye || (!ended_before && speech.machine.ending() != Ending::No) {
                // That item was the last word: what stands behind it is not said any more. (A bye is, even where the
                // peer's end has ended the machine before.)
                speech.hub.hush(client, self.planned.len());
                break;
            }
        }
    }

    /// Makes the call. Returns its result and how many bytes were offered.
    fn offer(&self, stream: &mut impl Stream, speech: &Speech<'_>) -> (io::Result<usize>, usize) {
        let outbox = speech.hub.outbox(speech.machine.client());
        let form = speech.machine.form();
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        let mut offered = 0;
        let mut push = |piece| {
            if count < pieces.len() {
                pieces[count] = IoSlice::new(piece);
                count += 1;
                offered += piece.len();
            }
        };
        speech.out.for_each(speech.input, &mut push);
        let mut offset = outbox.front_offset();
        for (index, planned) in self.planned.iter().enumerate() {
            let bytes = match (planned, outbox.get(index)) {
                (Planned::Encoded { start, end }, _) => &self.encoded[*start..*end],
                (Planned::Shared, Some(Item::Message(message))) => form.bytes(message),
                (Planned::Shared, Some(Item::Bytes(own) | Item::Pushed(own))) => own,
                (Planned::Shared, _) => &[],
            };
            push(&bytes[offset..]);
            offset = 0;
        }
        let result = match count {
            0 => Ok(0),
            1 => retry(|| stream.write(&pieces[0])),
            _ => retry(|| stream.write_vectored(&pieces[..count])),
        };
        (result, offered)
    }

    /// Takes from the outbox what was written, and keeps the rest there.
    fn settle(&self, speech: &mut Speech<'_>, written: usize) {
        let client = speech.machine.client();
        let mut left = written;
        let said = speech.out.len();
        let said_tail = (left < said).then(|| speech.out.tail(speech.input, left));
        left = left.saturating_sub(said);

        let mut offset = speech.hub.outbox(client).front_offset();
        let mut popped = 0;
        for planned in &self.planned {
            let length = self.length(speech, planned) - offset;
            if said_tail.is_some() || left < length {
                break;
            }
            left -= length;
            offset = 0;
            speech.hub.pop_front(client);
            popped += 1;
        }
        let fixed = self.fixed(speech, popped);
        for (index, planned) in self.planned[popped..].iter().enumerate() {
            if matches!(planned, Planned::Shared)
                && index < fixed
                && let Some(Item::Message(message)) = speech.hub.outbox(client).get(index)
            {
                let bytes = speech.machine.form().bytes(message).into();
                speech.hub.replace_front_item(client, index, bytes);
            }
            if let Planned::Encoded { start, end } = *planned {
                // A gap of which nothing is written stays what it is: the hub may still take back the messages before
                // it, and then the gap with them. It is encoded again, which it can be, unlike an answer, and unlike the gap
                // that was the last word of a raw socket.
                let is_cut = index == 0 && said_tail.is_none() && left > 0;
                let is_gap = matches!(speech.hub.outbox(client).get(index), Some(Item::Gap(_)))
                    && speech.machine.ending() == Ending::No;
                if is_gap && !is_cut && index >= fixed && !is_planted(Planted::GapOutlives) {
                    continue;
                }
                speech.hub.replace_front_item(client, index, self.encoded[start..end].into());
            }
        }
        if let Some(tail) = said_tail {
            speech.hub.queue_bytes_front(client, tail);
        } else if left > 0 {
            speech.hub.set_front_offset(client, offset + left);
        }
    }

    /// How many of the unsent items must stay as they are, where a connection has its own compression. What was compressed
    /// is kept as bytes, which are never taken back. Then what stands before it must be kept too: it would come after it, or
    /// be compressed after it and sent before it. (A gap is never compressed.)
    fn fixed(&self, speech: &Speech<'_>, popped: usize) -> usize {
        if !speech.machine.form().is_own() {
            return 0;
        }
        let outbox = speech.hub.outbox(speech.machine.client());
        let unsent = &self.planned[popped..];
        let may_be_compressed = |index: &usize| {
            matches!(unsent[*index], Planned::Encoded { .. })
                && !matches!(outbox.get(*index), Some(Item::Gap(_)))
        };
        (0..unsent.len()).rev().find(may_be_compressed).map_or(0, |last| last + 1)
    }

    fn length(&self, speech: &Speech<'_>, planned: &Planned) -> usize {
        match planned {
            Planned::Encoded { start, end } => end - start,
            Planned::Shared => match speech.hub.outbox(speech.machine.client()).get(0) {
                Some(Item::Message(message)) => speech.machine.form().bytes(message).len(),
                Some(Item::Bytes(own) | Item::Pushed(own)) => own.len(),
                _ => 0,
            },
        }
    }
}

/// The common case of a fan-out: one message, nothing before it, nothing behind it.
fn write_one_message(stream: &mut impl Stream, speech: &mut Speech<'_>) -> Option<Written> {
    let client = speech.machine.client();
    let form = speech.machine.form();
    if form.is_own() {
        return None;
    }
    let outbox = speech.hub.outbox(client);
    let (1, Some(Item::Message(message))) = (outbox.len(), outbox.get(0)) else { return None };
    let offset = outbox.front_offset();
    let bytes = &form.bytes(message)[offset..];
    let length = bytes.len();
    match retry(|| stream.write(bytes)) {
        Ok(written) if written == length => {
            speech.hub.pop_front(client);
            Some(Written::All(written))
        }
        Ok(written) => {
            speech.hub.set_front_offset(client, offset + written);
            Some(Written::Blocked(written))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Written::Blocked(0)),
        Err(error) => Some(Written::Gone(error)),
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
