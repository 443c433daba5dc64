//! The scanner: one pass over RFC 8259 text, without recursion and without building anything.
//!
//! It answers where a value ends and whether a string has escapes; what the values mean is the grammar's business.
//! Numbers are checked but never converted, so their size has no limit here. Comments, trailing commas, `NaN` and a
//! byte order mark are absent: RFC 8259 does not have them either.

use super::plain::{plain_nested, plain_string, plain_white_space};
use super::string::{RawString, plain_run};

/// The deepest nesting of objects and arrays that is accepted, the outermost one included.
pub const DEPTH_MAX: usize = 64;

/// Where the text stops being JSON, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

/// The text is not JSON; the scanner has the [`Fault`]. Empty, so that results travel in registers.
#[derive(Debug)]
pub(super) struct Failed;

/// A place in a text. The bytes are known to be UTF-8 because they come from a `str`.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    pub(super) at: usize,
    fault: Fault,
    /// The first reason why this JSON is refused although the grammar allows it. Scanning goes on, so that what
    /// stands behind (a request's id) is still found.
    pub(super) refused: Option<&'static str>,
}

/// One value: what kind it is, and where.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    String(RawString<'a>),
    /// A number, as written.
    Number(&'a str),
    True,
    False,
    Null,
    /// An object or an array, as written. It may have white space in it, line breaks as well.
    Nested {
        written: &'a str,
        has_white_space: bool,
    },
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, fault: Fault { at: 0, what: "not read" }, refused: None }
    }

    /// Where and why a method of this scanner has failed.
    pub(super) fn fault(&self) -> Fault {
        self.fault
    }

    /// Scans a text that is one value and nothing else, and that an object will have as its member.
    pub(super) fn data(&mut self) -> Result<Value<'a>, Failed> {
        self.skip_white_space();
        let value = self.value(1)?;
        self.end()?;
        Ok(value)
    }

    /// Requires that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), Failed> {
        self.skip_white_space();
        if self.at == self.text.len() { Ok(()) } else { self.fail("something follows the value") }
    }

    /// Takes the byte if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let taken = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(taken);
        taken
    }

    #[inline]
    pub(super) fn skip_white_space(&mut self) {
        // RFC 8259, 2: space, horizontal tab, line feed and carriage return.
        while self.peek() <= b' ' && matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Scans a member's name, its colon, and the white space behind it.
    #[inline]
    pub(super) fn key(&mut self) -> Result<RawString<'a>, Failed> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        // Nearly every name is plain, with its colon at once.
        if self.peek() == b'"'
            && let Some(end) = plain_string(bytes, start)
            && bytes.get(end) == Some(&b':')
        {
            self.at = plain_white_space(bytes, end + 1);
            return Ok(RawString { quoted: &self.text[start..end], escaped: false });
        }
        let (length, escaped) = self.name()?;
        Ok(RawString { quoted: &self.text[start..start + length], escaped })
    }

    /// Scans the value that begins here, inside `depth` objects and arrays.
    #[inline]
    pub(super) fn value(&mut self, depth: usize) -> Result<Value<'a>, Failed> {
        let start = self.at;
        let first = self.peek();
        if let b'{' | b'[' = first {
            let has_white_space = self.nested(depth)?;
            return Ok(Value::Nested { written: &self.text[start..self.at], has_white_space });
        }
        let escaped = self.scalar()?;
        let written = &self.text[start..self.at];
        Ok(match first {
            b'"' => Value::String(RawString { quoted: written, escaped }),
            b't' => Value::True,
            b'f' => Value::False,
            b'n' => Value::Null,
            _ => Value::Number(written),
        })
    }

    /// Passes over a member's name, its colon, and the white space behind it: how long the name is, and whether it
    /// has escapes.
    #[inline]
    fn name(&mut self) -> Result<(usize, bool), Failed> {
        let start = self.at;
        if self.peek() != b'"' {
            return self.fail("expected a key in quotes");
        }
        let escaped = self.string()?;
        let length = self.at - start;
        self.skip_white_space();
        if !self.take(b':') {
            return self.fail("expected a colon");
        }
        self.skip_white_space();
        Ok((length, escaped))
    }

    /// Passes over a value that is neither an object nor an array, and says whether it is a string with escapes.
    #[inline]
    fn scalar(&mut self) -> Result<bool, Failed> {
        match self.peek() {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return self.fail("expected a value"),
        }
        Ok(false)
    }

    /// Passes over an object or an array with all that is in it, and says whether there may be white space in it.
    fn nested(&mut self, outer_depth: usize) -> Result<bool, Failed> {
        match plain_nested(self.text.as_bytes(), self.at) {
            Some((end, has_white_space)) => {
                self.at = end;
                Ok(has_white_space)
            }
            None => self.any_nested(outer_depth).map(|()| true),
        }
    }

    /// The same for any text, and for what is wrong with it.
    pub(super) fn any_nested(&mut self, outer_depth: usize) -> Result<(), Failed> {
        let mut levels = Levels::default();
        loop {
            match self.peek() {
                open @ (b'{' | b'[') => {
                    levels.enter(open == b'{');
                    if outer_depth + levels.count > DEPTH_MAX {
                        self.refused.get_or_insert("nested deeper than 64 levels");
                    }
                    self.at += 1;
                    self.skip_white_space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() != close {
                        if open == b'{' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                    self.skip_white_space();
                }
            }

            // A value is complete, or what closes an empty one is next: what encloses it goes on, or ends as well.
            loop {
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.skip_white_space();
                        if levels.in_object() {
                            self.name()?;
                        }
                        break;
                    }
                    close @ (b'}' | b']') if levels.in_object() == (close == b'}') => {
                        self.at += 1;
                        levels.leave();
                        if levels.count == 0 {
                            return Ok(());
                        }
                        self.skip_white_space();
                    }
                    _ => return self.fail("expected a comma or the end of what is open"),
                }
            }
        }
    }

    /// Passes over a string, beginning at its quote, and says whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Failed> {
        let bytes = self.text.as_bytes();
        if let Some(end) = plain_string(bytes, self.at) {
            self.at = end;
            return Ok(false);
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_run(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fail("a control character in a string must be escaped"),
                None => return self.fail("a string has no end"),
            }
        }
    }

    /// Scans one escape, or the two of a surrogate pair.
    fn escape(&mut self) -> Result<(), Failed> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => match self.unit()? {
                0xD800..=0xDBFF => {
                    // The low half must follow at once; anything else is scanned in its own right.
                    let rest = &self.text.as_bytes()[self.at..];
                    if rest.starts_with(b"\\u") {
                        let high_end = self.at;
                        self.at += 1;
                        if !matches!(self.unit()?, 0xDC00..=0xDFFF) {
                            self.refuse_lone_surrogate();
                            self.at = high_end;
                        }
                    } else {
                        self.refuse_lone_surrogate();
                    }
                }
                0xDC00..=0xDFFF => self.refuse_lone_surrogate(),
                _ => {}
            },
            _ => return self.fail("an unknown escape in a string"),
        }
        Ok(())
    }

    /// RFC 8259, 8.2: the grammar has half a surrogate pair, but Unicode has no text for it.
    fn refuse_lone_surrogate(&mut self) {
        self.refused.get_or_insert("a \\u escape is half of a surrogate pair");
    }

    /// Scans `uXXXX` and gives the UTF-16 code unit.
    fn unit(&mut self) -> Result<u32, Failed> {
        let mut unit = 0;
        for _ in 0..4 {
            self.at += 1;
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return self.fail("expected four hexadecimal digits");
            };
            unit = unit << 4 | digit;
        }
        self.at += 1;
        Ok(unit)
    }

    /// Passes over a number, beginning at its sign or first digit.
    fn number(&mut self) -> Result<(), Failed> {
        self.take(b'-');
        // RFC 8259, 6: leading zeros are not allowed.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Scans one digit or more.
    fn digits(&mut self) -> Result<(), Failed> {
        if !self.peek().is_ascii_digit() {
            return self.fail("expected a digit");
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), Failed> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return self.fail("expected a value");
        }
        self.at += literal.len();
        Ok(())
    }

    /// The next byte; 0 at the end, which is as wrong anywhere as a 0 in the text is.
    #[inline]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[cold]
    pub(super) fn fail<T>(&mut self, what: &'static str) -> Result<T, Failed> {
        self.fault = Fault { at: self.at, what };
        Err(Failed)
    }
}

/// The kinds of all that is open, one bit a level: 1 is an object, 0 an array.
#[derive(Debug, Default)]
struct Levels {
    count: usize,
    /// The innermost levels, the very innermost lowest.
    kinds: u64,
    /// Those outside of these, 64 each: used only by texts that are refused in the end.
    spilled: Vec<u64>,
}

impl Levels {
    #[inline]
    fn enter(&mut self, object: bool) {
        if self.count > 0 && self.count.is_multiple_of(64) {
            self.spilled.push(self.kinds);
        }
        self.count += 1;
        self.kinds = self.kinds << 1 | u64::from(object);
    }

    #[inline]
    fn leave(&mut self) {
        self.count -= 1;
        self.kinds >>= 1;
        if self.count > 0 && self.count.is_multiple_of(64) {
            self.kinds = self.spilled.pop().unwrap_or(0);
        }
    }

    #[inline]
    fn in_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}
