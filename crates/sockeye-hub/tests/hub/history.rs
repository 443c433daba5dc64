//! Recovery: `since`, `last`, and what the ring keeps.

use sockeye_hub::{Position, Rule, Slow, Start, Subscribe};

use crate::world::{World, foreign};

fn say_many(world: &mut World, channel: &str, count: usize) {
    let speaker = world.connect();
    for number in 1..=count {
        world.say(speaker, channel, &format!("m{number}"));
    }
    world.disconnect(speaker);
}

#[test]
fn late_subscriber_recovers_from_history() {
    let mut world = World::new();
    say_many(&mut world, "chat", 3);
    let first = Position { sequence: 1, ..world.position("chat") };
    let ana = world.connect();

    world.sub_from(ana, "chat", Start::Since(first));
    world.say(ana, "chat", "live");

    let heard = world.read(ana);
    assert_eq!(heard[0][5..], *"at 3 recovered");
    assert_eq!(heard[1..], ["chat 2 m2", "chat 3 m3", "chat 4 live"]);
}

#[test]
fn a_position_at_the_head_is_recovered_without_a_message() {
    let mut world = World::new();
    say_many(&mut world, "chat", 3);
    let head = world.position("chat");
    let ana = world.connect();

    world.sub_from(ana, "chat", Start::Since(head));

    assert_eq!(world.read(ana), ["ok 2 at 3 recovered"]);
}

#[test]
fn what_cannot_be_recovered_says_why_and_goes_on_live() {
    let mut world = World::new();
    say_many(&mut world, "chat", 70);
    let head = world.position("chat");
    let ana = world.connect();

    world.sub_from(ana, "chat", Start::Since(foreign(3)));
    world.sub_from(ana, "chat", Start::Since(Position { sequence: 5, ..head }));
    world.sub_from(ana, "chat", Start::Since(Position { sequence: 71, ..head }));
    world.sub_from(ana, "chat", Start::Since(Position { sequence: u64::MAX, ..head }));
    world.say(ana, "chat", "live");

    let expected = [
        "ok 2 at 70 not recovered epoch",
        "ok 3 at 70 not recovered evicted",
        "ok 4 at 70 not recovered ahead",
        "ok 5 at 70 not recovered ahead",
        "chat 71 live",
    ];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn the_last_messages_come_before_the_first_live_one() {
    let mut world = World::new();
    say_many(&mut world, "chat", 3);
    let ana = world.connect();

    world.sub_from(ana, "chat", Start::Last(2));
    world.say(ana, "chat", "live");
    world.sub_from(ana, "chat", Start::Last(u64::MAX));

    let expected = [
        "ok 1 at 3",
        "chat 2 m2",
        "chat 3 m3",
        "chat 4 live",
        "ok 2 at 4",
        "chat 1 m1",
        "chat 2 m2",
        "chat 3 m3",
        "chat 4 live",
    ];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn recovery_leaves_out_ones_own_messages_if_asked() {
    let mut world = World::new();
    let ana = world.connect();
    world.say(ana, "chat", "own");
    say_many(&mut world, "chat", 1);
    world.say(ana, "chat", "own");

    world.sub_with(ana, "chat", Subscribe { start: Start::Last(9), own: false, slow: Slow::All });

    assert_eq!(world.read(ana), ["ok 1 at 3", "chat 2 m1"]);
}

#[test]
fn a_pattern_cannot_begin_in_the_past() {
    let mut world = World::new();
    let ana = world.connect();

    world.sub_from(ana, "chat/#", Start::Last(3));

    assert_eq!(world.read(ana), ["error 1 bad_request"]);
}

#[test]
fn a_live_channel_keeps_nothing() {
    let mut world = World::with(Default::default(), vec![Rule::live("ticks/#")]);
    say_many(&mut world, "ticks/a", 3);
    let ana = world.connect();

    world.sub_from(ana, "ticks/a", Start::Last(3));

    assert_eq!(world.read(ana), ["ok 1 at 3"]);
    assert_eq!(world.hub().stats().history_messages, 0);
}

#[test]
fn the_first_rule_that_matches_wins() {
    let two = Rule { messages: 2, ..Rule::kept("a/+") };
    let mut world = World::with(Default::default(), vec![two, Rule::live("a/b"), Rule::live("a/#")]);
    for channel in ["a/b", "a/b/c", "z"] {
        say_many(&mut world, channel, 3);
    }
    let ana = world.connect();

    for channel in ["a/b", "a/b/c", "z"] {
        world.sub_from(ana, channel, Start::Last(9));
    }

    assert_eq!(
        world.read(ana),
        ["ok 1 at 3", "a/b 2 m2", "a/b 3 m3", "ok 2 at 3", "ok 3 at 3", "z 1 m1", "z 2 m2", "z 3 m3"]
    );
}

#[test]
fn old_messages_go_but_the_newest_stays() {
    let mut world = World::new();
    say_many(&mut world, "chat", 2);
    world.wait_ms(5 * 60_000);
    say_many(&mut world, "chat", 1);
    world.wait_ms(5 * 60_000);
    assert_eq!(world.hub().stats().history_messages, 1);

    world.wait_ms(24 * 60 * 60_000);

    let ana = world.connect();
    world.sub_from(ana, "chat", Start::Last(9));
    assert_eq!(world.read(ana), ["ok 1 at 3", "chat 3 m1"]);
    assert_eq!(world.hub().stats().expired, 2);
}

#[test]
fn a_message_larger_than_the_channels_bound_is_kept_while_it_is_the_newest() {
    let small = Rule { bytes: 1024, ..Rule::kept("#") };
    let mut world = World::with(Default::default(), vec![small]);
    let ana = world.connect();
    world.say(ana, "chat", "small");
    world.say(ana, "chat", &"x".repeat(5000));
    assert_eq!(world.hub().stats().history_messages, 1);

    world.say(ana, "chat", "small");

    assert_eq!(world.hub().stats().history_messages, 1);
    world.sub_from(ana, "chat", Start::Last(9));
    assert_eq!(world.read(ana), ["ok 1 at 3", "chat 3 small"]);
}
