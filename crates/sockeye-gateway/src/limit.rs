//! Every bound and timeout of one connection, with what happens at it.
//!
//! The bounds of channels, histories and outboxes are in `sockeye_hub::limit`. How often something may
//! happen, for a connection, a user or an address, is in `rate`; its figures are the shell's.

use std::str::FromStr;

/// Bounds and timeouts of one connection. All times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload, decoded (1 MiB). Larger: `too_large`; over WebSocket also close code 1009, over HTTP 413.
    pub message_bytes_max: usize,
    /// The first byte of a connection must arrive within this time (60 s), else it is closed.
    pub first_byte_timeout_ms: u64,
    /// An HTTP head must be whole within this time of its first byte (10 s), else 408 and close.
    pub head_timeout_ms: u64,
    /// A kept-alive HTTP connection without a request is closed after this time (75 s).
    pub http_idle_timeout_ms: u64,
    /// An HTTP body, a WebSocket message and a line must arrive within this time (60 s) of their first byte, plus one second
    /// for each 4 KiB of them, else the connection is closed: with 408, close code 1008, or `bad_request`.
    pub body_timeout_ms: u64,
    /// An HTTP head may have this many bytes (16 KiB), else 431 and close.
    pub head_bytes_max: usize,
    /// An HTTP head may have this many header fields (64), else 431 and close.
    pub headers_max: usize,
    /// An HTTP request target may have this many bytes (8 KiB), else 414 and close.
    pub target_bytes_max: usize,
    /// A connection of lines or a WebSocket that takes nothing for this time (2 minutes) while answers wait for it, more than
    /// `stalled_bytes_min`, is closed. Who only hears is not: messages that he does not take become gaps.
    pub stall_timeout_ms: u64,
    /// Answers of so many bytes (4 KiB) may wait as long as it takes: they cost no more than the connection.
    pub stalled_bytes_min: usize,
    /// A WebSocket that was silent for this time is sent a ping (25 s).
    pub ping_interval_ms: u64,
    /// A WebSocket that was silent for this time is closed (50 s).
    pub silence_timeout_ms: u64,
    /// An event stream on which nothing was written gets a comment this often (15 s), so that proxies keep it open.
    pub comment_interval_ms: u64,
    /// After this many unreadable messages in a row (10) a connection is closed.
    pub unreadable_max: u32,
    /// A closing connection that takes nothing of what is queued for this long (5 s), or does not end then, is cut. One that
    /// reads is waited for.
    pub close_timeout_ms: u64,
    /// So much work (65,536 units, about 3 ms) is done for one connection, or for the letters of other shards, before others
    /// have their turn: see [`sockeye_hub::Hub::grant_work`]. The rest of the input waits, in order.
    pub work_per_turn: u32,
    /// While this many bytes of answers wait in a connection's outbox (256 KiB), it is not read.
    pub answers_bytes_max: usize,
    /// How messages are compressed for WebSockets whose clients can take it (`shared`).
    pub deflate: DeflateMode,
    /// Messages and answers of less than this (256 B) are not compressed: they would hardly become smaller.
    pub deflate_bytes_min: usize,
    /// While this many requests wait for another shard's answer (64), a connection is not read.
    pub requests_in_flight_max: usize,
    /// Datagrams: sessions of one shard (16,384), each a subscriber. More: `too_many`.
    pub datagram_sessions_max: usize,
    /// Datagrams: a session ends when no datagram with a valid cookie came for this time (60 s).
    pub datagram_session_timeout_ms: u64,
    /// Datagrams: the longest message that is sent as one (1,200 bytes, which nearly every path carries whole). Longer: a
    /// gap, `too_large`.
    pub datagram_message_bytes_max: usize,
}

/// How messages are compressed for WebSockets (RFC 7692).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeflateMode {
    /// Each message stands alone: it is compressed once, for everybody who hears it, and nothing is kept for a
    /// connection.
    #[default]
    Shared,
    /// Each connection has its own compression, whose messages refer to those before them: they become smaller, for 416
    /// KiB of memory and the work of compressing each message for each connection.
    Dedicated,
    /// Nothing is compressed.
    Off,
}

impl DeflateMode {
    /// Every mode.
    pub const ALL: [DeflateMode; 3] = [DeflateMode::Shared, DeflateMode::Dedicated, DeflateMode::Off];

    /// Its name in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            DeflateMode::Shared => "shared",
            DeflateMode::Dedicated => "dedicated",
            DeflateMode::Off => "off",
        }
    }
}

impl FromStr for DeflateMode {
    type Err = String;

    fn from_str(text: &str) -> Result<DeflateMode, String> {
        let found = DeflateMode::ALL.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of shared, dedicated, off"))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes_max: 1 << 20,
            first_byte_timeout_ms: 60_000,
            head_timeout_ms: 10_000,
            http_idle_timeout_ms: 75_000,
            body_timeout_ms: 60_000,
            head_bytes_max: 16 << 10,
            headers_max: 64,
            target_bytes_max: 8 << 10,
            stall_timeout_ms: 120_000,
            stalled_bytes_min: 4 << 10,
            ping_interval_ms: 25_000,
            silence_timeout_ms: 50_000,
            comment_interval_ms: 15_000,
            unreadable_max: 10,
            close_timeout_ms: 5_000,
            work_per_turn: 1 << 16,
            answers_bytes_max: 256 << 10,
            deflate: DeflateMode::Shared,
            deflate_bytes_min: 256,
            requests_in_flight_max: 64,
            datagram_sessions_max: 16_384,
            datagram_session_timeout_ms: 60_000,
            datagram_message_bytes_max: 1_200,
        }
    }
}

impl Limits {
    /// How long the answer to a ping is waited for.
    pub(crate) fn pong_timeout_ms(&self) -> u64 {
        self.silence_timeout_ms.saturating_sub(self.ping_interval_ms).max(1)
    }

    /// How long what has so many bytes so far may take to arrive.
    pub(crate) fn arrival_timeout_ms(&self, bytes: usize) -> u64 {
        const BYTES_PER_SECOND: usize = 4 << 10;
        self.body_timeout_ms + (bytes / BYTES_PER_SECOND) as u64 * 1_000
    }

    /// The largest JSON object that is read as one request.
    ///
    /// `message_bytes_max` counts the decoded payload, and JSON may spend six bytes (`\u0000`) on one: an object has
    /// room for that, and for its other fields. A buffer grows with the bytes that arrive, not to this size.
    pub fn request_bytes_max(&self) -> usize {
        self.message_bytes_max.saturating_mul(6).saturating_add(8 << 10)
    }
}
