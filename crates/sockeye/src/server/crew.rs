//! The threads of the server: one for each shard, the first on the thread that called, and one that waits for signals.
//!
//! They end together: when all shards are drained, or when one of them cannot go on. A panic on any of them ends the whole
//! process at once, since a server without one of its shards would be silent about a part of its channels. Deliberately
//! absent: what shards do (`shard.rs`), and what they say to each other (`inbox.rs`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing::error;

use super::inbox::Inboxes;
use super::letter::Control;
use super::mio::{MioKernel, Reserve, Socket};
use super::shard::Shard;

/// What the threads know of each other.
pub(super) struct Crew {
    pub(super) inboxes: Arc<Inboxes<Socket>>,
    pub(super) reserve: Arc<Reserve>,
    /// When all shards began, by the clock that they share.
    pub(super) started: Instant,
    undrained: AtomicUsize,
    /// When each shard last came round, in milliseconds of the shared clock.
    came_round_ms: Box<[AtomicU64]>,
}

/// A shard comes round at least this often, since its figures are due each second.
const COMES_ROUND: Duration = Duration::from_secs(5);

impl Crew {
    pub(super) fn new(inboxes: Arc<Inboxes<Socket>>) -> Self {
        let shards = inboxes.count();
        Crew {
            inboxes,
            reserve: Reserve::new(),
            started: Instant::now(),
            undrained: AtomicUsize::new(shards),
            came_round_ms: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Makes a shard and runs it until the server ends. `after_turn` says how long the next turn may wait.
    ///
    /// # Errors
    /// When it cannot be made, or cannot go on; the others are told to end then.
    pub(super) fn run(
        &self,
        index: u16,
        make: impl FnOnce() -> io::Result<Shard<MioKernel>>,
        mut after_turn: impl FnMut(&Shard<MioKernel>) -> Option<Duration>,
    ) -> io::Result<()> {
        let run = || {
            let mut shard = make()?;
            let mut was_drained = false;
            let mut wait_max = after_turn(&shard);
            while !shard.is_over() {
                shard.turn(wait_max)?;
                self.came_round_ms[usize::from(index)].store(shard.now().ms, Ordering::Relaxed);
                wait_max = after_turn(&shard);
                if shard.is_drained() && !was_drained {
                    was_drained = true;
                    // Each shard is the home of some channels, so all go on until the last is drained.
                    if self.undrained.fetch_sub(1, Ordering::AcqRel) == 1 {
                        self.inboxes.tell_all(&Control::End);
                    }
                }
            }
            Ok(())
        };
        let result: io::Result<()> = run();
        if let Err(error) = &result {
            error!(shard = index, %error, "a shard cannot go on: the server ends");
            self.inboxes.tell_all(&Control::End);
        }
        result
    }

    /// Whether every shard has come round lately.
    pub(super) fn is_alive(&self) -> bool {
        let now_ms = self.started.elapsed().as_millis() as u64;
        let patience_ms = COMES_ROUND.as_millis() as u64;
        self.came_round_ms.iter().all(|ms| ms.load(Ordering::Relaxed) + patience_ms >= now_ms)
    }
}

/// From here on a panic on any thread ends the process, after its message.
pub(super) fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let thread = std::thread::current();
        error!(thread = thread.name(), "a thread panicked, which is a bug: the server ends");
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Set in the process that is to panic.
    const PANICS: &str = "SOCKEYE_TEST_PANICS";

    #[test]
    fn a_panic_on_any_thread_ends_the_process_and_says_so() {
        if std::env::var_os(PANICS).is_some() {
            end_on_panic();
            let shard = std::thread::Builder::new().name("shard-1".into()).spawn(|| panic!("planted"));
            let _ = shard.expect("a thread").join();
            unreachable!("the process has ended");
        }
        let test = std::env::current_exe().expect("this binary");

        let ran = Command::new(test)
            .args([
                "--exact",
                "--nocapture",
                "server::crew::tests::a_panic_on_any_thread_ends_the_process_and_says_so",
            ])
            .env(PANICS, "1")
            .output()
            .expect("it runs");

        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.signal(), Some(6), "{said}");
        assert!(said.contains("shard-1") && said.contains("planted"), "{said}");
    }
}
