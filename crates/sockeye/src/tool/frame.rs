//! Messages on a stream without messages, such as standard input and output: where one ends, and what it is.
//!
//! Nothing is split or joined silently: what a framing cannot carry is refused, and lines that hold more than one line are
//! told of. Deliberately absent: guessing, and JSON lines themselves, which are `net::jsonl`.

use std::collections::VecDeque;
use std::str::FromStr;

pub use crate::net::jsonl::Item;
use crate::net::{Close, Message, MessageKind, jsonl};

/// How messages stand on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes as they are: the whole input is one message, and messages are written one behind the other.
    Raw,
    /// Each line is a message.
    Lines,
    /// Each message ends with a NUL.
    Nul,
    /// Each message has its length before it: four bytes, the most significant first.
    Len32,
    /// Each line is a JSON object with kind and data; loses nothing: text, binary, ping, pong, close.
    Jsonl,
}

impl Frame {
    /// Every framing.
    pub const ALL: [Frame; 5] = [Frame::Raw, Frame::Lines, Frame::Nul, Frame::Len32, Frame::Jsonl];

    /// Its name in flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Frame::Raw => "raw",
            Frame::Lines => "lines",
            Frame::Nul => "nul",
            Frame::Len32 => "len32",
            Frame::Jsonl => "jsonl",
        }
    }
}

impl FromStr for Frame {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Frame::ALL.into_iter().find(|frame| frame.as_str() == text);
        found.ok_or_else(|| {
            let names = Frame::ALL.map(Frame::as_str).join(", ");
            format!("{text:?} is not a framing: write one of {names}")
        })
    }
}

/// Finds the messages in a stream.
#[derive(Debug)]
pub struct Deframer {
    frame: Frame,
    kind: Option<MessageKind>,
    held: Vec<u8>,
    /// How much of `held` was searched for an end.
    searched: usize,
    message_bytes_max: usize,
    found: VecDeque<Item>,
}

impl Deframer {
    /// Begins. Messages are of the kind given, or else text if they are UTF-8 and binary if not; a message of more than so
    /// many bytes is an error.
    pub fn new(frame: Frame, kind: Option<MessageKind>, message_bytes_max: usize) -> Deframer {
        Deframer { frame, kind, held: Vec::new(), searched: 0, message_bytes_max, found: VecDeque::new() }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        let outcome = self.find_all(&mut at);
        // What was found before a mistake is there to be taken; the mistake stays.
        self.held.drain(..at);
        self.searched = if outcome.is_ok() { self.held.len() } else { 0 };
        outcome?;
        if self.held.len() > self.held_bytes_max() {
            return Err(self.too_large(self.held.len()));
        }
        Ok(())
    }

    /// What is kept of a message that is not whole yet. A whole one is no longer either, so that it does not matter in what
    /// pieces it came.
    fn held_bytes_max(&self) -> usize {
        match self.frame {
            Frame::Jsonl => jsonl::line_bytes_max(self.message_bytes_max),
            // The length before it, or the end of a line behind it.
            _ => self.message_bytes_max.saturating_add(4),
        }
    }

    fn find_all(&mut self, at: &mut usize) -> Result<(), String> {
        while let Some((start, end, next)) = self.find(*at)? {
            let item = self.item(self.held[start..end].to_vec())?;
            self.found.push_back(item);
            *at = next;
            self.searched = next;
        }
        Ok(())
    }

    /// The next message that was found.
    pub fn pop(&mut self) -> Option<Item> {
        self.found.pop_front()
    }

    /// Takes the end of the stream: what is left is the last message, where the framing allows that.
    ///
    /// # Errors
    /// When the stream ended inside a message.
    pub fn finish(&mut self) -> Result<(), String> {
        let rest = std::mem::take(&mut self.held);
        match self.frame {
            _ if rest.is_empty() => {}
            Frame::Len32 => {
                return Err(format!("the input ended inside a message, {} bytes into it", rest.len()));
            }
            _ => {
                let item = self.item(rest)?;
                self.found.push_back(item);
            }
        }
        Ok(())
    }

    /// The next whole message behind `at`: where it begins, where it ends, and where the next one begins.
    fn find(&self, at: usize) -> Result<Option<(usize, usize, usize)>, String> {
        let end_byte = match self.frame {
            Frame::Raw => return Ok(None),
            Frame::Len32 => {
                let rest = &self.held[at..];
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u32::from_be_bytes(*length) as usize;
                if length > self.message_bytes_max {
                    return Err(self.too_large(length));
                }
                return Ok((rest.len() >= length).then_some((at + 4, at + 4 + length, at + 4 + length)));
            }
            Frame::Lines | Frame::Jsonl => b'\n',
            Frame::Nul => 0,
        };
        let from = self.searched.max(at);
        let found = self.held[from..].iter().position(|byte| *byte == end_byte);
        Ok(found.map(|place| {
            let next = from + place + 1;
            let has_return = self.frame != Frame::Nul && self.held[at..next - 1].ends_with(b"\r");
            (at, next - 1 - usize::from(has_return), next)
        }))
    }

    fn item(&self, bytes: Vec<u8>) -> Result<Item, String> {
        if self.frame == Frame::Jsonl {
            if bytes.len() > self.held_bytes_max() {
                return Err(self.too_large(bytes.len()));
            }
            return match jsonl::read(&bytes)? {
                Item::Message(message) if message.bytes.len() > self.message_bytes_max => {
                    Err(self.too_large(message.bytes.len()))
                }
                item => Ok(item),
            };
        }
        if bytes.len() > self.message_bytes_max {
            return Err(self.too_large(bytes.len()));
        }
        let kind = match self.kind {
            Some(MessageKind::Text) if str::from_utf8(&bytes).is_err() => {
                return Err("a message is not UTF-8, so it is no text: --binary sends it".into());
            }
            Some(kind) => kind,
            None if str::from_utf8(&bytes).is_ok() => MessageKind::Text,
            None => MessageKind::Binary,
        };
        Ok(Item::Message(Message { kind, bytes }))
    }

    fn too_large(&self, bytes: usize) -> String {
        format!("a message of at least {bytes} bytes, where {} are the most", self.message_bytes_max)
    }
}

/// What writing a message with a framing may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It can be read back as it was.
    Whole,
    /// It holds line breaks, so who reads lines reads something else.
    Lines,
}

/// Appends a message to a stream.
///
/// # Errors
/// When the framing cannot carry it.
pub fn write(frame: Frame, message: &Message, out: &mut Vec<u8>) -> Result<Kept, String> {
    let bytes = &message.bytes;
    match frame {
        Frame::Raw => out.extend_from_slice(bytes),
        Frame::Lines => {
            out.extend_from_slice(bytes);
            out.push(b'\n');
            // A return before the end of a line is taken for a part of it.
            if bytes.contains(&b'\n') || bytes.ends_with(b"\r") {
                return Ok(Kept::Lines);
            }
        }
        Frame::Nul if bytes.contains(&0) => {
            return Err(
                "a message with a NUL does not fit --frame nul: --frame jsonl or len32 carries any".into()
            );
        }
        Frame::Nul => {
            out.extend_from_slice(bytes);
            out.push(0);
        }
        Frame::Len32 => {
            let length = u32::try_from(bytes.len()).map_err(|_| "a message of more than 4 GiB".to_owned())?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Frame::Jsonl => jsonl::write_message(message, out),
    }
    Ok(Kept::Whole)
}

/// Appends an end with its code and reason, where the framing can tell it.
pub(super) fn write_close(frame: Frame, close: &Close, out: &mut Vec<u8>) {
    if frame == Frame::Jsonl {
        jsonl::write_close(close, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            ".{0,40}".prop_map(Message::text),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Message::binary),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Message::ping),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(messages in prop::collection::vec(message(), 0..6), cut in 1..40_usize) {
            for frame in [Frame::Jsonl, Frame::Len32] {
                let mut stream = Vec::new();
                for message in &messages {
                    prop_assert_eq!(write(frame, message, &mut stream), Ok(Kept::Whole));
                }
                let mut deframer = Deframer::new(frame, Some(MessageKind::Binary), 1_000);
                let mut read = Vec::new();
                for piece in stream.chunks(cut) {
                    prop_assert!(deframer.push(piece).is_ok());
                    while let Some(Item::Message(message)) = deframer.pop() {
                        read.push(message);
                    }
                }
                prop_assert!(deframer.finish().is_ok() && deframer.pop().is_none());
                // Without an envelope there are only bytes.
                let expected: Vec<Message> = match frame {
                    Frame::Jsonl => messages.clone(),
                    _ => messages.iter().map(|message| Message::binary(message.bytes.clone())).collect(),
                };
                prop_assert_eq!(read, expected);
            }
        }
    }

    #[test]
    fn lines_and_nuls_end_messages_and_the_last_needs_no_end() {
        for (frame, input, expected) in [
            (Frame::Lines, &b"a\r\n\nb"[..], vec!["a", "", "b"]),
            (Frame::Nul, b"a\nb\0\0c\0", vec!["a\nb", "", "c"]),
            (Frame::Raw, b"a\nb\0", vec!["a\nb\0"]),
        ] {
            let mut deframer = Deframer::new(frame, None, 100);
            for byte in input {
                deframer.push(&[*byte]).expect("small");
            }
            deframer.finish().expect("a last message");

            let read: Vec<Item> = std::iter::from_fn(|| deframer.pop()).collect();

            assert_eq!(
                read,
                expected.into_iter().map(|text| Item::Message(Message::text(text))).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_cut() {
        let mut out = Vec::new();
        assert!(write(Frame::Nul, &Message::binary(b"a\0b"), &mut out).is_err());
        assert_eq!(write(Frame::Lines, &Message::text("a\nb"), &mut out), Ok(Kept::Lines));
        for (frame, input, said) in [
            (Frame::Lines, &b"0123456789ab\n"[..], "10 are the most"),
            (Frame::Lines, b"0123456789abcdef", "10 are the most"),
            (Frame::Len32, b"\0\0\0\x0b", "10 are the most"),
            (Frame::Jsonl, b"{}\n", "kind is"),
            (Frame::Jsonl, b"x\n", "write {"),
        ] {
            let error = Deframer::new(frame, None, 10).push(input).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
        let mut cut = Deframer::new(Frame::Len32, None, 10);
        cut.push(b"\0\0\0\x05ab").expect("so far");
        assert!(cut.finish().is_err());
        assert!(Deframer::new(Frame::Lines, Some(MessageKind::Text), 10).push(b"\xff\n").is_err());
    }

    #[test]
    fn what_came_before_a_mistake_is_there_once() {
        let mut deframer = Deframer::new(Frame::Jsonl, None, 100);

        assert!(deframer.push(b"{\"kind\":\"text\",\"data\":\"a\"}\nx\n").is_err());

        assert_eq!(deframer.pop(), Some(Item::Message(Message::text("a"))));
        assert!(deframer.push(b"").is_err() && deframer.pop().is_none(), "the mistake stays");
    }

    #[test]
    fn an_end_is_told_with_code_and_reason() {
        let mut out = Vec::new();
        write_close(Frame::Jsonl, &Close::new(4000, "a \"b\""), &mut out);
        let mut deframer = Deframer::new(Frame::Jsonl, None, 100);
        deframer.push(&out).expect("an object");

        assert_eq!(deframer.pop(), Some(Item::Close(Close::new(4000, "a \"b\""))));
        for refused in ["{\"kind\":\"close\",\"code\":1005}\n", "{\"kind\":\"close\",\"code\":\"x\"}\n"] {
            assert!(deframer.push(refused.as_bytes()).is_err());
        }
    }
}
