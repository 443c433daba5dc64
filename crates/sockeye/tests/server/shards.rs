//! Several shards are one server: connections on different ones hear each other as if they were on the same.
//!
//! Connections are placed by the Unix socket, which is accepted on one shard and handed round in turn.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::RangeInclusive;

use serde_json::{Value, json};
use sockeye_wire::websocket::Opcode;

use crate::client::{Frame, Lines, Stream, WebSocket};
use crate::command::run;
use crate::http_client::{Http, Response, request};
use crate::world::Server;

/// Connects to the shards of a server in turn.
struct Placed<'a> {
    server: &'a Server,
    shards: u16,
    next: u16,
}

impl<'a> Placed<'a> {
    fn on(server: &'a Server, shards: u16) -> Placed<'a> {
        Placed { server, shards, next: 0 }
    }

    fn stream(&mut self, shard: u16) -> Stream {
        loop {
            let stream = self.server.connect_unix();
            let found = self.next;
            self.next = (self.next + 1) % self.shards;
            if found == shard {
                return stream;
            }
        }
    }

    fn lines(&mut self, shard: u16) -> Lines {
        let mut lines = Lines::over(self.stream(shard));
        assert_eq!(lines.ask(r#"{"hello":1,"id":0}"#)["shard"], shard);
        lines
    }

    fn socket(&mut self, shard: u16, path: &str) -> WebSocket {
        WebSocket::over(self.stream(shard), path, &[]).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    fn events(&mut self, shard: u16, path: &str) -> Http {
        let mut http = Http::over(self.stream(shard));
        http.send(&request("GET", path, &[("Accept", "text/event-stream")], b""));
        Response::read_head(&mut http.0);
        http.event();
        http
    }
}

/// Enough names that both of two shards are the home of some; all of them on one shard has odds of one in 2^15.
fn channels(prefix: &str) -> Vec<String> {
    (0..16).map(|number| format!("{prefix}/{number}")).collect()
}

#[test]
fn connections_are_spread_and_told_where_they_live() {
    let server = Server::with_flags(&["--shards", "2", "--log", "debug"]);
    let first: Value = serde_json::from_str(&server.wait_for_log(|_| true)).unwrap();
    assert_eq!(first["fields"]["shards"], 2);
    let mut seen = [false; 2];
    let mut held = Vec::new();

    while seen != [true; 2] {
        assert!(held.len() < 64, "all of them are on one shard");
        let mut lines = server.lines();
        let hello = lines.ask(r#"{"hello":1,"id":0}"#);
        seen[hello["shard"].as_u64().unwrap() as usize] = true;
        held.push(lines);
    }

    for shard in 0..2 {
        server.wait_for_log(|line| line.contains("accepted") && line.contains(&format!("\"shard\":{shard}")));
    }
    let mut placed = Placed::on(&server, 2);
    let (_, _) = (placed.lines(0), placed.lines(1));
}

#[test]
fn every_protocol_hears_every_other_across_shards_in_the_same_order() {
    let server = Server::on_shards(2, "");
    let mut placed = Placed::on(&server, 2);
    for channel in &channels("all")[..6] {
        let path = format!("/ch/{channel}");
        let hear = format!("{{\"sub\":\"{channel}\",\"id\":1}}");
        let (mut lines, mut sockets, mut raws, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut speakers: Vec<Box<dyn FnMut(String) + Send>> = Vec::new();
        for shard in 0..2 {
            lines.push(placed.lines(shard));
            lines[usize::from(shard)].ask(&hear);
            sockets.push(placed.socket(shard, "/ws"));
            sockets[usize::from(shard)].ask(&hear);
            raws.push(placed.socket(shard, &format!("{path}?pub=0")));
            events.push(placed.events(shard, &path));
            let (name, mut speaker) = (channel.clone(), placed.lines(shard));
            speakers.push(Box::new(move |text| {
                speaker.ask(&format!("{{\"pub\":\"{name}\",\"data\":\"{text}\",\"id\":1}}"));
            }));
            let (name, mut speaker) = (channel.clone(), placed.socket(shard, "/ws"));
            speakers.push(Box::new(move |text| {
                speaker.ask(&format!("{{\"pub\":\"{name}\",\"data\":\"{text}\",\"id\":1}}"));
            }));
            let mut speaker = placed.socket(shard, &format!("{path}?sub=0"));
            speakers.push(Box::new(move |text| speaker.send_frame(Opcode::Text, text.as_bytes())));
            let (path, mut speaker) = (path.clone(), Http::over(placed.stream(shard)));
            speakers.push(Box::new(move |text| {
                assert_eq!(speaker.ask("POST", &path, &[], text.as_bytes()).status, 200);
            }));
        }
        let count = speakers.len() * 10;

        std::thread::scope(|scope| {
            for (number, speak) in speakers.iter_mut().enumerate() {
                scope.spawn(move || (0..10).for_each(|turn| speak(format!("{number}.{turn}"))));
            }
        });

        let data = |push: &Value| push["data"].as_str().unwrap().to_owned();
        let mut heard: Vec<Vec<String>> = Vec::new();
        for lines in &mut lines {
            heard.push((0..count).map(|_| data(&lines.receive())).collect());
        }
        for socket in &mut sockets {
            heard.push((0..count).map(|_| data(&socket.object())).collect());
        }
        for raw in &mut raws {
            heard.push((0..count).map(|_| raw.text()).collect());
        }
        for events in &mut events {
            heard.push((0..count).map(|_| data(&events.event().1)).collect());
        }
        assert!(heard.iter().all(|other| *other == heard[0]), "{channel}: {heard:#?}");
        let mut once = heard[0].clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), count);
    }
}

#[test]
fn patterns_hear_channels_of_every_shard_until_they_are_let_go() {
    let server = Server::on_shards(3, "");
    let mut placed = Placed::on(&server, 3);
    let mut hearers: Vec<Lines> = (0..3).map(|shard| placed.lines(shard)).collect();
    for hearer in &mut hearers {
        assert_eq!(hearer.ask(r#"{"sub":"p/+","id":1}"#)["ok"], 1);
    }
    let mut speaker = placed.lines(2);

    for channel in channels("p") {
        speaker.ask(&format!("{{\"pub\":\"{channel}\",\"data\":1,\"id\":1}}"));
    }

    for hearer in &mut hearers {
        let mut heard: Vec<String> =
            (0..16).map(|_| hearer.receive()["ch"].as_str().unwrap().to_owned()).collect();
        heard.sort_unstable();
        let mut all = channels("p");
        all.sort_unstable();
        assert_eq!(heard, all);
        assert_eq!(hearer.ask(r#"{"unsub":"p/+","id":2}"#)["ok"], 2);
    }
    for channel in channels("p") {
        speaker.ask(&format!("{{\"pub\":\"{channel}\",\"data\":2,\"id\":1}}"));
    }
    for hearer in &mut hearers {
        assert_eq!(hearer.ask(r#"{"ping":3}"#)["pong"], 3);
    }
}

/// The sequence numbers that a push stands for, and the last object if it is none.
fn places(push: &Value) -> Option<RangeInclusive<u64>> {
    let number = |at: &Value| at.as_str().unwrap().split_once(':').unwrap().1.parse::<u64>().unwrap();
    match (&push["at"], &push["gap"]) {
        (at @ Value::String(_), _) if push["ch"].is_string() => Some(number(at)..=number(at)),
        (_, Value::Object(gap)) => Some(number(&gap["from"])..=number(&gap["to"])),
        _ => None,
    }
}

#[test]
fn a_slow_reader_on_another_shard_is_told_exactly_what_it_missed() {
    const MESSAGES: u64 = 300;
    let server = Server::on_shards(2, "");
    let mut placed = Placed::on(&server, 2);
    let (mut slow, mut speaker) = (placed.lines(0), placed.lines(1));
    let channels = &channels("slow")[..8];
    for channel in channels {
        slow.ask(&format!("{{\"sub\":\"{channel}\",\"id\":1}}"));
    }
    let data = "x".repeat(8 << 10);

    for n in 1..=MESSAGES {
        for channel in channels {
            speaker.send(&format!("{{\"pub\":\"{channel}\",\"data\":\"{data}\",\"id\":{n}}}"));
        }
        for _ in channels {
            assert_eq!(speaker.receive()["ok"], n);
        }
    }

    let mut next: BTreeMap<String, u64> = channels.iter().map(|channel| (channel.clone(), 1)).collect();
    let mut gaps = 0;
    while next.values().any(|next| *next <= MESSAGES) {
        let push = slow.receive();
        let places = places(&push).expect("a push");
        gaps += u64::from(push["gap"].is_object());
        let next = next.get_mut(push["ch"].as_str().unwrap()).expect("a channel that is heard");
        assert_eq!(*places.start(), *next, "{}", push["gap"]);
        *next = places.end() + 1;
    }
    assert!(gaps > 0, "nothing was missed, so nothing was shown");
    assert_eq!(slow.ask(r#"{"ping":1}"#)["pong"], 1);
}

#[test]
fn figures_are_those_of_all_shards_whoever_tells_them() {
    let server = Server::on_shards(2, "");
    let mut placed = Placed::on(&server, 2);
    let mut hearers = [placed.lines(0), placed.lines(1)];
    for hearer in &mut hearers {
        hearer.ask(r#"{"sub":"c","id":1}"#);
        hearer.ask(r#"{"pub":"c","data":1,"id":2}"#);
    }

    for shard in 0..2 {
        let mut http = Http::over(placed.stream(shard));
        server.wait_until("both shards' messages are counted", |_| {
            let page = http.ask("GET", "/metrics", &[], b"").text();
            let has = |line: &str| page.lines().any(|found| found == line);
            has("sockeye_messages_published_total 2")
                && has("sockeye_messages_delivered_total 3")
                && has("sockeye_shard_messages_delivered_total{shard=\"0\"} 2")
                && has("sockeye_channels 1")
        });
    }
    for shard in 0..2 {
        let mut hearer = placed.lines(shard);
        hearer.ask(r#"{"sub":"$sys/stats","id":1}"#);
        server.wait_until("the figures of both are told", |_| {
            let stats = &hearer.receive()["data"];
            let shards = stats["shards"].as_array().unwrap();
            let connections: u64 = shards.iter().map(|shard| shard["connections"].as_u64().unwrap()).sum();
            assert_eq!((shards.len(), stats["connections"].as_u64()), (2, Some(connections)));
            stats["messages"]["in"].as_u64() >= Some(2) && shards[1]["connections"] != 0
        });
    }
}

#[test]
fn a_port_is_shared_by_shards_and_not_by_servers() {
    for shards in ["1", "2"] {
        let server = Server::on_shards(shards.parse().unwrap(), "");
        let listen = format!("tcp:{}", server.tcp());

        for others in ["1", "2"] {
            let ran = run(&["serve", "--shards", others, "--listen", &listen], b"");

            assert_eq!(ran.code, 11, "{shards} and {others}: {ran:?}");
            assert!(ran.errors.contains(&listen), "{ran:?}");
        }
        assert_eq!(server.ask("GET", "/healthz", &[], b"").status, 200);
    }
    let ran = run(&["serve", "--shards", "0"], b"");
    assert!(ran.code == 2 && ran.errors.contains("from 1 to 256"), "{ran:?}");
}

#[test]
fn no_shard_is_ready_while_they_drain() {
    let mut server = Server::on_shards(2, "");
    let mut placed = Placed::on(&server, 2);
    let mut asking: Vec<Http> = (0..2).map(|shard| Http::over(placed.stream(shard))).collect();
    for http in &mut asking {
        assert_eq!(http.ask("GET", "/readyz", &[], b"").status, 200);
        http.send(b"GET /readyz HTTP/1.1\r\nHost: local");
    }
    // Connections of one shard are served in turn, so what was sent before is read when this is answered.
    (0..2).for_each(|shard| drop(placed.lines(shard).ask(r#"{"ping":1}"#)));

    server.terminate();
    for shard in 0..2 {
        server.wait_for_log(|line| line.contains("draining") && line.contains(&format!("\"shard\":{shard}")));
    }

    for mut http in asking {
        http.send(b"host\r\n\r\n");
        assert_eq!(http.receive().status, 503);
    }
    assert_eq!(server.wait().code(), Some(0));
}

/// What a publisher was told is accepted, by channel.
type Accepted = BTreeMap<String, u64>;

#[test]
fn a_drain_of_two_thousand_connections_delivers_or_announces_everything_that_was_accepted() {
    const HEARERS: usize = 1_984;
    const SPEAKERS: usize = 16;
    let mut server = Server::on_shards(2, "");
    let channels = channels("drain");
    let mut hearers: Vec<(&str, u64, Lines)> = Vec::new();
    for number in 0..HEARERS {
        let (channel, mut lines) = (channels[number % channels.len()].as_str(), server.lines());
        lines.ask(&format!("{{\"sub\":\"{channel}\",\"id\":1}}"));
        hearers.push((channel, 0, lines));
    }
    let speakers: Vec<Lines> = (0..SPEAKERS).map(|_| server.lines()).collect();
    let mut heard: Vec<(&str, u64)> = Vec::new();
    let mut accepted = Accepted::new();

    std::thread::scope(|scope| {
        let speak = |mut lines: Lines, channel: &str| {
            let (mut last, mut number) = (0, 0);
            loop {
                number += 1;
                let asked = format!("{{\"pub\":\"{channel}\",\"data\":\"{number}\",\"id\":{number}}}\n");
                // The server may have gone meanwhile: what it said before is still to be read.
                let _ = lines.0.stream.write_all(asked.as_bytes());
                let Some(said) = lines.next() else { return (channel.to_owned(), last) };
                let said: Value = serde_json::from_str(&said).unwrap();
                if said["bye"].is_string() {
                    assert_eq!(said["bye"], "drain");
                    return (channel.to_owned(), last);
                }
                assert_eq!(said["ok"], number, "{said}");
                last = places(&json!({ "ch": "", "at": said["at"] })).unwrap().max().unwrap();
            }
        };
        let speaking: Vec<_> = speakers
            .into_iter()
            .zip(&channels)
            .map(|(lines, channel)| scope.spawn(move || speak(lines, channel)))
            .collect();
        // They have been at it for a while when each of the first hearers has heard this much.
        for (_, last, lines) in hearers.iter_mut().take(channels.len()) {
            while *last < 20 {
                *last = *places(&lines.receive()).unwrap().end();
            }
        }

        server.terminate();

        heard.extend(hearers.into_iter().map(|(channel, mut last, mut lines)| {
            loop {
                let push = lines.receive();
                let Some(places) = places(&push) else {
                    assert_eq!(push["bye"], "drain", "{push}");
                    assert_eq!(lines.next(), None);
                    return (channel, last);
                };
                assert_eq!(*places.start(), last + 1, "{channel}: {places:?} after {last}");
                last = *places.end();
            }
        }));
        accepted.extend(speaking.into_iter().map(|speaking| speaking.join().unwrap()));
        assert_eq!(server.wait().code(), Some(0));
    });

    // The server says so when its time was over. Our own clock would tell how long 2,000 sockets take to be read here.
    assert!(!server.log().iter().any(|line| line.contains("the drain's time is over")));
    for (channel, last) in heard {
        assert!(last >= accepted[channel], "{channel}: heard up to {last} of {}", accepted[channel]);
    }
}

#[test]
fn a_raw_socket_on_another_shard_is_told_its_end_in_a_drain() {
    let mut server = Server::on_shards(2, "");
    let mut placed = Placed::on(&server, 2);
    let mut raws = [placed.socket(0, "/ch/c"), placed.socket(1, "/ch/c")];
    raws[0].send("said");
    for raw in &mut raws {
        assert_eq!(raw.text(), "said");
    }

    server.terminate();

    for raw in &mut raws {
        raw.closed_with(1001);
        raw.send_close(Some(1001), "");
        assert_eq!(raw.receive(), Frame::End);
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_shard_shows_what_time_alone_has_changed_on_it() {
    let server = Server::on_shards(2, "[limits]\nfirst_byte_timeout = \"200ms\"\n");
    let mut placed = Placed::on(&server, 2);
    let mut watch = Http::over(placed.stream(0));
    assert_eq!(watch.ask("GET", "/healthz", &[], b"").status, 200);

    let mut silent = placed.stream(1);
    assert_eq!(silent.read_rest(), b"");

    let closed = r#"sockeye_connections_closed_total{protocol="unknown""#;
    server.wait_until("its end is seen from the other shard", |_| {
        let page = watch.ask("GET", "/metrics", &[], b"").text();
        page.lines().any(|line| line.starts_with(closed) && !line.ends_with(" 0"))
    });
}
