//! TLS under the loop: what arrives encrypted is handed up in plain text, and what is said goes out encrypted.
//!
//! - [`Tls`] is the server's: certificates, sessions, who is let in; read again while the server runs (`watch.rs`).
//! - `Door` is a shard's: it makes a `TlsSocket` of a connection whose first byte says so, and lets only so many
//!   shake hands in one turn.
//! - `TlsSocket` is a stream as the loop knows it; `Session` inside is the library's part of it.
//!
//! Deliberately absent: detection of protocols, which is the gateway's, above; TLS for clients, which is in `tool`;
//! early data (RFC 8446, 2.3), since whoever recorded it could publish it again.

mod acceptor;
mod certificate;
mod door;
mod error;
mod figures;
mod self_signed;
mod session;
mod socket;
mod watch;

pub use acceptor::Tls;
pub use error::TlsError;

pub(super) use door::{Arrived, Door, Fresh};
pub(super) use socket::TlsSocket;
