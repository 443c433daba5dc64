//! What is sent and received, and how a conversation ends.

/// What a message is.
///
/// # Examples
///
/// ```
/// use sockeye::net::{Message, MessageKind};
///
/// assert_eq!(Message::from("hello").kind, MessageKind::Text);
/// assert_eq!(Message::from(b"hello").kind, MessageKind::Binary);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8, and checked. Only a WebSocket tells it from bytes; elsewhere it is sent as its bytes.
    Text,
    /// Bytes: a datagram, a WebSocket's binary message, a piece of a stream.
    Binary,
    /// A WebSocket's question whether the peer is there. It is answered without being seen, unless control messages were
    /// asked for.
    Ping,
    /// The answer to a ping.
    Pong,
}

/// One message, one datagram, or a piece of a stream.
///
/// # Examples
///
/// ```
/// use sockeye::net::Message;
///
/// let message = Message::text("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Message {
    /// Text.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Message;
    ///
    /// assert_eq!(Message::text("hello"), "hello".into());
    /// ```
    pub fn text(text: impl Into<String>) -> Message {
        Message { kind: MessageKind::Text, bytes: text.into().into_bytes() }
    }

    /// Bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Message;
    ///
    /// assert_eq!(Message::binary([0, 255]).as_text(), None);
    /// ```
    pub fn binary(bytes: impl Into<Vec<u8>>) -> Message {
        Message { kind: MessageKind::Binary, bytes: bytes.into() }
    }

    /// A ping with at most 125 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Message, MessageKind};
    ///
    /// assert_eq!(Message::ping("there?").kind, MessageKind::Ping);
    /// ```
    pub fn ping(bytes: impl Into<Vec<u8>>) -> Message {
        Message { kind: MessageKind::Ping, bytes: bytes.into() }
    }

    /// The bytes as text, if they are UTF-8.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Message;
    ///
    /// assert_eq!(Message::binary(b"hello").as_text(), Some("hello"));
    /// ```
    pub fn as_text(&self) -> Option<&str> {
        str::from_utf8(&self.bytes).ok()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Message {
        Message::binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Message {
        Message::binary(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Message {
        Message::binary(bytes)
    }
}

/// How a WebSocket was closed (RFC 6455, 7.4).
///
/// # Examples
///
/// ```
/// use sockeye::net::Close;
///
/// let close = Close::new(4001, "closed for lunch");
/// assert_eq!((close.code, close.reason.as_str()), (Some(4001), "closed for lunch"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code; none if the peer gave none.
    pub code: Option<u16>,
    /// The reason, at most 123 bytes.
    pub reason: String,
}

impl Close {
    /// Code 1000: everything was said.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Close;
    ///
    /// assert_eq!(Close::normal().code, Some(1000));
    /// ```
    pub fn normal() -> Close {
        Close { code: Some(1000), reason: String::new() }
    }

    /// A code with a reason. What may not stand in a frame (RFC 6455, 7.4: sendable are 1000 to 1003, 1007 to 1014, and 3000 to
    /// 4999) goes out as no code, and so without the reason; a reason is cut to 123 bytes, between two characters.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::Close;
    ///
    /// assert_eq!(Close::new(1001, "going away").code, Some(1001));
    /// ```
    pub fn new(code: u16, reason: impl Into<String>) -> Close {
        Close { code: Some(code), reason: reason.into() }
    }
}
