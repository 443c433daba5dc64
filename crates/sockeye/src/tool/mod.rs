//! The client's side: what speaks to a server, as opposed to being one.
//!
//! Deliberately absent: flags and exit codes, which are in `cli`.

mod error;
mod explain;
mod gram;
mod link;
mod publish;
mod secure;
mod subscribe;

pub use error::ToolError;
pub use explain::{Explanation, explain};
pub use link::Link;
pub use publish::{Payload, publish};
pub use subscribe::{Format, Hearing, subscribe};
