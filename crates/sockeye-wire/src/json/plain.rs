//! The plain way through a text: what most clients write most of the time, without escapes, in one loop over bytes.
//!
//! It only ever says yes: `None` leaves the text to the scanner and the grammar, which know all of JSON and what is wrong
//! with it. What is absent here is therefore nothing that a client could miss.

use std::borrow::Cow;

use super::marks::Marks;
use super::request::{Id, Request, Verb};
use super::scan::{DEPTH_MAX, Value};
use super::string::{RawString, plain_run};
use super::{Kind, Payload, without_line_breaks};

/// Reads the most frequent request where it stands as most clients write it, in this order and without escapes or white
/// space around the fields: `{"pub":"CHANNEL","data":VALUE}`, or `{"pub":"CHANNEL","data":VALUE,"id":ID}` with a text,
/// an object or an array as the value. `None` says nothing about the text.
#[inline]
pub(super) fn plain_publish(text: &str) -> Option<Request<'_>> {
    let PlainPublish { channel, payload, id } = plain_fields(text)?;
    Some(Request { id, verb: Verb::Publish { channel: Cow::Borrowed(channel), payload, key: None } })
}

/// A message that is published as most are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPublish<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The message.
    pub payload: Payload<'a>,
    /// What the answer carries back; without one, only an error is answered.
    pub id: Option<Id<'a>>,
}

/// Reads one message that is published as most are: a text that [`parse_request`](super::parse_request) reads as the same.
/// `None` says nothing about the text.
#[inline]
#[must_use]
pub fn parse_plain_publish(text: &[u8]) -> Option<PlainPublish<'_>> {
    let text = simdutf8::basic::from_utf8(text).ok()?;
    plain_fields(text)
}

#[inline(always)]
fn plain_fields(text: &str) -> Option<PlainPublish<'_>> {
    const CHANNEL: &[u8] = b"{\"pub\":";
    const DATA: &[u8] = b",\"data\":";
    const ID: &[u8] = b",\"id\":";
    let bytes = text.as_bytes();
    if !bytes.starts_with(CHANNEL) || bytes.get(CHANNEL.len()) != Some(&b'"') {
        return None;
    }
    let marks = &mut Marks::new(bytes);
    take_name(marks);
    let channel_end = string(marks)?;
    if !bytes[channel_end..].starts_with(DATA) {
        return None;
    }
    take_name(marks);
    let start = channel_end + DATA.len();
    let (kind, data, mut end) = match bytes.get(start)? {
        b'"' => {
            let end = string(marks)?;
            (Kind::Text, Cow::Borrowed(&bytes[start + 1..end - 1]), end)
        }
        b'{' | b'[' => {
            let (end, has_white_space) = nested(*marks, start)?;
            let written = &bytes[start..end];
            let data = if has_white_space { without_line_breaks(written) } else { Cow::Borrowed(written) };
            (Kind::Json, data, end)
        }
        _ => return None,
    };
    let mut id = None;
    if bytes[end..].starts_with(ID) {
        let start = end + ID.len();
        let marks = &mut Marks::beyond(bytes, start);
        let value = match bytes.get(start)? {
            b'"' => {
                end = string(marks)?;
                Value::String(RawString { quoted: &text[start..end], escaped: false })
            }
            b'-' | b'0'..=b'9' => {
                end = plain_number(bytes, start)?;
                Value::Number(&text[start..end])
            }
            _ => return None,
        };
        id = Some(Id::new(value)?);
    }
    if bytes[end..] != *b"}" {
        return None;
    }
    let channel = &text[CHANNEL.len() + 1..channel_end - 1];
    Some(PlainPublish { channel, payload: Payload { kind, bytes: data }, id })
}

/// The deepest nesting that [`plain_nested`] follows, with what is outside it still within [`DEPTH_MAX`].
const PLAIN_DEPTH_MAX: u32 = 32;

const _: () = assert!((PLAIN_DEPTH_MAX as usize) < DEPTH_MAX);

/// [`nested`], for a text of which nothing is known.
pub(super) fn plain_nested(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let bytes = bytes.get(at..)?;
    nested(Marks::new(bytes), 0).map(|(end, has_white_space)| (at + end, has_white_space))
}

/// What a value may be that is neither a text nor a number, nor has others in it.
const WORDS: [&[u8]; 3] = [b"true", b"false", b"null"];

/// Where the object or array that begins at `at` ends, if it is as most are: well formed, with no escape, and not deep.
/// `None` says nothing about it. Says too whether there is white space in it. It is on the way of every message, so it
/// keeps everything in registers, the marks too: it is given its own. All those before `at` have been taken, here and
/// wherever it goes on.
#[inline]
fn nested(mut marks: Marks<'_>, mut at: usize) -> Option<(usize, bool)> {
    let (bytes, marks) = (marks.bytes(), &mut marks);
    // As in `Levels`; the bit above the outermost level is never asked for.
    let (mut kinds, mut depth) = (0_u32, 0);
    let mut has_white_space = false;
    let mut is_name_next = false;
    loop {
        if is_name_next {
            let is_complete;
            (at, is_complete) = members(marks, at, &mut has_white_space)?;
            is_name_next = false;
            if !is_complete {
                continue;
            }
        } else {
            // A value begins here, or white space before it.
            let first = *bytes.get(at)?;
            if first == b'"' {
                at = string(marks)?;
            } else if matches!(first, b'-' | b'0'..=b'9') {
                at = plain_number(bytes, at)?;
            } else if matches!(first, b'{' | b'[') {
                depth += 1;
                if depth > PLAIN_DEPTH_MAX {
                    return None;
                }
                let is_object = first == b'{';
                kinds = kinds << 1 | u32::from(is_object);
                at = white_space(marks, at + 1, &mut has_white_space);
                if *bytes.get(at)? != (if is_object { b'}' } else { b']' }) {
                    is_name_next = is_object;
                    continue;
                }
            } else if matches!(first, b' ' | b'\t' | b'\n' | b'\r') {
                at = white_space(marks, at, &mut has_white_space);
                continue;
            } else {
                at += WORDS.iter().find(|word| bytes[at..].starts_with(word))?.len();
            }
        }
        // It is complete, or what closes an empty one is next.
        loop {
            let is_object = kinds & 1 == 1;
            let next = *bytes.get(at)?;
            if next == b',' {
                at += 1;
                is_name_next = is_object;
                break;
            }
            if next == (if is_object { b'}' } else { b']' }) {
                at += 1;
                depth -= 1;
                if depth == 0 {
                    return Some((at, has_white_space));
                }
                kinds >>= 1;
            } else if matches!(next, b' ' | b'\t' | b'\n' | b'\r') {
                at = white_space(marks, at, &mut has_white_space);
            } else {
                return None;
            }
        }
    }
}

/// Where white space that may be at `at` ends. Mostly there is none, and that costs a comparison.
#[inline(always)]
fn white_space(marks: &mut Marks<'_>, mut at: usize, has_white_space: &mut bool) -> usize {
    while let Some(&byte) = marks.bytes().get(at)
        && byte <= b' '
        && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    {
        // All but the space are control characters, which are marked.
        if byte != b' ' {
            marks.take();
        }
        *has_white_space = true;
        at += 1;
    }
    at
}

#[inline]
pub(super) fn plain_white_space(bytes: &[u8], mut at: usize) -> usize {
    // Mostly there is none.
    while let Some(&byte) = bytes.get(at)
        && byte <= b' '
        && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    {
        at += 1;
    }
    at
}

/// The end of a string without escapes.
#[inline(always)]
pub(super) fn plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + 1 + plain_run(bytes.get(at + 1..)?);
    (*bytes.get(end)? == b'"').then_some(end + 1)
}

/// The same where the string's first quote is the next mark.
#[inline(always)]
fn string(marks: &mut Marks<'_>) -> Option<usize> {
    marks.take();
    let end = marks.take();
    (*marks.bytes().get(end)? == b'"').then_some(end + 1)
}

/// Takes the two quotes of a name that has been read.
#[inline(always)]
fn take_name(marks: &mut Marks<'_>) {
    marks.take();
    marks.take();
}

/// Reads a member's name, and on to where something else than a text follows: the members in between are texts without
/// white space around them, as most are, and take a comparison at each end. Says where a value begins, or where one that is
/// complete ends.
#[inline(always)]
fn members(marks: &mut Marks<'_>, at: usize, has_white_space: &mut bool) -> Option<(usize, bool)> {
    let bytes = marks.bytes();
    let at = white_space(marks, at, has_white_space);
    if *bytes.get(at)? != b'"' {
        return None;
    }
    loop {
        let name_end = string(marks)?;
        let after = bytes.get(name_end..)?;
        if !after.starts_with(b":\"") {
            let colon = white_space(marks, name_end, has_white_space);
            return (*bytes.get(colon)? == b':').then_some((colon + 1, false));
        }
        let end = string(marks)?;
        if !bytes.get(end..)?.starts_with(b",\"") {
            return Some((end, true));
        }
    }
}

/// The end of a number (RFC 8259, 6).
#[inline(always)]
fn plain_number(bytes: &[u8], mut at: usize) -> Option<usize> {
    at += usize::from(bytes[at] == b'-');
    at = match bytes.get(at)? {
        b'0' => at + 1,
        _ => plain_digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = plain_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = plain_digits(bytes, at)?;
    }
    Some(at)
}

/// The end of one digit or more.
#[inline(always)]
fn plain_digits(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    (end > at).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::request::parse_request_fields;
    use crate::json::scan::Scanner;

    /// Pieces that are put together to texts, of which many are JSON, and many nearly.
    const PIECES: [&str; 30] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\":",
        "\"",
        "\"\"",
        "\"a long enough name\":",
        "\"long enough to fill words\"",
        "\"\\n\"",
        "\"\u{1}\"",
        "\"é\"",
        " ",
        "\n",
        "0",
        "1",
        "-",
        "-1",
        "01",
        "1.5",
        "1.",
        "2e9",
        "2e+",
        "true",
        "false",
        "null",
        "nul",
        "x",
    ];

    /// Well-formed values, and not only these.
    fn text() -> impl Strategy<Value = String> {
        let piece = || proptest::sample::select(&PIECES[..]).prop_map(str::to_owned);
        let leaf = || {
            proptest::sample::select(vec!["1", "-0.5e3", "\"text\"", "true", "null", "[]", "{ }", "\"\\t\""])
        };
        let nested = leaf().prop_map(str::to_owned).prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| format!("[{}]", values.join(", "))),
                proptest::collection::vec(inner, 0..4).prop_map(|values| {
                    let members: Vec<String> =
                        values.iter().map(|value| format!("\"k\" : {value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        });
        prop_oneof![
            proptest::collection::vec(piece(), 0..12).prop_map(|pieces| format!("{{{}", pieces.concat())),
            proptest::collection::vec(piece(), 0..12).prop_map(|pieces| format!("[{}", pieces.concat())),
            (nested.clone(), piece()).prop_map(|(value, rest)| format!("[{value}]{rest}")),
            nested.prop_map(|value| format!("[{value}]")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_the_plain_way_passes_over_is_what_any_way_does(text in text()) {
            let mut scanner = Scanner::new(&text);
            let any = scanner.any_nested(1).is_ok().then_some(scanner.at);

            match plain_nested(text.as_bytes(), 0) {
                Some((end, has_white_space)) => {
                    prop_assert_eq!(any, Some(end), "{}", text);
                    let strings: String = text[..end].split('"').step_by(2).collect();
                    prop_assert_eq!(has_white_space, strings.contains([' ', '\t', '\n', '\r']), "{}", text);
                }
                // It leaves to the other what has escapes, and what is no JSON.
                None => prop_assert!(any.is_none() || text.contains('\\'), "{}", text),
            }
        }
    }

    #[test]
    fn the_plain_way_leaves_the_depths_to_the_other() {
        for (depth, is_plain) in [(PLAIN_DEPTH_MAX as usize, true), (PLAIN_DEPTH_MAX as usize + 1, false)] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(plain_nested(text.as_bytes(), 0).is_some(), is_plain);
            assert!(Scanner::new(&text).data().is_ok());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_request_read_the_plain_way_is_the_request_that_its_fields_are(
            head in proptest::sample::select(vec!["{\"pub\":", "{ \"pub\":", "{\"sub\":"]),
            channel in proptest::sample::select(vec!["\"a\"", "\"sensors/0001/é\"", "\"\\u0061\"", "7", "\"", "\"\""]),
            data in proptest::sample::select(vec![",\"data\":", ", \"data\":", ",\"b64\":", ",\"data\":\"\",\"data\":"]),
            value in prop_oneof![
                proptest::sample::select(vec!["\"x\"", "\"\\n\"", "1", "{\n}", "[1,\r\n2]", "{\"a\":{}}", "null", "\"QQ==\""])
                    .prop_map(str::to_owned),
                text(),
            ],
            id in proptest::sample::select(vec![
                "", ",\"id\":1", ",\"id\":-0", ",\"id\":\"k\"", ",\"id\":1.5", ",\"id\":9007199254740992", ",\"id\":01",
                ",\"id\":null", ",\"key\":\"k\"", ",\"id\":1,\"id\":2", ",\"id\":\"\\n\"", ",\"ok\":1",
            ]),
            end in proptest::sample::select(vec!["}", "} ", "", "}}", ",}"]),
        ) {
            let text = [head, channel, data, &value, id, end].concat();
            if let Some(request) = plain_publish(&text) {
                prop_assert_eq!(Ok(request), parse_request_fields(&text), "{}", text);
            }
        }
    }

    #[test]
    fn what_clients_write_is_read_the_plain_way() {
        for text in [
            r#"{"pub":"chat","data":"hello"}"#,
            r#"{"pub":"chat","data":"hello","id":7}"#,
            r#"{"pub":"sensors/roof","data":{"t": 21.5, "ok": [true, null]},"id":"a-1"}"#,
        ] {
            assert!(plain_publish(text).is_some(), "{text}");
        }
    }
}
