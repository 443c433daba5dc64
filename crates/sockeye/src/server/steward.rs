//! The steward: looks after the configuration while the shards serve.
//!
//! ```text
//!   SIGHUP, a file has changed ──> read again ──> every shard: go on with this ──> all do ──> log, metrics, service manager
//!                                      └─ it cannot be used: the old one stays, and the log says why and where
//! ```
//!
//! A file counts as changed when it is not the one that was read, and has stood still since the last look: one that is
//! being written is left alone. Deliberately absent: what a changed key means (`config/reload.rs`).

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sockeye_gateway::Site;
use tracing::{info, warn};

use super::board::Board;
use super::guard::Guard;
use super::serve::ServeError;
use super::service::Notifier;
use super::stamp::Stamps;
use super::tls::Tls;
use super::token::Tokens;
use crate::config::{Config, Level, Reloaded, Source};

/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long shards may take to go on with another configuration before the log says that one does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a shard is told to go on with.
#[derive(Debug)]
pub struct Orders {
    /// The configuration, of which each shard takes its parts.
    pub(super) config: Config,
    pub(super) site: Arc<Site>,
    done: Sender<()>,
}

impl Orders {
    /// A shard goes on with this.
    pub(super) fn done(&self) {
        // Where the steward has gone, nobody waits.
        let _ = self.done.send(());
    }
}

/// How a server that runs comes by another configuration.
#[derive(Clone)]
pub struct Reloading<'a> {
    /// Where the configuration is read.
    pub source: &'a Source,
    /// What its file looked like before it was read: a change since then is a change.
    pub read: Stamps,
    /// Changes how much is logged.
    pub set_level: &'a (dyn Fn(Level) + Sync),
}

/// Looks after the configuration of a server that runs.
pub(super) struct Steward<'a> {
    pub(super) reloading: &'a Reloading<'a>,
    /// What the server goes by.
    pub(super) config: Config,
    pub(super) board: &'a Board,
    pub(super) notifier: &'a Mutex<Notifier>,
    pub(super) guard: Arc<Guard>,
    /// TLS, where it is spoken.
    pub(super) tls: Option<Arc<Tls>>,
    /// Who knows tokens, where anybody is asked for one.
    pub(super) tokens: Option<Arc<Tokens>>,
    /// Makes the server's facts of a configuration.
    pub(super) site: &'a (dyn Fn(&Config) -> Site + Sync),
    /// Tells every shard, and returns how many there are.
    pub(super) tell: &'a (dyn Fn(Arc<Orders>) -> usize + Sync),
}

impl Steward<'_> {
    /// Looks after it until who may ask for a reload has gone.
    pub(super) fn run(mut self, asked: &Receiver<()>) {
        let mut read = self.reloading.read.clone();
        let mut seen = read.clone();
        loop {
            match asked.recv_timeout(LOOK_INTERVAL) {
                Ok(()) => {
                    read = self.look();
                    self.reload("asked by SIGHUP");
                }
                Err(RecvTimeoutError::Timeout) => {
                    let looked = self.look();
                    let is_steady = looked == seen;
                    seen = looked;
                    if is_steady && seen != read {
                        read = seen.clone();
                        self.reload("the file has changed");
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&self) -> Stamps {
        Stamps::look(self.reloading.source.path())
    }

    fn reload(&mut self, why: &'static str) {
        self.notify(|notifier| notifier.reloading(monotonic()));
        let loaded = self.reloading.source.load().map_err(ServeError::from);
        let verified = loaded.and_then(|wanted| self.verify(&wanted).map(|()| wanted));
        let outcome = verified.and_then(|wanted| self.go_on_with(wanted));
        // It is counted before it is told: who has read of it may look.
        self.board.note_read(matches!(outcome, Ok(Some(_))));
        match outcome {
            Ok(Some(changed)) => info!(why, changed, "the configuration was read again"),
            Ok(None) => warn!("a shard does not go on with the configuration"),
            Err(error) => {
                warn!(%error, why, "the configuration cannot be used: the old one stays");
                return self.notify(Notifier::ready_as_before);
            }
        }
        self.notify(Notifier::ready);
    }

    fn notify(&self, notify: impl FnOnce(&mut Notifier)) {
        notify(&mut self.notifier.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// With what a server could not start with, none goes on, not even in part: what a configuration names must be there. (The
    /// certificates of a server that speaks TLS are read once, by `go_on_with`.)
    fn verify(&self, wanted: &Config) -> Result<(), ServeError> {
        if wanted.auth.is_configured() {
            Tokens::load(&wanted.auth)?;
        }
        if self.tls.is_none() && wanted.tls.is_on() {
            Tls::load(&wanted.tls, &wanted.names)?;
        }
        Ok(())
    }

    /// Gives everybody a configuration. Tells which keys have changed; `None` if a shard does not take it.
    fn go_on_with(&mut self, wanted: Config) -> Result<Option<String>, ServeError> {
        let Reloaded { config, changed, kept } = self.config.reload(wanted);
        if let Some(tls) = &self.tls {
            tls.reload_with(&config.tls)?;
        }
        if let Some(tokens) = &self.tokens {
            tokens.swap(&config.auth)?;
        }
        if !kept.is_empty() {
            warn!(keys = kept.join(" "), "these keys keep their old values until a restart");
        }
        (self.reloading.set_level)(config.log);
        let (done, all_done) = channel();
        let site = Arc::new((self.site)(&config));
        self.guard.change(&config.guard, &config.proxy_protocol_from);
        let shards = (self.tell)(Arc::new(Orders { config: config.clone(), site, done }));
        self.config = config;
        for _ in 0..shards {
            if all_done.recv_timeout(PATIENCE).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(changed.join(" ")))
    }
}

/// The system's monotonic clock, as the service manager reads it.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
