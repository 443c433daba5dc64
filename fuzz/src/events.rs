//! Event streams: the same events however the stream is cut, and an event written is read.

use sockeye_wire::http::{Event, EventDecoder, EventError, write_comment, write_event};

use super::Stream;

/// Reads an event stream.
pub fn event_stream(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    let heard = read(EVENT_BYTES_MAX, &stream.whole());

    assert_eq!(heard, read(EVENT_BYTES_MAX, &stream.cut()));
    for event in heard.0 {
        let mut text = Vec::new();
        write_comment(&mut text, &event.data);
        write_event(&mut text, Some(&event.id), event.data.as_bytes());
        // A replaced byte takes three, so what was read may be larger than what was sent.
        let again = read(4 * EVENT_BYTES_MAX, &[&text]);
        assert_eq!(again, (vec![Event { kind: "message".to_owned(), ..event }], None));
    }
}

fn read(event_bytes_max: usize, pieces: &[&[u8]]) -> (Vec<Event>, Option<EventError>) {
    let mut decoder = EventDecoder::new(event_bytes_max);
    let mut events = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            match decoder.decode(piece, &mut at) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert_eq!(at, piece.len());
    }
    (events, None)
}

/// Small, so that short inputs reach it.
const EVENT_BYTES_MAX: usize = 60;
