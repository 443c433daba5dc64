//! Messages on a stream without messages of its own: lines, or a length before each.

use std::io;
use std::task::{Context, Poll, ready};

use sockeye_wire::line::LineDecoder;

use super::message::{Message, MessageKind};
use super::outgoing::Outgoing;
use super::transport::Transport;
use super::websocket::poll_fill;
use super::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Framed {
    pub(super) transport: Transport,
    pub(super) outgoing: Outgoing,
    framing: Framing,
    input: Vec<u8>,
    at: usize,
    message_bytes_max: usize,
    ended: bool,
}

#[derive(Debug)]
enum Framing {
    Lines(LineDecoder),
    Length,
}

impl Framed {
    pub(super) fn lines(transport: Transport, message_bytes_max: usize) -> Framed {
        Framed::new(transport, Framing::Lines(LineDecoder::new(message_bytes_max)), message_bytes_max)
    }

    pub(super) fn length(transport: Transport, message_bytes_max: usize) -> Framed {
        Framed::new(transport, Framing::Length, message_bytes_max)
    }

    fn new(transport: Transport, framing: Framing, message_bytes_max: usize) -> Framed {
        let (outgoing, input) = (Outgoing::default(), Vec::new());
        Framed { transport, outgoing, framing, input, at: 0, message_bytes_max, ended: false }
    }

    pub(super) fn poll_recv(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match self.decode() {
                Ok(None) => {}
                Ok(message) => return Poll::Ready(Ok(message)),
                Err(what) => {
                    self.ended = true;
                    return Poll::Ready(Err(Error::new(ErrorKind::EndedEarly, name, what)));
                }
            }
            match ready!(poll_fill(&mut self.transport, &mut self.input, cx)) {
                Ok(0) => {
                    self.ended = true;
                    return Poll::Ready(self.last(name));
                }
                Ok(_) => {}
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Err(Error::system(name, "the connection broke", error)));
                }
            }
        }
    }

    /// The next message in the input; `None`: more is needed, and what is left begins at 0.
    fn decode(&mut self) -> std::result::Result<Option<Message>, String> {
        let bytes_max = self.message_bytes_max;
        match &mut self.framing {
            Framing::Lines(decoder) => match decoder.decode(&self.input, &mut self.at) {
                Ok(Some(line)) => return Ok(Some(Message::binary(line))),
                Ok(None) => {}
                Err(_) => {
                    return Err(format!(
                        "a line of more than {bytes_max} bytes: message-max=SIZE allows more"
                    ));
                }
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
                        return Ok(Some(Message::binary(message)));
                    }
                }
            }
        }
        self.input.drain(..self.at);
        self.at = 0;
        Ok(None)
    }

    /// What the end of the stream leaves.
    fn last(&mut self, name: &str) -> Result<Option<Message>> {
        match &mut self.framing {
            // The last line needs no line end.
            Framing::Lines(decoder) => Ok(decoder.finish().map(Message::binary)),
            Framing::Length if self.input.is_empty() => Ok(None),
            Framing::Length => {
                let what = format!("the stream ended inside a message, {} bytes into it", self.input.len());
                Err(Error::new(ErrorKind::EndedEarly, name, what))
            }
        }
    }

    pub(super) fn start_send(&mut self, name: &str, message: Message) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Usage, name, what));
        if matches!(message.kind, MessageKind::Ping | MessageKind::Pong) {
            return refuse("a ping or pong has no place on this stream".into());
        }
        let mut bytes = message.bytes;
        match self.framing {
            Framing::Lines(_) => {
                if bytes.contains(&b'\n') {
                    return refuse(
                        "a message with a line break does not fit on a line: len+ carries any".into(),
                    );
                }
                bytes.push(b'\n');
                self.outgoing.put(bytes, |_| {});
            }
            Framing::Length => {
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
}
