//! Slow readers: reading on, gaps, and closing.

use sockeye_hub::{Limits, Rule, Slow, Start, Subscribe};

use crate::world::{Who, World};

/// A world where four messages are a full outbox, and a channel keeps eight.
fn small_world(slow: Slow) -> (World, Who, Who) {
    let limits = Limits { outbox_messages_max: 4, lagging_channels_max: 2, ..Limits::default() };
    let mut world = World::with(limits, vec![Rule::live("live/#"), Rule { messages: 8, ..Rule::kept("#") }]);
    let (speaker, slowpoke) = (world.connect(), world.connect());
    world.sub_with(slowpoke, "chat", Subscribe { slow, ..Subscribe::default() });
    world.read(slowpoke);
    (world, speaker, slowpoke)
}

fn say_up_to(world: &mut World, speaker: Who, channel: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        world.say(speaker, channel, &format!("m{number}"));
    }
}

fn messages(channel: &str, numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|number| format!("{channel} {number} m{number}")).collect()
}

#[test]
fn a_slow_reader_reads_on_from_history() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);

    say_up_to(&mut world, speaker, "chat", 1..=10);

    assert_eq!(world.hub().outbox(slowpoke.id).len(), 4);
    assert_eq!(world.hub().stats().lagging, 1);
    assert_eq!(world.read(slowpoke), messages("chat", 1..=10));
    assert_eq!(world.hub().stats().lagging, 0);
    world.say(speaker, "chat", "m11");
    assert_eq!(world.read(slowpoke), messages("chat", 11..=11));
}

#[test]
fn what_history_has_lost_is_announced_once_and_exactly() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);

    say_up_to(&mut world, speaker, "chat", 1..=20);

    let mut expected = messages("chat", 1..=4);
    expected.push("chat gap 5..12 slow".to_owned());
    expected.extend(messages("chat", 13..=20));
    assert_eq!(world.read(slowpoke), expected);
    assert_eq!(world.hub().stats().missed_slow, 8);
}

#[test]
fn a_window_that_is_overrun_while_reading_is_announced() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);
    say_up_to(&mut world, speaker, "chat", 1..=8);
    let reader = world.connect();
    world.sub_from(reader, "chat", Start::Last(8));

    say_up_to(&mut world, speaker, "chat", 9..=18);

    let heard = world.read(reader);
    assert_eq!(heard[1..=4], messages("chat", 1..=4));
    assert_eq!(heard[5], "chat gap 5..10 slow");
    assert_eq!(heard[6..], messages("chat", 11..=18));
    world.disconnect(slowpoke);
}

#[test]
fn latest_goes_on_with_the_newest_after_a_gap() {
    let (mut world, speaker, slowpoke) = small_world(Slow::Latest);

    say_up_to(&mut world, speaker, "chat", 1..=7);

    let mut expected = messages("chat", 1..=4);
    expected.extend(["chat gap 5..6 slow".to_owned(), "chat 7 m7".to_owned()]);
    assert_eq!(world.read(slowpoke), expected);
    say_up_to(&mut world, speaker, "chat", 8..=8);
    assert_eq!(world.read(slowpoke), messages("chat", 8..=8));
}

#[test]
fn latest_still_recovers_everything_it_asked_for() {
    let (mut world, speaker, _) = small_world(Slow::All);
    say_up_to(&mut world, speaker, "chat", 1..=8);
    let reader = world.connect();

    world.sub_with(reader, "chat", Subscribe { start: Start::Last(8), own: true, slow: Slow::Latest });

    assert_eq!(world.read(reader)[1..], messages("chat", 1..=8));
}

#[test]
fn close_closes_a_slow_reader() {
    let (mut world, speaker, slowpoke) = small_world(Slow::Close);

    say_up_to(&mut world, speaker, "chat", 1..=5);

    assert_eq!(world.bye(slowpoke).unwrap().reason, "slow");
    assert_eq!(world.read(slowpoke), ["bye slow"]);
    assert_eq!(world.hub().subscriptions(slowpoke.id), 0);
}

#[test]
fn a_live_channel_has_nothing_to_read_on_from() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);
    world.sub(slowpoke, "live/a");
    world.read(slowpoke);

    say_up_to(&mut world, speaker, "live/a", 1..=9);

    let mut expected = messages("live/a", 1..=4);
    expected.push("live/a gap 5..9 slow".to_owned());
    assert_eq!(world.read(slowpoke), expected);
    say_up_to(&mut world, speaker, "live/a", 10..=10);
    assert_eq!(world.read(slowpoke), messages("live/a", 10..=10));
}

#[test]
fn too_many_lagging_channels_close_the_client() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);
    world.sub(slowpoke, "#");
    world.read(slowpoke);
    say_up_to(&mut world, speaker, "chat", 1..=4);

    world.say(speaker, "a", "x");
    world.say(speaker, "b", "x");
    assert_eq!(world.bye(slowpoke), None);
    world.say(speaker, "c", "x");

    assert_eq!(world.read(slowpoke), ["bye slow"]);
    assert_eq!(world.hub().stats().lagging, 0);
}

#[test]
fn recovering_too_many_channels_at_once_is_refused_rather_than_closed() {
    let (mut world, speaker, _) = small_world(Slow::All);
    let reader = world.connect();
    for channel in ["a", "b", "c", "d"] {
        say_up_to(&mut world, speaker, channel, 1..=8);
        world.sub_from(reader, channel, Start::Last(8));
    }

    let heard = world.read(reader);

    assert_eq!(
        heard.iter().filter(|text| text.starts_with("error")).collect::<Vec<_>>(),
        ["error 4 busy", "error 5 busy"]
    );
    assert_eq!(heard.iter().filter(|text| text.starts_with("b ")).count(), 8);
    assert_eq!(world.hub().subscriptions(reader.id), 2);
}

#[test]
fn lagging_channels_are_served_in_turn() {
    let limits = Limits { outbox_messages_max: 4, page_bytes: 1, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (speaker, slowpoke) = (world.connect(), world.connect());
    world.sub(slowpoke, "+");
    say_up_to(&mut world, speaker, "full", 1..=4);
    say_up_to(&mut world, speaker, "a", 1..=3);
    say_up_to(&mut world, speaker, "b", 1..=3);

    let heard = world.read(slowpoke);

    assert_eq!(heard[5..], ["a 1 m1", "b 1 m1", "a 2 m2", "b 2 m2", "a 3 m3", "b 3 m3"]);
}

#[test]
fn a_message_larger_than_the_outbox_reaches_an_empty_one() {
    let limits = Limits { outbox_bytes_max: 100, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let ana = world.connect();
    world.sub(ana, "chat");
    let large = "x".repeat(1000);

    world.say(ana, "chat", &large);
    world.say(ana, "chat", "small");
    world.say(ana, "chat", &large);

    assert_eq!(world.hub().outbox(ana.id).messages(), 1);
    let heard = world.read(ana);
    assert_eq!(heard.len(), 4);
    assert_eq!(heard[2], "chat 2 small");
}

#[test]
fn ones_own_messages_are_not_missing() {
    let (mut world, speaker, _) = small_world(Slow::All);
    let ana = world.connect();
    world.sub_with(ana, "chat", Subscribe { own: false, ..Subscribe::default() });
    say_up_to(&mut world, speaker, "chat", 1..=4);
    world.say(ana, "chat", "own");
    assert_eq!(world.hub().stats().lagging, 1, "only the other one lags");
    say_up_to(&mut world, speaker, "chat", 6..=6);
    world.say(ana, "chat", "own");
    say_up_to(&mut world, speaker, "chat", 8..=8);

    let mut expected = messages("chat", 1..=4);
    expected.extend(["chat 6 m6".to_owned(), "chat 8 m8".to_owned()]);
    assert_eq!(world.read(ana)[1..], expected);
}

#[test]
fn subscribing_again_ends_the_lag_and_restarts_the_story() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);
    say_up_to(&mut world, speaker, "chat", 1..=7);

    world.sub(slowpoke, "chat");
    world.read_one(slowpoke);
    say_up_to(&mut world, speaker, "chat", 8..=8);

    assert_eq!(world.hub().stats().lagging, 0);
    assert_eq!(world.read(slowpoke)[2..], ["chat 4 m4", "ok 2 at 7", "chat 8 m8"]);
}

#[test]
fn a_pattern_takes_over_the_lag_of_an_exact_subscription() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);
    world.sub(slowpoke, "+");
    world.read(slowpoke);
    say_up_to(&mut world, speaker, "chat", 1..=7);

    world.unsub(slowpoke, "chat");

    let mut expected = messages("chat", 1..=4);
    expected.push("ok 3".to_owned());
    expected.extend(messages("chat", 5..=7));
    assert_eq!(world.read(slowpoke), expected);
}

#[test]
fn unsubscribing_ends_the_lag() {
    let (mut world, speaker, slowpoke) = small_world(Slow::All);
    say_up_to(&mut world, speaker, "chat", 1..=7);

    world.unsub(slowpoke, "chat");

    let mut expected = messages("chat", 1..=4);
    expected.push("ok 2".to_owned());
    assert_eq!(world.read(slowpoke), expected);
    assert_eq!(world.hub().stats().lagging, 0);
}

#[test]
fn all_outboxes_together_are_bounded_and_the_stalest_gives_back() {
    let limits = Limits { outbox_total_bytes_max: 200, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (speaker, stalled, healthy) = (world.connect(), world.connect(), world.connect());
    world.sub(stalled, "chat");
    world.sub(healthy, "chat");
    let mut heard = Vec::new();

    for number in 1..=30 {
        world.say(speaker, "chat", &format!("m{number}"));
        assert!(world.hub().stats().outbox_bytes <= 200);
        heard.extend(world.read(healthy));
    }

    assert_eq!(heard[1..], messages("chat", 1..=30));
    assert!(world.hub().stats().reclaimed > 0);
    assert_eq!(world.read(stalled)[1..], messages("chat", 1..=30));
}

#[test]
fn what_was_queued_before_a_new_subscription_becomes_a_gap_in_its_place() {
    let limits = Limits { outbox_total_bytes_max: 100, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (speaker, stalled) = (world.connect(), world.connect());
    world.sub(stalled, "chat");
    world.sub(stalled, "other");
    say_up_to(&mut world, speaker, "chat", 1..=3);
    say_up_to(&mut world, speaker, "other", 1..=1);
    world.sub(stalled, "chat");

    say_up_to(&mut world, speaker, "chat", 4..=12);

    let heard = world.read(stalled);
    assert_eq!(heard[2..5], ["chat gap 1..3 slow", "other gap 1..1 slow", "ok 3 at 3"]);
    assert_eq!(heard[5..], messages("chat", 4..=12));
}

#[test]
fn a_half_written_message_is_not_taken_back() {
    let limits = Limits { outbox_total_bytes_max: 60, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (speaker, stalled) = (world.connect(), world.connect());
    world.sub(stalled, "chat");
    world.read(stalled);
    say_up_to(&mut world, speaker, "chat", 1..=2);
    world.hubs[0].set_front_offset(stalled.id, 4);

    say_up_to(&mut world, speaker, "chat", 3..=9);

    let outbox = world.hub().outbox(stalled.id);
    assert_eq!((outbox.front_offset(), outbox.messages()), (4, 1));
    assert_eq!(world.read(stalled), messages("chat", 1..=9));
}

#[test]
fn a_subscription_goes_on_when_its_replacement_is_refused() {
    let (mut world, speaker, _) = small_world(Slow::All);
    let reader = world.connect();
    say_up_to(&mut world, speaker, "chat", 1..=4);
    world.sub(reader, "chat");
    for channel in ["a", "b"] {
        say_up_to(&mut world, speaker, channel, 1..=8);
        world.sub_from(reader, channel, Start::Last(8));
    }

    world.sub_from(reader, "chat", Start::Last(2));
    let refused = world.read(reader);
    world.say(speaker, "chat", "m5");

    assert_eq!(refused.iter().filter(|text| text.ends_with("busy")).count(), 1);
    assert_eq!(world.read(reader), messages("chat", 5..=5));
}
