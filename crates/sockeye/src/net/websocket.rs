//! A WebSocket on any stream, both ends of it: messages in and out, pings answered, the closing handshake (RFC 6455).
//!
//! A machine that is polled: whatever future waits on it can be dropped, because nothing is kept in a future.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use sockeye_wire::websocket::{
    ALONE_WINDOW_BITS, Decoder, Deflate, Event, MessageKind as WireKind, Opcode, Payload, Role,
    compress_alone, frame_header, unmask, write_close, write_compressed_frame, write_frame,
    write_masked_close, write_masked_compressed_frame, write_masked_frame,
};
use tokio::io::AsyncReadExt as _;

use super::message::{Close, Message, MessageKind};
use super::option::READ_BYTES;
use super::outgoing::Outgoing;
use super::transport::Transport;
use super::{Error, ErrorKind, Result};

/// Messages of fewer bytes are not compressed: there is little to save.
const DEFLATE_BYTES_MIN: usize = 64;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

#[derive(Debug)]
pub(super) struct WebSocket {
    pub(super) transport: Transport,
    pub(super) outgoing: Outgoing,
    pub(super) subprotocol: Option<String>,
    /// How the peer closed it.
    pub(super) closed: Option<Close>,
    /// Whether pings and pongs are received as messages.
    pub(super) control_is_visible: bool,
    /// Whether the answer to the peer's close is left to [`WebSocket::poll_finish`].
    pub(super) answer_is_held: bool,
    end: End,
    decoder: Decoder,
    input: Vec<u8>,
    at: usize,
    sent_close: bool,
    ended: bool,
    masks: Masks,
    /// The largest message that may be sent compressed, if any may: one that is compressed alone refers no further back than
    /// its own beginning, so a small window of the peer bounds it.
    deflate_bytes_max: Option<usize>,
}

impl WebSocket {
    /// Begins after the handshake; `input` came behind it.
    pub(super) fn new(
        transport: Transport,
        end: End,
        input: Vec<u8>,
        message_bytes_max: usize,
        subprotocol: Option<String>,
        deflate: Option<Deflate>,
    ) -> WebSocket {
        let role = if end == End::Client { Role::Client } else { Role::Server };
        let decoder = Decoder::new(role, message_bytes_max);
        let decoder = match &deflate {
            Some(agreed) => decoder.inflate(agreed),
            None => decoder,
        };
        let deflate_bytes_max = deflate.map(|agreed| {
            let window_bits = match end {
                End::Client => agreed.client_max_window_bits,
                End::Server => agreed.server_max_window_bits,
            };
            if window_bits >= ALONE_WINDOW_BITS { usize::MAX } else { 1 << window_bits }
        });
        WebSocket {
            transport,
            outgoing: Outgoing::default(),
            subprotocol,
            closed: None,
            control_is_visible: false,
            answer_is_held: false,
            end,
            decoder,
            input,
            at: 0,
            sent_close: false,
            ended: false,
            masks: Masks::default(),
            deflate_bytes_max,
        }
    }

    pub(super) fn poll_recv(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let decoded = if self.at < self.input.len() { self.decode(name, cx) } else { Ok(None) };
            // Answers to pings leave as soon as they can; while the stream is full, reading goes on.
            if self.outgoing.holds_control() {
                let _ = self.outgoing.poll_flush(&mut self.transport, cx);
            }
            match decoded {
                Ok(None) if !self.ended => {}
                other => return Poll::Ready(other),
            }
            match ready!(poll_fill(&mut self.transport, &mut self.input, cx)) {
                Ok(0) => return Poll::Ready(self.handle_end(name)),
                Ok(_) => {}
                Err(error) if self.sent_close && is_reset(&error) => {
                    self.ended = true;
                    return Poll::Ready(Ok(None));
                }
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Err(Error::system(name, "the connection broke", error)));
                }
            }
        }
    }

    /// The next message in the input. `None`: more is needed, or this was the end.
    fn decode(&mut self, name: &str, cx: &mut Context<'_>) -> Result<Option<Message>> {
        loop {
            let event = match self.decoder.decode(&mut self.input, &mut self.at) {
                Ok(Some(event)) => event,
                Ok(None) => {
                    self.input.clear();
                    self.at = 0;
                    return Ok(None);
                }
                Err(error) => {
                    // RFC 6455, 7.1.7: the connection is failed, with a word about it.
                    self.ended = true;
                    self.write_close(&Close { code: Some(error.close_code()), reason: error.to_string() });
                    let _ = self.outgoing.poll_flush(&mut self.transport, cx);
                    let what = format!("the peer broke the WebSocket protocol: {error}");
                    return Err(Error::new(ErrorKind::EndedEarly, name, what));
                }
            };
            match event {
                Event::Message { kind, payload } => {
                    let kind = if kind == WireKind::Text { MessageKind::Text } else { MessageKind::Binary };
                    let bytes = match &payload {
                        Payload::Input(range) => self.input[range.clone()].to_vec(),
                        Payload::Assembled => self.decoder.take_assembled(),
                    };
                    return Ok(Some(Message { kind, bytes }));
                }
                Event::Ping(payload) => {
                    let bytes = self.decoder.bytes(&self.input, &payload).to_vec();
                    self.write_pong(&bytes);
                    if self.control_is_visible {
                        return Ok(Some(Message { kind: MessageKind::Ping, bytes }));
                    }
                }
                Event::Pong(payload) => {
                    if self.control_is_visible {
                        let bytes = self.decoder.bytes(&self.input, &payload).to_vec();
                        return Ok(Some(Message { kind: MessageKind::Pong, bytes }));
                    }
                }
                Event::Close { code, payload } => {
                    let reason =
                        String::from_utf8_lossy(self.decoder.bytes(&self.input, &payload)).into_owned();
                    self.closed = Some(Close { code, reason });
                    self.ended = true;
                    if !self.answer_is_held {
                        self.write_answer(code);
                        let _ = self.outgoing.poll_flush(&mut self.transport, cx);
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn handle_end(&mut self, name: &str) -> Result<Option<Message>> {
        self.ended = true;
        // RFC 6455, 7.1.5: an end without a close frame is abnormal (1006); after our own close it is only impolite.
        if self.sent_close {
            return Ok(None);
        }
        let what = if self.decoder.is_mid_message() {
            "the connection ended in the middle of a message (close code 1006)"
        } else {
            "the connection ended without a close (close code 1006)"
        };
        Err(Error::new(ErrorKind::EndedEarly, name, what))
    }

    /// Puts a message into the slot, which is free.
    pub(super) fn start_send(&mut self, name: &str, message: Message) -> Result<()> {
        if self.sent_close {
            return Err(Error::new(
                ErrorKind::EndedEarly,
                name,
                "the WebSocket was closed before this message",
            ));
        }
        let is_control = matches!(message.kind, MessageKind::Ping | MessageKind::Pong);
        if is_control && message.bytes.len() > 125 {
            let what = format!("a ping or pong of {} bytes: RFC 6455 allows 125", message.bytes.len());
            return Err(Error::new(ErrorKind::Usage, name, what));
        }
        if message.kind == MessageKind::Text && message.as_text().is_none() {
            return Err(Error::new(
                ErrorKind::Usage,
                name,
                "a text message that is not UTF-8: send it as binary",
            ));
        }
        let opcode = match message.kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
            MessageKind::Ping => Opcode::Ping,
            MessageKind::Pong => Opcode::Pong,
        };
        let mut body = message.bytes;
        let mask = (self.end == End::Client).then(|| self.masks.next());
        let may_deflate =
            !is_control && body.len() >= DEFLATE_BYTES_MIN && self.deflate_bytes_max >= Some(body.len());
        if may_deflate && let Some(frame) = compressed(opcode, &body, mask) {
            self.outgoing.put(frame, |_| {});
            return Ok(());
        }
        let header = frame_header(opcode, body.len());
        if let Some(mask) = mask {
            unmask(&mut body, mask, 0);
        }
        self.outgoing.put(body, |head| {
            head.extend_from_slice(header.as_slice());
            if let Some(mask) = mask {
                head[1] |= 0x80;
                head.extend_from_slice(&mask);
            }
        });
        Ok(())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(&mut self.transport, cx)
    }

    /// Sends a close frame behind everything; an answer if the peer has closed.
    pub(super) fn poll_finish(&mut self, close: &Close, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sent_close {
            ready!(self.poll_flush(cx))?;
            match &self.closed {
                Some(closed) => self.write_answer(closed.code),
                None => self.write_close(close),
            }
        }
        match ready!(self.poll_flush(cx)) {
            // The peer has closed it and gone.
            Err(error) if self.ended && is_reset(&error) => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }

    /// RFC 6455, 5.5.1: the answer to a close repeats its code.
    fn write_answer(&mut self, code: Option<u16>) {
        self.write_close(&Close { code, reason: String::new() });
    }

    fn write_close(&mut self, close: &Close) {
        if self.sent_close {
            return;
        }
        self.sent_close = true;
        let code = close.code.filter(|code| sockeye_wire::websocket::is_close_code(*code));
        let mask = self.masks.next();
        match self.end {
            End::Client => write_masked_close(self.outgoing.control(), code, &close.reason, mask),
            End::Server => write_close(self.outgoing.control(), code, &close.reason),
        }
    }

    fn write_pong(&mut self, bytes: &[u8]) {
        if self.sent_close {
            return;
        }
        // RFC 6455, 5.5.3: of several pings only the last needs an answer, so a peer cannot fill our memory with them.
        self.outgoing.forget_control();
        let mask = self.masks.next();
        match self.end {
            End::Client => write_masked_frame(self.outgoing.control(), Opcode::Pong, bytes, mask),
            End::Server => write_frame(self.outgoing.control(), Opcode::Pong, bytes),
        }
    }
}

/// A message as a compressed frame; none if it would not become smaller.
fn compressed(opcode: Opcode, body: &[u8], mask: Option<[u8; 4]>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    let compress = |out: &mut Vec<u8>| compress_alone(body, out);
    let is_smaller = match mask {
        Some(mask) => write_masked_compressed_frame(&mut frame, opcode, body.len(), mask, compress),
        None => write_compressed_frame(&mut frame, opcode, body.len(), compress),
    };
    is_smaller.then_some(frame)
}

/// Reads what there is behind what was read. Memory is held only while something is in it.
pub(super) fn poll_fill(
    transport: &mut Transport,
    input: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if input.capacity() - input.len() < READ_BYTES / 4 {
        input.reserve(READ_BYTES);
    }
    let outcome = pin!(transport.read_buf(input)).poll(cx);
    if input.is_empty() {
        *input = Vec::new();
    }
    outcome
}

pub(super) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
    )
}

/// Masking keys, which must not be predictable (RFC 6455, 5.3), asked of the system 64 at a time.
#[derive(Debug, Default)]
struct Masks {
    bytes: Vec<u8>,
}

impl Masks {
    fn next(&mut self) -> [u8; 4] {
        if self.bytes.len() < 4 {
            self.bytes = random::<256>().to_vec();
        }
        let rest = self.bytes.len() - 4;
        let mask = [self.bytes[rest], self.bytes[rest + 1], self.bytes[rest + 2], self.bytes[rest + 3]];
        self.bytes.truncate(rest);
        mask
    }
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("the system has randomness once it runs");
    bytes
}
