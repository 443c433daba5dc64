//! Channels that nobody needs are forgotten, and those who lagged there are told.

use sockeye_hub::{Limits, Past, Rule, Start};

use crate::world::World;

#[test]
fn an_idle_live_channel_is_forgotten_after_its_grace() {
    let mut world = World::with(Limits::default(), vec![Rule::live("#")]);
    let ana = world.connect();
    world.say(ana, "chat", "hi");

    world.wait_ms(59_999);
    world.say(ana, "chat", "hi");
    world.wait_ms(59_999);
    assert_eq!(world.hub().stats().channels, 1);

    world.wait_ms(1);
    assert_eq!(world.hub().stats().channels, 0);
    assert_eq!(world.hub().stats().history_bytes, 0);
    assert_eq!(world.hub().poll_timeout(), None);
}

#[test]
fn a_channel_with_an_exact_subscriber_is_never_forgotten() {
    let mut world = World::with(Limits::default(), vec![Rule::live("#")]);
    let ana = world.connect();
    world.sub(ana, "chat");
    world.say(ana, "chat", "hi");

    world.wait_ms(24 * 60 * 60_000);
    world.say(ana, "chat", "ho");
    assert_eq!(world.read(ana)[1..], ["chat 1 hi", "chat 2 ho"]);

    world.unsub(ana, "chat");
    world.wait_ms(60_000);
    assert_eq!(world.hub().stats().channels, 0);
}

#[test]
fn a_kept_channel_with_a_message_is_not_forgotten_by_time() {
    let mut world = World::new();
    let ana = world.connect();
    world.say(ana, "chat", "hi");

    world.wait_ms(30 * 24 * 60 * 60_000);

    world.sub_from(ana, "chat", Start::Last(1));
    assert_eq!(world.read(ana), ["ok 1 at 1", "chat 1 hi"]);
}

#[test]
fn a_channel_that_only_a_pattern_hears_is_forgotten() {
    let mut world = World::with(Limits::default(), vec![Rule::live("#")]);
    let ana = world.connect();
    world.sub(ana, "a/#");
    world.say(ana, "a/b", "hi");

    world.wait_ms(60_000);
    assert_eq!(world.hub().stats().channels, 0);

    world.say(ana, "a/b", "ho");
    assert_eq!(world.read(ana)[1..], ["a/b 1 hi", "a/b 1 ho"]);
}

#[test]
fn whoever_lagged_on_a_forgotten_channel_is_told_what_is_missing() {
    let limits = Limits { outbox_messages_max: 2, ..Limits::default() };
    let mut world = World::with(limits, vec![Rule::live("#")]);
    let ana = world.connect();
    world.sub(ana, "a/#");
    for number in 1..=5 {
        world.say(ana, "a/b", &format!("m{number}"));
    }

    world.wait_ms(60_000);
    assert_eq!(world.hub().stats().channels, 0);
    world.say(ana, "a/b", "reborn");

    let expected = ["ok 1", "a/b 1 m1", "a/b 2 m2", "a/b gap 3..5 evicted", "a/b gap 1..1 slow"];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn too_much_history_takes_the_oldest_message_and_then_its_channel() {
    let limits = Limits { history_total_bytes_max: 16 << 10, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let ana = world.connect();
    world.sub(ana, "heard");
    world.say(ana, "heard", "first");
    world.say(ana, "unheard", "second");

    for number in 0..20 {
        world.say(ana, "busy", &format!("{number} {}", "x".repeat(1000)));
    }

    let stats = world.hub().stats();
    assert!(stats.history_bytes <= 16 << 10, "{stats:?}");
    world.read(ana);
    world.past(ana, "heard", Past::default());
    world.past(ana, "unheard", Past::default());
    assert_eq!(world.read(ana), ["ok 2 at 1 []", "error 3 not_found"]);
}

#[test]
fn names_of_idle_channels_count_and_go() {
    let limits = Limits { history_total_bytes_max: 64 << 10, ..Limits::default() };
    let mut world = World::with(limits, vec![Rule::live("#")]);
    let ana = world.connect();

    for number in 0..1000 {
        world.say(ana, &format!("{number}/{}", "x".repeat(1000)), "hi");
    }

    let stats = world.hub().stats();
    assert!(stats.history_bytes <= 64 << 10 && stats.channels < 60, "{stats:?}");
}
