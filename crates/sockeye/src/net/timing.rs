//! How long each step of connecting took.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long each step of connecting took, as far as it came; a step that a kind does not have is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Looking the name up.
    pub name: Option<Duration>,
    /// Connecting.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// The WebSocket handshake.
    pub handshake: Option<Duration>,
}

impl Timings {
    /// Every step that was taken, in order, with its name.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let steps = [
            ("name", self.name),
            ("connect", self.connect),
            ("tls", self.tls),
            ("handshake", self.handshake),
        ];
        steps.into_iter().filter_map(|(name, time)| time.map(|time| (name, time)))
    }
}

/// Runs a step and notes how long it took, also when it failed.
pub(super) async fn timed<T>(into: &mut Option<Duration>, step: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let outcome = step.await;
    *into = Some(began.elapsed());
    outcome
}
