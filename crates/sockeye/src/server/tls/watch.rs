//! Certificate files that change are read again, by a thread that looks at them now and then.
//!
//! A file that has just changed may still be being written, and its key may come a moment later: so a change is acted on when
//! the next look finds everything as the last one did.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::Tls;
use crate::server::stamp::Stamps;

/// Starts the thread, which ends with the server.
pub(super) fn start(tls: &Arc<Tls>) -> std::io::Result<()> {
    let tls = Arc::downgrade(tls);
    thread::Builder::new().name("certificates".into()).spawn(move || watch(&tls)).map(|_| ())
}

fn watch(tls: &Weak<Tls>) {
    let mut seen = None;
    loop {
        let Some(tls) = tls.upgrade() else { return };
        let stamps = Stamps::look(tls.paths().iter().map(PathBuf::as_path));
        let is_steady = seen.as_ref() == Some(&stamps);
        if is_steady && !tls.has_read(&stamps) {
            // It says itself how that went, and remembers what it has read.
            let _ = tls.reload();
        }
        seen = Some(stamps);
        let interval_ms = tls.check_interval_ms();
        drop(tls);
        thread::park_timeout(Duration::from_millis(interval_ms));
    }
}
