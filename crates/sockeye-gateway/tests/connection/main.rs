//! One connection's machine: what it says does not depend on how its input is cut.

#[path = "../datagram/no_pages.rs"]
mod no_pages;

use sockeye_gateway::site::Hosts;
use sockeye_gateway::{Connection, Context, Form, Limits, Out, Site, Tally, Transport, form};
use sockeye_hub::{ClientSetup, Hub, Limits as HubLimits, Now, Rule, ShardInfo};
use sockeye_wire::websocket::{Opcode, write_masked_frame};

use no_pages::NoPages;

/// What a new connection says at once to these pieces of input.
fn said_to(pieces: &[&[u8]]) -> Vec<u8> {
    let limits = Limits::default();
    let now = Now { ms: 1_000, unix_ms: 1_764_000_000_000 };
    let rules = vec![Rule::kept("#")];
    let mut hub = Hub::new(HubLimits::default(), rules, ShardInfo::single(), 1, 2, form::encoder(256));
    let client = hub.connect(ClientSetup { encoding: Form::Line.encoding(), identity: None });
    let mut machine = Connection::new(client, Transport::Tcp, &limits, now);
    let site = Site {
        server: "sockeye/test".into(),
        origins: Vec::new(),
        hosts: Hosts::default(),
        anonymous: None,
        requires_tls: false,
        tokens: None,
    };
    let (mut out, mut tally) = (Out::new(), Tally::default());
    let mut said = Vec::new();
    for piece in pieces {
        let mut input = piece.to_vec();
        let mut cx = Context {
            hub: &mut hub,
            now,
            limits: &limits,
            site: &site,
            pages: &NoPages,
            out: &mut out,
            tally: &mut tally,
            meter: None,
        };
        assert_eq!(machine.handle_input(&mut input, &mut cx), piece.len());
        out.for_each(&input, |piece| said.extend_from_slice(piece));
        out.clear();
    }
    said
}

#[test]
fn a_first_word_in_pieces_is_answered_as_one_in_whole() {
    let mut input = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        .to_vec();
    // The first is echoed from where it was received.
    let large = vec![b'x'; 4_000];
    for payload in [&large[..], b"small", &large] {
        write_masked_frame(&mut input, Opcode::Text, payload, [1, 2, 3, 4]);
    }

    let whole = said_to(&[&input]);
    assert!(whole.ends_with(&large));

    for first in 1..6 {
        for second in 1..6 {
            let (one, rest) = input.split_at(first);
            let (two, rest) = rest.split_at(second);
            assert_eq!(said_to(&[one, two, rest]), whole, "cut after {first} and {second}");
        }
    }
}
