//! How a command ends: the exit codes, which are the same for all of them, and the words that go with them.

use std::fmt;
use std::io::{self, Write as _};

use crate::config::ConfigError;
use crate::net::ErrorKind;
use crate::server::{ListenError, ServeError, TlsError, TokenError};
use crate::tool::ToolError;

/// What an exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// We have a bug, or the system failed us.
    Internal = 1,
    /// A flag, key, address or name is wrong.
    Usage = 2,
    /// A host name was not found.
    NameNotFound = 3,
    /// The peer refused, or cannot be reached.
    Unreachable = 4,
    /// It took too long.
    TimedOut = 5,
    /// TLS: a certificate is not trusted, or the handshake failed.
    Tls = 6,
    /// The peer refused the handshake, or what was asked.
    Refused = 7,
    /// The connection ended before everything was done.
    EndedEarly = 8,
    /// What arrived is not what was sent.
    Integrity = 9,
    /// A permission is missing.
    Permission = 10,
    /// The address is in use.
    InUse = 11,
    /// What was measured does not meet what was demanded.
    Threshold = 12,
}

impl Exit {
    /// Every code with what it says, for manuals.
    pub(super) const MEANINGS: [(Exit, &'static str); 13] = [
        (Exit::Done, "everything was done"),
        (Exit::Internal, "a bug of Sockeye, or the system failed it"),
        (Exit::Usage, "a flag, key, address or name is wrong"),
        (Exit::NameNotFound, "a host name was not found"),
        (Exit::Unreachable, "the peer refused, or cannot be reached"),
        (Exit::TimedOut, "it took too long"),
        (Exit::Tls, "a certificate is not trusted, or the TLS handshake failed"),
        (Exit::Refused, "the peer refused the handshake, or what was asked"),
        (Exit::EndedEarly, "it ended before everything was done, or something does not fit"),
        (Exit::Integrity, "what arrived is not what was sent"),
        (Exit::Permission, "a permission is missing"),
        (Exit::InUse, "the address is in use"),
        (Exit::Threshold, "what was measured does not meet what was demanded"),
    ];
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, to what, and what to try.
    pub message: String,
}

impl Failure {
    /// Makes a failure.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Failure { exit, message: message.to_string() }
    }

    /// Tells it on standard error.
    pub(super) fn tell(&self) {
        // Where nobody can be told, the exit code still tells.
        let _ = writeln!(io::stderr(), "sockeye: {}", self.message);
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match &error {
            ConfigError::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            _ => Exit::Usage,
        };
        Failure::new(exit, error)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let exit = match &error {
            ListenError::InUse { .. } => Exit::InUse,
            ListenError::Permission { .. } => Exit::Permission,
            ListenError::Unusable { .. } => Exit::Usage,
            _ => Exit::Internal,
        };
        Failure::new(exit, error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Failure::new(Exit::Usage, error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Listen(error) => error.into(),
            ServeError::Token(error) => error.into(),
            ServeError::Config(error) => error.into(),
            ServeError::Passed(error) => Failure::new(Exit::Usage, error),
            ServeError::Tls(error) => error.into(),
            error => Failure::new(Exit::Internal, error),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let exit = match &error {
            TlsError::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            TlsError::Library(_) => Exit::Internal,
            _ => Exit::Usage,
        };
        Failure::new(exit, error)
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        let exit = match &error {
            ToolError::NameNotFound { .. } => Exit::NameNotFound,
            ToolError::Unreachable { .. } => Exit::Unreachable,
            ToolError::TimedOut { .. } => Exit::TimedOut,
            ToolError::Tls { .. } => Exit::Tls,
            ToolError::Handshake { .. } | ToolError::Refused { .. } => Exit::Refused,
            ToolError::EndedEarly { .. } => Exit::EndedEarly,
            ToolError::Unusable { .. } => Exit::Usage,
            ToolError::Output { .. } => Exit::Internal,
        };
        Failure::new(exit, error)
    }
}

impl From<crate::net::Error> for Failure {
    fn from(error: crate::net::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::NameNotFound => Exit::NameNotFound,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::TimedOut => Exit::TimedOut,
            ErrorKind::Tls => Exit::Tls,
            ErrorKind::Refused => Exit::Refused,
            ErrorKind::EndedEarly => Exit::EndedEarly,
            ErrorKind::Integrity => Exit::Integrity,
            ErrorKind::Permission => Exit::Permission,
            ErrorKind::InUse => Exit::InUse,
            ErrorKind::Threshold => Exit::Threshold,
            _ => Exit::Internal,
        };
        Failure::new(exit, error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::new(Exit::Internal, format!("{error:#}"))
    }
}
