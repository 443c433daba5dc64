//! A hub that goes on under other bounds and rules: what was promised before is kept or announced.

use sockeye_hub::{Limits, Past, Rule, Start};

use crate::world::World;

fn all() -> Past {
    Past { last: None, since: None }
}

#[test]
fn a_bound_holds_from_the_next_time_on() {
    let mut world = World::new();
    let ana = world.connect();
    for name in ["a", "b", "c"] {
        world.sub(ana, name);
    }
    world.read(ana);

    let limits = Limits { subscriptions_max: 2, ..Limits::default() };
    world.hubs[0].reconfigure(limits, Vec::new(), world.now);
    world.sub(ana, "d");
    world.say(ana, "c", "still heard");

    let read = world.read(ana);
    assert!(read[0].contains("too_many"), "{read:?}");
    assert_eq!(read[1], "c 1 still heard");
}

#[test]
fn a_rule_that_keeps_less_lets_go_at_once_and_one_that_keeps_more_begins_to() {
    let mut world = World::with(Limits::default(), vec![Rule::live("live")]);
    let ana = world.connect();
    for number in 1..=5 {
        world.say(ana, "kept", &format!("m{number}"));
        world.say(ana, "live", &format!("m{number}"));
    }

    let fewer = Rule { messages: 2, ..Rule::kept("#") };
    world.hubs[0].reconfigure(Limits::default(), vec![fewer], world.now);
    world.say(ana, "live", "m6");
    world.past(ana, "kept", all());
    world.past(ana, "live", all());

    assert_eq!(world.read(ana), ["ok 1 at 5 [4 5]", "ok 2 at 6 [6]"]);
}

#[test]
fn a_channel_that_comes_to_keep_nothing_announces_what_it_had() {
    let mut world = World::new();
    let ana = world.connect();
    world.say(ana, "chat", "m1");
    let position = world.position("chat");
    world.say(ana, "chat", "m2");
    assert!(world.hub().stats().history_messages > 0);

    world.hubs[0].reconfigure(Limits::default(), vec![Rule::live("chat")], world.now);
    assert_eq!(world.hub().stats().history_messages, 0);
    world.say(ana, "chat", "m3");
    world.sub_from(ana, "chat", Start::Since(position));

    let read = world.read(ana);
    assert!(read[0].contains("evicted"), "{read:?}");
}

#[test]
fn the_total_is_kept_at_once() {
    let mut world = World::new();
    let ana = world.connect();
    for number in 0..100 {
        world.say(ana, &format!("c{number}"), &"x".repeat(1_000));
    }

    let limits = Limits { history_total_bytes_max: 50_000, ..Limits::default() };
    world.hubs[0].reconfigure(limits, Vec::new(), world.now);

    assert!(world.hub().stats().history_bytes <= 50_000);
    assert!(world.hub().stats().history_messages > 10);
}
