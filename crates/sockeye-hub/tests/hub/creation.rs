//! A client creates as many channels as it is allowed, wherever they live, and uses those that exist without bound.

use sockeye_hub::{Creations, Limits};

use crate::world::World;

#[test]
fn new_channels_are_bound_and_known_ones_are_not() {
    for shards in [1, 3] {
        let mut world = World::with_shards(shards, Limits::default(), Vec::new());
        let ana = world.connect();
        let bob = world.connect();
        world.say(bob, "known", "hi");
        world.settle();
        let allowed = Creations { left: 2, reserved: 0, retry_ms: 700 };
        world.hubs[0].allow_creations(ana.id, Some(allowed));

        for name in ["a", "b", "c", "known", "a"] {
            world.say(ana, name, "x");
            world.settle();
        }
        world.sub(ana, "d");
        world.sub(ana, "known");
        world.settle();

        let heard = world.read(ana);
        let refused = heard.iter().filter(|line| line.contains("rate")).count();
        assert_eq!(refused, 2, "{shards} shards: {heard:?}");
        assert_eq!(
            world.hubs[0].creations(ana.id),
            Some(Creations { left: 0, ..allowed }),
            "{shards} shards"
        );
        world.say(bob, "e", "others may");
        world.settle();
        assert!(!world.read(bob).iter().any(|line| line.contains("rate")));
    }
}
