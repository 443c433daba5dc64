//! How a shard serves its datagram sockets: receive a batch, let the machine handle each, send what it wrote.
//!
//! ```text
//! edge ─> receive (64 at a time) ─> machine ─> hub ─┐
//!                                     │             v
//!                                     └──> mail <── outboxes of sessions
//!                                           └──> send (64 at a time)
//! ```
//!
//! Datagrams are lost by nature, but not silently by us: what the socket does not take of a session's goes back into
//! its outbox, and from there on the session is a slow reader like any other. What is lost of answers to those who have
//! no session is counted, and so is what the kernel drops before we read it. Deliberately absent: everything about the
//! protocol, which is `sockeye_gateway::datagram`'s.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use sockeye_gateway::CookieKey;
use sockeye_gateway::datagram::Datagrams;
use sockeye_gateway::mail::{DatagramKind, Letter, Mail, Source};
use sockeye_hub::{Bye, ClientId};
use tracing::debug;

use super::guard::Guard;
use super::kernel::{DATAGRAM_TOKENS, Kernel};
use super::shard::Shard;

/// The datagrams of one shard.
pub(super) struct Post {
    machine: Datagrams,
    mail: Mail,
    /// Sockets that stand in the ready list.
    listed: Vec<bool>,
    /// Sockets that are not read, because too many of their requests wait for other shards.
    paused: Vec<bool>,
    /// Something happened since the figures were told.
    has_news: bool,
}

/// Datagrams of one call.
const BATCH_MAX: usize = sockeye_sys::datagram::BATCH_MAX;

impl Post {
    pub(super) fn new(key: CookieKey, sockets: usize, guard: &Arc<Guard>) -> Self {
        let mut machine = Datagrams::new(key);
        machine.set_gate(guard.datagram_gate());
        let (listed, paused) = (vec![true; sockets], vec![false; sockets]);
        Post { machine, mail: Mail::new(), listed, paused, has_news: false }
    }

    /// Goes on under the bounds that the guard has come to have.
    pub(super) fn reconfigure(&mut self, guard: &Arc<Guard>) {
        self.machine.set_gate(guard.datagram_gate());
    }

    /// When a session may be at its end.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.machine.poll_timeout()
    }
}

impl<K: Kernel> Shard<K> {
    /// An edge of a datagram socket. What was blocked is tried again, whatever the edge said.
    pub(super) fn handle_datagram_edge(&mut self, token: u64, is_readable: bool) {
        let socket = (token - DATAGRAM_TOKENS) as usize;
        self.post.machine.unblock(socket as u16, &mut self.desk.hub);
        // One that is listed already is served in this turn too.
        if is_readable && self.exchange.is_congested {
            return self.list_datagrams(token);
        }
        if is_readable && !self.post.listed.get(socket).is_some_and(|listed| *listed) {
            self.receive_datagrams(token);
        }
    }

    /// A datagram socket comes up from the ready list, or from the wheel by way of it.
    pub(super) fn handle_datagram_turn(&mut self, token: u64) {
        let socket = (token - DATAGRAM_TOKENS) as usize;
        if let Some(listed) = self.post.listed.get_mut(socket) {
            *listed = false;
        }
        self.post.machine.unblock(socket as u16, &mut self.desk.hub);
        self.receive_datagrams(token);
    }

    /// Receives one share of a socket, and handles it.
    fn receive_datagrams(&mut self, token: u64) {
        let socket = (token - DATAGRAM_TOKENS) as usize;
        let mut left = self.desk.server_limits.datagrams_per_turn_max;
        while !self.desk.draining {
            let room = self.post.machine.room(&self.desk.hub, &self.desk.limits);
            if room == 0 {
                // Each edge of a socket that is not read comes here again.
                if let Some(paused) = self.post.paused.get_mut(socket) {
                    *paused = true;
                }
                return;
            }
            let most = room.min(left).min(BATCH_MAX);
            if most == 0 {
                return self.list_datagrams(token);
            }
            let Shard { kernel, desk, post, .. } = self;
            let mut bytes_in = 0;
            let received = desk.with_context(None, |cx| {
                kernel.receive_datagrams(socket, most, &mut |source, bytes, is_cut| {
                    bytes_in += bytes.len() as u64;
                    post.machine.handle_input(source, bytes, is_cut, &mut post.mail, cx);
                })
            });
            desk.figures.bytes_in += bytes_in;
            desk.figures.reads += 1;
            post.has_news = true;
            let received = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                // An error that the network sent back about something that we sent: nobody is known to be concerned.
                Err(error) => {
                    debug!(%error, socket, "a datagram socket told of an error");
                    left -= 1;
                    continue;
                }
            };
            self.send_mail();
            if received < most {
                return;
            }
            // What many of them asked for was much: it is the turn of others.
            if self.desk.hub.is_work_done() {
                return self.list_datagrams(token);
            }
            left -= received;
        }
    }

    fn list_datagrams(&mut self, token: u64) {
        let socket = (token - DATAGRAM_TOKENS) as usize;
        if let Some(listed) = self.post.listed.get_mut(socket).filter(|listed| !**listed) {
            *listed = true;
            self.desk.ready.push_back(token);
        }
    }

    /// Another shard may have answered: sockets that waited for that are read on.
    pub(super) fn resume_datagrams(&mut self) {
        if self.post.paused.contains(&true) && self.post.machine.room(&self.desk.hub, &self.desk.limits) > 0 {
            for socket in 0..self.post.paused.len() {
                if std::mem::take(&mut self.post.paused[socket]) {
                    self.list_datagrams(DATAGRAM_TOKENS + socket as u64);
                }
            }
        }
    }

    /// Writes what waits for a session.
    pub(super) fn flush_session(&mut self, client: ClientId) {
        let (desk, post) = (&mut self.desk, &mut self.post);
        if post.machine.flush(client, &mut post.mail, &mut desk.hub, desk.now, &desk.limits) {
            post.has_news = true;
            if post.mail.len() >= BATCH_MAX {
                self.send_mail();
            }
        }
    }

    /// Sends everything that was written, each socket's in order.
    pub(super) fn send_mail(&mut self) {
        if self.post.mail.is_empty() {
            return;
        }
        let mail = std::mem::take(&mut self.post.mail);
        let first = mail.letters()[0].to.socket;
        if mail.letters().iter().all(|letter| letter.to.socket == first) {
            self.send_letters(first, &mail, mail.letters());
        } else {
            let sockets = self.post.listed.len() as u16;
            for socket in 0..sockets {
                let of_socket = |letter: &&Letter| letter.to.socket == socket;
                let letters: Vec<Letter> = mail.letters().iter().filter(of_socket).cloned().collect();
                self.send_letters(socket, &mail, &letters);
            }
        }
        self.post.mail = mail;
        self.post.mail.clear();
    }

    /// Sends the letters of one socket. What it does not take goes back to the sessions it is from.
    fn send_letters(&mut self, socket: u16, mail: &Mail, letters: &[Letter]) {
        let mut letters = Cow::Borrowed(letters);
        let mut at = 0;
        while at < letters.len() {
            let end = letters.len().min(at + BATCH_MAX);
            let batch: Vec<(&Source, &[u8])> =
                letters[at..end].iter().map(|letter| (&letter.to, mail.text(letter))).collect();
            let result = match self.kernel.send_datagrams(usize::from(socket), &batch) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                result => result,
            };
            self.desk.figures.writes += 1;
            match result {
                Ok(sent) => {
                    let sent_bytes = batch[..sent].iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
                    self.desk.figures.bytes_out += sent_bytes;
                    self.post.machine.note_sent(mail, &letters[at..at + sent]);
                    at += sent;
                }
                // The socket is full, and will tell of room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.post.machine.take_back(mail, &letters[at..], &mut self.desk.hub);
                }
                // This one receiver is full. No edge will tell that it has read, so it is tried again soon.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    let retry_ms = self.desk.now.ms + self.desk.server_limits.datagram_retry_ms;
                    self.desk.wheel.insert(retry_ms, DATAGRAM_TOKENS + u64::from(socket));
                    let busy = letters[at].to.clone();
                    let (same, others): (Vec<Letter>, Vec<Letter>) =
                        letters[at..].iter().cloned().partition(|letter| letter.to == busy);
                    self.post.machine.take_back(mail, &same, &mut self.desk.hub);
                    (letters, at) = (Cow::Owned(others), 0);
                }
                Err(error) => {
                    self.lose(&letters[at], &error);
                    at += 1;
                }
            }
        }
    }

    /// A letter cannot be sent at all. On a network it is lost on the way like any other: there may be a way again the next
    /// moment, and a session without a datagram ends by itself. Behind the name of a Unix socket there is nobody any more.
    fn lose(&mut self, letter: &Letter, error: &io::Error) {
        debug!(to = ?letter.to.peer, %error, "a datagram could not be sent");
        self.post.machine.note_lost(letter);
        if letter.to.peer.kind() == DatagramKind::Unix
            && let Some(client) = letter.client
        {
            self.post.machine.end(client, &mut self.desk.hub);
        }
    }

    /// Ends the sessions whose time is over.
    pub(super) fn handle_datagram_timers(&mut self) {
        if self.post.machine.poll_timeout().is_some_and(|due_ms| due_ms <= self.desk.now.ms) {
            self.post.machine.handle_timeout(&mut self.desk.hub, self.desk.now);
            self.post.has_news = true;
        }
    }

    /// Puts what was counted to the shard's figures.
    pub(super) fn tell_datagrams(&mut self) {
        if std::mem::take(&mut self.post.has_news) {
            self.has_news |= !self.exchange.is_alone();
            self.desk.figures.note_datagrams(self.post.machine.counts());
        }
    }

    /// Says goodbye to all sessions.
    pub(super) fn bid_sessions_farewell(&mut self, bye: Bye) {
        self.post.machine.bid_farewell(bye, &mut self.desk.hub);
    }

    /// Ends all sessions at once. Returns how many there were.
    pub(super) fn cut_sessions(&mut self) -> usize {
        let sessions = self.post.machine.sessions();
        self.post.machine.end_all(&mut self.desk.hub);
        self.desk.figures.note_datagrams(self.post.machine.counts());
        sessions
    }
}
