//! A configuration that is read again while the server runs: what of it takes effect, and what waits for a restart.
//!
//! Every key takes effect at once but those in [`RESTART`]: what they say was built into sockets and threads when the server
//! started. Deliberately absent: who reads again, and when (`server/steward.rs`).

use std::path::{Path, PathBuf};

use super::file::{copy_key, same_key};
use super::key::KEYS;
use super::{Config, ConfigError, Overrides};

/// Keys whose change needs a restart.
const RESTART: &[&str] = &[
    "listen",
    "datagrams",
    "io_uring",
    "open",
    "shards",
    "limits.datagram_buffer_bytes",
    "limits.deflate_bytes_min",
    "limits.unsent_bytes_max",
    "tls.mode",
    "tls.sessions_max",
];

/// Says whether a change of this key needs a restart.
pub(super) fn needs_restart(path: &str) -> bool {
    RESTART.contains(&path)
}

/// Where a configuration comes from, so that it can be read again: a file, and the flags over it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    path: Option<PathBuf>,
    overrides: Overrides,
}

/// What reading again has brought.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The configuration to go on with.
    pub config: Config,
    /// Keys that changed, and take effect.
    pub changed: Vec<&'static str>,
    /// Keys that changed, and keep their old value until a restart.
    pub kept: Vec<&'static str>,
}

impl Source {
    /// A file, if there is one, and the flags over it.
    pub fn new(path: Option<PathBuf>, overrides: Overrides) -> Source {
        Source { path, overrides }
    }

    /// The file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.path(), self.overrides.clone())
    }
}

impl Config {
    /// What a server that runs with this one does when it is told `wanted`.
    pub fn reload(&self, mut wanted: Config) -> Reloaded {
        let (mut changed, mut kept) = (Vec::new(), Vec::new());
        for key in KEYS {
            if same_key(key, self, &wanted) {
                continue;
            }
            if needs_restart(key.path) {
                copy_key(key, self, &mut wanted);
                kept.push(key.path);
            } else {
                changed.push(key.path);
            }
        }
        if self.tls.certificates != wanted.tls.certificates {
            // Where TLS is spoken, it is with other files; whether it is was built into the sockets.
            if self.tls.is_on() && wanted.tls.is_on() {
                changed.push("tls.certificates");
            } else {
                wanted.tls.certificates = self.tls.certificates.clone();
                kept.push("tls.certificates");
            }
        }
        // Whether anybody is asked for a token was decided when the server began to listen.
        if self.auth.is_configured() != wanted.auth.is_configured() {
            wanted.auth = self.auth.clone();
            kept.push("auth");
        } else if self.auth.roles != wanted.auth.roles
            || self.auth.tokens != wanted.auth.tokens
            || self.auth.anonymous != wanted.auth.anonymous
        {
            changed.push("auth");
        }
        // What stands beside what was kept has no effect either.
        for (whole, section) in [("tls.certificates", "tls."), ("auth", "auth.")] {
            if kept.contains(&whole) {
                changed.retain(|key| !key.starts_with(section));
            }
        }
        if self.rules != wanted.rules {
            changed.push("channels");
        }
        wanted.listen_written = self.listen_written;
        Reloaded { config: wanted, changed, kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sockeye.toml");
        std::fs::write(&path, text).expect("a file");
        Source::new(Some(path), Overrides::default()).load().expect("a good file")
    }

    #[test]
    fn every_key_that_needs_a_restart_is_a_key() {
        for path in RESTART {
            assert!(KEYS.iter().any(|key| key.path == *path), "{path}");
        }
    }

    #[test]
    fn what_can_take_effect_does_and_the_rest_stays_as_it_was() {
        let before =
            read("listen = [\"tcp:127.0.0.1:1\"]\n[limits]\npatterns_max = 3\nping_interval = \"20s\"\n");
        let wanted = read(
            "listen = [\"tcp:127.0.0.1:2\"]\norigins = [\"https://a.example\"]\nlog = \"debug\"\n\
             [limits]\nping_interval = \"10s\"\nunsent_bytes_max = \"64KiB\"\n\
             [[channels]]\npattern = \"a\"\nkind = \"live\"\n",
        );

        let Reloaded { config, changed, kept } = before.reload(wanted);

        assert_eq!(changed, ["log", "origins", "limits.patterns_max", "limits.ping_interval", "channels"]);
        assert_eq!(kept, ["listen", "limits.unsent_bytes_max"]);
        assert_eq!(config.listen, before.listen);
        assert_eq!(config.server.unsent_bytes_max, before.server.unsent_bytes_max);
        assert_eq!(config.connection.ping_interval_ms, 10_000);
        assert_eq!(config.rules.len(), 1);
    }

    #[test]
    fn the_same_file_again_changes_nothing() {
        let text =
            "open = true\nlisten = [\"tcp::0\"]\n[history]\nmessages = 7\n[[channels]]\npattern = \"a/#\"\n";

        let Reloaded { config, changed, kept } = read(text).reload(read(text));

        assert!(changed.is_empty() && kept.is_empty(), "{changed:?} {kept:?}");
        assert_eq!(config.print(), read(text).print());
    }
}
