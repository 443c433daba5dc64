//! The end of a socket in good order: how everything is written out, whom that waits for, and for how long.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWrite as _;
use tokio::time::{Instant, timeout};

use super::message::Close;
use super::socket::{Core, Socket};
use super::transport::Transport;
use super::{Error, ErrorKind, Result};

/// How long a close waits while the peer takes nothing, as `limits.stall_timeout` of the server does. A TCP buffer that was full
/// says that there is room only when a good share of it was read, which may be megabytes: who reads 50 kB/s is not heard of for half a
/// minute.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a close waits for the peer's answer, and for its end where something is unread, when the peer has everything; then it
/// is cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// So often it is looked at whether the peer takes anything.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How much the peer has taken, as far as the system tells.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// How much the streams have taken, that under TLS too.
    taken: u64,
    /// How much the peer's system has acknowledged, of TCP.
    acknowledged: Option<u64>,
    /// How much our system has taken and the peer's has not; of Unix sockets, what the peer has not read.
    unsent: usize,
}

impl Progress {
    fn is_beyond(self, earlier: Progress) -> bool {
        let peer_took = match (self.acknowledged, earlier.acknowledged) {
            (Some(now), Some(before)) => now > before,
            _ => self.unsent < earlier.unsent,
        };
        peer_took || self.taken > earlier.taken
    }
}

/// Since when there was no progress.
struct Patience {
    progress: Progress,
    since: Instant,
}

impl Patience {
    fn new(progress: Progress) -> Patience {
        Patience { progress, since: Instant::now() }
    }

    /// For how long there was none, given how much there is now.
    fn stalled(&mut self, progress: Progress) -> Duration {
        if progress.is_beyond(self.progress) {
            self.since = Instant::now();
        }
        self.progress = progress;
        self.since.elapsed()
    }
}

impl Socket {
    /// Reads to the peer's end where there is something to wait for: a goodbye, or the end of what the peer is saying.
    pub(super) async fn hear_out(&mut self, was_heard: bool) {
        let is_websocket = matches!(self.core, Core::WebSocket(_));
        if is_websocket || was_heard || self.would_reset() {
            let mut patience = Patience::new(self.progress());
            loop {
                let end = async { while let Ok(Some(_)) = self.recv().await {} };
                if timeout(LOOK_INTERVAL, end).await.is_ok() {
                    break;
                }
                let progress = self.progress();
                let stalled = patience.stalled(progress);
                // As long as something is on its way, dropping the socket could lose it.
                if stalled >= if progress.unsent > 0 { STALL_TIMEOUT } else { CLOSE_TIMEOUT } {
                    break;
                }
            }
        }
        if is_websocket && let Some(transport) = self.core.transport_mut() {
            let shutdown = poll_fn(|cx| Pin::new(&mut *transport).poll_shutdown(cx));
            let _ = timeout(CLOSE_TIMEOUT, shutdown).await;
        }
    }

    /// Finishes, and reads on where it has to wait: two ends that are both full would wait for each other to read.
    /// Says whether the peer was heard.
    pub(super) async fn finish_reading_on(&mut self, close: &Close) -> Result<bool> {
        let reads_on = matches!(self.core, Core::Stream(_) | Core::Framed(_) | Core::WebSocket(_));
        let mut was_heard = false;
        let mut patience = Patience::new(self.progress());
        loop {
            let finishing = poll_fn(|cx| {
                let finished = self.poll_finish(close, cx);
                if finished.is_ready() || !reads_on {
                    return finished;
                }
                while let Poll::Ready(Ok(Some(_))) = self.poll_recv(cx) {
                    was_heard = true;
                }
                self.poll_finish(close, cx)
            });
            if let Ok(finished) = timeout(LOOK_INTERVAL, finishing).await {
                return finished.map(|()| was_heard);
            }
            let is_process = self.core.transport_mut().and_then(Transport::process_mut).is_some();
            if patience.stalled(self.progress()) >= STALL_TIMEOUT && !is_process {
                let what = format!("cannot close: the peer took nothing for {} s", STALL_TIMEOUT.as_secs());
                let hint = "it does not read, or something in between drops what is sent";
                return Err(Error::new(ErrorKind::TimedOut, &self.name, what).with_hint(hint));
            }
        }
    }

    fn progress(&self) -> Progress {
        let socket = self.descriptor();
        Progress {
            taken: self.core.taken() + self.core.transport().map_or(0, Transport::taken_beneath),
            acknowledged: socket
                .and_then(|socket| Some(sockeye_sys::socket::flow(&socket).ok()?.acknowledged)),
            unsent: socket.and_then(|socket| sockeye_sys::socket::unsent(&socket).ok()).unwrap_or_default(),
        }
    }

    /// Whether the system would reset the connection if it were dropped now, for something is unread (RFC 9293, 3.6.1).
    fn would_reset(&self) -> bool {
        let (Core::Stream(_) | Core::Framed(_), Some(socket)) = (&self.core, self.descriptor()) else {
            return false;
        };
        rustix::io::ioctl_fionread(socket).is_ok_and(|unread| unread > 0)
    }
}
