//! How long each step of connecting took.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long each step of connecting took, as far as it came; a step that a kind does not have is not there.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> sockeye::net::Result<()> {
/// use sockeye::net::Connector;
///
/// let (_socket, timings) = Connector::new("wss://example.org/live")?.connect_timed().await;
/// println!("TLS took {:?}", timings.tls);
/// # Ok(())
/// # }
/// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use sockeye::net::Timings;
    ///
    /// let mut timings = Timings::default();
    /// timings.connect = Some(Duration::from_millis(3));
    /// assert_eq!(timings.steps().collect::<Vec<_>>(), [("connect", Duration::from_millis(3))]);
    /// ```
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
