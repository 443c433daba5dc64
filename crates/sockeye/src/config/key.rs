//! Every key of the configuration file: its path, its comment, and the field that it sets.
//!
//! One table reads, prints and documents, so the three cannot disagree. What happens at each bound is told in its
//! comment; the defaults live with the limits themselves.

use std::path::PathBuf;

use super::network::Network;
use super::word::Word;
use super::{Config, Level, Shards};
use crate::address::{Address, Source};

/// One key.
pub(super) struct Key {
    /// `listen`, `limits.ping_interval`.
    pub(super) path: &'static str,
    /// What it is for, and what happens at it.
    pub(super) comment: &'static str,
    /// Where it is kept.
    pub(super) field: for<'c> fn(&'c mut Config) -> Field<'c>,
}

/// A field of the configuration, by its kind.
pub(super) enum Field<'c> {
    Addresses(&'c mut Vec<Address>),
    Texts(&'c mut Vec<String>),
    Sources(&'c mut Vec<Source>),
    Flag(&'c mut bool),
    Shards(&'c mut Shards),
    Bytes(&'c mut usize),
    Count(&'c mut usize),
    Count32(&'c mut u32),
    /// A bound that 0 takes away.
    CountOrNone(&'c mut usize),
    /// A bound that 0 takes away.
    BytesOrNone(&'c mut usize),
    Networks(&'c mut Vec<Network>),
    Time(&'c mut u64),
    TimeOrNone(&'c mut u64),
    Level(&'c mut Level),
    Path(&'c mut Option<PathBuf>),
    Word(&'c mut dyn Word),
}

macro_rules! keys {
    ($($path:literal, $kind:ident, $($field:ident).+, $comment:literal;)*) => {
        pub(super) const KEYS: &[Key] = &[$(Key { path: $path, comment: $comment, field: |config| Field::$kind(&mut config.$($field).+) }),*];
    };
}

keys! {
    "listen", Addresses, listen, "Where to listen: tcp:HOST:PORT, unix:PATH, udp:HOST:PORT and unixgram:PATH. localhost means 127.0.0.1 and ::1.";
    "datagrams", Flag, datagrams, "Receive UDP datagrams on the port of every tcp: address too. Without it: only on udp: and unixgram: addresses.";
    "io_uring", Flag, io_uring, "Make the writes of a turn in one call, where the system allows io_uring; containers mostly do not. false, or not allowed: one call for each write.";
    "open", Flag, open, "Allow listening beyond loopback, although nobody has to say who he is (as --open does).";
    "log", Level, log, "How much to log: error, warn, info, debug (every connection) or trace (as --log does).";
    "shards", Shards, shards, "Threads that serve, each with connections of its own: a number from 1 to 256, or \"cores\", one for each that this process may run on.";
    "origins", Texts, origins, "Web origins (https://chat.example) whose pages may use this server, beside its own. Others get 403.";
    "names", Texts, names, "Host names by which requests may call this server, beside localhost and its own addresses. Others get 403.";
    "proxy_protocol_from", Networks, proxy_protocol_from, "Networks (10.0.0.0/8, one address, unix) whose connections begin with a PROXY header, version 1 or 2. One without is closed.";

    "deflate", Word, connection.deflate, "Compression of WebSocket messages (permessage-deflate), where the client can take it: shared (a message is compressed once for all its readers), dedicated (each connection has its own: smaller messages, 448 KiB a connection), off.";

    "limits.message_bytes_max", Bytes, hub.message_bytes_max, "The largest payload, decoded. Larger ones are refused: too_large, HTTP 413, WebSocket close 1009.";
    "limits.outbox_bytes_max", Bytes, hub.outbox_bytes_max, "Encoded messages waiting for one client. Above it a client lags, and reads on from history. Memory per client is at most this.";
    "limits.outbox_messages_max", Count, hub.outbox_messages_max, "Messages waiting for one client. Above it a client lags, and reads on from history.";
    "limits.outbox_total_bytes_max", Bytes, hub.outbox_total_bytes_max, "Encoded messages waiting for all clients. Above it the clients that stood still longest lag.";
    "limits.lagging_channels_max", Count, hub.lagging_channels_max, "Channels on which one client may lag. Above it the client is closed: slow.";
    "limits.answers_bytes_max", Bytes, hub.answers_bytes_max, "Answers waiting for one client. Above it the client is not read until it has read them.";
    "limits.answers_total_bytes_max", Bytes, hub.answers_total_bytes_max, "Answers waiting for all clients. Above it requests for history, whose answers may be long, are refused: busy, HTTP 503.";
    "limits.history_total_bytes_max", Bytes, hub.history_total_bytes_max, "History of all channels: names, entries, payloads, encoded forms. Above it the oldest messages go, and of idle channels those that take more than an eighth.";
    "limits.channels_max", Count, hub.channels_max, "Channels known. Above it a request that would make one is refused: too_many.";
    "limits.channel_grace", Time, hub.channel_grace_ms, "How long a channel without messages and subscribers is remembered.";
    "limits.subscriptions_max", Count, hub.subscriptions_max, "Subscriptions of one client to channels. Above it: too_many.";
    "limits.patterns_max", Count, hub.patterns_max, "Subscriptions of one client to patterns. Above it: too_many.";
    "limits.past_messages_max", Count, hub.past_messages_max, "Messages of one answer from history. Above it the answer is cut, and says more.";
    "limits.past_bytes_max", Bytes, hub.past_bytes_max, "Payloads of one answer from history. Above it the answer is cut, and says more.";
    "limits.keys_max", Count, hub.keys_max, "Idempotency keys remembered for one channel. Above it the oldest is forgotten.";
    "limits.keys_total_max", Count, hub.keys_total_max, "Idempotency keys remembered for all channels. Above it the oldest is forgotten.";
    "limits.key_age", Time, hub.key_age_ms, "How long an idempotency key is remembered.";
    "limits.deflate_bytes_min", Bytes, connection.deflate_bytes_min, "WebSocket messages of less than this are not compressed: they would hardly become smaller.";
    "limits.first_byte_timeout", Time, connection.first_byte_timeout_ms, "A connection that says nothing for this long at its start is closed.";
    "limits.head_timeout", Time, connection.head_timeout_ms, "An HTTP head must be whole within this time of its first byte, else 408 and close.";
    "limits.stall_timeout", Time, connection.stall_timeout_ms, "A connection of lines or a WebSocket that takes nothing for this time while answers wait for it is closed. Who only hears is not.";
    "limits.body_timeout", Time, connection.body_timeout_ms, "An HTTP body, a WebSocket message and a line must arrive within this time, plus a second for each 4 KiB, else the connection is closed.";
    "limits.http_idle_timeout", Time, connection.http_idle_timeout_ms, "A kept-alive HTTP connection without a request for this long is closed.";
    "limits.head_bytes_max", Bytes, connection.head_bytes_max, "Length of an HTTP head. Above it: 431 and close.";
    "limits.headers_max", Count, connection.headers_max, "Header fields of an HTTP head. Above it: 431 and close.";
    "limits.target_bytes_max", Bytes, connection.target_bytes_max, "Length of an HTTP request target. Above it: 414 and close.";
    "limits.ping_interval", Time, connection.ping_interval_ms, "A WebSocket that was silent for this long is sent a ping.";
    "limits.silence_timeout", Time, connection.silence_timeout_ms, "A WebSocket that was silent for this long is closed.";
    "limits.comment_interval", Time, connection.comment_interval_ms, "An event stream gets a comment this often, so that proxies keep it open.";
    "limits.unreadable_max", Count32, connection.unreadable_max, "Unreadable messages in a row after which a connection is closed.";
    "limits.close_timeout", Time, connection.close_timeout_ms, "How long a connection that is being closed may take nothing of what is queued, and then may take to end.";
    "limits.events_per_second_max", Count32, server.events_per_second_max, "Events told on $sys/clients, and as many on $sys/channels, per second and shard. The rest is counted, and the count is told.";
    "limits.linger_timeout", Time, server.linger_timeout_ms, "How long a connection that was told its end may go on sending, unread, before it is closed.";
    "limits.lost_timeout", Time, server.lost_timeout_ms, "A TCP peer whose system acknowledges nothing for this long, while something waits for it, is gone: its connection is closed. Who is there and reads nothing is not, unless this is less than two minutes: so rarely systems ask.";
    "limits.drain_delay", TimeOrNone, server.drain_delay_ms, "How long /readyz says 503 after SIGTERM before anything else ends, so that a proxy which asks it sends nobody any more.";
    "limits.drain_timeout", Time, server.drain_timeout_ms, "How long connections have to take what is queued after SIGTERM; then they are cut.";
    "limits.drain_reconnect_min", Time, server.drain_reconnect_min_ms, "Drained clients are told to come back after a random wait of at least this ...";
    "limits.drain_reconnect_max", Time, server.drain_reconnect_max_ms, "... and at most this.";
    "limits.datagram_sessions_max", Count, connection.datagram_sessions_max, "Subscribers by datagrams, on each shard. Above it: too_many.";
    "limits.datagram_session_timeout", Time, connection.datagram_session_timeout_ms, "A subscriber by datagrams from whom no valid cookie came for this long is forgotten.";
    "limits.datagram_message_bytes_max", Bytes, connection.datagram_message_bytes_max, "The longest message sent as one datagram, envelope included; at most 65507 bytes. A longer one is announced as a gap: too_large.";
    "limits.datagram_buffer_bytes", Bytes, server.datagram_buffer_bytes, "Datagrams that the kernel is asked to hold unread, for each socket; it grants at most net.core.rmem_max. More is lost, and counted.";
    "limits.handshake_timeout", Time, server.handshake_timeout_ms, "A TLS handshake must be done within this time of its first byte, else the connection is closed.";
    "limits.unsent_bytes_max", Bytes, server.unsent_bytes_max, "Unsent bytes that the kernel takes for one TCP connection (TCP_NOTSENT_LOWAT). More wait in the outbox.";
    "limits.connections_max", CountOrNone, guard.connections_max, "Connections in all. Above it a new one is closed at once. 0: as many as the system has descriptors for.";
    "limits.address_connections_max", CountOrNone, guard.address_connections_max, "Connections from one address (IPv6: one /64). Above it a new one is closed at once. 0: no bound.";
    "limits.address_arrivals_per_second", CountOrNone, guard.address_arrivals_per_second, "New connections a second from one address. Above it a new one is closed at once. 0: no bound.";
    "limits.address_exceptions", Networks, guard.address_exceptions, "Networks to which no bound per address applies. Unix sockets have no address, and none applies to them.";
    "limits.messages_per_second", CountOrNone, guard.messages_per_second.connection, "Messages a second from one connection. Above it: rate (HTTP 429), then not read for a while, then closed. 0: no bound.";
    "limits.user_messages_per_second", CountOrNone, guard.messages_per_second.user, "Messages a second from all connections of one user. Above it: the same, for the one that sent too much. 0: no bound.";
    "limits.address_messages_per_second", CountOrNone, guard.messages_per_second.address, "Messages a second from all connections of one address. Above it: the same. 0: no bound.";
    "limits.bytes_per_second", BytesOrNone, guard.bytes_per_second.connection, "Bytes received a second from one connection. Above it: told (rate) and not read for a while, then closed. 0: no bound.";
    "limits.user_bytes_per_second", BytesOrNone, guard.bytes_per_second.user, "Bytes received a second from all connections of one user. Above it: the same. 0: no bound.";
    "limits.address_bytes_per_second", BytesOrNone, guard.bytes_per_second.address, "Bytes received a second from all connections of one address. Above it: the same. 0: no bound.";
    "limits.channels_per_minute", CountOrNone, guard.channels_per_minute.connection, "Channels a minute that one connection may create by naming them. Above it: the request is refused, rate. 0: no bound.";
    "limits.user_channels_per_minute", CountOrNone, guard.channels_per_minute.user, "Channels a minute that all connections of one user may create. Above it: the same. 0: no bound.";
    "limits.address_channels_per_minute", CountOrNone, guard.channels_per_minute.address, "Channels a minute that all connections of one address may create. Above it: the same. 0: no bound.";
    "limits.rate_burst", Time, guard.burst_ms, "A rate that was unused may be caught up on: what comes in this time may come at once. Who is over waits this long at most.";
    "limits.rate_strikes_max", Count32, guard.strikes_max, "Told so often that it sends too much, a connection is closed: bye with reason rate.";
    "limits.rate_forgiven", Time, guard.strikes_forgiven_ms, "After so long without being told, the times before are forgiven.";

    "auth.secrets", Sources, auth.secrets, "Secrets of at least 32 bytes with which tokens are signed (HS256): env:NAME or file:PATH.";
    "auth.keys", Sources, auth.keys, "Public keys for signed tokens: file:PATH of PEM (RSA: RS256, P-256: ES256, Ed25519: EdDSA) or of a JWKS.";
    "auth.issuers", Texts, auth.issuers, "Who may have made a signed token (its iss). Empty: whoever has a key. Others are refused.";
    "auth.audiences", Texts, auth.audiences, "Whom a signed token may be meant for (its aud). Where a token or this names somebody, both must; else it is refused.";
    "auth.default_roles", Texts, auth.default_roles, "The roles of a signed token that carries neither rights nor roles.";
    "auth.token_files", Sources, auth.token_files, "Files of static tokens: file:PATH of [[tokens]] tables like those of [[auth.tokens]], in which a token may stand itself.";
    "auth.token_bytes_max", Bytes, auth.token_bytes_max, "The longest token. Longer ones are refused.";
    "auth.leeway", Time, auth.leeway_ms, "How far the clocks of those who make tokens may be off: exp and nbf are read with so much tolerance.";
    "auth.expiry_notice", Time, hub.expiry_notice_ms, "How long before its token expires a client is told; then it is closed: bye expired.";
    "auth.check_interval", Time, auth.check_interval_ms, "How often files of tokens and keys are looked at. A changed one is read again; one that cannot be used changes nothing.";

    "history.messages", Count, default_rule.messages, "Messages that a channel keeps, where no [[channels]] says otherwise.";
    "history.bytes", Bytes, default_rule.bytes, "Bytes that a channel keeps at most; the newest message always stays.";
    "history.age", Time, default_rule.age_ms, "How long a channel keeps messages; the newest always stays.";

    "tls.mode", Word, tls.mode, "Where there is a certificate: \"optional\" speaks TLS and plain text on the same port, \"required\" refuses plain text on TCP (datagrams are always plain: see datagrams), \"off\" speaks no TLS.";
    "tls.client_ca", Path, tls.client_ca, "A PEM file of who may have signed the certificates of clients.";
    "tls.client_certificate", Word, tls.client_certificate, "Whether clients show a certificate: \"none\", \"optional\" or \"required\".";
    "tls.version_min", Word, tls.version_min, "The oldest version of TLS that is spoken: \"1.2\" or \"1.3\".";
    "tls.sessions_max", Count, tls.sessions_max, "Sessions of TLS 1.2 remembered for resumption. Above it the oldest are forgotten, and shake hands in full.";
    "tls.check_interval", Time, tls.check_interval_ms, "How often certificate files are looked at. A changed one is read again; if it is bad, the old one stays.";
}
