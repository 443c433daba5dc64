//! What all commands that join sockets promise, one claim a test. Whoever writes scripts may rely on each of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::websocket;
use crate::world::{PATIENCE, Running, World, closed_port, full_port, run, said, tcp_peer};

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

#[test]
fn an_echo_of_an_answer_that_was_lost_is_awaited_only_so_long() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();

    let ran = run(&["connect", &format!("udp:{}", peer.local_addr().unwrap()), "--wait", "100ms"], b"ping");

    assert_eq!((ran.code, ran.text()), (0, ""), "{ran:?}");
}

#[test]
fn a_websocket_is_closed_when_no_further_answer_comes() {
    let (answer, awaited) = mpsc::channel();
    let (at, peer) = websocket::peer(move |mut frames| {
        let question = frames.receive().unwrap();
        awaited.recv_timeout(PATIENCE).unwrap();
        frames.send(websocket::TEXT, b"late");
        let end = frames.receive().unwrap();
        frames.send(websocket::CLOSE, &end.1);
        (question, end)
    });
    let mut client = Running::start(&["connect", &at, "--wait", "500ms"]);
    client.say(b"question");
    client.end_input();
    client.goes_on_for(Duration::from_millis(200));
    answer.send(()).unwrap();

    let ran = client.finish();

    assert_eq!((ran.code, ran.text()), (0, "late\n"), "{ran:?}");
    let (question, end) = peer.join().unwrap();
    assert_eq!(question, (websocket::TEXT, b"question".to_vec()));
    assert_eq!(end, (websocket::CLOSE, 1000_u16.to_be_bytes().to_vec()));
}

#[test]
fn messages_keep_their_boundaries_and_their_kind_through_jsonl() {
    let mut sent = String::new();
    let large = "x\ny\u{0}".repeat(300_000);
    for message in [
        json!({"kind": "text", "data": ""}),
        json!({"kind": "text", "data": "two\nlines and a \u{0}"}),
        json!({"kind": "binary", "b64": "AAEC/w=="}),
        json!({"kind": "text", "data": large}),
        json!({"kind": "binary", "b64": ""}),
        json!({"kind": "ping", "b64": "cGluZw=="}),
        json!({"kind": "close", "code": 4001, "reason": "that was all"}),
    ] {
        sent.push_str(&format!("{message}\n"));
    }
    let (at, peer) = websocket::peer(|mut frames| {
        let mut heard = Vec::new();
        while let Some((opcode, payload)) = frames.receive() {
            let answer = if opcode == websocket::PING { websocket::PONG } else { opcode };
            frames.send(answer, &payload);
            heard.push((opcode, payload));
        }
        heard
    });

    let ran = run(&["connect", "--frame", "jsonl", &at], sent.as_bytes());

    assert_eq!(ran.code, 0, "{}", ran.errors);
    let told: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut expected: Vec<Value> = sent
        .replace("\"ping\"", "\"pong\"")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    expected[6]["reason"] = json!("that was all");
    assert_eq!(told, expected);
    let opcodes: Vec<u8> = peer.join().unwrap().iter().map(|(opcode, _)| *opcode).collect();
    assert_eq!(opcodes, [1, 1, 2, 1, 2, 9, 8]);
}

#[test]
fn json_lines_are_spoken_by_the_layer_as_by_the_framing() {
    let spoken = "{\"kind\":\"text\",\"data\":\"two\\nlines\"}\n{\"kind\":\"ping\",\"b64\":\"eA==\"}\n";
    let closed = format!("{spoken}{{\"kind\":\"close\",\"code\":4001,\"reason\":\"enough\"}}\n");

    // What stands over a program is what the program said and heard.
    let ran = run(&["connect", "--frame", "jsonl", "jsonl+exec:cat"], closed.as_bytes());
    assert_eq!((ran.code, ran.text()), (0, closed.as_str()), "{ran:?}");

    // Without the framing, the layer is messages like those of a WebSocket: pings are not printed, a line is a text.
    let ran = run(&["connect", "jsonl+exec:cat"], b"a line\n");
    assert_eq!((ran.code, ran.text()), (0, "a line\n"), "{ran:?}");

    // An end without a close is one in good order, a close with a code that is an error is told.
    let (listening, at) = Running::listen(&["--frame", "jsonl", "jsonl+tcp:127.0.0.1:0"]);
    let ran = run(&["connect", "--frame", "jsonl", &at.replace("jsonl+", "")], spoken.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    let heard = listening.finish();
    assert_eq!((heard.code, heard.text()), (0, spoken), "{heard:?}");
    let (listening, at) = Running::listen(&["--frame", "jsonl", "jsonl+tcp:127.0.0.1:0"]);
    let client = run(&["connect", &at.replace("jsonl+", "")], closed.as_bytes());
    assert_eq!(client.code, 0, "{client:?}");
    let heard = listening.finish();
    assert_eq!((heard.code, heard.text()), (8, closed.as_str()), "{heard:?}");
}

#[test]
fn what_a_framing_cannot_carry_is_told_and_not_split() {
    let say = |payload: &'static [u8]| {
        websocket::peer(move |mut frames| {
            frames.send(websocket::BINARY, payload);
            frames.send(websocket::CLOSE, &1000_u16.to_be_bytes());
            while frames.receive().is_some() {}
        })
    };

    let (at, peer) = say(b"a\0b");
    let ran = run(&["connect", "--frame", "nul", &at], b"");
    assert_eq!((ran.code, ran.text()), (2, ""), "{ran:?}");
    assert!(ran.errors.contains("jsonl"), "{ran:?}");
    peer.join().unwrap();

    let (at, peer) = say(b"a\nb");
    let ran = run(&["connect", &at], b"");
    assert_eq!((ran.code, ran.text()), (0, "a\nb\n"), "{ran:?}");
    assert!(ran.errors.contains("line breaks") && ran.errors.contains("jsonl"), "{ran:?}");
    peer.join().unwrap();

    let (at, peer) = say(b"a\nb");
    let ran = run(&["connect", "--frame", "len32", &at], b"");
    assert_eq!((ran.code, ran.output.as_slice()), (0, &b"\0\0\0\x03a\nb"[..]), "{ran:?}");
    peer.join().unwrap();
}

#[test]
fn a_datagram_that_does_not_fit_is_an_error_with_its_size() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = format!("udp:{}", peer.local_addr().unwrap());
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = vec![0; 70_000];

    assert_eq!(run(&["connect", "--frame", "raw", "--wait", "10ms", &at], &[b'x'; 65_507]).code, 0);
    assert_eq!(peer.recv(&mut heard).unwrap(), 65_507);

    let ran = run(&["connect", "--frame", "raw", "--wait", "10ms", &at], &[b'x'; 65_508]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.errors.contains("65508") && ran.errors.contains("65507"), "{ran:?}");
    peer.set_nonblocking(true).unwrap();
    assert!(peer.recv(&mut heard).is_err(), "a part of it was sent");
}

#[test]
fn connecting_again_says_hello_and_shows_the_token_again_and_goes_on_with_the_input() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("ws://{}/#token=env:SOCKEYE_TEST_TOKEN", listener.local_addr().unwrap());
    let mut client = Running::start_in(
        std::process::Command::new(crate::world::BINARY)
            .args([
                "connect",
                &at,
                "--reconnect",
                "--hello",
                "{\"sub\":\"a\"}",
                "--header",
                "X-Mine: secret-5",
            ])
            .env("SOCKEYE_TEST_TOKEN", "secret-4"),
    );

    for round in 0..3 {
        let (stream, _) = listener.accept().unwrap();
        let (mut frames, request) = websocket::accept(stream);
        assert!(request.contains("Bearer secret-4") && request.contains("secret-5"), "{request}");
        assert_eq!(frames.receive(), Some((websocket::TEXT, b"{\"sub\":\"a\"}".to_vec())));
        let line = format!("line {round}");
        client.say(format!("{line}\n").as_bytes());
        assert_eq!(frames.receive(), Some((websocket::TEXT, line.into_bytes())));
        frames.send(websocket::TEXT, b"heard");
        client.wait_for_output(|output| output.len() == 6 * (round + 1));
        if round < 2 {
            // Without a word: the connection breaks.
            drop(frames);
            continue;
        }
        client.end_input();
        assert_eq!(frames.receive().map(|(opcode, _)| opcode), Some(websocket::CLOSE));
        frames.send(websocket::CLOSE, &1000_u16.to_be_bytes());
    }

    let ran = client.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.errors.matches("connecting again in").count(), 2, "{ran:?}");
    assert!(!ran.errors.contains("secret"), "{ran:?}");
}

#[test]
fn a_stale_socket_path_is_replaced_and_a_live_one_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let at = format!("unix:{}", folder.path().join("s.sock").display());
    let (listening, _) = Running::listen(&["--keep", "--echo", &at]);

    let ran = run(&["listen", "--echo", &at], b"");
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.errors.contains(&at) && ran.errors.contains("in use"), "{ran:?}");
    assert_eq!(said(&["connect", &at], b"still there"), "still there");

    // Killed, as by a crash: its path stays.
    drop(listening);
    assert_eq!(run(&["connect", &at], b"").code, 4);
    let (_listening, _) = Running::listen(&["--keep", "--echo", &at]);
    assert_eq!(said(&["connect", &at], b"again"), "again");
}

#[test]
fn a_peer_that_stalls_in_a_step_ends_by_its_timeout_with_code_5_and_the_step() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let full = full_port();
    for (address, step) in [
        (format!("tcp:{}", full.at), "connecting"),
        (format!("tls:{silent}?insecure"), "the TLS handshake"),
        (format!("ws://{silent}/"), "the WebSocket handshake"),
        (format!("wss://{silent}/#insecure"), "the TLS handshake"),
        (format!("ws://{}/", full.at), "connecting"),
    ] {
        for command in ["connect", "probe"] {
            let ran = run(&[command, "--timeout", "100ms", &address], b"");

            assert_eq!(ran.code, 5, "{ran:?}");
            assert!(ran.errors.contains(&format!("{step} took longer than 100 ms")), "{ran:?}");
        }
    }
}

#[test]
fn every_end_has_its_exit_code_and_a_word_about_it() {
    let world = World::new();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_at = plain.local_addr().unwrap();
    let answers = std::thread::spawn(move || {
        for answer in [&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], b"no TLS at all\r\n", b""] {
            let (mut stream, _) = plain.accept().unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request);
            stream.write_all(answer).unwrap();
        }
    });
    let (_secured, tls) = Running::listen(&["--keep", "--echo", &world.tls("tls:127.0.0.1:0")]);
    let (trusting, strange) = (world.trusting(&tls), tls.split('?').next().unwrap().to_owned());
    let port = plain_at.port();

    for (code, arguments, words) in [
        (0, vec!["connect", &trusting], vec![]),
        (2, vec!["connect", "tpc:localhost:1"], vec!["tpc", "tcp:"]),
        (2, vec!["connect", "--header", "nothing", &trusting], vec!["NAME: VALUE"]),
        (2, vec!["connect", "--header", "A: b", &trusting], vec!["WebSocket"]),
        (2, vec!["connect", "seqpacket:/run/x"], vec!["seqpacket", "this version"]),
        (2, vec!["listen", "exec:cat"], vec!["nobody can connect"]),
        (2, vec!["listen", "--max", "3", "tcp::0"], vec!["--keep"]),
        (2, vec!["probe", "udp:127.0.0.1:9"], vec!["--first-byte"]),
        (3, vec!["connect", "tcp:nobody.invalid:1"], vec!["nobody.invalid", "spelling"]),
        (4, vec!["connect", &format!("tcp:127.0.0.1:{}", closed_port())], vec!["refused", "listening there"]),
        (4, vec!["connect", "unix:/nowhere/s.sock"], vec!["/nowhere/s.sock"]),
        (6, vec!["connect", &strange], vec!["certificate", "ca=FILE"]),
        (7, vec!["connect", &format!("ws://127.0.0.1:{port}/")], vec!["503"]),
        (6, vec!["connect", &format!("tls:127.0.0.1:{port}?insecure")], vec!["speak TLS"]),
        (7, vec!["connect", &format!("ws://127.0.0.1:{port}/")], vec!["without an answer"]),
        (10, vec!["connect", "udp:255.255.255.255:9"], vec!["broadcast"]),
        (11, vec!["listen", &tls], vec!["in use", "another"]),
        (12, vec!["probe", "--certificate-days", "1000000", &trusting], vec!["certificate ends on"]),
    ] {
        let ran = run(&arguments, b"");

        assert_eq!(ran.code, code, "{arguments:?} {ran:?}");
        for word in words {
            assert!(ran.errors.contains(word), "{arguments:?} does not say {word:?}: {ran:?}");
        }
        assert_eq!(ran.errors.is_empty(), code == 0, "{arguments:?} {ran:?}");
    }
    answers.join().unwrap();
}

#[test]
fn what_is_told_to_people_is_told_to_programs() {
    let mut listening = Running::start(&["listen", "--json", "tcp:127.0.0.1:0"]);
    let first = listening.wait_for_errors(|said| said.ends_with('\n'));
    let told: Value = serde_json::from_str(&first).unwrap();
    assert!(told["locals"][0].as_str().unwrap().starts_with("127.0.0.1:"), "{told}");
    listening.end_input();

    let client = run(&["connect", told["address"].as_str().unwrap(), "--stats", "--json"], b"hi");

    assert_eq!(client.code, 0, "{client:?}");
    assert_eq!(client.told("sent_bytes")["sent_bytes"], 2);
    let ran = listening.finish();

    assert_eq!((ran.code, ran.text()), (0, "hi"), "{ran:?}");
    let events: Vec<Value> = BufReader::new(ran.errors.as_bytes())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let (at, peer) = websocket::peer(|mut frames| {
        frames.send(websocket::TEXT, b"two\nlines");
        frames.send(websocket::CLOSE, &1000_u16.to_be_bytes());
        frames.receive()
    });
    let noticed = run(&["connect", "--json", &at], b"");
    peer.join().unwrap();
    assert_eq!((noticed.code, noticed.text()), (0, "two\nlines\n"), "{noticed:?}");
    assert!(noticed.told("text")["text"].as_str().unwrap().contains("jsonl"), "{noticed:?}");
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["listening", "came", "ended"]);
    assert_eq!(events[1]["peer"], events[2]["peer"]);
}
