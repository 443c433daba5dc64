//! Messages on a stream without messages of its own: lines, a length before each, or JSON lines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sockeye_wire::line::LineDecoder;
use tokio::io::AsyncWrite as _;

use super::jsonl::{self, Item};
use super::message::{Close, Message, MessageKind};
use super::outgoing::Outgoing;
use super::transport::Transport;
use super::websocket::{is_reset, poll_fill};
use super::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Framed {
    pub(super) transport: Transport,
    pub(super) outgoing: Outgoing,
    /// How the peer closed it, where the framing can tell it.
    pub(super) closed: Option<Close>,
    /// Receive pings and pongs as messages.
    pub(super) control_is_visible: bool,
    framing: Framing,
    input: Vec<u8>,
    at: usize,
    message_bytes_max: usize,
    ended: bool,
    /// The close is in the outgoing slot, or was sent.
    sent_close: bool,
}

#[derive(Debug)]
enum Framing {
    Lines(LineDecoder),
    Length,
    JsonLines(LineDecoder),
}

impl Framed {
    pub(super) fn lines(transport: Transport, message_bytes_max: usize) -> Framed {
        Framed::new(transport, Framing::Lines(LineDecoder::new(message_bytes_max)), message_bytes_max)
    }

    pub(super) fn length(transport: Transport, message_bytes_max: usize) -> Framed {
        Framed::new(transport, Framing::Length, message_bytes_max)
    }

    pub(super) fn json_lines(transport: Transport, message_bytes_max: usize) -> Framed {
        let decoder = LineDecoder::new(jsonl::line_bytes_max(message_bytes_max));
        Framed::new(transport, Framing::JsonLines(decoder), message_bytes_max)
    }

    fn new(transport: Transport, framing: Framing, message_bytes_max: usize) -> Framed {
        Framed {
            transport,
            outgoing: Outgoing::default(),
            closed: None,
            control_is_visible: false,
            framing,
            input: Vec::new(),
            at: 0,
            message_bytes_max,
            ended: false,
            sent_close: false,
        }
    }

    pub(super) fn poll_recv(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match self.decode() {
                Ok(None) => {}
                Ok(Some(item)) => match self.visible(item) {
                    None => continue,
                    message => return Poll::Ready(Ok(message)),
                },
                Err(what) => {
                    self.ended = true;
                    return Poll::Ready(Err(Error::new(ErrorKind::EndedEarly, name, what)));
                }
            }
            match ready!(poll_fill(&mut self.transport, &mut self.input, cx)) {
                Ok(0) => {
                    self.ended = true;
                    let last = self.last().map_err(|what| Error::new(ErrorKind::EndedEarly, name, what));
                    return Poll::Ready(last.map(|item| item.and_then(|item| self.visible(item))));
                }
                Ok(_) => {}
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Err(Error::system(name, "the connection broke", error)));
                }
            }
        }
    }

    /// What is received of an item: a close is the end, and a ping or pong is seen only when that was asked for.
    fn visible(&mut self, item: Item) -> Option<Message> {
        match item {
            Item::Message(message) => {
                let is_control = matches!(message.kind, MessageKind::Ping | MessageKind::Pong);
                (!is_control || self.control_is_visible).then_some(message)
            }
            Item::Close(close) => {
                self.closed = Some(close);
                self.ended = true;
                None
            }
        }
    }

    /// The next item in the input; `None`: more is needed, and what is left begins at 0.
    fn decode(&mut self) -> std::result::Result<Option<Item>, String> {
        let bytes_max = self.message_bytes_max;
        match &mut self.framing {
            Framing::Lines(decoder) => match decoder.decode(&self.input, &mut self.at) {
                Ok(Some(line)) => return Ok(Some(Item::Message(Message::binary(line)))),
                Ok(None) => {}
                Err(_) => {
                    return Err(format!(
                        "a line of more than {bytes_max} bytes: message-max=SIZE allows more"
                    ));
                }
            },
            Framing::JsonLines(decoder) => match decoder.decode(&self.input, &mut self.at) {
                Ok(Some(line)) => return read_line(line, bytes_max).map(Some),
                Ok(None) => {}
                Err(_) => return Err(too_large(bytes_max)),
            },
            Framing::Length => {
                let rest = &self.input[self.at..];
                if let Some((length, rest)) = rest.split_first_chunk() {
                    let length = u32::from_be_bytes(*length) as usize;
                    if length > bytes_max {
                        return Err(format!(
                            "a message of {length} bytes where {bytes_max} are allowed: message-max=SIZE allows more"
                        ));
                    }
                    if let Some(message) = rest.get(..length) {
                        self.at += 4 + length;
                        return Ok(Some(Item::Message(Message::binary(message))));
                    }
                }
            }
        }
        self.input.drain(..self.at);
        self.at = 0;
        Ok(None)
    }

    /// What the end of the stream leaves.
    fn last(&mut self) -> std::result::Result<Option<Item>, String> {
        match &mut self.framing {
            // The last line needs no line end.
            Framing::Lines(decoder) => Ok(decoder.finish().map(|line| Item::Message(Message::binary(line)))),
            Framing::JsonLines(decoder) => match decoder.finish() {
                Some(line) => read_line(&line, self.message_bytes_max).map(Some),
                None => Ok(None),
            },
            Framing::Length if self.input.is_empty() => Ok(None),
            Framing::Length => {
                Err(format!("the stream ended inside a message, {} bytes into it", self.input.len()))
            }
        }
    }

    pub(super) fn start_send(&mut self, name: &str, message: Message) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Usage, name, what));
        let is_control = matches!(message.kind, MessageKind::Ping | MessageKind::Pong);
        match self.framing {
            Framing::JsonLines(_) => {
                if self.sent_close {
                    let what = "the close was sent before this message";
                    return Err(Error::new(ErrorKind::EndedEarly, name, what));
                }
                if message.kind == MessageKind::Text && message.as_text().is_none() {
                    return refuse("a text message that is not UTF-8: send it as binary".into());
                }
                let mut line = Vec::with_capacity(message.bytes.len() / 3 * 4 + 64);
                jsonl::write_message(&message, &mut line);
                self.outgoing.put(line, |_| {});
            }
            Framing::Lines(_) | Framing::Length if is_control => {
                return refuse("a ping or pong has no place on this stream: jsonl+ carries them".into());
            }
            Framing::Lines(_) => {
                let mut bytes = message.bytes;
                if bytes.contains(&b'\n') {
                    return refuse(
                        "a message with a line break does not fit on a line: len+ carries any".into(),
                    );
                }
                bytes.push(b'\n');
                self.outgoing.put(bytes, |_| {});
            }
            Framing::Length => {
                let bytes = message.bytes;
                let Ok(length) = u32::try_from(bytes.len()) else {
                    return refuse(format!("a message of {} bytes, where 4 GiB are the most", bytes.len()));
                };
                self.outgoing.put(bytes, |head| head.extend_from_slice(&length.to_be_bytes()));
            }
        }
        Ok(())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(&mut self.transport, cx)
    }
    /// Ends the sending direction, behind what was sent; a close is told first where the framing can.
    pub(super) fn poll_finish(&mut self, close: &Close, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.framing, Framing::JsonLines(_)) && !self.sent_close {
            ready!(self.poll_flush(cx))?;
            let code = close.code.filter(|code| sockeye_wire::websocket::is_close_code(*code));
            let mut line = Vec::new();
            jsonl::write_close(&Close { code, reason: close.reason.clone() }, &mut line);
            self.outgoing.put(line, |_| {});
            self.sent_close = true;
        }
        match ready!(self.poll_flush(cx)) {
            // The peer has closed it and gone, and the close is all that it did not hear.
            Err(error) if self.closed.is_some() && is_reset(&error) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Pin::new(&mut self.transport).poll_shutdown(cx),
        }
    }
}

fn read_line(line: &[u8], bytes_max: usize) -> std::result::Result<Item, String> {
    match jsonl::read(line)? {
        Item::Message(message) if message.bytes.len() > bytes_max => Err(too_large(bytes_max)),
        item => Ok(item),
    }
}

fn too_large(bytes_max: usize) -> String {
    format!("a message of more than {bytes_max} bytes: message-max=SIZE allows more")
}
