//! How a command that fails ends: the exit codes are the kinds of the library's errors, the same for all of them.

use std::fmt;
use std::io::{self, Write as _};

use super::log::Reader;
use crate::config::ConfigError;
use crate::net::ErrorKind;
use crate::server::{ListenError, ServeError, TlsError, TokenError};
use crate::tool::ToolError;

/// What each exit code says, for manuals; 0 is that everything was done.
pub(super) const MEANINGS: [(ErrorKind, &str); 12] = [
    (ErrorKind::Internal, "a bug of Sockeye, or the system failed it"),
    (ErrorKind::Usage, "a flag, key, address or name is wrong"),
    (ErrorKind::NameNotFound, "a host name was not found"),
    (ErrorKind::Unreachable, "the peer refused, or cannot be reached"),
    (ErrorKind::TimedOut, "it took too long"),
    (ErrorKind::Tls, "a certificate is not trusted, or the TLS handshake failed"),
    (ErrorKind::Refused, "the peer refused the handshake, or what was asked"),
    (ErrorKind::EndedEarly, "it ended before everything was done, or something does not fit"),
    (ErrorKind::Integrity, "what arrived is not what was sent"),
    (ErrorKind::Permission, "a permission is missing"),
    (ErrorKind::InUse, "the address is in use"),
    (ErrorKind::Threshold, "what was measured does not meet what was demanded"),
];

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// What it is about, which is the exit code.
    pub kind: ErrorKind,
    /// What happened, to what, and what to try.
    pub message: String,
    /// Who is told.
    reader: Reader,
}

impl Failure {
    /// Makes a failure.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Failure { kind, message: message.to_string(), reader: Reader::Person }
    }

    /// A file or variable that a flag names cannot be read.
    pub(super) fn unreadable(flag: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Usage,
        };
        Failure::new(kind, format!("{flag}: {error}"))
    }

    /// The same for another reader of standard error.
    pub(super) fn to(self, reader: Reader) -> Self {
        Failure { reader, ..self }
    }

    /// Tells it on standard error.
    pub(super) fn tell(&self) {
        // Where nobody can be told, the exit code still tells.
        let _ = writeln!(io::stderr(), "{}", self.reader.last_line(&self.message, self.kind.exit_code()));
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let kind = match &error {
            ConfigError::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Permission
            }
            _ => ErrorKind::Usage,
        };
        Failure::new(kind, error)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::InUse { .. } => ErrorKind::InUse,
            ListenError::Permission { .. } => ErrorKind::Permission,
            ListenError::Unusable { .. } => ErrorKind::Usage,
            _ => ErrorKind::Internal,
        };
        Failure::new(kind, error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let kind = match &error {
            TokenError::Unreadable { why, .. } if why.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Permission
            }
            _ => ErrorKind::Usage,
        };
        Failure::new(kind, error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Listen(error) => error.into(),
            ServeError::Token(error) => error.into(),
            ServeError::Config(error) => error.into(),
            ServeError::Passed(error) => Failure::new(ErrorKind::Usage, error),
            ServeError::Tls(error) => error.into(),
            error => Failure::new(ErrorKind::Internal, error),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let kind = match &error {
            TlsError::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Permission
            }
            TlsError::Library(_) => ErrorKind::Internal,
            _ => ErrorKind::Usage,
        };
        Failure::new(kind, error)
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        let mut cause = &error;
        while let ToolError::Unacknowledged { why, .. } = cause {
            cause = why;
        }
        let kind = match cause {
            ToolError::NameNotFound { .. } => ErrorKind::NameNotFound,
            ToolError::Unreachable { .. } => ErrorKind::Unreachable,
            ToolError::Permission { .. } => ErrorKind::Permission,
            ToolError::TimedOut { .. } => ErrorKind::TimedOut,
            ToolError::Tls { .. } => ErrorKind::Tls,
            ToolError::Handshake { .. } | ToolError::Refused { .. } => ErrorKind::Refused,
            ToolError::EndedEarly { .. } | ToolError::Unacknowledged { .. } => ErrorKind::EndedEarly,
            ToolError::Unusable { .. } | ToolError::LineTooLong { .. } => ErrorKind::Usage,
            ToolError::Options(error) => error.kind(),
            ToolError::Output { .. } => ErrorKind::Internal,
        };
        Failure::new(kind, error)
    }
}

impl From<crate::net::Error> for Failure {
    fn from(error: crate::net::Error) -> Self {
        Failure::new(error.kind(), error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::new(ErrorKind::Internal, format!("{error:#}"))
    }
}
