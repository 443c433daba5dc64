//! What can go wrong for a client: sorted by what the user can do about it.

use std::io;

use crate::address::{Address, Base};
use crate::net;

/// Why a client did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The host name does not exist.
    #[error("{address}: the name {host:?} was not found ({source}): check its spelling, or give an address")]
    NameNotFound {
        /// Where to.
        address: Address,
        /// The name.
        host: String,
        /// The system's error.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("{address}: cannot connect ({source}): is the server running? `sockeye serve` starts one")]
    Unreachable {
        /// Where to.
        address: Address,
        /// The system's error.
        source: io::Error,
    },
    /// Somebody may be there, and we may not go there.
    #[error("{address}: no permission to connect ({source}): {needed}")]
    Permission {
        /// Where to.
        address: Address,
        /// What it takes.
        needed: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A step took too long.
    #[error("{address}: {step} took longer than {seconds} s")]
    TimedOut {
        /// Where to.
        address: Address,
        /// Which step.
        step: &'static str,
        /// Its bound.
        seconds: u64,
    },
    /// There is no encrypted connection to be had.
    #[error("{address}: TLS: {why}")]
    Tls {
        /// Where to.
        address: Address,
        /// Why, and what to try.
        why: String,
    },
    /// The peer answered, but not with a WebSocket.
    #[error("{address}: the handshake failed: {why}")]
    Handshake {
        /// Where to.
        address: Address,
        /// What the peer said.
        why: String,
    },
    /// The server refused what was asked.
    #[error("{address}: refused: {why}")]
    Refused {
        /// Where to.
        address: Address,
        /// The server's words.
        why: String,
    },
    /// The connection ended before everything was done.
    #[error("{address}: the connection ended early: {why}")]
    EndedEarly {
        /// Where to.
        address: Address,
        /// How.
        why: String,
    },
    /// It went wrong before the server had accepted everything.
    #[error("{why}; {unanswered} of {sent} lines were not acknowledged")]
    Unacknowledged {
        /// What went wrong.
        why: Box<ToolError>,
        /// Lines that were sent without an answer.
        unanswered: u64,
        /// Lines that were sent.
        sent: u64,
    },
    /// The address cannot be used for this.
    #[error("{address}: {why}")]
    Unusable {
        /// Where to.
        address: Address,
        /// Why, and what to use instead.
        why: &'static str,
    },
    /// What its options ask for cannot be had, such as a file that is not there.
    #[error(transparent)]
    Options(#[from] net::Error),
    /// A line of standard input does not end.
    #[error(
        "standard input: line {line} is longer than {} MiB, the largest that is read: publish it in pieces (a server takes 1 MiB, \
         unless its message_bytes_max says otherwise)",
        bytes_max >> 20
    )]
    LineTooLong {
        /// Which, from 1.
        line: u64,
        /// The bound.
        bytes_max: usize,
    },
    /// Standard input or output failed.
    #[error("{what}: {source}")]
    Output {
        /// What was being done.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl ToolError {
    /// The system did not connect us.
    pub(super) fn unconnected(address: &Address, source: io::Error) -> ToolError {
        let address = address.clone();
        if source.kind() != io::ErrorKind::PermissionDenied {
            return ToolError::Unreachable { address, source };
        }
        let needed = match &address.base {
            Base::Unix(_) | Base::UnixDatagram(_) => {
                "it takes write permission on the socket file, and search permission on the folders above it"
            }
            _ => "does a firewall of this machine forbid it?",
        };
        ToolError::Permission { address, needed, source }
    }
}
