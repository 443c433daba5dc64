//! Futures that are dropped at every await point: nothing is lost, nothing is doubled.
//!
//! Each step of a plan begins a `send` or `recv` and polls it a given number of times before it is dropped. What was taken
//! to be sent, by the socket's own count, must arrive once and in order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use sockeye::net::{Result, Socket};

use crate::world::{World, soon};

/// One step: who acts, whether it sends, how large the message is, and after how many polls the future is dropped.
#[derive(Clone, Copy, Debug)]
struct Step {
    client: bool,
    sends: bool,
    size: usize,
    polls: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![0..200_usize, 1_000..60_000_usize];
    let step = (any::<bool>(), any::<bool>(), size, 1..4_u8).prop_map(|(client, sends, size, polls)| Step {
        client,
        sends,
        size,
        polls,
    });
    prop::collection::vec(step, 1..60)
}

/// One end of a connection, with what it sent and received.
struct End {
    socket: Socket,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

impl End {
    fn new(socket: Socket) -> End {
        End { socket, sent: Vec::new(), received: Vec::new() }
    }

    fn act(&mut self, step: Step, number: usize) {
        if step.sends {
            let mut bytes = number.to_be_bytes().to_vec();
            // What waits in the kernel for a datagram socket is bounded, and beyond it the network may drop.
            let size = if self.socket.traits().reliable { step.size } else { step.size % 200 };
            bytes.resize(8 + size, number as u8 | 0x40);
            // A line has no line break in it.
            bytes.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b'.');
            let before = self.socket.taken();
            let outcome = poll_and_drop(self.socket.send(bytes.clone()), step.polls);
            if let Some(outcome) = outcome {
                outcome.expect("a connection that holds");
            }
            if self.socket.taken() > before {
                self.sent.push(bytes);
            }
        } else if let Some(outcome) = poll_and_drop(self.socket.recv(), step.polls) {
            let message = outcome.expect("a connection that holds").expect("nobody ended it");
            self.received.push(message.bytes);
        }
    }
}

/// Polls a future so often, and drops it.
fn poll_and_drop<T>(future: impl Future<Output = Result<T>>, polls: u8) -> Option<Result<T>> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut cx) {
            return Some(outcome);
        }
    }
    None
}

async fn play(world: &World, listen: &str, connect: &str, steps: &[Step]) {
    let (client, server) = world.pair(listen, connect).await;
    let (mut client, mut server) = (End::new(client), End::new(server));
    let boundaries = client.socket.traits().boundaries;
    // What the pair said to know each other is counted, too.
    for (number, step) in steps.iter().enumerate() {
        let end = if step.client { &mut client } else { &mut server };
        end.act(*step, number);
        // The runtime learns what the sockets can do between the steps.
        tokio::task::yield_now().await;
    }

    // Everything that was taken arrives.
    soon(drain(&mut client, &mut server, boundaries)).await;
    soon(drain(&mut server, &mut client, boundaries)).await;

    for (from, to, way) in [(&client, &server, "to the server"), (&server, &client, "to the client")] {
        if boundaries {
            assert!(from.sent == to.received, "{listen} {way}: messages were lost, doubled or changed");
        } else {
            assert!(
                from.sent.concat() == to.received.concat(),
                "{listen} {way}: bytes were lost, doubled or changed"
            );
        }
    }
}

/// Brings over what was taken by one end and has not arrived at the other.
async fn drain(from: &mut End, to: &mut End, boundaries: bool) {
    let size = |list: &[Vec<u8>]| if boundaries { list.len() } else { list.iter().map(Vec::len).sum() };
    let mut flushed = false;
    while size(&to.received) < size(&from.sent) {
        tokio::select! {
            biased;
            outcome = from.socket.flush(), if !flushed => {
                outcome.expect("a connection that holds");
                flushed = true;
            }
            message = to.socket.recv() => {
                let message = message.expect("a connection that holds").expect("nobody ended it");
                to.received.push(message.bytes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn dropped_futures_lose_and_double_nothing(steps in steps()) {
        let world = World::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for (listen, connect) in world.kinds() {
                play(&world, &listen, &connect, &steps).await;
                // A path is listened on again by the next case.
                if let Some(path) = listen.strip_prefix("unixgram:") {
                    let _ = std::fs::remove_file(path);
                }
            }
        });
    }
}
