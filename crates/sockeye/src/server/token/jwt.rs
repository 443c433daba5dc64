//! JSON Web Tokens (RFC 7519) in their compact form: taken apart, checked, and read.
//!
//! Nothing of a token is believed before its signature is checked, but for the name of the algorithm and of the key,
//! which only choose among the keys that the server has. Deliberately absent: encryption, `alg: none`, keys that come with
//! the token (`jwk`, `jku`, `x5c`), and the making of tokens for anything but trying (`cli/token.rs`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::key::{Algorithm, Key};

/// Why a token is refused: for the log alone, for the client hears one answer whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLong,
    Unknown,
    Shape,
    NoKey,
    Signature,
    Claims,
    Expired,
    NotYet,
    Issuer,
    Audience,
    User,
    Pattern,
}

impl Fault {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Fault::TooLong => "longer than token_bytes_max",
            Fault::Unknown => "not one of the tokens, and there are no keys",
            Fault::Shape => "not a signed token in three parts",
            Fault::NoKey => "no key for its algorithm and key id",
            Fault::Signature => "no key has signed it",
            Fault::Claims => "its claims cannot be read",
            Fault::Expired => "it has expired",
            Fault::NotYet => "it is not valid yet",
            Fault::Issuer => "its issuer is not listed",
            Fault::Audience => "it is meant for another audience",
            Fault::User => "its subject cannot be a user's name",
            Fault::Pattern => "one of its patterns is none, or there are too many",
        }
    }
}

/// What a token claims. A claim that comes twice is an error (RFC 7519, 4), and so is one that is null: whoever meant to
/// write when a token ends has not said that it never does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    #[serde(deserialize_with = "present")]
    pub(super) sub: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) exp: Option<f64>,
    #[serde(deserialize_with = "present")]
    pub(super) nbf: Option<f64>,
    #[serde(deserialize_with = "present")]
    pub(super) iss: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) aud: Option<OneOrMany>,
    #[serde(deserialize_with = "present")]
    pub(super) publish: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) hear: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) admin: Option<bool>,
    #[serde(deserialize_with = "present")]
    pub(super) roles: Option<OneOrMany>,
}

/// What is there, which null is not.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A text, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(text) => std::slice::from_ref(text),
            OneOrMany::Many(texts) => texts,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<serde_json::Value>,
}

/// Reads an object (RFC 7519, 7.2), which a list of the same values in their order is not.
fn read_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Checks a token's signature and reads its claims. However a token is wrong, at least one signature is checked, so that
/// the time it takes tells little. Adds to `checked` how many were.
pub(super) fn read(token: &str, keys: &[Key], checked: &mut u32) -> Result<Claims, Fault> {
    let found = find_signer(token, keys, checked);
    if *checked == 0
        && let Some(key) = keys.first()
    {
        *checked += 1;
        key.has_signed(token.as_bytes(), &[]);
    }
    let payload = found?;
    let claims = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Fault::Claims)?;
    read_object(&claims).ok_or(Fault::Claims)
}

/// The payload of a token that one of the keys has signed.
fn find_signer<'t>(token: &'t str, keys: &[Key], checked: &mut u32) -> Result<&'t str, Fault> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Shape)?;
    let (header, payload) = signed.split_once('.').ok_or(Fault::Shape)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Shape);
    let header: Header = read_object(&decode(header)?).ok_or(Fault::Shape)?;
    let signature = decode(signature)?;
    // RFC 7515, 4.1.11: what is critical and not understood makes the token invalid, and nothing of it is.
    if payload.contains('.') || header.crit.is_some() {
        return Err(Fault::Shape);
    }
    let algorithm = Algorithm::from_name(&header.alg).ok_or(Fault::NoKey)?;
    let is_meant = |key: &&Key| {
        let is_other = |kid: &str| key.id.as_deref().is_some_and(|id| id != kid);
        key.algorithm == algorithm && !header.kid.as_deref().is_some_and(is_other)
    };
    let mut fault = Fault::NoKey;
    for key in keys.iter().filter(is_meant) {
        *checked += 1;
        fault = Fault::Signature;
        if key.has_signed(signed.as_bytes(), &signature) {
            return Ok(payload);
        }
    }
    Err(fault)
}
