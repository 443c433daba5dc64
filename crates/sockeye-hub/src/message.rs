//! One published message: what was said, where, when and by whom, and its encoded forms.
//!
//! Deliberately absent: any protocol. An [`Encoding`] is a number the gateway gave a meaning.

use std::{
    mem::size_of,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::position::{Epoch, Position};

/// How many encoded forms a message can have.
pub const ENCODINGS: usize = 4;

/// Which of a message's encoded forms a client takes: 0 to 3, opaque to the hub. Larger numbers mean the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Encoding(pub u8);

impl Encoding {
    /// The place of this encoding in arrays of [`ENCODINGS`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0).min(ENCODINGS - 1)
    }
}

/// Encodes a message for the wire; called at most once per message and encoding.
pub type Encoder = fn(Encoding, &Message) -> Box<[u8]>;

/// What a payload is, fixed when it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// UTF-8 text that its publisher wrote as a JSON string, and that stays one.
    String,
    /// One JSON value.
    Json,
    /// Bytes.
    Binary,
}

/// One published message. It is immutable, always shared behind an [`Arc`], and carries its encoded forms.
#[derive(Debug)]
pub struct Message {
    /// The channel's name.
    pub channel: Arc<str>,
    /// The incarnation of the channel.
    pub epoch: Epoch,
    /// The place in the channel, counted from 1.
    pub sequence: u64,
    /// When it was published, in milliseconds of the Unix epoch.
    pub unix_ms: u64,
    /// The user who published it; absent for an anonymous one and for the server itself.
    pub from: Option<Arc<str>>,
    /// What the payload is.
    pub kind: Kind,
    /// The payload, decoded.
    pub payload: Box<[u8]>,
    /// The unique number of the publishing connection; 0 is the server itself.
    pub publisher: u64,
    encoded: [OnceLock<Box<[u8]>>; ENCODINGS],
    charge: AtomicUsize,
}

impl Message {
    /// Makes a message that no encoding has been asked of yet.
    pub fn new(
        channel: Arc<str>,
        position: Position,
        unix_ms: u64,
        from: Option<Arc<str>>,
        kind: Kind,
        payload: Box<[u8]>,
        publisher: u64,
    ) -> Self {
        let charge = size_of::<Self>() + 2 * size_of::<usize>() + payload.len();
        Self {
            channel,
            epoch: position.epoch,
            sequence: position.sequence,
            unix_ms,
            from,
            kind,
            payload,
            publisher,
            encoded: [const { OnceLock::new() }; ENCODINGS],
            charge: AtomicUsize::new(charge),
        }
    }

    /// The encoded form, made by `encoder` on the first call for this encoding.
    #[inline]
    pub fn encoded(&self, encoding: Encoding, encoder: Encoder) -> &[u8] {
        let cell = &self.encoded[encoding.index()];
        match cell.get() {
            Some(bytes) => bytes,
            None => cell.get_or_init(|| {
                let bytes = encoder(encoding, self);
                self.charge.fetch_add(bytes.len(), Ordering::Relaxed);
                bytes
            }),
        }
    }

    /// The encoded form, if it was made already.
    pub fn encoded_if_present(&self, encoding: Encoding) -> Option<&[u8]> {
        self.encoded[encoding.index()].get().map(|bytes| &**bytes)
    }

    /// Where this message stands in its channel.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.sequence }
    }

    /// What this message costs in memory: itself, its payload and the forms made so far.
    pub(crate) fn charge_bytes(&self) -> usize {
        self.charge.load(Ordering::Relaxed)
    }
}
