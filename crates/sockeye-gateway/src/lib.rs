//! One connection, between wire and hub, as a pure state machine.
//!
//! Bytes and time go in; bytes and calls of the hub come out. The shell owns the socket:
//!
//! ```text
//!            input ──> Connection::handle_input ──> Out (said at once)      ──> written by the shell
//!                             │
//!                             └──> Hub ──> outbox of any client ──> Connection::encode ──> written by the shell
//! ```
//!
//! Outputs are not polled but written into a sink that the caller gives, so that an echo of 16 KiB can leave from the
//! very buffer into which it was received. Everything said to one client keeps one order: while its outbox holds
//! anything, what is said at once is queued behind it.
//!
//! Datagrams have no connection: one [`datagram::Datagrams`] answers for all of them, and keeps state only for those who
//! proved their address.
//!
//! Deliberately absent: sockets, clocks, files, and any decision about who hears what.

pub mod datagram;
pub mod form;
pub mod gate;
pub mod limit;
pub mod mail;
pub mod out;
pub mod rate;
pub mod site;

mod answer;
mod compression;
mod connection;
mod context;
mod cookie;
mod detect;
mod http;
mod line;
mod patience;
mod protocol;
mod reply;
mod request;
mod route;
mod tally;
mod token;
mod websocket;

pub use connection::{Connection, Ending};
pub use context::Context;
pub use cookie::CookieKey;
pub use form::Form;
pub use limit::{DeflateMode, Limits};
pub use out::Out;
pub use protocol::{Protocol, Transport};
pub use site::{Asset, Pages, Site};
pub use tally::Tally;
pub use token::TokenCheck;
