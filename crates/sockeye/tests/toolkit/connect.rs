//! `sockeye connect`.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::websocket::{self, BINARY as BYTES, CLOSE, TEXT};
use crate::world::{BINARY, PATIENCE, Running, closed_port, full_port, run, said, tcp_peer};

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

#[test]
fn text_and_binary_are_what_was_asked_for_and_else_what_the_bytes_are() {
    for (flags, kinds) in [(&[][..], [TEXT, BYTES]), (&["--binary"], [BYTES, BYTES])] {
        let (at, peer) = websocket::peer(heard);

        let ran = run(&[&["connect", &at], flags].concat(), b"text\n\xff\n");

        assert_eq!(ran.code, 0, "{ran:?}");
        let frames = peer.join().unwrap();
        assert_eq!(frames[..2], [(kinds[0], b"text".to_vec()), (kinds[1], b"\xff".to_vec())]);
    }
    let (at, peer) = websocket::peer(heard);
    let ran = run(&["connect", &at, "--text"], b"text\n\xff\n");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("--binary"), "{ran:?}");
    // What came before the mistake was sent, and nobody takes the end for a good one.
    let going_away = (CLOSE, 1001_u16.to_be_bytes().to_vec());
    assert_eq!(peer.join().unwrap()[..], [(TEXT, b"text".to_vec()), going_away]);
    assert_eq!(run(&["connect", &at, "--text", "--binary"], b"").code, 2);
}

#[test]
fn the_whole_input_is_one_message_with_frame_raw() {
    let (at, peer) = websocket::peer(heard);

    let ran = run(&["connect", &at, "--frame", "raw"], b"one\ntwo\n");

    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(peer.join().unwrap()[0], (TEXT, b"one\ntwo\n".to_vec()));
}

#[test]
fn headers_and_subprotocols_are_in_the_request() {
    let (at, peer) = tcp_peer(|stream| {
        let (mut frames, request) = websocket::accept(stream);
        while let Some((opcode, payload)) = frames.receive() {
            frames.send(opcode, &payload);
        }
        request
    });
    let at = format!("ws://{at}/live?room=1#origin=https://a.example");
    let flags =
        ["--header", "X-Room: 42", "--header", "Cookie:a=b", "--subprotocol", "v2", "--subprotocol", "v1"];

    let ran = run(&[&["connect", &at][..], &flags].concat(), b"");

    assert_eq!(ran.code, 0, "{ran:?}");
    let request = peer.join().unwrap();
    for line in [
        "GET /live?room=1 HTTP/1.1",
        "X-Room: 42",
        "Cookie: a=b",
        "Sec-WebSocket-Protocol: v2, v1",
        "Origin: https://a.example",
    ] {
        assert!(request.lines().any(|found| found == line), "no {line:?} in {request}");
    }
}

#[test]
fn what_is_received_can_be_shown_in_hexadecimal() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "ws://127.0.0.1:0/"]);

    let shown = said(&["connect", &at, "--hex"], b"hello\n\xff\x00\n");

    assert!(shown.starts_with("< text, 5 bytes\n00000000  68 65 6c 6c 6f"), "{shown}");
    assert!(shown.contains("< binary, 2 bytes\n00000000  ff 00 "), "{shown}");
}

#[test]
fn on_a_stream_hello_is_a_line_and_a_file_is_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello");
    std::fs::write(&file, b"\x00raw").unwrap();
    let (_listening, at) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);

    let answer =
        said(&["connect", &at, "--hello", "first", "--hello-file", file.to_str().unwrap()], b" then this");

    assert_eq!(answer, "first\n\0raw then this");
}

#[test]
fn a_close_with_a_code_of_its_own_is_an_early_end_that_is_told() {
    for (payload, code, words) in [
        (&b"\x03\xe8"[..], 0, &[][..]),
        (b"\x03\xe9bye", 0, &[]),
        (b"\x0f\xa0no more", 8, &["4000", "no more"]),
        (b"\x03\xf3oops", 8, &["1011", "oops"]),
    ] {
        let (at, peer) = websocket::peer(move |mut frames| {
            frames.send(CLOSE, payload);
            frames.receive()
        });
        let client = Running::start(&["connect", &at]);
        let answer = peer.join().unwrap();
        assert_eq!(answer, Some((CLOSE, payload[..2].to_vec())), "RFC 6455, 5.5.1: the code comes back");

        let ran = client.ended();

        assert_eq!(ran.code, code, "{ran:?}");
        for word in words {
            assert!(ran.errors.contains(word), "{ran:?}");
        }
    }
    // Without a word at all it is an end of its own kind.
    let (at, peer) = websocket::peer(drop);
    let ran = run(&["connect", &at], b"");
    peer.join().unwrap();
    assert!(ran.code == 8 && ran.errors.contains("1006"), "{ran:?}");
}

#[test]
fn a_peer_that_ends_ends_the_command_though_its_input_is_open() {
    let (at, peer) = tcp_peer(|mut stream| stream.write_all(b"that was all"));

    let ran = Running::start(&["connect", &format!("tcp:{at}")]).ended();

    peer.join().unwrap().unwrap();
    assert_eq!((ran.code, ran.text()), (0, "that was all"), "{ran:?}");
}

#[test]
fn a_peer_that_ends_first_still_gets_the_input_that_is_there() {
    let (at, peer) = tcp_peer(|mut stream| {
        stream.write_all(b"nothing to say").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });

    let ran = run(&["connect", &format!("tcp:{at}")], &vec![0; 20 << 20]);

    assert_eq!((ran.code, ran.text()), (0, "nothing to say"), "{ran:?}");
    assert_eq!(peer.join().unwrap(), 20 << 20);
}

#[test]
fn a_peer_that_goes_before_all_was_sent_is_told_by_exit_code_8() {
    let (at, peer) = tcp_peer(|mut stream| stream.read_exact(&mut [0; 100]));

    let ran = run(&["connect", &format!("tcp:{at}")], &vec![0; 20 << 20]);

    peer.join().unwrap().unwrap();
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.errors.contains(&at.to_string()), "{ran:?}");
}

#[test]
fn a_reader_that_has_heard_enough_is_no_failure() {
    let (_listening, at) = Running::listen(&["--keep", "tcp:127.0.0.1:0", "--", "yes"]);

    let ran =
        Running::start_in(Command::new("sh").args(["-c", "\"$0\" connect \"$1\" | head -n 2", BINARY, &at]))
            .finish();

    assert_eq!((ran.code, ran.text()), (0, "y\ny\n"), "{ran:?}");
}

#[test]
fn a_reader_that_leaves_ends_the_command_though_its_input_goes_on() {
    for address in ["tcp:127.0.0.1:0", "ws://127.0.0.1:0/"] {
        let (_listening, at) = Running::listen(&["--keep", "--echo", address]);

        let mut connect = Command::new(BINARY)
            .args(["connect", &at])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = connect.stdin.take().unwrap();
        let endless = std::thread::spawn(move || while input.write_all(b"a line\n").is_ok() {});
        let mut first = [0; 7];
        connect.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ended = connect.wait_with_output().unwrap();
        endless.join().unwrap();

        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{at}");
    }
}

#[test]
fn a_websocket_is_told_goodbye_when_a_signal_ends_the_command() {
    use rustix::process::Signal;
    for (number, told) in [(2, Signal::INT), (15, Signal::TERM)] {
        let (at, peer) = websocket::peer(|mut frames| {
            let first = frames.receive();
            frames.send(TEXT, b"an answer");
            let end = frames.receive().expect("a close");
            frames.send(CLOSE, &end.1);
            (first, end, frames.receive())
        });
        // Who runs the tests in the background may have let us inherit SIGINT as ignored, which `connect` heeds.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", BINARY, "connect", &at, "--reconnect"]);
        let mut client = Running::start_in(&mut command);
        client.say(b"a question\n");
        client.wait_for_output(|said| said == b"an answer\n");

        rustix::process::kill_process(client.id(), told).unwrap();

        assert_eq!(client.ended_by_signal(), Some(number));
        let (first, end, behind) = peer.join().unwrap();
        assert_eq!(first, Some((TEXT, b"a question".to_vec())));
        assert_eq!(end, (CLOSE, 1001_u16.to_be_bytes().to_vec()));
        assert_eq!(behind, None);
    }
}

#[test]
fn what_came_before_a_mistake_in_the_input_is_answered_before_it_is_told() {
    let good = "{\"kind\":\"text\",\"data\":\"good\"}\n";
    let multiline = "{\"kind\":\"text\",\"data\":\"two\\nlines\"}\n";
    for (address, bad, wait) in [
        ("ws://127.0.0.1:0/", "no message\n", "20s"),
        ("len+tcp:127.0.0.1:0", "no message\n", "20s"),
        // What cannot be sent there is a mistake of the input, too.
        ("lines+tcp:127.0.0.1:0", multiline, "20s"),
        // A peer without an end.
        ("udp:127.0.0.1:0", "no message\n", "2s"),
    ] {
        let answer = "sleep 0.3; exec head -n 2";
        let (_listening, at) = Running::listen(&["--keep", address, "--", "sh", "-c", answer]);
        let mut client = Running::start(&["connect", "--frame", "jsonl", "--wait", wait, &at]);

        client.say(format!("{good}{good}{bad}{good}").as_bytes());
        let ran = client.ended();

        assert_eq!(ran.code, 2, "{at} {ran:?}");
        // As text, or as bytes in base64.
        let answers = ran.text().matches("good").count() + ran.text().matches("Z29vZA").count();
        assert_eq!(answers, 2, "{at} {ran:?}");
    }
}

#[test]
fn a_mistake_in_the_input_is_told_though_the_peer_talks_on() {
    let talk = "while sleep 0.02; do echo chatter; done";
    let (_listening, at) = Running::listen(&["--keep", "ws://127.0.0.1:0/", "--", "sh", "-c", talk]);
    let mut client = Running::start(&["connect", "--frame", "jsonl", &at, "--linger", "1s"]);

    client.say(b"no message\n");
    let ran = client.ended();

    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("not a message"), "{ran:?}");
}

#[test]
fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
    let (at, peer) = websocket::peer(|mut frames| {
        frames.send(TEXT, b"here");
        frames.receive()
    });
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$0\" connect \"$1\"", BINARY, &at]);
    let client = Running::start_in(&mut command);
    client.wait_for_output(|said| said == b"here\n");

    rustix::process::kill_process(client.id(), rustix::process::Signal::INT).unwrap();

    client.goes_on_for(std::time::Duration::from_millis(300));
    rustix::process::kill_process(client.id(), rustix::process::Signal::TERM).unwrap();
    assert_eq!(client.ended_by_signal(), Some(15));
    assert_eq!(peer.join().unwrap(), Some((CLOSE, 1001_u16.to_be_bytes().to_vec())));
}

#[test]
fn a_peer_that_does_not_say_goodbye_is_not_waited_for_long() {
    let (release, held) = std::sync::mpsc::channel();
    let (at, peer) = websocket::peer(move |mut frames| {
        frames.send(TEXT, b"here");
        // It reads nothing and goes on living.
        held.recv_timeout(PATIENCE).unwrap();
    });
    let client = Running::start(&["connect", &at]);
    client.wait_for_output(|said| said == b"here\n");
    let began = std::time::Instant::now();

    rustix::process::kill_process(client.id(), rustix::process::Signal::TERM).unwrap();

    assert_eq!(client.ended_by_signal(), Some(15));
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    release.send(()).unwrap();
    peer.join().unwrap();
}

#[test]
fn what_an_address_names_and_is_not_there_is_told_for_what_it_is() {
    for (address, code, said) in [
        ("exec:no-such-command-here", 4, "there is no such command"),
        ("file:/no/such/file", 4, "there is no such file"),
        ("fd:977", 2, "no such descriptor"),
    ] {
        let ran = run(&["connect", address], b"");

        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.errors.contains(address) && ran.errors.contains(said), "{ran:?}");
    }
}

#[test]
fn errors_name_the_address_as_it_was_given() {
    let full = full_port();
    let (tcp, closed) = (format!("tcp:{}", full.at), format!("ws://127.0.0.1:{}/live", closed_port()));
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = format!("udp:{}", taken.local_addr().unwrap());
    for (arguments, code, address) in [
        (&["connect", "--timeout", "200ms", "--stats", "--json", &tcp][..], 5, &tcp),
        (&["connect", "--timeout", "20s", &closed], 4, &closed),
        (&["connect", "--subprotocol", "chat", &closed], 4, &closed),
        (&["probe", "--timeout", "200ms", &tcp], 5, &tcp),
        (&["probe", "--timeout", "20s", "--json", &closed], 4, &closed),
        (&["relay", &format!("listen:{udp}"), "-"], 11, &udp),
    ] {
        let ran = run(arguments, b"");

        assert_eq!(ran.code, code, "{arguments:?} {ran:?}");
        let told = format!("{}{}", ran.text(), ran.errors);
        assert!(told.contains(&format!("{address}: ")), "{arguments:?} {ran:?}");
        for made in ["timeout=2", "subprotocol=", "receive-buffer="] {
            assert!(!told.contains(made), "{arguments:?} {ran:?}");
        }
    }
}

#[test]
fn a_large_stream_goes_both_ways_at_once_and_comes_back_whole() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);
    let input: Vec<u8> =
        (0..8_u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();

    let ran = run(&["connect", &at], &input);

    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert!(ran.output == input, "{} of {} bytes came back", ran.output.len(), input.len());
}

/// Everything that a client says, whose close is answered.
fn heard(mut frames: websocket::Frames) -> Vec<(u8, Vec<u8>)> {
    let mut heard = Vec::new();
    while let Some((opcode, payload)) = frames.receive() {
        if opcode == CLOSE {
            frames.send(CLOSE, &payload);
        }
        heard.push((opcode, payload));
    }
    heard
}
