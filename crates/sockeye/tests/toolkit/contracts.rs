//! What all commands that join sockets promise, one claim a test. Whoever writes scripts may rely on each of them.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

use crate::world::{PATIENCE, Running, run, said, tcp_peer};

#[test]
fn standard_output_carries_payload_only() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);

    let ran = run(&["connect", &at, "--stats", "--json"], b"payload");

    assert_eq!((ran.code, ran.output.as_slice()), (0, &b"payload"[..]), "{ran:?}");
    let told = ran.told("received_bytes");
    assert_eq!((&told["sent_bytes"], &told["received_bytes"]), (&7.into(), &7.into()));
    assert!(told["steps"]["connect_ms"].is_number(), "{told}");
}

#[test]
fn a_late_answer_arrives_whole() {
    let (answer, awaited) = mpsc::channel();
    let (at, peer) = tcp_peer(move |mut stream| {
        let mut question = String::new();
        // The half-close is what tells that the question is whole.
        stream.read_to_string(&mut question).unwrap();
        awaited.recv_timeout(PATIENCE).unwrap();
        stream.write_all(&vec![b'x'; 300_000]).unwrap();
        question
    });
    let mut client = Running::start(&["connect", &format!("tcp:{at}")]);
    client.say(b"question");
    client.end_input();

    // Four times what socat would wait.
    client.goes_on_for(Duration::from_secs(2));
    answer.send(()).unwrap();

    let ran = client.finish();
    assert_eq!((ran.code, ran.output.len()), (0, 300_000), "{}", ran.errors);
    assert_eq!(peer.join().unwrap(), "question");
}

#[test]
fn an_answer_that_takes_longer_than_linger_is_told_by_exit_code_8() {
    let (at, peer) = tcp_peer(|mut stream| {
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.write_all(b"the beginning").unwrap();
        stream
    });

    let ran = run(&["connect", &format!("tcp:{at}"), "--linger", "1s"], b"question");

    assert_eq!((ran.code, ran.text()), (8, "the beginning"), "{ran:?}");
    assert!(ran.errors.contains("1000 ms") && ran.errors.contains("--linger"), "{ran:?}");
    drop(peer.join().unwrap());
}

#[test]
fn a_datagram_client_waits_for_the_answer_after_the_end_of_input() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = format!("udp:{}", peer.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let mut question = [0; 100];
        let (count, from) = peer.recv_from(&mut question).unwrap();
        peer.send_to(b"pong", from).unwrap();
        question[..count].to_vec()
    });

    assert_eq!(said(&["connect", &at], b"ping"), "pong\n");
    assert_eq!(answers.join().unwrap(), b"ping");
}
