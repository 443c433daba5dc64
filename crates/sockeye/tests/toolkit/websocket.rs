//! The server's end of a WebSocket, deliberately simple: whole frames of at most 16 MiB, checked to be masked.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::JoinHandle;

use crate::world::{PATIENCE, tcp_peer};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A connection after its handshake.
pub(crate) struct Frames {
    stream: TcpStream,
}

/// A WebSocket server for one client; its address, and the thread with what it found out.
pub(crate) fn peer<T: Send + 'static>(
    serve: impl FnOnce(Frames) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let (at, thread) = tcp_peer(|stream| serve(accept(stream).0));
    (format!("ws://{at}/"), thread)
}

/// Shakes hands; with the request.
pub(crate) fn accept(mut stream: TcpStream) -> (Frames, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
    let mut answer = Vec::new();
    sockeye_wire::websocket::write_accept(&mut answer, key, None, None);
    stream.write_all(&answer).unwrap();
    (Frames { stream }, request)
}

impl Frames {
    /// The next frame: its opcode and its payload. `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        assert_eq!((head[0] & 0xf0, head[1] & 0x80), (0x80, 0x80), "a whole frame, masked");
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.read())),
            127 => u64::from_be_bytes(self.read()),
            length => u64::from(length),
        };
        assert!(length <= 16 << 20, "{length} bytes");
        let mask: [u8; 4] = self.read();
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).unwrap();
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
        Some((head[0] & 0x0f, payload))
    }

    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..126 => frame.push(length as u8),
            length @ 126..65_536 => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).unwrap();
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}
