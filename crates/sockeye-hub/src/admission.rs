//! Where the hub asks for rights: the one door of every publish, subscription and look into history, so that no
//! protocol can forget it.
//!
//! A client without an [`Identity`] may do everything: that is everybody on a server that only its own machine can reach
//! and that asks nobody for a token. Rights change with the identity; what is heard and no longer allowed ends then, and
//! the client is told. Deliberately absent: the rules themselves (`auth`), and tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    auth::Identity,
    client::ClientId,
    error::Refusal,
    hub::Hub,
    outbox::{Bye, Item, Notice},
    request::Now,
};

/// Who is admitted as what, and until when.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// What a client is that has shown no token. `None`: everybody may do everything.
    anonymous: Option<Arc<Identity>>,
    /// When to look at a client whose identity ends: to tell it, and then to close it.
    timers: BTreeSet<(u64, ClientId)>,
    /// The same by client.
    due: BTreeMap<ClientId, u64>,
}

impl Admission {
    /// When the next client is to be looked at.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        self.timers.first().map(|(ms, _)| *ms)
    }

    fn set_timer(&mut self, client: ClientId, ms: u64) {
        self.clear_timer(client);
        self.due.insert(client, ms);
        self.timers.insert((ms, client));
    }

    pub(crate) fn clear_timer(&mut self, client: ClientId) {
        if let Some(ms) = self.due.remove(&client) {
            self.timers.remove(&(ms, client));
        }
    }
}

impl Hub {
    /// Says what a client is that has shown no token; it counts for those who come from then on, and for those who have
    /// been this until then.
    pub fn set_anonymous(&mut self, anonymous: Option<Arc<Identity>>, now: Now) {
        let before = std::mem::replace(&mut self.admission.anonymous, anonymous.clone());
        let is_before = |identity: &Option<Arc<Identity>>| match (identity, &before) {
            (Some(identity), Some(before)) => Arc::ptr_eq(identity, before),
            (None, None) => true,
            _ => false,
        };
        for client in self.clients.open() {
            if is_before(&self.clients.cold[client.index()].identity) {
                self.authorize(client, anonymous.clone(), now);
            }
        }
    }

    /// What a client is that has shown no token.
    pub fn anonymous(&self) -> Option<&Arc<Identity>> {
        self.admission.anonymous.as_ref()
    }

    /// What a client is known as.
    pub fn identity(&self, client: ClientId) -> Option<&Arc<Identity>> {
        if !self.clients.is_open(client) {
            return None;
        }
        self.clients.cold[client.index()].identity.as_ref()
    }

    /// Asks of every identity that has a credential what it is now, after what is known has changed: nobody, and the client
    /// is closed: bye `revoked`; or somebody, and it goes on as that.
    pub fn reconsider(&mut self, mut known_again: impl FnMut(u64) -> Option<Identity>, now: Now) {
        for client in self.clients.open() {
            let Some(identity) = self.identity(client) else { continue };
            let Some(credential) = identity.credential else { continue };
            match known_again(credential) {
                Some(known) if known == **identity => {}
                Some(known) => self.authorize(client, Some(Arc::new(known)), now),
                None => self.bid_farewell(client, Bye { reason: "revoked", reconnect: None }),
            }
        }
    }

    /// Gives a client another identity. What it hears and may no longer hear ends, and it is told of each.
    pub fn authorize(&mut self, client: ClientId, identity: Option<Arc<Identity>>, now: Now) {
        self.latest = now;
        if !self.is_serving(client) {
            return;
        }
        self.admission.clear_timer(client);
        let ends = |identity: &Arc<Identity>| identity.expires_ms;
        if let Some(expires_ms) = identity.as_ref().and_then(ends) {
            let notice_ms = expires_ms.saturating_sub(self.limits.expiry_notice_ms);
            // Who was told how long the last token is good, and shows one that is not good for longer, knows: a client that
            // answers each notice with the token it has would be told for ever.
            let was_told = self.identity(client).and_then(ends).is_some_and(|before_ms| {
                before_ms >= expires_ms && before_ms.saturating_sub(self.limits.expiry_notice_ms) <= now.ms
            });
            self.admission.set_timer(client, if was_told { expires_ms } else { notice_ms.max(now.ms) });
        }
        self.admit(client, identity);
        self.end_forbidden(client);
    }

    /// Whether a client may publish to a channel: for who wants to know before there is a message.
    ///
    /// # Errors
    ///
    /// What [`Hub::publish`] would refuse it with.
    pub fn check_publishing(&self, client: ClientId, channel: &str) -> Result<(), Refusal> {
        match self.identity(client) {
            Some(identity) => identity.rights.check_publishing(identity.user.as_deref(), channel),
            None => Ok(()),
        }
    }

    /// Whether a client may hear a channel, or all that a pattern means.
    ///
    /// # Errors
    ///
    /// What [`Hub::subscribe`] would refuse it with.
    pub fn check_hearing(&self, client: ClientId, name: &str) -> Result<(), Refusal> {
        match self.identity(client) {
            Some(identity) => identity.rights.check_hearing(identity.user.as_deref(), name),
            None => Ok(()),
        }
    }

    /// Notes what a client is.
    pub(crate) fn admit(&mut self, client: ClientId, identity: Option<Arc<Identity>>) {
        self.clients.hot[client.index()].limited =
            identity.as_ref().is_some_and(|identity| !identity.rights.is_unlimited());
        self.clients.cold[client.index()].identity = identity;
    }

    /// Ends the subscriptions that a client has no right to.
    fn end_forbidden(&mut self, client: ClientId) {
        let Some(identity) = self.identity(client).cloned() else { return };
        let is_forbidden =
            |name: &str| identity.rights.check_hearing(identity.user.as_deref(), name).is_err();
        let cold = &self.clients.cold[client.index()];
        let exacts: Vec<(u32, Arc<str>)> = cold
            .exacts
            .iter()
            .map(|exact| (exact.channel, Arc::clone(&self.channels.get(exact.channel).name)))
            .filter(|(_, name)| is_forbidden(name))
            .collect();
        let patterns: Vec<(u32, Arc<str>)> = cold
            .patterns
            .iter()
            .map(|heard| (heard.pattern, Arc::clone(&self.patterns.get(heard.pattern).text)))
            .filter(|(_, text)| is_forbidden(text))
            .collect();
        if exacts.is_empty() && patterns.is_empty() {
            return;
        }
        for (channel, name) in exacts {
            self.drop_exact(client, channel);
            self.notify(client, Notice::Ended { name });
        }
        for (number, name) in patterns {
            self.drop_pattern(client, number);
            self.notify(client, Notice::Ended { name });
        }
        self.raise_barrier(client);
    }

    /// Tells those whose identity is about to end, and closes those whose identity has ended.
    pub(crate) fn expire_identities(&mut self, now: Now) {
        while let Some((ms, client)) = self.admission.timers.first().copied()
            && ms <= now.ms
        {
            self.admission.clear_timer(client);
            let Some(expires_ms) = self.identity(client).and_then(|identity| identity.expires_ms) else {
                continue;
            };
            if expires_ms <= now.ms {
                self.bid_farewell(client, Bye { reason: "expired", reconnect: None });
            } else {
                self.notify(client, Notice::Expires { in_ms: expires_ms - now.ms });
                self.admission.set_timer(client, expires_ms);
            }
        }
    }

    fn notify(&mut self, client: ClientId, notice: Notice) {
        if self.is_serving(client) {
            self.push_other(client.index() as u32, Item::Notice(Box::new(notice)));
        }
    }
}
