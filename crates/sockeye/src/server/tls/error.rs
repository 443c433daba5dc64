//! Why TLS cannot be spoken: which file, and what to do.

use std::io;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file has not what it should.
    #[error("{path}: {why}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The library or the system does not allow it.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

impl TlsError {
    pub(super) fn unusable(path: &std::path::Path, why: impl Into<String>) -> Self {
        TlsError::Unusable { path: path.display().to_string(), why: why.into() }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        TlsError::Library(error.to_string())
    }
}
