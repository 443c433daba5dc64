//! The inbox of a shard: letters from the other shards and from the outside, and the way to wake who waits.
//!
//! ```text
//!   shard 0 ──letters of a turn, one push──> waiting ──all of it, one swap──> shard 1
//!                  wakes only who is asleep
//! ```
//!
//! A lock is held for the length of a push or a swap, never while anything else is done, and only by shards that have
//! something to tell each other: who has no letters looks at one flag. Nobody ever waits for room. What hubs write is
//! bounded by themselves: deliveries by the window of their link, requests by what a connection may have under way,
//! everything else by subscriptions, each of which was answered before it can end. What is left, payloads on their way
//! to their place, and the sum of it all, is bounded here: over the bound every shard stops reading from its connections
//! until the letters are taken, and goes on with everything else, so that they are.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Poll, Token, Waker};

use super::letter::{Content, Control, Letter};
use crate::config::ServerLimits;

/// The token of a wake-up: nothing else is registered with it.
pub(super) const WAKE_TOKEN: Token = Token(usize::MAX);

/// A queue that has grown beyond this many letters is given back when it is empty.
const LETTERS_KEPT_MAX: usize = 8_192;

/// The inboxes of all shards.
pub(super) struct Inboxes<S> {
    inboxes: Box<[Inbox<S>]>,
    /// How many of them are over their bound.
    over: AtomicUsize,
    letters_max: usize,
    bytes_max: usize,
}

/// On cache lines of its own, for others write to the one beside it.
#[repr(align(128))]
struct Inbox<S> {
    waiting: Mutex<Waiting<S>>,
    has_letters: AtomicBool,
    /// The shard waits, or is about to: who writes must wake it.
    asleep: AtomicBool,
    waker: Waker,
}

struct Waiting<S> {
    letters: VecDeque<Letter<S>>,
    payload_bytes: usize,
    is_over: bool,
}

impl<S> Inboxes<S> {
    /// Makes an inbox for each shard, woken through its poll.
    ///
    /// # Errors
    /// When the system gives no wake-up.
    pub(super) fn new(polls: &[Poll], limits: &ServerLimits) -> io::Result<Arc<Self>> {
        let inbox = |poll: &Poll| {
            Ok(Inbox {
                waiting: Mutex::new(Waiting { letters: VecDeque::new(), payload_bytes: 0, is_over: false }),
                has_letters: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
                waker: Waker::new(poll.registry(), WAKE_TOKEN)?,
            })
        };
        Ok(Arc::new(Inboxes {
            inboxes: polls.iter().map(inbox).collect::<io::Result<_>>()?,
            over: AtomicUsize::new(0),
            letters_max: limits.inbox_letters_max,
            bytes_max: limits.inbox_bytes_max,
        }))
    }

    /// How many shards there are.
    pub(super) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Puts letters into a shard's inbox, and wakes it if it waits. `letters` is left empty.
    pub(super) fn send(&self, shard: u16, letters: &mut Vec<Letter<S>>) {
        let inbox = &self.inboxes[usize::from(shard)];
        let payload_bytes: usize = letters.iter().map(Letter::payload_bytes).sum();
        {
            let mut waiting = inbox.lock();
            waiting.letters.extend(letters.drain(..));
            waiting.payload_bytes += payload_bytes;
            let is_over = waiting.letters.len() > self.letters_max || waiting.payload_bytes > self.bytes_max;
            if is_over && !waiting.is_over {
                waiting.is_over = true;
                self.over.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Either this sees that the shard waits, or the shard sees the flag before it does: both are sequentially
        // consistent.
        inbox.has_letters.store(true, Ordering::SeqCst);
        if inbox.asleep.load(Ordering::SeqCst) && inbox.asleep.swap(false, Ordering::SeqCst) {
            inbox.wake();
        }
    }

    /// Tells the whole server something.
    pub(super) fn tell_all(&self, control: &Control) {
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            let from = u16::try_from(shard).expect("there are at most 256 shards");
            inbox.lock().letters.push_back(Letter { from, content: Content::Control(control.clone()) });
            inbox.has_letters.store(true, Ordering::SeqCst);
            inbox.wake();
        }
    }

    /// Takes everything that waits, if `letters` is empty; otherwise that is to be handled first.
    pub(super) fn receive(&self, shard: u16, letters: &mut VecDeque<Letter<S>>) {
        let inbox = &self.inboxes[usize::from(shard)];
        if !inbox.has_letters.load(Ordering::Acquire) || !letters.is_empty() {
            return;
        }
        if letters.capacity() > LETTERS_KEPT_MAX {
            *letters = VecDeque::new();
        }
        inbox.has_letters.store(false, Ordering::SeqCst);
        let mut waiting = inbox.lock();
        std::mem::swap(&mut waiting.letters, letters);
        waiting.payload_bytes = 0;
        if std::mem::take(&mut waiting.is_over) {
            self.over.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A shard is about to wait. Returns false if it must not, because there are letters.
    pub(super) fn may_sleep(&self, shard: u16) -> bool {
        let inbox = &self.inboxes[usize::from(shard)];
        inbox.asleep.store(true, Ordering::SeqCst);
        !inbox.has_letters.load(Ordering::SeqCst)
    }

    /// A shard has been woken, by whatever it was.
    pub(super) fn is_awake(&self, shard: u16) {
        self.inboxes[usize::from(shard)].asleep.store(false, Ordering::Relaxed);
    }

    /// Whether some inbox is over its bound.
    pub(super) fn is_congested(&self) -> bool {
        self.over.load(Ordering::Relaxed) > 0
    }
}

impl<S> Inbox<S> {
    fn lock(&self) -> MutexGuard<'_, Waiting<S>> {
        // Nothing that is done under the lock can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when the shard's poll is gone, and then there is nobody to wake.
        let _ = self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::Events;

    use super::*;

    fn inboxes(limits: &ServerLimits) -> (Vec<Poll>, Arc<Inboxes<()>>) {
        let polls = vec![Poll::new().expect("a poll"), Poll::new().expect("a poll")];
        let inboxes = Inboxes::new(&polls, limits).expect("inboxes");
        (polls, inboxes)
    }

    fn letters(count: usize) -> Vec<Letter<()>> {
        let control = || Letter { from: 0, content: Content::Control(Control::Drain) };
        std::iter::repeat_with(control).take(count).collect()
    }

    fn is_woken(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).expect("a poll");
        !events.is_empty()
    }

    #[test]
    fn who_is_awake_is_not_woken_and_who_sleeps_is_once() {
        let (mut polls, inboxes) = inboxes(&ServerLimits::default());

        inboxes.send(1, &mut letters(3));
        assert!(!is_woken(&mut polls[1]));
        assert!(!inboxes.may_sleep(1), "letters wait");
        inboxes.is_awake(1);

        let mut taken = VecDeque::new();
        inboxes.receive(1, &mut taken);
        assert_eq!(taken.len(), 3);
        assert!(inboxes.may_sleep(1));
        inboxes.send(1, &mut letters(1));
        inboxes.send(1, &mut letters(1));
        assert!(is_woken(&mut polls[1]));
        assert!(!is_woken(&mut polls[0]));
    }

    #[test]
    fn everybody_is_told_and_woken() {
        let (mut polls, inboxes) = inboxes(&ServerLimits::default());

        inboxes.tell_all(&Control::End);

        for (shard, poll) in polls.iter_mut().enumerate() {
            let mut taken = VecDeque::new();
            inboxes.receive(shard as u16, &mut taken);
            assert!(is_woken(poll));
            assert!(matches!(taken[0].content, Content::Control(Control::End)));
        }
    }

    #[test]
    fn over_the_bound_it_is_congested_until_it_is_taken() {
        let limits = ServerLimits { inbox_letters_max: 10, ..ServerLimits::default() };
        let (_polls, inboxes) = inboxes(&limits);

        inboxes.send(1, &mut letters(10));
        assert!(!inboxes.is_congested());
        inboxes.send(1, &mut letters(1));
        inboxes.send(1, &mut letters(1));
        assert!(inboxes.is_congested());

        let mut taken = VecDeque::new();
        inboxes.receive(1, &mut taken);
        assert_eq!(taken.len(), 12);
        assert!(!inboxes.is_congested());
    }

    #[test]
    fn nothing_is_lost_between_threads_and_nobody_sleeps_on_letters() {
        const TURNS: usize = 20_000;
        let (mut polls, inboxes) = inboxes(&ServerLimits::default());
        let mut poll = polls.pop().expect("two polls");

        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..TURNS {
                    inboxes.send(1, &mut letters(1 + turn % 3));
                }
            });
            let mut events = Events::with_capacity(4);
            let (mut count, mut taken) = (0, VecDeque::new());
            while count < (0..TURNS).map(|turn| 1 + turn % 3).sum() {
                if inboxes.may_sleep(1) {
                    let patience = Some(Duration::from_secs(30));
                    poll.poll(&mut events, patience).expect("a poll");
                    assert!(!events.is_empty(), "it slept on letters");
                }
                inboxes.is_awake(1);
                inboxes.receive(1, &mut taken);
                count += taken.drain(..).count();
            }
        });
    }
}
