//! The end of a relay: told by a signal, in good order.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use sockeye::net::{Close, Listener, Socket};

use super::{client, next, relaying, server};
use crate::world::{BINARY, PATIENCE, Running};

fn signal(relay: &Running, signal: rustix::process::Signal) {
    rustix::process::kill_process(relay.id(), signal).unwrap();
}

#[test]
fn a_relay_that_is_told_to_end_closes_its_connections_and_ends_well() {
    use rustix::process::Signal;
    for (word, told) in [("SIGINT", Signal::INT), ("SIGTERM", Signal::TERM)] {
        let (server, to) = server();
        let (relay, address) = relaying(&["--stats", "listen:tcp:127.0.0.1:0", &to]);
        let (mut near, mut far) = (client(&address), next(&server));

        signal(&relay, told);

        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0, "{word}");
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0, "{word}");
        let ran = relay.ended();
        assert_eq!(ran.code, 0, "{word} {ran:?}");
        assert!(ran.errors.contains("1 connections, 0 failed"), "{word} {ran:?}");
    }
}

#[test]
fn websockets_are_told_that_the_relay_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let (relay, address) = relaying(&["listen:ws://127.0.0.1:0/", &far.address().to_string()]);
        let near = tokio::spawn(async move {
            let mut near = Socket::connect(&address).await.unwrap();
            near.send("joined").await.unwrap();
            assert_eq!(near.recv().await.unwrap(), None);
            near.closed().cloned()
        });
        let (mut far, _) = far.accept().await.unwrap();
        assert!(far.recv().await.unwrap().is_some());

        signal(&relay, rustix::process::Signal::TERM);

        assert_eq!(far.recv().await.unwrap(), None);
        assert_eq!(far.closed(), Some(&Close::new(1_001, "the relay ends")));
        assert_eq!(near.await.unwrap(), Some(Close::new(1_001, "the relay ends")));
        assert_eq!(tokio::task::spawn_blocking(|| relay.ended().code).await.unwrap(), 0);
    });
}

#[test]
fn the_only_pair_says_that_it_was_stopped() {
    let (server, to) = server();
    let relay = Running::start(&["relay", "-", &to]);
    let far = next(&server);

    signal(&relay, rustix::process::Signal::TERM);

    let ran = relay.ended();
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.errors.contains("stopped by a signal"), "{ran:?}");
    drop(far);
}

#[test]
fn a_reader_that_leaves_ends_the_only_pair_though_its_input_goes_on() {
    let (_tcp, tcp) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);
    let (_websocket, websocket) = Running::listen(&["--keep", "--echo", "ws://127.0.0.1:0/"]);
    for (at, arguments) in [
        (tcp.as_str(), &[][..]),
        (&tcp, &["--linger", "60s"]),
        (&websocket, &["--frame", "lines"]),
        ("exec:cat", &[]),
    ] {
        let mut relay = Command::new(BINARY)
            .args([&["relay"], arguments, &["-", at]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = relay.stdin.take().unwrap();
        let (over, ended) = std::sync::mpsc::channel();
        let endless = std::thread::spawn(move || {
            while input.write_all(b"a line\n").is_ok() {}
            over.send(()).unwrap();
        });
        let mut first = [0; 7];

        relay.stdout.take().unwrap().read_exact(&mut first).unwrap();

        let has_ended = ended.recv_timeout(PATIENCE).is_ok();
        if !has_ended {
            relay.kill().unwrap();
        }
        endless.join().unwrap();
        let ran = relay.wait_with_output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(has_ended, "{at} {arguments:?}: it goes on: {said}");
        assert_eq!((ran.status.code(), said.as_str()), (Some(0), ""), "{at} {arguments:?}");
    }
}

#[test]
fn a_reader_that_has_heard_enough_ends_a_pair_whose_input_has_ended() {
    for to in ["exec:yes", "sh:exec yes"] {
        let ran = Running::start_in(Command::new("sh").args([
            "-c",
            "\"$0\" relay - \"$1\" </dev/null | head -n 2",
            BINARY,
            to,
        ]))
        .finish();

        assert_eq!((ran.code, ran.text(), ran.errors.as_str()), (0, "y\ny\n", ""), "{to}");
    }
}
