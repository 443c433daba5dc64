//! Why bytes are not a PROXY header.

use super::HEADER_BYTES_MAX;
use super::v1::LINE_BYTES_MAX;

/// Why bytes are not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection begins with something else.
    #[error("no PROXY header: begin with `PROXY ` (version 1) or with the signature of version 2")]
    Missing,
    /// Version 1 without an end of line in time.
    #[error("a PROXY line has at most {LINE_BYTES_MAX} bytes with its CR LF")]
    LineTooLong,
    /// Version 1 with other words than it has.
    #[error(
        "a PROXY line is `PROXY TCP4|TCP6|UNKNOWN source destination source-port destination-port` and CR LF"
    )]
    Line,
    /// Version 1 with an address that is none, or of the other family.
    #[error("a PROXY line has an address that is not one of its family")]
    Address,
    /// Version 1 with a port that is none.
    #[error("a PROXY line has a port that is not a decimal number of at most 65535")]
    Port,
    /// The version of a binary header is not 2.
    #[error("a PROXY header of version {0}: 1 and 2 are spoken")]
    Version(u8),
    /// A command beside LOCAL and PROXY.
    #[error("a PROXY header with command {0}: there are LOCAL (0) and PROXY (1)")]
    Command(u8),
    /// A family and transport that are not assigned.
    #[error("a PROXY header with address family and transport {0:#04x}, which is not assigned")]
    Family(u8),
    /// It declares more than is taken.
    #[error("a PROXY header of {0} bytes: at most {HEADER_BYTES_MAX} are taken")]
    TooLong(usize),
    /// It declares less than its addresses need.
    #[error("a PROXY header has {length} bytes for addresses that need {needed}")]
    TooShort {
        /// What was declared.
        length: usize,
        /// What the family needs.
        needed: usize,
    },
    /// A TLV reaches beyond the header.
    #[error("a PROXY header has a TLV that ends outside of it")]
    Tlv,
    /// The checksum TLV says that the header was damaged.
    #[error("a PROXY header does not match its checksum")]
    Checksum,
}
