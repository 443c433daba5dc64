//! Keys that take one of a few words.

use sockeye_gateway::DeflateMode;

/// A type whose values are words of the configuration file.
pub(super) trait Words: Copy + PartialEq + 'static {
    /// Every value and its word.
    const WORDS: &'static [(&'static str, Self)];
}

/// One such value, whatever its type.
pub(super) trait Word {
    /// The word that it is.
    fn as_word(&self) -> &'static str;
    /// Makes it another one, or says what is allowed.
    fn set_word(&mut self, text: &str) -> Result<(), String>;
}

impl Words for DeflateMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("shared", DeflateMode::Shared), ("dedicated", DeflateMode::Dedicated), ("off", DeflateMode::Off)];
}

impl<T: Words> Word for T {
    fn as_word(&self) -> &'static str {
        T::WORDS.iter().find(|(_, value)| value == self).map_or("", |(word, _)| word)
    }

    fn set_word(&mut self, text: &str) -> Result<(), String> {
        match T::WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => {
                *self = *value;
                Ok(())
            }
            None => {
                let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
                Err(format!("takes {}", words.join(" or ")))
            }
        }
    }
}
