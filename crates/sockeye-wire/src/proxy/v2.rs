//! Version 2: a binary header.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::endpoints::{Endpoints, Transport, UNIX_PATH_BYTES, UnixEndpoints, UnixPath};
use super::error::ProxyError;
use super::{HEADER_BYTES_MAX, SIGNATURE, is_begun};

/// The signature, two bytes of what it is, and the length of what follows.
const FIXED_BYTES: usize = 16;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// Section 2.2: family in the upper, transport in the lower four bits. These are all that are assigned.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

const INET4_BYTES: usize = 12;
const INET6_BYTES: usize = 36;
const UNIX_BYTES: usize = 2 * UNIX_PATH_BYTES;

/// Section 2.2.4: PP2_TYPE_CRC32C.
const TLV_CHECKSUM: u8 = 0x03;

/// Reads a header. Its fixed part is judged byte by byte, the rest when it is whole.
pub(super) fn decode(input: &[u8]) -> Result<Option<(Endpoints, usize)>, ProxyError> {
    if !is_begun(input, &SIGNATURE) {
        return Err(ProxyError::Missing);
    }
    let Some(&version_and_command) = input.get(12) else { return Ok(None) };
    if version_and_command >> 4 != 2 {
        return Err(ProxyError::Version(version_and_command >> 4));
    }
    let command = version_and_command & 0xf;
    // Section 2.2: other commands are unassigned, and receivers must drop connections that have one.
    if command != LOCAL && command != PROXY {
        return Err(ProxyError::Command(command));
    }
    let Some(&family) = input.get(13) else { return Ok(None) };
    let needed = match family {
        // Section 2.2: with LOCAL, the receiver discards everything, the family included.
        _ if command == LOCAL => 0,
        UNSPECIFIED => 0,
        TCP4 | UDP4 => INET4_BYTES,
        TCP6 | UDP6 => INET6_BYTES,
        UNIX_STREAM | UNIX_DATAGRAM => UNIX_BYTES,
        _ => return Err(ProxyError::Family(family)),
    };
    let Some(&[high, low]) = input.get(14..FIXED_BYTES).and_then(|length| length.first_chunk()) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong(FIXED_BYTES + length));
    }
    if length < needed {
        return Err(ProxyError::TooShort { length, needed });
    }
    let Some(header) = input.get(..FIXED_BYTES + length) else { return Ok(None) };
    if command == LOCAL {
        return Ok(Some((Endpoints::Local, header.len())));
    }
    let (addresses, tlvs) = header[FIXED_BYTES..].split_at(needed);
    check_tlvs(tlvs, header)?;
    Ok(Some((endpoints(family, addresses), header.len())))
}

/// Reads addresses that have the length which their family needs.
fn endpoints(family: u8, addresses: &[u8]) -> Endpoints {
    let transport = if family & 0xf == 1 { Transport::Stream } else { Transport::Datagram };
    let mut fields = Fields(addresses);
    match family {
        TCP4 | UDP4 => {
            let (source, destination) = (Ipv4Addr::from(fields.take()), Ipv4Addr::from(fields.take()));
            let (source_port, destination_port) = (fields.port(), fields.port());
            Endpoints::Inet4 {
                transport,
                source: SocketAddrV4::new(source, source_port),
                destination: SocketAddrV4::new(destination, destination_port),
            }
        }
        TCP6 | UDP6 => {
            let (source, destination) =
                (Ipv6Addr::from(fields.take::<16>()), Ipv6Addr::from(fields.take::<16>()));
            let (source_port, destination_port) = (fields.port(), fields.port());
            Endpoints::Inet6 {
                transport,
                source: SocketAddrV6::new(source, source_port, 0, 0),
                destination: SocketAddrV6::new(destination, destination_port, 0, 0),
            }
        }
        UNIX_STREAM | UNIX_DATAGRAM => Endpoints::Unix(Box::new(UnixEndpoints {
            transport,
            source: UnixPath::filled(fields.take()),
            destination: UnixPath::filled(fields.take()),
        })),
        _ => Endpoints::Unknown,
    }
}

/// Fields one behind the other; the sum of their lengths was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let (field, rest) = self.0.split_first_chunk().expect("the length was checked against the family");
        self.0 = rest;
        *field
    }

    fn port(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }
}

/// Section 2.2: TLVs fill the rest exactly. Unknown ones are passed over; the checksum is one that must be checked.
fn check_tlvs(tlvs: &[u8], header: &[u8]) -> Result<(), ProxyError> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let Some((&[kind, high, low], behind)) = rest.split_first_chunk() else {
            return Err(ProxyError::Tlv);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, behind)) = behind.split_at_checked(length) else { return Err(ProxyError::Tlv) };
        if kind == TLV_CHECKSUM {
            let said = value.first_chunk().filter(|_| value.len() == 4).ok_or(ProxyError::Tlv)?;
            let value_at = header.len() - behind.len() - value.len();
            if u32::from_be_bytes(*said) != checksum(header, value_at) {
                return Err(ProxyError::Checksum);
            }
        }
        rest = behind;
    }
    Ok(())
}

/// Section 2.2.4: the CRC32c (RFC 3720, B.4) of the header, in which the checksum itself counts as zero.
fn checksum(header: &[u8], value_at: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        let is_own = (value_at..value_at + 4).contains(&at);
        crc ^= if is_own { 0 } else { u32::from(*byte) };
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

/// Appends a header without TLVs.
pub(super) fn write(out: &mut Vec<u8>, endpoints: &Endpoints) {
    let by_transport = |transport, stream, datagram| match transport {
        Transport::Stream => stream,
        Transport::Datagram => datagram,
    };
    let (command, family, length) = match endpoints {
        Endpoints::Local => (LOCAL, UNSPECIFIED, 0),
        Endpoints::Unknown => (PROXY, UNSPECIFIED, 0),
        Endpoints::Inet4 { transport, .. } => (PROXY, by_transport(*transport, TCP4, UDP4), INET4_BYTES),
        Endpoints::Inet6 { transport, .. } => (PROXY, by_transport(*transport, TCP6, UDP6), INET6_BYTES),
        Endpoints::Unix(unix) => {
            (PROXY, by_transport(unix.transport, UNIX_STREAM, UNIX_DATAGRAM), UNIX_BYTES)
        }
    };
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[0x20 | command, family]);
    out.extend_from_slice(&(length as u16).to_be_bytes());
    match endpoints {
        Endpoints::Local | Endpoints::Unknown => {}
        Endpoints::Inet4 { source, destination, .. } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
        Endpoints::Inet6 { source, destination, .. } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
        Endpoints::Unix(unix) => {
            out.extend_from_slice(unix.source.as_filled());
            out.extend_from_slice(unix.destination.as_filled());
        }
    }
}
