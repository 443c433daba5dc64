//! Idempotency keys, and what else a publish may not do.

use sockeye_hub::{Limits, Rule};

use crate::world::World;

#[test]
fn a_repeated_key_publishes_nothing_and_gives_the_first_position() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "chat");

    world.publish(ana, "chat", "hi", Some("c-91"));
    world.publish(ana, "chat", "hi", Some("c-92"));
    world.publish(ana, "chat", "hi", Some("c-91"));

    let expected = ["ok 1 at 0", "ok 2 at 1", "chat 1 hi", "ok 3 at 2", "chat 2 hi", "ok 4 at 1 again"];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn keys_belong_to_a_channel_and_a_user() {
    let mut world = World::new();
    let ana = world.connect_to(0, Some("ana"));
    let ben = world.connect_to(0, Some("ben"));
    let anonymous = world.connect();

    world.publish(ana, "chat", "hi", Some("k"));
    world.publish(ben, "chat", "hi", Some("k"));
    world.publish(anonymous, "chat", "hi", Some("k"));
    world.publish(ana, "other", "hi", Some("k"));
    let ana_again = world.connect_to(0, Some("ana"));
    world.publish(ana_again, "chat", "hi", Some("k"));

    assert_eq!(world.read(ana), ["ok 1 at 1", "ok 4 at 1"]);
    assert_eq!(world.read(ben), ["ok 2 at 2"]);
    assert_eq!(world.read(anonymous), ["ok 3 at 3"]);
    assert_eq!(world.read(ana_again), ["ok 5 at 1 again"]);
}

#[test]
fn a_key_is_forgotten_after_its_age() {
    let mut world = World::with(Limits::default(), vec![Rule::live("#")]);
    let ana = world.connect();
    world.publish(ana, "chat", "hi", Some("k"));

    world.wait_ms(5 * 60_000 - 1);
    world.publish(ana, "chat", "hi", Some("k"));
    world.wait_ms(1);
    assert_eq!(world.hub().stats().keys, 0);
    world.publish(ana, "chat", "hi", Some("k"));

    assert_eq!(world.read(ana)[..2], ["ok 1 at 1", "ok 2 at 1 again"]);
    assert_eq!(world.hub().stats().keys, 1);
}

#[test]
fn the_oldest_key_of_a_channel_gives_way() {
    let mut world = World::with(Limits { keys_max: 2, ..Limits::default() }, Vec::new());
    let ana = world.connect();

    for key in ["1", "2", "3", "2", "1"] {
        world.publish(ana, "chat", "hi", Some(key));
    }

    assert_eq!(world.read(ana), ["ok 1 at 1", "ok 2 at 2", "ok 3 at 3", "ok 4 at 2 again", "ok 5 at 4"]);
    assert_eq!(world.hub().stats().keys, 2);
}

#[test]
fn the_oldest_key_of_all_gives_way() {
    let mut world = World::with(Limits { keys_total_max: 2, ..Limits::default() }, Vec::new());
    let ana = world.connect();

    for channel in ["a", "b", "c", "b", "a"] {
        world.publish(ana, channel, "hi", Some("k"));
    }

    assert_eq!(world.read(ana), ["ok 1 at 1", "ok 2 at 1", "ok 3 at 1", "ok 4 at 1 again", "ok 5 at 2"]);
    assert_eq!(world.hub().stats().keys, 2);
}

#[test]
fn a_key_outlives_the_history_that_had_to_give_way() {
    for rule in [Rule::live("pay/#"), Rule::kept("pay/#")] {
        let limits = Limits { history_total_bytes_max: 20_000, ..Limits::default() };
        let mut world = World::with(limits, vec![rule, Rule::kept("#")]);
        let (ana, ben) = (world.connect(), world.connect());
        world.publish(ana, "pay/1", "100", Some("k"));

        for number in 0..100 {
            world.publish(ben, &format!("news/{}", number % 7), &"x".repeat(3_000), None);
        }
        world.publish(ana, "pay/1", "100", Some("k"));

        assert_eq!(world.read(ana), ["ok 1 at 1", "ok 102 at 1 again"]);
        assert!(world.hub().stats().history_bytes <= 20_000);
    }
}

#[test]
fn channels_with_keys_go_when_they_alone_fill_history() {
    let limits = Limits { history_total_bytes_max: 20_000, ..Limits::default() };
    let mut world = World::with(limits, vec![Rule::live("#")]);
    let ana = world.connect();

    for number in 0..200 {
        world.publish(ana, &format!("pay/{number}"), "100", Some("k"));
    }
    world.publish(ana, "pay/199", "100", Some("k"));

    assert_eq!(world.read(ana).last().map(String::as_str), Some("ok 201 at 1 again"));
    assert!(world.hub().stats().history_bytes <= 20_000);
    let kept = world.hub().stats().channels;
    assert!((40..60).contains(&kept), "{kept}");
}

#[test]
fn keys_outlive_a_bound_that_channels_which_are_heard_fill() {
    let limits = Limits { history_total_bytes_max: 20_000, ..Limits::default() };
    let mut world = World::with(limits, vec![Rule::live("#")]);
    let (ana, ben) = (world.connect(), world.connect());
    world.sub(ben, "pay/1");
    world.publish(ana, "pay/1", "100", Some("k"));

    for number in 0..100 {
        world.sub(ben, &format!("news/{number}"));
        world.say(ana, &format!("news/{number}"), "new");
    }
    world.publish(ana, "pay/1", "100", Some("k"));

    assert_eq!(world.read(ana), ["ok 2 at 1", "ok 103 at 1 again"]);
}

#[test]
fn too_large_messages_and_keys_are_refused() {
    let mut world = World::with(Limits { message_bytes_max: 4, ..Limits::default() }, Vec::new());
    let ana = world.connect();

    world.publish(ana, "chat", "four", None);
    world.publish(ana, "chat", "fives", None);
    world.publish(ana, "chat", "hi", Some(&"k".repeat(64)));
    world.publish(ana, "chat", "hi", Some(&"k".repeat(65)));
    world.publish(ana, "chat/+", "hi", None);

    let expected =
        ["ok 1 at 1", "error 2 too_large", "ok 3 at 2", "error 4 too_large", "error 5 bad_request"];
    assert_eq!(world.read(ana), expected);
}
