//! One channel as a WebSocket without an envelope: what its address may ask for, and how it closes.

use std::io::Write as _;

use sockeye_wire::websocket::{DeflateOffer, Opcode};

use crate::client::{Frame, WebSocket, frame};
use crate::http_client::Response;
use crate::world::Server;

#[test]
fn frames_are_messages_and_messages_are_frames() {
    let server = Server::start();
    let mut one = WebSocket::open(&server, "/ch/c");
    let mut two = WebSocket::open(&server, "/ch/c");

    one.send("hello");
    one.send_frame(Opcode::Binary, b"\x00\xff");
    one.send("");
    for socket in [&mut one, &mut two] {
        assert_eq!(socket.receive(), Frame::Text("hello".into()));
        assert_eq!(socket.receive(), Frame::Binary(vec![0, 0xff]));
        assert_eq!(socket.receive(), Frame::Text(String::new()));
    }
    // Others publish when those have arrived: two connections that do not wait for each other have no order.
    server.ask("POST", "/ch/c", &[("Content-Type", "application/json")], b"{\"a\": 1}");
    server.lines().ask(r#"{"pub":"c","data":"a string","id":1}"#);
    server.lines().ask(r#"{"pub":"c","b64":"AAE=","id":1}"#);
    for socket in [&mut one, &mut two] {
        assert_eq!(socket.receive(), Frame::Text("{\"a\": 1}".into()));
        assert_eq!(socket.receive(), Frame::Text("a string".into()));
        assert_eq!(socket.receive(), Frame::Binary(vec![0, 1]));
    }
}

#[test]
fn the_address_says_who_speaks_and_who_hears() {
    let server = Server::start();
    let mut speaker = WebSocket::open(&server, "/ch/c?sub=0");
    let mut hearer = WebSocket::open(&server, "/ch/c?pub=0");
    let mut other = WebSocket::open(&server, "/ch/c?self=0");

    speaker.send("one");
    nothing_but_a_pong(&mut speaker);
    assert_eq!(hearer.text(), "one");
    assert_eq!(other.text(), "one");
    other.send("two");
    nothing_but_a_pong(&mut other);
    assert_eq!(hearer.text(), "two");
    hearer.send("three");

    assert!(hearer.closed_with(1008).contains("pub=0"));
    assert_eq!(hearer.receive(), Frame::End);
    nothing_but_a_pong(&mut other);
}

#[test]
fn the_address_says_where_to_begin() {
    let server = Server::with("history.messages = 3");
    let at: Vec<String> = (1..=5)
        .map(|n| {
            server.ask("POST", "/ch/c", &[], format!("{n}").as_bytes()).json()["at"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();

    let mut socket = WebSocket::open(&server, "/ch/c?last=2");
    assert_eq!([socket.text(), socket.text()], ["4", "5"]);
    let mut socket = WebSocket::open(&server, &format!("/ch/c?since={}", at[3]));
    assert_eq!(socket.text(), "5");
    nothing_but_a_pong(&mut socket);
    // What is gone cannot be announced here, so the socket does not open.
    let why = refused(&server, &format!("/ch/c?since={}", at[0])).refused(410, "gone");
    assert!(why.contains("evicted"), "{why}");
    refused(&server, "/ch/c?since=zzz:1").refused(410, "gone");
    let mut socket = WebSocket::open(&server, &format!("/ch/c?slow=latest&since={}", at[0]));
    socket.send("live");
    assert_eq!(socket.text(), "live");
}

#[test]
fn a_wrong_address_is_refused_before_the_upgrade() {
    let server = Server::start();

    for path in [
        "/ch/a/%2B",
        "/ch/%23",
        "/ch/c?sub=0&pub=0",
        "/ch/c?self=2",
        "/ch/c?slow=never",
        "/ch/c?last=x",
        "/ch/c?since=1",
        "/ch/",
    ] {
        refused(&server, path).refused(400, "bad_request");
    }
}

#[test]
fn what_is_too_large_or_denied_closes_with_its_code() {
    let server = Server::with("limits.message_bytes_max = 1000");

    let mut socket = WebSocket::open(&server, "/ch/c");
    socket.send(&"x".repeat(1000));
    assert_eq!(socket.text().len(), 1000);
    socket.send(&"x".repeat(1001));
    socket.closed_with(1009);
    assert_eq!(socket.receive(), Frame::End);
    let mut socket = WebSocket::open(&server, "/ch/$sys/mine?sub=0");
    socket.send("x");
    socket.closed_with(1008);
}

#[test]
fn a_close_is_the_last_frame_however_much_was_refused() {
    for mode in ["off", "shared", "dedicated"] {
        let server = Server::with(&format!("deflate = \"{mode}\"\nlimits.channels_max = 2\n"));
        let mut lines = server.lines();
        let fill = |number: u32| lines.ask(&format!(r#"{{"sub":"filled/{number}","id":{number}}}"#));
        assert!((0..40).map(fill).filter(|answer| answer["code"] == "too_many").count() > 20);

        // Some of these would live on the other shard, which refuses each message by itself.
        for number in 0..8 {
            let path = format!("/ch/more/{number}?sub=0");
            let plain = WebSocket::open(&server, &path);
            let compressed = WebSocket::open_deflated(&server, &path, &DeflateOffer::default());
            for mut socket in [plain, compressed] {
                socket.stream().write_all(&frame(Opcode::Text, b"refused").repeat(3)).unwrap();

                socket.closed_with(1013);
                assert_eq!(socket.receive(), Frame::End, "{mode} {path}");
            }
        }
    }
}

#[test]
fn who_falls_behind_is_closed_unless_he_agreed_to_gaps() {
    let server = Server::with(
        "limits.outbox_bytes_max = \"64KiB\"\nhistory.messages = 8\nlimits.unsent_bytes_max = \"16KiB\"",
    );
    let mut stalled = WebSocket::open(&server, "/ch/c");
    let mut closing = WebSocket::open(&server, "/ch/c?slow=close");
    let mut agreed = WebSocket::open(&server, "/ch/c?slow=latest&pub=0");
    let mut speaker = WebSocket::open(&server, "/ch/c?sub=0");

    let payload = "x".repeat(16 << 10);
    for _ in 0..1_000 {
        speaker.send(&payload);
    }
    nothing_but_a_pong(&mut speaker);
    speaker.send("the last");

    let mut heard = 0;
    loop {
        match stalled.receive() {
            Frame::Text(_) => heard += 1,
            Frame::Close(code, why) => {
                assert_eq!(code, Some(1013), "{why}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(heard < 1_000);
    while let Frame::Text(_) = closing.receive() {}
    let mut heard = 0;
    while agreed.text() != "the last" {
        heard += 1;
    }
    assert!(heard < 1_000);
}

fn refused(server: &Server, path: &str) -> Response {
    WebSocket::over(server.connect(), path, &[]).err().unwrap_or_else(|| panic!("{path} was accepted"))
}

/// Frames are answered in order: what comes before the pong came for what was sent before.
fn nothing_but_a_pong(socket: &mut WebSocket) {
    socket.send_frame(Opcode::Ping, b"nothing else");
    assert_eq!(socket.receive(), Frame::Pong(b"nothing else".to_vec()));
}
