//! What the server says about itself: `$sys/stats` for people and scripts on a channel, `/metrics` for Prometheus.
//!
//! Both are made from the same figures. Deliberately absent: anything that names a client, a payload or a token.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use sockeye_gateway::datagram::KindCounts;
use sockeye_gateway::{Asset, Pages, Protocol, Tally};
use sockeye_hub::{Hub, Now, RefusalCode, Stats};

use super::board::{self, Board, Reloads, Shown};
use super::figures::Figures;
use super::guard::{Counts, Limit};
use super::tls::Tls;

/// The channel of the figures.
pub const CHANNEL: &str = "$sys/stats";

/// The pages as one shard gives them, at one moment.
pub(super) struct ShardPages<'a> {
    pub(super) figures: &'a Figures,
    pub(super) counts: &'a Counts,
    pub(super) board: &'a Board,
    pub(super) assets: fn(&str) -> Option<Asset>,
    pub(super) ready: bool,
    pub(super) tls: Option<&'a Tls>,
    pub(super) draining: bool,
    pub(super) now: Now,
}

impl Pages for ShardPages<'_> {
    fn asset(&self, path: &str) -> Option<Asset> {
        (self.assets)(path)
    }

    fn metrics(&self, hub: &Hub, tally: &Tally) -> String {
        let mut page = metrics(&self.board.all(self.figures, tally, hub), self.counts, self.board, self.now);
        if let Some(tls) = self.tls {
            tls.figures().write_metrics(&mut page);
        }
        page
    }

    fn ready(&self) -> bool {
        self.ready
    }

    fn draining(&self) -> bool {
        self.draining
    }
}

/// The object that `$sys/stats` carries each second. Counts are totals since the start: rates are their differences.
pub(super) fn object(shards: &[Shown], now: Now) -> Vec<u8> {
    let Shown { figures, tally: _, stats } = board::sum(shards);
    let shards: Vec<_> = shards
        .iter()
        .map(|shard| {
            serde_json::json!({
                "connections": shard.figures.open(),
                "messages": { "in": shard.stats.published, "out": shard.stats.delivered },
            })
        })
        .collect();
    let protocols: serde_json::Map<_, _> = Protocol::ALL
        .iter()
        .map(|protocol| (protocol.as_str().to_owned(), figures.open_by_protocol[*protocol as usize].into()))
        .collect();
    serde_json::json!({
        "connections": figures.open(),
        "protocols": protocols,
        "channels": stats.homes,
        "subscriptions": stats.subscriptions,
        "patterns": stats.patterns,
        "lagging": stats.lagging,
        "messages": { "in": stats.published, "out": stats.delivered },
        "bytes": { "in": figures.bytes_in, "out": figures.bytes_out },
        "datagrams": datagrams(&figures),
        "gaps": stats.gaps,
        "history": { "messages": stats.history_messages, "bytes": stats.history_bytes },
        "outbox_bytes": stats.outbox_bytes,
        "answers_bytes": stats.answers_bytes,
        "shards": shards,
        "uptime_s": (now.ms - figures.started.ms) / 1_000,
    })
    .to_string()
    .into_bytes()
}

/// What became of datagrams, shortly: it is to fit a datagram itself.
fn datagrams(figures: &Figures) -> serde_json::Value {
    let (udp, unix) = (&figures.datagrams.udp, &figures.datagrams.unix);
    let both = |count: fn(&KindCounts) -> u64| count(udp) + count(unix);
    serde_json::json!({
        "udp": { "in": udp.received, "out": udp.sent },
        "unixgram": { "in": unix.received, "out": unix.sent },
        "ignored": both(|counts| counts.ignored),
        "dropped": both(|counts| counts.dropped + counts.send_dropped),
        "lost": figures.datagrams_lost,
    })
}

/// A name, what it says, and the figure.
type DatagramMetric = (&'static str, &'static str, fn(&KindCounts) -> u64);

/// The counters of datagrams; sessions are among the connections.
const DATAGRAM_METRICS: [DatagramMetric; 10] = [
    ("sockeye_datagrams_received_total", "Datagrams received.", |counts| counts.received),
    ("sockeye_datagrams_received_bytes_total", "Bytes received in datagrams.", |counts| {
        counts.received_bytes
    }),
    ("sockeye_datagrams_sent_total", "Datagrams sent.", |counts| counts.sent),
    ("sockeye_datagrams_sent_bytes_total", "Bytes sent in datagrams.", |counts| counts.sent_bytes),
    ("sockeye_datagrams_cookies_total", "Cookies handed out.", |counts| counts.cookies),
    (
        "sockeye_datagrams_ignored_total",
        "Datagrams that are never answered: a server's words, and what is no object.",
        |counts| counts.ignored,
    ),
    (
        "sockeye_datagrams_unanswered_total",
        "Answers not sent: over three times what came from an unproved address, or no address to send to.",
        |counts| counts.unanswered,
    ),
    (
        "sockeye_datagrams_dropped_total",
        "Datagrams dropped unread by a session with too much to read, or with too many requests under way.",
        |counts| counts.dropped,
    ),
    (
        "sockeye_datagrams_unsent_total",
        "Datagrams that the system did not send: answers for want of room, others because there is no way.",
        |counts| counts.send_dropped,
    ),
    (
        "sockeye_datagrams_too_large_total",
        "Messages announced as gaps because no datagram carries them.",
        |counts| counts.too_large,
    ),
];

/// The same figures in the Prometheus text format, version 0.0.4.
fn metrics(shards: &[Shown], counts: &Counts, board: &Board, now: Now) -> String {
    let Shown { figures, tally, stats } = board::sum(shards);
    let mut page = Page(String::with_capacity(8 << 10));
    page.family("sockeye_build_info", "gauge", "The version that runs.");
    page.labelled("sockeye_build_info", "version", env!("CARGO_PKG_VERSION"), 1);
    page.one(
        "sockeye_uptime_seconds",
        "gauge",
        "Time since the start.",
        (now.ms - figures.started.ms) / 1_000,
    );

    page.reloads(board.reloads());

    page.family("sockeye_connections", "gauge", "Connections open, by protocol.");
    for protocol in Protocol::ALL {
        page.labelled(
            "sockeye_connections",
            "protocol",
            protocol.as_str(),
            figures.open_by_protocol[protocol as usize],
        );
    }
    page.family("sockeye_shard_connections", "gauge", "Connections open, by shard.");
    page.by_shard("sockeye_shard_connections", shards, |shard| shard.figures.open());
    let name = "sockeye_connections_accepted_total";
    page.family(name, "counter", "Connections accepted, by what they came.");
    for (transport, total) in &figures.accepted {
        page.labelled(name, "transport", transport, *total);
    }
    page.family(
        "sockeye_connections_by_protocol_total",
        "counter",
        "Connections that came to speak a protocol.",
    );
    for protocol in &Protocol::ALL[1..] {
        let total = figures.total_by_protocol[*protocol as usize];
        page.labelled("sockeye_connections_by_protocol_total", "protocol", protocol.as_str(), total);
    }
    page.family("sockeye_connections_closed_total", "counter", "Connections closed, by protocol and reason.");
    for ((protocol, reason), total) in &figures.closed {
        let _ = writeln!(
            page.0,
            "sockeye_connections_closed_total{{protocol=\"{protocol}\",reason=\"{reason}\"}} {total}"
        );
    }
    page.one(
        "sockeye_connections_turned_away_total",
        "counter",
        "Connections closed at once because descriptors had run out.",
        figures.turned_away,
    );
    page.family(
        "sockeye_limited_total",
        "counter",
        "Times that somebody was over a limit, by what became of that.",
    );
    for limit in Limit::ALL {
        for outcome in limit.outcomes() {
            page.limited(limit.as_str(), outcome.as_str(), counts.of(limit, *outcome));
        }
    }
    page.one("sockeye_received_bytes_total", "counter", "Bytes received.", figures.bytes_in);
    page.one("sockeye_sent_bytes_total", "counter", "Bytes sent.", figures.bytes_out);
    for (name, help, figure) in DATAGRAM_METRICS {
        page.family(name, "counter", help);
        page.labelled(name, "protocol", Protocol::Udp.as_str(), figure(&figures.datagrams.udp));
        page.labelled(name, "protocol", Protocol::UnixDatagram.as_str(), figure(&figures.datagrams.unix));
    }
    page.one(
        "sockeye_datagrams_lost_total",
        "counter",
        "Datagrams that the kernel dropped because they came faster than they were read.",
        figures.datagrams_lost,
    );
    page.one("sockeye_reads_total", "counter", "Reads from sockets that brought something.", figures.reads);
    page.one("sockeye_writes_total", "counter", "Writes to sockets.", figures.writes);

    page.one("sockeye_channels", "gauge", "Channels known.", stats.homes);
    page.one("sockeye_subscriptions", "gauge", "Subscriptions to one channel.", stats.subscriptions);
    page.one("sockeye_patterns", "gauge", "Subscriptions to a pattern.", stats.patterns);
    page.one(
        "sockeye_messages_published_total",
        "counter",
        "Messages that were given a position.",
        stats.published,
    );
    page.one("sockeye_messages_delivered_total", "counter", "Messages put into outboxes.", stats.delivered);
    page.family("sockeye_shard_messages_delivered_total", "counter", "Messages put into outboxes, by shard.");
    page.by_shard("sockeye_shard_messages_delivered_total", shards, |shard| shard.stats.delivered);
    page.one(
        "sockeye_lagging",
        "gauge",
        "Pairs of client and channel that read on from history.",
        stats.lagging,
    );
    page.one(
        "sockeye_lagged_total",
        "counter",
        "Times that a client began to lag on a channel.",
        stats.lagged,
    );
    page.one("sockeye_gaps_total", "counter", "Gaps announced.", stats.gaps);
    page.family("sockeye_messages_missed_total", "counter", "Messages announced as missing, by reason.");
    page.labelled("sockeye_messages_missed_total", "reason", "slow", stats.missed_slow);
    page.labelled("sockeye_messages_missed_total", "reason", "evicted", stats.missed_evicted);
    page.one(
        "sockeye_outbox_bytes",
        "gauge",
        "Encoded length of all messages in outboxes.",
        stats.outbox_bytes,
    );
    page.one(
        "sockeye_answers_bytes",
        "gauge",
        "What waits in outboxes beside messages, answers above all.",
        stats.answers_bytes,
    );
    page.one("sockeye_history_bytes", "gauge", "Memory that history costs.", stats.history_bytes);
    page.one("sockeye_history_messages", "gauge", "Messages in history.", stats.history_messages);
    page.one(
        "sockeye_history_evicted_total",
        "counter",
        "Messages that left history because of a bound.",
        stats.evicted,
    );
    page.one(
        "sockeye_history_expired_total",
        "counter",
        "Messages that left history because of their age.",
        stats.expired,
    );
    page.one("sockeye_channels_forgotten_total", "counter", "Channels forgotten.", stats.forgotten);
    page.one(
        "sockeye_clients_closed_slow_total",
        "counter",
        "Clients closed for being slow.",
        stats.closed_slow,
    );
    page.requests(&tally, &stats);
    page.0
}

/// A page of metrics.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values here are words of ours, so they need no escapes.
    fn labelled(&mut self, name: &str, label: &str, value: &str, figure: u64) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {figure}");
    }

    fn limited(&mut self, limit: &str, outcome: &str, figure: u64) {
        let _ = writeln!(self.0, "sockeye_limited_total{{limit=\"{limit}\",outcome=\"{outcome}\"}} {figure}");
    }

    fn by_shard(&mut self, name: &str, shards: &[Shown], figure: impl Fn(&Shown) -> u64) {
        for (number, shard) in shards.iter().enumerate() {
            self.labelled(name, "shard", &number.to_string(), figure(shard));
        }
    }

    fn requests(&mut self, tally: &Tally, stats: &Stats) {
        let name = "sockeye_requests_total";
        self.family(name, "counter", "Requests, by protocol.");
        for protocol in &Protocol::ALL {
            let total = tally.requests[*protocol as usize];
            if total > 0 {
                self.labelled(name, "protocol", protocol.as_str(), total);
            }
        }
        let name = "sockeye_requests_refused_total";
        self.family(name, "counter", "Requests refused, by the word that was said.");
        // Some are refused before the hub is asked, the others by the hub.
        let mut refused = tally.refused.clone();
        for (code, total) in RefusalCode::ALL.iter().zip(stats.refused_by_code) {
            *refused.entry(code.as_str()).or_default() += total;
        }
        for (code, total) in refused {
            self.labelled(name, "code", code, total);
        }
        let name = "sockeye_publishes_total";
        self.family(
            name,
            "counter",
            "Publishes, by outcome: ok, known by its key already, or the word of the refusal.",
        );
        self.labelled(name, "outcome", "ok", stats.published);
        self.labelled(name, "outcome", "again", stats.published_again);
        for (code, total) in RefusalCode::ALL.iter().zip(stats.publishes_refused) {
            if total > 0 {
                self.labelled(name, "outcome", code.as_str(), total);
            }
        }
    }

    fn reloads(&mut self, reloads: &Reloads) {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let name = "sockeye_config_reloads_total";
        self.family(name, "counter", "Times that the configuration was read again, by outcome.");
        self.labelled(name, "outcome", "ok", figure(&reloads.good));
        self.labelled(name, "outcome", "refused", figure(&reloads.bad));
        self.one(
            "sockeye_config_last_reload_successful",
            "gauge",
            "1 if the configuration could be used when it was last read, else 0.",
            u64::from(!reloads.last_was_bad.load(Ordering::Relaxed)),
        );
        self.one(
            "sockeye_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the configuration that is used was read.",
            figure(&reloads.last_good_unix_s),
        );
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, figure: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {figure}");
    }
}
