//! How many shards: as many as cores, or a number.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread;

/// The most shards that hubs can tell apart.
pub const SHARDS_MAX: u16 = 256;

/// How many shards a server runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    /// One for each core that this process may run on.
    #[default]
    Cores,
    /// So many, from 1 to 256.
    Count(u16),
}

impl Shards {
    /// The number. Affinity and the quota of a control group count: it is what this process may really use.
    pub fn count(self) -> u16 {
        match self {
            Shards::Count(count) => count,
            // Where the system does not tell, one shard is right everywhere.
            Shards::Cores => {
                let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
                u16::try_from(cores).map_or(SHARDS_MAX, |cores| cores.min(SHARDS_MAX))
            }
        }
    }
}

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cores" => Ok(Shards::Cores),
            _ => match text.parse() {
                Ok(count @ 1..=SHARDS_MAX) => Ok(Shards::Count(count)),
                _ => Err(format!("takes a number from 1 to {SHARDS_MAX}, or \"cores\": one for each core")),
            },
        }
    }
}

impl fmt::Display for Shards {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shards::Cores => out.write_str("cores"),
            Shards::Count(count) => count.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_numbers_are_read_as_they_are_printed_and_nonsense_is_refused() {
        for shards in [Shards::Cores, Shards::Count(1), Shards::Count(256)] {
            assert_eq!(shards.to_string().parse(), Ok(shards));
        }
        for text in ["", "0", "257", "-1", "two", "core"] {
            assert!(text.parse::<Shards>().is_err(), "{text}");
        }
        assert!((1..=SHARDS_MAX).contains(&Shards::Cores.count()));
    }
}
