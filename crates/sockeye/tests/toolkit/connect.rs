//! `sockeye connect`.

use crate::world::{Running, said};

#[test]
fn what_is_said_to_an_echo_comes_back_over_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    for address in [
        "tcp:127.0.0.1:0".to_owned(),
        "udp:127.0.0.1:0".into(),
        "ws://127.0.0.1:0/live".into(),
        format!("unix:{path}/stream"),
        format!("unixgram:{path}/datagram"),
        format!("ws+unix:{path}/websocket?path=/live"),
        "lines+tcp:127.0.0.1:0".into(),
        "len+tcp:127.0.0.1:0".into(),
    ] {
        let (_listening, at) = Running::listen(&["--keep", "--echo", &address]);

        assert_eq!(said(&["connect", &at, "--wait", "200ms"], b"one\ntwo\n"), "one\ntwo\n", "{at}");
    }
}

#[test]
fn what_is_typed_is_sent_at_once() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "ws://127.0.0.1:0/"]);
    let mut client = Running::start(&["connect", &at]);

    for line in ["one\n", "two\n"] {
        client.say(line.as_bytes());
        client.wait_for_output(|output| output.ends_with(line.as_bytes()));
    }

    assert_eq!(client.finish().code, 0);
}
