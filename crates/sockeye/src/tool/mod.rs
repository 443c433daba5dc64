//! The client's side: what speaks to a server, as opposed to being one.
//!
//! `publish`, `subscribe` and `link` are clients of a Sockeye server; `connect`, `listen`, `relay` and `probe` join any two
//! sockets, on `net`: `bridge` is how our end is joined with a peer, `relay` how two peers are, `frame` how messages stand on a
//! stream, `show` how people read them, `said` what a server says, `heard` what was heard of it in datagrams,
//! `silence` when it is gone, `signal` how a command ends by one. Deliberately absent: flags and exit codes, which are in `cli`.

mod bridge;
mod connect;
mod error;
mod explain;
mod frame;
mod gram;
mod heard;
mod link;
mod listen;
mod probe;
mod publish;
mod relay;
mod run;
mod said;
mod secure;
mod show;
mod signal;
mod silence;
mod subscribe;

pub use bridge::{LAST_WORDS, Ours, Rules, Tally, bridge};
pub use connect::{Connect, Stats, connect};
pub use error::ToolError;
pub use explain::{Explanation, explain};
pub use frame::{Deframer, Frame, Item, Kept, write as write_framed};
pub use link::Link;
pub use listen::{Listen, With, listen};
pub use probe::{Finding, Probe, probe};
pub use publish::{Payload, publish};
pub use relay::{Relay, Rules as RelayRules, relay};
pub use run::{notice, run, tell};
pub use show::Show;
pub(crate) use show::harmless;
pub use subscribe::{Format, Hearing, subscribe};
