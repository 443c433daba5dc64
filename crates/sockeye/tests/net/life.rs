//! One test body for every kind: what a socket does is what its traits say.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sockeye::net::{Close, ErrorKind, Message, MessageKind, Peer, Socket};
use tokio::task::{unconstrained, yield_now};
use tokio::time::{Instant, advance, pause, resume, timeout};

use crate::world::{World, receive_bytes, soon};

#[tokio::test]
async fn every_kind_lives_as_its_traits_say() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (client, server) = world.pair(&listen, &connect).await;

        soon(live(&listen, client, server)).await;
    }
}

async fn live(name: &str, mut client: Socket, mut server: Socket) {
    let traits = client.traits();
    assert_eq!(traits, server.traits(), "{name}");

    // Messages go both ways, with their boundaries if the kind keeps them.
    for (from, to) in [(true, "a question"), (false, "an answer")] {
        let (sender, receiver) = if from { (&mut client, &mut server) } else { (&mut server, &mut client) };
        for text in [to, "x", "more"] {
            sender.send(text).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        if traits.boundaries {
            for text in [to, "x", "more"] {
                let message = receiver.recv().await.expect(name).expect(name);
                assert_eq!(message.as_text(), Some(text), "{name}");
                let kind = if traits.text { MessageKind::Text } else { MessageKind::Binary };
                assert_eq!(message.kind, kind, "{name}");
            }
        } else {
            let expected = format!("{to}xmore");
            let bytes = receive_bytes(receiver, expected.len()).await.expect(name);
            assert_eq!(String::from_utf8_lossy(&bytes), expected, "{name}");
        }
    }

    // A large message is one message; a stream takes any number of bytes.
    let large = vec![b'l'; traits.message_bytes_max.map_or(60_000, |max| max.min(60_000))];
    client.send(large.clone()).await.expect(name);
    let bytes = receive_bytes(&mut server, large.len()).await.expect(name);
    assert!(bytes == large, "{name}: {} bytes", bytes.len());

    // What is too large is refused with its size, and the socket goes on.
    if let Some(bytes_max) = traits.message_bytes_max {
        let error = client.send(vec![0; bytes_max + 1]).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::EndedEarly, "{name}");
        assert!(error.to_string().contains(&(bytes_max + 1).to_string()), "{name}: {error}");
        client.send("on").await.expect(name);
        assert_eq!(server.recv().await.expect(name).expect(name).as_text(), Some("on"), "{name}");
    }

    let has_address = matches!(server.peer(), Peer::Ip(_) | Peer::Unix(Some(_)));
    assert_eq!(traits.peer_address, has_address, "{name}: {}", server.peer());

    if !traits.end {
        client.finish().await.expect(name);
        return;
    }
    // The end is told behind everything that was said.
    client.send("last").await.expect(name);
    client.finish_with(Close::new(4000, "enough")).await.expect(name);
    let last = server.recv().await.expect(name).expect(name);
    assert_eq!(last.as_text(), Some("last"), "{name}");
    if traits.half_close {
        assert!(server.recv().await.expect(name).is_none(), "{name}");
        // The other direction goes on until that end is told, too.
        server.send("still here").await.expect(name);
        let late = receive_bytes(&mut client, 10).await.expect(name);
        assert_eq!(late, b"still here", "{name}");
        server.close().await.expect(name);
    } else {
        assert!(server.recv().await.expect(name).is_none(), "{name}");
        let error = server.send("too late").await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::EndedEarly, "{name}");
        drop(server);
    }
    assert!(client.recv().await.expect(name).is_none(), "{name}");
    assert!(client.recv().await.expect(name).is_none(), "{name}: an end stays one");
}

#[tokio::test]
async fn a_close_carries_its_code_and_reason_where_the_kind_has_them() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (mut client, mut server) = world.pair(&listen, &connect).await;
        if !server.traits().close_reason {
            continue;
        }

        let closing = tokio::spawn(async move { client.close_with(Close::new(4001, "까닭")).await });

        assert!(soon(server.recv()).await.expect(&listen).is_none());
        assert_eq!(server.closed(), Some(&Close::new(4001, "까닭")), "{listen}");
        drop(server);
        soon(closing).await.expect("a task").expect(&listen);
    }
}

#[tokio::test]
async fn what_was_sent_before_a_close_arrives_though_something_is_unread() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (mut client, mut server) = world.pair(&listen, &connect).await;
        if !server.traits().end {
            continue;
        }
        for _ in 0..4 {
            soon(client.send(vec![b'q'; 20_000])).await.expect(&listen);
        }
        soon(server.recv()).await.expect(&listen).expect("the first of it");

        let answering = tokio::spawn(async move {
            for _ in 0..40 {
                server.send(vec![b'a'; 50_000]).await?;
            }
            server.close().await
        });

        let answer = soon(receive_bytes(&mut client, 2_000_000)).await.expect(&listen);
        assert!(answer.len() == 2_000_000 && answer.iter().all(|byte| *byte == b'a'), "{listen}");
        assert!(soon(client.recv()).await.expect(&listen).is_none(), "{listen}");
        drop(client);
        soon(answering).await.expect("a task").expect(&listen);
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_once_and_the_rest_of_its_life_goes_on() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (mut client, mut server) = world.pair(&listen, &connect).await;
        if !server.traits().half_close {
            continue;
        }
        soon(client.finish()).await.expect(&listen);

        let refused = soon(client.send("too late")).await.expect_err(&listen);

        assert_eq!(refused.kind(), ErrorKind::EndedEarly, "{listen}: {refused}");
        soon(client.flush()).await.expect(&listen);
        assert!(soon(server.recv()).await.expect(&listen).is_none(), "{listen}");
        server.send("still").await.expect(&listen);
        let closing = tokio::spawn(async move { server.close().await });
        assert_eq!(receive_bytes(&mut client, 5).await.expect(&listen), b"still");
        assert!(soon(client.recv()).await.expect(&listen).is_none(), "{listen}");
        soon(client.close()).await.expect(&listen);
        drop(client);
        soon(closing).await.expect("a task").expect(&listen);
    }
}

#[tokio::test]
async fn two_ends_that_are_both_full_can_both_close() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (mut client, mut server) = world.pair(&listen, &connect).await;
        if !server.traits().end {
            continue;
        }
        fill(&mut client).await;
        fill(&mut server).await;

        let closing = tokio::spawn(async move { client.close().await });

        soon(server.close()).await.expect(&listen);
        drop(server);
        soon(closing).await.expect("a task").expect(&listen);
    }
}

#[tokio::test]
async fn a_close_waits_for_who_reads_slowly() {
    close_on_a_slow_reader(false).await;
}

/// Whoever talks to a socket that is gone is answered with a reset, which takes with it what is still on its way.
#[tokio::test]
async fn who_reads_slowly_and_talks_hears_everything_to_the_end() {
    close_on_a_slow_reader(true).await;
}

/// The clock stands while anything can be done, so nobody is given up for what the machine did not get done.
async fn close_on_a_slow_reader(talks: bool) {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (mut client, mut server) = world.pair(&listen, &connect).await;
        if !server.traits().end {
            continue;
        }
        fill(&mut server).await;
        let sent = server.taken() as usize * FILL_BYTES;
        pause();
        let closing = tokio::spawn(async move { server.close().await });

        // A TCP buffer that was full says that there is room only after some of these reads.
        let mut received = 0;
        while let Some(message) = busily(&mut client).await.expect(&listen) {
            received += message.bytes.len();
            if talks {
                // When the last of it waits here to be read, nobody may hear that any more.
                let _ = client.send("go on").await;
            }
            six_seconds().await;
        }

        assert_eq!(received, sent, "{listen}");
        drop(client);
        closing.await.expect("a task").expect(&listen);
        resume();
    }
}

#[tokio::test]
async fn a_close_gives_up_a_peer_that_takes_nothing_for_two_minutes() {
    let world = World::new();
    let mut closing = Vec::new();
    for (listen, connect) in world.kinds() {
        let (mut client, server) = world.pair(&listen, &connect).await;
        if !server.traits().end {
            continue;
        }
        fill(&mut client).await;
        let task = tokio::spawn(async move {
            let began = Instant::now();
            (client.close().await, began.elapsed())
        });
        closing.push((listen, server, task));
    }

    // From here on nobody does anything, and the clock goes on by itself.
    pause();
    for (listen, _idle, task) in closing {
        let ended = timeout(Duration::from_secs(600), task).await;

        let (closed, elapsed) = ended.expect(&listen).expect("a task");
        let error = closed.expect_err(&listen);
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{listen}: {error}");
        assert!(elapsed >= Duration::from_secs(120), "{listen}: {elapsed:?}");
    }
}

#[tokio::test]
async fn a_close_waits_for_the_child_though_it_takes_no_input() {
    let child = "sh:exec <&-; trap '' PIPE; while echo more 2>/dev/null; do :; done";
    let mut socket = Socket::connect(child).await.expect("a child");
    soon(socket.recv()).await.expect("its output").expect("its output");
    poll_fn(|cx| socket.poll_ready(cx)).await.expect("the slot is free");
    socket.start_send(Message::text("unheard")).expect("it is taken");

    let error = soon(socket.close()).await.expect_err("nobody reads it");

    assert_eq!(error.kind(), ErrorKind::EndedEarly, "{error}");
    let ended = poll_fn(|cx| Poll::Ready(pin!(socket.wait()).poll(cx).is_ready())).await;
    assert!(ended, "it was waited for");
}

#[tokio::test]
async fn a_pong_that_found_no_room_leaves_when_there_is_some() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        // Of the kinds with pings only WebSockets answer by themselves.
        if !listen.starts_with("ws") {
            continue;
        }
        let (mut client, mut server) = world.pair(&listen, &connect).await;
        client.show_control(true);
        client.send(Message { kind: MessageKind::Ping, bytes: b"?".to_vec() }).await.expect(&listen);
        fill(&mut server).await;

        // All that it does from here on is to receive.
        let receiving = tokio::spawn(async move { server.recv().await });

        loop {
            let message = soon(client.recv()).await.expect(&listen).expect("a pong comes");
            if message.kind == MessageKind::Pong {
                break;
            }
        }
        receiving.abort();
    }
}

/// Second by second, so that who looks at something each second does.
async fn six_seconds() {
    for _ in 0..6 {
        advance(Duration::from_secs(1)).await;
    }
}

/// Receives without waiting: a clock that stands goes on only where everybody waits.
async fn busily(socket: &mut Socket) -> sockeye::net::Result<Option<Message>> {
    let began = std::time::Instant::now();
    loop {
        if let Poll::Ready(received) = poll_fn(|cx| Poll::Ready(socket.poll_recv(cx))).await {
            return received;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it takes no longer than 20 s");
        yield_now().await;
    }
}

/// The length of each message that [`fill`] sends.
const FILL_BYTES: usize = 60_000;

/// Sends letters of which little can be compressed until nothing more goes in, and leaves a message half written.
async fn fill(socket: &mut Socket) {
    let mut state = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'A' + (state >> 27) as u8
    })
    .take(FILL_BYTES)
    .collect();
    // Only a full stream may stop it, not the runtime, which would let others have their turn.
    unconstrained(poll_fn(|cx| {
        while socket.poll_ready(cx).is_ready() {
            socket.start_send(Message::binary(bytes.clone())).expect("it is taken");
        }
        Poll::Ready(())
    }))
    .await;
}

#[tokio::test]
async fn dropping_is_abrupt_and_reliable_kinds_notice() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (client, mut server) = world.pair(&listen, &connect).await;
        // A stream that ends where a message may end has ended in good order.
        if !server.traits().close_reason || server.traits().half_close {
            continue;
        }

        drop(client);

        let error = soon(server.recv()).await.expect_err(&listen);
        assert_eq!(error.kind(), ErrorKind::EndedEarly, "{listen}: {error}");
    }
}

#[tokio::test]
async fn halves_work_in_two_tasks_and_can_be_reunited() {
    let world = World::new();
    for (listen, connect) in world.kinds() {
        let (client, server) = world.pair(&listen, &connect).await;
        let total = 400 * 1_000;
        let is_datagram = !server.traits().end;
        // Both directions at once, each faster than the other end reads at times.
        let ends = [client, server].map(|socket| {
            tokio::spawn(async move {
                let (mut receive, mut send) = socket.split();
                let sending = tokio::spawn(async move {
                    for index in 0..400_u32 {
                        let fill = b'a' + (index % 26) as u8;
                        send.send(vec![fill; 1_000]).await?;
                        if is_datagram {
                            tokio::task::yield_now().await;
                        }
                    }
                    Ok::<_, sockeye::net::Error>(send)
                });
                let mut bytes = 0;
                while bytes < total {
                    let Some(Message { bytes: more, .. }) = receive.recv().await? else { break };
                    bytes += more.len();
                }
                let send = sending.await.expect("a task")?;
                let socket = receive.reunite(send).expect("they are of one socket");
                Ok::<_, sockeye::net::Error>((bytes, socket.taken()))
            })
        });
        for end in ends {
            // Datagrams may be lost when a queue is full, so only what must arrive is counted.
            let outcome = timeout(Duration::from_secs(if is_datagram { 2 } else { 20 }), end).await;
            match outcome {
                Ok(done) => {
                    let (bytes, taken) =
                        done.expect("a task").unwrap_or_else(|error| panic!("{listen}: {error}"));
                    assert_eq!(bytes, total, "{listen}");
                    assert!(taken >= 400, "{listen}");
                }
                Err(_) => assert!(is_datagram, "{listen}: it takes no longer than 20 s"),
            }
        }
    }
}
