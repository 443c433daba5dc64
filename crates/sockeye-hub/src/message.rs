//! One published message: what was said, where, when and by whom, and its encoded forms.
//!
//! Deliberately absent: any protocol. An [`Encoding`] is a number the gateway gave a meaning.

use std::{
    borrow::Cow,
    mem::size_of,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::position::{Epoch, Position};

/// How many encoded forms a message can have.
pub const ENCODINGS: usize = 6;

/// Which of a message's encoded forms a client takes: 0 to 5, opaque to the hub. Larger numbers mean the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Encoding(pub u8);

impl Encoding {
    /// The place of this encoding in arrays of [`ENCODINGS`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0).min(ENCODINGS - 1)
    }
}

/// Encodes messages for the wire; asked at most once per message and encoding.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    encode: fn(Encoding, &Message, usize) -> Encoded,
    setting: usize,
}

impl Encoder {
    /// An encoder that is given `setting`, whatever it means, each time.
    pub const fn new(encode: fn(Encoding, &Message, usize) -> Encoded, setting: usize) -> Self {
        Self { encode, setting }
    }
}

/// What an encoder made.
#[derive(Clone, Debug)]
pub enum Encoded {
    /// A form of its own.
    Own(Box<[u8]>),
    /// Nothing better than this other form, which is a form of its own.
    As(Encoding),
}

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
    encoded: [OnceLock<Encoded>; ENCODINGS],
    /// Some encoding was asked for.
    is_encoded: AtomicBool,
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
        let charge = Self::fresh_charge(payload.len());
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
            is_encoded: AtomicBool::new(false),
            charge: AtomicUsize::new(charge),
        }
    }

    /// Makes the next message of the same channel out of one that nobody holds any more: its memory is used again, and
    /// that of its payload as well where the new one is as long.
    pub(crate) fn renew(
        &mut self,
        sequence: u64,
        unix_ms: u64,
        from: Option<Arc<str>>,
        kind: Kind,
        payload: &mut Cow<'_, [u8]>,
        publisher: u64,
    ) {
        (self.sequence, self.unix_ms, self.from) = (sequence, unix_ms, from);
        (self.kind, self.publisher) = (kind, publisher);
        match payload {
            Cow::Borrowed(bytes) if bytes.len() == self.payload.len() => self.payload.copy_from_slice(bytes),
            payload => self.payload = std::mem::take(payload).into_owned().into_boxed_slice(),
        }
        if std::mem::take(self.is_encoded.get_mut()) {
            self.encoded = [const { OnceLock::new() }; ENCODINGS];
        }
        *self.charge.get_mut() = Self::fresh_charge(self.payload.len());
    }

    /// What a message costs before it is encoded: itself, its two counts, and its payload.
    fn fresh_charge(payload_bytes: usize) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + payload_bytes
    }

    /// The encoded form, made by `encoder` on the first call for this encoding.
    #[inline]
    pub fn encoded(&self, encoding: Encoding, encoder: Encoder) -> &[u8] {
        match self.form(encoding, encoder) {
            Encoded::Own(bytes) => bytes,
            Encoded::As(other) => match self.form(*other, encoder) {
                Encoded::Own(bytes) => bytes,
                Encoded::As(_) => &[],
            },
        }
    }

    #[inline]
    fn form(&self, encoding: Encoding, encoder: Encoder) -> &Encoded {
        let cell = &self.encoded[encoding.index()];
        match cell.get() {
            Some(encoded) => encoded,
            None => cell.get_or_init(|| {
                let encoded = (encoder.encode)(encoding, self, encoder.setting);
                self.is_encoded.store(true, Ordering::Relaxed);
                if let Encoded::Own(bytes) = &encoded {
                    self.charge.fetch_add(bytes.len(), Ordering::Relaxed);
                }
                encoded
            }),
        }
    }

    /// The encoded form, if it was made already.
    pub fn encoded_if_present(&self, encoding: Encoding) -> Option<&[u8]> {
        match self.encoded[encoding.index()].get()? {
            Encoded::Own(bytes) => Some(bytes),
            Encoded::As(other) => match self.encoded[other.index()].get()? {
                Encoded::Own(bytes) => Some(bytes),
                Encoded::As(_) => None,
            },
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &[u8]) -> Message {
        let at = Position { epoch: Epoch::from_random(7), sequence: 1 };
        Message::new("a".into(), at, 1, Some("ada".into()), Kind::Text, payload.into(), 3)
    }

    #[test]
    fn a_renewed_message_is_as_a_new_one() {
        let encoder = Encoder::new(|_, message, _| Encoded::Own(message.payload.clone()), 0);
        for next in [&b"as long"[..], b"longer than before", b""] {
            let mut renewed = message(b"the old");
            assert_eq!(renewed.encoded(Encoding(2), encoder), b"the old");

            renewed.renew(2, 9, None, Kind::Json, &mut Cow::Borrowed(next), 4);

            assert_eq!((renewed.sequence, renewed.unix_ms, renewed.publisher), (2, 9, 4));
            assert_eq!((renewed.kind, &renewed.from), (Kind::Json, &None));
            assert_eq!(renewed.encoded_if_present(Encoding(2)), None);
            assert_eq!(renewed.charge_bytes(), message(next).charge_bytes());
            assert_eq!(renewed.encoded(Encoding(2), encoder), next);
        }
    }
}
