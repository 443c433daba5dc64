//! Who may do what: no publish, no subscription and no look into history without its right, and none after it is lost.

use std::sync::Arc;

use proptest::prelude::*;
use sockeye_hub::{Identity, Item, Limits, Past, Rights, Tag, check_pattern, matches};

use crate::world::{Who, World};

fn identity(user: Option<&str>, publish: &[&str], hear: &[&str], admin: bool) -> Option<Arc<Identity>> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let rights = Rights::new(&owned(publish), &owned(hear), admin).expect("patterns");
    Some(Arc::new(Identity {
        user: user.map(Into::into),
        rights: Arc::new(rights),
        expires_ms: None,
        credential: None,
    }))
}

impl World {
    fn authorize(&mut self, who: Who, identity: Option<Arc<Identity>>) {
        let now = self.now;
        self.hubs[who.shard].authorize(who.id, identity, now);
    }

    fn look_back(&mut self, who: Who, channel: &str) {
        self.past(who, channel, Past::default());
    }

    fn pass_to(&mut self, ms: u64) {
        self.now.ms = ms;
        let now = self.now;
        for hub in &mut self.hubs {
            while hub.poll_timeout().is_some_and(|due| due <= now.ms) {
                hub.handle_timeout(now);
            }
        }
    }
}

#[test]
fn a_word_in_braces_that_is_not_the_users_place_is_no_right() {
    let right =
        |text: &str| Rights::new(&[], &[text.to_owned()], false).map_err(|(at, why)| (at, why.to_string()));
    for wrong in ["inbox/{usr}/#", "{User}", "a{ user }b", "{user}/{sub}", "{user-name}", "{a}{user}"] {
        let (pattern, why) = right(wrong).expect_err(wrong);
        assert!(pattern == wrong && why.contains("{user}"), "{why}");
    }
    // What could not be meant for the user's place is a name as others are: a GUID, an opened brace.
    for fine in ["{user}", "a-{user}-b/#", "{3f2504e0-4f89}", "{}", "{a", "a}", "}{", "{a/b}"] {
        assert!(right(fine).is_ok(), "{fine}");
    }
}

#[test]
fn what_is_not_granted_is_denied() {
    let mut world = World::new();
    let ana = world.connect();
    world.authorize(ana, identity(Some("ana"), &["chat/+"], &["chat/#", "$sys/#"], false));

    world.publish(ana, "chat/1", "hi", None);
    world.publish(ana, "chat/1/2", "hi", None);
    world.sub(ana, "chat/1");
    world.sub(ana, "other");
    world.sub(ana, "chat/+/x");
    world.sub(ana, "+/1");
    world.sub(ana, "#");
    world.sub(ana, "$sys/stats");
    world.look_back(ana, "chat/1");
    world.look_back(ana, "other");

    let expected = [
        "ok 1 at 1",
        "error 2 denied",
        "ok 3 at 1",
        "error 4 denied",
        "ok 5",
        "error 6 denied",
        "error 7 denied",
        "error 8 denied",
        "ok 9 at 1 [1]",
        "error 10 denied",
    ];
    assert_eq!(world.read(ana), expected);
}

#[test]
fn who_has_shown_no_token_is_asked_for_one() {
    let mut world = World::new();
    let rights = Rights::new(&[], &["public/#".into()], false).expect("patterns").without_token();
    let anonymous = Identity { user: None, rights: Arc::new(rights), expires_ms: None, credential: None };
    let early = world.connect();
    let now = world.now;
    world.sub(early, "secret");
    world.hubs[0].set_anonymous(Some(Arc::new(anonymous)), now);
    let late = world.connect();

    for who in [early, late] {
        world.publish(who, "public/1", "hi", None);
        world.sub(who, "public/1");
        world.sub(who, "$sys/stats");
    }

    let expected = ["ok 1 at 0", "secret ended", "error 2 unauthorized", "ok 3 at 0", "error 4 unauthorized"];
    assert_eq!(world.read(early), expected);
    assert_eq!(world.read(late), ["error 5 unauthorized", "ok 6 at 0", "error 7 unauthorized"]);
}

#[test]
fn hearing_the_server_needs_admin_and_admin_is_nothing_more() {
    let mut world = World::new();
    let (admin, open) = (world.connect(), world.connect());
    world.authorize(admin, identity(None, &[], &[], true));
    world.authorize(
        open,
        Some(Arc::new(Identity {
            user: None,
            rights: Arc::new(Rights::open()),
            expires_ms: None,
            credential: None,
        })),
    );

    for who in [admin, open] {
        world.sub(who, "$sys/#");
        world.sub(who, "chat");
        world.publish(who, "$sys/x", "hi", None);
    }

    assert_eq!(world.read(admin), ["ok 1", "error 2 denied", "error 3 denied"]);
    assert_eq!(world.read(open), ["error 4 denied", "ok 5 at 0", "error 6 denied"]);
}

#[test]
fn a_user_stands_in_the_pattern_and_widens_nothing() {
    let mut world = World::new();
    let may = |world: &mut World, user: Option<&str>, pattern: &str, name: &str| {
        let who = world.connect();
        world.authorize(who, identity(user, &[pattern], &[pattern], false));
        let hears = world.hubs[0].check_hearing(who.id, name).is_ok();
        if !name.contains(['+', '#']) {
            assert_eq!(hears, world.hubs[0].check_publishing(who.id, name).is_ok());
        }
        hears
    };

    for (user, pattern, name) in [
        ("ana", "inbox/{user}", "inbox/ana"),
        ("ana", "inbox/{user}/#", "inbox/ana"),
        ("ana", "inbox/{user}/#", "inbox/ana/+/x"),
        ("ana", "{user}/x", "ana/x"),
        ("ana", "a/to-{user}-{user}", "a/to-ana-ana"),
        ("{user}", "a/{user}", "a/{user}"),
        ("$sys", "a/{user}", "a/$sys"),
        ("ana maria", "a/{user}", "a/ana maria"),
    ] {
        assert!(may(&mut world, Some(user), pattern, name), "{user} {pattern} {name}");
    }
    for (user, pattern, name) in [
        (Some("ana"), "inbox/{user}", "inbox/ben"),
        (Some("ana"), "inbox/{user}", "inbox/{user}"),
        (Some("ana"), "inbox/{user}", "inbox/+"),
        (Some("ana"), "inbox/{user}/#", "inbox/#"),
        (Some("+"), "inbox/{user}", "inbox/+"),
        (Some("+"), "inbox/{user}", "inbox/ben"),
        (Some("#"), "inbox/{user}", "inbox/#"),
        (Some("#"), "inbox/{user}", "inbox/ben/x"),
        (Some("a/b"), "inbox/{user}", "inbox/a/b"),
        (Some("a/#"), "inbox/{user}", "inbox/a/b"),
        (Some("ben/.."), "inbox/{user}/x", "inbox/ben/../x"),
        (Some(""), "inbox/{user}", "inbox/"),
        (Some(""), "inbox{user}", "inbox"),
        (Some("$sys"), "{user}/stats", "$sys/stats"),
        (Some("$own"), "{user}/x", "$own/x"),
        (Some("."), "a/{user}/b", "a/./b"),
        (None, "inbox/{user}", "inbox/{user}"),
        (None, "inbox/{user}", "inbox/"),
    ] {
        assert!(!may(&mut world, user, pattern, name), "{user:?} {pattern} {name}");
    }
}

#[test]
fn lost_rights_end_what_was_heard_and_say_so() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    for name in ["chat/1", "chat/2", "news/#", "chat/+"] {
        world.sub(ana, name);
    }
    world.say(ben, "chat/1", "before");

    world.authorize(ana, identity(Some("ana"), &[], &["chat/1", "news/#"], false));
    for name in ["chat/1", "chat/2", "news/today"] {
        world.say(ben, name, "after");
    }

    let expected = [
        "ok 1 at 0",
        "ok 2 at 0",
        "ok 3",
        "ok 4",
        "chat/1 1 before",
        "chat/2 ended",
        "chat/+ ended",
        "chat/1 2 after",
        "news/today 1 after",
    ];
    assert_eq!(world.read(ana), expected);
    assert_eq!(world.hub().subscriptions(ana.id), 2);
}

#[test]
fn a_lag_ends_with_the_right_to_hear() {
    let limits = Limits { outbox_messages_max: 2, ..Limits::default() };
    let mut world = World::with(limits, Vec::new());
    let (ana, ben) = (world.connect(), world.connect());
    world.sub(ana, "chat");
    for number in 1..=9 {
        world.say(ben, "chat", &number.to_string());
    }

    world.authorize(ana, identity(None, &[], &["other"], false));

    assert_eq!(world.read(ana), ["ok 1 at 0", "chat 1 1", "chat 2 2", "chat ended"]);
}

#[test]
fn what_another_shard_allowed_too_late_is_not_heard() {
    let mut world = World::with_shards(2, Limits::default(), Vec::new());
    let name =
        (0..).map(|n| format!("c{n}")).find(|name| world.hub().home_of(name) == 1).expect("half of them");
    let (ana, ben) = (world.connect_to(0, None), world.connect_to(1, None));

    world.sub(ana, &name);
    world.sub(ana, "c/#");
    // The other shard has not answered yet.
    world.authorize(ana, identity(None, &[], &["elsewhere"], false));
    world.settle();
    world.say(ben, &name, "hi");
    world.say(ben, "c/1", "hi");

    assert_eq!(world.read(ana), ["error 1 denied", "error 2 denied"]);
    assert_eq!(world.hub().subscriptions(ana.id), 0);
    assert_eq!(world.hub().requests_in_flight(ana.id), 0);
}

#[test]
fn an_identity_that_ends_is_announced_and_then_ends_the_connection() {
    let mut world = World::new();
    let (ana, ben) = (world.connect(), world.connect());
    let until = |ms| {
        let rights = Arc::new(Rights::open());
        Some(Arc::new(Identity { user: None, rights, expires_ms: Some(ms), credential: None }))
    };
    world.authorize(ana, until(100_000));
    world.authorize(ben, until(100_000));
    world.sub(ana, "chat");

    world.pass_to(69_999);
    assert_eq!(world.read(ana), ["ok 1 at 0"]);
    world.pass_to(70_000);
    assert_eq!(world.read(ana), ["expires in 30000"]);
    // Renewing lets it go on, and what was announced is forgotten.
    world.authorize(ben, until(200_000));
    world.pass_to(100_000);

    assert_eq!(world.read(ana), ["bye expired"]);
    assert_eq!(world.bye(ana).map(|bye| bye.reason), Some("expired"));
    assert_eq!(world.read(ben), ["expires in 30000"]);
    assert_eq!(world.bye(ben), None);
    // Who answers the notice with a token that is good no longer than the last one is not told again.
    let carl = world.connect();
    world.authorize(carl, until(120_000));
    world.pass_to(100_001);
    assert_eq!(world.read(carl), ["expires in 19999"]);
    for ms in [120_000, 110_000] {
        world.authorize(carl, until(ms));
        world.pass_to(100_002);
        assert_eq!(world.read(carl), Vec::<String>::new());
    }
    world.authorize(carl, until(125_000));
    world.pass_to(100_003);
    assert_eq!(world.read(carl), ["expires in 24997"]);
    world.authorize(carl, until(120_000));
    world.pass_to(120_000);
    assert_eq!(world.read(carl), ["bye expired"]);
    // One without an end is never looked at again, and neither is one that is gone.
    world.authorize(ben, None);
    world.disconnect(ana);
    world.pass_to(1_000_000);
    assert_eq!(world.read(ben), Vec::<String>::new());
}

#[test]
fn messages_carry_the_user_of_the_moment() {
    let mut world = World::new();
    let (ana, ben) = (world.connect_to(0, Some("ana")), world.connect());
    world.sub(ben, "chat");

    world.publish(ana, "chat", "one", Some("k"));
    world.authorize(ana, identity(Some("eve"), &["#"], &[], false));
    world.publish(ana, "chat", "two", Some("k"));

    // Keys are remembered per user: the same key of another is another.
    assert_eq!(world.read(ben), ["ok 1 at 0", "chat 1 one", "chat 2 two"]);
}

/// Levels of a very small world, in which everything can be tried.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "+", "#", "{user}", "$s", "x{user}"])
}

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a pattern", |text| check_pattern(text).is_ok())
}

/// Every name of up to four levels of that world, with one letter that no pattern has.
fn names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..4 {
        longest = longest
            .iter()
            .flat_map(|start| {
                ["a", "b", "z", "$s", "xa", "u/u"].map(|level| match start.is_empty() {
                    true => level.to_owned(),
                    false => format!("{start}/{level}"),
                })
            })
            .collect();
        names.extend(longest.iter().cloned());
    }
    names
}

/// What somebody does in a random run.
#[derive(Clone, Debug)]
enum Act {
    Publish(usize, &'static str),
    Subscribe(usize, &'static str),
    LookBack(usize, &'static str),
    Authorize(usize, usize),
    Arrive(usize, usize),
    Settle,
}

const CHANNELS: [&str; 5] = ["a", "a/b", "a/c", "b/x", "c"];
const WANTED: [&str; 9] = ["a", "a/b", "a/c", "b/x", "c", "a/#", "+/b", "#", "b/+"];
/// To publish, and to hear.
const GRANTS: [(&[&str], &[&str]); 6] = [
    (&["#"], &["#"]),
    (&["a/#"], &["a/b"]),
    (&["b/{user}"], &["b/+", "c"]),
    (&[], &["a/#"]),
    (&["c"], &[]),
    (&[], &[]),
];

fn act() -> impl Strategy<Value = Act> {
    let who = || 0_usize..4;
    prop_oneof![
        4 => (who(), prop::sample::select(CHANNELS.to_vec())).prop_map(|(who, name)| Act::Publish(who, name)),
        4 => (who(), prop::sample::select(WANTED.to_vec())).prop_map(|(who, name)| Act::Subscribe(who, name)),
        1 => (who(), prop::sample::select(CHANNELS.to_vec())).prop_map(|(who, name)| Act::LookBack(who, name)),
        2 => (who(), 0..GRANTS.len()).prop_map(|(who, grant)| Act::Authorize(who, grant)),
        4 => (0_usize..3, 0_usize..3).prop_map(|(from, to)| Act::Arrive(from, to)),
        1 => Just(Act::Settle),
    ]
}

/// Whether a grant allows it, by the slow and obvious rule.
fn is_granted(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(&pattern.replace("{user}", "x"), name))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is asked, whenever rights change, however many shards divide the work: nothing is published, heard or
    /// looked up without the right to it.
    #[test]
    fn no_path_publishes_or_delivers_without_the_right(
        shards in 1_usize..4,
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut world = World::with_shards(shards as u16, Limits::default(), Vec::new());
        let clients: Vec<Who> = (0..4).map(|number| world.connect_to(number % shards, None)).collect();
        let mut grants = [0; 4];
        for who in &clients {
            world.authorize(*who, identity(Some("x"), GRANTS[0].0, GRANTS[0].1, false));
        }
        // What was asked by its tag: who asked, and whether he had the right to it then.
        let mut asked = vec![(0, true)];
        let check = |world: &mut World, number: usize, hear: &[&str], asked: &[(usize, bool)]| {
            let now = world.now;
            let hub = &mut world.hubs[clients[number].shard];
            hub.pump(clients[number].id, now);
            while let Some(item) = hub.pop_front(clients[number].id) {
                match item {
                    Item::Message(message) => {
                        prop_assert!(is_granted(hear, &message.channel), "heard {}", message.channel);
                        prop_assert!(message.from.as_deref() == Some("x"));
                    }
                    Item::Answer(answer) => {
                        let Tag::Number(tag) = answer.tag else { panic!("every request has its number") };
                        let (who, had_right) = asked[tag as usize];
                        prop_assert_eq!(who, number);
                        prop_assert!(had_right || answer.result.is_err(), "{:?}", answer);
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        for act in acts.into_iter().chain([Act::Settle]) {
            match act {
                Act::Publish(who, name) => {
                    asked.push((who, is_granted(GRANTS[grants[who]].0, name)));
                    world.publish(clients[who], name, "hi", None);
                }
                Act::Subscribe(who, name) => {
                    // A pattern may be heard if every channel there is that it means may be.
                    let hear = GRANTS[grants[who]].1;
                    let may = CHANNELS.iter().filter(|channel| matches(name, channel)).all(|c| is_granted(hear, c));
                    asked.push((who, may));
                    world.sub(clients[who], name);
                }
                Act::LookBack(who, name) => {
                    asked.push((who, is_granted(GRANTS[grants[who]].1, name)));
                    world.look_back(clients[who], name);
                }
                Act::Authorize(who, grant) => {
                    // What was queued until here was allowed until here.
                    check(&mut world, who, GRANTS[grants[who]].1, &asked)?;
                    grants[who] = grant;
                    world.authorize(clients[who], identity(Some("x"), GRANTS[grant].0, GRANTS[grant].1, false));
                }
                Act::Arrive(from, to) if from < shards && to < shards => {
                    world.collect();
                    world.arrive(from, to);
                }
                Act::Arrive(..) => {}
                Act::Settle => world.settle(),
            }
            for who in 0..4 {
                check(&mut world, who, GRANTS[grants[who]].1, &asked)?;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A granted pattern means all that is heard, and what is refused means something that is not granted.
    #[test]
    fn a_right_covers_exactly_what_it_means(
        allowed in pattern(),
        wanted in pattern(),
        user in prop::sample::select(vec![Some("a"), Some("$s"), Some("+"), Some("u/u"), None]),
    ) {
        let rights = Rights::new(&[], std::slice::from_ref(&allowed), false).expect("a pattern");
        // The oracle: the user's name is written into the pattern, where that makes one level of it.
        let has_place = allowed.contains("{user}");
        let written = match user {
            Some(user @ ("a" | "$s")) => Some(allowed.replace("{user}", user)),
            _ if has_place => None,
            _ => Some(allowed.clone()),
        };
        let begins_with_user = allowed.starts_with("{user}") && user == Some("$s");
        let means = |name: &str| written.as_ref().is_some_and(|text| {
            matches(text, name) && !(begins_with_user && name.starts_with('$'))
        });

        let is_covered = rights.check_hearing(user, &wanted).is_ok();
        let is_meant = names().iter().filter(|name| matches(&wanted, name)).all(|name| means(name));

        // `{user}` in what is wanted is itself a name's level, which the small world does not have.
        if !wanted.contains("{user}") {
            prop_assert_eq!(is_covered, is_meant, "{:?} {} {}", user, allowed, wanted);
        } else if is_covered {
            prop_assert!(is_meant, "{:?} {} {}", user, allowed, wanted);
        }
    }
}
