//! Writes that leave together: with io_uring and without it, everybody hears the same.

use sockeye_sys::ring::SendRing;
use sockeye_wire::websocket::Opcode;

use crate::client::{Frame, Lines, WebSocket};
use crate::world::Server;

const HEARERS: usize = 20;
const MESSAGES: usize = 30;

#[test]
fn a_burst_is_heard_whole_and_in_order_by_everybody() {
    for (setting, server) in servers() {
        let mut lines: Vec<Lines> = (0..HEARERS)
            .map(|index| {
                let mut lines =
                    if index % 2 == 0 { server.lines() } else { Lines::over(server.connect_unix()) };
                lines.ask(r#"{"sub":"c","id":1}"#);
                lines
            })
            .collect();
        let mut sockets: Vec<WebSocket> =
            (0..HEARERS).map(|_| WebSocket::open(&server, "/ch/c?pub=0")).collect();
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
    for (setting, server) in servers() {
        let mut sockets: Vec<WebSocket> = (0..HEARERS).map(|_| WebSocket::open(&server, "/echo")).collect();
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

/// A server that may use it, which it does where the system lets it, and one that may not.
fn servers() -> impl Iterator<Item = (bool, Server)> {
    [true, false].into_iter().map(|setting| {
        let server = Server::on_shards(1, &format!("io_uring = {setting}\n"));
        // Its shards have what they are made with when the first of them answers.
        server.lines().ask(r#"{"ping":1}"#);
        assert_eq!(server.has_ring(), setting && SendRing::new().is_ok());
        (setting, server)
    })
}
