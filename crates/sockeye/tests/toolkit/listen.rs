//! `sockeye listen`.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use crate::world::{PATIENCE, Running, run, said};

#[test]
fn a_command_serves_each_peer_and_knows_its_address() {
    let (_listening, at) =
        Running::listen(&["--keep", "tcp:127.0.0.1:0", "--exec", "tr a-z A-Z; echo from $SOCKEYE_PEER"]);

    for _ in 0..3 {
        let answer = said(&["connect", &at], b"hello\n");

        assert!(answer.starts_with("HELLO\nfrom 127.0.0.1:"), "{answer}");
    }
}

#[test]
fn one_peer_is_joined_with_standard_input_and_output() {
    let (mut listening, at) = Running::listen(&["ws://127.0.0.1:0/"]);
    let mut client = Running::start(&["connect", &at]);

    client.say(b"from the client\n");
    listening.wait_for_output(|output| output == b"from the client\n");
    listening.say(b"from the server\n");
    client.wait_for_output(|output| output == b"from the server\n");

    assert_eq!(client.finish().code, 0);
    let ran = listening.ended();
    assert_eq!(ran.code, 0, "one was all: {ran:?}");
}

#[test]
fn no_more_peers_than_max_are_served_at_once() {
    let (listening, at) = Running::listen(&["--keep", "--max", "1", "tcp:127.0.0.1:0", "--", "cat"]);
    let at = at.strip_prefix("tcp:").unwrap();
    let mut first = TcpStream::connect(at).unwrap();
    let second = TcpStream::connect(at).unwrap();
    let (first_at, second_at) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    listening.wait_for_errors(|said| said.contains(&format!("{first_at} came")));
    // It is served, so the other one was looked at if it ever would be.
    first.write_all(b"x").unwrap();
    first.read_exact(&mut [0]).unwrap();

    drop(first);

    let told = listening.wait_for_errors(|said| said.contains(&format!("{second_at} came")));
    let place = |words: String| told.find(&words).unwrap_or_else(|| panic!("no {words:?} in {told}"));
    assert!(place(format!("{first_at} ended")) < place(format!("{second_at} came")), "{told}");
    assert_eq!(run(&["listen", "--keep", "--max", "0", "tcp::0"], b"").code, 2);
}

#[test]
fn who_is_not_allowed_is_not_served_and_does_not_count() {
    for (flags, served) in [
        (&["--allow", "127.0.0.0/8"][..], true),
        (&["--allow", "192.0.2.0/24", "--allow", "127.0.0.1"], true),
        (&["--allow", "192.0.2.0/24"], false),
        (&["--deny", "127.0.0.1"], false),
        (&["--allow", "127.0.0.0/8", "--deny", "127.0.0.1"], false),
        (&["--deny", "192.0.2.0/24"], true),
    ] {
        let (listening, at) = Running::listen(&[&["--echo", "tcp:127.0.0.1:0"], flags].concat());

        let ran = run(&["connect", &at], b"hello");

        if served {
            assert_eq!((ran.code, ran.text()), (0, "hello"), "{flags:?} {ran:?}");
            assert_eq!(listening.ended().code, 0, "{flags:?}");
        } else {
            assert_eq!(ran.text(), "", "{flags:?} {ran:?}");
            listening.wait_for_errors(|said| said.contains("denied"));
        }
    }
    assert_eq!(run(&["listen", "--allow", "10.0.0.0/33", "tcp::0"], b"").code, 2);
}

#[test]
fn a_command_speaks_in_messages_to_whom_has_messages() {
    let (_listening, at) =
        Running::listen(&["--keep", "ws://127.0.0.1:0/", "--", "sed", "-u", "s/^/you said /"]);
    let mut client = Running::start(&["connect", "--frame", "jsonl", &at]);

    client.say(b"{\"kind\":\"text\",\"data\":\"one\"}\n{\"kind\":\"text\",\"data\":\"\"}\n");

    client.wait_for_output(|output| {
        output == b"{\"kind\":\"text\",\"data\":\"you said one\"}\n{\"kind\":\"text\",\"data\":\"you said \"}\n"
    });
    assert_eq!(client.finish().code, 0);
}

#[test]
fn the_environment_of_a_command_names_both_ends_and_the_address() {
    let print = "echo $SOCKEYE_PEER $SOCKEYE_LOCAL $SOCKEYE_ADDRESS";
    let (_listening, at) = Running::listen(&["--keep", "tcp:127.0.0.1:0", "--exec", print]);
    let mut client = TcpStream::connect(at.strip_prefix("tcp:").unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();

    client.read_to_string(&mut answer).unwrap();

    let (peer, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    assert_eq!(answer, format!("{peer} {local} {at}\n"));
}

#[test]
fn a_command_whose_peer_has_gone_is_not_waited_for_with_its_output() {
    // It would print for ever, and a broken pipe ends it.
    let (listening, at) = Running::listen(&["tcp:127.0.0.1:0", "--", "yes"]);
    let mut client = TcpStream::connect(at.strip_prefix("tcp:").unwrap()).unwrap();
    client.read_exact(&mut [0; 100]).unwrap();

    drop(client);

    let ran = listening.ended();
    assert_eq!(ran.code, 8, "{ran:?}");
}

#[test]
fn datagrams_of_each_peer_are_one_conversation() {
    let (_listening, at) = Running::listen(&["--keep", "udp:127.0.0.1:0", "--", "cat"]);
    let at = at.strip_prefix("udp:").unwrap();

    let peers: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for round in 0..3 {
        for (index, peer) in peers.iter().enumerate() {
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.send_to(format!("{index} {round}").as_bytes(), at).unwrap();
        }
        for (index, peer) in peers.iter().enumerate() {
            let mut answer = [0; 100];
            let (count, _) = peer.recv_from(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer[..count]), format!("{index} {round}"));
        }
    }
}

#[test]
fn a_peer_that_does_not_finish_its_handshake_delays_nobody() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "ws://127.0.0.1:0/"]);
    let stalled = TcpStream::connect(at.strip_prefix("ws://").unwrap().trim_end_matches('/')).unwrap();

    assert_eq!(said(&["connect", &at], b"hello\n"), "hello\n");
    drop(stalled);
}

#[test]
fn a_second_listener_on_a_path_is_refused_and_does_not_take_the_peer_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    for base in ["unix", "unixgram"] {
        let address = format!("{base}:{}/{base}", folder.path().display());
        let (listening, at) = Running::listen(&[&address]);

        let second = run(&["listen", &address], b"");
        assert_eq!(second.code, 11, "{second:?}");

        let mut client = Running::start(&["connect", &at]);
        client.say(b"hello\n");
        let wanted = if base == "unix" { "hello\n" } else { "hello" };
        listening.wait_for_output(|output| output.starts_with(wanted.as_bytes()));
    }
}

#[test]
fn a_command_that_reads_nothing_may_still_speak_later() {
    for address in ["tcp:127.0.0.1:0", "ws://127.0.0.1:0/"] {
        let command = "exec <&-; echo early; sleep 0.3; echo late";
        let (_listening, at) = Running::listen(&[address, "--exec", command]);
        let mut client = Running::start(&["connect", &at]);
        client.wait_for_output(|output| output == b"early\n");

        client.say(b"one\n");
        client.wait_for_output(|output| output == b"early\nlate\n");

        assert_eq!(client.ended().code, 0);
    }
}

#[test]
fn an_address_of_another_machine_is_named_as_such() {
    // RFC 5737: no machine has it.
    let ran = run(&["listen", "tcp:192.0.2.1:0"], b"");

    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.errors.contains("this machine has no such address"), "{ran:?}");
}
