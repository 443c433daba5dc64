//! The life of a server: its start, what it says of itself, and its end in good order.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use sockeye_wire::websocket::Opcode;

use crate::client::{Frame, Lines, WebSocket};
use crate::command::run;
use crate::http_client::{Response, request};
use crate::world::Server;

#[test]
fn a_drain_says_goodbye_on_every_socket_and_ends_well() {
    let mut server = Server::start();
    let mut lines = server.lines();
    lines.ask(r#"{"sub":"c","id":1}"#);
    let mut unix = Lines::over(server.connect_unix());
    unix.ask(r#"{"ping":1}"#);
    let mut socket = WebSocket::open(&server, "/ws");
    socket.ask(r#"{"sub":"c","id":1}"#);
    let mut raw = WebSocket::open(&server, "/ch/c");
    let mut echo = WebSocket::open(&server, "/echo");
    let mut events = server.http();
    events.send(&request("GET", "/ch/c", &[("Accept", "text/event-stream")], b""));
    Response::read_head(&mut events.0);
    events.event();
    let mut idle = server.http();
    idle.ask("GET", "/healthz", &[], b"");
    let silent = server.connect();

    server.terminate();

    let bye = json!({"bye": "drain", "reconnect": [500, 15000]});
    for lines in [&mut lines, &mut unix] {
        assert_eq!((lines.receive(), lines.next()), (bye.clone(), None));
    }
    assert_eq!(socket.object(), bye);
    for socket in [&mut socket, &mut raw, &mut echo] {
        socket.closed_with(1001);
        socket.send_close(Some(1001), "");
        assert_eq!(socket.receive(), Frame::End);
    }
    assert_eq!(events.event(), (None, bye));
    events.ended();
    idle.ended();
    drop((silent, lines, unix, socket, raw, echo, events, idle));
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.unix().exists(), "the socket's file is left");
    assert!(server.log().last().unwrap().contains("drained"));
}

#[test]
fn who_has_come_and_asked_when_a_drain_begins_is_answered() {
    let mut server = Server::start();
    server.signal(Signal::STOP);
    // More than a shard takes in at a time.
    let mut asked: Vec<_> = (0..600)
        .map(|n| {
            let mut lines = server.lines();
            lines.send(&format!(r#"{{"pub":"c","data":{n},"id":{n}}}"#));
            lines
        })
        .collect();
    let mut http = server.http();
    http.send(&request("POST", "/ch/c", &[], b"one"));

    server.terminate();
    server.signal(Signal::CONT);

    for (n, lines) in asked.iter_mut().enumerate() {
        assert_eq!(lines.receive()["ok"], n, "{n}");
    }
    assert_eq!(http.receive().status, 200);
    drop((asked, http));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_delay_says_that_it_drains_before_anything_ends() {
    let mut server = Server::with("[limits]\ndrain_delay = \"2s\"\n");
    let mut lines = server.lines();
    assert_eq!(server.ask("GET", "/readyz", &[], b"").status, 200);

    server.terminate();
    server.wait_for_log(|line| line.contains("will drain"));

    server.wait_until("503", |server| server.ask("GET", "/readyz", &[], b"").status == 503);
    // Who does not ask is served as before, new ones too.
    let mut late = WebSocket::open(&server, "/ws");
    assert!(late.ask(r#"{"sub":"c","id":1}"#).get("ok").is_some());
    assert!(lines.ask(r#"{"pub":"c","data":1,"id":1}"#).get("ok").is_some());
    late.object();
    assert_eq!(lines.receive()["bye"], "drain");
    assert_eq!(late.object()["bye"], "drain");
    drop((lines, late));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_request_that_has_begun_is_answered_before_the_end() {
    let mut server = Server::start();
    let post = request("POST", "/ch/c", &[], b"begun before, ended after");
    let (head, rest) = post.split_at(post.len() - 10);
    let mut publishing = server.http();
    publishing.send(head);
    let mut asking = server.http();
    asking.send(b"GET /readyz HTTP/1.1\r\nHost: local");
    let mut upgrading = server.http();
    upgrading.send(b"GET /ch/c HTTP/1.1\r\nHost: localhost\r\n");
    let mut streaming = server.http();
    streaming.send(b"GET /ch/c HTTP/1.1\r\nHost: localhost\r\n");
    // All of that was read when every shard has answered: connections are served in turn.
    let mut answered = [false; 2];
    while answered != [true; 2] {
        let shard = server.lines().ask(r#"{"hello":1,"id":1}"#)["shard"].as_u64().unwrap();
        answered[shard as usize] = true;
    }

    server.terminate();
    server.wait_for_log(|line| line.contains("draining"));
    publishing.send(rest);
    asking.send(b"host\r\n\r\n");
    upgrading.send(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    streaming.send(b"Accept: text/event-stream\r\n\r\n");

    let published = publishing.receive();
    assert_eq!((published.status, published.header("connection")), (200, Some("close")));
    let ready = asking.receive();
    assert_eq!((ready.status, ready.text()), (503, "draining\n".into()));
    // What would stay is not begun any more.
    upgrading.receive().refused(503, "busy");
    streaming.receive().refused(503, "busy");
    for mut http in [publishing, asking, upgrading, streaming] {
        http.ended();
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_stalled_client_delays_the_end_only_until_the_limit() {
    let mut server = Server::with("limits.drain_timeout = \"500ms\"");
    let mut stalled = stall(&server);
    let started = Instant::now();

    server.terminate();

    assert_eq!(server.wait().code(), Some(0));
    assert!(started.elapsed() >= Duration::from_millis(400), "it was not given its time");
    assert!(started.elapsed() < Duration::from_secs(8));
    assert!(
        server.log().iter().any(|line| line.contains("the drain's time is over") && line.contains("WARN"))
    );
    stalled.0.stream.read_rest();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start();
    let _stalled = stall(&server);
    let started = Instant::now();

    server.terminate();
    server.wait_for_log(|line| line.contains("draining"));
    server.terminate();

    assert_eq!(server.wait().code(), Some(8));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn the_server_speaks_of_itself_each_second() {
    let server = Server::start();
    let mut lines = server.lines();
    let _raw = WebSocket::open(&server, "/ch/c");
    server.ask("POST", "/ch/c", &[], b"x");
    lines.ask(r#"{"sub":"$sys/stats","id":1}"#);

    let (first, second) = (lines.receive(), lines.receive());

    let apart = second["t"].as_u64().unwrap() - first["t"].as_u64().unwrap();
    assert!((900..3_000).contains(&apart), "{apart} ms apart");
    let stats = &second["data"];
    assert_eq!(
        (&stats["connections"], &stats["protocols"]["lines"], &stats["protocols"]["raw"]),
        (&json!(2), &json!(1), &json!(1)),
        "{stats}"
    );
    assert_ne!(stats["history"]["messages"], 0, "{stats}");
    for path in [
        "/channels",
        "/subscriptions",
        "/patterns",
        "/lagging",
        "/messages/in",
        "/messages/out",
        "/bytes/in",
        "/bytes/out",
        "/gaps",
        "/uptime_s",
        "/outbox_bytes",
        "/answers_bytes",
        "/history/bytes",
    ] {
        assert!(stats.pointer(path).is_some_and(Value::is_u64), "{path} in {stats}");
    }
    for protocol in ["ws", "lines", "raw", "sse", "http", "echo"] {
        assert!(stats["protocols"][protocol].is_u64(), "{protocol} in {stats}");
    }
}

#[test]
fn a_healthy_reader_on_a_unix_socket_gets_a_burst_without_a_gap() {
    let server = Server::start();
    let mut reader = Lines::over(server.connect_unix());
    reader.ask(r#"{"sub":"c","id":1}"#);
    let mut speaker = server.lines();
    let text = "x".repeat(128);
    let burst = format!("{{\"pub\":\"c\",\"data\":\"{text}\"}}\n").repeat(1_000);

    speaker.0.stream.write_all(burst.as_bytes()).unwrap();

    for n in 1..=1_000 {
        let push = reader.receive();
        assert!(push["at"].as_str().unwrap().ends_with(&format!(":{n}")), "{push}");
        assert_eq!(push["data"], text);
    }
}

#[test]
fn a_socket_file_that_was_left_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("left.sock");
    let listen = format!("unix:{}", path.display());
    let mut killed = Server::on_unix(&path);
    killed.kill();
    assert!(path.exists());

    let server = Server::on_unix(&path);

    let ran = run(&["serve", "--listen", &listen], b"");
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.errors.contains(&listen), "{ran:?}");
    assert_eq!(Lines::over(server.connect_unix()).ask(r#"{"ping":1}"#)["pong"], 1);
    // What is no socket is somebody's file.
    let file = folder.path().join("precious.txt");
    std::fs::write(&file, "precious").unwrap();
    let ran = run(&["serve", "--listen", &format!("unix:{}", file.display())], b"");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("precious.txt") && ran.errors.contains("in the way"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::start();
    let port = server.tcp().port();

    let ran = run(&["serve", "--listen", &format!("tcp:127.0.0.1:{port}")], b"");

    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.errors.contains(&port.to_string()), "{ran:?}");
    assert_eq!(server.ask("GET", "/healthz", &[], b"").status, 200);
}

/// A subscriber with a full outbox, who does not read.
fn stall(server: &Server) -> Lines {
    let mut stalled = server.lines();
    stalled.ask(r#"{"sub":"c","id":1}"#);
    let mut speaker = WebSocket::open(server, "/ch/c?sub=0");
    // More than the kernel's buffers on both sides take.
    let payload = vec![b'x'; 128 << 10];
    for _ in 0..100 {
        speaker.send_frame(Opcode::Text, &payload);
    }
    speaker.send_frame(Opcode::Ping, b"");
    assert_eq!(speaker.receive(), Frame::Pong(Vec::new()));
    stalled
}
