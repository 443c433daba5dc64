//! One encrypted connection, as the loop knows streams.
//!
//! What the loop is told of readiness must be true of the plain text, and what it wrote must not get lost between
//! the library and the kernel. So a socket keeps, while there is any:
//!
//! - the session's `partial`: ciphertext that begins a record which is not whole;
//! - `ready`: plain text that is more than the connection's share;
//! - `unsent`: ciphertext that the kernel did not take. Its plain text counts as written, since it cannot be encrypted
//!   again; until it is gone nothing more is taken, and the connection does not end.
//!
//! The large buffers are the thread's: an idle connection has none.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ServerConfig;

use super::door::Turns;
use super::figures::{Failure, TlsFigures};
use super::session::{RECORD_CONTENT_BYTES_MAX, Session};
use crate::server::ciphertext::Ciphertext;
use crate::server::kernel::News;

/// The longest record (RFC 8446, 5.2, and a little more for TLS 1.2), with its header.
const RECORD_BYTES_MAX: usize = 5 + RECORD_CONTENT_BYTES_MAX + 2_048;
/// What is read in one call.
const INCOMING_BYTES: usize = 128 << 10;
/// What is encrypted before it is written: so much may lie in `unsent`.
const PLAIN_BYTES_MAX: usize = 4 * RECORD_CONTENT_BYTES_MAX;
/// What a record that is not whole, or a message of the handshake, may hold of a connection's memory. Above it the
/// connection ends. (Chains of client certificates are a few KiB, a record at most 16 KiB and its frame.)
const PARTIAL_BYTES_MAX: usize = 32 << 10;

/// The buffers of a thread.
struct Scratch {
    incoming: Box<[u8]>,
    outgoing: Ciphertext,
    gathered: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; INCOMING_BYTES].into_boxed_slice(),
        outgoing: Ciphertext::default(),
        gathered: Vec::new(),
    });
}

/// An encrypted connection.
pub(in crate::server) struct TlsSocket {
    tcp: TcpStream,
    session: Session,
    ready: Vec<u8>,
    unsent: Vec<u8>,
    /// What is unsent could be sent, but something will be said in a moment, and it can go along with that.
    holds_back: bool,
    /// The last read took everything that the kernel had.
    is_drained: bool,
    /// The peer has ended its side.
    has_ended: bool,
    /// It did so without saying that it would (no close_notify): something may be missing.
    is_truncated: bool,
    /// Nothing more will be said.
    is_finished: bool,
    /// `finish` was called while there was still something to send.
    shuts_down: bool,
    error: Option<io::Error>,
    handshake: Option<Box<Handshake>>,
    news: Option<News>,
    figures: Arc<TlsFigures>,
}

/// What is needed until the handshake is done.
struct Handshake {
    turns: Arc<Turns>,
    /// It was admitted: what follows is cheap.
    is_admitted: bool,
    /// What was received with the first byte.
    first: Vec<u8>,
}

impl TlsSocket {
    /// Makes a connection that begins with `first`.
    pub(super) fn new(
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        figures: Arc<TlsFigures>,
        turns: Arc<Turns>,
        first: &[u8],
        is_drained: bool,
    ) -> io::Result<Self> {
        Ok(TlsSocket {
            tcp,
            session: Session::new(config).map_err(io::Error::other)?,
            ready: Vec::new(),
            unsent: Vec::new(),
            holds_back: false,
            is_drained,
            has_ended: false,
            is_truncated: false,
            is_finished: false,
            shuts_down: false,
            error: None,
            handshake: Some(Box::new(Handshake { turns, is_admitted: false, first: first.to_vec() })),
            news: Some(News::HandshakeBegan),
            figures,
        })
    }

    pub(in crate::server) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    pub(in crate::server) fn as_tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads plain text. As the loop must know it: `Ok(0)` is the peer's end, and `WouldBlock` also means that there may
    /// be news.
    pub(in crate::server) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.flush();
        if self.is_finished {
            // It lingers: what still comes is of no interest, encrypted or not.
            return self.tcp.read(buffer);
        }
        if !self.ready.is_empty() {
            // The kernel is not asked this time, and an edge may have come since it last was.
            self.is_drained = false;
            return Ok(self.take_ready(buffer));
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.has_ended {
            return Ok(0);
        }
        SCRATCH.with_borrow_mut(|scratch| match self.take_first() {
            Some(None) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Some(mut first)) => match self.take_in(&mut first, buffer, &mut scratch.outgoing)? {
                0 if self.must_tell() => Err(io::ErrorKind::WouldBlock.into()),
                0 => self.read_on(buffer, scratch),
                length => Ok(length),
            },
            None => self.read_on(buffer, scratch),
        })
    }

    fn take_ready(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.ready.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.ready[..length]);
        self.ready.drain(..length);
        if self.ready.is_empty() {
            self.ready = Vec::new();
        }
        length
    }

    /// What came with the first byte, once this connection is admitted: `Some(None)` until it is.
    fn take_first(&mut self) -> Option<Option<Vec<u8>>> {
        let handshake = self.handshake.as_mut()?;
        if handshake.is_admitted {
            return None;
        }
        if !handshake.turns.admits() {
            // That it has begun is told first.
            self.news.get_or_insert(News::Waits);
            return Some(None);
        }
        handshake.is_admitted = true;
        Some(Some(std::mem::take(&mut handshake.first)))
    }

    /// Something is known that the loop asks for when there is nothing to read.
    fn must_tell(&self) -> bool {
        self.news.is_some() || self.error.is_some()
    }

    /// Reads ciphertext until it gives plain text, or there is none.
    fn read_on(&mut self, buffer: &mut [u8], scratch: &mut Scratch) -> io::Result<usize> {
        loop {
            let held = self.session.partial().len();
            // At least a record, also for a connection whose share is small; and so much more as it may have.
            let end = scratch.incoming.len().min(held + buffer.len().max(RECORD_BYTES_MAX));
            let received = match retry(|| self.tcp.read(&mut scratch.incoming[held..end])) {
                Ok(0) => return self.take_end(),
                Ok(length) => length,
                Err(error) => {
                    self.is_drained = true;
                    return Err(error);
                }
            };
            self.is_drained = received < end - held;
            scratch.incoming[..held].copy_from_slice(self.session.partial());
            let input = &mut scratch.incoming[..held + received];
            match self.take_in(input, buffer, &mut scratch.outgoing)? {
                // What there is to tell comes before the end.
                0 if self.must_tell() => return Err(io::ErrorKind::WouldBlock.into()),
                0 if self.has_ended => return Ok(0),
                0 if self.is_drained => return Err(io::ErrorKind::WouldBlock.into()),
                0 => {}
                length => return Ok(length),
            }
        }
    }

    /// The kernel says that the peer has ended its side, and the peer has not.
    fn take_end(&mut self) -> io::Result<usize> {
        self.has_ended = true;
        if self.handshake.take().is_some() {
            self.figures.count_failed(Failure::Ended);
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer left during the TLS handshake",
            ));
        }
        self.is_truncated = true;
        self.figures.count_truncated();
        Ok(0)
    }

    /// Takes ciphertext in, answers what is to be answered, and returns how much plain text there is in `buffer`.
    fn take_in(
        &mut self,
        input: &mut [u8],
        buffer: &mut [u8],
        outgoing: &mut Ciphertext,
    ) -> io::Result<usize> {
        outgoing.clear();
        // Plain text is never longer than its ciphertext. Where that has not room enough, for the share is small, it waits.
        let mut roomy = vec![0; if buffer.len() < input.len() { input.len() } else { 0 }];
        let plain = if roomy.is_empty() { &mut *buffer } else { &mut roomy[..] };
        let step = self.session.receive(input, plain, outgoing);
        let is_secured = self.handshake.is_some() && !self.session.is_handshaking() && step.error.is_none();
        if is_secured && step.plain > 0 && self.unsent.is_empty() {
            // The end of the handshake, with tickets; the answer to what came along with it follows.
            self.unsent = outgoing.bytes().to_vec();
            self.holds_back = !self.unsent.is_empty();
        } else if !outgoing.bytes().is_empty() {
            self.send(outgoing.bytes())?;
        }
        self.has_ended |= step.ended;
        if let Some(error) = step.error {
            self.fail(&error);
        } else if self.session.partial().len() > PARTIAL_BYTES_MAX {
            self.count_failure(Failure::Other);
            let why = "a TLS message is longer than 32 KiB";
            self.error = Some(io::Error::new(io::ErrorKind::InvalidData, why));
        } else if is_secured {
            self.handshake = None;
            let secured = self.session.secured();
            self.figures.count_done(secured.resumed);
            self.news = Some(News::Secured(Box::new(secured)));
        }
        if step.plain == 0
            && let Some(error) = self.error.take()
        {
            return Err(error);
        }
        if !roomy.is_empty() {
            roomy.truncate(step.plain);
            self.ready = roomy;
            return Ok(self.take_ready(buffer));
        }
        Ok(step.plain)
    }

    fn fail(&mut self, error: &rustls::Error) {
        let during = if self.handshake.is_some() { "TLS handshake: " } else { "TLS: " };
        self.count_failure(Failure::of(error));
        self.error = Some(io::Error::new(io::ErrorKind::InvalidData, format!("{during}{error}")));
        // The alert has been sent. With unread input, closing would reset the connection and might destroy it.
        let mut dropped = [0; 16 << 10];
        let _ = self.tcp.shutdown(Shutdown::Write);
        for _ in 0..16 {
            if !matches!(self.tcp.read(&mut dropped), Ok(1..)) {
                break;
            }
        }
    }

    fn count_failure(&mut self, failure: Failure) {
        if self.handshake.take().is_some() {
            self.figures.count_failed(failure);
        }
    }

    /// Writes plain text: what is encrypted of it counts as written.
    pub(in crate::server) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_writable()?;
        SCRATCH.with_borrow_mut(|scratch| self.write_piece(bytes, &mut scratch.outgoing))
    }

    /// The same for several pieces, in as few records as they fit.
    pub(in crate::server) fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.check_writable()?;
        SCRATCH.with_borrow_mut(|Scratch { outgoing, gathered, .. }| {
            let mut written = 0;
            gathered.clear();
            for piece in pieces {
                let mut piece: &[u8] = piece;
                while !piece.is_empty() {
                    let (fitting, rest) = piece.split_at(piece.len().min(PLAIN_BYTES_MAX - gathered.len()));
                    gathered.extend_from_slice(fitting);
                    piece = rest;
                    if gathered.len() == PLAIN_BYTES_MAX {
                        written += self.write_gathered(gathered, outgoing)?;
                        if !self.unsent.is_empty() {
                            return Ok(written);
                        }
                    }
                }
            }
            Ok(written + self.write_gathered(gathered, outgoing)?)
        })
    }

    fn write_gathered(&mut self, gathered: &mut Vec<u8>, outgoing: &mut Ciphertext) -> io::Result<usize> {
        let written = if gathered.is_empty() { 0 } else { self.write_piece(gathered, outgoing)? };
        gathered.clear();
        Ok(written)
    }

    /// Writes one piece, until the kernel takes no more.
    fn write_piece(&mut self, bytes: &[u8], outgoing: &mut Ciphertext) -> io::Result<usize> {
        let mut written = 0;
        for part in bytes.chunks(PLAIN_BYTES_MAX) {
            outgoing.clear();
            if std::mem::take(&mut self.holds_back) {
                outgoing.put(&std::mem::take(&mut self.unsent));
            }
            self.session.encrypt(part, outgoing)?;
            written += part.len();
            self.send(outgoing.bytes())?;
            if !self.unsent.is_empty() {
                break;
            }
        }
        Ok(written)
    }

    /// Whether a write may be encrypted and sent later: nothing stands before it, and it can be encrypted.
    pub(in crate::server) fn is_free(&self) -> bool {
        self.handshake.is_none() && self.unsent.is_empty() && self.error.is_none() && !self.is_finished
    }

    /// Encrypts what is to be sent with others. It goes behind what has come to be unsent meanwhile.
    pub(in crate::server) fn encrypt(&mut self, bytes: &[u8], ciphertext: &mut Ciphertext) -> io::Result<()> {
        self.holds_back = false;
        ciphertext.put(&std::mem::take(&mut self.unsent));
        for part in bytes.chunks(PLAIN_BYTES_MAX) {
            self.session.encrypt(part, ciphertext)?;
        }
        Ok(())
    }

    /// Keeps what was encrypted and not sent.
    pub(in crate::server) fn keep_unsent(&mut self, ciphertext: &[u8]) {
        debug_assert!(self.unsent.is_empty());
        self.unsent = ciphertext.to_vec();
    }

    fn check_writable(&mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if !self.unsent.is_empty() && !self.holds_back {
            self.send_unsent()?;
        }
        if self.unsent.is_empty() || self.holds_back { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Sends ciphertext; what the kernel does not take is kept.
    fn send(&mut self, ciphertext: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.unsent.is_empty() {
            sent = match retry(|| self.tcp.write(ciphertext)) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        if sent < ciphertext.len() {
            self.unsent.extend_from_slice(&ciphertext[sent..]);
        }
        Ok(())
    }

    fn send_unsent(&mut self) -> io::Result<()> {
        self.holds_back = false;
        while !self.unsent.is_empty() {
            match retry(|| self.tcp.write(&self.unsent)) {
                Ok(length) if length == self.unsent.len() => self.unsent = Vec::new(),
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.shuts_down {
            self.shuts_down = false;
            // The peer may be gone already, which is what this was to achieve.
            let _ = self.tcp.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Writes what is unsent as far as it fits.
    pub(in crate::server) fn flush(&mut self) {
        if !self.unsent.is_empty()
            && let Err(error) = self.send_unsent()
        {
            // What follows could not be understood without it, so nothing does: whoever reads or writes next is told.
            self.unsent = Vec::new();
            self.error.get_or_insert(error);
        }
    }

    pub(in crate::server) fn is_clogged(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether only a new edge can bring something to read.
    pub(in crate::server) fn is_drained(&self) -> bool {
        let waits = self.handshake.as_ref().is_some_and(|handshake| !handshake.is_admitted);
        self.is_drained && !waits && !self.has_ended && self.ready.is_empty() && self.error.is_none()
    }

    pub(in crate::server) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Says whether the handshake is not done, and counts that it never will be.
    pub(in crate::server) fn expires_in_handshake(&mut self) -> bool {
        let expires = self.handshake.is_some();
        self.count_failure(Failure::TimedOut);
        expires
    }

    pub(in crate::server) fn remark(&self) -> Option<&'static str> {
        self.is_truncated.then_some("the peer ended without close_notify: something may be missing")
    }

    /// Says that nothing more will come, and nothing else.
    pub(in crate::server) fn farewell(&mut self) {
        // Who has cut the connection hears nothing any more.
        if self.is_finished || self.is_truncated {
            return;
        }
        self.is_finished = true;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.outgoing.clear();
            self.session.end(&mut scratch.outgoing);
            // Who cannot be told has gone.
            let _ = self.send(scratch.outgoing.bytes());
        });
    }

    /// Says it, and ends the sending side when that is out.
    pub(in crate::server) fn finish(&mut self) {
        self.farewell();
        self.shuts_down = true;
        let _ = self.send_unsent();
    }
}

impl Drop for TlsSocket {
    fn drop(&mut self) {
        self.count_failure(Failure::Ended);
    }
}

impl std::fmt::Debug for TlsSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsSocket").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
