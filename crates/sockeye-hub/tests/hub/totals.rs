//! The bounds of history, whatever is said in which order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sockeye_hub::{Limits, Past, Rule, Start};

use crate::world::World;

#[derive(Clone, Debug)]
enum Step {
    Say { channel: usize, bytes: usize },
    Wait { ms: u64 },
    Hear { channel: usize },
    Leave { channel: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6usize, prop_oneof![0..200usize, Just(3000)]).prop_map(|(channel, bytes)| Step::Say { channel, bytes }),
        1 => (1..400u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..6usize).prop_map(|channel| Step::Hear { channel }),
        1 => (0..6usize).prop_map(|channel| Step::Leave { channel }),
    ]
}

/// A ring as anybody would write it: the newest 4, none older than 500 ms but the newest.
#[derive(Default)]
struct Model {
    head: u64,
    kept: Vec<(u64, u64)>,
}

proptest! {
    #[test]
    fn the_ring_holds_what_an_obvious_ring_holds(steps in prop::collection::vec(step(), 1..120)) {
        let rule = Rule { messages: 4, age_ms: 500, bytes: 1 << 20, ..Rule::kept("#") };
        let mut world = World::with(Limits::default(), vec![rule]);
        let (speaker, asker) = (world.connect(), world.connect());
        let mut models: BTreeMap<usize, Model> = BTreeMap::new();

        for step in steps {
            match step {
                Step::Say { channel, bytes } => {
                    world.say(speaker, &channel.to_string(), &"x".repeat(bytes));
                    let model = models.entry(channel).or_default();
                    model.head += 1;
                    model.kept.push((model.head, world.now.ms));
                }
                Step::Wait { ms } => world.wait_ms(ms),
                Step::Hear { .. } | Step::Leave { .. } => continue,
            }
            for (channel, model) in &mut models {
                let expired = |&(_, ms): &(u64, u64)| world.now.ms - ms >= 500;
                while model.kept.len() > 1 && (model.kept.len() > 4 || expired(&model.kept[0])) {
                    model.kept.remove(0);
                }
                world.past(asker, &channel.to_string(), Past::default());
                let kept: Vec<_> = model.kept.iter().map(|(sequence, _)| sequence.to_string()).collect();
                let answer = world.read(asker).pop().unwrap();
                let expected = format!(" at {} [{}]", model.head, kept.join(" "));
                prop_assert!(answer.ends_with(&expected), "{} but {}", answer, expected);
            }
        }
    }

    #[test]
    fn totals_hold_and_come_back_to_nothing(steps in prop::collection::vec(step(), 1..200)) {
        let limits = Limits { history_total_bytes_max: 8 << 10, ..Limits::default() };
        let rules = vec![Rule::live("5"), Rule { messages: 6, bytes: 4 << 10, age_ms: 300, ..Rule::kept("#") }];
        let mut world = World::with(limits, rules);
        let (speaker, hearer) = (world.connect(), world.connect());

        for step in steps {
            match step {
                Step::Say { channel, bytes } => world.say(speaker, &channel.to_string(), &"x".repeat(bytes)),
                Step::Wait { ms } => world.wait_ms(ms),
                Step::Hear { channel } => world.sub_from(hearer, &channel.to_string(), Start::Last(2)),
                Step::Leave { channel } => world.unsub(hearer, &channel.to_string()),
            }
            let stats = world.hub().stats();
            // Channels that are heard stay, and cost their names whatever happens.
            let unavoidable = 400 * stats.subscriptions;
            prop_assert!(stats.history_bytes <= (8 << 10) + unavoidable, "{:?}", stats);
            prop_assert!(stats.history_messages <= 36);
            world.read(hearer);
        }

        world.disconnect(hearer);
        for number in 0..40 {
            world.say(speaker, &format!("flood/{number}"), &"x".repeat(3000));
        }
        world.wait_ms(120_000);
        let stats = world.hub().stats();
        prop_assert!(stats.channels <= 3, "{:?}", stats);
        prop_assert_eq!(stats.channels, stats.history_messages);
    }
}

#[test]
fn names_alone_push_out_one_another_and_no_message() {
    let limits = Limits { history_total_bytes_max: 40_000, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (speaker, passer_by) = (world.connect(), world.connect());
    for _ in 0..20 {
        world.say(speaker, "orders", &"x".repeat(500));
    }
    world.publish(speaker, "orders", "paid", Some("k"));

    for number in 0..1_000 {
        world.sub(passer_by, &format!("news/{number}"));
        world.unsub(passer_by, &format!("news/{number}"));
    }
    world.publish(speaker, "orders", "paid", Some("k"));

    let stats = world.hub().stats();
    assert_eq!(stats.history_messages, 21);
    assert!(stats.history_bytes <= 40_000, "{stats:?}");
    assert_eq!(world.read(speaker), ["ok 1 at 21", "ok 2002 at 21 again"]);
}
