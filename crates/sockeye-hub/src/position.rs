//! Where a message stands: the incarnation of its channel, and the place in it.

use std::{fmt, str::FromStr};

/// How long an epoch is when it is made here.
const EPOCH_DIGITS: usize = 6;

/// One incarnation of one channel: 1 to 16 characters of `a-z0-9`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// The characters, then zeros.
    characters: [u8; 16],
}

impl Epoch {
    /// Reads an epoch as it is written; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_epoch = (1..=16).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        is_epoch.then(|| {
            let mut characters = [0; 16];
            characters[..bytes.len()].copy_from_slice(bytes);
            Self { characters }
        })
    }

    /// The epoch as it is written.
    #[inline]
    pub fn as_str(&self) -> &str {
        let length = self.characters.iter().position(|byte| *byte == 0).unwrap_or(16);
        std::str::from_utf8(&self.characters[..length]).expect("only a-z0-9 are stored")
    }

    /// Six base-36 digits of a random number.
    pub(crate) fn from_random(mut random: u64) -> Self {
        let mut characters = [0; 16];
        for character in &mut characters[..EPOCH_DIGITS] {
            *character = b"abcdefghijklmnopqrstuvwxyz0123456789"[(random % 36) as usize];
            random /= 36;
        }
        Self { characters }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Epoch and sequence, written `k3f:122`. Sequence 0 stands before the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The incarnation of the channel.
    pub epoch: Epoch,
    /// The place in it, counted from 1.
    pub sequence: u64,
}

impl Position {
    /// Reads a position as it is written; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, sequence) = text.split_once(':')?;
        let only_digits = !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit());
        if !only_digits {
            return None;
        }
        Some(Self { epoch: Epoch::parse(epoch)?, sequence: sequence.parse().ok()? })
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or(ParsePositionError)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.epoch, self.sequence)
    }
}

/// What was written is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is an epoch of a-z0-9, a colon and a number, such as k3f:122")]
pub struct ParsePositionError;
