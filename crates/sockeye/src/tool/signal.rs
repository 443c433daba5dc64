//! The end by a signal, for commands whose peer is to be told of it.
//!
//! The command still dies of the signal that was sent: whoever started it sees that, and a shell ends its loop. What is
//! ignored from the start, as by `nohup` or in the background of a script, stays ignored.

use std::future::{Future, pending};
use std::pin::pin;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::net::{Error, ErrorKind, Result};

/// How long a goodbye may take: who ends a command waits for that.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// Turns true when the command is to end.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the command is to end.
    pub(super) async fn wait(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could tell.
            pending::<()>().await;
        }
    }

    /// Whether the command is to end.
    pub(super) fn is_told(&self) -> bool {
        *self.0.borrow()
    }
}

/// Does what a command does, without looking for signals: they end it as the system does.
pub(super) async fn unstopped<T, F: Future<Output = Result<T>>>(work: impl FnOnce(Stop) -> F) -> Result<T> {
    work(Stop(watch::channel(false).1)).await
}

/// Does what a command does until it is over, or a signal comes: the work has [`GOODBYE`] to end then, or until the second one.
///
/// # Errors
/// Those of the work, or the system's when it lets nobody hear signals.
pub(super) async fn until_signal<T, F: Future<Output = Result<T>>>(
    work: impl FnOnce(Stop) -> F,
) -> Result<T> {
    let (stopper, stop) = watch::channel(false);
    let mut interrupt = hear(SIGINT)?;
    let mut terminate = hear(SIGTERM)?;
    let mut work = pin!(work(Stop(stop)));
    let number = tokio::select! {
        biased;
        outcome = &mut work => return outcome,
        () = next(&mut interrupt) => SIGINT,
        () = next(&mut terminate) => SIGTERM,
    };
    stopper.send_replace(true);
    tokio::select! {
        _ = timeout(GOODBYE, work) => {}
        () = next(&mut interrupt) => {}
        () = next(&mut terminate) => {}
    }
    let _ = emulate_default_handler(number);
    // It returns only if the system knows no such signal.
    Err(Error::new(ErrorKind::EndedEarly, "sockeye", "stopped by a signal"))
}

/// Hears a signal, unless it is ignored.
fn hear(number: i32) -> Result<Option<Signal>> {
    if is_ignored(number) {
        return Ok(None);
    }
    let failed = |error| Error::from_io("sockeye", "cannot hear signals", error);
    signal(SignalKind::from_raw(number)).map(Some).map_err(failed)
}

async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    pending().await
}

/// Whether this process was started with a signal ignored (`proc_pid_status(5)`: a mask, of which bit 0 is signal 1).
fn is_ignored(number: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}
