//! Datagrams: their boundaries, and a session for each peer.

use std::net::UdpSocket;

use super::{at, relaying};
use crate::world::{PATIENCE, run};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn ten_thousand_datagrams_of_every_size_keep_their_boundaries() {
    let far = socket();
    let to = format!("udp:{}", far.local_addr().unwrap());
    let (_relay, address) = relaying(&["listen:udp:127.0.0.1:0", &to]);
    let near = socket();
    near.connect(at(&address)).unwrap();
    let mut buffer = vec![0; 70_000];

    for number in 0..10_000_usize {
        let length = match number {
            0 => 1,
            1 => 65_507,
            _ => 1 + (number * 7_919) % 65_507,
        };
        let mut datagram = vec![number as u8; length];
        let mark = (number as u64).to_be_bytes();
        let marked = length.min(mark.len());
        datagram[..marked].copy_from_slice(&mark[8 - marked..]);
        near.send(&datagram).unwrap();
        // One at a time: that is the pace.
        let count = far.recv(&mut buffer).unwrap();
        assert!(buffer[..count] == datagram, "datagram {number} of {length} bytes came as {count}");
    }
}

#[test]
fn each_peer_has_a_session_of_its_own_and_is_answered() {
    let far = socket();
    let to = format!("udp:{}", far.local_addr().unwrap());
    let (_relay, address) = relaying(&["listen:udp:127.0.0.1:0", &to]);
    let peers: Vec<UdpSocket> = (0..8).map(|_| socket()).collect();
    let mut buffer = [0; 64];

    for (number, peer) in peers.iter().enumerate() {
        peer.send_to(&[number as u8; 5], at(&address)).unwrap();
    }
    let mut sources = Vec::new();
    for _ in &peers {
        let (count, source) = far.recv_from(&mut buffer).unwrap();
        assert_eq!(count, 5);
        sources.push((buffer[0], source));
    }
    for (number, source) in &sources {
        far.send_to(&[*number, *number], source).unwrap();
        far.send_to(&[], source).unwrap();
    }

    for (number, peer) in peers.iter().enumerate() {
        assert_eq!(peer.recv(&mut buffer).unwrap(), 2);
        assert_eq!(buffer[..2], [number as u8; 2]);
        assert_eq!(peer.recv(&mut buffer).unwrap(), 0);
    }
    let mut ports: Vec<_> = sources.iter().map(|(_, source)| source.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), peers.len());
}

#[test]
fn an_answer_is_waited_for_where_there_are_no_connections() {
    let far = socket();
    let to = format!("udp:{}", far.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let (count, from) = far.recv_from(&mut buffer).unwrap();
        far.send_to(&buffer[..count].to_ascii_uppercase(), from).unwrap();
    });

    let ran = run(&["relay", "--frame", "lines", "--wait", "2s", "-", &to], b"ping");

    answering.join().unwrap();
    assert_eq!((ran.code, ran.text()), (0, "PING\n"), "{ran:?}");
}

#[test]
fn datagrams_keep_their_boundaries_over_a_stream() {
    let far = socket();
    let to = format!("udp:{}", far.local_addr().unwrap());
    let (_second, between) = relaying(&["--frame", "len32", "listen:tcp:127.0.0.1:0", &to]);
    let (_first, address) = relaying(&["--frame", "len32", "listen:udp:127.0.0.1:0", &between]);
    let near = socket();
    near.connect(at(&address)).unwrap();
    let mut buffer = vec![0; 70_000];

    for length in [0, 1, 1_472, 65_507, 3] {
        near.send(&vec![7; length]).unwrap();
        let (count, source) = far.recv_from(&mut buffer).unwrap();
        assert_eq!(count, length);
        far.send_to(&buffer[..count], source).unwrap();
        assert_eq!(near.recv(&mut buffer).unwrap(), length);
    }
}
