//! `sockeye relay` between peers of the standard library, and of the library where they speak WebSocket.

mod datagram;
mod end;
mod message;
mod stream;
mod tunnel;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::world::{PATIENCE, Running};

/// Starts a relay that listens; with the address that it tells.
pub(crate) fn relaying(arguments: &[&str]) -> (Running, String) {
    let relay = Running::start(&[&["relay"], arguments].concat());
    let told = relay.wait_for_errors(|said| {
        said.rsplit_once("listening on ").is_some_and(|(_, rest)| rest.ends_with('\n'))
    });
    let address = told.split("listening on ").nth(1).and_then(|rest| rest.lines().next());
    (relay, address.unwrap().to_owned())
}

/// The socket address in an address such as `tcp:127.0.0.1:7000`.
pub(crate) fn at(address: &str) -> SocketAddr {
    let rest = address.split_once(':').unwrap().1.trim_start_matches('/');
    rest.split(['/', '?', '#']).next().unwrap().parse().unwrap()
}

/// Connects to a relay.
pub(crate) fn client(address: &str) -> TcpStream {
    patient(TcpStream::connect(at(address)).unwrap())
}

/// Takes the next connection of a server.
pub(crate) fn next(server: &TcpListener) -> TcpStream {
    patient(server.accept().unwrap().0)
}

/// A server behind a relay, and its address.
pub(crate) fn server() -> (TcpListener, String) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", server.local_addr().unwrap());
    (server, address)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads exactly so many bytes.
pub(crate) fn read(stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    (&*stream).read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads until the end, in a thread.
pub(crate) fn read_all(stream: &TcpStream) -> JoinHandle<Vec<u8>> {
    let mut stream = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Writes everything and ends the direction, in a thread.
pub(crate) fn write_all(stream: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    })
}

/// Bytes in which every place is told from others near by.
pub(crate) fn pattern(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}
