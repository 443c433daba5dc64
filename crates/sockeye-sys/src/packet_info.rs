//! Which of our addresses a datagram was sent to, and which one an answer shall come from: `IP_PKTINFO` and its like of
//! IPv6 (RFC 3542, 6).
//!
//! A socket that is bound to one address knows both without it. Deliberately absent: the interface of a datagram, but for
//! link-local addresses, which mean nothing without one.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

/// Words of 64 bits, as control messages are aligned, for one message of each family: a socket of both gets both.
const TOLD_WORDS: usize = 16;
/// The same for the longer one of them.
const WANTED_WORDS: usize = 6;

/// Where the bytes of a control message begin.
// SAFETY: it is arithmetic on its argument.
const DATA_AT: usize = unsafe { libc::CMSG_LEN(0) } as usize;

/// Has a socket tell which address of ours each datagram was sent to.
///
/// # Errors
/// The system's.
pub fn tell_local(socket: &impl AsFd) -> io::Result<()> {
    if set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO).is_ok() {
        // It may be of both families, and only this one tells the address of ours that a broadcast reached.
        return set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO).or(Ok(()));
    }
    set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
}

fn set(socket: &impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while it is borrowed; the call reads the number, whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for what the kernel tells of a datagram.
#[derive(Clone, Default)]
#[repr(transparent)]
pub(crate) struct Told([u64; TOLD_WORDS]);

impl Told {
    /// The address of ours that the kernel has told, by what it wrote into the header that leads here.
    pub(crate) fn local(&self, header: &libc::msghdr) -> Option<IpAddr> {
        // SAFETY: any bytes are bytes, and there are so many in the array.
        let all =
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<u8>(), mem::size_of_val(&self.0)) };
        #[allow(clippy::unnecessary_cast, reason = "musl counts these in 32 bits")]
        local(all.get(..header.msg_controllen as usize)?)
    }
}

/// Reads control messages, and believes none of their lengths. What is no address that can be answered from is none.
fn local(mut control: &[u8]) -> Option<IpAddr> {
    while let Some((head, _)) = control.split_at_checked(mem::size_of::<libc::cmsghdr>()) {
        // SAFETY: there are as many bytes as the head is long, and any bytes are a value of this plain type.
        let head = unsafe { head.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
        #[allow(clippy::unnecessary_cast, reason = "musl counts these in 32 bits")]
        let length = head.cmsg_len as usize;
        let data = control.get(DATA_AT..length)?;
        match (head.cmsg_level, head.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                const LOCAL_AT: usize = mem::offset_of!(libc::in_pktinfo, ipi_spec_dst);
                // Where a broadcast was sent to is no address of ours; this is the one that it reached.
                let bytes = data.get(LOCAL_AT..)?.first_chunk::<4>()?;
                let ip = Ipv4Addr::from(*bytes);
                return (!ip.is_unspecified()).then_some(IpAddr::V4(ip));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                const LOCAL_AT: usize = mem::offset_of!(libc::in6_pktinfo, ipi6_addr);
                let ip = Ipv6Addr::from(*data.get(LOCAL_AT..)?.first_chunk::<16>()?);
                // Of IPv4 the other message tells more.
                if ip.to_ipv4_mapped().is_none() {
                    return (!ip.is_unspecified() && !ip.is_multicast()).then_some(IpAddr::V6(ip));
                }
            }
            _ => {}
        }
        control = control.get(length.next_multiple_of(mem::align_of::<libc::cmsghdr>())..)?;
    }
    None
}

/// A control message that says which address of ours an answer comes from.
pub(crate) struct Wanted {
    words: [u64; WANTED_WORDS],
    bytes: usize,
}

impl Wanted {
    /// Asks for this address, for a peer on this interface (0: on any). A link-local address on no interface is none, and
    /// the system chooses.
    pub(crate) fn from_local(local: IpAddr, interface: u32) -> Option<Self> {
        match local {
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                Some(Wanted::message(libc::IPPROTO_IP, libc::IP_PKTINFO, info))
            }
            IpAddr::V6(ip) => {
                let is_link_local = ip.is_unicast_link_local();
                if is_link_local && interface == 0 {
                    return None;
                }
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: if is_link_local { interface as _ } else { 0 },
                };
                Some(Wanted::message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info))
            }
        }
    }

    /// Where it begins, and how many bytes of it there are.
    pub(crate) fn parts(&mut self) -> (*mut libc::c_void, usize) {
        (self.words.as_mut_ptr().cast(), self.bytes)
    }

    fn message<T: Copy>(level: libc::c_int, kind: libc::c_int, data: T) -> Self {
        let bytes = DATA_AT + mem::size_of::<T>();
        let mut words = [0; WANTED_WORDS];
        assert!(bytes <= mem::size_of_val(&words), "there is room for the longest of them");
        // SAFETY: the head is plain data of C, for which zero is a value.
        let mut head: libc::cmsghdr = unsafe { mem::zeroed() };
        head.cmsg_len = bytes as _;
        head.cmsg_level = level;
        head.cmsg_type = kind;
        let start = words.as_mut_ptr().cast::<u8>();
        // SAFETY: both end within the words, as was asserted, and do not overlap, since data stands behind the head.
        unsafe {
            start.cast::<libc::cmsghdr>().write_unaligned(head);
            start.add(DATA_AT).cast::<T>().write_unaligned(data);
        }
        Wanted { words, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(wanted: &Wanted) -> Vec<u8> {
        wanted.words.iter().flat_map(|word| word.to_ne_bytes()).take(wanted.bytes).collect()
    }

    fn message(local: &str) -> Vec<u8> {
        bytes(&Wanted::from_local(local.parse().expect("an address"), 3).expect("it can be asked for"))
    }

    #[test]
    fn what_is_asked_for_is_what_is_told() {
        for ours in ["127.0.0.2", "192.0.2.255", "::1", "2001:db8::7", "fe80::1"] {
            assert_eq!(local(&message(ours)).expect("an address").to_string(), ours);
        }
        for nobodys in ["0.0.0.0", "::", "ff02::1", "::ffff:192.0.2.1"] {
            assert_eq!(local(&message(nobodys)), None, "{nobodys}");
        }
        assert!(Wanted::from_local("fe80::1".parse().expect("an address"), 0).is_none());
    }

    #[test]
    fn of_a_socket_of_both_families_the_address_of_the_datagram_is_told() {
        let both = |first: &str, second: &str| {
            let mut control = message(first);
            control.resize(control.len().next_multiple_of(8), 0);
            control.extend(message(second));
            local(&control)
        };

        assert_eq!(both("::ffff:192.0.2.255", "192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(both("192.0.2.1", "::ffff:192.0.2.255"), "192.0.2.1".parse().ok());
    }

    #[test]
    fn malformed_control_messages_tell_nothing() {
        for whole in [message("127.0.0.2"), message("2001:db8::7")] {
            for length in 0..whole.len() {
                // Cut where only the head, or what stands behind the address, is missing is enough of it or nothing.
                let _ = local(&whole[..length]);
                assert_eq!(local(&whole[..length.min(DATA_AT)]), None);
            }
            for lie in [0, 1, DATA_AT - 1, DATA_AT, DATA_AT + 3, 4_096, usize::MAX - 6, usize::MAX] {
                let mut forged = whole.clone();
                forged[..mem::size_of::<usize>()].copy_from_slice(&lie.to_ne_bytes());
                assert_eq!(local(&forged), None, "{lie}");
            }
        }
        assert_eq!(local(&[0; mem::size_of::<Told>()]), None);
    }
}
