//! Frames to messages: what arrives in arbitrary pieces becomes whole messages and control events.
//!
//! ```text
//!                 fin, data                       Close, any error
//!           +------------------+          +---------------------------> ended: takes all, gives nothing
//!           v                  |          |
//!   --> between frames --> in a frame (header cut | payload cut)
//!           ^                  |  control frames: back to where they came from
//!           |  fin             v  no fin
//!           +-------- between fragments
//! ```
//!
//! A frame that lies whole in the input is unmasked there and never copied. Whatever is cut moves to the heap, and goes
//! from it with the event: a connection between messages costs the size of [`Decoder`] and no allocation.
//!
//! A compressed message is kept as it came until its end is there, and then inflated: what is unfinished holds what was
//! received, and not a thousand times as much. What inflates it is borrowed for that, or, with context takeover, stays with
//! the connection.
//!
//! Deliberately absent: answers to ping and close, and limits on the number of fragments (what they cost is their
//! bytes, and these are counted; empty ones are not kept).

use std::{mem, ops::Range, str};

use super::{
    Error, Role,
    deflate::Inflater,
    extension::Deflate,
    frame::{HEADER_BYTES_MAX, Head, Opcode, parse_close},
    mask::unmask,
};

/// Whether a message is text or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8, and checked.
    Text,
    /// Anything.
    Binary,
}

/// Where the bytes of an event are; [`Decoder::bytes`] gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the input, unmasked in place.
    Input(Range<usize>),
    /// In the decoder, which put them together. They are let go by the next call of [`Decoder::decode`].
    Assembled,
}

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Message {
        /// Text or bytes.
        kind: MessageKind,
        /// The message.
        payload: Payload,
    },
    /// A ping, to be answered by a pong with the same payload.
    Ping(Payload),
    /// A pong.
    Pong(Payload),
    /// The peer's last frame.
    Close {
        /// The code, if there was one.
        code: Option<u16>,
        /// The reason: UTF-8, and checked.
        payload: Payload,
    },
}

/// Reads the frames of one connection.
///
/// Memory: 24 bytes while nothing is unfinished. An unfinished message holds at most two times the bytes of it that were
/// received, and at most `message_bytes_max`; an unfinished control frame at most 125 bytes more. With context takeover 80
/// KiB stay from the first compressed message on.
///
/// # Examples
///
/// ```
/// use sockeye_wire::websocket::{Decoder, Event, MessageKind, Opcode, Role, write_frame};
///
/// let mut input = Vec::new();
/// write_frame(&mut input, Opcode::Text, b"hello");
///
/// let mut decoder = Decoder::new(Role::Client, 1024);
/// let mut at = 0;
/// while let Some(event) = decoder.decode(&mut input, &mut at)? {
///     if let Event::Message { kind: MessageKind::Text, payload } = event {
///         assert_eq!(decoder.bytes(&input, &payload), b"hello");
///     }
/// }
/// # Ok::<(), sockeye_wire::websocket::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    unfinished: Option<Box<Unfinished>>,
    message_bytes_max: usize,
    role: Role,
    ended: bool,
    reader_checks_text: bool,
    inflates: Inflates,
}

/// Whether compressed messages are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflates {
    /// Compression was not agreed on.
    Never,
    /// Each message stands alone.
    Alone,
    /// Messages refer to those before them.
    WithTakeover,
}

impl Decoder {
    /// Begins a connection. A message of more than `message_bytes_max` bytes of payload is an error.
    pub fn new(role: Role, message_bytes_max: usize) -> Decoder {
        Decoder {
            unfinished: None,
            message_bytes_max,
            role,
            ended: false,
            reader_checks_text: false,
            inflates: Inflates::Never,
        }
    }

    /// Takes compressed messages too (RFC 7692): what this end's peer was agreed to send.
    #[must_use]
    pub fn inflate(mut self, agreed: &Deflate) -> Decoder {
        let stands_alone = match self.role {
            Role::Server => agreed.client_no_context_takeover,
            Role::Client => agreed.server_no_context_takeover,
        };
        self.inflates = if stands_alone { Inflates::Alone } else { Inflates::WithTakeover };
        self
    }

    /// Leaves text that lies whole in the input unchecked: the reader must check it, and close with 1007 if it is not
    /// UTF-8 (RFC 6455, 8.1). Who reads it as text anyway would otherwise check it twice. Text that comes in pieces is
    /// checked here in any case, because it must fail at its first bad byte.
    #[must_use]
    pub fn leave_whole_text_to_reader(mut self) -> Decoder {
        self.reader_checks_text = true;
        self
    }

    /// Gives the next event from `input[*at..]` and moves `at` behind it; payloads are unmasked in place.
    ///
    /// `Ok(None)` means that all of `input` was taken. Calling until then also lets go of the memory of the last event.
    /// After [`Event::Close`] or an error, everything is taken and nothing is given.
    ///
    /// # Errors
    ///
    /// Whatever breaks RFC 6455 or the limit, as soon as its first byte is seen; see [`Error`].
    ///
    /// # Panics
    ///
    /// If `at` lies beyond the end of `input`.
    #[inline(always)]
    pub fn decode(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Event>, Error> {
        // Small whole messages between frames are what a busy server reads most: they need none of the machinery.
        if self.unfinished.is_none()
            && !self.ended
            && let Some(rest) = input.get_mut(*at..)
            && let Some(small) = SmallMessage::find(rest, self.role, self.message_bytes_max)
        {
            if small.kind == MessageKind::Text
                && !self.reader_checks_text
                && str::from_utf8(small.payload).is_err()
            {
                return Err(self.end_with(Error::Utf8));
            }
            let start = *at + small.header_bytes;
            *at = start + small.payload.len();
            let payload = Payload::Input(start..*at);
            return Ok(Some(Event::Message { kind: small.kind, payload }));
        }
        self.decode_any(input, at)
    }

    /// Gives the bytes of the event that was just decoded from `input`.
    ///
    /// # Panics
    ///
    /// If `payload` is not of the last event, or `input` not what it was decoded from.
    #[inline]
    pub fn bytes<'a>(&'a self, input: &'a [u8], payload: &Payload) -> &'a [u8] {
        match payload {
            Payload::Input(range) => &input[range.clone()],
            Payload::Assembled => {
                self.unfinished.as_deref().and_then(Unfinished::handed_out).map_or(&[], Vec::as_slice)
            }
        }
    }

    /// Moves the bytes of the last event out, if it came as [`Payload::Assembled`]; otherwise gives none.
    pub fn take_assembled(&mut self) -> Vec<u8> {
        self.unfinished.as_deref_mut().and_then(Unfinished::handed_out_mut).map(mem::take).unwrap_or_default()
    }

    /// Tells whether a frame or a fragmented message is unfinished.
    pub fn is_mid_message(&self) -> bool {
        self.unfinished
            .as_ref()
            .is_some_and(|unfinished| unfinished.is_mid_message() && unfinished.last != Some(Last::Message))
    }

    /// How many bytes of an unfinished message, or of a frame that was cut, have come, if there is one.
    #[inline]
    pub fn unfinished_bytes(&self) -> Option<usize> {
        if self.unfinished.is_none() || !self.is_mid_message() {
            return None;
        }
        let message = self.unfinished.as_ref().and_then(|unfinished| unfinished.message.as_ref());
        Some(message.map_or(0, |message| message.bytes.len() + message.deflated.len()))
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| {
            let message = unfinished
                .message
                .as_ref()
                .map_or(0, |message| message.bytes.capacity() + message.deflated.capacity());
            message + unfinished.control.capacity()
        })
    }

    #[cfg(test)]
    pub(super) fn is_between_frames(&self) -> bool {
        self.unfinished.is_none()
    }

    #[cold]
    fn end_with(&mut self, error: Error) -> Error {
        self.ended = true;
        self.unfinished = None;
        error
    }

    #[inline(never)]
    fn decode_any(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Event>, Error> {
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.let_go();
            if self.ended || !unfinished.is_needed() {
                self.unfinished = None;
            }
        }
        if self.ended {
            *at = input.len();
            return Ok(None);
        }
        match self.decode_frames(input, at) {
            Ok(event) => {
                // RFC 6455, 5.5.1: after a close frame no more data follows; whatever comes is not looked at.
                self.ended = matches!(event, Some(Event::Close { .. }));
                Ok(event)
            }
            Err(error) => Err(self.end_with(error)),
        }
    }

    fn decode_frames(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Event>, Error> {
        loop {
            let resumed = self.unfinished.as_mut().and_then(|unfinished| unfinished.frame.take());
            let (head, taken) = match resumed {
                Some(frame) => frame,
                None => match self.decode_head(input, at)? {
                    Some(head) => (head, 0),
                    None => return Ok(None),
                },
            };

            let missing = head.payload_bytes - taken;
            let start = *at;
            let piece_bytes = missing.min((input.len() - start) as u64);
            *at += piece_bytes as usize;
            let piece = &mut input[start..*at];
            if self.role == Role::Server {
                unmask(piece, head.mask, (taken % 4) as usize);
            }

            let is_whole = piece_bytes == missing;
            if is_whole && taken == 0 {
                if head.opcode.is_control() {
                    return control_event(head.opcode, piece, start).map(Some);
                }
                if head.fin && head.opcode != Opcode::Continuation && !head.compressed {
                    let kind = message_kind(head.opcode);
                    if kind == MessageKind::Text && !self.reader_checks_text && str::from_utf8(piece).is_err()
                    {
                        return Err(Error::Utf8);
                    }
                    return Ok(Some(Event::Message { kind, payload: Payload::Input(start..*at) }));
                }
            }

            let unfinished = self.unfinished.get_or_insert_default();
            if is_whole || piece_bytes > 0 {
                unfinished.take(&head, missing - piece_bytes, piece, self.message_bytes_max)?;
            }
            if !is_whole {
                unfinished.frame = Some((head, taken + piece_bytes));
                return Ok(None);
            }
            let takeover = self.inflates == Inflates::WithTakeover;
            if let Some(event) = unfinished.finish_frame(&head, takeover, self.message_bytes_max)? {
                return Ok(Some(event));
            }
        }
    }

    /// Reads the next header, wherever the end of an input may have cut it, and checks that the frame may come here.
    fn decode_head(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Head>, Error> {
        let inflates = self.inflates != Inflates::Never;
        let head = match &mut self.unfinished {
            Some(unfinished) if unfinished.header_bytes > 0 => loop {
                let Some(&byte) = input.get(*at) else { return Ok(None) };
                *at += 1;
                if let Some(head) = unfinished.push_header_byte(byte, self.role, inflates)? {
                    break head;
                }
            },
            _ => match Head::parse(&input[*at..], self.role, inflates)? {
                Some((head, header_bytes)) => {
                    *at += header_bytes;
                    head
                }
                None => {
                    let rest = &input[*at..];
                    *at = input.len();
                    if !rest.is_empty() {
                        self.unfinished.get_or_insert_default().hold_header(rest);
                    }
                    return Ok(None);
                }
            },
        };

        let message = self.unfinished.as_ref().and_then(|unfinished| unfinished.message.as_ref());
        let held = message.map_or(0, |message| message.held_bytes() as u64);
        let (bytes, bytes_max) = match (head.opcode, message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(Some(head)),
            // RFC 6455, 5.4: a continuation belongs to a message, and messages do not interleave.
            (Opcode::Continuation, None) => return Err(Error::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Error::Interrupted),
            // What it will be is known when it is inflated.
            (Opcode::Text | Opcode::Binary, None) if head.compressed => {
                (head.payload_bytes, deflated_bytes_max(self.message_bytes_max))
            }
            (Opcode::Continuation, Some(message)) if message.compressed => {
                (head.payload_bytes.saturating_add(held), deflated_bytes_max(self.message_bytes_max))
            }
            _ => (head.payload_bytes.saturating_add(held), self.message_bytes_max),
        };
        // RFC 6455, 10.4: a limit on the message, known before a byte of its payload is.
        if bytes > bytes_max as u64 {
            return Err(Error::TooLarge { bytes, bytes_max: self.message_bytes_max });
        }
        Ok(Some(head))
    }
}

/// A whole unfragmented message of at most 125 bytes.
struct SmallMessage<'a> {
    kind: MessageKind,
    header_bytes: usize,
    payload: &'a mut [u8],
}

impl<'a> SmallMessage<'a> {
    /// Finds one at the beginning of `bytes`, and unmasks it.
    #[inline(always)]
    fn find(bytes: &'a mut [u8], role: Role, bytes_max: usize) -> Option<SmallMessage<'a>> {
        let small =
            |length: u8| (length < 126).then_some(usize::from(length)).filter(|bytes| *bytes <= bytes_max);
        let (first, header_bytes, payload) = match (role, bytes) {
            (Role::Server, [first, length, mask_0, mask_1, mask_2, mask_3, rest @ ..]) => {
                // Without the bit of the mask a length of 126 and more is left, which is not small.
                let payload = rest.get_mut(..small(*length ^ 0x80)?)?;
                if !matches!(first, 0x81 | 0x82) {
                    return None;
                }
                unmask(payload, [*mask_0, *mask_1, *mask_2, *mask_3], 0);
                (*first, 6, payload)
            }
            (Role::Client, [first, length, rest @ ..]) => (*first, 2, rest.get_mut(..small(*length)?)?),
            _ => return None,
        };
        let kind = match first {
            0x81 => MessageKind::Text,
            0x82 => MessageKind::Binary,
            _ => return None,
        };
        Some(SmallMessage { kind, header_bytes, payload })
    }
}

/// What was received of a frame or message whose end was not.
#[derive(Debug, Default)]
struct Unfinished {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: u8,
    /// The frame whose payload was cut, and how much of the payload was taken.
    frame: Option<(Head, u64)>,
    message: Option<Message>,
    control: Vec<u8>,
    /// What the last event handed out, to be let go.
    last: Option<Last>,
    /// What inflates the message; with context takeover it is kept between messages.
    inflater: Option<Inflater>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Message,
    Control,
}

impl Unfinished {
    fn is_needed(&self) -> bool {
        self.is_mid_message() || self.inflater.is_some()
    }

    fn is_mid_message(&self) -> bool {
        self.header_bytes > 0 || self.frame.is_some() || self.message.is_some()
    }

    fn handed_out(&self) -> Option<&Vec<u8>> {
        match self.last? {
            Last::Message => self.message.as_ref().map(|message| &message.bytes),
            Last::Control => Some(&self.control),
        }
    }

    fn handed_out_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self.last? {
            Last::Message => self.message.as_mut().map(|message| &mut message.bytes),
            Last::Control => Some(&mut self.control),
        }
    }

    fn let_go(&mut self) {
        match self.last.take() {
            Some(Last::Message) => self.message = None,
            Some(Last::Control) => self.control = Vec::new(),
            None => {}
        }
    }

    fn hold_header(&mut self, bytes: &[u8]) {
        self.header[..bytes.len()].copy_from_slice(bytes);
        self.header_bytes = bytes.len() as u8;
    }

    fn push_header_byte(&mut self, byte: u8, role: Role, inflates: bool) -> Result<Option<Head>, Error> {
        let end = usize::from(self.header_bytes);
        self.header[end] = byte;
        self.header_bytes += 1;
        let head = Head::parse(&self.header[..=end], role, inflates)?.map(|(head, _)| head);
        if head.is_some() {
            self.header_bytes = 0;
        }
        Ok(head)
    }

    /// Takes a piece of a frame's payload, of which `to_come` bytes are still missing.
    fn take(
        &mut self,
        head: &Head,
        to_come: u64,
        piece: &[u8],
        message_bytes_max: usize,
    ) -> Result<(), Error> {
        if head.opcode.is_control() {
            // RFC 6455, 5.5: the declared length is at most 125, so it may be believed.
            self.control.reserve_exact(piece.len() + to_come as usize);
            self.control.extend_from_slice(piece);
            return Ok(());
        }
        let message = self.message.get_or_insert_with(|| Message::new(head));
        if message.compressed {
            let is_end = head.fin && to_come == 0;
            // In one piece, however it came: what is found first must not depend on that.
            if !is_end || !message.deflated.is_empty() {
                message.deflated.extend_from_slice(piece);
            }
            if !is_end {
                return Ok(());
            }
            let inflater = self.inflater.get_or_insert_with(Inflater::take_spare);
            let deflated = mem::take(&mut message.deflated);
            let whole = if deflated.is_empty() { piece } else { &deflated[..] };
            let inflated = inflater.inflate(whole, &mut message.bytes, message_bytes_max);
            // What came before the fault is looked at first, as it is where nothing is compressed.
            message.check_text()?;
            return inflated;
        }
        // The last frame tells the length of the whole message, an earlier one does not.
        let bytes_max = match head.fin {
            true => (message.bytes.len() + piece.len()).saturating_add(to_come as usize),
            false => message_bytes_max,
        };
        message.append(piece, bytes_max)
    }

    fn finish_frame(
        &mut self,
        head: &Head,
        takeover: bool,
        message_bytes_max: usize,
    ) -> Result<Option<Event>, Error> {
        if head.opcode.is_control() {
            self.last = Some(Last::Control);
            let mut event = control_event(head.opcode, &self.control, 0)?;
            match &mut event {
                Event::Close { payload, .. } => {
                    if let Payload::Input(reason) = mem::replace(payload, Payload::Assembled) {
                        self.control.drain(..reason.start);
                    }
                }
                Event::Ping(payload) | Event::Pong(payload) | Event::Message { payload, .. } => {
                    *payload = Payload::Assembled;
                }
            }
            return Ok(Some(event));
        }
        let Some(message) = self.message.as_mut().filter(|_| head.fin) else { return Ok(None) };
        if message.compressed {
            let mut inflater = self.inflater.take().unwrap_or_else(Inflater::take_spare);
            let finished = inflater.finish(&mut message.bytes, message_bytes_max, takeover);
            message.check_text()?;
            finished?;
            if takeover {
                self.inflater = Some(inflater);
            } else {
                Inflater::give_back(inflater);
            }
        }
        // RFC 6455, 8.1: a character may be cut by the end of a fragment, not by the end of the message.
        if message.kind == MessageKind::Text && message.checked < message.bytes.len() {
            return Err(Error::Utf8);
        }
        self.last = Some(Last::Message);
        Ok(Some(Event::Message { kind: message.kind, payload: Payload::Assembled }))
    }
}

/// A compressed message may be longer than what it stands for, though not by much: by an eighth and 1 KiB, for headers of
/// stored blocks and empty blocks between pieces. Above it, it is too large.
fn deflated_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 8 + 1_024)
}

/// The message that is being put together.
#[derive(Debug)]
struct Message {
    kind: MessageKind,
    compressed: bool,
    /// What came of a compressed message whose end did not.
    deflated: Vec<u8>,
    /// As they came, or inflated.
    bytes: Vec<u8>,
    /// How many bytes are known to be whole characters (text only).
    checked: usize,
}

impl Message {
    fn new(first: &Head) -> Message {
        let (kind, compressed) = (message_kind(first.opcode), first.compressed);
        Message { kind, compressed, deflated: Vec::new(), bytes: Vec::new(), checked: 0 }
    }

    /// How much of it has come and is held.
    fn held_bytes(&self) -> usize {
        if self.compressed { self.deflated.len() } else { self.bytes.len() }
    }

    /// Appends a piece, and checks it. The whole message will not be longer than `bytes_max`.
    fn append(&mut self, piece: &[u8], bytes_max: usize) -> Result<(), Error> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            // Doubling follows what was received; the declared length only stops it from going too far.
            let grown = (2 * self.bytes.capacity()).max(needed).min(bytes_max.max(needed));
            self.bytes.reserve_exact(grown - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        self.check_text()
    }

    /// Checks what was appended, if it is to be text.
    fn check_text(&mut self) -> Result<(), Error> {
        if self.kind == MessageKind::Binary {
            return Ok(());
        }
        match str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            // No length of the error: the last character is cut, and right so far.
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Error::Utf8),
        }
        Ok(())
    }
}

fn message_kind(opcode: Opcode) -> MessageKind {
    match opcode {
        Opcode::Text => MessageKind::Text,
        _ => MessageKind::Binary,
    }
}

/// Makes the event of a control frame whose payload begins at `start` of the input.
fn control_event(opcode: Opcode, payload: &[u8], start: usize) -> Result<Event, Error> {
    let end = start + payload.len();
    Ok(match opcode {
        Opcode::Ping => Event::Ping(Payload::Input(start..end)),
        Opcode::Pong => Event::Pong(Payload::Input(start..end)),
        _ => {
            let code = parse_close(payload)?;
            let reason = if code.is_some() { start + 2..end } else { start..end };
            Event::Close { code, payload: Payload::Input(reason) }
        }
    })
}
