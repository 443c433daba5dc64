//! Messages: boundaries, kinds and close codes, onto streams and back.

use std::io::{BufRead as _, BufReader, Write as _};

use sockeye::net::{Close, Listener, Message, Socket};

use super::{client, next, pattern, read, read_all, relaying, server, write_all};
use crate::world::{Running, run};

/// What a bridge must carry: every kind, nothing, one byte, much, and bytes that end lines and strings.
fn messages() -> Vec<Message> {
    let mut large = pattern(16 << 20, 5);
    large[..4].copy_from_slice(b"\n\0\r\n");
    let text = "line\nand\0line\r\n\u{1f41f}".repeat(1_000);
    vec![
        Message::text("hello"),
        Message::binary(b"bytes \xff\xfe"),
        Message::text(""),
        Message::binary(Vec::new()),
        Message::text("\n"),
        Message::binary(b"\0"),
        Message::text(text),
        Message::binary(large),
        Message::text("the last"),
    ]
}

pub(super) fn on_runtime<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(crate::world::PATIENCE * 2, test).await }).unwrap()
}

/// Sends everything through whatever lies between, closes with a code, and hears what comes out.
async fn pass(near: &str, far: &mut Listener) {
    let address = near.to_owned();
    let sender = tokio::spawn(async move {
        let mut near = Socket::connect(&address).await.unwrap();
        for message in messages() {
            near.send(message).await.unwrap();
        }
        near.close_with(Close::new(4_321, "that was \"all\"\n")).await.unwrap();
    });
    let (mut far, _) = far.accept().await.unwrap();
    let mut heard = Vec::new();
    while let Some(message) = far.recv().await.unwrap() {
        heard.push(message);
    }
    assert_eq!(heard.len(), messages().len());
    for (heard, sent) in heard.iter().zip(messages()) {
        assert!(*heard == sent, "{:?} of {} bytes", sent.kind, sent.bytes.len());
    }
    assert_eq!(far.closed(), Some(&Close::new(4_321, "that was \"all\"\n")));
    sender.await.unwrap();
}

#[test]
fn messages_kinds_and_close_code_pass_from_websocket_to_websocket() {
    on_runtime(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let (_relay, address) = relaying(&["listen:ws://127.0.0.1:0/near", &far.address().to_string()]);

        pass(&address, &mut far).await;
    });
}

#[test]
fn messages_kinds_and_close_code_pass_through_lines_of_json() {
    on_runtime(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let to = far.address().to_string();
        let (_second, between) = relaying(&["--frame", "jsonl", "listen:tcp:127.0.0.1:0", &to]);
        let (_first, address) = relaying(&["--frame", "jsonl", "listen:ws://127.0.0.1:0/near", &between]);

        pass(&address, &mut far).await;
    });
}

#[test]
fn messages_kinds_and_close_code_pass_through_a_layer_of_json_lines() {
    on_runtime(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let to = far.address().to_string();
        let (_second, between) = relaying(&["listen:jsonl+tcp:127.0.0.1:0", &to]);
        let (_first, address) = relaying(&["listen:ws://127.0.0.1:0/near", &between]);

        pass(&address, &mut far).await;
    });
}

#[test]
fn a_close_by_the_far_side_comes_back_with_its_code() {
    on_runtime(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let (relay, address) = relaying(&["--once", "listen:ws://127.0.0.1:0/", &far.address().to_string()]);
        let near = tokio::spawn(async move {
            let mut near = Socket::connect(&address).await.unwrap();
            let message = near.recv().await.unwrap();
            assert!(near.recv().await.unwrap().is_none());
            (message, near.closed().cloned())
        });

        let (mut far, _) = far.accept().await.unwrap();
        far.send("goodbye").await.unwrap();
        far.close_with(Close::new(3_000, "bye")).await.unwrap();

        assert_eq!(near.await.unwrap(), (Some(Message::text("goodbye")), Some(Close::new(3_000, "bye"))));
        let ran = relay.ended();
        assert_eq!(ran.code, 0, "{ran:?}");
    });
}

#[test]
fn a_websocket_that_breaks_breaks_on_the_other_side_too() {
    on_runtime(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let (relay, address) = relaying(&["--once", "listen:ws://127.0.0.1:0/", &far.address().to_string()]);
        let near = Socket::connect(&address).await.unwrap();
        let (mut far, _) = far.accept().await.unwrap();

        drop(near);

        assert!(far.recv().await.unwrap_err().to_string().contains("1006"));
        let ran = relay.ended();
        assert_eq!(ran.code, 8, "{ran:?}");
    });
}

#[test]
fn bytes_pass_through_a_websocket_and_come_whole() {
    let (server, to) = server();
    let (_far, tunnel) = relaying(&["listen:ws://127.0.0.1:0/tunnel", &to]);
    let (_near, address) = relaying(&["listen:tcp:127.0.0.1:0", &tunnel]);
    let (near, far) = (client(&address), next(&server));
    let bytes = pattern(5 << 20, 6);

    let writer = write_all(&near, bytes.clone());

    assert!(read_all(&far).join().unwrap() == bytes);
    writer.join().unwrap();
    drop(far);
    // The end came through as a close, which is answered when the far side has ended too.
    assert!(read_all(&near).join().unwrap().is_empty());
}

#[test]
fn one_way_into_a_websocket_ends_when_everything_was_heard() {
    on_runtime(async {
        let mut far = Listener::bind("ws://127.0.0.1:0/far").await.unwrap();
        let to = far.address().to_string();
        let mut relay = Running::start(&["relay", "--one-way", "--frame", "lines", "-", &to]);
        let (mut far, _) = far.accept().await.unwrap();
        let lines = "a line of many\n".repeat(20_000);
        let said = tokio::task::spawn_blocking(move || {
            relay.say(lines.as_bytes());
            relay.finish()
        });

        let mut heard = 0;
        while let Some(message) = far.recv().await.unwrap() {
            assert_eq!(message, Message::text("a line of many"));
            heard += 1;
            if heard == 10_000 {
                // What is said back is wanted by nobody, and disturbs nothing.
                far.send("slowly").await.unwrap();
            }
        }

        assert_eq!((heard, far.closed()), (20_000, Some(&Close::normal())));
        let ran = said.await.unwrap();
        assert_eq!((ran.code, ran.text()), (0, ""), "{ran:?}");
    });
}

#[test]
fn a_relay_says_how_messages_stand_on_a_stream_unless_it_was_told() {
    let (_server, to) = server();
    let (relay, _) = relaying(&["listen:ws://127.0.0.1:0/", &to]);
    relay.wait_for_errors(|said| said.contains("bytes pass as they come (--frame raw)"));

    let (relay, _) = relaying(&["--frame", "lines", "listen:ws://127.0.0.1:0/", &to]);
    assert!(!relay.wait_for_errors(|said| said.contains("listening")).contains("--frame"));

    let refused = run(&["relay", "--text", "listen:tcp:127.0.0.1:0", "ws://127.0.0.1:1/"], b"");
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn lines_become_messages_and_messages_lines() {
    on_runtime(async {
        let (server, to) = server();
        let (relay, address) = relaying(&["--frame", "lines", "listen:ws://127.0.0.1:0/", &to]);
        let mut near = Socket::connect(&address).await.unwrap();
        let mut far = next(&server);

        near.send("one").await.unwrap();
        near.send("two").await.unwrap();
        far.write_all(b"three\r\nfour\nfi").unwrap();
        far.write_all(b"ve\n").unwrap();

        assert_eq!(read(&far, 8), b"one\ntwo\n");
        for text in ["three", "four", "five"] {
            assert_eq!(near.recv().await.unwrap(), Some(Message::text(text)));
        }
        near.send("six\nseven").await.unwrap();
        let mut lines = BufReader::new(far.try_clone().unwrap()).lines();
        assert_eq!(
            (lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()),
            ("six".into(), "seven".into())
        );
        relay.wait_for_errors(|said| said.contains("holds line breaks"));
    });
}

#[test]
fn a_message_that_does_not_fit_is_refused_with_its_size() {
    on_runtime(async {
        let hearer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = format!("udp:{}", hearer.local_addr().unwrap());
        let (relay, address) = relaying(&["--once", "listen:ws://127.0.0.1:0/", &to]);
        let mut near = Socket::connect(&address).await.unwrap();

        near.send(vec![0; 65_508]).await.unwrap();

        let ran = relay.ended();
        assert_eq!(ran.code, 8, "{ran:?}");
        assert!(ran.errors.contains("65508 bytes does not fit one datagram"), "{ran:?}");
    });
}

#[test]
fn everything_is_told_as_json_too() {
    let (server, to) = server();
    let relay = Running::start(&["relay", "--json", "--stats", "--once", "listen:tcp:127.0.0.1:0", &to]);
    let said = relay.wait_for_errors(|said| said.contains("listening"));
    let event: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let (mut near, far) = (client(event["address"].as_str().unwrap()), next(&server));
    near.write_all(b"12345").unwrap();
    drop(near);
    assert_eq!(read_all(&far).join().unwrap(), b"12345");
    drop(far);

    let ran = relay.ended();

    assert_eq!(ran.code, 0, "{ran:?}");
    let events: Vec<serde_json::Value> =
        ran.errors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["listening", "opened", "ended", "stats"]);
    assert_eq!((&events[2]["there_bytes"], &events[2]["error"]), (&5.into(), &serde_json::Value::Null));
}
