//! The floor of datagrams: a bare edge-triggered loop that receives them in batches, with the server's own call and
//! buffers, and understands none. One that is short is a question, answered by the number of those received.

use std::net::UdpSocket;

use sockeye_sys::datagram::{BATCH_MAX, Inbox, Peer};

use crate::poller::{self, Poller};

/// The words that make another process this floor.
pub(crate) const WORDS: [&str; 1] = ["datagram-floor"];

/// A datagram of at most so many bytes is a question.
pub(crate) const QUESTION_BYTES_MAX: usize = 16;

/// The size of each receive buffer, as the server's.
const BUFFER_BYTES: usize = 64 * 1024;

/// Runs the floor until its parent ends.
pub(crate) fn main() -> anyhow::Result<()> {
    // Nobody connects: it says where, and UDP has the same port.
    let listener = crate::process::bind_as_child()?;
    let socket = UdpSocket::bind(listener.local_addr()?)?;
    socket.set_nonblocking(true)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, super::cell::datagrams::KERNEL_BUFFER_BYTES)?;
    let poller = Poller::new()?;
    poller.add(&socket, 0)?;
    let mut inbox = Inbox::new(BATCH_MAX, BUFFER_BYTES);
    // Only now: what came before the socket was bound would be lost.
    crate::process::tell_listening(&listener)?;
    let mut events = Poller::room();
    let mut received = 0_u64;
    loop {
        poller.wait(&mut events, None)?;
        if !events.iter().any(poller::is_readable) {
            continue;
        }
        loop {
            let count = match inbox.receive(&socket, BATCH_MAX) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            for index in 0..count {
                let datagram = inbox.get(index);
                if let (Peer::Ip(to), ..=QUESTION_BYTES_MAX) = (datagram.from, datagram.bytes.len()) {
                    socket.send_to(received.to_string().as_bytes(), to)?;
                } else {
                    received += 1;
                }
            }
            if count < BATCH_MAX {
                break;
            }
        }
    }
}
