//! One end of a relay: an address, and whether it is listened on.
//!
//! Only a relay needs to be told, because each other verb knows.

use std::fmt;
use std::str::FromStr;

use super::{Address, AddressError};

/// Who begins.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Role, Side};
///
/// assert_eq!("tcp:localhost:7000".parse::<Side>()?.role, Role::Connect);
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We connect.
    Connect,
    /// We listen: `listen:` before the address.
    Listen,
}

/// One end of a relay.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Role, Side};
///
/// let left: Side = "listen:tcp::7000".parse()?;
/// assert_eq!(left.role, Role::Listen);
/// assert_eq!(left.to_string(), "listen:tcp::7000");
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    /// Whether it is listened on.
    pub role: Role,
    /// Where.
    pub address: Address,
}

impl FromStr for Side {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(match text.strip_prefix("listen:") {
            Some(address) => Side { role: Role::Listen, address: address.parse()? },
            None => Side { role: Role::Connect, address: text.parse()? },
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Connect => write!(formatter, "{}", self.address),
            Role::Listen => write!(formatter, "listen:{}", self.address),
        }
    }
}
