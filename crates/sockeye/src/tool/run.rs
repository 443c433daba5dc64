//! What every command of the toolkit does the same way: a runtime, words on standard error.

use std::future::Future;
use std::io::{self, Write as _};

use super::show::harmless;
use crate::net::{Error, ErrorKind, Result};

/// Runs a command to its end. Reading a terminal cannot be interrupted, so nobody waits for the thread that does it.
///
/// # Errors
/// The command's own, or the system's when it gives no runtime.
pub fn run<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Error::new(ErrorKind::Internal, "sockeye", format!("the system gives no runtime: {error}"))
    })?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// Tells people something that is no payload.
pub fn tell(words: impl std::fmt::Display) {
    // Where nobody can be told, the work goes on.
    let _ = writeln!(io::stderr(), "sockeye: {}", harmless(&words.to_string()));
}

/// Tells a notice: to people, or to programs as one JSON object on standard error.
pub fn notice(json: bool, event: &str, words: impl std::fmt::Display) {
    if json {
        tell_json(&serde_json::json!({ "event": event, "text": words.to_string() }));
    } else {
        tell(words);
    }
}

/// Tells programs something that is no payload: one JSON object on standard error.
pub(super) fn tell_json(value: &serde_json::Value) {
    let _ = writeln!(io::stderr(), "{value}");
}
