//! Accounts by key, shared by all shards, and bounded.
//!
//! In several parts, each behind a lock of its own, so that shards that accept at the same time seldom meet. An account
//! that is as new is forgotten at the next sweep of its part; sweeps come when a part has doubled, so what they cost is
//! in proportion to the accounts that were opened.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use sockeye_hub::Now;

use super::account::{Account, State};
use super::count::Limit;
use super::{ACCOUNTS_IDLE_MAX, Shared};

/// Accounts by key.
#[derive(Debug)]
pub(super) struct Table<K> {
    hasher: RandomState,
    parts: [Mutex<Part<K>>; PARTS],
}

#[derive(Debug)]
struct Part<K> {
    accounts: HashMap<K, Arc<Account>>,
    /// So many accounts bring the next sweep.
    sweep_at: usize,
}

const PARTS: usize = 16;
/// A part that has fewer accounts is never swept.
const SWEEP_MIN: usize = 64;

impl<K: Hash + Eq> Table<K> {
    pub(super) fn new() -> Self {
        let part = || Mutex::new(Part { accounts: HashMap::new(), sweep_at: SWEEP_MIN });
        Table { hasher: RandomState::new(), parts: std::array::from_fn(|_| part()) }
    }

    /// The account of a key, made if there is none, if `admit` lets it be used.
    ///
    /// # Errors
    /// What `admit` says.
    pub(super) fn open(
        &self,
        key: K,
        rates: &Shared,
        now: Now,
        admit: impl FnOnce(&mut State) -> Result<(), Limit>,
    ) -> Result<Arc<Account>, Limit> {
        // The part is held until the account is used, so that no sweep can take it away in between.
        let part = &self.parts[self.hasher.hash_one(&key) as usize % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.accounts.len() >= part.sweep_at && !part.accounts.contains_key(&key) {
            part.sweep(rates, now);
        }
        let account = part.accounts.entry(key).or_default();
        account.with(admit)?;
        Ok(Arc::clone(account))
    }

    /// How many accounts there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().expect("no test panics inside").accounts.len()).sum()
    }
}

impl<K: Hash + Eq> Part<K> {
    /// Forgets accounts that are as new, and of those without connections what is too many.
    fn sweep(&mut self, rates: &Shared, now: Now) {
        self.accounts.retain(|_, account| !account.with(|state| state.is_as_new(rates, now)));
        let mut idle = 0;
        self.accounts.retain(|_, account| {
            idle += usize::from(!account.with(|state| state.has_connections()));
            idle <= ACCOUNTS_IDLE_MAX / PARTS / 2 || account.with(|state| state.has_connections())
        });
        self.sweep_at = (2 * self.accounts.len()).max(SWEEP_MIN);
    }
}
