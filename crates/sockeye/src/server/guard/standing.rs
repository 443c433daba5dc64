//! How one connection stands with the guard: what it counts for, and the rates it is held to.

use std::sync::Arc;

use sockeye_gateway::rate::{Bucket, Meter, Over, Pace, Rate, What, Whose};
use sockeye_hub::Now;

use super::account::{Account, State};
use super::count::{Limit, Outcome};
use super::{Guard, Pair};

/// What one connection counts for. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Standing {
    guard: Arc<Guard>,
    /// It counts for the connections in all.
    is_counted: bool,
    pub(super) address: Option<Arc<Account>>,
    /// What is left of the connection's own rates.
    messages: Bucket,
    bytes: Bucket,
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
            messages: Bucket::default(),
            bytes: Bucket::default(),
            pace: Pace::default(),
            is_over: false,
        }
    }

    pub(super) fn belong_to(&mut self, address: Arc<Account>) {
        self.address = Some(address);
    }

    /// Whether any rate is asked of this connection.
    pub(crate) fn is_metered(&self) -> bool {
        let rates = &self.guard.rates;
        rates.connection.is_bound() || (self.address.is_some() && rates.address.is_bound())
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
        if let Some(rate) = &self.guard.rates.connection.bytes {
            share = share.min(self.bytes.available(rate, now.ms));
            if share == 0 {
                let wait_ms = self.bytes.full_in_ms(rate, now.ms);
                return Err(self.strike(What::Bytes, Whose::Connection, wait_ms, now));
            }
        }
        if let (Some(rate), Some(address)) = (&self.guard.rates.address.bytes, &self.address) {
            let (left, wait_ms) = address
                .with(|state| (state.bytes.available(rate, now.ms), state.bytes.full_in_ms(rate, now.ms)));
            share = share.min(left);
            if share == 0 {
                return Err(self.strike(What::Bytes, Whose::Address, wait_ms, now));
            }
        }
        Ok(share as usize)
    }

    /// So many bytes were received.
    pub(crate) fn spend(&mut self, bytes: u64, now: Now) {
        if let Some(rate) = &self.guard.rates.connection.bytes {
            self.bytes.spend(rate, bytes, now.ms);
        }
        if let (Some(rate), Some(address)) = (&self.guard.rates.address.bytes, &self.address) {
            address.with(|state| state.bytes.spend(rate, bytes, now.ms));
        }
    }

    fn strike(&mut self, what: What, whose: Whose, wait_ms: u64, now: Now) -> Over {
        let wait_ms = wait_ms.min(self.guard.limits.pause_ms_max);
        let is_last = self.pace.strike(wait_ms, &self.guard.patience, now.ms);
        self.is_over |= is_last;
        let outcome = if is_last { Outcome::Closed } else { Outcome::Paused };
        self.guard.counts.add(Limit::of_rate(what, whose), outcome);
        Over { what, whose, retry_ms: wait_ms, is_last }
    }
}

impl Meter for Standing {
    fn take_message(&mut self, now: Now) -> Result<(), Over> {
        let Pair { messages, .. } = self.guard.rates.connection;
        if let Some(wait_ms) = missed(&mut self.messages, messages.as_ref(), now) {
            return Err(self.strike(What::Messages, Whose::Connection, wait_ms, now));
        }
        let Pair { messages, .. } = self.guard.rates.address;
        if let (Some(_), Some(address)) = (&messages, &self.address)
            && let Some(wait_ms) =
                address.with(|State { messages: left, .. }| missed(left, messages.as_ref(), now))
        {
            return Err(self.strike(What::Messages, Whose::Address, wait_ms, now));
        }
        Ok(())
    }
}

/// Takes a token. `Some`: there was none, and the bucket is full after so long.
fn missed(bucket: &mut Bucket, rate: Option<&Rate>, now: Now) -> Option<u64> {
    let rate = rate?;
    (!bucket.take(rate, now.ms)).then(|| bucket.full_in_ms(rate, now.ms))
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.guard.leave(self.is_counted, self.address.as_ref());
    }
}
