//! What goes through a relay, counted, and told while it does: a line on a terminal, events for programs.
//!
//! All of it goes to standard error. Deliberately absent: anything that is told for each message.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::Add;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How often the line is written anew.
const LIVE_INTERVAL: Duration = Duration::from_millis(500);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From left to right.
    There,
    /// From right to left.
    Back,
}

impl Way {
    /// The other direction.
    pub(super) fn opposite(self) -> Way {
        match self {
            Way::There => Way::Back,
            Way::Back => Way::There,
        }
    }
}

/// What went through: messages, or pieces of a stream, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    there: Count,
    back: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    pieces: u64,
    bytes: u64,
}

impl Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        let add = |a: Count, b: Count| Count { pieces: a.pieces + b.pieces, bytes: a.bytes + b.bytes };
        Tally { there: add(self.there, other.there), back: add(self.back, other.back) }
    }
}

impl Tally {
    pub(super) fn count(&mut self, way: Way, bytes: usize) {
        let count = match way {
            Way::There => &mut self.there,
            Way::Back => &mut self.back,
        };
        count.pieces += 1;
        count.bytes += bytes as u64;
    }

    fn to_json(self) -> Value {
        json!({
            "there": self.there.pieces,
            "there_bytes": self.there.bytes,
            "back": self.back.pieces,
            "back_bytes": self.back.bytes,
        })
    }
}

/// The figures of all pairs together.
#[derive(Debug, Default)]
pub(super) struct Figures {
    there: Counter,
    back: Counter,
    pub(super) open: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) failed: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    pieces: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(super) fn count(&self, bytes: usize) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Count {
        Count { pieces: self.pieces.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

impl Figures {
    pub(super) fn count(&self, way: Way, bytes: usize) {
        match way {
            Way::There => self.there.count(bytes),
            Way::Back => self.back.count(bytes),
        }
    }

    fn tally(&self) -> Tally {
        Tally { there: self.there.read(), back: self.back.read() }
    }
}

/// Whoever tells what happens: in words or as JSON, and without tearing the live line.
#[derive(Debug)]
pub(super) struct Voice {
    json: bool,
    is_live: bool,
    began: Instant,
    line: Mutex<Line>,
}

/// What the live line said last.
#[derive(Debug)]
struct Line {
    is_written: bool,
    at: Instant,
    tally: Tally,
}

impl Voice {
    pub(super) fn new(json: bool) -> Voice {
        let now = Instant::now();
        let line = Mutex::new(Line { is_written: false, at: now, tally: Tally::default() });
        Voice { json, is_live: !json && io::stderr().is_terminal(), began: now, line }
    }

    /// Tells an event: in words for people, or as an object for programs. What has no words is for programs only.
    pub(super) fn tell(&self, words: Option<String>, object: impl FnOnce() -> Value) {
        let text = match (self.json, words) {
            (true, _) => object().to_string(),
            (false, Some(words)) => format!("sockeye: {words}"),
            (false, None) => return,
        };
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if std::mem::take(&mut line.is_written) { "\r\x1b[K" } else { "" };
        // Where nobody can be told, the work goes on.
        let _ = writeln!(io::stderr(), "{clear}{text}");
    }

    /// Writes bytes for people, such as what passes in hexadecimal.
    pub(super) fn show(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let clear: &[u8] = if std::mem::take(&mut line.is_written) { b"\r\x1b[K" } else { b"" };
        let _ = io::stderr().write_all(&[clear, bytes].concat());
    }

    /// Keeps the live line, on a terminal; for ever.
    pub(super) async fn live(&self, figures: &Figures) {
        if !self.is_live {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LIVE_INTERVAL).await;
            let (now, tally) = (Instant::now(), figures.tally());
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            let seconds = now.duration_since(line.at).as_secs_f64();
            let rate = |new: Count, old: Count| amount(((new.bytes - old.bytes) as f64 / seconds) as u64);
            let text = format!(
                "{} open, {} in all; there {} at {}/s, back {} at {}/s",
                figures.open.load(Ordering::Relaxed),
                figures.opened.load(Ordering::Relaxed),
                amount(tally.there.bytes),
                rate(tally.there, line.tally.there),
                amount(tally.back.bytes),
                rate(tally.back, line.tally.back),
            );
            *line = Line { is_written: true, at: now, tally };
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        }
    }

    /// Leaves the live line standing, and goes on below it.
    pub(super) fn end_line(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut line.is_written) {
            let _ = writeln!(io::stderr());
        }
    }

    /// Tells the figures of everything, at the end.
    pub(super) fn tell_all(&self, figures: &Figures) {
        let tally = figures.tally();
        let (opened, failed) =
            (figures.opened.load(Ordering::Relaxed), figures.failed.load(Ordering::Relaxed));
        let whole = self.began.elapsed();
        let words = format!(
            "{opened} connections, {failed} failed; there {} bytes in {} pieces, back {} bytes in {} pieces; {} ms",
            tally.there.bytes,
            tally.there.pieces,
            tally.back.bytes,
            tally.back.pieces,
            whole.as_millis()
        );
        self.tell(Some(words), || {
            merge(
                json!({ "event": "stats", "opened": opened, "failed": failed, "whole_ms": whole.as_millis() as u64 }),
                tally,
            )
        });
    }
}

/// An event with what went through.
pub(super) fn merge(mut event: Value, tally: Tally) -> Value {
    if let (Some(event), Value::Object(tally)) = (event.as_object_mut(), tally.to_json()) {
        event.extend(tally);
    }
    event
}

/// Bytes for people.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, next);
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (bytes, shown) in [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(amount(bytes), shown);
        }
    }

    #[test]
    fn directions_are_counted_apart() {
        let figures = Figures::default();
        figures.count(Way::There, 3);
        figures.count(Way::Back, 4);
        figures.count(Way::Back, 5);

        let event = merge(json!({ "event": "x" }), figures.tally());

        assert_eq!(event, json!({ "event": "x", "there": 1, "there_bytes": 3, "back": 2, "back_bytes": 9 }));
    }
}
