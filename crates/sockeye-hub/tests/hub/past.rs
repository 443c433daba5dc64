//! Looks into history without subscribing.

use sockeye_hub::{Limits, Past, Position};

use crate::world::{World, foreign};

fn world_with(messages: usize, limits: Limits) -> (World, Position) {
    let mut world = World::with(limits, Vec::new());
    let speaker = world.connect();
    for number in 1..=messages {
        world.say(speaker, "chat", &number.to_string());
    }
    let head = world.position("chat");
    (world, head)
}

fn ask(world: &mut World, last: Option<u64>, since: Option<Position>) -> String {
    let asker = world.connect();
    world.past(asker, "chat", Past { last, since });
    let answer = world.read(asker).pop().expect("a look back is answered");
    answer.split_once(" at ").expect("it was found").1.to_owned()
}

#[test]
fn past_gives_the_newest_or_what_follows_a_position() {
    let (mut world, head) = world_with(5, Limits::default());
    let since = Some(Position { sequence: 2, ..head });

    assert_eq!(ask(&mut world, None, None), "5 [1 2 3 4 5]");
    assert_eq!(ask(&mut world, Some(2), None), "5 [4 5]");
    assert_eq!(ask(&mut world, Some(0), None), "5 []");
    assert_eq!(ask(&mut world, None, since), "5 [3 4 5]");
    assert_eq!(ask(&mut world, Some(2), since), "5 [3 4] more");
    assert_eq!(ask(&mut world, None, Some(head)), "5 []");
    assert_eq!(ask(&mut world, None, Some(Position { sequence: u64::MAX, ..head })), "5 []");
    assert_eq!(ask(&mut world, None, Some(foreign(4))), "5 [1 2 3 4 5]");
}

#[test]
fn past_is_cut_by_messages_from_the_old_side_and_says_so() {
    let (mut world, head) = world_with(5, Limits { past_messages_max: 3, ..Limits::default() });
    let since = Some(Position { sequence: 1, ..head });

    assert_eq!(ask(&mut world, None, None), "5 [3 4 5] more");
    assert_eq!(ask(&mut world, Some(4), None), "5 [3 4 5] more");
    assert_eq!(ask(&mut world, Some(3), None), "5 [3 4 5]");
    assert_eq!(ask(&mut world, None, since), "5 [2 3 4] more");
}

#[test]
fn past_is_cut_by_bytes_but_gives_one_message_always() {
    let (mut world, head) = world_with(5, Limits { past_bytes_max: 2, ..Limits::default() });
    assert_eq!(ask(&mut world, None, None), "5 [4 5] more");
    assert_eq!(ask(&mut world, None, Some(Position { sequence: 0, ..head })), "5 [1 2] more");

    let speaker = world.connect();
    world.say(speaker, "chat", "a long one");

    assert_eq!(ask(&mut world, None, None), "6 [6] more");
}

#[test]
fn past_of_an_unknown_channel_is_not_found_and_creates_nothing() {
    let mut world = World::new();
    let ana = world.connect();

    world.past(ana, "chat", Past::default());
    world.past(ana, "chat/#", Past::default());

    assert_eq!(world.read(ana), ["error 1 not_found", "error 2 bad_request"]);
    assert_eq!(world.hub().stats().channels, 0);
}

#[test]
fn long_answers_that_nobody_reads_are_bounded_in_all_and_the_next_is_busy() {
    let limits = Limits { answers_total_bytes_max: 600, ..Limits::default() };
    for shards in [1, 2] {
        let mut world = World::with_shards(shards, limits.clone(), Vec::new());
        let other = usize::from(shards) - 1;
        let (speaker, first, second) =
            (world.connect(), world.connect_to(other, None), world.connect_to(other, None));
        let names = (0..).map(|number| format!("c{number}"));
        let channel = names.into_iter().find(|name| world.hub().home_of(name) == 0).expect("some of them");
        world.say(speaker, &channel, &"x".repeat(900));

        let ask = |world: &mut World, who| world.past(who, &channel, Past { last: Some(1), since: None });
        let read = |world: &mut World, who| {
            let read = world.read(who);
            let texts = read.iter().map(|text| text.split_once(' ').expect("a word and a number").1);
            texts
                .map(|text| text.split_once(' ').map_or(text, |(_, rest)| rest).to_owned())
                .collect::<Vec<_>>()
        };
        ask(&mut world, first);
        world.settle();
        ask(&mut world, second);
        assert_eq!(read(&mut world, second), ["busy"], "{shards} shards");
        world.publish(second, &channel, "small answers go on", None);
        assert_eq!(read(&mut world, second), ["at 2"], "{shards} shards");

        assert_eq!(read(&mut world, first), ["at 1 [1]"], "{shards} shards");
        ask(&mut world, second);
        assert_eq!(read(&mut world, second), ["at 2 [2]"], "{shards} shards");
        world.past(first, &channel, Past::default());
        world.settle();
        ask(&mut world, second);
        assert_eq!(read(&mut world, second), ["busy"], "{shards} shards");
        world.disconnect(first);
        ask(&mut world, second);
        assert_eq!(read(&mut world, second), ["at 2 [2]"], "{shards} shards");
    }
}
