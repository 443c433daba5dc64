//! Who hears what, and in which order.

use crate::world::World;
use sockeye_hub::{Limits, Subscribe};

#[test]
fn subscriber_hears_what_is_published_after_its_ok() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());

    world.say(ana, "chat/42", "early");
    world.sub(ben, "chat/42");
    world.say(ana, "chat/42", "hi");

    assert_eq!(world.read(ben), ["ok 1 at 1", "chat/42 2 hi"]);
}

#[test]
fn ok_of_a_publish_comes_before_the_push_of_it() {
    let mut world = World::new();
    let ana = world.connect();

    world.sub(ana, "chat");
    world.publish(ana, "chat", "hi", None);

    assert_eq!(world.read(ana), ["ok 1 at 0", "ok 2 at 1", "chat 1 hi"]);
}

#[test]
fn nothing_follows_the_ok_of_an_unsubscription() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());

    world.sub(ben, "chat");
    world.say(ana, "chat", "one");
    world.unsub(ben, "chat");
    world.say(ana, "chat", "two");

    assert_eq!(world.read(ben), ["ok 1 at 0", "chat 1 one", "ok 2"]);
}

#[test]
fn unsubscribing_from_what_is_not_heard_is_not_found() {
    let mut world = World::new();
    let ana = world.connect();

    world.unsub(ana, "chat");
    world.unsub(ana, "chat/#");
    world.unsub(ana, "chat/#/x");

    assert_eq!(world.read(ana), ["error 1 not_found", "error 2 not_found", "error 3 bad_request"]);
}

#[test]
fn overlapping_subscriptions_hear_a_message_once() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());

    world.sub(ben, "a/#");
    world.sub(ben, "a/+");
    world.sub(ben, "a/b");
    world.sub(ben, "#");
    world.say(ana, "a/b", "hi");
    world.say(ana, "a/c", "ho");
    world.say(ana, "d", "hu");

    assert_eq!(world.read(ben)[4..], ["a/b 1 hi", "a/c 1 ho", "d 1 hu"]);
}

#[test]
fn options_of_the_exact_subscription_win() {
    let mut world = World::new();
    let ana = world.connect();

    world.sub(ana, "a/#");
    world.sub_with(ana, "a/b", Subscribe { own: false, ..Subscribe::default() });
    world.say(ana, "a/b", "unheard");
    world.say(ana, "a/c", "heard");

    assert_eq!(world.read(ana)[2..], ["a/c 1 heard"]);
}

#[test]
fn options_of_the_oldest_pattern_win() {
    let mut world = World::new();
    let ana = world.connect();
    let without_own = Subscribe { own: false, ..Subscribe::default() };

    world.sub_with(ana, "a/+", without_own);
    world.sub(ana, "a/#");
    world.say(ana, "a/b", "unheard");
    assert_eq!(world.read(ana)[2..], [""; 0]);

    // The same pattern again is younger than all others.
    world.sub_with(ana, "a/+", without_own);
    world.say(ana, "a/b", "heard");
    assert_eq!(world.read(ana)[1..], ["a/b 2 heard"]);
}

#[test]
fn subscribing_again_replaces_the_options_and_answers_anew() {
    let mut world = World::new();
    let ana = world.connect();

    world.sub(ana, "chat");
    world.say(ana, "chat", "one");
    world.sub_with(ana, "chat", Subscribe { own: false, ..Subscribe::default() });
    world.say(ana, "chat", "two");

    assert_eq!(world.read(ana), ["ok 1 at 0", "chat 1 one", "ok 2 at 1"]);
    assert_eq!(world.hub().subscriptions(ana.id), 1);
}

#[test]
fn a_pattern_hears_on_after_the_exact_subscription_ends() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());

    world.sub(ben, "a/+");
    world.sub(ben, "a/b");
    world.say(ana, "a/b", "one");
    world.unsub(ben, "a/b");
    world.say(ana, "a/b", "two");

    assert_eq!(world.read(ben)[2..], ["a/b 1 one", "ok 3", "a/b 2 two"]);
}

#[test]
fn wildcards_in_the_first_level_do_not_hear_the_servers_own_channels() {
    let mut world = World::new();
    let ana = world.connect();

    world.sub(ana, "#");
    world.sub(ana, "+/stats");
    let now = world.now;
    world.hubs[0].publish_system("$sys/stats", sockeye_hub::Kind::Json, b"{}".as_slice().into(), now);
    assert_eq!(world.read(ana).len(), 2);

    assert!(!world.hub().has_audience("$sys/stats"));
    world.sub(ana, "$sys/#");
    assert!(world.hub().has_audience("$sys/stats"));
    world.hubs[0].publish_system("$sys/stats", sockeye_hub::Kind::Json, b"{}".as_slice().into(), now);
    assert_eq!(world.read(ana), ["ok 3", "$sys/stats 2 {}"]);
}

#[test]
fn a_client_may_not_publish_to_the_servers_own_channels() {
    let mut world = World::new();
    let ana = world.connect();

    world.publish(ana, "$sys/stats", "forged", None);

    assert_eq!(world.read(ana), ["error 1 denied"]);
}

#[test]
fn subscriptions_and_patterns_of_a_client_are_bounded() {
    let limits = Limits { subscriptions_max: 2, patterns_max: 1, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let ana = world.connect();

    for name in ["a", "b", "c", "b", "d/#", "e/#", "d/#"] {
        world.sub(ana, name);
    }

    let expected =
        ["ok 1 at 0", "ok 2 at 0", "error 3 too_many", "ok 4 at 0", "ok 5", "error 6 too_many", "ok 7"];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn channels_are_bounded() {
    let mut world = World::with(Limits { channels_max: 2, ..Limits::default() }, Vec::new());
    let ana = world.connect();

    world.sub(ana, "a");
    world.publish(ana, "b", "hi", None);
    world.publish(ana, "c", "hi", None);
    world.sub(ana, "d");

    assert_eq!(world.read(ana), ["ok 1 at 0", "ok 2 at 1", "error 3 too_many", "error 4 too_many"]);
}

#[test]
fn a_client_that_left_leaves_nothing_behind() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "a/b");
    world.sub(ana, "a/#");
    world.say(ana, "a/b", "hi");

    world.disconnect(ana);

    let stats = world.hub().stats();
    assert_eq!((stats.clients, stats.subscriptions, stats.patterns, stats.outbox_bytes), (0, 0, 0, 0));
    let ben = world.connect();
    assert_eq!(ben.id.index(), ana.id.index());
    assert_ne!(ben.id, ana.id);
    world.say(ben, "a/b", "ho");
    assert_eq!(world.read(ben), [""; 0]);
    world.sub(ana, "ghost");
    assert_eq!(world.read(ben), [""; 0]);
}

#[test]
fn touched_clients_are_taken_once_and_in_order() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    world.sub(ben, "chat");
    world.sub(ana, "chat");
    world.say(ana, "chat", "hi");

    let touched: Vec<_> = std::iter::from_fn(|| world.hubs[0].take_touched()).collect();

    assert_eq!(touched, [ben.id, ana.id]);
    world.say(ana, "chat", "ho");
    assert_eq!(world.hubs[0].take_touched(), Some(ben.id));
}
