//! Clients that take their time: heads and bodies that do not end, bytes that trickle, readers that stall.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;
use sockeye_wire::websocket::Opcode;

use crate::client::{Frame, Lines, Stream, WebSocket, frame, is_gone};
use crate::http_client::{Http, Response, request};
use crate::world::Server;

/// Every clock of a connection, short enough to be waited for.
const SHORT: &str = r#"
[limits]
first_byte_timeout = "200ms"
head_timeout = "200ms"
body_timeout = "200ms"
http_idle_timeout = "200ms"
linger_timeout = "200ms"
"#;

#[test]
fn a_slow_head_and_a_slow_body_are_told_that_their_time_is_over() {
    let server = Server::with(SHORT);

    for beginning in [
        "GET /ch/c HTTP/1.1\r\nHost: local",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhel",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ] {
        let mut http = server.http();
        http.send(beginning.as_bytes());
        http.receive().refused(408, "timeout");
        http.ended();
    }
}

#[test]
fn a_head_that_trickles_does_not_earn_more_time() {
    let server = Server::with(SHORT);
    let mut stream = server.connect().patient(Duration::from_millis(20));
    let started = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();

    let mut first = [0; 12];
    while started.elapsed() < Duration::from_secs(10) {
        match stream.read_exact(&mut first) {
            Ok(()) => break,
            Err(error) if is_gone(&error) => panic!("cut without a word"),
            Err(_) => drop(stream.write(b"X: y\r\n")),
        }
    }

    assert_eq!(&first, b"HTTP/1.1 408");
    stream.patient(crate::world::PATIENCE).read_rest();
}

#[test]
fn who_says_nothing_is_closed_and_so_is_who_says_nothing_more() {
    let server = Server::with(SHORT);

    let mut silent = server.connect();
    assert_eq!(silent.read_rest(), b"");
    let mut half = server.connect();
    half.write_all(b"GE").unwrap();
    assert_eq!(half.read_rest(), b"");
    let mut http = server.http();
    assert_eq!(http.ask("GET", "/healthz", &[], b"").status, 200);
    http.ended();
    // Lines are never closed for being idle: this one outlives all of those clocks.
    let mut lines = server.lines();
    lines.ask(r#"{"sub":"c","id":1}"#);
    let mut silent = server.connect();
    assert_eq!(silent.read_rest(), b"");
    assert_eq!(lines.ask(r#"{"ping":1}"#)["pong"], 1);
}

#[test]
fn an_answer_is_not_cut_while_it_is_being_read() {
    let limits = "close_timeout = \"600ms\"\nhttp_idle_timeout = \"600ms\"\npast_bytes_max = \"8MiB\"";
    let server = Server::with(&format!("[limits]\n{limits}\n[history]\nbytes = \"8MiB\""));
    for _ in 0..4 {
        server.ask("POST", "/ch/c", &[], &vec![b'x'; 1_000_000]);
    }
    let mut clock = server.connect().patient(Duration::from_millis(20));
    clock.write_all(b"{\"sub\":\"nothing\"}\n").unwrap();

    let mut readers = [("close", 0), ("keep-alive", 0)].map(|(connection, read)| {
        let stream = server.connect();
        let Stream::Tcp(tcp) = &stream else { panic!("it is TCP") };
        // What is not read must stay with the server.
        socket2::SockRef::from(tcp).set_recv_buffer_size(64 << 10).unwrap();
        let mut http = Http::over(stream);
        http.send(&request("GET", "/ch/c?last=4", &[("Connection", connection)], b""));
        (http, read)
    });
    let mut piece = vec![0; 32 << 10];
    while readers.iter().any(|(_, read)| *read < 4_000_000) {
        for (http, read) in readers.iter_mut().filter(|(_, read)| *read < 4_000_000) {
            let length = http.0.stream.read(&mut piece).expect("it comes on");
            assert!(length > 0, "cut after {read} bytes");
            *read += length;
        }
        // It hears nothing: a pause.
        assert!(clock.read(&mut [0; 64]).is_err());
    }
}

#[test]
fn bytes_may_trickle_one_at_a_time_through_every_protocol() {
    let server = Server::start();
    let trickle = |stream: &mut Stream, bytes: &[u8]| {
        for byte in bytes {
            stream.write_all(&[*byte]).unwrap();
        }
    };

    let mut lines = server.lines();
    trickle(&mut lines.0.stream, "{\"pub\":\"c\",\"data\":\"Müller\",\"id\":1}\r\n".as_bytes());
    assert_eq!(lines.receive()["ok"], 1);
    let mut http = server.http();
    trickle(&mut http.0.stream, &request("POST", "/ch/c", &[("Content-Type", "text/plain")], b"body"));
    assert_eq!(http.receive().status, 200);
    for (path, sent, heard) in
        [("/echo", "x", "x"), ("/ch/c?last=0", "y", "y"), ("/ws", r#"{"ping":1}"#, r#"{"pong":1}"#)]
    {
        let mut bytes = Vec::new();
        sockeye_wire::websocket::write_upgrade_request(
            &mut bytes,
            "localhost",
            path,
            "dGhlIHNhbXBsZSBub25jZQ==",
            &[],
            None,
        )
        .unwrap();
        bytes.extend(frame(Opcode::Text, sent.as_bytes()));
        let mut http = server.http();
        trickle(&mut http.0.stream, &bytes);
        assert_eq!(Response::read_head(&mut http.0).status, 101);
        let answer = http.0.take(2 + heard.len());
        assert_eq!(&answer[2..], heard.as_bytes());
    }
    let mut events = server.http();
    trickle(&mut events.0.stream, &request("GET", "/ch/c?last=1", &[("Accept", "text/event-stream")], b""));
    assert_eq!(Response::read_head(&mut events.0).status, 200);
    events.event();
    assert_eq!(events.event().1["data"], "y");
}

#[test]
fn who_never_reads_his_answers_is_not_read_any_more_and_costs_little() {
    let server = Server::start();
    let mut other = server.lines();
    server.ask("POST", "/ch/c", &[], b"x");
    let before = server.resident_bytes();
    let line = b"{\"hello\":1,\"id\":1}\n".to_vec();
    let get = request("GET", "/ch/c", &[], b"");
    let object = frame(Opcode::Text, br#"{"hello":1,"id":1}"#);
    let echo = frame(Opcode::Binary, &[b'!'; 8_000]);

    // Each of them writes until nothing more fits: the server has stopped reading.
    let floods = [
        (flood(server.connect(), &line), "\"ok\":1", 1),
        (flood(server.connect_unix(), &line), "\"ok\":1", 1),
        (flood(server.connect(), &get), "HTTP/1.1 200", 1),
        (flood(upgraded(&server, "/ws"), &object), "\"ok\":1", 1),
        (flood(upgraded(&server, "/echo"), &echo), "!", 8_000),
    ];

    assert_eq!(other.ask(r#"{"ping":1}"#)["pong"], 1);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for five stalled clients");
    // Whoever reads again gets the answer to everything that he asked.
    for ((mut stream, requests), mark, marks_each) in floods {
        let (mut found, mut unsearched) = (0, Vec::new());
        while found < requests * marks_each {
            let mut piece = [0; 64 << 10];
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "the connection ended after {found} of {requests}");
            unsearched.extend_from_slice(&piece[..length]);
            found += String::from_utf8_lossy(&unsearched).matches(mark).count();
            unsearched.drain(..unsearched.len().saturating_sub(mark.len() - 1));
        }
        assert_eq!(found, requests * marks_each);
    }
}

#[test]
fn waiting_for_others_costs_no_time() {
    let server = Server::with("limits.linger_timeout = \"60s\"");
    let mut ended = [server.lines(), Lines::over(server.connect_unix())];
    for lines in &mut ended {
        lines.ask(r#"{"sub":"c","id":1}"#);
        lines.0.stream.finish();
    }
    let mut events = server.http();
    events.send(&request("GET", "/ch/c", &[("Accept", "text/event-stream")], b""));
    events.0.stream.finish();
    let paused = flood(server.connect(), b"{\"hello\":1,\"id\":1}\n");
    let mut paused_unix = flood(server.connect_unix(), b"{\"hello\":1,\"id\":1}\n");
    paused_unix.0.finish();
    let echo = flood(upgraded(&server, "/echo"), &frame(Opcode::Binary, &[0; 8_000]));
    let mut lingering = server.http();
    lingering.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    lingering.receive();
    let mut head = server.connect();
    head.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    let mut body = server.connect();
    body.write_all(b"POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx").unwrap();
    let mut clock = server.lines();
    clock.ask(r#"{"sub":"$sys/stats","id":1}"#);
    clock.receive();

    let before = server.processor_time();
    clock.receive();
    clock.receive();
    let spent = server.processor_time() - before;

    assert!(spent < Duration::from_millis(300), "{spent:?} in two idle seconds");
    drop((ended, events, paused, paused_unix, echo, lingering, head, body));
}

#[test]
fn stalled_hearers_do_not_delay_the_others_and_are_told_what_they_missed() {
    let server = Server::with(
        "limits.outbox_bytes_max = \"64KiB\"\nlimits.unsent_bytes_max = \"16KiB\"\nhistory.messages = 4",
    );
    let mut healthy = server.lines();
    healthy.ask(r#"{"sub":"c","id":1}"#);
    let mut lines = server.lines();
    lines.ask(r#"{"sub":"c","id":1}"#);
    let mut unix = Lines::over(server.connect_unix());
    unix.ask(r#"{"sub":"c","id":1}"#);
    let mut socket = WebSocket::open(&server, "/ws");
    socket.ask(r#"{"sub":"c","id":1}"#);
    let mut events = server.http();
    events.send(&request("GET", "/ch/c", &[("Accept", "text/event-stream")], b""));
    Response::read_head(&mut events.0);
    events.event();

    const MESSAGES: u64 = 1_000;
    let mut speaker = server.lines();
    let text = "x".repeat(16 << 10);
    for n in 1..=MESSAGES {
        assert_eq!(speaker.ask(&format!(r#"{{"pub":"c","data":"{text}","id":{n}}}"#))["ok"], n);
        assert_eq!(sequence(&healthy.receive()["at"]), n, "the healthy one missed something");
    }

    check_account(MESSAGES, || lines.receive());
    check_account(MESSAGES, || unix.receive());
    check_account(MESSAGES, || socket.object());
    check_account(MESSAGES, || events.event().1);
    server
        .wait_until("the gaps of all shards are counted", |server| server.metric("sockeye_gaps_total") >= 4);
}

#[test]
fn a_websocket_that_reads_slowly_is_not_silent() {
    let server = Server::with(
        "limits.ping_interval = \"150ms\"\nlimits.silence_timeout = \"300ms\"\nlimits.message_bytes_max = \"4MiB\"\n\
         history.bytes = \"8MiB\"\nlimits.unsent_bytes_max = \"16KiB\"\ndeflate = \"off\"",
    );
    let text = "x".repeat(4 << 20);
    assert_eq!(server.ask("POST", "/ch/c", &[], text.as_bytes()).status, 200);
    let mut slow = small(&server);
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    slow.write_all(&request("GET", "/ch/c?last=1", &upgrade, b"")).unwrap();
    // It sets the pace, for nothing is said to it.
    let mut clock = server.connect().patient(Duration::from_millis(20));

    let (mut taken, mut piece) = (0, vec![0; 64 << 10]);
    let started = Instant::now();
    while taken < text.len() {
        let length = slow.read(&mut piece).unwrap();
        assert!(length > 0, "it was closed after {taken} bytes");
        let before = taken;
        taken += length;
        if before >> 16 == taken >> 16 {
            continue;
        }
        clock.read(&mut [0; 1]).unwrap_err();
    }

    assert!(started.elapsed() > Duration::from_millis(600), "it was not slow");
}

#[test]
fn whose_system_answers_no_more_is_closed_and_who_only_reads_nothing_is_not() {
    // A system asks a peer without room after 0.2 s, 0.4 s, and so on: until it is lost time enough passes without a word
    // only from who is gone.
    let server = Server::with("limits.lost_timeout = \"4s\"\nlimits.unsent_bytes_max = \"16KiB\"");
    let hears = |request: &[u8]| {
        let mut stream = small(&server);
        stream.write_all(request).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        stream
    };
    let lines = b"{\"sub\":\"c\",\"id\":1}\n";
    let events = request("GET", "/ch/c", &[("Accept", "text/event-stream")], b"");
    let gone = [hears(lines), hears(&events)];
    let stalled = [hears(lines), hears(&events)];
    for peer in &gone {
        // From here on its system takes in nothing, as if the cable were pulled.
        let deaf = socket2::SockFilter::new(0x06 /* BPF_RET */, 0, 0, 0);
        socket2::SockRef::from(peer).attach_filter(&[deaf]).unwrap();
    }

    let mut speaker = server.lines();
    let open = |server: &Server| {
        ["lines", "sse"].map(|name| server.metric(&format!("sockeye_connections{{protocol=\"{name}\"}}")))
    };
    server.wait_until("all are counted", |server| open(server) == [2, 2]);
    let text = "x".repeat(16 << 10);
    for n in 1..=64 {
        assert_eq!(speaker.ask(&format!(r#"{{"pub":"c","data":"{text}","id":{n}}}"#))["ok"], n);
    }
    server.wait_until("those who are gone are closed", |server| server.closed("lost") == 2);

    // The speaker speaks lines, too. What other shards show may be a moment old.
    server.wait_until("the others are still there", |server| open(server) == [2, 1]);
    assert!(server.closed("lost") <= 2);
    drop((gone, stalled));
}

/// A connection whose own system takes little.
fn small(server: &Server) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(server.tcp()).unwrap();
    stream.set_read_timeout(Some(crate::world::PATIENCE)).unwrap();
    socket2::SockRef::from(&stream).set_recv_buffer_size(16 << 10).unwrap();
    stream
}

#[test]
fn long_answers_that_are_not_read_are_bounded_in_all_and_nothing_else_is_refused() {
    // A share for each shard, which one long answer fills.
    let server = Server::with("limits.answers_total_bytes_max = \"128KiB\"\nhistory.bytes = \"2MiB\"");
    let mut speaker = server.lines();
    let text = "x".repeat(250 << 10);
    for n in 1..=4 {
        assert_eq!(speaker.ask(&format!(r#"{{"pub":"c","data":"{text}","id":{n}}}"#))["ok"], n);
    }
    let on_each_shard: Vec<_> = (0..16)
        .map(|_| {
            let mut stalled = server.connect();
            stalled.write_all(b"{\"past\":\"c\",\"last\":4,\"id\":1}\n").unwrap();
            stalled
        })
        .collect();
    server.wait_until("answers wait", |server| server.metric("sockeye_answers_bytes") > 256 << 10);

    // On the other shard there may be room still, so a connection may have to be tried more than once.
    let look = || {
        let mut http = server.http();
        http.send(&request("GET", "/ch/c", &[], b""));
        http.receive()
    };
    server.wait_until("history is refused", |_| {
        let response = look();
        let is_refused = response.status == 503;
        if is_refused {
            assert_eq!(response.header("retry-after"), Some("1"));
            response.refused(503, "busy");
        }
        is_refused
    });
    assert_eq!(speaker.ask(r#"{"pub":"c","data":"small","id":5}"#)["ok"], 5);

    drop(on_each_shard);
    server.wait_until("answers have gone", |server| server.metric("sockeye_answers_bytes") < 64 << 10);
    assert_eq!(look().status, 200);
}

/// Each message is heard in its order, or is in a gap; and there was a gap.
fn check_account(messages: u64, mut next: impl FnMut() -> serde_json::Value) {
    let (mut heard, mut missed, mut due) = (0, 0, 1);
    while due <= messages {
        let said = next();
        match said.get("gap") {
            Some(gap) => {
                assert_eq!((sequence(&gap["from"]), &said["ch"]), (due, &json!("c")), "{said}");
                due = sequence(&gap["to"]) + 1;
                missed += 1;
            }
            None => {
                assert_eq!(sequence(&said["at"]), due);
                due += 1;
                heard += 1;
            }
        }
    }
    assert_eq!(due, messages + 1);
    assert!(missed > 0 && heard > 0, "heard {heard}, {missed} gaps");
}

fn sequence(at: &serde_json::Value) -> u64 {
    at.as_str().unwrap().split_once(':').unwrap().1.parse().unwrap()
}

/// Writes the same request until the server takes no more, and says how often it went out whole.
fn flood(stream: Stream, request: &[u8]) -> (Stream, usize) {
    let mut stream = stream.patient(Duration::from_millis(300));
    let bytes = request.repeat((64 << 10) / request.len() + 1);
    let mut written = 0;
    loop {
        match stream.write(&bytes[written % bytes.len()..]) {
            Ok(length) => written += length,
            Err(error) if is_gone(&error) => panic!("the server ended the connection after {written} bytes"),
            Err(_) => return (stream.patient(crate::world::PATIENCE), written / request.len()),
        }
        assert!(written < 64 << 20, "the server reads without being read");
    }
}

fn upgraded(server: &Server, path: &str) -> Stream {
    let mut bytes = Vec::new();
    sockeye_wire::websocket::write_upgrade_request(
        &mut bytes,
        "localhost",
        path,
        "dGhlIHNhbXBsZSBub25jZQ==",
        &[],
        None,
    )
    .unwrap();
    let mut http = Http::over(server.connect());
    http.send(&bytes);
    assert_eq!(Response::read_head(&mut http.0).status, 101);
    http.0.stream
}

#[test]
fn a_websocket_that_stalls_within_a_message_is_closed_for_its_silence() {
    let server = Server::with("limits.ping_interval = \"100ms\"\nlimits.silence_timeout = \"300ms\"");
    let mut socket = WebSocket::open(&server, "/echo");

    socket.stream().write_all(&frame(Opcode::Binary, &[0; 1_000])[..500]).unwrap();

    assert_eq!(socket.receive(), Frame::Ping(Vec::new()));
    assert_eq!(socket.receive(), Frame::End);
}
