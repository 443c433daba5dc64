//! The server's log on standard error: for a terminal, for the journal, or as JSON.
//!
//! The journal stamps and stores each line itself; it only has to be told how grave a line is, by a prefix
//! (`sd-daemon(3)`). Deliberately absent: a log file and its rotation, which are the service manager's work.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::Level;
use crate::tool::harmless;

/// Who reads the log, which is how its lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reader {
    /// A person.
    #[default]
    Person,
    /// A program: each line is a JSON object.
    Program,
    /// The journal.
    Journal,
}

impl Reader {
    /// Finds out. `journal_stream` is the stream that the journal reads, if it reads one.
    pub(super) fn find(as_json: bool, journal_stream: Option<(u64, u64)>) -> Reader {
        match as_json {
            true => Reader::Program,
            false if journal_stream.is_some() && stream_of(io::stderr()) == journal_stream => Reader::Journal,
            false => Reader::Person,
        }
    }

    /// The last line of a command that fails, in the shape of the lines before it.
    pub(super) fn last_line(self, message: &str, exit_code: u8) -> String {
        // A peer's words may be in it.
        let words = harmless(message);
        match self {
            Reader::Person => format!("sockeye: {words}"),
            Reader::Program => {
                line("ERROR", &serde_json::json!({ "message": message, "exit_code": exit_code }))
            }
            Reader::Journal => {
                let prefix = format!("<{}>", priority(tracing::Level::ERROR));
                format!("{prefix}sockeye: {}", words.replace('\n', &format!("\n{prefix}")))
            }
        }
    }
}

/// A line for programs that is made by hand, in the shape of the log's own.
fn line(level: &str, fields: &serde_json::Value) -> String {
    let mut timestamp = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    serde_json::json!({ "timestamp": timestamp, "level": level, "fields": fields }).to_string()
}

/// The log that was begun, whose level can be changed.
pub(super) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    reader: Reader,
}

impl Log {
    /// Begins the log.
    pub(super) fn begin(level: Level, reader: Reader) -> Log {
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
        let lines: Box<dyn Layer<_> + Send + Sync> = match reader {
            Reader::Program => Box::new(lines.json()),
            Reader::Journal => {
                let format =
                    tracing_subscriber::fmt::format().with_target(false).with_ansi(false).without_time();
                Box::new(lines.with_ansi(false).event_format(ForJournal(format.with_level(false))))
            }
            Reader::Person => Box::new(lines.with_ansi(io::stderr().is_terminal())),
        };
        let (filter, handle) = reload::Layer::new(filter(level));
        tracing_subscriber::registry().with(filter).with(lines).init();
        Log { level: handle, reader }
    }

    /// Changes how much is logged from here on.
    pub(super) fn set_level(&self, level: Level) {
        // It fails only where the log has gone before.
        let _ = self.level.reload(filter(level));
    }

    /// The first line of the log: who starts the server reads from it where it listens. Programs are told so whatever else they
    /// want to hear.
    pub(super) fn announce(&self, addresses: &[String], shards: u16) {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        if self.reader != Reader::Program {
            return tracing::info!(listen = %addresses.join(" "), shards, version = VERSION, "listening");
        }
        // The log's own fields cannot hold a list.
        let fields = serde_json::json!({
            "message": "listening", "listen": addresses, "shards": shards, "version": VERSION,
        });
        // Where the log cannot be written, serving goes on.
        let _ = writeln!(io::stderr(), "{}", line("INFO", &fields));
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// Device and inode of a stream, as `JOURNAL_STREAM` names them.
fn stream_of(stream: impl AsFd) -> Option<(u64, u64)> {
    let stat = rustix::fs::fstat(stream).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Lines for the journal: without a time, since it has its own, and with how grave they are.
struct ForJournal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        // The journal makes an entry of each line, so each carries the prefix.
        for line in text.lines() {
            writeln!(writer, "<{priority}>{line}")?;
        }
        Ok(())
    }
}

/// The priority of syslog.
fn priority(level: tracing::Level) -> u8 {
    match level {
        tracing::Level::ERROR => 3,
        tracing::Level::WARN => 4,
        tracing::Level::INFO => 6,
        _ => 7,
    }
}
