//! How much is logged.

use std::fmt;
use std::str::FromStr;

/// How much is logged: each level has what the one before it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Defects.
    Error,
    /// What an operator should look at.
    Warn,
    /// What the server as a whole does.
    #[default]
    Info,
    /// Every connection.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// Every level, from the quietest.
    pub const ALL: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    /// Its name in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let found = Level::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| {
            let names = Level::ALL.map(Level::as_str).join(", ");
            format!("{text:?} is not a level: write one of {names}")
        })
    }
}
