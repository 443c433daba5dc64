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
                // It would be taken for a part of the line's end.
                if bytes.ends_with(b"\r") {
                    return refuse(
                        "a message that ends with a carriage return does not fit on a line: len+ carries any"
                            .into(),
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream as StdStream;

    use proptest::prelude::*;
    use tokio::net::UnixStream;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    type Make = fn(Transport, usize) -> Framed;

    const ALL: [Make; 3] = [Framed::lines, Framed::length, Framed::json_lines];
    const BYTES_MAX: usize = 1_000;

    proptest! {
        #[test]
        fn any_bytes_in_any_cuts_decode_the_same_and_within_the_bound(
            stream in prop::collection::vec(morsel(), 0..12).prop_map(|morsels| morsels.concat()),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            bytes_max in 0..40_usize,
        ) {
            let runtime = runtime();
            let _inside = runtime.enter();
            for make in ALL {
                let whole = decode(make, bytes_max, &[&stream]);

                let in_pieces = decode(make, bytes_max, &cut(&stream, &cuts));

                prop_assert_eq!(&in_pieces, &whole);
                for item in whole.0 {
                    prop_assert!(!matches!(item, Item::Message(message) if message.bytes.len() > bytes_max));
                }
            }
        }

        #[test]
        fn what_is_sent_is_decoded_the_same_in_any_cuts_or_refused(
            messages in prop::collection::vec(message(), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let runtime = runtime();
            let _inside = runtime.enter();
            for make in ALL {
                let (ours, mut theirs) = StdStream::pair().expect("a pair");
                let mut sender = make(transport(ours), BYTES_MAX);
                let mut expected = Vec::new();
                for message in &messages {
                    match sender.start_send("test", message.clone()) {
                        Ok(()) => expected.push(Item::Message(received(&sender, message))),
                        Err(error) => {
                            prop_assert_eq!(error.kind(), ErrorKind::Usage);
                            prop_assert!(may_be_refused(&sender, message), "{error}");
                        }
                    }
                    runtime.block_on(poll_fn(|cx| sender.poll_flush(cx))).expect("room");
                }
                let close = Close::new(4_000, "that was all");
                runtime.block_on(poll_fn(|cx| sender.poll_finish(&close, cx))).expect("room");
                if matches!(sender.framing, Framing::JsonLines(_)) {
                    expected.push(Item::Close(close));
                }
                let mut stream = Vec::new();
                theirs.read_to_end(&mut stream).expect("its end");

                let decoded = decode(make, BYTES_MAX, &cut(&stream, &cuts));

                prop_assert_eq!(decoded, (expected, None));
            }
        }
    }

    /// Pieces of streams, good and bad, of which the framings make something.
    fn morsel() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(prop::sample::select(&b"a\r\n\0\x01\x05"[..]), 0..60),
            prop::collection::vec(any::<u8>(), 0..50)
                .prop_map(|bytes| { [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat() }),
            message().prop_map(|message| {
                let mut line = Vec::new();
                jsonl::write_message(&message, &mut line);
                line
            }),
            Just(b"{\"kind\":\"close\",\"code\":4000}\r\n".to_vec()),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            "[a\r\n\"é]{0,20}".prop_map(Message::text),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Message::binary),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Message::ping),
        ]
    }

    /// How a message arrives: only JSON lines tell the kind.
    fn received(sender: &Framed, message: &Message) -> Message {
        match sender.framing {
            Framing::JsonLines(_) => message.clone(),
            Framing::Lines(_) | Framing::Length => Message::binary(message.bytes.clone()),
        }
    }

    fn may_be_refused(sender: &Framed, message: &Message) -> bool {
        let is_line = !message.bytes.contains(&b'\n') && !message.bytes.ends_with(b"\r");
        match sender.framing {
            Framing::Lines(_) => message.kind == MessageKind::Ping || !is_line,
            Framing::Length => message.kind == MessageKind::Ping,
            Framing::JsonLines(_) => false,
        }
    }

    /// Everything in the pieces, up to the first mistake; what is held between them is checked.
    fn decode(make: Make, bytes_max: usize, pieces: &[&[u8]]) -> (Vec<Item>, Option<String>) {
        let (ours, _theirs) = StdStream::pair().expect("a pair");
        let mut framed = make(transport(ours), bytes_max);
        let mut items = Vec::new();
        for piece in pieces {
            framed.input.extend_from_slice(piece);
            loop {
                match framed.decode() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(why) => return (items, Some(why)),
                }
            }
            let held = framed.input.len();
            let held_max = if matches!(framed.framing, Framing::Length) { 3 + bytes_max.max(1) } else { 0 };
            assert!(held <= held_max, "{held} bytes are held");
        }
        match framed.last() {
            Ok(last) => items.extend(last),
            Err(why) => return (items, Some(why)),
        }
        (items, None)
    }

    fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_io().build().expect("a runtime")
    }

    /// To be called inside a runtime.
    fn transport(stream: StdStream) -> Transport {
        stream.set_nonblocking(true).expect("a socket can be");
        Transport::Unix(UnixStream::from_std(stream).expect("a runtime"))
    }
}
