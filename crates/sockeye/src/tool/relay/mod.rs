//! `relay`: any socket joined with any other, one pair or as many as come.
//!
//! Whichever side is listened on, each connection there opens the other side anew; where both are, they are joined in the
//! order in which they come. In reading order: `rules` is what holds for a pair, `doors` is where pairs come from, `plain`
//! joins streams that the kernel can join by itself (through `pipe`), `carry` everything else (`moves` is what its directions
//! know of each other), `copy` writes what passes elsewhere too, `figures` counts and tells.
//!
//! Deliberately absent: sharing one connection among several, which is what a server's channels are for.

mod carry;
mod copy;
mod doors;
mod figures;
mod moves;
mod pipe;
mod plain;
mod rules;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, watch};

use self::copy::Copies;
use self::doors::{one_pair, pairs};
use self::figures::{Figures, Tally, Voice, merge};
pub use self::rules::Rules;
use self::rules::Shared;
use super::Frame;
use crate::address::{Address, Role, Shape, Side};
use crate::config::Network;
use crate::net::{Error, ErrorKind, Kind, Result, Socket};

/// What `relay` does.
#[derive(Clone, Debug)]
pub struct Relay {
    /// One end.
    pub left: Side,
    /// The other.
    pub right: Side,
    /// How they are joined; without a framing, bytes pass as they come, and that is told.
    pub rules: Rules,
    /// Whether the framing was asked for.
    pub frame_is_chosen: bool,
    /// Where what goes from left to right is written, too.
    pub tee: Option<Address>,
    /// Where what comes back is written, too.
    pub tee_back: Option<Address>,
    /// How long connecting is tried again.
    pub retry: Option<Duration>,
    /// Pairs at once; further ones wait.
    pub pairs_max: usize,
    /// End with the first pair.
    pub once: bool,
    /// Only these peers; everybody if it is empty.
    pub allow: Vec<Network>,
    /// Not these peers.
    pub deny: Vec<Network>,
    /// Tell figures at the end.
    pub stats: bool,
    /// Tell everything as JSON.
    pub json: bool,
}

/// Relays until the one pair has ended, or for ever where it listens.
///
/// # Errors
/// When listening fails, or the one pair does.
pub async fn relay(plan: Relay) -> Result<()> {
    let (left, right) = (Kind::of(&plan.left.address)?, Kind::of(&plan.right.address)?);
    let voice = Arc::new(Voice::new(plan.json));
    let is_mixed = (left.shape() == Shape::Stream) != (right.shape() == Shape::Stream);
    if is_mixed && !plan.frame_is_chosen {
        let stream = if left.shape() == Shape::Stream { left } else { right };
        let words = format!(
            "{} has no messages, so bytes pass as they come (--frame raw); --frame lines, nul, len32 or jsonl keeps messages apart",
            stream.name()
        );
        voice.tell(Some(words), || json!({ "event": "framing", "frame": "raw" }));
    }
    if is_mixed && plan.rules.frame == Frame::Raw && plan.rules.text {
        let what = "--text needs a framing: a piece of a stream may end inside a character";
        return Err(Error::new(ErrorKind::Usage, plan.left.address.shown(), what));
    }
    let is_listening = [&plan.left, &plan.right].iter().any(|side| side.role == Role::Listen);
    let (stopper, stop) = watch::channel(false);
    let (tee, back) = (plan.tee.as_ref(), plan.tee_back.as_ref());
    let (copies, writers) = Copies::open(tee, back, plan.rules.frame, plan.rules.hex, &voice).await?;
    let shared = Arc::new(Shared {
        rules: plan.rules.clone(),
        left: plan.left.address.shown(),
        right: plan.right.address.shown(),
        figures: Figures::default(),
        voice,
        copies,
        stop,
        is_alone: plan.once || !is_listening,
        next: AtomicU64::new(1),
    });
    let signals = tokio::spawn(hear_signals(stopper)?);
    let outcome = {
        let work =
            async { if is_listening { pairs(&plan, &shared).await } else { one_pair(&plan, &shared).await } };
        tokio::select! {
            outcome = work => outcome,
            () = shared.voice.live(&shared.figures) => Ok(()),
        }
    };
    signals.abort();
    shared.voice.end_line();
    if plan.stats {
        shared.voice.tell_all(&shared.figures);
    }
    // The copies are whole when nobody is left who could add to them.
    drop(shared);
    writers.finish().await;
    outcome
}

/// Says when the relay is to end: at once, when it is said twice.
fn hear_signals(stopper: watch::Sender<bool>) -> Result<impl Future<Output = ()> + Send + 'static> {
    let failed = |error| Error::from_io("relay", "cannot hear signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        for ends_at_once in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if ends_at_once {
                std::process::exit(i32::from(ErrorKind::EndedEarly.exit_code()));
            }
            stopper.send_replace(true);
        }
    })
}

/// Two sockets that were joined, and whose they are.
struct Pair {
    joined: Joined,
    number: u64,
    /// Its place among those at once.
    _permit: Option<OwnedSemaphorePermit>,
}

enum Joined {
    Plain(Box<plain::Pair>),
    Carried(Box<(Socket, Socket)>),
}

impl Pair {
    fn new(left: Socket, right: Socket, shared: &Arc<Shared>, permit: Option<OwnedSemaphorePermit>) -> Pair {
        let figures = &shared.figures;
        figures.open.fetch_add(1, Ordering::Relaxed);
        figures.opened.fetch_add(1, Ordering::Relaxed);
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        shared.voice.tell(None, || {
            let (left, right) = (left.peer().to_string(), right.peer().to_string());
            json!({ "event": "opened", "pair": number, "left": left, "right": right })
        });
        let joined = if shared.copies.is_empty() && left.is_plain() && right.is_plain() {
            match (left.into_plain(), right.into_plain()) {
                (Ok(left), Ok(right)) => {
                    Joined::Plain(Box::new(plain::Pair::new(left, right, Arc::clone(shared))))
                }
                _ => unreachable!("both were just looked at"),
            }
        } else {
            Joined::Carried(Box::new((left, right)))
        };
        Pair { joined, number, _permit: permit }
    }

    fn is_plain(&self) -> bool {
        matches!(self.joined, Joined::Plain(_))
    }
}

/// Tells how a pair ended, and passes that on.
fn ended(shared: &Shared, number: u64, tally: Tally, outcome: Result<()>) -> Result<()> {
    shared.figures.open.fetch_sub(1, Ordering::Relaxed);
    let error = outcome.as_ref().err().map(ToString::to_string);
    if error.is_some() {
        shared.figures.failed.fetch_add(1, Ordering::Relaxed);
    }
    // The error of the only pair is the command's, which tells it.
    let words = error.as_ref().filter(|_| !shared.is_alone);
    let words = words.map(|error| format!("connection {number} ended: {error}"));
    shared.voice.tell(words, || merge(json!({ "event": "ended", "pair": number, "error": error }), tally));
    outcome
}
