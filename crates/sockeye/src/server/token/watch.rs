//! Files of tokens and keys that change are read again, by a thread that looks at them now and then.
//!
//! A change is acted on when the next look finds the files as the last one did: one that has just changed may still be
//! being written. Deliberately absent: the configuration file, which the steward looks after.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::Tokens;
use crate::address::Source;
use crate::config::{Auth, TokenText};
use crate::server::stamp::Stamps;

/// Starts the thread, which ends with the server.
pub(super) fn start(tokens: &Arc<Tokens>) -> std::io::Result<()> {
    let tokens = Arc::downgrade(tokens);
    thread::Builder::new().name("tokens".into()).spawn(move || watch(&tokens)).map(|_| ())
}

fn watch(tokens: &Weak<Tokens>) {
    let mut seen = None;
    loop {
        let Some(tokens) = tokens.upgrade() else { return };
        let auth = tokens.read().auth.clone();
        let stamps = Stamps::look(files(&auth));
        if seen.as_ref() == Some(&stamps) && tokens.read().stamps != stamps {
            tokens.reload(stamps.clone());
        }
        seen = Some(stamps);
        drop(tokens);
        thread::park_timeout(Duration::from_millis(auth.check_interval_ms));
    }
}

/// The files that a configuration names.
pub(super) fn files(auth: &Auth) -> impl Iterator<Item = &Path> {
    let tokens = auth.tokens.iter().filter_map(|token| match &token.text {
        TokenText::Source(source) => Some(source),
        TokenText::Digest(_) | TokenText::Written(_) => None,
    });
    auth.secrets.iter().chain(&auth.keys).chain(&auth.token_files).chain(tokens).filter_map(|source| {
        match source {
            Source::File(path) => Some(path.as_path()),
            Source::Environment(_) => None,
        }
    })
}
