//! Everything by which a token is known: the static ones by their hash, the signed ones by their keys, and what each may
//! do.
//!
//! A keyring never changes: when a file has, another takes its place ([`super::Tokens`]). Deliberately absent: the tokens
//! themselves, of which only SHA-256 is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ring::digest;
use sockeye_hub::{Identity, Now, Rights};

use super::TokenError;
use super::jwt::{self, Claims, Fault};
use super::key::{Key, read_keys};
use crate::address::Source;
use crate::config::{Auth, Grant, StaticToken, TokenText, read_token_file};

/// The longest user's name. Longer: the token is refused.
const USER_BYTES_MAX: usize = 256;
/// What is said of a text that is none.
pub(crate) const NO_USER: &str = "cannot be a user's name: 1 to 256 bytes, no control characters";
/// Patterns that one token may carry. More: it is refused.
const PATTERNS_MAX: usize = 256;

/// What a token is known by.
pub(super) struct Keyring {
    token_bytes_max: usize,
    leeway_ms: u64,
    issuers: Vec<String>,
    audiences: Vec<String>,
    known: Vec<Known>,
    keys: Vec<Key>,
    roles: BTreeMap<String, Grant>,
    default_roles: Vec<String>,
    pub(super) anonymous: Arc<Identity>,
    /// The rights that are in use, so that equal grants share them.
    shared: Mutex<HashMap<Rights, Weak<Rights>>>,
}

/// One static token.
struct Known {
    digest: [u8; 32],
    identity: Identity,
}

impl Keyring {
    /// Reads every file that the configuration names.
    pub(super) fn load(auth: &Auth) -> Result<Keyring, TokenError> {
        let mut keys = Vec::new();
        for source in &auth.secrets {
            let secret = read(source)?;
            let text = secret.as_text().map_or(secret.as_bytes(), str::as_bytes);
            keys.push(Key::from_secret(text).map_err(|why| unusable(source, why))?);
        }
        for source in &auth.keys {
            let file = read(source)?;
            keys.extend(read_keys(file.as_bytes()).map_err(|why| unusable(source, why))?);
        }
        let nothing = || Rights::default().without_token();
        let anonymous = match &auth.anonymous {
            Some(grant) => grant
                .rights()
                .map_err(|why| TokenError::Wrong { what: "auth.anonymous", why })?
                .without_token(),
            None => nothing(),
        };
        let mut keyring = Keyring {
            token_bytes_max: auth.token_bytes_max,
            leeway_ms: auth.leeway_ms,
            issuers: auth.issuers.clone(),
            audiences: auth.audiences.clone(),
            known: Vec::new(),
            keys,
            roles: auth.roles.clone(),
            default_roles: auth.default_roles.clone(),
            anonymous: Arc::new(Identity {
                user: None,
                rights: Arc::new(anonymous),
                expires_ms: None,
                credential: None,
            }),
            shared: Mutex::default(),
        };
        for token in &auth.tokens {
            keyring.add(token)?;
        }
        for source in &auth.token_files {
            let file = read(source)?;
            let text = file.as_text().ok_or_else(|| unusable(source, "it is not UTF-8".into()))?;
            for token in read_token_file(text).map_err(|why| unusable(source, why))? {
                keyring.add(&token)?;
            }
        }
        Ok(keyring)
    }

    fn add(&mut self, token: &StaticToken) -> Result<(), TokenError> {
        const BYTES_MIN: usize = 16;
        let digest = match &token.text {
            TokenText::Digest(digest) => *digest,
            TokenText::Source(source) => {
                let secret = read(source)?;
                let text = secret.as_text().unwrap_or_default();
                if text.len() < BYTES_MIN {
                    return Err(unusable(source, format!("a token has at least {BYTES_MIN} bytes of text")));
                }
                sha256(text)
            }
            TokenText::Written(text) => sha256(text.as_text().unwrap_or_default()),
        };
        let wrong = |why| TokenError::Wrong { what: "auth.tokens", why };
        let mut grant = token.grant.clone();
        for role in &token.roles {
            let known = self.roles.get(role).ok_or_else(|| wrong(format!("there is no role {role:?}")))?;
            grant.add(known);
        }
        let user = match &token.user {
            Some(user) => Some(check_user(user).ok_or_else(|| wrong(format!("{user:?} {NO_USER}")))?),
            None => None,
        };
        let rights = self.share(grant.rights().map_err(wrong)?);
        let credential = Some(credential_of(&digest));
        if self.known.iter().any(|known| known.identity.credential == credential) {
            let whose = user.as_ref().map_or("without a user".into(), |user| format!("of user {user:?}"));
            return Err(wrong(format!("the token {whose} is listed before: each can mean one thing only")));
        }
        self.known.push(Known { digest, identity: Identity { user, rights, expires_ms: None, credential } });
        Ok(())
    }

    /// Says who shows a token. Adds to `checked` how many signatures were.
    pub(super) fn verify(&self, token: &str, now: Now, checked: &mut u32) -> Result<Identity, Fault> {
        // What is too long is cut, and then costs what others cost.
        let is_too_long = token.len() > self.token_bytes_max;
        let token = &token[..token.floor_char_boundary(self.token_bytes_max)];
        let digest = sha256(token);
        let mut found = None;
        for known in &self.known {
            // In constant time, though what is compared are hashes.
            let difference = known.digest.iter().zip(&digest).fold(0, |sum, (a, b)| sum | (a ^ b));
            if difference == 0 {
                found = Some(&known.identity);
            }
        }
        match found {
            Some(identity) if !is_too_long => Ok(identity.clone()),
            _ if self.keys.is_empty() => Err(if is_too_long { Fault::TooLong } else { Fault::Unknown }),
            _ => {
                let claims = jwt::read(token, &self.keys, checked);
                if is_too_long { Err(Fault::TooLong) } else { self.admit(&claims?, now) }
            }
        }
    }

    /// What somebody is now who has shown this static token; `None` if it is not known any more.
    pub(super) fn find(&self, credential: u64) -> Option<Identity> {
        let mut known = self.known.iter();
        known.find(|known| known.identity.credential == Some(credential)).map(|known| known.identity.clone())
    }

    fn admit(&self, claims: &Claims, now: Now) -> Result<Identity, Fault> {
        let expires_unix_ms = match claims.exp {
            // RFC 7519, 4.1.4: it must not be accepted on or after the time, some leeway aside.
            Some(seconds) => Some(milliseconds(seconds)?.saturating_add(self.leeway_ms)),
            None => None,
        };
        if expires_unix_ms.is_some_and(|ms| ms <= now.unix_ms) {
            return Err(Fault::Expired);
        }
        if let Some(seconds) = claims.nbf
            && milliseconds(seconds)? > now.unix_ms.saturating_add(self.leeway_ms)
        {
            return Err(Fault::NotYet);
        }
        if !self.issuers.is_empty() && !claims.iss.as_ref().is_some_and(|iss| self.issuers.contains(iss)) {
            return Err(Fault::Issuer);
        }
        // RFC 7519, 4.1.3: whoever is not among those a token is meant for must reject it.
        let audience = claims.aud.as_ref().map(jwt::OneOrMany::as_slice);
        if (audience.is_some() || !self.audiences.is_empty())
            && !audience.unwrap_or_default().iter().any(|audience| self.audiences.contains(audience))
        {
            return Err(Fault::Audience);
        }
        let user = match &claims.sub {
            Some(user) => Some(check_user(user).ok_or(Fault::User)?),
            None => None,
        };
        let rights = self.share(self.rights_of(claims)?);
        let expires_ms = expires_unix_ms.map(|ms| now.ms.saturating_add(ms - now.unix_ms));
        Ok(Identity { user, rights, expires_ms, credential: None })
    }

    fn rights_of(&self, claims: &Claims) -> Result<Rights, Fault> {
        let carries = claims.publish.is_some()
            || claims.hear.is_some()
            || claims.admin.is_some()
            || claims.roles.is_some();
        let mut grant = Grant {
            publish: claims.publish.clone().unwrap_or_default(),
            hear: claims.hear.clone().unwrap_or_default(),
            admin: claims.admin.unwrap_or_default(),
        };
        let carried = claims.roles.as_ref().map(jwt::OneOrMany::as_slice).unwrap_or_default();
        // A role that is not known grants nothing.
        for role in if carries { carried } else { &self.default_roles } {
            if let Some(known) = self.roles.get(role) {
                grant.add(known);
            }
        }
        if grant.publish.len() + grant.hear.len() > PATTERNS_MAX {
            return Err(Fault::Pattern);
        }
        grant.rights().map_err(|_| Fault::Pattern)
    }

    /// The one copy of equal rights.
    fn share(&self, rights: Rights) -> Arc<Rights> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.get(&rights).and_then(Weak::upgrade) {
            return known;
        }
        // What nobody has any more goes before the table grows.
        if shared.len() == shared.capacity() {
            shared.retain(|_, known| known.strong_count() > 0);
        }
        let known = Arc::new(rights.clone());
        shared.insert(rights, Arc::downgrade(&known));
        known
    }
}

/// A user's name, if it is one.
fn check_user(user: &str) -> Option<Arc<str>> {
    is_user(user).then(|| user.into())
}

/// Whether a text can be a user's name.
pub(crate) fn is_user(text: &str) -> bool {
    !text.is_empty() && text.len() <= USER_BYTES_MAX && !text.chars().any(char::is_control)
}

/// RFC 7519, 2: seconds, perhaps with a fraction.
fn milliseconds(seconds: f64) -> Result<u64, Fault> {
    const SECONDS_MAX: f64 = 1e12;
    if (0.0..=SECONDS_MAX).contains(&seconds) { Ok((seconds * 1_000.0) as u64) } else { Err(Fault::Claims) }
}

fn sha256(text: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn credential_of(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(digest[..8].try_into().expect("8 of 32 bytes"))
}

fn read(source: &Source) -> Result<crate::address::Secret, TokenError> {
    source.read().map_err(|why| TokenError::Unreadable { place: source.clone(), why })
}

fn unusable(source: &Source, why: String) -> TokenError {
    TokenError::Unusable { place: source.clone(), why }
}
