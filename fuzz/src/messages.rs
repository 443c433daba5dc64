//! Messages on a stream, by each framing: the same ones however the stream is cut, none larger than allowed, and what a
//! framing writes whole it reads back.

use sockeye::net::MessageKind;
use sockeye::tool::{Deframer, Frame, Item, Kept, write_framed};

use super::Stream;

/// Reads a stream by every framing.
pub fn message_frame(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };
    for frame in [Frame::Raw, Frame::Lines, Frame::Nul, Frame::Len32, Frame::Jsonl] {
        for kind in [None, Some(MessageKind::Text), Some(MessageKind::Binary)] {
            let whole = read(frame, kind, &stream.whole());

            assert_eq!(whole, read(frame, kind, &stream.cut()), "{frame:?} {kind:?}");
            for item in &whole.items {
                let Item::Message(message) = item else { continue };
                assert!(message.bytes.len() <= MESSAGE_BYTES_MAX);
                let mut again = Vec::new();
                if write_framed(frame, message, &mut again) == Ok(Kept::Whole) && frame != Frame::Raw {
                    let again = read(frame, Some(message.kind), &[&again]);
                    assert_eq!((&again.items[..], again.is_broken), (std::slice::from_ref(item), false));
                }
            }
        }
    }
}

#[derive(Debug, PartialEq)]
struct Read {
    items: Vec<Item>,
    is_broken: bool,
}

fn read(frame: Frame, kind: Option<MessageKind>, pieces: &[&[u8]]) -> Read {
    let mut deframer = Deframer::new(frame, kind, MESSAGE_BYTES_MAX);
    let mut is_broken = pieces.iter().any(|piece| deframer.push(piece).is_err());
    // As the commands do: what came before a mistake is taken before it is told.
    let mut items: Vec<Item> = std::iter::from_fn(|| deframer.pop()).collect();
    if !is_broken {
        is_broken = deframer.finish().is_err();
        items.extend(std::iter::from_fn(|| deframer.pop()));
    }
    Read { items, is_broken }
}

/// Small, so that short inputs reach it.
const MESSAGE_BYTES_MAX: usize = 64;
