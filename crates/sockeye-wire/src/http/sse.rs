//! Event streams: writing them for the server, reading them for a client (WHATWG HTML, 9.2, server-sent events).
//!
//! Reconnecting is absent: it needs a clock and a socket. Comments are read and forgotten, as the standard says.

use memchr::{memchr, memchr2, memchr3};

use crate::json::write_integer;

/// Appends one event. Data of several lines becomes several `data:` lines, which the reader joins with LF.
///
/// An id that holds a line end or NUL could not be read back and is left out.
pub fn write_event(out: &mut Vec<u8>, id: Option<&str>, data: &[u8]) {
    out.reserve(data.len() + id.map_or(0, str::len) + EVENT_BYTES);
    if let Some(id) = id.filter(|id| memchr3(b'\n', b'\r', 0, id.as_bytes()).is_none()) {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    write_lines(out, b"data: ", data);
    out.push(b'\n');
}

/// Appends a comment, which keeps a connection alive and is heard by nobody.
pub fn write_comment(out: &mut Vec<u8>, text: &str) {
    write_lines(out, b": ", text.as_bytes());
    out.push(b'\n');
}

/// Appends how long a client waits before it connects again.
pub fn write_retry(out: &mut Vec<u8>, wait_ms: u64) {
    out.extend_from_slice(b"retry: ");
    write_integer(out, wait_ms);
    out.extend_from_slice(b"\n\n");
}

fn write_lines(out: &mut Vec<u8>, field: &[u8], text: &[u8]) {
    let mut rest = text;
    loop {
        let end = memchr2(b'\n', b'\r', rest);
        out.extend_from_slice(field);
        out.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        let Some(end) = end else { return };
        let line_end = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + line_end..];
    }
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The type: `message` unless the stream says otherwise.
    pub kind: String,
    /// The id that was last seen in the stream, which resumes it; perhaps of an earlier event.
    pub id: String,
    /// The data, its lines joined with LF.
    pub data: String,
}

/// Why an event stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A line, or all the data of an event, is over the decoder's maximum.
    #[error("an event is too long")]
    TooLong,
}

/// Reads an event stream, however it is cut.
#[derive(Debug)]
pub struct EventDecoder {
    event_bytes_max: usize,
    /// The line that the input cut.
    line: Vec<u8>,
    /// The data of the event so far, with an LF behind each line.
    data: Vec<u8>,
    kind: Vec<u8>,
    id: Vec<u8>,
    retry_ms: Option<u64>,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_carriage_return: bool,
    /// No line has ended yet, so a byte order mark may begin it.
    at_start: bool,
    failed: bool,
}

impl EventDecoder {
    /// Creates a decoder for events of at most `event_bytes_max` bytes; it holds at most a few times as much.
    #[must_use]
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            line: Vec::new(),
            data: Vec::new(),
            kind: Vec::new(),
            id: Vec::new(),
            retry_ms: None,
            after_carriage_return: false,
            at_start: true,
            failed: false,
        }
    }

    /// Gives the next event of `input[*at..]`, and moves `at` past it; `Ok(None)` if all was taken.
    ///
    /// What is not UTF-8 becomes U+FFFD. An event that the end of the stream cuts off is dropped with the decoder.
    ///
    /// # Errors
    ///
    /// [`EventError::TooLong`]; nothing is decoded after it.
    pub fn decode(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, EventError> {
        loop {
            if self.failed {
                return Err(EventError::TooLong);
            }
            let rest = input.get(*at..).unwrap_or_default();
            if self.after_carriage_return && !rest.is_empty() {
                self.after_carriage_return = false;
                if rest[0] == b'\n' {
                    *at += 1;
                    continue;
                }
            }
            let end = memchr2(b'\n', b'\r', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + piece.len() > self.event_bytes_max {
                self.failed = true;
                continue;
            }
            self.line.extend_from_slice(piece);
            *at += piece.len();
            let Some(end) = end else { return Ok(None) };
            *at += 1;
            self.after_carriage_return = rest[end] == b'\r';

            let line = std::mem::take(&mut self.line);
            let event = self.take_line(&line)?;
            self.line = line;
            self.line.clear();
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The wait before connecting again that the stream asked for last.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The id to resume the stream from (`Last-Event-ID`); empty if there is none.
    #[must_use]
    pub fn last_event_id(&self) -> String {
        lossy(&self.id)
    }

    fn take_line(&mut self, mut line: &[u8]) -> Result<Option<Event>, EventError> {
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() > self.event_bytes_max {
                    self.failed = true;
                    return Err(EventError::TooLong);
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => value.clone_into(&mut self.kind),
            // An id with NUL is ignored.
            b"id" if memchr(0, value).is_none() => value.clone_into(&mut self.id),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry_ms =
                    str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).or(self.retry_ms);
            }
            // Comments have an empty name; unknown fields are ignored as well.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        // Each line of data left an LF behind it, so no LF means no data at all, and no event.
        data.pop()?;
        let kind = if kind.is_empty() { "message".to_owned() } else { lossy(&kind) };
        Some(Event { kind, id: lossy(&self.id), data: lossy(&data) })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The field names and line ends of an event of one line.
const EVENT_BYTES: usize = b"id: \ndata: \n\n".len();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_has_the_form_of_the_standard() {
        let written = |id, data: &[u8]| {
            let mut out = Vec::new();
            write_event(&mut out, id, data);
            String::from_utf8(out).unwrap()
        };

        assert_eq!(written(Some("k3f:1"), b"{}"), "id: k3f:1\ndata: {}\n\n");
        assert_eq!(written(None, b"a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
        assert_eq!(written(None, b""), "data: \n\n");
        assert_eq!(written(Some("a\nb"), b"x"), "data: x\n\n");
    }

    #[test]
    fn a_comment_and_a_wait_are_no_events() {
        let mut out = Vec::new();

        write_comment(&mut out, "still\nhere");
        write_retry(&mut out, 1_500);

        assert_eq!(out, b": still\n: here\n\nretry: 1500\n\n");
        let mut decoder = EventDecoder::new(100);
        assert_eq!(decoder.decode(&out, &mut 0), Ok(None));
        assert_eq!(decoder.retry_ms(), Some(1_500));
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        type Expected<'a> = &'a [(&'a str, &'a str, &'a str)];
        let cases: &[(&str, Expected<'_>)] = &[
            ("data: YHOO\ndata: +2\ndata: 10\n\n", &[("message", "", "YHOO\n+2\n10")]),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                &[
                    ("message", "1", "first event"),
                    ("message", "", "second event"),
                    ("message", "", " third event"),
                ],
            ),
            ("data\n\ndata\ndata\n\ndata:", &[("message", "", ""), ("message", "", "\n")]),
            ("data:test\n\ndata: test\n\n", &[("message", "", "test"), ("message", "", "test")]),
            ("\u{feff}data: a\r\rdata: b\r\n\r\n", &[("message", "", "a"), ("message", "", "b")]),
            ("event: add\ndata: 7\n\nevent: add\n\ndata: 8\n\n", &[("add", "", "7"), ("message", "", "8")]),
            ("id: 3\n\ndata: a\n\nid: a\0b\ndata: b\n\n", &[("message", "3", "a"), ("message", "3", "b")]),
            ("Data: x\nfield: y\n data: z\n\n", &[]),
            ("data: \u{feff}a\n\n", &[("message", "", "\u{feff}a")]),
        ];

        for (text, expected) in cases {
            let events = decode_all(&[text.as_bytes()], 100).unwrap();

            let events: Vec<_> =
                events.iter().map(|event| (&*event.kind, &*event.id, &*event.data)).collect();
            assert_eq!(events, *expected, "{text:?}");
        }
    }

    #[test]
    fn a_wait_that_is_no_number_is_ignored() {
        let mut decoder = EventDecoder::new(100);

        decoder.decode(b"retry: 20\nretry: 1x\nretry:\nretry: 99999999999999999999999\n", &mut 0).unwrap();

        assert_eq!(decoder.retry_ms(), Some(20));
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        let events = decode_all(&[b"data: a\xFFb\n\n"], 100).unwrap();

        assert_eq!(events[0].data, "a\u{fffd}b");
    }

    #[test]
    fn an_event_over_the_maximum_ends_the_stream() {
        assert!(decode_all(&[b"data: 123456789\n\n"], 15).is_ok());
        assert_eq!(decode_all(&[b"data: 1234567890\n\n"], 15), Err(EventError::TooLong));
        assert_eq!(decode_all(&[b"data: 12345678", b"90"], 15), Err(EventError::TooLong));
        assert_eq!(decode_all(&["data: 12345\n".repeat(3).as_bytes()], 15), Err(EventError::TooLong));
        assert_eq!(decode_all(&["data\n".repeat(17).as_bytes()], 15), Err(EventError::TooLong));
    }

    proptest! {
        #[test]
        fn written_events_come_back_however_they_are_cut(
            events in proptest::collection::vec((proptest::option::of("[a-z0-9:]{1,8}"), "[a-z :\r\n\u{e9}]{0,20}"), 0..5),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut text = Vec::new();
            let mut last_id = String::new();
            let mut expected = Vec::new();
            for (id, data) in &events {
                write_event(&mut text, id.as_deref(), data.as_bytes());
                write_comment(&mut text, data);
                last_id = id.clone().unwrap_or(last_id);
                let data = data.replace("\r\n", "\n").replace('\r', "\n");
                expected.push(Event { kind: "message".to_owned(), id: last_id.clone(), data });
            }
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([text.len()]).collect();
            ends.sort_unstable();
            let mut start = 0;
            let pieces: Vec<_> =
                ends.into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]).collect();

            prop_assert_eq!(decode_all(&pieces, 1_000), Ok(expected));
        }

        #[test]
        fn cutting_changes_nothing(
            parts in proptest::collection::vec(
                prop::sample::select(&["data", ":", " ", "a", "\r", "\n", "\r\n", "id: 1", "event:x", "\n\n", "\u{feff}", "\0"][..]),
                0..30,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = parts.concat();
            let (left, right) = text.as_bytes().split_at(cut.index(text.len() + 1));

            prop_assert_eq!(decode_all(&[left, right], 12), decode_all(&[text.as_bytes()], 12));
        }
    }

    fn decode_all(pieces: &[&[u8]], event_bytes_max: usize) -> Result<Vec<Event>, EventError> {
        let mut decoder = EventDecoder::new(event_bytes_max);
        let mut events = Vec::new();
        for piece in pieces {
            let mut at = 0;
            while let Some(event) = decoder.decode(piece, &mut at)? {
                events.push(event);
            }
            assert_eq!(at, piece.len());
        }
        Ok(events)
    }
}
