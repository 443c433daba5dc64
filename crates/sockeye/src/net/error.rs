//! What can go wrong with a socket: one type, whose kinds are the exit codes of every command.
//!
//! An error says what was being done, to which address, what the system said, and what to try. Secrets are not repeated.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::address::Address;

/// The result of everything that a socket does.
///
/// # Examples
///
/// ```
/// fn check() -> sockeye::net::Result<()> {
///     sockeye::net::Connector::new("tcp:localhost:7000")?;
///     Ok(())
/// }
/// assert!(check().is_ok());
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// Why a socket did not do what it was asked.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sockeye::net::{ErrorKind, Socket};
///
/// let error = Socket::connect("unix:/nonexistent/socket").await.expect_err("nobody is there");
/// assert_eq!(error.kind(), ErrorKind::Unreachable);
/// assert!(error.to_string().starts_with("unix:/nonexistent/socket: cannot connect"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    address: String,
    what: String,
    hint: Option<String>,
    http_status: Option<u16>,
    source: Option<io::Error>,
}

/// What an error is about. The numbers are the exit codes of the commands.
///
/// # Examples
///
/// ```
/// use sockeye::net::ErrorKind;
///
/// assert_eq!(ErrorKind::InUse.exit_code(), 11);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorKind {
    /// We have a bug, or the system failed us.
    Internal = 1,
    /// The address cannot be used for this, or the kind of socket cannot do it.
    Usage = 2,
    /// A host name was not found.
    NameNotFound = 3,
    /// The peer refused, or cannot be reached.
    Unreachable = 4,
    /// A step took too long.
    TimedOut = 5,
    /// TLS: a certificate that is not trusted, or a peer that does not speak it.
    Tls = 6,
    /// The peer refused the handshake, or broke the protocol in it.
    Refused = 7,
    /// The connection ended, or a message was cut, before everything was done.
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

impl ErrorKind {
    /// The exit code of a command that ends by this.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::ErrorKind;
    ///
    /// assert_eq!(ErrorKind::TimedOut.exit_code(), 5);
    /// ```
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

impl Error {
    /// Makes an error: what was being done or what is wrong, without the address.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Integrity, "tcp:localhost:7000", "the sum is wrong");
    /// assert_eq!(error.to_string(), "tcp:localhost:7000: the sum is wrong");
    /// ```
    pub fn new(kind: ErrorKind, address: impl fmt::Display, what: impl Into<String>) -> Error {
        let what = what.into();
        Error(Box::new(Inner {
            kind,
            address: address.to_string(),
            what,
            hint: None,
            http_status: None,
            source: None,
        }))
    }

    /// What the error is about.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{ErrorKind, Socket};
    ///
    /// let error = Socket::connect("unix:/nonexistent/socket").await.expect_err("nobody is there");
    /// assert_eq!(error.kind(), ErrorKind::Unreachable);
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whom it concerns.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let error = Socket::connect("unix:/nonexistent/socket").await.expect_err("nobody is there");
    /// assert_eq!(error.address(), "unix:/nonexistent/socket");
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// The operating system's code, if it gave one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let error = Socket::connect("unix:/nonexistent/socket").await.expect_err("nobody is there");
    /// assert_eq!(error.os_code(), Some(2)); // ENOENT
    /// # Ok(())
    /// # }
    /// ```
    pub fn os_code(&self) -> Option<i32> {
        self.0.source.as_ref().and_then(io::Error::raw_os_error)
    }

    /// The status by which an HTTP server refused a handshake.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> sockeye::net::Result<()> {
    /// use sockeye::net::Socket;
    ///
    /// if let Err(error) = Socket::connect("wss://example.org/live").await {
    ///     println!("{:?}", error.http_status()); // such as 404
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    pub(super) fn with_http_status(mut self, status: Option<u16>) -> Error {
        self.0.http_status = status;
        self
    }

    /// Adds what to try.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Usage, "tcp:x:1", "that is wrong").with_hint("try this");
    /// assert_eq!(error.to_string(), "tcp:x:1: that is wrong: try this");
    /// ```
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same about an address as it was given, of which another was made.
    pub(crate) fn about(mut self, address: impl fmt::Display) -> Error {
        self.0.address = address.to_string();
        self
    }

    pub(super) fn usage(address: &Address, what: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage, address.shown(), what)
    }

    /// A file or variable that an option names cannot be read.
    pub(super) fn unreadable(address: &Address, option: &str, error: &io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Usage,
        };
        Error::new(kind, address.shown(), format!("{option}: {error}"))
    }

    pub(super) fn timed_out(address: impl fmt::Display, step: &str, bound: Duration) -> Error {
        let what = format!("{step} took longer than {} ms", bound.as_millis());
        let hint = "the peer may be overloaded, or something in between may drop what is sent; timeout=TIME waits longer";
        Error::new(ErrorKind::TimedOut, address, what).with_hint(hint)
    }

    /// An error of the system in a step of connecting or listening.
    pub(super) fn system(address: impl fmt::Display, step: &str, source: io::Error) -> Error {
        let kind = kind_of(&source);
        let hint = match kind {
            ErrorKind::Unreachable if source.kind() == io::ErrorKind::NotFound => {
                Some("no socket has that path")
            }
            ErrorKind::Unreachable if source.kind() == io::ErrorKind::AddrNotAvailable => {
                Some("this machine has no such address, or no port left for it")
            }
            ErrorKind::Unreachable => {
                Some("is anything listening there, and does a firewall let you through?")
            }
            ErrorKind::InUse => Some(
                "another process listens there: stop it, or take another address (port 0 lets the system choose)",
            ),
            ErrorKind::Usage if is_errno(&source, Errno::PROTOTYPE) => {
                Some("the socket at that path is of another kind: streams are unix:, datagrams unixgram:")
            }
            ErrorKind::Usage if is_errno(&source, Errno::DESTADDRREQ) => {
                Some("it is bound and not connected: say to whom, with send_to")
            }
            ErrorKind::Permission => {
                Some("ports below 1024 need CAP_NET_BIND_SERVICE, a socket file needs write permission")
            }
            _ => None,
        };
        let inner = Inner {
            kind,
            address: address.to_string(),
            what: format!("{step}: {}", plain(&source)),
            hint: hint.map(str::to_owned),
            http_status: None,
            source: Some(source),
        };
        Error(Box::new(inner))
    }

    /// As an input or output error, for the traits that know no other; [`Error::from_io`] gets it back.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    ///
    /// use sockeye::net::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::InUse, "tcp::80", "it is taken").into_io();
    /// assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    /// ```
    pub fn into_io(self) -> io::Error {
        let kind = match self.kind() {
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::EndedEarly => io::ErrorKind::UnexpectedEof,
            ErrorKind::Permission => io::ErrorKind::PermissionDenied,
            ErrorKind::InUse => io::ErrorKind::AddrInUse,
            ErrorKind::Usage => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    /// The error inside an [`io::Error`] that [`Error::into_io`] made, or a new one about it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::net::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Tls, "tls:x:1", "no certificate").into_io();
    /// assert_eq!(Error::from_io("elsewhere", "reading", error).kind(), ErrorKind::Tls);
    /// ```
    pub fn from_io(address: impl fmt::Display, step: &str, error: io::Error) -> Error {
        if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            let inner = error.into_inner().expect("it was just looked at");
            return *inner.downcast::<Error>().expect("it was just looked at");
        }
        Error::system(address, step, error)
    }
}

/// The system's words, without a doubled `(os error 111)` for people; the code stays in [`Error::os_code`].
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.clone(), |(words, _)| words.to_owned())
}

fn kind_of(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return ErrorKind::Tls;
    }
    match error.kind() {
        Io::ConnectionRefused
        | Io::HostUnreachable
        | Io::NetworkUnreachable
        | Io::NetworkDown
        | Io::AddrNotAvailable
        | Io::NotFound => ErrorKind::Unreachable,
        Io::TimedOut => ErrorKind::TimedOut,
        Io::PermissionDenied => ErrorKind::Permission,
        Io::AddrInUse => ErrorKind::InUse,
        Io::ConnectionReset
        | Io::ConnectionAborted
        | Io::BrokenPipe
        | Io::UnexpectedEof
        | Io::NotConnected => ErrorKind::EndedEarly,
        Io::InvalidInput => ErrorKind::Usage,
        _ if is_mistaken(error) => ErrorKind::Usage,
        _ => ErrorKind::Internal,
    }
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// What the system says to who takes one kind of socket for another, and to who sends a datagram to nobody.
fn is_mistaken(error: &io::Error) -> bool {
    [Errno::PROTOTYPE, Errno::DESTADDRREQ].iter().any(|mistake| is_errno(error, *mistake))
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { address, what, hint, .. } = &*self.0;
        write!(formatter, "{address}: {what}")?;
        if let Some(code) = self.os_code() {
            write!(formatter, " (system error {code})")?;
        }
        match hint {
            Some(hint) => write!(formatter, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
