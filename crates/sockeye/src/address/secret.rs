//! Secrets: an address says where one is, never what it is.
//!
//! A command line can be read by every process of the machine and lands in the shell's history, so a secret itself has
//! no place in an address. Deliberately absent: a way to print one.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::str::FromStr;

/// The largest file that is read as a secret or certificate.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a secret, a key or a certificate is.
///
/// # Examples
///
/// ```
/// use sockeye::address::Source;
///
/// let source: Source = "env:TOKEN".parse()?;
/// assert_eq!(source.to_string(), "env:TOKEN");
/// assert!("sesame".parse::<Source>().is_err(), "a secret itself has no place there");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// In an environment variable: `env:NAME`.
    Environment(String),
    /// In a file: `file:PATH`.
    File(PathBuf),
}

impl Source {
    /// Reads what is there. Certificates and keys are taken as they are.
    ///
    /// # Errors
    /// When the variable is not set, or the file cannot be read or has more than 1 MiB; the error names it.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Source;
    ///
    /// let source: Source = "env:PATH".parse()?;
    /// assert!(source.read()?.as_text().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self) -> io::Result<Secret> {
        use std::io::Read as _;
        let bytes = match self {
            Source::Environment(name) => std::env::var_os(name)
                .ok_or_else(|| {
                    let why = format!("the environment variable {name} is not set");
                    io::Error::new(io::ErrorKind::NotFound, why)
                })?
                .into_vec(),
            Source::File(path) => {
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
                };
                let mut bytes = Vec::new();
                let file = std::fs::File::open(path).map_err(named)?;
                file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(named)?;
                if bytes.len() as u64 > FILE_BYTES_MAX {
                    let why = format!("{} is larger than 1 MiB", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                bytes
            }
        };
        Ok(Secret(bytes))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Environment(name) => write!(formatter, "env:{name}"),
            Source::File(path) => write!(formatter, "file:{}", path.display()),
        }
    }
}

impl Source {
    /// As an option's value: like `Display`, but for file names that are not UTF-8.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Source::Environment(name) => format!("env:{name}").into_bytes(),
            Source::File(path) => [b"file:", path.as_os_str().as_bytes()].concat(),
        }
    }

    /// Reads `env:NAME` and `file:PATH`.
    pub(super) fn parse(value: &[u8]) -> Option<Source> {
        if let Some(name) = value.strip_prefix(b"env:") {
            let name = str::from_utf8(name).ok()?;
            let is_name = !name.is_empty() && !name.contains(['=', '\0']);
            return is_name.then(|| Source::Environment(name.to_owned()));
        }
        let path = value.strip_prefix(b"file:")?;
        let is_path = !path.is_empty() && !path.contains(&0);
        is_path.then(|| Source::File(PathBuf::from(OsStr::from_bytes(path))))
    }
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Source, Self::Err> {
        Source::parse(text.as_bytes()).ok_or("takes env:NAME or file:PATH")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text.into_bytes())
    }
}

/// What was read from a [`Source`]. It has no way to be printed.
///
/// # Examples
///
/// ```
/// use sockeye::address::Secret;
///
/// let secret = Secret::from("sesame".to_owned());
/// assert!(!format!("{secret:?}").contains("sesame"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Secret;
    ///
    /// assert_eq!(Secret::from("sesame\n".to_owned()).as_bytes(), b"sesame\n");
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, without a line end behind it, as an editor leaves one in a file.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Secret;
    ///
    /// assert_eq!(Secret::from("sesame\n".to_owned()).as_text(), Some("sesame"));
    /// ```
    pub fn as_text(&self) -> Option<&str> {
        let text = str::from_utf8(&self.0).ok()?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Some(text.strip_suffix('\r').unwrap_or(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2\n").expect("a file");

        let secret = Source::File(path).read().expect("it is there");

        assert_eq!(secret.as_text(), Some("hunter2"));
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }

    #[test]
    fn a_missing_secret_is_named() {
        let missing = Source::Environment("SOCKEYE_NO_SUCH_VARIABLE".into()).read().expect_err("not set");

        assert!(missing.to_string().contains("SOCKEYE_NO_SUCH_VARIABLE"));
    }
}
