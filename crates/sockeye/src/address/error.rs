//! Why a text is not an address: what is wrong, in which address, and what is allowed.
//!
//! The address is repeated without what might be a secret in it.

/// Why a text is not an address.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, AddressError};
///
/// let error = "tpc:localhost:7000".parse::<Address>().expect_err("it is misspelt");
/// assert!(matches!(error, AddressError::UnknownBase { .. }));
/// assert!(error.to_string().contains("tcp"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no base.
    #[error("address {0:?} has no base: write tcp:HOST:PORT, unix:PATH or ws://HOST:PORT/PATH")]
    NoBase(String),
    /// The base is not known.
    #[error("address {address:?} begins with the unknown base {base:?}: {hint}")]
    UnknownBase {
        /// The whole text.
        address: String,
        /// Its base.
        base: String,
        /// What is allowed.
        hint: String,
    },
    /// A layer is not known.
    #[error("address {address:?} has the unknown layer {layer:?}: {hint}")]
    UnknownLayer {
        /// The whole text.
        address: String,
        /// The layer.
        layer: String,
        /// What is allowed.
        hint: String,
    },
    /// The target is not of the base's form, or the layers do not fit upon each other.
    #[error("address {address:?}: {why}")]
    BadTarget {
        /// The whole text.
        address: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// An option is not known.
    #[error("address {address:?} has the unknown option {key:?}: {hint}")]
    UnknownOption {
        /// The whole text.
        address: String,
        /// The option's name.
        key: String,
        /// What is allowed.
        hint: String,
    },
    /// An option's value is wrong, or it does not belong there.
    #[error("address {address:?}: the option {key:?} {why}")]
    BadOption {
        /// The whole text.
        address: String,
        /// The option's name.
        key: &'static str,
        /// What is wrong, and what is allowed.
        why: String,
    },
}

/// The text without what might be a secret: the password of `user:password@`, and the value of an option that takes a
/// secret's place.
pub(super) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let authority_end = text.find(['/', '?', '#']).map_or(text.len(), |end| {
        // The slashes behind the base do not end the authority.
        let behind = text[end..].strip_prefix("//").map(|rest| text.len() - rest.len());
        behind.map_or(end, |start| text[start..].find(['/', '?', '#']).map_or(text.len(), |end| start + end))
    });
    let (authority, rest) = text.split_at(authority_end);
    match authority.rsplit_once('@') {
        // `base:user:password@host`, but `unix:@name`.
        Some((before, host)) if before.matches(':').count() > 1 => {
            let user = before.rfind(':').map_or(before, |end| &before[..end]);
            shown.push_str(user);
            shown.push_str(":***@");
            shown.push_str(host);
        }
        _ => shown.push_str(authority),
    }
    let mut rest = rest;
    while let Some(start) = rest.find(['?', '&', '#']) {
        let (before, pair) = rest.split_at(start + 1);
        shown.push_str(before);
        let end = pair.find(['&', '#']).unwrap_or(pair.len());
        let (pair, behind) = pair.split_at(end);
        match pair.split_once('=') {
            Some((name, value)) if is_secret_name(name) && !is_source(value) => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(pair),
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

fn is_source(value: &str) -> bool {
    value.starts_with("env:") || value.starts_with("file:")
}

/// Names under which secrets travel in options and in the queries of URLs.
fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 8] = ["token", "password", "passwd", "secret", "auth", "signature", "jwt", "apikey"];
    let name: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}
