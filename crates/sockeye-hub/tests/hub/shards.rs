//! Several shards: what holds on one holds between them.

use sockeye_hub::{Kind, Limits, Publish, Rule, Start, Tag};

use crate::world::{Who, World};

/// Two shards, and a name whose home is the second.
fn two_shards(limits: Limits, rules: Vec<Rule>) -> (World, String) {
    let world = World::with_shards(2, limits, rules);
    let name = (0..).map(|number| format!("c{number}")).find(|name| world.hub().home_of(name) == 1);
    (world, name.expect("one name in two has its home there"))
}

fn say_many(world: &mut World, who: Who, channel: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        world.say(who, channel, &format!("m{number}"));
    }
}

fn sequences(texts: &[String]) -> Vec<u64> {
    texts.iter().filter_map(|text| text.split(' ').nth(1)?.parse().ok()).collect()
}

#[test]
fn homes_are_spread_and_known_to_all() {
    let world = World::with_shards(4, Limits::default(), Vec::new());
    let mut counts = [0; 4];

    for number in 0..400 {
        let name = format!("chat/{number}");
        let home = world.hub().home_of(&name);
        counts[usize::from(home)] += 1;
        assert!(world.hubs.iter().all(|hub| hub.home_of(&name) == home));
    }

    assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
}

#[test]
fn a_subscriber_is_attached_when_the_homes_answer_is_handled() {
    let (mut world, name) = two_shards(Limits::default(), Vec::new());
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));

    world.sub(ana, &name);
    world.say(ben, &name, "early");
    assert_eq!(world.hub().requests_in_flight(ana.id), 1);
    assert_eq!(world.hub().subscriptions(ana.id), 0);
    world.settle();
    world.say(ben, &name, "hi");

    assert_eq!(world.read(ana), ["ok 1 at 1".to_owned(), format!("{name} 2 hi")]);
    assert_eq!(world.hub().requests_in_flight(ana.id), 0);
}

#[test]
fn requests_to_one_channel_take_effect_in_order() {
    let (mut world, name) = two_shards(Limits::default(), Vec::new());
    let ana = world.connect_to(0, None);

    world.sub(ana, &name);
    world.publish(ana, &name, "hi", None);
    world.unsub(ana, &name);
    world.publish(ana, &name, "unheard", None);
    world.unsub(ana, &name);

    let expected =
        ["ok 1 at 0", "ok 2 at 1", &format!("{name} 1 hi"), "ok 3", "ok 4 at 2", "error 5 not_found"];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn a_patterns_ok_waits_for_all_shards() {
    let mut world = World::with_shards(3, Limits::default(), Vec::new());
    let ana = world.connect_to(0, None);

    world.sub(ana, "#");
    world.collect();
    world.arrive(0, 1);
    world.arrive(1, 0);
    assert_eq!(world.read_one(ana), None);
    world.settle();

    for shard in 0..3 {
        let speaker = world.connect_to(shard, None);
        world.say(speaker, &format!("chat/{shard}"), "hi");
    }
    let mut heard = world.read(ana);
    heard.sort();
    assert_eq!(heard, ["chat/0 1 hi", "chat/1 1 hi", "chat/2 1 hi", "ok 1"]);
}

#[test]
fn too_many_requests_in_flight_are_refused_as_busy() {
    let (mut world, name) = two_shards(Limits { requests_in_flight_max: 2, ..Limits::default() }, Vec::new());
    let ana = world.connect_to(0, None);

    for _ in 0..3 {
        world.publish(ana, &name, "hi", None);
    }

    assert_eq!(world.read(ana), ["error 3 busy", "ok 1 at 1", "ok 2 at 2"]);
}

#[test]
fn a_shard_that_lags_reads_on_from_the_homes_ring() {
    let (mut world, name) = two_shards(Limits { link_messages_max: 4, ..Limits::default() }, Vec::new());
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));
    world.sub(ana, &name);
    world.settle();

    say_many(&mut world, ben, &name, 1..=20);
    world.collect();

    assert_eq!(world.links[1][0].len(), 4, "the window bounds what is under way");
    assert_eq!(sequences(&world.read(ana)[1..]), (1..=20).collect::<Vec<_>>());
}

#[test]
fn what_the_home_has_lost_before_a_shard_took_it_is_a_gap() {
    let limits = Limits { link_messages_max: 4, ..Limits::default() };
    let (mut world, name) = two_shards(limits, vec![Rule { messages: 3, ..Rule::kept("#") }]);
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));
    world.sub(ana, &name);
    world.settle();

    say_many(&mut world, ben, &name, 1..=20);

    let heard = world.read(ana);
    assert_eq!(heard[5], format!("{name} gap 5..17 slow"));
    assert_eq!(sequences(&heard[6..]), [18, 19, 20]);
    assert_eq!(heard.len(), 9);
}

#[test]
fn a_slow_reader_away_from_home_reads_pages_of_the_home() {
    let limits = Limits { outbox_messages_max: 4, ..Limits::default() };
    let (mut world, name) = two_shards(limits, Vec::new());
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));
    world.sub(ana, &name);
    world.settle();

    say_many(&mut world, ben, &name, 1..=20);
    world.settle();
    assert_eq!(world.hub().stats().lagging, 1);

    assert_eq!(sequences(&world.read(ana)[1..]), (1..=20).collect::<Vec<_>>());
    assert_eq!(world.hub().stats().lagging, 0);
}

#[test]
fn recovery_away_from_home_is_the_same() {
    let (mut world, name) = two_shards(Limits::default(), Vec::new());
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));
    say_many(&mut world, ben, &name, 1..=30);

    world.sub_from(ana, &name, Start::Last(10));

    let heard = world.read(ana);
    assert_eq!(heard[0], "ok 1 at 30");
    assert_eq!(sequences(&heard[1..]), (21..=30).collect::<Vec<_>>());
}

#[test]
fn a_client_that_leaves_while_it_asks_leaves_nothing_behind() {
    let (mut world, name) = two_shards(Limits::default(), vec![Rule::live("#")]);
    let ana = world.connect_to(0, None);
    world.sub(ana, &name);
    world.sub(ana, "#");
    world.publish(ana, &name, "hi", None);
    world.past(ana, &name, Default::default());
    world.unsub(ana, &name);

    world.disconnect(ana);
    world.settle();

    assert_eq!(world.hubs[0].stats().channels, 0);
    world.wait_ms(60_000);
    world.settle();
    assert_eq!(world.hubs[1].stats().channels, 0);
    assert_eq!(world.hubs[1].stats().published, 1);
}

#[test]
fn the_home_forgets_an_interest_after_the_last_subscriber() {
    let (mut world, name) = two_shards(Limits::default(), vec![Rule::live("#")]);
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(0, None));
    world.sub(ana, &name);
    world.sub(ben, &name);
    world.settle();
    world.wait_ms(120_000);
    assert_eq!(world.hubs[1].stats().channels, 1);

    world.unsub(ana, &name);
    world.unsub(ben, &name);
    world.settle();
    world.wait_ms(60_000);

    assert_eq!(world.hubs[1].stats().channels, 0);
    assert_eq!(world.hubs[0].stats().channels, 0);
}

#[test]
fn a_forgotten_channel_is_told_to_shards_that_lag() {
    let limits = Limits { outbox_messages_max: 4, link_messages_max: 8, ..Limits::default() };
    let (mut world, name) = two_shards(limits, vec![Rule::live("#")]);
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));
    world.sub(ana, "#");
    world.settle();
    say_many(&mut world, ben, &name, 1..=12);
    world.collect();
    let under_way = world.links[1][0].len();
    world.wait_ms(60_000);
    world.say(ben, &name, "reborn");

    let heard = world.read(ana);

    assert_eq!(under_way, 8);
    assert_eq!(sequences(&heard[1..5]), [1, 2, 3, 4]);
    assert_eq!(heard[5..], [format!("{name} gap 5..12 evicted"), format!("{name} gap 1..1 slow")]);
}

#[test]
fn a_client_whose_request_was_answered_is_touched_even_if_it_is_told_nothing() {
    let (mut world, name) = two_shards(Limits::default(), Vec::new());
    let ana = world.connect_to(0, None);
    let publish = Publish { channel: &name, kind: Kind::Text, payload: b"hi".into(), key: None };
    let now = world.now;
    world.hubs[0].publish(ana.id, Tag::Silent, publish, now);
    assert_eq!(world.hub().requests_in_flight(ana.id), 1);

    world.settle();

    assert_eq!(world.hub().requests_in_flight(ana.id), 0);
    assert_eq!(world.hubs[0].take_touched(), Some(ana.id));
}
