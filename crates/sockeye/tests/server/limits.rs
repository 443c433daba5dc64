//! Limits that protect: each is reached, shows what it says, and leaves everybody else alone.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use sockeye_wire::websocket::Opcode;

use crate::client::{Frame, Lines, Stream, WebSocket, frame};
use crate::http_client::{Http, request};
use crate::world::{PATIENCE, Server};

/// A burst of ten, and a wait of 200 ms for who is over it.
const TEN: &str = "[limits]\nmessages_per_second = 50\nrate_burst = \"200ms\"\n";
const WAIT: Duration = Duration::from_millis(200);

#[test]
fn connections_in_all_are_bound_whatever_they_come_by() {
    let server = Server::with("[limits]\nconnections_max = 3\n");
    let mut first = server.lines();
    assert_eq!(first.ask(r#"{"ping":1}"#)["pong"], 1);
    let mut second = Lines::over(server.connect_unix());
    assert_eq!(second.ask(r#"{"ping":2}"#)["pong"], 2);
    let mut watch = server.http();
    assert_eq!(limited(&mut watch, "connections_max", "turned_away"), 0);

    is_turned_away(server.connect());
    is_turned_away(server.connect_unix());

    assert_eq!(limited(&mut watch, "connections_max", "turned_away"), 2);
    assert_eq!(first.ask(r#"{"ping":3}"#)["pong"], 3);
    drop(second);
    // The place is free as soon as the server has seen the end.
    server.wait_until("there is room again", |server| is_served(server.connect()));
}

#[test]
fn connections_of_one_address_are_bound_and_those_of_others_are_not() {
    let server = Server::with("[limits]\naddress_connections_max = 2\naddress_exceptions = []\n");
    let mut first = server.lines();
    assert_eq!(first.ask(r#"{"ping":1}"#)["pong"], 1);
    let mut watch = server.http();
    assert_eq!(limited(&mut watch, "address_connections_max", "turned_away"), 0);

    is_turned_away(server.connect());

    assert!(is_served(from(&server, 2)));
    assert!(is_served(server.connect_unix()));
    assert_eq!(first.ask(r#"{"ping":2}"#)["pong"], 2);
    assert_eq!(limited(&mut watch, "address_connections_max", "turned_away"), 1);
    assert!(server.wait_for_log(|line| line.contains("turned away")).contains("address_connections_max"));
    drop(first);
    server.wait_until("there is room again", |server| is_served(server.connect()));
}

#[test]
fn new_connections_of_one_address_are_bound_by_their_rate() {
    let server = Server::with(
        "[limits]\naddress_arrivals_per_second = 1\naddress_exceptions = []\nrate_burst = \"10s\"\n",
    );

    let served = (0..200).take_while(|_| is_served(server.connect())).count();

    assert!((10..200).contains(&served), "{served}");
    assert!(is_served(from(&server, 2)));
    let mut watch = Http::over(server.connect_unix());
    assert!(limited(&mut watch, "address_arrivals_per_second", "turned_away") >= 1);
}

#[test]
fn this_machine_has_no_bound_per_address_by_default() {
    let server = Server::with(
        "[limits]\naddress_connections_max = 1\naddress_arrivals_per_second = 1\naddress_messages_per_second = 1\n",
    );

    let mut all: Vec<Lines> = (0..20).map(|_| server.lines()).collect();

    for lines in &mut all {
        assert_eq!(lines.ask(r#"{"ping":1}"#)["pong"], 1);
        assert_eq!(lines.ask(r#"{"ping":2}"#)["pong"], 2);
    }
}

#[test]
fn lines_over_the_rate_are_refused_with_a_time_then_not_read_then_read_again() {
    // With one shard the answers come in order.
    let server = Server::on_shards(1, TEN);
    let mut other = server.lines();
    let mut lines = server.lines();
    let all: String = (1..=22).map(|n| format!("{{\"pub\":\"c\",\"data\":{n},\"id\":{n}}}\n")).collect();

    // From before they were sent: when what was said is heard here tells more of this machine than of the server.
    let sent = Instant::now();
    lines.0.stream.write_all(all.as_bytes()).unwrap();

    for n in 1..=10 {
        assert_eq!(lines.receive()["ok"], n);
    }
    let error = lines.receive();
    assert_eq!(
        (&error["error"], &error["code"], &error["retry"]),
        (&11.into(), &"rate".into(), &true.into())
    );
    assert_eq!(error["retry_ms"], 200, "{error}");
    assert_eq!(other.ask(r#"{"ping":1}"#)["pong"], 1);
    for n in 12..=21 {
        assert_eq!(lines.receive()["ok"], n);
        assert!(sent.elapsed() > WAIT / 2, "it was not read for a while");
    }
    assert_eq!(lines.receive()["error"], 22);
    // What was refused was not published.
    let past = other.ask(r#"{"past":"c","last":30,"id":1}"#);
    assert_eq!(past["messages"].as_array().unwrap().len(), 20, "{past}");
    let mut watch = server.http();
    assert_eq!(limited(&mut watch, "messages_per_second", "paused"), 2);
}

#[test]
fn a_websocket_over_the_rate_is_refused_then_not_read_then_read_again() {
    let server = Server::with(TEN);
    let mut other = WebSocket::open(&server, "/ws");
    let mut socket = WebSocket::open(&server, "/ws");
    let all: Vec<u8> =
        (1..=21).flat_map(|n| frame(Opcode::Text, format!("{{\"ping\":{n}}}").as_bytes())).collect();

    let sent = Instant::now();
    socket.stream().write_all(&all).unwrap();

    // The handshake was a request too, but its token may have come back.
    let mut pongs = 0;
    let error = loop {
        let said = socket.object();
        if said["code"] == "rate" {
            break said;
        }
        pongs += 1;
        assert_eq!(said["pong"], pongs);
    };
    assert!((9..=10).contains(&pongs), "{pongs}");
    assert!(error["retry_ms"].as_u64().is_some_and(|ms| (180..=200).contains(&ms)), "{error}");
    assert_eq!(other.ask(r#"{"ping":1}"#)["pong"], 1);
    assert_eq!(socket.object()["pong"], pongs + 2);
    assert!(sent.elapsed() > WAIT / 2, "it was not read for a while");
}

#[test]
fn http_over_the_rate_is_answered_429_with_retry_after_and_goes_on_later() {
    let server = Server::with(TEN);
    let mut http = server.http();
    let one = request("GET", "/healthz", &[], b"");

    let sent = Instant::now();
    http.send(&one.repeat(12));

    for _ in 0..10 {
        assert_eq!(http.receive().status, 200);
    }
    let refused = http.receive();
    refused.refused(429, "rate");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["retry_ms"], 200);
    assert_eq!(server.ask("GET", "/healthz", &[], b"").status, 200);
    assert_eq!(http.receive().status, 200);
    assert!(sent.elapsed() > WAIT / 2, "it was not read for a while");
    // A body that is not wanted is not read.
    http.send(&request("POST", "/ch/c", &[], b"too many").repeat(30));
    let last = std::iter::repeat_with(|| http.receive()).find(|answer| answer.status == 429).unwrap();
    assert_eq!(last.header("connection"), Some("close"));
    http.ended();
}

#[test]
fn sockets_without_answers_wait_and_lose_nothing() {
    for path in ["/echo", "/ch/c"] {
        let server = Server::with(TEN);
        let mut socket = WebSocket::open(&server, path);
        let all: Vec<u8> =
            (0..40).flat_map(|n| frame(Opcode::Text, format!("message {n}").as_bytes())).collect();
        let started = Instant::now();

        socket.stream().write_all(&all).unwrap();

        for n in 0..40 {
            assert_eq!(socket.text(), format!("message {n}"), "{path}");
        }
        assert!(started.elapsed() > 2 * WAIT, "{path}: {:?}", started.elapsed());
    }
}

#[test]
fn who_keeps_on_is_told_farewell_on_every_socket() {
    let server = Server::with(&format!("{TEN}rate_strikes_max = 2\n"));
    let ping = "{\"ping\":1}\n".repeat(30);

    let mut lines = server.lines();
    lines.0.stream.write_all(ping.as_bytes()).unwrap();
    let said: Vec<String> = std::iter::from_fn(|| lines.next()).collect();
    assert_eq!(said.iter().filter(|line| line.contains("\"rate\"")).count(), 3, "{said:#?}");
    let bye: serde_json::Value = serde_json::from_str(said.last().unwrap()).unwrap();
    assert_eq!(bye["bye"], "rate");
    assert!(bye["reconnect"][0].as_u64() >= Some(200), "{bye}");

    let all = frame(Opcode::Text, b"{\"ping\":1}").repeat(40);
    let mut socket = WebSocket::open(&server, "/ws");
    socket.stream().write_all(&all).unwrap();
    let said: Vec<Frame> =
        std::iter::repeat_with(|| socket.receive()).take_while(|frame| *frame != Frame::End).collect();
    assert!(
        matches!(&said[said.len() - 2], Frame::Text(bye) if bye.contains("\"bye\":\"rate\"")),
        "{said:?}"
    );
    assert_eq!(said.last(), Some(&Frame::Close(Some(1013), "rate".into())));

    let mut raw = WebSocket::open(&server, "/ch/c?sub=0");
    raw.stream().write_all(&all).unwrap();
    assert_eq!(raw.closed_with(1013), "rate");

    let mut http = server.http();
    http.send(&request("GET", "/healthz", &[], b"").repeat(30));
    let last =
        std::iter::repeat_with(|| http.receive()).filter(|answer| answer.status == 429).nth(1).unwrap();
    assert_eq!(last.header("connection"), Some("close"));
    http.ended();

    let mut watch = server.http();
    assert_eq!(limited(&mut watch, "messages_per_second", "closed"), 4);
    // They linger until their ends have come.
    drop((lines, socket, raw, http));
    server.wait_until("all four are gone", |server| server.closed("rate") == 4);
}

#[test]
fn unreadable_messages_count_too() {
    let server = Server::with(&format!("{TEN}unreadable_max = 100\n"));
    let mut lines = server.lines();

    lines.0.stream.write_all(&b"{}\n[\n".repeat(6)).unwrap();

    for _ in 0..10 {
        assert_ne!(lines.receive()["code"], "rate");
    }
    assert_eq!(lines.receive()["code"], "rate");
}

#[test]
fn all_connections_of_an_address_share_its_messages_and_others_have_their_own() {
    let server = Server::with(
        "[limits]\naddress_messages_per_second = 1\nrate_burst = \"20s\"\naddress_exceptions = []\n",
    );

    // Each request on a connection of its own.
    let mut answered = 0;
    let refused = loop {
        let answer = server.ask("GET", "/healthz", &[], b"");
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
    };

    assert!((20..200).contains(&answered), "{answered}");
    refused.refused(429, "rate");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((15..=20).contains(&seconds), "{seconds}");
    let same = WebSocket::over(server.connect(), "/ws", &[]).err().expect("no message is left");
    assert_eq!(same.status, 429);
    assert!(is_served(from(&server, 2)));
    let mut watch = Http::over(server.connect_unix());
    assert!(limited(&mut watch, "address_messages_per_second", "paused") >= 2);
}

#[test]
fn bytes_over_the_rate_are_told_read_later_and_not_lost() {
    let server = Server::with("[limits]\nbytes_per_second = 10000\nrate_burst = \"200ms\"\n");
    let mut lines = server.lines();
    let data = "x".repeat(1_000);
    let all: String =
        (1..=6).map(|n| format!("{{\"pub\":\"c\",\"data\":\"{data}\",\"id\":{n}}}\n")).collect();
    let started = Instant::now();

    lines.0.stream.write_all(all.as_bytes()).unwrap();

    let (mut told, mut answered) = (0, 0);
    while answered < 6 {
        let said = lines.receive();
        if said["code"] == "rate" {
            assert!(said["error"].is_null() && said["retry_ms"].as_u64() <= Some(200), "{said}");
            told += 1;
        } else {
            answered += 1;
            assert_eq!(said["ok"], answered);
        }
    }
    // What is over the burst of 2,000 comes at 10 bytes a millisecond.
    assert!(told >= 1 && started.elapsed() > 2 * WAIT, "{told} {:?}", started.elapsed());
    // An upload over HTTP has no place to be told, and simply takes its time.
    let started = Instant::now();
    assert_eq!(server.ask("POST", "/ch/c", &[], &[b'x'; 6_000]).status, 200);
    assert!(started.elapsed() > 2 * WAIT, "{:?}", started.elapsed());
    assert!(limited(&mut server.http(), "bytes_per_second", "paused") >= 2);
}

#[test]
fn who_keeps_on_sending_bytes_is_closed_with_an_answer_where_there_is_a_place() {
    let server =
        Server::with("[limits]\nbytes_per_second = 10000\nrate_burst = \"200ms\"\nrate_strikes_max = 2\n");
    let mut http = server.http();

    http.send(&request("POST", "/ch/c", &[("Content-Length", "100000")], &[b'x'; 20_000]));

    let refused = http.receive();
    refused.refused(429, "rate");
    assert_eq!(refused.header("connection"), Some("close"));
    http.ended();
    let mut socket = WebSocket::open(&server, "/echo");
    socket.stream().write_all(&frame(Opcode::Binary, &[0; 60_000])).unwrap();
    assert_eq!(socket.closed_with(1013), "rate");
}

#[test]
fn new_channels_are_bound_and_known_ones_are_not() {
    let server = Server::with("[limits]\nchannels_per_minute = 3\n");
    let mut other = server.lines();
    assert!(other.ask(r#"{"pub":"known","data":1,"id":1}"#)["ok"] == 1);
    let mut lines = server.lines();

    for name in ["a", "b", "c"] {
        assert_eq!(lines.ask(&format!("{{\"pub\":\"{name}\",\"data\":1,\"id\":1}}"))["ok"], 1);
    }

    for request in [r#"{"pub":"d","data":1,"id":2}"#, r#"{"sub":"e","id":2}"#] {
        let error = lines.ask(request);
        assert_eq!((&error["error"], &error["code"]), (&2.into(), &"rate".into()), "{error}");
        assert!(error["retry_ms"].as_u64().is_some_and(|ms| (1..=20_000).contains(&ms)), "{error}");
    }
    assert_eq!(lines.ask(r#"{"pub":"a","data":2,"id":3}"#)["ok"], 3);
    assert_eq!(lines.ask(r#"{"pub":"known","data":2,"id":4}"#)["ok"], 4);
    assert_eq!(other.ask(r#"{"pub":"d","data":2,"id":5}"#)["ok"], 5);
    let mut http = server.http();
    for name in ["f", "g", "h"] {
        assert_eq!(http.ask("POST", &format!("/ch/{name}"), &[], b"new").status, 200);
    }
    let refused = http.ask("POST", "/ch/i", &[], b"new");
    refused.refused(429, "rate");
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() <= 20));
    let mut socket = WebSocket::open(&server, "/ws");
    for name in ["j", "k", "l"] {
        assert_eq!(socket.ask(&format!("{{\"sub\":\"{name}\",\"id\":1}}"))["ok"], 1);
    }
    assert_eq!(socket.ask(r#"{"sub":"m","id":2}"#)["code"], "rate");
    assert!(limited(&mut server.http(), "channels_per_minute", "spent") >= 3);
}

#[test]
fn new_channels_of_an_address_are_bound_whatever_its_connections() {
    let server = Server::on_shards(1, "[limits]\naddress_channels_per_minute = 3\naddress_exceptions = []\n");

    for name in ["a", "b", "c"] {
        assert_eq!(server.ask("POST", &format!("/ch/{name}"), &[], b"new").status, 200);
    }

    server.ask("POST", "/ch/d", &[], b"new").refused(429, "rate");
    assert_eq!(server.ask("POST", "/ch/a", &[], b"known").status, 200);
    assert_eq!(Http::over(from(&server, 2)).ask("POST", "/ch/d", &[], b"new").status, 200);
}

/// One figure of `sockeye_limited_total`, over a connection that is there already.
fn limited(watch: &mut Http, limit: &str, outcome: &str) -> u64 {
    let page = watch.ask("GET", "/metrics", &[], b"").text();
    let name = format!("sockeye_limited_total{{limit=\"{limit}\",outcome=\"{outcome}\"}} ");
    let figure = page.lines().find_map(|line| line.strip_prefix(&name));
    figure.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

/// Connects from 127.0.0.`last`.
fn from(server: &Server, last: u8) -> Stream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&server.tcp().into()).unwrap();
    Stream::Tcp(TcpStream::from(socket)).patient(PATIENCE)
}

/// The connection is closed without a byte.
fn is_turned_away(mut stream: Stream) {
    // It may be closed before this is written.
    let _ = stream.write_all(b"{\"ping\":1}\n");
    assert_eq!(String::from_utf8_lossy(&stream.read_rest()), "");
}

fn is_served(mut stream: Stream) -> bool {
    // It may be closed before this is written.
    let _ = stream.write_all(b"{\"ping\":1}\n");
    Lines::over(stream).next().is_some()
}
