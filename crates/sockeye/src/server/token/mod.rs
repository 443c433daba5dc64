//! Who somebody is, by the token that he shows: the keyring in use, for all shards, and its files, watched.
//!
//! The hub knows rights and users, the gateway where tokens come from; here is what makes a user of a token. A keyring is
//! swapped whole, so that a token is checked against one state of the files. No token is ever written, logged or printed:
//! what is told of a refused one is why, and that only at `--log debug`.

mod jwt;
mod key;
mod keyring;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sockeye_gateway::TokenCheck;
use sockeye_hub::{Identity, Now};
use tracing::{debug, info, warn};

use super::stamp::Stamps;
use crate::address::Source;
use crate::config::Auth;
use keyring::Keyring;
pub(crate) use keyring::{NO_USER, is_user};

/// Why tokens cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A file or variable cannot be read.
    #[error("auth: {place}: {why}")]
    Unreadable {
        /// Where it should be.
        place: Source,
        /// The system's words.
        why: std::io::Error,
    },
    /// What is there is not what it should be.
    #[error("auth: {place}: {why}")]
    Unusable {
        /// Where it is.
        place: Source,
        /// Why, and what is needed.
        why: String,
    },
    /// A grant or a user is wrong.
    #[error("{what}: {why}")]
    Wrong {
        /// The key.
        what: &'static str,
        /// Why, and what is allowed.
        why: String,
    },
}

/// The tokens that a server knows, shared by its shards.
pub struct Tokens {
    read: Mutex<Read>,
    keyring: RwLock<Arc<Keyring>>,
    generation: AtomicU64,
}

/// What was read.
struct Read {
    auth: Auth,
    /// What the files looked like before.
    stamps: Stamps,
}

impl Read {
    /// Looks at the files that are about to be read: what changes meanwhile is seen to have changed.
    fn begin(auth: &Auth) -> Read {
        Read { auth: auth.clone(), stamps: Stamps::look(watch::files(auth)) }
    }
}

impl Tokens {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// Names what cannot be read or used.
    pub fn load(auth: &Auth) -> Result<Arc<Tokens>, TokenError> {
        let read = Mutex::new(Read::begin(auth));
        let keyring = RwLock::new(Arc::new(Keyring::load(auth)?));
        Ok(Arc::new(Tokens { read, keyring, generation: AtomicU64::new(0) }))
    }

    /// Lets another configuration take effect, for all shards: whoever comes from then on is checked by it, and who is
    /// connected by a static token that is gone, or means something else, hears of it within a second.
    ///
    /// # Errors
    /// As [`Tokens::load`]; what was in use stays in use.
    pub fn swap(&self, auth: &Auth) -> Result<(), TokenError> {
        // Held all the while, so that of two who read the last one is right.
        let mut read = self.read();
        let fresh = Read::begin(auth);
        let keyring = Keyring::load(auth)?;
        *read = fresh;
        self.put(keyring);
        Ok(())
    }

    /// Reads the files again, which look like this. One that cannot be used is not tried again until it changes.
    fn reload(&self, stamps: Stamps) {
        let mut read = self.read();
        read.stamps = stamps;
        match Keyring::load(&read.auth) {
            Ok(keyring) => {
                self.put(keyring);
                info!("the files of tokens and keys were read again");
            }
            Err(error) => {
                warn!(%error, "a file of tokens or keys has changed and cannot be used: what was read before stays in use")
            }
        }
    }

    fn put(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files now and then, and reads them again when they have changed, as long as the server runs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        watch::start(self)
    }
}

impl TokenCheck for Tokens {
    fn verify(&self, token: &str, now: Now) -> Option<Identity> {
        match self.keyring().verify(token, now, &mut 0) {
            Ok(identity) => Some(identity),
            Err(fault) => {
                debug!(why = fault.as_str(), "a token was refused");
                None
            }
        }
    }

    fn anonymous(&self) -> Arc<Identity> {
        Arc::clone(&self.keyring().anonymous)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn known_again(&self, credential: u64) -> Option<Identity> {
        self.keyring().find(credential)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tokens(***)")
    }
}
