//! A WebSocket after its handshake, in its three uses: the protocol (`/ws`), one channel raw (`/ch/NAME`), an echo.
//!
//! Deliberately absent: the handshake, which is an HTTP request and stands in `route.rs`.

use std::borrow::Cow;

use sockeye_hub::{Answer, ClientId, Gap, Kind, Message, Notice, Publish, RefusalCode, Tag};
use sockeye_wire::json::{self, Code};
use sockeye_wire::websocket::{self, Decoder, Deflate, Event, MessageKind, Opcode, Payload, Role};

use crate::compression::Compression;
use crate::context::Context;
use crate::form::{self, Form};
use crate::limit::Limits;
use crate::out::IN_PLACE_BYTES_MIN;
use crate::protocol::Protocol;
use crate::request::{self, Objects};

/// The state of an open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    decoder: Decoder,
    mode: Mode,
    compression: Compression,
    /// A message was given out since that was last asked.
    has_finished: bool,
}

/// What a WebSocket is used for.
#[derive(Debug)]
pub(crate) enum Mode {
    /// JSON objects, one a text frame.
    Objects(Objects),
    /// The bare payloads of one channel.
    Raw(Box<Raw>),
    /// Every message comes back.
    Echo,
}

/// A WebSocket that is one channel.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) channel: Box<str>,
    pub(crate) publishes: bool,
    /// The client agreed to gaps that it is not told of (`?slow=latest`).
    pub(crate) consents_to_gaps: bool,
}

/// RFC 6455, 7.4.1, and the registry beside it.
pub(crate) mod close {
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_LARGE: u16 = 1009;
    pub(crate) const INTERNAL: u16 = 1011;
    pub(crate) const TRY_AGAIN_LATER: u16 = 1013;
}

/// What became of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection goes on.
    Open,
    /// It goes on, but nothing more is handled yet.
    Paused,
    /// A close frame was said: the connection ends when it is written.
    Closing,
}

impl Socket {
    pub(crate) fn new(mode: Mode, deflate: Option<&Deflate>, limits: &Limits) -> Self {
        let mut decoder = match mode {
            Mode::Objects(_) => {
                Decoder::new(Role::Server, limits.request_bytes_max()).leave_whole_text_to_reader()
            }
            Mode::Raw(_) | Mode::Echo => Decoder::new(Role::Server, limits.message_bytes_max),
        };
        if let Some(agreed) = deflate {
            decoder = decoder.inflate(agreed);
        }
        Socket { decoder, mode, compression: Compression::new(deflate, limits.deflate), has_finished: false }
    }

    /// The form in which it takes published messages.
    pub(crate) fn form(&self) -> Form {
        self.compression.form(if self.is_raw() { Form::Raw } else { Form::Frame })
    }

    /// Whether it has no place for anything but payloads.
    pub(crate) fn is_raw(&self) -> bool {
        !matches!(self.mode, Mode::Objects(_))
    }

    /// Nothing was received for a while.
    pub(crate) fn rest(&mut self) {
        self.compression.rest();
    }

    /// Appends a published message, compressed for this connection alone. Returns false where its plain form is as good.
    pub(crate) fn compress(&mut self, message: &Message, out: &mut Vec<u8>, limits: &Limits) -> bool {
        let (opcode, payload) = match &self.mode {
            Mode::Objects(_) => (Opcode::Text, form::envelope(message)),
            Mode::Raw(_) | Mode::Echo => (form::opcode_of(message), &*message.payload),
        };
        self.compression.compress(out, opcode, payload, limits)
    }

    /// Whether a message was given out since this was last asked.
    pub(crate) fn take_finished(&mut self) -> bool {
        std::mem::take(&mut self.has_finished)
    }

    /// How many bytes of a message have come whose end has not, if there is one.
    #[inline]
    pub(crate) fn unfinished_bytes(&self) -> Option<usize> {
        self.decoder.unfinished_bytes()
    }

    pub(crate) fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Takes frames from `input[*at..]` until all is taken or the client must be waited for.
    pub(crate) fn handle_input(
        &mut self,
        client: ClientId,
        input: &mut [u8],
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Outcome {
        if matches!(self.mode, Mode::Echo) {
            return match self.compression {
                Compression::Off => self.handle_echo(client, input, at, cx),
                _ => self.handle_compressed_echo(client, input, at, cx),
            };
        }
        while !cx.must_pause(client) {
            let event = match self.decoder.decode(input, at) {
                Ok(Some(event)) => event,
                Ok(None) => return Outcome::Open,
                Err(error) => return self.fail(client, &error, cx),
            };
            let is_in_place = matches!(event, Event::Message { payload: Payload::Input(_), .. });
            let outcome = match event {
                Event::Message { kind, payload } => {
                    self.has_finished = true;
                    self.handle_message(client, kind, &payload, input, cx)
                }
                other => self.handle_control(client, other, input, cx),
            };
            // A message that ends with the input leaves nothing to ask the decoder for, unless it lent us a buffer of
            // its own, which it takes back when asked.
            if outcome != Outcome::Open || (is_in_place && *at == input.len()) {
                return outcome;
            }
        }
        Outcome::Open
    }

    /// The echo has no use for the hub; its answers go straight from frame to frame.
    fn handle_echo(
        &mut self,
        client: ClientId,
        input: &mut [u8],
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let direct = cx.hub.is_idle(client);
        if !direct && cx.must_pause(client) {
            return Outcome::Open;
        }
        let paused_at = cx.limits.answers_bytes_max.max(input.len());
        loop {
            match self.decoder.decode(input, at) {
                Ok(Some(Event::Message { kind, payload: Payload::Input(range) })) if direct => {
                    self.has_finished = true;
                    if range.len() < IN_PLACE_BYTES_MIN || range.start < HEADER_BYTES_MAX {
                        websocket::write_frame(cx.out.scratch(), opcode_of(kind), &input[range]);
                    } else {
                        // The client's header had a mask of 4 bytes more than ours, so ours fits before the payload,
                        // unless that header came in an earlier read.
                        let header = websocket::frame_header(opcode_of(kind), range.len());
                        let start = range.start - header.as_slice().len();
                        input[start..range.start].copy_from_slice(header.as_slice());
                        cx.out.push_input(start..range.end);
                    }
                    // As in `handle_input`.
                    if pace(client, cx) == Outcome::Paused || *at == input.len() {
                        return Outcome::Open;
                    }
                }
                Ok(Some(Event::Message { kind, payload })) => {
                    self.has_finished = true;
                    let bytes = self.decoder.bytes(input, &payload);
                    cx.say(client, |out| websocket::write_frame(out, opcode_of(kind), bytes));
                    if pace(client, cx) == Outcome::Paused {
                        return Outcome::Open;
                    }
                }
                Ok(Some(control)) => {
                    if self.handle_control(client, control, input, cx) == Outcome::Closing {
                        return Outcome::Closing;
                    }
                }
                Ok(None) => return Outcome::Open,
                Err(error) => return self.fail(client, &error, cx),
            }
            if cx.out.len() > paused_at || (!direct && cx.must_pause(client)) {
                return Outcome::Open;
            }
        }
    }

    /// What is compressed is another message than the one that came, so nothing is written from where it was received.
    fn handle_compressed_echo(
        &mut self,
        client: ClientId,
        input: &mut [u8],
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Outcome {
        while !cx.must_pause(client) {
            match self.decoder.decode(input, at) {
                Ok(Some(Event::Message { kind, payload })) => {
                    self.has_finished = true;
                    let (bytes, limits) = (self.decoder.bytes(input, &payload), cx.limits);
                    cx.count_work(bytes.len());
                    // An echo hears no channel: all that waits in its outbox was compressed before this.
                    cx.say(client, |out| self.compression.write(out, opcode_of(kind), bytes, limits));
                }
                Ok(Some(control)) => {
                    if self.handle_control(client, control, input, cx) == Outcome::Closing {
                        return Outcome::Closing;
                    }
                }
                Ok(None) => return Outcome::Open,
                Err(error) => return self.fail(client, &error, cx),
            }
        }
        Outcome::Open
    }

    fn handle_message(
        &mut self,
        client: ClientId,
        kind: MessageKind,
        payload: &Payload,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Outcome {
        match &mut self.mode {
            Mode::Objects(objects) => {
                let goes_on = match kind {
                    MessageKind::Text => match std::str::from_utf8(self.decoder.bytes(input, payload)) {
                        Ok(text) => request::handle(objects, client, text, cx),
                        Err(_) => return self.fail(client, &websocket::Error::Utf8, cx),
                    },
                    MessageKind::Binary => {
                        let why = "this socket takes JSON objects in text frames, not binary frames";
                        objects.refuse_unreadable(client, Code::BadRequest, why, cx)
                    }
                };
                if goes_on {
                    return Outcome::Open;
                }
                if objects.take_paused() {
                    return Outcome::Paused;
                }
                say_close(
                    client,
                    close::POLICY,
                    "too many messages in a row that were unreadable, or showed a token that was refused",
                    cx,
                )
            }
            Mode::Raw(raw) if !raw.publishes => {
                say_close(client, close::POLICY, "this socket was opened to hear only (pub=0)", cx)
            }
            Mode::Raw(raw) => {
                cx.count_work(self.decoder.bytes(input, payload).len());
                let kind = if kind == MessageKind::Binary { Kind::Binary } else { Kind::Text };
                let payload = match payload {
                    Payload::Input(range) => Cow::Borrowed(&input[range.clone()]),
                    Payload::Assembled => Cow::Owned(self.decoder.take_assembled()),
                };
                let publish = Publish { channel: &raw.channel, kind, payload, key: None };
                cx.hub.publish(client, Tag::Silent, publish, cx.now);
                cx.tally.asked(Protocol::Raw);
                pace(client, cx)
            }
            Mode::Echo => Outcome::Open,
        }
    }

    fn handle_control(
        &mut self,
        client: ClientId,
        event: Event,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Outcome {
        match event {
            // RFC 6455, 5.5.2: a pong carries the ping's payload.
            Event::Ping(payload) => {
                let bytes = self.decoder.bytes(input, &payload);
                cx.say(client, |out| websocket::write_frame(out, Opcode::Pong, bytes));
                Outcome::Open
            }
            // RFC 6455, 5.5.1: the code that came goes back; one without a code is answered by one without.
            Event::Close { code, .. } => {
                let mut frame = Vec::new();
                websocket::write_close(&mut frame, code, "");
                say_last(client, frame, cx)
            }
            Event::Pong(_) | Event::Message { .. } => Outcome::Open,
        }
    }

    fn fail(&mut self, client: ClientId, error: &websocket::Error, cx: &mut Context<'_>) -> Outcome {
        let code = error.close_code();
        if let (Mode::Objects(objects), close::TOO_LARGE) = (&self.mode, code) {
            let why = format!("a request may have {} bytes", cx.limits.request_bytes_max());
            objects.say(client, cx, |out| json::write_error(out, None, Code::TooLarge, &why, false));
        }
        say_close(client, code, &error.to_string(), cx)
    }

    /// Appends what the hub answered. Returns whether the socket goes on.
    pub(crate) fn encode_answer(&mut self, answer: &Answer, out: &mut Vec<u8>, limits: &Limits) -> Outcome {
        match &self.mode {
            Mode::Objects(_) => {
                let start = out.len();
                request::frame(Form::Frame, out, 64, |out| crate::answer::write_answer(out, answer));
                self.compression.compress_frame(out, start, limits);
                Outcome::Open
            }
            // A raw socket has no place for answers: a refusal closes it, and says why in the close frame.
            Mode::Raw(_) => match &answer.result {
                Ok(_) => Outcome::Open,
                Err(refusal) => {
                    let code = match refusal.code {
                        RefusalCode::TooLarge => close::TOO_LARGE,
                        RefusalCode::Rate | RefusalCode::TooMany | RefusalCode::Busy => {
                            close::TRY_AGAIN_LATER
                        }
                        RefusalCode::BadRequest
                        | RefusalCode::Unauthorized
                        | RefusalCode::Denied
                        | RefusalCode::NotFound => close::POLICY,
                        _ => close::INTERNAL,
                    };
                    websocket::write_close(out, Some(code), &refusal.why);
                    Outcome::Closing
                }
            },
            Mode::Echo => Outcome::Open,
        }
    }

    /// Appends a gap, which is never compressed: one that is not written yet may be taken back. Returns whether the socket
    /// goes on.
    pub(crate) fn encode_gap(&self, gap: &Gap, out: &mut Vec<u8>) -> Outcome {
        match &self.mode {
            Mode::Objects(_) => {
                request::frame(Form::Frame, out, 128, |out| crate::answer::write_gap(out, gap));
                Outcome::Open
            }
            Mode::Raw(raw) if !raw.consents_to_gaps => {
                websocket::write_close(out, Some(close::TRY_AGAIN_LATER), "too slow: messages were missed");
                Outcome::Closing
            }
            Mode::Raw(_) | Mode::Echo => Outcome::Open,
        }
    }

    /// Appends what happens to the client by itself. Returns whether the socket goes on.
    pub(crate) fn encode_notice(&self, notice: &Notice, out: &mut Vec<u8>) -> Outcome {
        match (&self.mode, notice) {
            (Mode::Objects(_), _) => {
                request::frame(Form::Frame, out, 160, |out| crate::answer::write_notice(out, notice));
                Outcome::Open
            }
            // It has one channel, and no place to say that it hears it no longer.
            (Mode::Raw(_), Notice::Ended { .. }) => {
                websocket::write_close(
                    out,
                    Some(close::POLICY),
                    "no permission to hear this channel any more",
                );
                Outcome::Closing
            }
            (Mode::Raw(_) | Mode::Echo, _) => Outcome::Open,
        }
    }
}

/// Counts a message that has no answer. One too many is not refused, for that could not be told: the client waits.
#[inline]
fn pace(client: ClientId, cx: &mut Context<'_>) -> Outcome {
    if cx.meter_message(client).is_ok() { Outcome::Open } else { Outcome::Paused }
}

/// RFC 6455, 5.2: the longest header without a mask. A masked header is at least as long as ours plus the mask; only one
/// that began in an earlier read leaves less room than this before its payload.
const HEADER_BYTES_MAX: usize = 4;

/// Says a close frame of our own.
pub(crate) fn say_close(client: ClientId, code: u16, reason: &str, cx: &mut Context<'_>) -> Outcome {
    let mut frame = Vec::new();
    websocket::write_close(&mut frame, Some(code), reason);
    say_last(client, frame, cx)
}

/// Says a close frame, behind the answers that other shards still owe.
fn say_last(client: ClientId, frame: Vec<u8>, cx: &mut Context<'_>) -> Outcome {
    if cx.hub.requests_in_flight(client) == 0 {
        cx.say(client, |out| out.extend_from_slice(&frame));
    } else {
        cx.hub.queue_last_bytes(client, frame.into_boxed_slice());
    }
    Outcome::Closing
}

fn opcode_of(kind: MessageKind) -> Opcode {
    match kind {
        MessageKind::Text => Opcode::Text,
        MessageKind::Binary => Opcode::Binary,
    }
}
