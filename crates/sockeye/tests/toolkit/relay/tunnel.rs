//! Streams through a WebSocket, which cannot end one direction alone: the answer comes whole all the same, or the stream is
//! reset.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use sockeye::net::{Close, Listener, Message, Socket};

use super::message::on_runtime;
use super::{client, next, pattern, read, read_all, relaying, server, write_all};
use crate::world::{Running, run};

#[test]
fn an_echo_through_a_tunnel_comes_whole() {
    let (_server, to) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);
    let (_far, tunnel) = relaying(&["listen:ws://127.0.0.1:0/tunnel", &to]);
    let (_near, address) = relaying(&["listen:tcp:127.0.0.1:0", &tunnel]);
    let bytes = pattern(300_000, 7);

    let ran = run(&["connect", &address], &bytes);

    assert_eq!((ran.code, ran.output.len()), (0, bytes.len()), "{}", ran.errors);
    assert!(ran.output == bytes);
}

#[test]
fn a_server_that_answers_at_the_end_of_the_question_is_heard_through_a_tunnel() {
    let (server, to) = server();
    let (_far, tunnel) = relaying(&["listen:ws://127.0.0.1:0/tunnel", &to]);
    // Whether the close waits for silence or comes at once, the far side answers it behind everything.
    for wait in ["200ms", "0s"] {
        let (_near, address) = relaying(&["--wait", wait, "listen:tcp:127.0.0.1:0", &tunnel]);
        let (near, far) = (client(&address), next(&server));
        let (question, answer) = (pattern(1 << 20, 8), pattern(5 << 20, 9));

        let asking = write_all(&near, question.clone());
        assert!(read_all(&far).join().unwrap() == question, "--wait {wait}");
        let answering = write_all(&far, answer.clone());

        assert!(read_all(&near).join().unwrap() == answer, "--wait {wait}");
        asking.join().unwrap();
        answering.join().unwrap();
    }
}

#[test]
fn a_websocket_that_answers_a_close_at_once_is_heard_before_it_is_closed() {
    let (_server, to) = Running::listen(&["--keep", "--echo", "ws://127.0.0.1:0/"]);

    let ran = run(&["relay", "--frame", "lines", "-", &to], b"one\ntwo\n");

    assert_eq!((ran.code, ran.text()), (0, "one\ntwo\n"), "{ran:?}");
}

#[test]
fn a_close_is_held_back_while_the_answer_goes_on() {
    on_runtime(async {
        let mut server = Listener::bind("ws://127.0.0.1:0/").await.unwrap();
        let to = server.address().to_string();
        let mut relay = Running::start(&["relay", "--frame", "lines", "--wait", "60s", "-", &to]);
        let (mut far, _) = server.accept().await.unwrap();
        relay.say(b"question\n");
        relay.end_input();
        assert_eq!(far.recv().await.unwrap(), Some(Message::text("question")));
        let closed = tokio::time::timeout(Duration::from_millis(200), far.recv()).await;
        assert!(closed.is_err(), "the end of input comes before the answer: {closed:?}");

        far.send("answer").await.unwrap();
        // Whoever closes first ends the waiting.
        far.close_with(Close::normal()).await.unwrap();

        let ran = tokio::task::spawn_blocking(|| relay.ended()).await.unwrap();
        assert_eq!((ran.code, ran.text()), (0, "answer\n"), "{ran:?}");
    });
}

#[test]
fn a_close_is_answered_behind_everything_that_the_stream_still_says() {
    on_runtime(async {
        let (server, to) = server();
        let (_relay, address) = relaying(&["--frame", "lines", "listen:ws://127.0.0.1:0/", &to]);
        let mut near = Socket::connect(&address).await.unwrap();
        let mut far = next(&server);

        near.send("question").await.unwrap();
        near.finish_with(Close::new(4_000, "that was all")).await.unwrap();

        assert_eq!(read_all(&far).join().unwrap(), b"question\n");
        far.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(near.recv().await.unwrap(), Some(Message::text("one")));
        assert_eq!(near.recv().await.unwrap(), Some(Message::text("two")));
        assert_eq!(near.closed(), None);
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.recv().await.unwrap(), None);
        assert_eq!(near.closed(), Some(&Close::new(4_000, "")));
    });
}

#[test]
fn a_close_is_answered_behind_everything_that_another_websocket_still_says() {
    on_runtime(async {
        let mut server = Listener::bind("ws://127.0.0.1:0/").await.unwrap();
        let (_relay, address) = relaying(&["listen:ws://127.0.0.1:0/", &server.address().to_string()]);
        let mut near = Socket::connect(&address).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();

        near.finish_with(Close::new(4_000, "that was all")).await.unwrap();
        far.send("answer").await.unwrap();
        assert_eq!(near.recv().await.unwrap(), Some(Message::text("answer")));
        assert_eq!(far.recv().await.unwrap(), None);

        assert_eq!(near.recv().await.unwrap(), None);
        assert_eq!(near.closed(), Some(&Close::new(4_000, "")));
    });
}

#[test]
fn an_answer_that_is_cut_off_is_not_ended_in_good_order() {
    let (server, to) = server();
    let (far_relay, tunnel) = relaying(&["--linger", "200ms", "listen:ws://127.0.0.1:0/tunnel", &to]);
    let (near_relay, address) = relaying(&["--wait", "0s", "listen:tcp:127.0.0.1:0", &tunnel]);
    let (mut near, mut far) = (client(&address), next(&server));

    near.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&far).join().unwrap().is_empty());
    far.write_all(b"a part").unwrap();

    assert_eq!(read(&near, 6), b"a part");
    assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    far_relay.wait_for_errors(|said| said.contains("connection 1 ended: ") && said.contains("still went on"));
    near_relay.wait_for_errors(|said| said.contains("before it answered our close (close code 1006)"));
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 0, "it was told of the end, and nothing is missing");
}

#[test]
fn a_websocket_that_breaks_resets_the_stream_that_it_was_joined_with() {
    on_runtime(async {
        let mut server = Listener::bind("ws://127.0.0.1:0/").await.unwrap();
        let (relay, address) = relaying(&["listen:tcp:127.0.0.1:0", &server.address().to_string()]);
        let mut near = client(&address);
        let (mut far, _) = server.accept().await.unwrap();

        far.send("a part").await.unwrap();
        assert_eq!(read(&near, 6), b"a part");
        drop(far);

        assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        relay.wait_for_errors(|said| said.contains("connection 1 ended: ") && said.contains("1006"));
    });
}

#[test]
fn a_stream_that_says_nothing_more_and_does_not_end_is_not_waited_for_for_ever() {
    on_runtime(async {
        let (server, to) = server();
        let (relay, address) = relaying(&["--once", "listen:ws://127.0.0.1:0/", &to]);
        let mut near = Socket::connect(&address).await.unwrap();
        let far = next(&server);

        near.finish().await.unwrap();

        assert_eq!(near.recv().await.unwrap(), None);
        assert_eq!(near.closed(), None, "it ends without an answer to the close");
        let ran = tokio::task::spawn_blocking(|| relay.ended()).await.unwrap();
        assert_eq!(ran.code, 8, "{ran:?}");
        assert!(ran.errors.contains("had not ended when nothing of it had gone on for 5000 ms"), "{ran:?}");
        drop(far);
    });
}
