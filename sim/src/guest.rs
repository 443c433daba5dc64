//! Guests: clients that may not do everything, the token by which they are known, and what they may.
//!
//! What a guest may is written here name by name, and told to the server as patterns: the two are compared by every run.
//! Deliberately absent: rights that change while a client is connected, of which the tests of the hub know.

use std::sync::Arc;

use sockeye_gateway::TokenCheck;
use sockeye_hub::{Identity, Now, Rights};

/// What a guest shows.
pub const TOKEN: &str = "guest";
/// The channels and patterns that a guest may hear.
const HEARD: [&str; 5] = ["live/a", "live/b", "live/#", "k/a", "k/c/d"];
/// The channels that a guest may publish to.
const PUBLISHED: [&str; 2] = ["live/a", "k/a"];
/// The same as the server is told it.
const RIGHTS_TO_HEAR: [&str; 3] = ["live/#", "k/a", "k/c/+"];
const RIGHTS_TO_PUBLISH: [&str; 1] = ["+/a"];

/// Whether a guest may hear this channel or pattern.
pub fn may_hear(name: &str) -> bool {
    HEARD.contains(&name)
}

/// Whether a guest may publish to this channel.
pub fn may_publish(channel: &str) -> bool {
    PUBLISHED.contains(&channel)
}

/// Who knows guests. Everybody else may do everything.
#[derive(Debug)]
pub struct Doorkeeper {
    guest: Identity,
    everybody: Arc<Identity>,
}

impl Doorkeeper {
    /// Makes him.
    ///
    /// # Panics
    /// If the patterns above are none.
    pub fn new() -> Self {
        let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let rights = Rights::new(&patterns(&RIGHTS_TO_PUBLISH), &patterns(&RIGHTS_TO_HEAR), false);
        let identity =
            |user, rights| Identity { user, rights: Arc::new(rights), expires_ms: None, credential: None };
        Doorkeeper {
            guest: identity(Some("guest".into()), rights.expect("all of these are patterns")),
            everybody: Arc::new(identity(None, Rights::open())),
        }
    }
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenCheck for Doorkeeper {
    fn verify(&self, token: &str, _: Now) -> Option<Identity> {
        (token == TOKEN).then(|| self.guest.clone())
    }

    fn anonymous(&self) -> Arc<Identity> {
        Arc::clone(&self.everybody)
    }

    fn generation(&self) -> u64 {
        0
    }

    fn known_again(&self, _: u64) -> Option<Identity> {
        None
    }
}
