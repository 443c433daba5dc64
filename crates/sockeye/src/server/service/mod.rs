//! What a service manager gives a server and wants to hear of it: passed sockets, and messages on how it is.
//!
//! The protocols are those of `sd_listen_fds(3)` and `sd_notify(3)`; each is a few lines, so no library is needed.
//! Deliberately absent: the log's form for the journal, which belongs to the command (`cli/log.rs`).

mod activation;
mod notify;

pub use activation::{Passed, PassedError, take_passed};
pub use notify::Notifier;
