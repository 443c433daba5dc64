//! What is received, as people read it: marked on a terminal, or in hexadecimal.

use std::fmt::Write as _;

use crate::address::Shape;
use crate::net::{Message, MessageKind};

/// How what is received is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// As it is, by the framing.
    Plain,
    /// Marked, so that it is told apart from what is typed.
    Terminal {
        /// With colour.
        colour: bool,
    },
    /// In hexadecimal, sixteen bytes a line, with their characters.
    Hex,
}

impl Show {
    /// Appends a message.
    pub(super) fn write(self, message: &Message, shape: Shape, out: &mut Vec<u8>) {
        let mut text = String::new();
        match self {
            Show::Hex => write_hex(message, &mut text),
            _ if shape == Shape::Stream => {
                // A stream has no messages to mark; only what a terminal would obey is taken out.
                push_harmless(&mut text, &String::from_utf8_lossy(&message.bytes), true);
            }
            Show::Plain | Show::Terminal { .. } => {
                let (before, behind) = if self == (Show::Terminal { colour: true }) {
                    ("\x1b[36m", "\x1b[0m")
                } else {
                    ("", "")
                };
                let what = match (message.kind, message.as_text()) {
                    (MessageKind::Text, Some(words)) => words.to_owned(),
                    (MessageKind::Ping, _) => format!("(ping of {} bytes)", message.bytes.len()),
                    (MessageKind::Pong, _) => format!("(pong of {} bytes)", message.bytes.len()),
                    (_, Some(words)) if !words.is_empty() && !words.contains(is_odd) => words.to_owned(),
                    _ => {
                        let mut what = format!("({} bytes)", message.bytes.len());
                        for byte in message.bytes.iter().take(32) {
                            let _ = write!(what, " {byte:02x}");
                        }
                        if message.bytes.len() > 32 {
                            what.push_str(" ...");
                        }
                        what
                    }
                };
                for line in what.split('\n') {
                    let _ = write!(text, "{before}< ");
                    push_harmless(&mut text, line, false);
                    let _ = writeln!(text, "{behind}");
                }
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// Puts what was held back before `bytes`, and holds back the beginning of a character whose rest has not come: a stream is
/// cut anywhere, and half a character shows as none.
pub(super) fn hold_back(held: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    if !held.is_empty() {
        bytes.splice(..0, held.drain(..));
    }
    let begun = bytes.utf8_chunks().last().map_or(&[][..], |last| last.invalid());
    // Only what may yet become a character: three bytes at most.
    if str::from_utf8(begun).is_err_and(|error| error.error_len().is_none()) {
        let whole = bytes.len() - begun.len();
        *held = bytes.split_off(whole);
    }
}

fn is_odd(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
}

/// Words that others may have chosen, without what a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_harmless(&mut out, text, false);
    out
}

/// The same for JSON, which stays the same JSON: RFC 8259, 7 has control characters in strings only, where an escape stands
/// for them.
pub(super) fn harmless_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_odd(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// A peer must not be able to move the cursor or rename the window.
fn push_harmless(out: &mut String, text: &str, keeps_returns: bool) {
    for character in text.chars() {
        if is_odd(character) && !(keeps_returns && character == '\r') {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
}

fn write_hex(message: &Message, out: &mut String) {
    let kind = match message.kind {
        MessageKind::Text => "text",
        MessageKind::Binary => "binary",
        MessageKind::Ping => "ping",
        MessageKind::Pong => "pong",
    };
    let _ = writeln!(out, "< {kind}, {} bytes", message.bytes.len());
    for (index, line) in message.bytes.chunks(16).enumerate() {
        let _ = write!(out, "{:08x} ", index * 16);
        for place in 0..16 {
            let gap = if place == 8 { " " } else { "" };
            match line.get(place) {
                Some(byte) => {
                    let _ = write!(out, "{gap} {byte:02x}");
                }
                None => {
                    let _ = write!(out, "{gap}   ");
                }
            }
        }
        let characters: String = line
            .iter()
            .map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' })
            .collect();
        let _ = writeln!(out, "  {characters}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(show: Show, message: &Message, shape: Shape) -> String {
        let mut out = Vec::new();
        show.write(message, shape, &mut out);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        let evil = Message::text("a\x1b]0;title\x07b\nc");

        let marked = shown(Show::Terminal { colour: false }, &evil, Shape::Message);

        assert_eq!(marked, "< a\\u{1b}]0;title\\u{7}b\n< c\n");
        assert!(!shown(Show::Terminal { colour: true }, &evil, Shape::Stream).contains('\x1b'));
    }

    #[test]
    fn a_character_that_was_cut_is_shown_when_it_is_whole() {
        let text = "안녕 🐟\n";
        for cut in 0..=text.len() {
            let (mut held, mut shown) = (Vec::new(), Vec::new());
            for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                let mut bytes = piece.to_vec();
                hold_back(&mut held, &mut bytes);
                shown.push(String::from_utf8(bytes).expect("whole characters"));
            }
            assert_eq!((shown.concat().as_str(), held.len()), (text, 0));
        }
        let (mut held, mut never) = (Vec::new(), b"a\xff\xff".to_vec());
        hold_back(&mut held, &mut never);
        assert_eq!((never.as_slice(), held.len()), (&b"a\xff\xff"[..], 0), "this becomes no character");
    }

    #[test]
    fn bytes_are_shown_in_lines_of_sixteen() {
        let text = shown(Show::Hex, &Message::binary(b"0123456789abcdef\x00\xff"), Shape::Message);

        assert_eq!(
            text,
            "< binary, 18 bytes\n\
             00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef\n\
             00000010  00 ff                                             ..\n"
        );
    }
}
