//! What a session is: how it begins, what it hears, how it ends.

use sockeye_gateway::Limits;
use sockeye_gateway::mail::{PeerAddress, Source};
use sockeye_hub::ShardInfo;

use crate::world::{World, cookie_in, source, texts};

#[test]
fn a_subscriber_proves_its_address_and_hears() {
    let mut world = World::new();
    let ear = source("192.0.2.1:4000");

    let cookie = cookie_in(&world.receive(&ear, r#"{"sub":"a","id":7}"#)).expect("a cookie first");
    let answer = world.receive(&ear, format!(r#"{{"sub":"a","id":7,"cookie":"{cookie}"}}"#));
    let heard = world.receive(&source("192.0.2.2:1"), r#"{"pub":"a","data":"hi","id":1}"#);

    assert!(texts(&answer)[0].starts_with(r#"{"ok":7,"at":""#), "{answer:?}");
    assert!(texts(&heard)[0].starts_with(r#"{"ok":1,"at":""#), "{heard:?}");
    assert_eq!(heard[1].0, ear);
    assert!(texts(&heard)[1].ends_with(r#""data":"hi"}"#), "{heard:?}");
    assert_eq!(world.datagrams.sessions(), 1);
}

#[test]
fn who_subscribes_at_two_of_our_addresses_hears_from_each() {
    let mut world = World::new();
    let ends: Vec<Source> = ["192.0.2.7", "192.0.2.8"]
        .map(|local| Source { local: local.parse().ok(), ..source("192.0.2.1:4000") })
        .into();
    let cookie = world.subscribe(&ends[0], "a");

    // One proof is good for both: it is of the peer.
    let answer = world.receive(&ends[1], format!(r#"{{"sub":"a","id":2,"cookie":"{cookie}"}}"#));
    let heard = world.receive(&source("192.0.2.2:1"), r#"{"pub":"a","data":"hi"}"#);

    assert_eq!(answer[0].0, ends[1]);
    let mut heard: Vec<&Source> = heard.iter().map(|(to, _)| to).collect();
    heard.sort();
    assert_eq!(heard, ends.iter().collect::<Vec<_>>());
    assert_eq!(world.datagrams.sessions(), 2);
}

#[test]
fn a_cookie_that_is_not_good_is_answered_by_one_that_is() {
    let mut world = World::new();
    let (ear, thief) = (source("192.0.2.1:4000"), source("192.0.2.1:4001"));
    let cookie = world.cookie(&ear);

    for (source, cookie) in
        [(&thief, cookie.as_str()), (&ear, "0123456789abcdef"), (&ear, ""), (&ear, "x"), (&ear, &cookie[1..])]
    {
        for verb in [r#""sub":"a""#, r#""pub":"a","data":1"#, r#""ping":1"#, r#""hello":1,"id":1"#] {
            let letters = world.receive(source, format!(r#"{{{verb},"cookie":"{cookie}"}}"#));
            assert!(cookie_in(&letters).is_some(), "{verb} {cookie}: {letters:?}");
        }
    }
    assert_eq!(world.datagrams.sessions(), 0);
    assert_eq!(world.hub.stats().published, 0);
}

#[test]
fn a_session_ends_a_minute_after_the_last_valid_cookie() {
    let mut world = World::new();
    let ear = source("192.0.2.1:4000");
    let mut cookie = world.subscribe(&ear, "a");

    for _ in 0..20 {
        world.pass(50_000);
        let letters = world.receive(&ear, format!(r#"{{"ping":1,"cookie":"{cookie}"}}"#));
        let pong: serde_json::Value = serde_json::from_str(texts(&letters)[0]).expect("JSON");
        assert_eq!(pong["pong"], 1);
        // What is about to grow old is replaced in good time, in the pong itself.
        if let Some(next) = pong.get("cookie") {
            cookie = next.as_str().expect("a text").to_owned();
        }
    }
    // Without the cookie nothing is renewed, whoever sent it.
    world.pass(30_000);
    assert_eq!(texts(&world.receive(&ear, r#"{"ping":2}"#)), [r#"{"pong":2}"#]);
    assert_eq!(world.datagrams.sessions(), 1);
    world.pass(30_000);

    assert_eq!(world.datagrams.sessions(), 0);
    assert_eq!(world.hub.stats().subscriptions, 0);
    // Its owner is told, instead of waiting for ever.
    let letters = world.receive(&ear, format!(r#"{{"ping":1,"cookie":"{cookie}"}}"#));
    assert!(texts(&letters)[0].contains(r#""code":"gone""#), "{letters:?}");
}

#[test]
fn what_no_datagram_can_answer_is_refused_by_name() {
    let mut world = World::new();
    let ear = source("192.0.2.1:4000");
    let cookie = world.cookie(&ear);

    for (request, said) in [
        (r#""sub":"a","since":"k3f:1","id":5"#, "since"),
        (r#""sub":"a","last":5,"id":5"#, "last"),
        (r#""past":"a","id":5"#, "past"),
    ] {
        let letters = world.receive(&ear, format!(r#"{{{request},"cookie":"{cookie}"}}"#));
        assert!(texts(&letters)[0].starts_with(r#"{"error":5,"code":"bad_request""#), "{letters:?}");
        assert!(texts(&letters)[0].contains(said), "{letters:?}");
    }
    let letters =
        world.receive_cut(&ear, &format!(r#"{{"cookie":"{cookie}","pub":"a","data":"{}"#, "x".repeat(99)));
    assert!(texts(&letters)[0].contains(r#""code":"too_large""#), "{letters:?}");
}

#[test]
fn a_message_over_the_length_of_a_datagram_is_a_gap() {
    let mut world = World::new();
    let ear = source("192.0.2.1:4000");
    world.subscribe(&ear, "a");
    let publisher = source("192.0.2.2:1");

    // The envelope counts, not the payload: find the last length that fits.
    let envelope = world.receive(&publisher, r#"{"pub":"a","data":""}"#)[0].1.len();
    let fits =
        world.receive(&publisher, format!(r#"{{"pub":"a","data":"{}"}}"#, "x".repeat(1_200 - envelope)));
    let not =
        world.receive(&publisher, format!(r#"{{"pub":"a","data":"{}"}}"#, "x".repeat(1_201 - envelope)));

    assert_eq!(fits[0].1.len(), 1_200);
    let gap: serde_json::Value = serde_json::from_str(&not[0].1).expect("JSON");
    assert_eq!(gap["ch"], "a");
    assert_eq!(gap["gap"]["why"], "too_large");
    assert_eq!(gap["gap"]["from"], gap["gap"]["to"]);
    assert!(gap["gap"]["to"].as_str().expect("a position").ends_with(":3"));
}

#[test]
fn who_has_a_session_publishes_as_itself_with_its_cookie() {
    let mut world = World::new();
    let ear = source("192.0.2.1:4000");
    let cookie = world.cookie(&ear);
    world.receive(&ear, format!(r#"{{"sub":"a","self":false,"cookie":"{cookie}"}}"#));

    let own = world.receive(&ear, format!(r#"{{"pub":"a","data":1,"id":1,"cookie":"{cookie}"}}"#));
    let others = world.receive(&ear, r#"{"pub":"a","data":2,"id":2}"#);

    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(others.len(), 2, "{others:?}");
}

#[test]
fn what_the_socket_does_not_take_is_said_later_in_order() {
    let mut world = World::new();
    let (ear, publisher) = (source("192.0.2.1:4000"), source("192.0.2.2:1"));
    world.subscribe(&ear, "a");

    world.receive_unsent(&publisher, r#"{"pub":"a","data":1}"#);
    for n in 2..=100 {
        assert_eq!(world.receive(&publisher, format!(r#"{{"pub":"a","data":{n}}}"#)).len(), 0);
    }
    world.datagrams.unblock(0, &mut world.hub);
    world.flush();
    let letters = world.take();

    let heard: Vec<String> = (1..=100).map(|n| format!("\"data\":{n}}}")).collect();
    assert_eq!(letters.len(), 100);
    assert!(letters.iter().zip(&heard).all(|((_, text), end)| text.ends_with(end.as_str())));
    assert_eq!(world.datagrams.counts().udp.send_dropped, 0);
}

#[test]
fn the_very_first_answer_of_a_session_is_said_later_too() {
    let mut world = World::new();
    let ear = source("192.0.2.1:4000");
    let cookie = world.cookie(&ear);

    // What is said at once never waited for its client, and is put in front of all that does.
    for (n, verb) in
        [r#""hello":1,"token":"t","id":1"#, r#""past":"a","id":2"#, r#""sub":"a/#","id":3"#, r#""ping":4"#]
            .into_iter()
            .enumerate()
    {
        world.receive_unsent(&ear, &format!(r#"{{{verb},"cookie":"{cookie}"}}"#));
        world.datagrams.unblock(0, &mut world.hub);
        // So it stays however often the socket is full.
        for _ in 0..=n {
            world.flush();
            world.refuse_letters();
            world.datagrams.unblock(0, &mut world.hub);
        }
    }
    world.flush();

    let letters = world.take();
    let begins = [r#"{"ok":1"#, r#"{"error":2"#, r#"{"ok":3"#, r#"{"pong":4"#];
    assert_eq!(letters.len(), begins.len(), "{letters:?}");
    assert!(letters.iter().zip(begins).all(|((_, text), begin)| text.starts_with(begin)), "{letters:?}");
}

#[test]
fn sessions_are_bounded_and_the_next_is_told() {
    let mut world =
        World::with(Limits { datagram_sessions_max: 3, ..Limits::default() }, ShardInfo::single());

    for port in 1..=3 {
        world.subscribe(&source(&format!("192.0.2.1:{port}")), "a");
    }
    let fourth = source("192.0.2.1:4");
    let cookie = world.cookie(&fourth);
    let letters = world.receive(&fourth, format!(r#"{{"sub":"a","id":9,"cookie":"{cookie}"}}"#));

    assert!(texts(&letters)[0].starts_with(r#"{"error":9,"code":"too_many""#), "{letters:?}");
    assert!(texts(&letters)[0].ends_with(r#""retry":true}"#), "{letters:?}");
    world.pass(60_000);
    world.subscribe(&fourth, "a");
}

#[test]
fn a_drain_says_goodbye_to_every_session() {
    let mut world = World::new();
    for port in 1..=3 {
        world.subscribe(&source(&format!("192.0.2.1:{port}")), "a");
    }

    let letters = world.drain();

    assert_eq!(texts(&letters), [r#"{"bye":"drain","reconnect":[500,15000]}"#; 3]);
    assert_eq!(world.datagrams.sessions(), 0);
    assert_eq!(world.datagrams.poll_timeout(), None);
}

#[test]
fn a_publisher_is_answered_when_another_shard_has() {
    let ([mut here, mut there], [_, away]) = two_shards();
    let asked = here.limits.requests_in_flight_max;

    let mut letters = Vec::new();
    for n in 0..asked {
        let source = source(&format!("192.0.2.1:{}", n + 1));
        letters.extend(here.receive(&source, format!(r#"{{"pub":"{away}","data":1,"id":{n}}}"#)));
    }
    assert_eq!(letters.len(), 0);
    assert_eq!(here.datagrams.room(&here.hub, &here.limits), 0);
    exchange(&mut here, &mut there);
    letters = here.take();

    letters.sort();
    assert_eq!(letters.len(), asked);
    for (to, text) in letters {
        let PeerAddress::Ip(address) = to.peer else { panic!("an address of ours") };
        assert!(text.starts_with(&format!(r#"{{"ok":{},"#, address.port() - 1)), "{address} {text}");
    }
    assert_eq!(here.datagrams.room(&here.hub, &here.limits), asked);
}

#[test]
fn no_more_is_read_than_the_busiest_session_may_ask() {
    let ([mut here, mut there], [near, away]) = two_shards();
    let [busy, other] = ["192.0.2.1:1", "192.0.2.1:2"].map(source);
    let cookies = [&busy, &other].map(|source| here.subscribe(source, &near));
    let max = here.limits.requests_in_flight_max;
    let publish = |world: &mut World, source: &Source, cookie: &str, n: usize| {
        let text = format!(r#"{{"pub":"{away}","data":1,"id":{n},"cookie":"{cookie}"}}"#);
        assert_eq!(world.receive(source, text).len(), 0);
    };
    assert_eq!(here.datagrams.room(&here.hub, &here.limits), max);

    for n in 1..=20 {
        publish(&mut here, &other, &cookies[1], n);
    }
    assert_eq!(here.datagrams.room(&here.hub, &here.limits), max - 20);
    for n in 1..=max {
        assert_eq!(here.datagrams.room(&here.hub, &here.limits), max - 20.max(n - 1));
        publish(&mut here, &busy, &cookies[0], n);
    }
    assert_eq!(here.datagrams.room(&here.hub, &here.limits), 0);

    // The busiest ends: from there on the next one counts, as long as it waits.
    here.pass(50_000);
    here.receive(&other, format!(r#"{{"ping":1,"cookie":"{}"}}"#, cookies[1]));
    here.pass(50_000);
    assert_eq!(here.datagrams.sessions(), 1);
    assert_eq!(here.datagrams.room(&here.hub, &here.limits), max - 20);
    exchange(&mut here, &mut there);

    assert_eq!(here.datagrams.room(&here.hub, &here.limits), max);
    assert_eq!(here.take().iter().filter(|(to, _)| *to == other).count(), 20);
    assert_eq!(there.hub.stats().published, max as u64 + 20);
    assert_eq!(here.datagrams.counts().udp.dropped, 0);
}

#[test]
fn a_session_lives_on_whose_requests_are_dropped() {
    let ([mut here, _], [near, away]) = two_shards();
    let ear = source("192.0.2.1:1");
    let cookie = here.subscribe(&ear, &near);
    for n in 1..=here.limits.requests_in_flight_max {
        here.receive(&ear, format!(r#"{{"pub":"{away}","data":1,"id":{n},"cookie":"{cookie}"}}"#));
    }

    here.pass(50_000);
    here.receive(&ear, format!(r#"{{"ping":1,"cookie":"{cookie}"}}"#));
    assert_eq!(here.datagrams.counts().udp.dropped, 1);
    here.pass(50_000);

    assert_eq!(here.datagrams.sessions(), 1);
}

#[test]
fn nothing_is_dropped_because_a_turn_has_been_long() {
    let mut here = World::new();
    let ear = source("192.0.2.1:1");
    let cookie = here.subscribe(&ear, "near");

    here.hub.grant_work(0);
    here.hub.count_work(1);
    for n in 1..=3 {
        here.receive(&ear, format!(r#"{{"pub":"near","data":1,"id":{n},"cookie":"{cookie}"}}"#));
    }

    assert_eq!(here.hub.stats().published, 3);
    assert_eq!(here.datagrams.counts().udp.dropped, 0);
}

#[test]
fn who_is_not_bound_publishes_and_is_never_answered() {
    let mut world = World::new();
    let unnamed = Source { socket: 0, local: None, peer: PeerAddress::Unnamed };

    for text in [r#"{"pub":"a","data":1,"id":1}"#, r#"{"sub":"a"}"#, r#"{"ping":1}"#, r#"{"hello":1,"id":1}"#]
    {
        assert_eq!(world.receive(&unnamed, text), []);
    }
    assert_eq!(world.hub.stats().published, 1);
    assert_eq!(world.datagrams.counts().unix.unanswered, 4);
}

/// Two shards of one server, and for each a channel whose home it is.
fn two_shards() -> ([World; 2], [String; 2]) {
    let shards = [0, 1].map(|index| ShardInfo { index, count: 2 });
    let worlds = shards.map(|shard| World::with(Limits::default(), shard));
    let mut names = (0..).map(|n| format!("c{n}"));
    let names = [0, 1].map(|home| names.find(|name| worlds[0].hub.home_of(name) == home).expect("one is"));
    (worlds, names)
}

/// Has two shards say to each other what they have to say, and writes what comes of it on the first.
fn exchange(here: &mut World, there: &mut World) {
    while let Some((_, message)) = here.hub.poll_shard_output() {
        there.hub.handle_shard(0, message, there.now);
    }
    while let Some((_, message)) = there.hub.poll_shard_output() {
        here.hub.handle_shard(1, message, here.now);
    }
    here.flush();
}
