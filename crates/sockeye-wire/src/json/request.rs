//! Requests: a JSON object becomes one verb with its fields.
//!
//! The object is scanned once; what the fields mean is decided after its end, so that an answer to a wrong request
//! still carries its id wherever the id stands. Names, positions and versions are passed on unjudged: whether a
//! channel name is allowed is the hub's business.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{BadRequest, Code};
use super::plain::plain_publish;
use super::scan::{Failed, Scanner, Value};
use super::string::RawString;
use super::{Kind, Payload, without_line_breaks};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// What the answer carries back; without one, only an error is answered.
    pub id: Option<Id<'a>>,
    /// What is asked for.
    pub verb: Verb<'a>,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb<'a> {
    /// Introduces the client.
    Hello {
        /// The version of the protocol that the client speaks.
        version: u64,
        /// What shows who the client is.
        token: Option<Cow<'a, str>>,
    },
    /// Shows who the client is, for the first time or anew.
    Auth {
        /// What shows it.
        token: Cow<'a, str>,
    },
    /// Subscribes to a channel or a pattern.
    Subscribe {
        /// The channel or pattern.
        name: Cow<'a, str>,
        /// The position after which to begin.
        since: Option<Cow<'a, str>>,
        /// How many of the latest messages to begin with.
        last: Option<u64>,
        /// `"self"`: whether one's own messages are heard as well.
        own: bool,
        /// What happens when the client reads too slowly.
        slow: Slow,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// The channel or pattern.
        name: Cow<'a, str>,
    },
    /// Publishes a message.
    Publish {
        /// The channel.
        channel: Cow<'a, str>,
        /// The message.
        payload: Payload<'a>,
        /// What makes a repetition recognisable.
        key: Option<Cow<'a, str>>,
    },
    /// Asks for history. With both fields it is the messages after `since`, and at most `last` of them.
    Past {
        /// The channel.
        channel: Cow<'a, str>,
        /// How many messages at most.
        last: Option<u64>,
        /// The position after which to begin.
        since: Option<Cow<'a, str>>,
    },
    /// Asks for a sign of life.
    Ping {
        /// What the `pong` carries back.
        value: Id<'a>,
    },
}

/// What happens to a subscription whose client reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Slow {
    /// It reads on from history.
    #[default]
    All,
    /// It goes on with the newest message, after a gap.
    Latest,
    /// The connection is closed.
    Close,
}

/// An id as it was written: a string of at most 64 bytes, or an integer within +-(2^53 - 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// The id as raw JSON text, to be written back unchanged.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The id as a number that is written back the same: `None` for a string, and for `-0`.
    #[must_use]
    pub fn as_integer(self) -> Option<i64> {
        if self.0 == "-0" { None } else { self.0.parse().ok() }
    }

    pub(super) fn new(value: Value<'a>) -> Option<Self> {
        match value {
            Value::String(string) => {
                let short = if string.escaped {
                    // No escape is longer than six bytes a byte of text, so longer ones need not be decoded.
                    string.quoted.len() <= 6 * ID_BYTES_MAX + 2 && string.text().len() <= ID_BYTES_MAX
                } else {
                    string.quoted.len() <= ID_BYTES_MAX + 2
                };
                short.then_some(Self(string.quoted))
            }
            Value::Number(number) => {
                let integer: i64 = number.parse().ok()?;
                (integer.unsigned_abs() <= INTEGER_MAX).then_some(Self(number))
            }
            _ => None,
        }
    }
}

/// Reads one request.
///
/// A request has exactly one verb. Fields that the verb does not use are ignored whatever they hold, as are fields
/// that nobody knows.
///
/// # Errors
///
/// [`BadRequest`], with [`Code::UnknownVerb`] if there is no known verb but a reserved one (`here`,
/// `presence`, `serve`, `ask`, `answer`, `group`), or a key that is neither a field of any request nor the mark of a
/// server's own message (`ok`, `error`, `ch`, `pong`, `bye`, `gap`, `cookie`); the first such key is named. All else is
/// [`Code::BadRequest`].
pub fn parse_request(text: &[u8]) -> Result<Request<'_>, BadRequest> {
    let Ok(text) = simdutf8::basic::from_utf8(text) else {
        return Err(unreadable(None, Cow::Borrowed("not UTF-8")));
    };
    parse_request_text(text)
}

/// Reads one request from what is known to be UTF-8.
///
/// # Errors
///
/// As [`parse_request`].
#[inline]
pub fn parse_request_text(text: &str) -> Result<Request<'_>, BadRequest> {
    match plain_publish(text) {
        Some(request) => Ok(request),
        None => parse_request_fields(text),
    }
}

/// The same field by field, for any text.
pub(super) fn parse_request_fields(text: &str) -> Result<Request<'_>, BadRequest> {
    Fields::new().read(text)
}

/// What one datagram holds: a request or why it is none, and what matters only where a sender's address may be forged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The request.
    pub request: Result<Request<'a>, BadRequest>,
    /// The value of its `"cookie"`: the empty text, which nobody was ever given, where it is not a string.
    pub cookie: Option<Cow<'a, str>>,
    /// It carries the mark of something that was said by a server (`ok`, `error`, `ch`, `pong`, `bye`), or a cookie and
    /// nothing that could be a verb: whatever else it is, answering it could make two servers talk for ever.
    pub is_answer: bool,
}

/// Reads one datagram.
///
/// What stands behind the point from which on it cannot be read is not seen; what stands before counts.
#[must_use]
pub fn parse_datagram(text: &[u8]) -> Datagram<'_> {
    let mut fields = Fields::new();
    let request = match simdutf8::basic::from_utf8(text) {
        Ok(text) => fields.read(text),
        Err(_) => Err(unreadable(None, Cow::Borrowed("not UTF-8"))),
    };
    let is_verbless =
        fields.seen & Field::VERBS == 0 && fields.reserved.is_none() && fields.unknown.is_none();
    Datagram {
        request,
        cookie: fields.cookie.map(|value| match value {
            Value::String(string) => string.text(),
            _ => Cow::Borrowed(""),
        }),
        is_answer: fields.is_answer || (fields.cookie.is_some() && is_verbless),
    }
}

/// The fields that requests have; the verbs come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Hello,
    Sub,
    Unsub,
    Pub,
    Past,
    Ping,
    Auth,
    Id,
    Since,
    Last,
    Own,
    Slow,
    Data,
    B64,
    Token,
    Key,
}

impl Field {
    const COUNT: usize = Self::Key as usize + 1;
    /// The bits of the verbs.
    const VERBS: u32 = (1 << Self::Id as u32) - 1;

    #[inline]
    fn new(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"hello" => Self::Hello,
            b"sub" => Self::Sub,
            b"unsub" => Self::Unsub,
            b"pub" => Self::Pub,
            b"past" => Self::Past,
            b"ping" => Self::Ping,
            b"auth" => Self::Auth,
            b"id" => Self::Id,
            b"since" => Self::Since,
            b"last" => Self::Last,
            b"self" => Self::Own,
            b"slow" => Self::Slow,
            b"data" => Self::Data,
            b"b64" => Self::B64,
            b"key" => Self::Key,
            b"token" => Self::Token,
            _ => return None,
        })
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The fields of an object, before they mean anything.
#[derive(Debug)]
struct Fields<'a> {
    /// By [`Field`]; only those in `seen` count.
    values: [Value<'a>; Field::COUNT],
    /// The bits of the keys that came.
    seen: u32,
    /// The first known key that came twice.
    repeated: Option<RawString<'a>>,
    id_repeated: bool,
    reserved: Option<&'static str>,
    unknown: Option<RawString<'a>>,
    /// A key that marks what a server says.
    is_answer: bool,
    /// The first cookie.
    cookie: Option<Value<'a>>,
}

impl<'a> Fields<'a> {
    fn new() -> Self {
        Self {
            values: [Value::Null; Field::COUNT],
            seen: 0,
            repeated: None,
            id_repeated: false,
            reserved: None,
            unknown: None,
            is_answer: false,
            cookie: None,
        }
    }

    /// Reads the whole text, and says what it asks for.
    #[inline]
    fn read(&mut self, text: &'a str) -> Result<Request<'a>, BadRequest> {
        let mut scanner = Scanner::new(text);
        if self.scan(&mut scanner).is_err() {
            let fault = scanner.fault();
            return Err(unreadable(self.id(), Cow::Owned(format!("{} at byte {}", fault.what, fault.at))));
        }
        match self.meaning(scanner.refused) {
            Ok(request) => Ok(request),
            Err(refusal) => {
                Err(BadRequest { id: self.id(), code: refusal.code, why: refusal.why, unreadable: false })
            }
        }
    }

    fn value(&self, field: Field) -> Option<Value<'a>> {
        (self.seen & field.bit() != 0).then_some(self.values[field as usize])
    }

    /// Reads the whole text, which must be one object.
    fn scan(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Failed> {
        scanner.skip_white_space();
        if !scanner.take(b'{') {
            return scanner.fail("expected one JSON object");
        }
        scanner.skip_white_space();
        if !scanner.take(b'}') {
            loop {
                let key = scanner.key()?;
                let value = scanner.value(1)?;
                self.add(key, value);
                scanner.skip_white_space();
                if scanner.take(b',') {
                    scanner.skip_white_space();
                } else if scanner.take(b'}') {
                    break;
                } else {
                    return scanner.fail("expected a comma or the end of the object");
                }
            }
        }
        scanner.end()
    }

    #[inline]
    fn add(&mut self, key: RawString<'a>, value: Value<'a>) {
        let known =
            if key.escaped { Field::new(key.text().as_bytes()) } else { Field::new(key.inner_bytes()) };
        let Some(known) = known else { return self.add_unknown(key, value) };
        if self.seen & known.bit() != 0 {
            self.repeated.get_or_insert(key);
            self.id_repeated |= known == Field::Id;
            return;
        }
        self.seen |= known.bit();
        self.values[known as usize] = value;
    }

    fn add_unknown(&mut self, key: RawString<'a>, value: Value<'a>) {
        let name = key.text();
        if name == "cookie" {
            self.cookie.get_or_insert(value);
        } else if let Some(&word) = RESERVED_VERBS.iter().find(|&&word| word == name) {
            self.reserved.get_or_insert(word);
        } else if ANSWER_KEYS.contains(&&*name) {
            // A gap is a push, and has its channel beside it.
            self.is_answer |= name != "gap";
        } else {
            self.unknown.get_or_insert(key);
        }
    }

    /// The id as written, if there is exactly one proper one.
    fn id(&self) -> Option<Box<str>> {
        self.value(Field::Id).filter(|_| !self.id_repeated).and_then(Id::new).map(|id| id.as_str().into())
    }

    fn meaning(&self, refused: Option<&'static str>) -> Result<Request<'a>, Refusal> {
        if let Some(key) = self.repeated {
            return Err(Refusal::new(format!("the key {:?} is repeated", key.text())));
        }
        if let Some(why) = refused {
            return Err(Refusal::new(why));
        }
        let id = match self.value(Field::Id) {
            None => None,
            Some(value) => Some(Id::new(value).ok_or_else(|| Refusal::new(WHY_ID))?),
        };
        if (self.seen & Field::VERBS).count_ones() != 1 {
            return Err(self.wrong_verbs());
        }
        Ok(Request { id, verb: self.verb()? })
    }

    fn verb(&self) -> Result<Verb<'a>, Refusal> {
        if let Some(value) = self.value(Field::Pub) {
            return Ok(Verb::Publish {
                channel: string(value, "\"pub\" must be a string, the channel")?,
                payload: self.payload()?,
                key: optional(self.value(Field::Key), |value| string(value, "\"key\" must be a string"))?,
            });
        }
        if let Some(value) = self.value(Field::Sub) {
            return Ok(Verb::Subscribe {
                name: string(value, "\"sub\" must be a string, a channel or a pattern")?,
                since: self.since()?,
                last: self.last()?,
                own: match self.value(Field::Own) {
                    None | Some(Value::True) => true,
                    Some(Value::False) => false,
                    Some(_) => return Err(Refusal::new("\"self\" must be true or false")),
                },
                slow: optional(self.value(Field::Slow), slow)?.unwrap_or_default(),
            });
        }
        if let Some(value) = self.value(Field::Unsub) {
            return Ok(Verb::Unsubscribe {
                name: string(value, "\"unsub\" must be a string, a channel or a pattern")?,
            });
        }
        if let Some(value) = self.value(Field::Past) {
            return Ok(Verb::Past {
                channel: string(value, "\"past\" must be a string, the channel")?,
                last: self.last()?,
                since: self.since()?,
            });
        }
        if let Some(value) = self.value(Field::Ping) {
            let value = Id::new(value).ok_or_else(|| Refusal::new(WHY_PING))?;
            return Ok(Verb::Ping { value });
        }
        if let Some(value) = self.value(Field::Hello) {
            return Ok(Verb::Hello {
                version: integer(value, "\"hello\" must be the version, an integer")?,
                token: optional(self.value(Field::Token), |value| {
                    string(value, "\"token\" must be a string")
                })?,
            });
        }
        if let Some(value) = self.value(Field::Auth) {
            return Ok(Verb::Auth { token: string(value, "\"auth\" must be a string, the token")? });
        }
        Err(self.wrong_verbs())
    }

    fn payload(&self) -> Result<Payload<'a>, Refusal> {
        let (kind, bytes) = match (self.value(Field::Data), self.value(Field::B64)) {
            (Some(Value::String(string)), None) => (Kind::Text, into_bytes(string.text())),
            (Some(Value::Nested { written, has_white_space: false }), None) => {
                (Kind::Json, Cow::Borrowed(written.as_bytes()))
            }
            (Some(value), None) => (Kind::Json, without_line_breaks(written(value).as_bytes())),
            (None, Some(value)) => {
                let why = "\"b64\" must be a string, base64 in the standard alphabet with padding";
                let text = string(value, why)?;
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| Refusal::new(why))?;
                (Kind::Binary, Cow::Owned(bytes))
            }
            (None, None) => return Err(Refusal::new("\"pub\" needs \"data\" or \"b64\"")),
            (Some(_), Some(_)) => return Err(Refusal::new("\"pub\" takes \"data\" or \"b64\", not both")),
        };
        Ok(Payload { kind, bytes })
    }

    fn since(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        optional(self.value(Field::Since), |value| {
            string(value, "\"since\" must be a string, a position such as \"k3f:118\"")
        })
    }

    fn last(&self) -> Result<Option<u64>, Refusal> {
        optional(self.value(Field::Last), |value| {
            integer(value, "\"last\" must be an integer from 0 to 9007199254740991")
        })
    }

    /// Why an object has no verb, or more than one.
    #[cold]
    fn wrong_verbs(&self) -> Refusal {
        if self.seen & Field::VERBS != 0 {
            return Refusal::new("more than one verb");
        }
        let unknown = self.reserved.map(Cow::Borrowed).or_else(|| self.unknown.map(RawString::text));
        match unknown {
            Some(name) => {
                let name = &name[..name.floor_char_boundary(NAMED_BYTES_MAX)];
                Refusal { code: Code::UnknownVerb, why: format!("unknown verb {name:?}").into() }
            }
            None => Refusal::new("no verb"),
        }
    }
}

/// Why an object is not a request.
#[derive(Debug)]
struct Refusal {
    code: Code,
    why: Cow<'static, str>,
}

impl Refusal {
    #[cold]
    fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Code::BadRequest, why: why.into() }
    }
}

#[cold]
fn unreadable(id: Option<Box<str>>, why: Cow<'static, str>) -> BadRequest {
    BadRequest { id, code: Code::BadRequest, why, unreadable: true }
}

fn optional<'a, T>(
    value: Option<Value<'a>>,
    read: impl FnOnce(Value<'a>) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    value.map(read).transpose()
}

fn string<'a>(value: Value<'a>, why: &'static str) -> Result<Cow<'a, str>, Refusal> {
    match value {
        Value::String(string) => Ok(string.text()),
        _ => Err(Refusal::new(why)),
    }
}

fn integer(value: Value<'_>, why: &'static str) -> Result<u64, Refusal> {
    if let Value::Number(number) = value
        && let Ok(integer) = number.parse::<u64>()
        && integer <= INTEGER_MAX
    {
        return Ok(integer);
    }
    Err(Refusal::new(why))
}

fn slow(value: Value<'_>) -> Result<Slow, Refusal> {
    if let Value::String(string) = value {
        match &*string.text() {
            "all" => return Ok(Slow::All),
            "latest" => return Ok(Slow::Latest),
            "close" => return Ok(Slow::Close),
            _ => {}
        }
    }
    Err(Refusal::new("\"slow\" must be \"all\", \"latest\" or \"close\""))
}

fn written(value: Value<'_>) -> &str {
    match value {
        Value::String(string) => string.quoted,
        Value::Number(text) | Value::Nested { written: text, .. } => text,
        Value::True => "true",
        Value::False => "false",
        Value::Null => "null",
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Verbs that later versions have; until then they are known to be unknown.
const RESERVED_VERBS: [&str; 6] = ["here", "presence", "serve", "ask", "answer", "group"];

/// Keys that mark what a server sends: never verbs. (Nor is a datagram's cookie.)
const ANSWER_KEYS: [&str; 6] = ["ok", "error", "ch", "pong", "bye", "gap"];

const ID_BYTES_MAX: usize = 64;

/// 2^53 - 1, the largest integer that every JSON reader keeps exactly (RFC 8259, 6).
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// How much of an unknown key an error repeats.
const NAMED_BYTES_MAX: usize = 64;

const WHY_ID: &str = "\"id\" must be a string of at most 64 bytes, or an integer within +-9007199254740991";
const WHY_PING: &str =
    "\"ping\" must be a string of at most 64 bytes, or an integer within +-9007199254740991";
