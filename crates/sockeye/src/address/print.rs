//! Address to text: what is printed can be read, and means the same.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use super::error::without_secrets;
use super::{Address, Base, Url, percent, words};

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for layer in &self.layers {
            write!(formatter, "{}+", layer.name())?;
        }
        let name = self.base.name();
        match &self.base {
            Base::Tcp(at) | Base::Tls(at) | Base::Udp(at) => {
                write!(formatter, "{name}:")?;
                self.write_user(formatter)?;
                write!(formatter, "{at}")?;
            }
            Base::Unix(socket) | Base::UnixDatagram(socket) | Base::Seqpacket(socket) => {
                write_path(formatter, name, &socket.to_string())?;
            }
            Base::WebSocket(url) | Base::Http(url) => {
                write!(formatter, "{name}://")?;
                self.write_user(formatter)?;
                write!(formatter, "{}{}", url.server, url.path)?;
            }
            Base::Ip(host) if host.contains(':') => write!(formatter, "ip:[{host}]")?,
            Base::Ip(host) => write!(formatter, "ip:{host}")?,
            Base::Packet(interface) => write!(formatter, "packet:{}", percent::encode(interface.as_bytes()))?,
            Base::Exec(command) => write!(formatter, "exec:{}", words::join(command))?,
            Base::Shell(command) => write!(formatter, "sh:{command}")?,
            Base::Descriptor(number) => write!(formatter, "fd:{number}")?,
            Base::File(path) => write_path(formatter, name, &percent::encode(path.as_os_str().as_bytes()))?,
            Base::Standard => formatter.write_str("-")?,
            Base::Channel { server, channel } => {
                formatter.write_str("ch:")?;
                self.write_user(formatter)?;
                write!(formatter, "{server}/{}", percent::encode(channel.as_bytes()))?;
            }
        }
        let options = self.options.written();
        if !options.is_empty() {
            let sign = if self.base.is_url() { '#' } else { '?' };
            write!(formatter, "{sign}{options}")?;
        }
        Ok(())
    }
}

/// Two slashes before a target have no meaning, so a target that begins with two needs four.
fn write_path(formatter: &mut fmt::Formatter<'_>, name: &str, path: &str) -> fmt::Result {
    let slashes = if path.starts_with("//") { "//" } else { "" };
    write!(formatter, "{name}:{slashes}{path}")
}

impl Address {
    fn write_user(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(user) = &self.options.user else { return Ok(()) };
        for character in user.chars() {
            // What would end the name, beside what ends everything.
            if "@/[]".contains(character) {
                write!(formatter, "%{:02X}", u32::from(character))?;
            } else {
                let mut buffer = [0; 4];
                formatter.write_str(&percent::encode(character.encode_utf8(&mut buffer).as_bytes()))?;
            }
        }
        formatter.write_str("@")
    }

    /// The address for people, without what looks like a secret in the query of a URL. What is printed this way goes into
    /// errors and logs.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// let address: Address = "ws://localhost/live?token=sesame".parse()?;
    /// assert!(!address.shown().contains("sesame"));
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn shown(&self) -> String {
        match self.base {
            // A command is shown as it is: what is a secret in it cannot be known.
            Base::Exec(_) | Base::Shell(_) => self.to_string(),
            _ => without_secrets(&self.to_string()),
        }
    }
}

impl Url {
    /// The path for people, without what looks like a secret in its query.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::{Address, Base};
    ///
    /// let address: Address = "ws://localhost/live?token=sesame".parse()?;
    /// let Base::WebSocket(url) = &address.base else { unreachable!("it is one") };
    /// assert!(!url.path_shown().contains("sesame"));
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn path_shown(&self) -> String {
        without_secrets(&self.path)
    }
}
