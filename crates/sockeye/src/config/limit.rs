//! Every bound and timeout of the loop and its sockets, with what happens at it.
//!
//! Bounds of one connection are in `sockeye_gateway::limit`, those of channels and outboxes in `sockeye_hub::limit`.

/// Bounds and timeouts of one shard. All times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The buffer that every read goes into, one a shard (256 KiB), and so the share of one connection in one turn: what
    /// is left comes in the next turn, after the others.
    pub receive_bytes_max: usize,
    /// Connections accepted from one listener in one turn (256); the rest wait for the next.
    pub accepts_per_turn_max: usize,
    /// Connections written to in one turn before other readiness is served (1,024); the rest come in the next.
    pub writes_per_turn_max: usize,
    /// Connections that may wait to be accepted (4,096, or the system's `somaxconn` if that is less): more are refused
    /// by the system.
    pub backlog_max: i32,
    /// When descriptors have run out and not even turning away works, a listener is tried again after this (1 s).
    pub accept_retry_ms: u64,
    /// A connection that was told its end may send for this long (2 s), unread, before it is closed.
    pub linger_timeout_ms: u64,
    /// A TCP peer whose system has said nothing for this time (150 s) while something waits to be acknowledged is gone: its
    /// connection is closed. The system asks a peer that has no room every two minutes at least, and who is there answers.
    pub lost_timeout_ms: u64,
    /// What may wait in the inbox of a shard (65,536 letters). Above it the shards that write to it read from none of
    /// their connections until it is less; nobody blocks.
    pub inbox_letters_max: usize,
    /// Payloads without a place yet that may wait in the inbox of a shard (16 MiB). Above it: the same.
    pub inbox_bytes_max: usize,
    /// Letters that a shard handles in one turn (4,096); the rest wait for the next.
    pub letters_per_turn_max: usize,
    /// How old the figures of a shard may be that another one shows (100 ms).
    pub figures_interval_ms: u64,
    /// How often `$sys/stats` speaks (1 s), while anybody hears it.
    pub stats_interval_ms: u64,
    /// What is told on `$sys/clients` and on `$sys/channels`, per shard (200 a second each). The rest is counted, and the count
    /// is told.
    pub events_per_second_max: u32,
    /// After SIGTERM, `/readyz` answers 503 for this long (0 s) before anything else ends, so that a proxy that asks it sends
    /// nobody any more.
    pub drain_delay_ms: u64,
    /// After SIGTERM, connections have this long to take what is queued (10 s), then they are cut.
    pub drain_timeout_ms: u64,
    /// The least random wait after which clients come back from a drain (0.5 s).
    pub drain_reconnect_min_ms: u64,
    /// The greatest random wait after which clients come back from a drain (15 s).
    pub drain_reconnect_max_ms: u64,
    /// Datagrams: the longest that is received (65,536 bytes, which no UDP datagram reaches): a longer one is refused. Each
    /// shard has 64 such buffers, of which only what datagrams reach is used memory.
    pub datagram_bytes_max: usize,
    /// Datagrams handled from one socket in one turn (256); the rest wait for the next.
    pub datagrams_per_turn_max: usize,
    /// Datagrams: what the kernel is asked to hold for us unread, for each socket (4 MiB; it grants at most
    /// `net.core.rmem_max`). More is lost, and counted.
    pub datagram_buffer_bytes: usize,
    /// When a Unix datagram socket took nothing, its session is tried again after this (20 ms).
    pub datagram_retry_ms: u64,
    /// TCP: unsent bytes that the kernel takes from us for one connection (128 KiB): a stalled peer hides no more.
    pub unsent_bytes_max: usize,
    /// A TLS handshake must be done within this of its first byte (10 s), else the connection is closed.
    pub handshake_timeout_ms: u64,
    /// TLS handshakes begun in one turn (16), for each may cost a millisecond of signing; the rest wait for the next.
    pub handshakes_per_turn_max: usize,
    /// TCP keep-alive: silence before the first probe (60 s), between probes (15 s), and probes before the end (4).
    pub keep_alive: (u64, u64, u32),
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            receive_bytes_max: 256 << 10,
            accepts_per_turn_max: 256,
            writes_per_turn_max: 1_024,
            backlog_max: 4_096,
            accept_retry_ms: 1_000,
            linger_timeout_ms: 2_000,
            lost_timeout_ms: 150_000,
            inbox_letters_max: 65_536,
            inbox_bytes_max: 16 << 20,
            letters_per_turn_max: 4_096,
            figures_interval_ms: 100,
            stats_interval_ms: 1_000,
            events_per_second_max: 200,
            drain_delay_ms: 0,
            drain_timeout_ms: 10_000,
            drain_reconnect_min_ms: 500,
            drain_reconnect_max_ms: 15_000,
            datagram_bytes_max: 64 << 10,
            datagrams_per_turn_max: 256,
            datagram_buffer_bytes: 4 << 20,
            datagram_retry_ms: 20,
            unsent_bytes_max: 128 << 10,
            handshake_timeout_ms: 10_000,
            handshakes_per_turn_max: 16,
            keep_alive: (60_000, 15_000, 4),
        }
    }
}
