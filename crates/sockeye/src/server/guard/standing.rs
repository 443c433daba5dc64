//! How one connection stands with the guard: what it counts for, and the rates it is held to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sockeye_gateway::rate::{Bucket, Meter, Over, Pace, Rate, What, Whose};
use sockeye_hub::{Creations, Now};

use super::account::{Account, State};
use super::count::{Limit, Outcome};
use super::{Guard, Terms, Three};

/// What one connection counts for. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Standing {
    guard: Arc<Guard>,
    /// It counts for the connections in all.
    is_counted: bool,
    pub(super) address: Option<Joined>,
    /// Whose messages came last, while users are held to a rate.
    user: Option<(Arc<str>, Joined)>,
    /// What is left of the connection's own rates.
    messages: Bucket,
    bytes: Bucket,
    channels: Bucket,
    /// How many channels it was last allowed to create, with those that were reserved then.
    allowed: u32,
    /// How many of these were taken from the buckets.
    charged: u32,
    /// How many of these are not given back: they were taken from another user's.
    foreign: u32,
    pace: Pace,
    /// It was over for the last time: it is to be told farewell.
    is_over: bool,
}

impl Standing {
    pub(super) fn new(guard: Arc<Guard>, is_counted: bool) -> Self {
        Standing {
            guard,
            is_counted,
            address: None,
            user: None,
            messages: Bucket::default(),
            bytes: Bucket::default(),
            channels: Bucket::default(),
            allowed: 0,
            charged: 0,
            foreign: 0,
            pace: Pace::default(),
            is_over: false,
        }
    }

    pub(super) fn belong_to(&mut self, address: Arc<Account>) {
        self.address = Some(Joined(address));
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether any rate is asked of this connection.
    pub(crate) fn is_metered(&self) -> bool {
        let rates = &self.guard.terms().rates;
        rates.connection.is_bound()
            || rates.user.three.is_bound()
            || (self.address.is_some() && rates.address.three.is_bound())
    }

    /// Whether it is not to be read.
    pub(crate) fn is_paused(&self) -> bool {
        self.pace.resumes_ms().is_some()
    }

    /// When it is to be read again, while it is not.
    pub(crate) fn resumes_ms(&self) -> Option<u64> {
        self.pace.resumes_ms()
    }

    /// Reads on, if the time has come. Returns whether it has.
    pub(crate) fn resume(&mut self, now: Now) -> bool {
        self.pace.resume(now.ms)
    }

    /// Whether it was over for the last time. Asked once.
    pub(crate) fn take_over(&mut self) -> bool {
        std::mem::take(&mut self.is_over)
    }

    /// How many bytes may be received at once, at most `most`.
    ///
    /// # Errors
    /// None at all for a while.
    pub(crate) fn share(&mut self, most: usize, now: Now) -> Result<usize, Over> {
        let mut share = most as u64;
        let terms = self.guard.terms();
        if let Some(rate) = &terms.rates.connection.bytes {
            share = share.min(self.bytes.available(rate, now.ms));
            if share == 0 {
                let wait_ms = self.bytes.full_in_ms(rate, now.ms);
                return Err(self.strike(What::Bytes, Whose::Connection, wait_ms, now));
            }
        }
        for (whose, rate, account) in accounts(&self.user, &self.address, &terms) {
            let Some(rate) = rate.bytes else { continue };
            let (left, wait_ms) = account
                .with(|state| (state.bytes.available(&rate, now.ms), state.bytes.full_in_ms(&rate, now.ms)));
            share = share.min(left);
            if share == 0 {
                return Err(self.strike(What::Bytes, whose, wait_ms, now));
            }
        }
        Ok(share as usize)
    }

    /// So many bytes were received.
    pub(crate) fn spend(&mut self, bytes: u64, now: Now) {
        let terms = self.guard.terms();
        if let Some(rate) = &terms.rates.connection.bytes {
            self.bytes.spend(rate, bytes, now.ms);
        }
        for (_, rate, account) in accounts(&self.user, &self.address, &terms) {
            if let Some(rate) = rate.bytes {
                account.with(|state| state.bytes.spend(&rate, bytes, now.ms));
            }
        }
    }

    /// Counts the channels that were created since the allowance, and those that may be by what other shards have not
    /// answered: others who share a bucket must not have the same ones. What turns out not to be needed is given back.
    pub(crate) fn settle_creations(&mut self, left: Option<Creations>, now: Now) {
        let Some(left) = left else { return };
        let (before, charged) = (self.charged, self.allowed.saturating_sub(left.left));
        if charged == before {
            return;
        }
        self.charged = charged;
        let kept = self.foreign.min(before.saturating_sub(charged));
        self.foreign -= kept;
        let returned = before.saturating_sub(charged) - kept;
        let guard = Arc::clone(&self.guard);
        self.each_of_channels(|rate, bucket, limit| {
            if charged < before {
                return bucket.give_back(rate, returned.into(), now.ms);
            }
            bucket.spend(rate, (charged - before).into(), now.ms);
            if bucket.available(rate, now.ms) == 0 {
                guard.counts.add(limit, Outcome::Spent);
            }
        });
    }

    fn each_of_channels(&mut self, mut act: impl FnMut(&Rate, &mut Bucket, Limit)) {
        let terms = self.guard.terms();
        if let Some(rate) = &terms.rates.connection.channels {
            act(rate, &mut self.channels, Limit::Channels);
        }
        for (whose, rate, account) in accounts(&self.user, &self.address, &terms) {
            let limit = if whose == Whose::User { Limit::UserChannels } else { Limit::AddressChannels };
            if let Some(rate) = &rate.channels {
                account.with(|state| act(rate, &mut state.channels, limit));
            }
        }
    }

    pub(super) fn strike(&mut self, what: What, whose: Whose, wait_ms: u64, now: Now) -> Over {
        let terms = self.guard.terms();
        let wait_ms = wait_ms.min(terms.limits.pause_ms_max);
        let is_last = self.pace.strike(wait_ms, &terms.patience, now.ms);
        self.is_over |= is_last;
        let outcome = if is_last { Outcome::Closed } else { Outcome::Paused };
        self.guard.counts.add(Limit::of_rate(what, whose), outcome);
        Over { what, whose, retry_ms: wait_ms, is_last }
    }
}

impl Meter for Standing {
    fn take_message(&mut self, now: Now) -> Result<(), Over> {
        let terms = self.guard.terms();
        if let Some(wait_ms) = missed(&mut self.messages, terms.rates.connection.messages.as_ref(), now) {
            return Err(self.strike(What::Messages, Whose::Connection, wait_ms, now));
        }
        let Some(Joined(address)) = &self.address else { return Ok(()) };
        let rate = terms.rates.address.three.messages;
        match address.with(|state| missed(&mut state.messages, rate.as_ref(), now)) {
            Some(wait_ms) => Err(self.strike(What::Messages, Whose::Address, wait_ms, now)),
            None => Ok(()),
        }
    }

    fn take_message_of(&mut self, user: &Arc<str>, now: Now) -> Result<(), Over> {
        let terms = self.guard.terms();
        if !terms.rates.user.three.is_bound() {
            return Ok(());
        }
        if self.user.as_ref().is_none_or(|(known, _)| known != user) {
            // What is under way was asked as somebody else.
            self.foreign = self.charged;
            self.user = Some((Arc::clone(user), Joined(self.guard.join_user(user, &terms.rates.user, now))));
        }
        let Some((_, Joined(account))) = &self.user else { return Ok(()) };
        let rate = terms.rates.user.three.messages;
        match account.with(|state| missed(&mut state.messages, rate.as_ref(), now)) {
            Some(wait_ms) => Err(self.strike(What::Messages, Whose::User, wait_ms, now)),
            None => Ok(()),
        }
    }

    fn creations(&mut self, left: Option<Creations>, now: Now) -> Option<Creations> {
        self.settle_creations(left, now);
        let reserved = left.map_or(0, |left| left.reserved);
        let mut tightest: Option<Creations> = None;
        self.each_of_channels(|rate, bucket, _| {
            let left = u32::try_from(bucket.available(rate, now.ms)).unwrap_or(u32::MAX);
            let retry_ms = u32::try_from(bucket.next_in_ms(rate, now.ms)).unwrap_or(u32::MAX);
            if tightest.is_none_or(|tightest| (left, tightest.retry_ms) < (tightest.left, retry_ms)) {
                tightest = Some(Creations { left, reserved, retry_ms });
            }
        });
        self.allowed = tightest.map_or(0, |tightest| tightest.left.saturating_add(reserved));
        self.charged = reserved;
        self.foreign = self.foreign.min(reserved);
        tightest
    }
}

/// An account that this connection is counted in, until this is dropped.
#[derive(Debug)]
pub(super) struct Joined(pub(super) Arc<Account>);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.with(State::leave);
    }
}

/// The accounts that a connection shares with others, and their rates.
fn accounts(
    user: &Option<(Arc<str>, Joined)>,
    address: &Option<Joined>,
    terms: &Terms,
) -> impl Iterator<Item = (Whose, Three, Arc<Account>)> + use<> {
    let rates = &terms.rates;
    let user = user.as_ref().map(|(_, user)| (Whose::User, rates.user.three, Arc::clone(&user.0)));
    let address =
        address.as_ref().map(|address| (Whose::Address, rates.address.three, Arc::clone(&address.0)));
    user.into_iter().chain(address)
}

/// Takes a token. `Some`: there was none, and the bucket is full after so long.
pub(super) fn missed(bucket: &mut Bucket, rate: Option<&Rate>, now: Now) -> Option<u64> {
    let rate = rate?;
    (!bucket.take(rate, now.ms)).then(|| bucket.full_in_ms(rate, now.ms))
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.is_counted {
            self.guard.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
