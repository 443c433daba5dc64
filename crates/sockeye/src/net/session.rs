//! One peer of a datagram socket that many write to: what `accept` gives where there are no connections.
//!
//! One task receives, and puts each datagram into the queue of its peer. A session ends when its peer was silent for a
//! minute; whoever does not read loses datagrams, as with any such socket. The task lives as long as the listener or any
//! session of its: an accepted one outlives its listener, as with every other kind.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::datagram::{Arrival, Carrier, Received, Receiver, try_send};
use super::peer::Peer;

/// A session without a datagram for this long, in either direction, ends.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Datagrams waiting for one session. Above it they are dropped.
const QUEUE_MAX: usize = 1_024;
/// Bytes waiting for all sessions of one socket. Above it datagrams are dropped.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// Sessions of one socket. Above it datagrams of new peers are dropped.
const SESSIONS_MAX: usize = 65_536;
/// Sessions that nobody has accepted. Above it datagrams of new peers are dropped.
const BACKLOG_MAX: usize = 1_024;

/// A datagram in a queue, and what it counts there.
#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    total: Arc<AtomicUsize>,
}

impl Queued {
    fn new(bytes: Vec<u8>, total: &Arc<AtomicUsize>) -> Option<Queued> {
        if total.load(Ordering::Relaxed) + bytes.len() > QUEUED_BYTES_MAX {
            return None;
        }
        total.fetch_add(bytes.len(), Ordering::Relaxed);
        Some(Queued { bytes, total: Arc::clone(total) })
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // What was taken out was counted down when it was taken.
        self.total.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// A socket that many write to.
#[derive(Debug)]
pub(super) struct Hall {
    carrier: Arc<Carrier>,
    arrivals: mpsc::Receiver<Session>,
    _presence: Presence,
}

/// Held by whoever is to hear: the task that receives ends when nobody holds one any more.
type Presence = mpsc::Sender<Infallible>;

/// One peer.
#[derive(Debug)]
pub(super) struct Session {
    carrier: Arc<Carrier>,
    peer: Peer,
    /// The address of ours that it writes to, and is answered from, where the socket has many.
    local: Option<IpAddr>,
    inbox: mpsc::Receiver<Queued>,
    idle: Pin<Box<Sleep>>,
    /// Waits until the socket takes a datagram again. Each session waits for itself, since they share a socket, which
    /// remembers only one that polls it.
    writable: Option<Writable>,
    _presence: Presence,
}

struct Writable(Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>);

impl Hall {
    /// # Errors
    /// The system's, when it will not tell which of its addresses are asked.
    pub(super) fn open(carrier: Carrier) -> io::Result<Hall> {
        let receiver = Receiver::of_many(&carrier)?;
        let carrier = Arc::new(carrier);
        let (arrive, arrivals) = mpsc::channel(BACKLOG_MAX);
        let (presence, mut all_left) = mpsc::channel(1);
        let distribution = distribute(Arc::clone(&carrier), receiver, arrive, presence.downgrade());
        tokio::spawn(async move {
            tokio::select! {
                () = distribution => {}
                _ = all_left.recv() => {}
            }
        });
        Ok(Hall { carrier, arrivals, _presence: presence })
    }

    /// The next peer that nobody has heard of.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Session>> {
        self.arrivals.poll_recv(cx)
    }

    pub(super) fn local(&self) -> Peer {
        self.carrier.local()
    }
}

/// Receives for everybody, for as long as it is polled.
async fn distribute(
    carrier: Arc<Carrier>,
    mut receiver: Receiver,
    arrive: mpsc::Sender<Session>,
    presence: mpsc::WeakSender<Infallible>,
) {
    let total = Arc::new(AtomicUsize::new(0));
    // As with streams: who writes to two addresses of ours means two conversations.
    let mut sessions: HashMap<(Peer, Option<IpAddr>), mpsc::Sender<Queued>> = HashMap::new();
    let mut swept_at = 64;
    loop {
        let received = std::future::poll_fn(|cx| receiver.poll_receive(&carrier, cx)).await;
        // An error concerns one datagram: of a peer that went away, or one too large. The next may be well.
        let Ok(Arrival { bytes, peer, local }) = received else {
            tokio::task::yield_now().await;
            continue;
        };
        let Some(queued) = Queued::new(bytes, &total) else {
            tracing::debug!(%peer, "datagram dropped: the queues are full");
            continue;
        };
        let ends = (peer, local);
        let peer = &ends.0;
        let queued = match sessions.get(&ends) {
            Some(inbox) => match inbox.try_send(queued) {
                Ok(()) => continue,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::debug!(%peer, "datagram dropped: its session does not read");
                    continue;
                }
                // That session is over: this is the beginning of the next.
                Err(mpsc::error::TrySendError::Closed(queued)) => queued,
            },
            None => queued,
        };
        if sessions.len() >= swept_at {
            sessions.retain(|_, inbox| !inbox.is_closed());
            swept_at = (2 * sessions.len()).max(64);
        }
        if sessions.len() >= SESSIONS_MAX {
            tracing::debug!(%peer, "datagram dropped: too many sessions");
            continue;
        }
        let (sender, inbox) = mpsc::channel(QUEUE_MAX);
        let _ = sender.try_send(queued);
        let idle = Box::pin(tokio::time::sleep(IDLE));
        let Some(presence) = presence.upgrade() else { return };
        let session = Session {
            carrier: Arc::clone(&carrier),
            peer: peer.clone(),
            local,
            inbox,
            idle,
            writable: None,
            _presence: presence,
        };
        match arrive.try_send(session) {
            Ok(()) => {
                sessions.insert(ends, sender);
            }
            // A backlog that is full, or a listener that is gone.
            Err(_) => tracing::debug!(%peer, "datagram dropped: nobody accepts"),
        }
    }
}

impl Session {
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn local(&self) -> Peer {
        match (self.carrier.local(), self.local) {
            (Peer::Ip(bound), Some(local)) => Peer::Ip(SocketAddr::new(local, bound.port())),
            (bound, _) => bound,
        }
    }

    pub(super) fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        if let Poll::Ready(received) = self.inbox.poll_recv(cx) {
            let Some(mut queued) = received else { return Poll::Ready(None) };
            queued.total.fetch_sub(queued.bytes.len(), Ordering::Relaxed);
            let bytes = std::mem::take(&mut queued.bytes);
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return Poll::Ready(Some((bytes, self.peer.clone())));
        }
        ready!(self.idle.as_mut().poll(cx));
        self.inbox.close();
        Poll::Ready(None)
    }

    pub(super) fn poll_send(
        &mut self,
        bytes: &[u8],
        to: Option<&Peer>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(Writable(writable)) = &mut self.writable {
                ready!(writable.as_mut().poll(cx))?;
                self.writable = None;
            }
            match try_send(&self.carrier, bytes, to.unwrap_or(&self.peer), self.local) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let carrier = Arc::clone(&self.carrier);
                    self.writable = Some(Writable(Box::pin(async move {
                        match &*carrier {
                            Carrier::Udp(udp) => udp.writable().await,
                            Carrier::Unix(unix) => unix.writable().await,
                        }
                    })));
                }
                outcome => {
                    // Who is sent to is not idle: a stream to somebody who only hears goes on.
                    self.idle.as_mut().reset(Instant::now() + IDLE);
                    return Poll::Ready(outcome);
                }
            }
        }
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writable")
    }
}
