//! What happens to channels is told once, by their home, and only to who wants to know.

use sockeye_hub::{Limits, Rule};

use crate::world::World;

fn wanting(shards: u16) -> World {
    let mut world = World::with_shards(shards, Limits::default(), vec![Rule::live("live/#")]);
    for hub in &mut world.hubs {
        hub.want_channel_events(true);
    }
    world
}

/// All events so far, as `created chat`.
fn events(world: &mut World) -> Vec<String> {
    world.settle();
    let mut events = Vec::new();
    for hub in &mut world.hubs {
        while let Some(event) = hub.take_channel_event() {
            events.push(format!("{} {}", event.change.as_str(), event.channel));
        }
    }
    events
}

#[test]
fn a_channels_life_is_told_from_its_making_to_its_end() {
    for shards in [1, 2, 3] {
        let mut world = wanting(shards);
        let last = usize::from(shards) - 1;
        let (ana, ben) = (world.connect_to(0, None), world.connect_to(last, None));

        world.say(ana, "live/chat", "hi");
        assert_eq!(events(&mut world), ["created live/chat"]);
        world.sub(ana, "live/chat");
        world.sub(ben, "live/chat");
        assert_eq!(events(&mut world), ["heard live/chat"], "{shards} shards");
        world.unsub(ana, "live/chat");
        assert_eq!(events(&mut world), [""; 0]);
        world.disconnect(ben);
        assert_eq!(events(&mut world), ["unheard live/chat"], "{shards} shards");
        world.wait_ms(60_001);
        assert_eq!(events(&mut world), ["forgotten live/chat"]);
    }
}

#[test]
fn who_does_not_want_events_has_none_and_patterns_make_none() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "before");
    world.hubs[0].want_channel_events(true);
    world.sub(ana, "live/#");
    world.sub(ana, "$sys/channels");
    assert_eq!(events(&mut world), [""; 0]);

    world.unsub(ana, "before");
    assert_eq!(events(&mut world), ["unheard before"]);
    world.say(ana, "after", "hi");
    world.hubs[0].want_channel_events(false);
    assert_eq!(events(&mut world), [""; 0]);
}

#[test]
fn events_that_nobody_takes_are_counted_instead_of_kept() {
    let mut world = wanting(1);
    let ana = world.connect();

    for number in 0..1_500 {
        world.say(ana, &format!("c{number}"), "hi");
    }

    assert_eq!(events(&mut world).len(), 1_024);
    assert_eq!(world.hubs[0].take_skipped_channel_events(), 476);
    assert_eq!(world.hubs[0].take_skipped_channel_events(), 0);
}

#[test]
fn hearing_what_the_server_says_of_itself_is_known_until_the_last_one_leaves() {
    for shards in [1, 2] {
        let mut world = World::with_shards(shards, Limits::default(), Vec::new());
        let (ana, ben) = (world.connect(), world.connect());

        world.sub(ana, "chat");
        world.settle();
        assert!(!world.hub().hears_system());
        world.sub(ana, "$sys/clients");
        world.sub(ana, "$sys/clients");
        world.sub(ben, "$sys/#");
        world.settle();
        assert!(world.hub().hears_system());
        world.unsub(ana, "$sys/clients");
        world.settle();
        assert!(world.hub().hears_system());
        world.disconnect(ben);
        assert!(!world.hub().hears_system());
    }
}
