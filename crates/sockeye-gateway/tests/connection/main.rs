//! One connection's machine: what it says does not depend on how its input is cut.

#[path = "../datagram/no_pages.rs"]
mod no_pages;

use sockeye_gateway::site::Hosts;
use sockeye_gateway::{Connection, Context, Ending, Form, Limits, Out, Site, Tally, Transport, form};
use sockeye_hub::{ClientSetup, Hub, Kind, Limits as HubLimits, Now, Publish, Rule, ShardInfo, Tag};
use sockeye_wire::websocket::{Opcode, write_masked_frame};

use no_pages::NoPages;

const UPGRADE: &[u8] =
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A new connection, and what it stands on.
struct Desk {
    limits: Limits,
    now: Now,
    hub: Hub,
    machine: Connection,
    site: Site,
    out: Out,
    tally: Tally,
}

impl Desk {
    fn new(shard: ShardInfo) -> Desk {
        let limits = Limits::default();
        let now = Now { ms: 1_000, unix_ms: 1_764_000_000_000 };
        let rules = vec![Rule::kept("#")];
        let mut hub = Hub::new(HubLimits::default(), rules, shard, 1, 2, form::encoder(256));
        let client = hub.connect(ClientSetup { encoding: Form::Line.encoding(), identity: None });
        let machine = Connection::new(client, Transport::Tcp, &limits, now);
        let site = Site {
            server: "sockeye/test".into(),
            origins: Vec::new(),
            hosts: Hosts::default(),
            anonymous: None,
            requires_tls: false,
            tokens: None,
        };
        Desk { limits, now, hub, machine, site, out: Out::new(), tally: Tally::default() }
    }

    /// Lets so much time pass. Returns what it said to that.
    fn wait_ms(&mut self, ms: u64) -> Vec<u8> {
        self.now.ms += ms;
        self.act(|machine, cx| machine.handle_timeout(cx));
        self.take_said(&[])
    }

    /// Lets the machine act with everything at hand.
    fn act<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            hub: &mut self.hub,
            now: self.now,
            limits: &self.limits,
            site: &self.site,
            pages: &NoPages,
            out: &mut self.out,
            tally: &mut self.tally,
            meter: None,
        };
        act(&mut self.machine, &mut cx)
    }

    fn take_said(&mut self, input: &[u8]) -> Vec<u8> {
        let mut said = Vec::new();
        self.out.for_each(input, |piece| said.extend_from_slice(piece));
        self.out.clear();
        said
    }

    /// Gives it input. Returns how much of that it took, and what it said at once.
    fn give(&mut self, piece: &[u8]) -> (usize, Vec<u8>) {
        let mut input = piece.to_vec();
        let taken = self.act(|machine, cx| machine.handle_input(&mut input, cx));
        (taken, self.take_said(&input))
    }
}

/// What a new connection says at once to these pieces of input.
fn said_to(pieces: &[&[u8]]) -> Vec<u8> {
    let mut desk = Desk::new(ShardInfo::single());
    let mut said = Vec::new();
    for piece in pieces {
        let (taken, more) = desk.give(piece);
        assert_eq!(taken, piece.len());
        said.extend(more);
    }
    said
}

#[test]
fn a_first_word_in_pieces_is_answered_as_one_in_whole() {
    let mut input = UPGRADE.to_vec();
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

#[test]
fn who_asks_another_shard_for_the_past_is_answered_before_he_asks_on() {
    let mut desk = Desk::new(ShardInfo { index: 0, count: 2 });
    let elsewhere = (0..).map(|number| format!("chat/{number}")).find(|name| desk.hub.home_of(name) == 1);
    let ask = format!("{{\"past\":\"{}\",\"id\":1}}\n", elsewhere.expect("a name"));

    let (taken, _) = desk.give(ask.repeat(3).as_bytes());

    assert_eq!(taken, ask.len());
    assert!(!desk.machine.may_read(&desk.hub, &desk.limits));
}

#[test]
fn who_asks_for_much_has_his_turn_and_then_others_have_theirs() {
    let line = b"{\"ping\":1}\n";
    let http = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (request, answer) in [(&line[..], "{\"pong\":1}\n"), (http, "HTTP/1.1 ")] {
        let mut desk = Desk::new(ShardInfo::single());
        let asked = request.repeat(100);
        let (mut at, mut turns, mut said) = (0, 0, Vec::new());
        while at < asked.len() {
            desk.hub.grant_work(desk.limits.work_per_turn / 512);
            let (taken, more) = desk.give(&asked[at..]);
            assert!(taken > 0, "whoever has his turn gets on");
            at += taken;
            turns += 1;
            said.extend(more);
        }

        assert!((3..=100).contains(&turns), "{turns}");
        assert_eq!(String::from_utf8_lossy(&said).matches(answer).count(), 100);
    }
}

#[test]
fn what_is_begun_and_not_finished_in_time_ends_the_connection() {
    let mut ping = Vec::new();
    write_masked_frame(&mut ping, Opcode::Ping, b"", [1, 2, 3, 4]);
    let mut begun = Vec::new();
    write_masked_frame(&mut begun, Opcode::Text, b"{\"ping\":1", [1, 2, 3, 4]);
    let lines = (&b"{\"ping\":1}\n"[..], &b"{\"ping\":1"[..], &b""[..]);
    // A control frame may stand between the fragments of a message, and is no progress of it.
    begun[0] &= 0x7f;
    let fragments = (UPGRADE, &begun[..], &ping[..]);

    for (first, begun, meanwhile) in [lines, fragments] {
        // While nothing is begun, nothing is waited for.
        let mut desk = Desk::new(ShardInfo::single());
        desk.give(first);
        desk.wait_ms(24_000);
        assert_eq!(desk.machine.ending(), Ending::No);

        desk.give(begun);
        for is_excused in [false, true] {
            if is_excused {
                // Whom the shell has not read for a while is not to blame for that.
                desk.machine.excuse_unfinished(desk.now, &desk.limits);
            }
            for _ in 0..5 {
                desk.wait_ms(11_999);
                assert_eq!(desk.machine.ending(), Ending::No);
                desk.give(meanwhile);
            }
        }
        let said = desk.wait_ms(5);

        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains("not finished in time"), "{said:?}");
        assert_eq!(desk.machine.ending(), Ending::AfterOutput);
    }
}

#[test]
fn a_long_line_has_a_second_more_for_each_of_its_4_kib() {
    let mut desk = Desk::new(ShardInfo::single());
    desk.give(b"{\"pub\":\"a\",\"data\":\"");
    for _ in 0..32 {
        assert_eq!(desk.wait_ms(2_000), b"");
        desk.give(&[b'x'; 4 << 10]);
    }

    desk.give(b"\",\"id\":1}\n");

    assert_eq!(desk.hub.stats().published, 1);
    assert_eq!(desk.wait_ms(1_000_000), b"");
    assert_eq!(desk.machine.ending(), Ending::No);
}

#[test]
fn who_takes_nothing_of_his_answers_is_closed_and_who_only_hears_is_not() {
    for asks in [true, false] {
        let mut desk = Desk::new(ShardInfo::single());
        let client = desk.machine.client();
        desk.give(b"{\"sub\":\"chat\"}\n");
        let speaker = desk.hub.connect(ClientSetup { encoding: Form::Line.encoding(), identity: None });
        let payload = vec![b'x'; 8_000].into();
        let publish = Publish { channel: "chat", kind: Kind::Text, payload, key: None };
        desk.hub.publish(speaker, Tag::Silent, publish, desk.now);
        if asks {
            desk.give(b"{\"past\":\"chat\",\"id\":1}\n");
        }

        desk.machine.handle_blocked(&desk.hub, desk.now, &desk.limits);
        desk.wait_ms(119_999);
        assert_eq!(desk.machine.ending(), Ending::No);
        desk.machine.handle_taken(desk.now, &desk.limits);
        desk.machine.handle_blocked(&desk.hub, desk.now, &desk.limits);
        desk.wait_ms(119_999);
        assert_eq!(desk.machine.ending(), Ending::No);
        desk.wait_ms(1);

        assert_eq!(desk.machine.ending(), if asks { Ending::Now } else { Ending::No });
        assert!(!desk.hub.outbox(client).is_empty());
    }
}

#[test]
fn what_is_begun_behind_something_finished_has_a_time_of_its_own() {
    let mut frame = Vec::new();
    write_masked_frame(&mut frame, Opcode::Text, b"{\"ping\":1}", [1, 2, 3, 4]);
    for (first, message) in [(&b""[..], &b"{\"ping\":1}\n"[..]), (UPGRADE, &frame)] {
        for cut in [1, message.len() / 2, message.len() - 1] {
            let mut desk = Desk::new(ShardInfo::single());
            desk.give(first);
            let (begin, end) = message.split_at(cut);
            desk.give(begin);
            for _ in 0..30 {
                desk.wait_ms(10_000);
                desk.give(&[end, begin].concat());
                assert_eq!(desk.machine.ending(), Ending::No, "cut after {cut}");
            }
        }
    }
}

#[test]
fn the_time_for_answers_outlives_a_line_that_comes_meanwhile() {
    let mut desk = Desk::new(ShardInfo::single());
    let publish = |desk: &mut Desk, client| {
        let publish =
            Publish { channel: "chat", kind: Kind::Text, payload: vec![b'x'; 8_000].into(), key: None };
        desk.hub.publish(client, Tag::Silent, publish, desk.now);
    };
    let client = desk.machine.client();
    publish(&mut desk, client);
    desk.give(b"{\"past\":\"chat\",\"id\":1}\n");
    desk.machine.handle_blocked(&desk.hub, desk.now, &desk.limits);
    desk.give(b"{\"ping\"");
    desk.give(b":1}\n");

    assert_eq!(desk.machine.poll_timeout(), Some(desk.now.ms + desk.limits.stall_timeout_ms));
}

#[test]
fn a_body_that_is_not_read_for_a_while_has_its_time_when_it_is() {
    let mut desk = Desk::new(ShardInfo::single());
    desk.give(b"POST /ch/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1");
    desk.now.ms += 59_000;

    desk.machine.excuse_unfinished(desk.now, &desk.limits);
    desk.wait_ms(59_000);

    assert_eq!(desk.machine.ending(), Ending::No);
    assert!(!desk.wait_ms(1_000).is_empty());
    assert_eq!(desk.machine.ending(), Ending::AfterOutput);
}

#[test]
fn a_line_that_is_too_long_is_over_and_the_next_one_has_a_time_of_its_own() {
    let mut desk = Desk::new(ShardInfo::single());
    let piece = vec![b'x'; 1 << 20];
    desk.give(b"{\"pub\":\"a\",\"data\":\"");
    let mut said = Vec::new();
    while said.is_empty() {
        desk.now.ms += 5_000;
        said = desk.give(&piece).1;
    }
    assert!(String::from_utf8_lossy(&said).contains("too_large"));

    // Its rest goes by, however long that takes.
    for _ in 0..5 {
        desk.wait_ms(20_000);
        desk.give(&piece);
    }
    desk.give(b"\"}\n{\"ping\"");
    assert_eq!(desk.wait_ms(59_999), b"");
    assert_eq!(desk.machine.ending(), Ending::No);
    desk.wait_ms(1);
    assert_eq!(desk.machine.ending(), Ending::AfterOutput);
}

#[test]
fn who_is_to_be_closed_has_his_last_while_whatever_he_has_begun() {
    let mut desk = Desk::new(ShardInfo::single());
    desk.give(b"{\"ping\":1");
    desk.now.ms += desk.limits.body_timeout_ms - 10;

    desk.machine.handle_closing("drain", desk.now, &desk.limits);

    assert_eq!(desk.machine.poll_timeout(), Some(desk.now.ms + desk.limits.close_timeout_ms));
}

#[test]
fn a_websocket_that_takes_what_it_can_is_not_silent_however_slow_its_link_is() {
    let mut desk = Desk::new(ShardInfo::single());
    desk.give(UPGRADE);
    desk.wait_ms(25_000);

    // A long message is under way, behind which the ping waits, and every second some of it arrives.
    for _ in 0..20 {
        desk.now.ms += 24_999;
        desk.machine.note_way(desk.now.ms - 1_000, true, desk.now, &desk.limits);
        desk.wait_ms(1);
        assert_eq!(desk.machine.ending(), Ending::No);
    }
    // The last of it has arrived, and with it the ping: the pong has its time.
    desk.now.ms += 24_999;
    desk.machine.note_way(desk.now.ms, false, desk.now, &desk.limits);
    desk.wait_ms(1);
    assert_eq!(desk.machine.ending(), Ending::No);
    desk.machine.note_way(desk.now.ms, false, desk.now, &desk.limits);
    desk.wait_ms(25_000);
    assert_eq!(desk.machine.ending(), Ending::Now);

    // Of whom nothing is taken any more nothing is awaited, either.
    let mut desk = Desk::new(ShardInfo::single());
    desk.give(UPGRADE);
    desk.wait_ms(25_000);
    desk.now.ms += 24_999;
    desk.machine.note_way(desk.now.ms - 25_000, true, desk.now, &desk.limits);
    desk.wait_ms(1);
    assert_eq!(desk.machine.ending(), Ending::Now);
}

#[test]
fn who_takes_some_of_his_answers_is_not_stalled() {
    let mut desk = Desk::new(ShardInfo::single());
    let client = desk.machine.client();
    let publish = Publish { channel: "chat", kind: Kind::Text, payload: vec![b'x'; 8_000].into(), key: None };
    desk.hub.publish(client, Tag::Silent, publish, desk.now);
    desk.give(b"{\"past\":\"chat\",\"id\":1}\n");
    assert!(desk.machine.handle_blocked(&desk.hub, desk.now, &desk.limits));

    let blocked_ms = desk.now.ms;
    desk.now.ms += 119_999;
    // Its socket never had room enough for more, but its system took something a minute ago.
    desk.machine.note_way(blocked_ms + 60_000, true, desk.now, &desk.limits);
    desk.wait_ms(1);
    assert_eq!(desk.machine.ending(), Ending::No);
    desk.wait_ms(59_999);
    assert_eq!(desk.machine.ending(), Ending::No);
    desk.wait_ms(1);
    assert_eq!(desk.machine.ending(), Ending::Now);
}
