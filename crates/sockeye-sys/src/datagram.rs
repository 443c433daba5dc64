//! Many datagrams in one call: `recvmmsg` and `sendmmsg`.
//!
//! Deliberately absent: segmentation offload (`UDP_GRO`, `UDP_SEGMENT`), which joins datagrams of one flow and of one
//! length; ours are short, of many lengths, and from and to many.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use crate::packet_info::{Told, Wanted};

/// The most datagrams of one call.
pub const BATCH_MAX: usize = 64;

/// What stands between two buffers, which are a power of two long: the beginnings of all of them, where most datagrams
/// end, would fall on the same few lines of the processor's caches, and push one another out.
const STAGGER_BYTES: usize = 4_096 + 192;

/// Room for an address of any family that is spoken here.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    unix: libc::sockaddr_un,
}

const NAME_BYTES: libc::socklen_t = mem::size_of::<Name>() as libc::socklen_t;

/// Where a datagram came from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// UDP.
    Ip(SocketAddr),
    /// A Unix-domain socket that is bound: its path, or its abstract name behind a zero byte. Empty: it is not bound.
    Unix(&'a [u8]),
}

/// A datagram that was received.
#[derive(Debug)]
pub struct Received<'a> {
    /// Where it says that it came from.
    pub from: Peer<'a>,
    /// What stands in it, as far as it fits.
    pub bytes: &'a [u8],
    /// It was longer than the buffer.
    pub is_cut: bool,
}

/// Buffers for receiving many datagrams in one call. They are made once: a call changes what it fills, and nothing else.
pub struct Inbox {
    /// One after the other, each of `buffer_bytes` and a little room: see [`STAGGER_BYTES`].
    buffers: Box<[u8]>,
    buffer_bytes: usize,
    names: Box<[Name]>,
    pieces: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Where it is told which address of ours was asked: empty if it is not.
    told: Box<[Told]>,
    /// How many the last call filled.
    filled: usize,
}

// SAFETY: the pointers in `pieces` and `headers` (those to `told` among them) lead to memory that the same `Inbox` owns on the
// heap, where it stays when the `Inbox` is moved to another thread. They are used by `receive` only, which needs the whole `Inbox`.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Makes `count` buffers of so many bytes each. Memory that no datagram has reached is not used.
    ///
    /// # Panics
    /// If `count` is 0 or more than [`BATCH_MAX`].
    pub fn new(count: usize, buffer_bytes: usize) -> Self {
        assert!((1..=BATCH_MAX).contains(&count), "one call receives 1 to {BATCH_MAX} datagrams");
        // SAFETY: all of these are plain data of C, for which zero is a value: no address, no pointer, no length.
        let (name, piece, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let mut inbox = Inbox {
            buffers: vec![0; count * (buffer_bytes + STAGGER_BYTES)].into_boxed_slice(),
            buffer_bytes,
            names: vec![name; count].into_boxed_slice(),
            pieces: vec![piece; count].into_boxed_slice(),
            headers: vec![header; count].into_boxed_slice(),
            told: Box::default(),
            filled: 0,
        };
        let buffers = inbox.buffers.chunks_exact_mut(buffer_bytes + STAGGER_BYTES).map(<[u8]>::as_mut_ptr);
        for (piece, buffer) in inbox.pieces.iter_mut().zip(buffers) {
            *piece = libc::iovec { iov_base: buffer.cast(), iov_len: buffer_bytes };
        }
        for index in 0..count {
            let header = &mut inbox.headers[index].msg_hdr;
            header.msg_name = (&raw mut inbox.names[index]).cast();
            header.msg_namelen = NAME_BYTES;
            header.msg_iov = &raw mut inbox.pieces[index];
            header.msg_iovlen = 1;
        }
        inbox
    }

    /// Makes one that is told which address of ours each datagram was sent to, by sockets that tell: see
    /// [`tell_local`](crate::packet_info::tell_local). Each call costs more than without.
    ///
    /// # Panics
    /// As [`Inbox::new`].
    pub fn told_local(count: usize, buffer_bytes: usize) -> Self {
        let mut inbox = Inbox::new(count, buffer_bytes);
        inbox.told = vec![Told::default(); count].into_boxed_slice();
        for (header, told) in inbox.headers.iter_mut().zip(&mut inbox.told) {
            header.msg_hdr.msg_control = ptr::from_mut(told).cast();
            header.msg_hdr.msg_controllen = mem::size_of::<Told>() as _;
        }
        inbox
    }

    /// Receives what is there, at most `most` datagrams, without waiting. Returns how many came.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; otherwise the system's.
    pub fn receive(&mut self, socket: &impl AsFd, most: usize) -> io::Result<usize> {
        let most = most.min(self.headers.len());
        for header in &mut self.headers[..self.filled] {
            header.msg_hdr.msg_namelen = NAME_BYTES;
        }
        if !self.told.is_empty() {
            for header in &mut self.headers[..self.filled] {
                header.msg_hdr.msg_controllen = mem::size_of::<Told>() as _;
            }
        }
        self.filled = 0;
        // SAFETY: the descriptor is open while it is borrowed. Each of the `most` headers points to a name, a piece and,
        // through it, a buffer that this inbox owns, with their true lengths, and to what it is told in or to nothing;
        // nobody else uses them during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// The address of ours that one of the datagrams of the last call was sent to, where this is told and can be answered
    /// from.
    ///
    /// # Panics
    /// If it did not receive so many.
    pub fn local(&self, index: usize) -> Option<IpAddr> {
        let header = &self.headers[..self.filled][index];
        self.told.get(index).and_then(|told| told.local(&header.msg_hdr))
    }

    /// One of the datagrams that the last call received.
    ///
    /// # Panics
    /// If it did not receive so many.
    pub fn get(&self, index: usize) -> Received<'_> {
        let header = &self.headers[..self.filled][index];
        let name_bytes = header.msg_hdr.msg_namelen;
        let is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let length = (header.msg_len as usize).min(self.buffer_bytes);
        let start = index * (self.buffer_bytes + STAGGER_BYTES);
        Received {
            from: peer(&self.names[index], name_bytes as usize),
            bytes: &self.buffers[start..start + length],
            is_cut,
        }
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Inbox({} of {} bytes)", self.headers.len(), self.buffer_bytes)
    }
}

/// Reads an address that the kernel wrote, of so many bytes.
fn peer(name: &Name, name_bytes: usize) -> Peer<'_> {
    const PATH_AT: usize = mem::offset_of!(libc::sockaddr_un, sun_path);
    // An unbound Unix socket has no address at all, or no more than its family.
    if name_bytes < mem::size_of::<libc::sa_family_t>() {
        return Peer::Unix(&[]);
    }
    // SAFETY: every member begins with the family, which the kernel has written.
    match libc::c_int::from(unsafe { name.family }) {
        libc::AF_INET => {
            // SAFETY: any bytes are a value of this plain type, and the kernel wrote one of this family.
            let v4 = unsafe { name.v4 };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Peer::Ip(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { name.v6 };
            let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Peer::Ip(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
        }
        _ => {
            // SAFETY: as above; the slice stays within the name.
            let path = unsafe { &name.unix.sun_path };
            let length = name_bytes.saturating_sub(PATH_AT).min(path.len());
            // SAFETY: `c_char` has the size and the values of a byte.
            let path = unsafe { std::slice::from_raw_parts(path.as_ptr().cast::<u8>(), length) };
            // A path ends at its NUL, whether the kernel counted that or not; an abstract name begins with one.
            match path {
                [0, ..] => Peer::Unix(path),
                _ => Peer::Unix(path.split(|byte| *byte == 0).next().unwrap_or_default()),
            }
        }
    }
}

/// Writes an address for the kernel. Returns its length.
fn name(peer: &Peer<'_>, name: &mut Name) -> io::Result<libc::socklen_t> {
    match peer {
        Peer::Ip(SocketAddr::V4(address)) => {
            name.v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            Ok(mem::size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        Peer::Ip(SocketAddr::V6(address)) => {
            name.v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            Ok(mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
        Peer::Unix(path) => {
            const PATH_AT: usize = mem::offset_of!(libc::sockaddr_un, sun_path);
            let mut unix =
                libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, sun_path: [0; 108] };
            if path.is_empty() || path.len() > unix.sun_path.len() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            for (place, byte) in unix.sun_path.iter_mut().zip(*path) {
                *place = *byte as libc::c_char;
            }
            name.unix = unix;
            // Abstract names are exactly as long as they are told to be; paths may have their NUL or not.
            Ok((PATH_AT + path.len()) as libc::socklen_t)
        }
    }
}

/// Sends datagrams, at most [`BATCH_MAX`], without waiting: each to whom, from which address of ours, and what. Where it
/// is not said from which, the system chooses. Returns how many went out, from the first on.
///
/// # Errors
/// What kept the first of them: `WouldBlock` when the socket, or on Unix the receiver, takes none for the time being;
/// otherwise the system's, about that one datagram. `InvalidInput` for an address that nothing can be sent to, or sent
/// from any more.
pub fn send<'a>(
    socket: &impl AsFd,
    letters: impl Iterator<Item = (Peer<'a>, Option<IpAddr>, &'a [u8])>,
) -> io::Result<usize> {
    // Room that is filled as far as there are letters: zeroing all of it would cost more than sending one of them.
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH_MAX];
    let mut pieces = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
    let mut controls = [const { MaybeUninit::<Wanted>::uninit() }; BATCH_MAX];
    let mut count = 0;
    for (peer, from, bytes) in letters.take(BATCH_MAX) {
        // SAFETY: these are plain data of C, for which zero is a value.
        let (mut to, mut header): (Name, libc::mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let name_bytes = match name(&peer, &mut to) {
            Ok(name_bytes) => name_bytes,
            Err(error) if count == 0 => return Err(error),
            // It will be the first of the next call.
            Err(_) => break,
        };
        let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_hdr.msg_name = ptr::from_mut(names[count].write(to)).cast();
        header.msg_hdr.msg_namelen = name_bytes;
        header.msg_hdr.msg_iov = pieces[count].write(piece);
        header.msg_hdr.msg_iovlen = 1;
        if let Some(wanted) = from.and_then(|local| Wanted::from_local(local, scope_of(&peer))) {
            let (start, bytes) = controls[count].write(wanted).parts();
            header.msg_hdr.msg_control = start;
            header.msg_hdr.msg_controllen = bytes as _;
        }
        headers[count].write(header);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the descriptor is open while it is borrowed. The first `count` headers were written, and each points to a
    // name and a piece on this stack, to a control message or none, and through the piece to bytes that are borrowed for
    // 'a; the call reads them, and writes lengths only.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// The interface that a peer's address names, or 0.
fn scope_of(peer: &Peer<'_>) -> u32 {
    match peer {
        Peer::Ip(SocketAddr::V6(address)) => address.scope_id(),
        _ => 0,
    }
}

/// How many datagrams the kernel has dropped since the socket was made, because it was not read fast enough.
///
/// # Errors
/// The system's, when it does not tell.
pub fn lost(socket: &impl AsFd) -> io::Result<u32> {
    memory(socket).map(|figures| figures[DROPS])
}

/// Whether the socket has room for what is sent: where it has, and still nothing goes out, a Unix receiver has none.
///
/// # Errors
/// The system's, when it does not tell.
pub fn has_room(socket: &impl AsFd) -> io::Result<bool> {
    memory(socket).map(|figures| figures[SENT_UNREAD] < figures[SEND_BUFFER])
}

/// Where figures stand in what `SO_MEMINFO` tells (`SK_MEMINFO_WMEM_ALLOC`, `SK_MEMINFO_SNDBUF`, `SK_MEMINFO_DROPS`).
const SENT_UNREAD: usize = 2;
const SEND_BUFFER: usize = 3;
const DROPS: usize = 8;

/// What a socket holds.
fn memory(socket: &impl AsFd) -> io::Result<[u32; DROPS + 1]> {
    let mut figures = [0_u32; DROPS + 1];
    let mut length = mem::size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed; the call writes at most `length` bytes into the array, whose
    // size that is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut figures).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(figures) } else { Err(io::Error::last_os_error()) }
}

/// The name of a path, as [`Peer::Unix`] has it.
pub fn path_name(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

    use super::*;

    #[test]
    fn datagrams_come_with_their_senders_and_lengths() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(local) else { continue };
            let to = socket.local_addr().expect("it is bound");
            let senders: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind(local).expect("a port")).collect();
            let mut inbox = Inbox::new(8, 16);
            assert_eq!(
                inbox.receive(&socket, 8).expect_err("nothing is there").kind(),
                io::ErrorKind::WouldBlock
            );

            for (index, sender) in senders.iter().enumerate() {
                sender.send_to(&vec![b'a'; 6 * index + 6], to).expect("it goes out");
            }
            assert_eq!(inbox.receive(&socket, 2).expect("they are there"), 2);
            for (index, sender) in senders[..2].iter().enumerate() {
                let came = inbox.get(index);
                assert_eq!(came.from, Peer::Ip(sender.local_addr().expect("bound")));
                assert_eq!((came.bytes, came.is_cut), (&[b'a'; 16][..6 * index + 6], false));
            }
            assert_eq!(inbox.receive(&socket, 8).expect("one is left"), 1);
            let last = inbox.get(0);
            assert_eq!(last.from, Peer::Ip(senders[2].local_addr().expect("bound")));
            assert_eq!((last.bytes, last.is_cut), (&[b'a'; 16][..], true));
        }
    }

    #[test]
    fn who_asks_one_of_many_addresses_is_answered_from_that_one() {
        let asked = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.3.2.1"];
        for (any, addresses) in [("0.0.0.0:0", &asked[..]), ("[::]:0", &["::1", "127.0.0.2"])] {
            let Ok(socket) = UdpSocket::bind(any) else { continue };
            crate::packet_info::tell_local(&socket).expect("it can be told");
            let port = socket.local_addr().expect("bound").port();
            let ask = |address: &&str| {
                let to = SocketAddr::new(address.parse().expect("an address"), port);
                let family = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                let asker = UdpSocket::bind(family).ok()?;
                // Who is connected hears the address that it asked, and no other.
                asker.connect(to).ok()?;
                asker.send(address.as_bytes()).ok()?;
                Some(asker)
            };
            let Some(askers) = addresses.iter().map(ask).collect::<Option<Vec<_>>>() else { continue };
            let mut inbox = Inbox::told_local(8, 16);

            // One alone first: the next call has to be told as much as this one.
            let mut came = Vec::new();
            for most in [1, 8] {
                for index in 0..inbox.receive(&socket, most).unwrap_or(0) {
                    let Received { from: Peer::Ip(from), bytes, .. } = inbox.get(index) else {
                        panic!("UDP is spoken")
                    };
                    came.push((from, inbox.local(index), bytes.to_vec()));
                }
            }
            let told: Vec<_> = came.iter().map(|(_, to, _)| to.expect("it is told").to_string()).collect();
            let letters = came.iter().map(|(from, to, bytes)| (Peer::Ip(*from), *to, &bytes[..]));
            let sent = send(&socket, letters).expect("there is room");

            assert_eq!(told, addresses);
            assert_eq!(sent, addresses.len());
            for (asker, address) in askers.iter().zip(addresses) {
                let mut buffer = [0; 16];
                let length = asker.recv(&mut buffer).expect("it came");
                assert_eq!(&buffer[..length], address.as_bytes());
            }
        }
    }

    #[test]
    fn an_answer_from_an_address_that_is_not_ours_is_an_error_about_that_one() {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = Peer::Ip(receiver.local_addr().expect("bound"));
        let (ours, others) = ("127.0.0.9".parse().ok(), "192.0.2.1".parse().ok());
        let letters = [(to, ours, &b"1"[..]), (to, others, b"2"), (to, None, b"3")];

        assert_eq!(send(&socket, letters.into_iter()).expect("the first goes out"), 1);
        assert!(send(&socket, letters[1..].iter().copied()).is_err());
        assert_eq!(send(&socket, letters[2..].iter().copied()).expect("the last goes out"), 1);
    }

    #[test]
    fn many_are_sent_in_one_call_each_to_its_own() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let receivers: Vec<UdpSocket> =
            (0..BATCH_MAX).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
        let texts: Vec<String> = (0..BATCH_MAX).map(|index| format!("letter {index}")).collect();
        let addresses = receivers.iter().map(|receiver| receiver.local_addr().expect("bound"));

        let letters = addresses.zip(&texts).map(|(address, text)| (Peer::Ip(address), None, text.as_bytes()));
        let sent = send(&socket, letters).expect("there is room");

        assert_eq!(sent, BATCH_MAX);
        for (receiver, text) in receivers.iter().zip(&texts) {
            let mut buffer = [0; 32];
            let (length, from) = receiver.recv_from(&mut buffer).expect("it came");
            assert_eq!(&buffer[..length], text.as_bytes());
            assert_eq!(from, socket.local_addr().expect("bound"));
        }
    }

    #[test]
    fn what_a_full_socket_drops_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = socket.local_addr().expect("bound");
        assert_eq!(lost(&socket).expect("it is told"), 0);

        while lost(&socket).expect("it is told") < 3 {
            sender.send_to(&[0; 1_000], to).expect("it goes out");
        }
    }

    #[test]
    fn a_socket_without_room_is_told_from_a_receiver_without() {
        let folder = std::env::temp_dir().join(format!("sockeye-sys-room-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (path, to) = (folder.join("from"), folder.join("to"));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let receiver = UnixDatagram::bind(&to).expect("a socket");
        let fill = || {
            let letter = [(Peer::Unix(path_name(&to)), None, &[b'x'; 1_000][..])];
            while send(&socket, letter.into_iter()).is_ok() {}
            has_room(&socket).expect("it is told")
        };

        // Its queue is short, unless it is connected to us: then only our own buffer bounds what it leaves unread.
        assert!(fill());
        receiver.connect(&path).expect("it is there");
        assert!(!fill());
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn unix_senders_have_paths_abstract_names_or_none() {
        let folder = std::env::temp_dir().join(format!("sockeye-sys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (path, from) = (folder.join("to"), folder.join("from"));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let mut inbox = Inbox::new(4, 64);
        let name = format!("sockeye-sys-{}", std::process::id());
        let abstract_address = UnixAddress::from_abstract_name(&name).expect("a name");

        let bound = UnixDatagram::bind(&from).expect("a socket");
        bound.send_to(b"path", &path).expect("it goes out");
        let named = UnixDatagram::bind_addr(&abstract_address).expect("a socket");
        named.send_to(b"abstract", &path).expect("it goes out");
        UnixDatagram::unbound().expect("a socket").send_to(b"none", &path).expect("it goes out");
        let came = inbox.receive(&socket, 4);

        assert_eq!(came.expect("they are there"), 3);
        assert_eq!(inbox.get(0).from, Peer::Unix(path_name(&from)));
        assert_eq!(inbox.get(1).from, Peer::Unix(format!("\0{name}").as_bytes()));
        assert_eq!(inbox.get(2).from, Peer::Unix(&[]));
        // What was read as an address can be answered.
        for (index, receiver) in [(0, &bound), (1, &named)] {
            let mut buffer = [0; 8];
            let peer = inbox.get(index).from;
            assert_eq!(send(&socket, [(peer, None, &b"back"[..])].into_iter()).expect("it goes out"), 1);
            assert_eq!(receiver.recv(&mut buffer).expect("it came"), 4);
        }
        let nobody = [(Peer::Unix(&[]), None, &b"x"[..])];
        assert_eq!(
            send(&socket, nobody.into_iter()).expect_err("nobody").kind(),
            io::ErrorKind::InvalidInput
        );
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
}
