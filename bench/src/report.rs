//! The result: rows of figures, as a Markdown table for people or as JSON for scripts.

use std::io::{self, Write};

use serde_json::json;

use crate::measure::{Rounds, Spread};

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Anything: it is only reported.
    None,
}

impl Target {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(bound) => Some(value <= bound),
            Self::AtLeast(bound) => Some(value >= bound),
            Self::None => None,
        }
    }
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// CPU per message as a multiple of another program's.
    Ratio,
    /// Microseconds.
    Microseconds,
    /// Bytes.
    Bytes,
    /// A plain number.
    Count,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Microseconds => "us",
            Self::Bytes => "bytes",
            Self::Count => "count",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.3}"),
            Self::Microseconds => format!("{value:.0} us"),
            Self::Bytes if value.abs() >= 10.0 * 1024.0 * 1024.0 => {
                format!("{:.1} MiB", value / 1024.0 / 1024.0)
            }
            Self::Bytes if value.abs() >= 10.0 * 1024.0 => format!("{:.0} KiB", value / 1024.0),
            Self::Bytes => format!("{value:.0} B"),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.2}"),
        }
    }
}

/// One figure.
pub(crate) struct Row {
    pub(crate) cell: String,
    pub(crate) figure: String,
    pub(crate) value: Spread,
    pub(crate) unit: Unit,
    pub(crate) target: Target,
    /// CPU per message of the measured program and of the one it is compared with, in microseconds.
    pub(crate) us_per_message: Option<(f64, f64)>,
    pub(crate) note: String,
}

impl Row {
    /// The ratio of two programs' CPU per message.
    pub(crate) fn of_ratio(
        cell: &str,
        figure: &str,
        rounds: &Rounds,
        (program, to): (usize, usize),
        target: Target,
    ) -> Self {
        Self {
            cell: cell.into(),
            figure: figure.into(),
            value: rounds.ratio(program, to),
            unit: Unit::Ratio,
            target,
            us_per_message: Some((rounds.us_per_message(program).median, rounds.us_per_message(to).median)),
            note: rounds.note(),
        }
    }

    /// A figure that was measured once.
    pub(crate) fn of_value(cell: &str, figure: &str, value: f64, unit: Unit, target: Target) -> Self {
        Self {
            cell: cell.into(),
            figure: figure.into(),
            value: Spread::once(value),
            unit,
            target,
            us_per_message: None,
            note: String::new(),
        }
    }

    /// The same row with a note.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn is_met(&self) -> Option<bool> {
        self.target.is_met(self.value.median)
    }

    fn result(&self) -> &'static str {
        match self.is_met() {
            Some(true) => "pass",
            Some(false) => "**miss**",
            None => "",
        }
    }
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a figure, and tells who is waiting for it.
    pub(crate) fn push(&mut self, row: Row) {
        eprintln!(
            "{}: {} {} {} {}",
            row.cell,
            row.figure,
            row.unit.show(row.value.median),
            row.result(),
            row.note
        );
        self.rows.push(row);
    }

    /// Whether every target was met.
    pub(crate) fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.is_met() != Some(false))
    }

    /// Writes a table for people.
    pub(crate) fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "| cell | figure | value (min..max) | us per message, both | target | result | note |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let show = |value| row.unit.show(value);
            let value = if row.value.minimum == row.value.maximum {
                show(row.value.median)
            } else {
                format!(
                    "{} ({}..{})",
                    show(row.value.median),
                    show(row.value.minimum),
                    show(row.value.maximum)
                )
            };
            let both = row
                .us_per_message
                .map_or_else(String::new, |(ours, theirs)| format!("{ours:.4} / {theirs:.4}"));
            let target = match row.target {
                Target::AtMost(bound) => format!("at most {}", show(bound)),
                Target::AtLeast(bound) => format!("at least {}", show(bound)),
                Target::None => String::new(),
            };
            writeln!(
                out,
                "| {} | {} | {value} | {both} | {target} | {} | {} |",
                row.cell,
                row.figure,
                row.result(),
                row.note
            )?;
        }
        Ok(())
    }

    /// Writes one JSON object for scripts.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "cell": row.cell,
                    "figure": row.figure,
                    "unit": row.unit.name(),
                    "median": row.value.median,
                    "minimum": row.value.minimum,
                    "maximum": row.value.maximum,
                    "us_per_message": row.us_per_message.map(|(ours, _)| ours),
                    "us_per_message_compared": row.us_per_message.map(|(_, theirs)| theirs),
                    "at_most": if let Target::AtMost(bound) = row.target { Some(bound) } else { None },
                    "at_least": if let Target::AtLeast(bound) = row.target { Some(bound) } else { None },
                    "pass": row.is_met(),
                    "note": row.note,
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "pass": self.is_met(), "rows": rows }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_miss_fails_the_report() {
        let mut report = Report::default();
        report.push(Row::of_value("memory", "a", 100.0, Unit::Bytes, Target::AtMost(2048.0)));
        report.push(Row::of_value("memory", "b", 100.0, Unit::Bytes, Target::None));
        assert!(report.is_met());

        report.push(Row::of_value("fanout", "c", 1.0, Unit::Count, Target::AtLeast(7.5)));

        assert!(!report.is_met());
        let mut table = Vec::new();
        report.write_markdown(&mut table).expect("memory takes everything");
        assert!(String::from_utf8_lossy(&table).contains("**miss**"));
    }
}
