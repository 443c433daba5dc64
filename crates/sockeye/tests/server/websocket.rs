//! WebSocket as such: the echo, the protocol's frames, and how the same message looks on each socket.

use std::io::Write as _;

use serde_json::json;
use sockeye_wire::websocket::Opcode;

use crate::client::{Frame, WebSocket, fragment, frame};
use crate::http_client::request;
use crate::world::Server;

#[test]
fn the_echo_returns_messages_of_every_size_whole() {
    let server = Server::with("limits.message_bytes_max = \"4MiB\"");
    let mut socket = WebSocket::open(&server, "/echo");

    for length in [0, 1, 125, 126, 127, 2_047, 2_048, 65_535, 65_536, 300_000, 4 << 20] {
        let bytes: Vec<u8> = (0..length).map(|n: usize| (n * 7 + n / 251) as u8).collect();
        socket.send_frame(Opcode::Binary, &bytes);
        let Frame::Binary(echoed) = socket.receive() else { panic!("not binary") };
        assert!(echoed == bytes, "{length}");
    }
    for text in ["", "ü€😀", &"Müller ".repeat(20_000)] {
        socket.send(text);
        assert_eq!(socket.text(), text);
    }
    socket.send_frame(Opcode::Binary, &vec![0; (4 << 20) + 1]);
    socket.closed_with(1009);
}

#[test]
fn many_messages_of_one_write_come_back_in_order() {
    let server = Server::start();
    let mut socket = WebSocket::open(&server, "/echo");
    let mut frames = Vec::new();
    for n in 0..500_usize {
        frames.extend(frame(Opcode::Text, format!("{n} {}", "x".repeat(n * 13 % 4_096)).as_bytes()));
    }

    // They exceed what the server keeps of answers, so it must stop reading and go on again.
    let mut writer = match socket.stream() {
        crate::client::Stream::Tcp(tcp) => tcp.try_clone().unwrap(),
        _ => panic!("this is TCP"),
    };
    let sender = std::thread::spawn(move || writer.write_all(&frames).unwrap());

    for n in 0..500 {
        assert!(socket.text().starts_with(&format!("{n} ")));
    }
    sender.join().unwrap();
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    let server = Server::start();
    let mut socket = WebSocket::open(&server, "/echo");

    socket.stream().write_all(&fragment(Opcode::Text, b"one \xc3", false)).unwrap();
    socket.send_frame(Opcode::Ping, b"between");
    assert_eq!(socket.receive(), Frame::Pong(b"between".to_vec()));
    socket.stream().write_all(&fragment(Opcode::Continuation, b"\xbc", false)).unwrap();
    socket.stream().write_all(&fragment(Opcode::Continuation, b"", true)).unwrap();
    assert_eq!(socket.receive(), Frame::Text("one ü".into()));
    socket.send_frame(Opcode::Pong, b"unasked");
    for byte in frame(Opcode::Text, b"byte by byte") {
        socket.stream().write_all(&[byte]).unwrap();
    }
    assert_eq!(socket.text(), "byte by byte");
}

#[test]
fn what_breaks_the_rules_is_closed_with_the_code_for_it() {
    let server = Server::start();
    let unmasked = [0x81, 1, b'x'];
    let reserved = {
        let mut bytes = frame(Opcode::Text, b"x");
        bytes[0] |= 0x40;
        bytes
    };
    let unknown = {
        let mut bytes = frame(Opcode::Text, b"x");
        bytes[0] = 0x83;
        bytes
    };
    let long_ping =
        frame(Opcode::Binary, &[0; 126]).into_iter().enumerate().map(|(n, b)| if n == 0 { 0x89 } else { b });

    for (bytes, code) in [
        (unmasked.to_vec(), 1002),
        (reserved, 1002),
        (unknown, 1002),
        (long_ping.collect(), 1002),
        (fragment(Opcode::Ping, b"", false), 1002),
        (fragment(Opcode::Continuation, b"x", true), 1002),
        ([fragment(Opcode::Text, b"x", false), frame(Opcode::Text, b"x")].concat(), 1002),
        (frame(Opcode::Close, b"\x03"), 1002),
        (frame(Opcode::Close, &999_u16.to_be_bytes()), 1002),
        (frame(Opcode::Text, b"\xff"), 1007),
        // It fails at the first bad byte, without waiting for the rest.
        (fragment(Opcode::Text, b"\xc3\x28", false), 1007),
        (frame(Opcode::Close, b"\x03\xe8\xff"), 1007),
    ] {
        for path in ["/echo", "/ws", "/ch/c"] {
            let mut socket = WebSocket::open(&server, path);
            socket.stream().write_all(&bytes).unwrap();
            socket.closed_with(code);
            assert_eq!(socket.receive(), Frame::End, "{bytes:?} {path}");
        }
    }
}

#[test]
fn a_close_is_answered_with_its_own_code_after_what_came_before() {
    let server = Server::start();

    for path in ["/echo", "/ws", "/ch/c"] {
        for code in [None, Some(1000), Some(1001), Some(3000), Some(4999)] {
            let mut socket = WebSocket::open(&server, path);
            socket.send_frame(Opcode::Ping, b"first");
            socket.send_close(code, if code.is_some() { "so long" } else { "" });
            assert_eq!(socket.receive(), Frame::Pong(b"first".to_vec()));
            assert_eq!(socket.receive(), Frame::Close(code, String::new()));
            assert_eq!(socket.receive(), Frame::End);
        }
    }
}

#[test]
fn frames_may_follow_the_handshake_in_the_same_write() {
    let server = Server::start();
    let mut bytes = request(
        "GET",
        "/ch/c",
        &[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        b"",
    );
    bytes.extend(frame(Opcode::Text, b"early"));
    let mut http = server.http();

    http.send(&bytes);

    let head = crate::http_client::Response::read_head(&mut http.0);
    assert_eq!(
        (head.status, head.header("sec-websocket-accept")),
        (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    );
    assert_eq!(http.0.take(7), b"\x81\x05early");
}

#[test]
fn a_handshake_that_is_not_one_is_refused() {
    let server = Server::start();
    let whole = [
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let changed = |name: &str, value: &'static str| {
        whole.map(|(found, old)| (found, if found == name { value } else { old }))
    };

    let old = server.ask("GET", "/ws", &changed("Sec-WebSocket-Version", "8"), b"");
    assert_eq!((old.status, old.header("sec-websocket-version")), (426, Some("13")));
    assert_eq!(server.ask("GET", "/ws", &changed("Sec-WebSocket-Key", "short"), b"").status, 400);
    assert_eq!(server.ask("GET", "/ws", &changed("Connection", "close"), b"").status / 100, 4);
    assert_eq!(server.ask("POST", "/ws", &whole, b"").status / 100, 4);
    assert_eq!(server.ask("GET", "/healthz", &whole, b"").status, 200);
}

#[test]
fn the_same_message_is_shown_alike_on_every_socket() {
    let server = Server::start();
    let mut raw = WebSocket::open(&server, "/ch/c");
    let mut socket = WebSocket::open(&server, "/ws");
    let mut lines = server.lines();
    socket.ask(r#"{"sub":"c","id":1}"#);
    lines.ask(r#"{"sub":"c","id":1}"#);
    let mut seen = |bare: Frame, key: &str, shown: serde_json::Value| {
        assert_eq!(raw.receive(), bare);
        for push in [socket.object(), lines.receive()] {
            assert_eq!(push.get(key), Some(&shown), "{push}");
            assert_eq!(push.as_object().unwrap().len(), 4, "{push}");
        }
    };
    let mut speaker = WebSocket::open(&server, "/ch/c?sub=0");
    let mut requester = server.lines();

    // Text that is an object or an array is shown as JSON, unless it came as a JSON string.
    speaker.send(" {\"a\": [1,\n2]}");
    seen(Frame::Text(" {\"a\": [1,\n2]}".into()), "data", json!({"a": [1, 2]}));
    speaker.send("[1");
    seen(Frame::Text("[1".into()), "data", json!("[1"));
    speaker.send("17");
    seen(Frame::Text("17".into()), "data", json!("17"));
    requester.ask(r#"{"pub":"c","data":"{\"a\":1}","id":1}"#);
    seen(Frame::Text("{\"a\":1}".into()), "data", json!("{\"a\":1}"));
    requester.ask(r#"{"pub":"c","data":17,"id":1}"#);
    seen(Frame::Text("17".into()), "data", json!(17));
    requester.ask(r#"{"pub":"c","b64":"e30=","id":1}"#);
    seen(Frame::Binary(b"{}".to_vec()), "b64", json!("e30="));
    speaker.send_frame(Opcode::Binary, b"\xff");
    seen(Frame::Binary(vec![0xff]), "b64", json!("/w=="));
    speaker.send("two\nlines");
    seen(Frame::Text("two\nlines".into()), "data", json!("two\nlines"));
}

#[test]
fn a_request_over_websocket_is_one_text_frame() {
    let server = Server::with("limits.message_bytes_max = 1000");
    let mut socket = WebSocket::open(&server, "/ws");

    socket.send_frame(Opcode::Binary, br#"{"ping":1}"#);
    let refusal = socket.object();
    assert_eq!((&refusal["code"], &refusal["error"]), (&json!("bad_request"), &json!(null)));
    socket.stream().write_all(&fragment(Opcode::Text, br#"{"pi"#, false)).unwrap();
    socket.stream().write_all(&fragment(Opcode::Continuation, br#"ng":1}"#, true)).unwrap();
    assert_eq!(socket.object()["pong"], 1);
    let large = format!(r#"{{"pub":"c","data":"{}","id":2}}"#, "x".repeat(1001));
    assert_eq!(socket.ask(&large)["code"], "too_large");
    assert_eq!(server.lines().ask(&large)["code"], "too_large");
    // Larger than any payload could make it: it is not even read.
    socket.send(&"x".repeat(100_000));
    assert_eq!(socket.object()["code"], "too_large");
    socket.closed_with(1009);
    let mut lines = server.lines();
    lines.send(&format!("{{\"{}", "x".repeat(100_000)));
    assert_eq!(lines.receive()["code"], "too_large");
    assert_eq!(lines.ask(r#"{"ping":1}"#)["pong"], 1);
}

#[test]
fn a_silent_websocket_is_pinged_and_then_closed() {
    // Long enough for the pong to come in time on a busy machine too.
    let server = Server::with("limits.ping_interval = \"100ms\"\nlimits.silence_timeout = \"3s\"");
    let mut socket = WebSocket::open(&server, "/ch/c");

    assert_eq!(socket.receive(), Frame::Ping(Vec::new()));
    socket.send_frame(Opcode::Pong, b"");
    assert_eq!(socket.receive(), Frame::Ping(Vec::new()));
    assert_eq!(socket.receive(), Frame::End);
}
