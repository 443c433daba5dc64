//! The queue itself: order, sizes, the gateway's own bytes, closing.

use sockeye_hub::{Bye, Encoding};

use crate::world::World;

#[test]
fn messages_count_at_their_full_encoded_length() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "chat");
    world.say(ana, "chat", "four");
    world.say(ana, "chat", "fives");

    let outbox = world.hub().outbox(ana.id);
    assert_eq!((outbox.len(), outbox.messages(), outbox.message_bytes()), (3, 2, 12 + 13));
    assert!(outbox.other_bytes() > 0);

    assert_eq!(world.read(ana).len(), 3);
    let outbox = world.hub().outbox(ana.id);
    assert_eq!((outbox.message_bytes(), outbox.other_bytes()), (0, 0));
    assert_eq!((world.hub().stats().outbox_bytes, world.hub().stats().answers_bytes), (0, 0));
}

#[test]
fn the_gateways_bytes_keep_their_place() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "chat");
    world.hubs[0].queue_bytes(ana.id, b"pong".as_slice().into());
    world.say(ana, "chat", "hi");
    world.hubs[0].queue_bytes_front(ana.id, b"head".as_slice().into());
    world.hubs[0].replace_front_item(ana.id, 1, b"answer".as_slice().into());

    assert_eq!(world.read(ana), ["bytes head", "bytes answer", "bytes pong", "chat 1 hi"]);
    assert_eq!((world.hub().outbox(ana.id).other_bytes(), world.hub().stats().answers_bytes), (0, 0));
}

#[test]
fn what_is_pushed_is_no_answer_encoded_or_not() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "chat");
    world.read(ana);
    world.say(ana, "chat", "hi");
    world.sub(ana, "more");

    let answer_bytes = world.hub().outbox(ana.id).other_bytes();
    world.hubs[0].replace_front_item(ana.id, 0, vec![b'x'; 1_000].into());
    let outbox = world.hub().outbox(ana.id);
    assert_eq!((outbox.other_bytes(), outbox.message_bytes()), (1_000 + answer_bytes, 0));
    assert!(outbox.has_answers_over(answer_bytes - 1) && !outbox.has_answers_over(answer_bytes));

    world.hubs[0].replace_front_item(ana.id, 1, vec![b'y'; 70].into());
    let has_answers = |world: &World| world.hub().outbox(ana.id).has_answers_over(69);
    assert!(has_answers(&world) && !world.hub().outbox(ana.id).has_answers_over(70));
    world.hubs[0].pop_front(ana.id);
    assert!(has_answers(&world));
    world.hubs[0].pop_front(ana.id);
    assert!(!has_answers(&world));
}

#[test]
fn closing_drops_messages_and_keeps_answers() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    world.sub(ana, "chat");
    world.say(ben, "chat", "half written");
    world.say(ben, "chat", "dropped");
    world.publish(ana, "chat", "hi", None);
    world.read_one(ana);
    world.hubs[0].set_front_offset(ana.id, 3);

    world.hubs[0].close(ana.id, Bye { reason: "drain", reconnect: Some((500, 15_000)) });
    world.say(ben, "chat", "unheard");
    world.publish(ana, "chat", "ignored", None);

    assert_eq!(world.hub().stats().answers_bytes, world.hub().outbox(ana.id).other_bytes() as u64);
    assert_eq!(world.bye(ana).unwrap().reason, "drain");
    assert_eq!(world.hub().outbox(ana.id).front_offset(), 3);
    assert_eq!(world.read(ana), ["chat 1 half written", "ok 2 at 3", "bye drain"]);
    assert_eq!(world.hub().stats().outbox_bytes, 0);
}

#[test]
fn changing_the_encoding_keeps_the_count_right() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "chat");
    world.say(ana, "chat", "hi");

    world.hubs[0].set_encoding(ana.id, Encoding(2));
    world.say(ana, "chat", "ho");

    assert_eq!(world.read(ana).len(), 3);
    assert_eq!(world.hub().stats().outbox_bytes, 0);
}

#[test]
fn each_encoding_is_made_once_and_only_when_somebody_takes_it() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    world.hubs[0].set_encoding(ben.id, Encoding(1));
    world.sub(ana, "chat");
    world.sub(ben, "chat");
    world.say(ana, "chat", "hi");
    world.read_one(ana);

    let Some(sockeye_hub::Item::Message(message)) = world.hubs[0].pop_front(ana.id) else { panic!() };

    assert_eq!(message.encoded_if_present(Encoding(0)), Some(b"aaaaaaaahi".as_slice()));
    assert_eq!(message.encoded_if_present(Encoding(1)), Some(b"bbbbbbbbhi".as_slice()));
    assert_eq!(message.encoded_if_present(Encoding(2)), None);
}

#[test]
fn a_farewell_comes_behind_everything_that_is_still_to_hear() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    world.sub(ana, "chat");
    world.say(ben, "chat", "hi");

    world.hubs[0].bid_farewell(ana.id, Bye { reason: "drain", reconnect: None });
    world.hubs[0].bid_farewell(ana.id, Bye { reason: "again", reconnect: None });
    world.say(ben, "chat", "unheard");

    assert_eq!(world.hub().subscriptions(ana.id), 0);
    assert_eq!(world.read(ana), ["ok 1 at 0", "chat 1 hi", "bye drain"]);
}

#[test]
fn a_hushed_client_keeps_only_what_comes_first() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    world.sub(ana, "chat");
    world.say(ben, "chat", "one");
    world.say(ben, "chat", "two");

    world.hubs[0].hush(ana.id, 2);
    world.say(ben, "chat", "unheard");

    assert_eq!(world.read(ana), ["ok 1 at 0", "chat 1 one"]);
    assert_eq!((world.hub().stats().outbox_bytes, world.hub().stats().subscriptions), (0, 0));
}

#[test]
fn a_hushed_client_keeps_what_is_half_written() {
    let mut world = World::new();
    let ana = world.connect();
    world.sub(ana, "chat");
    world.read(ana);
    world.say(ana, "chat", "half written");
    world.say(ana, "chat", "dropped");
    world.hubs[0].set_front_offset(ana.id, 3);

    world.hubs[0].hush(ana.id, 0);

    assert_eq!(world.read(ana), ["chat 1 half written"]);
    assert_eq!(world.hub().stats().outbox_bytes, 0);
}
