//! Two streams of the kernel, joined without looking at what passes.
//!
//! ```text
//! each direction:   small ── a read that fills the buffer ──> bulk (spliced through a pipe)
//!                   small <── a turn that moved little ────── bulk
//! ```
//!
//! A pair is one future that is polled: no memory is held while nothing is on its way, because what is read goes through
//! one buffer of the thread, and pipes come from a pool. Deliberately absent: everything that has messages, and whatever
//! wants to see the bytes; that is `carry`.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::time::{Sleep, sleep_until};

use super::figures::{Figures, Tally, Way};
use super::pipe::Pipe;
use super::rules::{End, Passed, Rules, Shared, words_of};
use crate::net::{Error, ErrorKind, Plain, Result};

/// The buffer through which small amounts pass. A read that fills it is the beginning of much.
const BUFFER_BYTES: usize = 64 << 10;
/// A direction whose turn moved less than this is no longer spliced: it costs more than it saves.
const BULK_BYTES_MIN: usize = 32 << 10;
/// Turns of one direction before others have theirs.
const TURNS_MAX: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Two streams, and what is on its way between them.
pub(super) struct Pair {
    left: Plain,
    right: Plain,
    there: Lane,
    back: Lane,
    clock: Option<Box<Clock>>,
    shared: Arc<Shared>,
}

/// One direction.
struct Lane {
    way: Way,
    state: State,
    held: Held,
    is_bulk: bool,
    is_dropped: bool,
    tally: Tally,
}

enum State {
    Open,
    /// The source has ended; the other side is to be told behind what is held.
    Ending,
    Ended,
    /// The other side takes no more.
    Refused(io::Error),
}

/// What was taken and not yet delivered.
enum Held {
    Nothing,
    Bytes { bytes: Box<[u8]>, written: usize },
    Pipe(Pipe),
}

/// Why a lane cannot go on, which ends the pair.
struct Broken(io::Error);

struct Clock {
    sleep: Pin<Box<Sleep>>,
    moved_at: Instant,
    ended_at: Option<Instant>,
}

impl Pair {
    pub(super) fn new(left: Plain, right: Plain, shared: Arc<Shared>) -> Pair {
        let rules = &shared.rules;
        let clock = rules.idle.or(rules.linger).map(|first| {
            let now = Instant::now();
            let sleep = Box::pin(sleep_until((now + first).into()));
            Box::new(Clock { sleep, moved_at: now, ended_at: None })
        });
        let (there, back) = (Lane::new(Way::There, false), Lane::new(Way::Back, rules.one_way));
        Pair { left, right, there, back, clock, shared }
    }

    /// What went through.
    pub(super) fn tally(&self) -> Tally {
        self.there.tally + self.back.tally
    }

    /// Moves bytes in both directions until they have ended, or the pair breaks.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let before = self.tally();
        let figures = &self.shared.figures;
        let there = self.there.poll(figures, &mut self.left, &mut self.right, cx);
        let back = self.back.poll(figures, &mut self.right, &mut self.left, cx);
        for (lane, source) in [(&there, End::Left), (&back, End::Right)] {
            if let Poll::Ready(Err(Broken(error))) = lane {
                let what = format!("the connection broke: {}", words_of(error));
                self.reset();
                return Poll::Ready(Err(Error::new(ErrorKind::EndedEarly, self.shared.name(source), what)));
            }
        }
        if there.is_ready() && (back.is_ready() || self.shared.rules.one_way) {
            return Poll::Ready(self.outcome());
        }
        let (has_moved, has_ended) = (self.tally() != before, there.is_ready() || back.is_ready());
        let Some(clock) = &mut self.clock else { return Poll::Pending };
        let passed = ready!(clock.poll(&self.shared.rules, has_moved, has_ended, cx));
        if self.there.is_holding() || self.back.is_holding() {
            self.reset();
        }
        Poll::Ready(Err(self.shared.passed(passed)))
    }

    fn outcome(&self) -> Result<()> {
        for (lane, target) in [(&self.there, End::Right), (&self.back, End::Left)] {
            if let State::Refused(error) = &lane.state
                && !lane.is_dropped
            {
                let what = format!("it takes no more: {}", words_of(error));
                return Err(Error::new(ErrorKind::EndedEarly, self.shared.name(target), what));
            }
        }
        Ok(())
    }

    /// A connection that broke is not ended in good order on the other side: nobody takes a part for the whole.
    fn reset(&self) {
        for side in [&self.left, &self.right] {
            // Where there is no TCP beneath there is nothing to reset.
            let _ = SockRef::from(side).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Lane {
    fn new(way: Way, is_dropped: bool) -> Lane {
        let tally = Tally::default();
        Lane { way, state: State::Open, held: Held::Nothing, is_bulk: false, is_dropped, tally }
    }

    fn is_holding(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Moves what there is until nothing is there, or no more is taken. Ready when this direction is over.
    fn poll(
        &mut self,
        figures: &Figures,
        from: &mut Plain,
        to: &mut Plain,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<(), Broken>> {
        let mut moved = 0;
        for _ in 0..TURNS_MAX {
            match self.state {
                State::Ended | State::Refused(_) => return Poll::Ready(Ok(())),
                State::Open | State::Ending => {}
            }
            if let Err(error) = ready!(self.poll_deliver(to, cx)) {
                self.held = Held::Nothing;
                self.state = State::Refused(error);
                continue;
            }
            if matches!(self.state, State::Ending) {
                self.state = match ready!(to.poll_finish(cx)) {
                    Ok(()) => State::Ended,
                    Err(error) => State::Refused(error),
                };
                continue;
            }
            let taken = match self.poll_take(from, to, cx) {
                Poll::Ready(Ok(taken)) => taken,
                Poll::Ready(Err(Fault::Source(error))) => return Poll::Ready(Err(Broken(error))),
                Poll::Ready(Err(Fault::Target(error))) => {
                    self.state = State::Refused(error);
                    continue;
                }
                Poll::Pending => {
                    self.is_bulk &= moved >= BULK_BYTES_MIN;
                    return Poll::Pending;
                }
            };
            if taken == 0 {
                self.state = if self.is_dropped { State::Ended } else { State::Ending };
                continue;
            }
            moved += taken;
            if !self.is_dropped {
                self.tally.count(self.way, taken);
                figures.count(self.way, taken);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held.
    fn poll_deliver(&mut self, to: &mut Plain, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Bytes { bytes, written } => match ready!(to.poll_write(&bytes[*written..], cx)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(count) => {
                        *written += count;
                        if *written == bytes.len() {
                            self.held = Held::Nothing;
                        }
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Held::Pipe(pipe) => match ready!(to.poll_giving(|to| pipe.drain(to), cx)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(_) => {
                        if pipe.held() == 0 {
                            self.held = Held::Nothing;
                        }
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Takes what the source has; 0 is its end.
    fn poll_take(
        &mut self,
        from: &mut Plain,
        to: &mut Plain,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<usize, Fault>> {
        if self.is_bulk
            && let Some(mut pipe) = Pipe::take()
        {
            let taken = ready!(from.poll_taking(|from| pipe.fill(from), cx)).map_err(Fault::Source)?;
            if taken > 0 {
                self.held = Held::Pipe(pipe);
            }
            return Poll::Ready(Ok(taken));
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(BUFFER_BYTES, 0);
            let mut room = ReadBuf::new(buffer);
            ready!(from.poll_read(&mut room, cx)).map_err(Fault::Source)?;
            let bytes = room.filled();
            self.is_bulk = bytes.len() == BUFFER_BYTES && !self.is_dropped;
            if bytes.is_empty() || self.is_dropped {
                return Poll::Ready(Ok(bytes.len()));
            }
            // Mostly all of it is taken at once, and nothing has to be kept.
            let written = match to.poll_write(bytes, cx) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Target(error))),
                Poll::Pending => 0,
            };
            if written < bytes.len() {
                self.held = Held::Bytes { bytes: bytes[written..].into(), written: 0 };
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }
}

/// Which end failed.
enum Fault {
    Source(io::Error),
    Target(io::Error),
}

impl Clock {
    /// Ready when a limit has passed.
    fn poll(
        &mut self,
        rules: &Rules,
        has_moved: bool,
        has_ended: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Passed> {
        if has_moved {
            self.moved_at = Instant::now();
        }
        let begins_to_end = has_ended && self.ended_at.is_none();
        if begins_to_end {
            self.ended_at = Some(Instant::now());
        }
        let idle = rules.idle.map(|idle| (self.moved_at + idle, Passed::Idle(idle)));
        let linger = rules.linger.zip(self.ended_at);
        let linger = linger.map(|(linger, ended)| (ended + linger, Passed::Linger(linger)));
        let Some((until, passed)) = idle.into_iter().chain(linger).min_by_key(|(until, _)| *until) else {
            return Poll::Pending;
        };
        if begins_to_end {
            self.sleep.as_mut().reset(until.into());
        }
        // The sleep is left to fire early rather than moved for every byte.
        while self.sleep.as_mut().poll(cx).is_ready() {
            if until <= Instant::now() {
                return Poll::Ready(passed);
            }
            self.sleep.as_mut().reset(until.into());
        }
        Poll::Pending
    }
}
