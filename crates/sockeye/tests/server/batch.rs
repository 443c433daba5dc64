//! Writes that leave together: with io_uring and without it, everybody hears the same.

use std::net::TcpStream;

use serde_json::{Value, json};
use sockeye_sys::ring::SendRing;
use sockeye_wire::websocket::Opcode;

use crate::certificates::Authority;
use crate::client::{Frame, Lines, Secure, Stream, WebSocket};
use crate::world::Server;

const HEARERS: usize = 20;
const MESSAGES: usize = 30;

#[test]
fn a_burst_is_heard_whole_and_in_order_by_everybody() {
    for (setting, server, authority) in servers() {
        let mut lines: Vec<Lines> = (0..HEARERS)
            .map(|index| {
                let mut lines = match index % 3 {
                    0 => server.lines(),
                    1 => Lines::over(server.connect_unix()),
                    _ => Lines::over(secure(&server, &authority)),
                };
                lines.ask(r#"{"sub":"c","id":1}"#);
                lines
            })
            .collect();
        let mut sockets: Vec<WebSocket> =
            (0..HEARERS).map(|index| web_socket(index, &server, &authority, "/ch/c?pub=0")).collect();
        server.wait_until("everybody hears", |server| {
            server.metric("sockeye_subscriptions") == 2 * HEARERS as u64
        });
        let message = |number: usize| format!("{number} {}", "x".repeat(number * number * 20));

        let publishes: String = (0..MESSAGES)
            .map(|number| format!("{{\"pub\":\"c\",\"data\":\"{}\"}}\n", message(number)))
            .collect();
        server.lines().send(publishes.trim_end());

        for number in 0..MESSAGES {
            for lines in &mut lines {
                assert_eq!(lines.receive()["data"], message(number), "io_uring = {setting}");
            }
            for socket in &mut sockets {
                assert_eq!(socket.text(), message(number), "io_uring = {setting}");
            }
        }
    }
}

#[test]
fn what_is_said_at_once_comes_back_to_whom_it_is_for() {
    for (setting, server, authority) in servers() {
        let mut sockets: Vec<WebSocket> =
            (0..HEARERS).map(|index| web_socket(index, &server, &authority, "/echo")).collect();
        let messages =
            |index: usize| [40, 5_000, 16_384, 200_000, 7].map(|length| vec![(index + length) as u8; length]);

        for _ in 0..3 {
            for (index, socket) in sockets.iter_mut().enumerate() {
                messages(index).iter().for_each(|message| socket.send_frame(Opcode::Binary, message));
            }

            for (index, socket) in sockets.iter_mut().enumerate() {
                for message in messages(index) {
                    assert_eq!(socket.receive(), Frame::Binary(message), "io_uring = {setting}");
                }
            }
        }
    }
}

#[test]
fn ciphertext_that_does_not_fit_comes_when_it_does() {
    for (setting, server, authority) in servers() {
        let mut slow: Vec<Lines> = (0..HEARERS).map(|_| Lines::over(secure(&server, &authority))).collect();
        slow.iter_mut().for_each(|lines| drop(lines.ask(r#"{"sub":"c","id":1}"#)));
        let mut publisher = server.lines();

        // Until everybody's socket and outbox are full.
        let text = "x".repeat(3_000);
        let mut last = 0;
        while server.metric("sockeye_lagged_total") < HEARERS as u64 {
            for _ in 0..50 {
                let answer = publisher.ask(&format!(r#"{{"pub":"c","data":"{text}","id":1}}"#));
                last = place(&answer["at"]);
            }
        }

        for lines in &mut slow {
            let mut next = 1;
            while next <= last {
                let heard = lines.receive();
                if heard["gap"].is_object() {
                    assert_eq!(place(&heard["gap"]["from"]), next, "io_uring = {setting}");
                    next = place(&heard["gap"]["to"]) + 1;
                } else {
                    assert_eq!((place(&heard["at"]), &heard["data"]), (next, &json!(text)));
                    next += 1;
                }
            }
        }
    }
}

/// The number in a position.
fn place(position: &Value) -> u64 {
    position.as_str().and_then(|at| at.split_once(':')).expect("a position").1.parse().expect("a number")
}

fn secure(server: &Server, authority: &Authority) -> Stream {
    let tcp = TcpStream::connect(server.tcp()).expect("it listens");
    Stream::Tls(Box::new(Secure::over(tcp, &authority.client(), "localhost").expect("it shakes hands")))
}

/// A WebSocket, every other over TLS.
fn web_socket(index: usize, server: &Server, authority: &Authority, path: &str) -> WebSocket {
    if index.is_multiple_of(2) {
        return WebSocket::open(server, path);
    }
    WebSocket::over(secure(server, authority), path, &[]).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// A server that may use it, which it does where the system lets it, and one that may not; and who certifies them.
fn servers() -> impl Iterator<Item = (bool, Server, Authority)> {
    [true, false].into_iter().map(|setting| {
        let authority = Authority::new();
        let table = authority.issue("server", &["localhost"]).table();
        let server = Server::on_shards(1, &format!("io_uring = {setting}\n{table}"));
        // Its shards have what they are made with when the first of them answers.
        server.lines().ask(r#"{"ping":1}"#);
        assert_eq!(server.has_ring(), setting && SendRing::new().is_ok());
        (setting, server, authority)
    })
}
