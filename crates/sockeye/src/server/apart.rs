//! The connections that are not simply read: those that owe a PROXY header, and those that are held to a rate.
//!
//! The loop tests one flag for all of them (`Peer::is_apart`), and comes here. A header is looked at where it lies in the
//! kernel's buffer and taken only when it is whole, so that nothing of what follows is taken with it: whatever the
//! connection then speaks, TLS included, begins with its own first byte. Deliberately absent: the bounds themselves,
//! which are the guard's.

use std::io;
use std::net::SocketAddr;

use sockeye_gateway::Ending;
use sockeye_gateway::rate::Over;
use sockeye_hub::Bye;
use sockeye_wire::proxy::{self, HEADER_BYTES_MAX, ProxyError};
use tracing::{debug, warn};

use super::chronicle::ClientEvent;
use super::desk::{Desk, Fate, retry};
use super::kernel::Stream;
use super::peer::Peer;

impl Desk {
    /// Serves a connection that is not simply read.
    #[cold]
    pub(super) fn serve_apart(&mut self, peer: &mut Peer<impl Stream>, buffer: &mut [u8]) -> Fate {
        if peer.is_lingering() {
            self.discard(peer, buffer)
        } else if peer.owes_header {
            self.serve_header(peer, buffer)
        } else {
            self.serve_metered(peer, buffer)
        }
    }

    /// Waits for the PROXY header. The time for it is that for the first byte.
    fn serve_header(&mut self, peer: &mut Peer<impl Stream>, buffer: &mut [u8]) -> Fate {
        let room = buffer.len().min(HEADER_BYTES_MAX);
        let length = match retry(|| peer.stream.peek(&mut buffer[..room])) {
            Ok(0) => return Fate::Ends("ended", None),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                peer.readable = false;
                peer.ended_edge = false;
                return Fate::Stays;
            }
            Err(error) => return Fate::Ends("lost", Some(error)),
        };
        match proxy::decode(&buffer[..length]) {
            Ok(Some((header, length))) => {
                if let Err(error) = retry(|| peer.stream.take(length)) {
                    return Fate::Ends("lost", Some(error));
                }
                let source = header.endpoints.source();
                if let Some(source) = source
                    && let Err(limit) =
                        self.guard.admit_address(&mut peer.standing, Some(source.ip()), self.now)
                {
                    self.tell_turned_away(limit.as_str(), Some(source));
                    return Fate::Ends("limit", None);
                }
                if let Some(source) = source {
                    peer.address = Some(source);
                    peer.machine.came_by_tcp();
                    peer.span.record("client", tracing::field::display(source));
                }
                peer.settle_header();
                self.tell_client(peer, ClientEvent::Connected);
                self.serve(peer, buffer)
            }
            // Its end has come with what is there, so the rest will not.
            Ok(None) if peer.ended_edge => Fate::Ends("ended", None),
            Ok(None) => {
                // What comes next makes a new edge.
                peer.readable = false;
                Fate::Stays
            }
            Err(error) => self.refuse_header(peer, &error),
        }
    }

    /// What stands in place of the header is not read at all: who it is from cannot be known.
    fn refuse_header(&mut self, peer: &mut Peer<impl Stream>, error: &ProxyError) -> Fate {
        if self.guard.may_tell_of_header(self.now) {
            let _entered = peer.span.enter();
            warn!(%error, "a connection listed under proxy_protocol_from was refused");
        }
        peer.settle_header();
        let why = format!("connections from this address are listed under proxy_protocol_from: {error}");
        self.with_machine(peer, |machine, cx| machine.refuse(&why, "proxy header", cx))
    }

    /// Serves a connection that is held to a rate: reads at most its share, unless it has none for a while.
    fn serve_metered(&mut self, peer: &mut Peer<impl Stream>, buffer: &mut [u8]) -> Fate {
        let Some(standing) = &mut peer.standing else { return Fate::Stays };
        if standing.is_paused() {
            peer.listed = false;
            return Fate::Stays;
        }
        let mut share = buffer.len();
        // What is held has been received, and counted, before.
        if !peer.holds && peer.readable && peer.machine.may_read(&self.hub, &self.limits) {
            match standing.share(share, self.now) {
                Ok(allowed) => share = allowed,
                Err(over) => return self.pause(peer, over),
            }
        }
        let client = peer.client();
        let before = self.figures.bytes_in;
        let fate = self.serve_plain(peer, &mut buffer[..share]);
        let received = self.figures.bytes_in - before;
        if let Some(standing) = &mut peer.standing {
            if received > 0 {
                standing.spend(received, self.now);
            }
            standing.settle_creations(self.hub.creations(client), self.now);
            self.settle_pause(peer);
        }
        fate
    }

    /// Another shard may have told whether a channel was created for a connection that is held to that.
    #[inline]
    pub(super) fn settle_answered(&mut self, peer: &mut Peer<impl Stream>) {
        if peer.is_apart()
            && let client = peer.client()
            && let Some(standing) = &mut peer.standing
        {
            standing.settle_creations(self.hub.creations(client), self.now);
        }
    }

    /// Too many bytes: the client is told where that has a place, and not read for a while.
    fn pause(&mut self, peer: &mut Peer<impl Stream>, over: Over) -> Fate {
        peer.listed = false;
        let fate = self.with_machine(peer, |machine, cx| machine.handle_over(over, cx));
        self.settle_pause(peer);
        fate
    }

    /// Sees whether a connection was over, and puts it in the wheel for when it is read again.
    fn settle_pause(&mut self, peer: &mut Peer<impl Stream>) {
        let client = peer.client();
        let Some(standing) = &mut peer.standing else { return };
        let Some(resumes_ms) = standing.resumes_ms() else { return };
        if standing.take_over() && peer.machine.ending() == Ending::No {
            // Who came in a rush is not told to come back in one.
            let reconnect = Some((
                self.server_limits.drain_reconnect_min_ms.max(resumes_ms - self.now.ms),
                self.server_limits.drain_reconnect_max_ms.max(2 * (resumes_ms - self.now.ms)),
            ));
            self.hub.bid_farewell(client, Bye { reason: "rate", reconnect });
        }
        self.wheel.insert(resumes_ms, client.to_u64());
    }

    /// Reads on from a connection that was paused, if its time has come.
    pub(super) fn resume(&mut self, peer: &mut Peer<impl Stream>) {
        let client = peer.client();
        let Some(standing) = &mut peer.standing else { return };
        let Some(resumes_ms) = standing.resumes_ms() else { return };
        if standing.resume(self.now) {
            self.list_if_more(peer);
        } else {
            self.wheel.insert(resumes_ms, client.to_u64());
        }
    }

    /// A new connection is closed for a bound. That is said at most once in ten seconds.
    pub(super) fn tell_turned_away(&self, limit: &str, peer: Option<SocketAddr>) {
        let peer = peer.map(tracing::field::display);
        debug!(limit, peer, "turned away");
        if self.guard.may_tell_of_limit(self.now) {
            warn!(limit, peer, "connections are turned away (see sockeye_limited_total in /metrics)");
        }
    }
}
