//! Names and patterns: what is allowed, and that the tree agrees with the obvious rule.

use proptest::prelude::*;
use sockeye_hub::{Limits, NameError, Position, check_name, check_pattern, is_pattern, matches};

use crate::world::World;

#[test]
fn names_are_refused_with_the_fault() {
    assert_eq!(check_name("chat/42"), Ok(()));
    assert_eq!(check_name("/"), Ok(()));
    assert_eq!(check_name(&"x".repeat(1024)), Ok(()));
    assert_eq!(check_name(&"x/".repeat(31)), Ok(()));

    assert_eq!(check_name(""), Err(NameError::Empty));
    assert_eq!(check_name(&"x".repeat(1025)), Err(NameError::TooLong(1025)));
    assert_eq!(check_name(&"x/".repeat(32)), Err(NameError::TooDeep(33)));
    assert_eq!(check_name("a\nb"), Err(NameError::Control(10)));
    assert_eq!(check_name("a\u{85}b"), Err(NameError::Control(0x85)));
    assert_eq!(check_name("a/../b"), Err(NameError::DotLevel));
    assert_eq!(check_name("./b"), Err(NameError::DotLevel));
    assert_eq!(check_name("a/+"), Err(NameError::Wildcard('+')));
    assert_eq!(check_name("a#"), Err(NameError::Wildcard('#')));
    assert_eq!(check_pattern("a/b+/c"), Err(NameError::PlusNotAlone));
    assert_eq!(check_pattern("a/#/c"), Err(NameError::HashNotLast));
    assert_eq!(check_pattern("a/b#"), Err(NameError::HashNotLast));
    assert_eq!(check_pattern("+/a/#"), Ok(()));
    assert!(is_pattern("a/+") && is_pattern("#") && !is_pattern("a"));
}

#[test]
fn patterns_mean_what_mqtt_says() {
    for (pattern, name, is_meant) in [
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("+", "a", true),
        ("+", "a/b", false),
        ("+/+", "/", true),
        ("/+", "a", false),
        ("a/+/c", "a//c", true),
        ("#", "$sys/stats", false),
        ("+/stats", "$sys/stats", false),
        ("$sys/#", "$sys/stats", true),
        ("a/+", "a/$b", true),
    ] {
        assert_eq!(matches(pattern, name), is_meant, "{pattern} and {name}");
    }
}

#[test]
fn positions_are_read_as_they_are_written() {
    let position = Position::parse("k3f:122").unwrap();

    assert_eq!(position.to_string(), "k3f:122");
    assert_eq!((position.epoch.as_str(), position.sequence), ("k3f", 122));
    assert_eq!("abcdefghij012345:0".parse::<Position>().unwrap().epoch.as_str(), "abcdefghij012345");
    for wrong in ["", "k3f", "k3f:", ":1", "K3f:1", "k3f:+1", "k3f:-1", "k3f:1 ", "abcdefghij0123456:1"] {
        assert_eq!(Position::parse(wrong), None, "{wrong}");
    }
    assert_eq!(Position::parse("k3f:99999999999999999999"), None);
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just(""), Just("$c")].prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no name", |name| check_name(name).is_ok())
}

fn pattern() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+".to_owned())];
    (prop::collection::vec(level, 0..4), any::<bool>()).prop_filter_map("a name", |(mut levels, rest)| {
        if rest {
            levels.push("#".to_owned());
        }
        let pattern = levels.join("/");
        (is_pattern(&pattern) && check_pattern(&pattern).is_ok()).then_some(pattern)
    })
}

proptest! {
    #[test]
    fn the_tree_agrees_with_the_obvious_rule(
        steps in prop::collection::vec((pattern(), any::<bool>()), 1..20),
        names in prop::collection::vec(name(), 1..6),
    ) {
        let mut world = World::new();
        let (ana, ben) = (world.connect(), world.connect());
        let mut heard_patterns: Vec<&str> = Vec::new();

        for (pattern, comes) in &steps {
            if *comes {
                world.sub(ana, pattern);
                heard_patterns.push(pattern);
            } else {
                world.unsub(ana, pattern);
                heard_patterns.retain(|heard| heard != pattern);
            }
            world.read(ana);
            for name in &names {
                world.say(ben, name, "x");
                let is_heard = heard_patterns.iter().any(|pattern| matches(pattern, name));
                prop_assert_eq!(world.read(ana).len(), usize::from(is_heard), "{} under {:?}", name, heard_patterns);
            }
        }
    }
}

#[test]
fn a_search_that_looks_at_many_patterns_is_counted_as_work() {
    let limits = Limits { patterns_max: 1 << 10, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (hearer, speaker) = (world.connect(), world.connect());
    for bits in 0..1 << 10 {
        let level = |bit: u32| if bits >> bit & 1 == 0 { "a/" } else { "+/" };
        let pattern: String = (0..10).map(level).collect();
        world.sub(hearer, &format!("{pattern}z"));
    }

    world.hubs[0].grant_work(100);
    world.say(speaker, "b", "few");
    assert!(!world.hub().is_work_done());
    world.say(speaker, "a/a/a/a/a/a/a/a/a/a/b", "many");
    assert!(world.hub().is_work_done());
}
