//! The guard alone: who is admitted, and what it remembers.

use sockeye_gateway::mail::{PeerAddress, Source};
use sockeye_gateway::rate::{Meter as _, What, Whose};
use sockeye_hub::Creations;

use super::*;

fn guard(change: impl FnOnce(&mut GuardLimits)) -> Arc<Guard> {
    let mut limits = GuardLimits { address_exceptions: Vec::new(), ..GuardLimits::none() };
    change(&mut limits);
    Arc::new(Guard::new(&limits, &[]))
}

fn at(ms: u64) -> Now {
    Now { ms, unix_ms: 0 }
}

fn arrive(guard: &Arc<Guard>, address: &str, ms: u64) -> Result<Option<Box<Standing>>, Limit> {
    let mut standing = guard.admit()?;
    guard.admit_address(&mut standing, Some(address.parse().expect("an address")), at(ms))?;
    Ok(standing)
}

#[test]
fn without_bounds_nothing_is_kept() {
    let guard = guard(|_| {});

    assert!(arrive(&guard, "192.0.2.1", 0).expect("no bound").is_none());
    assert_eq!(guard.addresses.len(), 0);
}

#[test]
fn connections_in_all_are_given_back() {
    let guard = guard(|limits| limits.connections_max = 2);

    let first = arrive(&guard, "192.0.2.1", 0).expect("room");
    let _second = arrive(&guard, "192.0.2.2", 0).expect("room");
    assert_eq!(arrive(&guard, "192.0.2.3", 0).err(), Some(Limit::Connections));
    drop(first);

    assert!(arrive(&guard, "192.0.2.3", 0).is_ok());
    assert_eq!(guard.counts.of(Limit::Connections, Outcome::TurnedAway), 1);
}

#[test]
fn an_address_of_ipv6_is_its_64_and_a_mapped_one_is_ipv4() {
    let guard = guard(|limits| limits.address_connections_max = 1);

    let _first = arrive(&guard, "2001:db8:0:1::1", 0).expect("room");
    let _v4 = arrive(&guard, "::ffff:192.0.2.1", 0).expect("room");

    assert_eq!(arrive(&guard, "2001:db8:0:1:ffff::2", 0).err(), Some(Limit::AddressConnections));
    assert!(arrive(&guard, "2001:db8:0:2::1", 0).is_ok());
    assert_eq!(arrive(&guard, "192.0.2.1", 0).err(), Some(Limit::AddressConnections));
}

#[test]
fn who_is_turned_away_for_his_address_counts_for_nothing_else() {
    let guard = guard(|limits| {
        limits.connections_max = 2;
        limits.address_connections_max = 1;
    });
    let _first = arrive(&guard, "192.0.2.1", 0).expect("room");

    for _ in 0..10 {
        assert_eq!(arrive(&guard, "192.0.2.1", 0).err(), Some(Limit::AddressConnections));
    }

    assert!(arrive(&guard, "192.0.2.2", 0).is_ok());
}

#[test]
fn arrivals_are_bound_by_their_rate_though_nobody_stays() {
    let guard = guard(|limits| limits.address_arrivals_per_second = 2);
    let arrive = |ms| arrive(&guard, "192.0.2.1", ms).is_ok();

    assert_eq!((0..100).filter(|_| arrive(0)).count(), 10);
    assert!(!arrive(499) && arrive(500) && !arrive(500));
}

#[test]
fn exceptions_have_no_bound_per_address() {
    let guard = guard(|limits| {
        limits.address_connections_max = 1;
        limits.address_exceptions = vec!["192.0.2.0/24".parse().expect("a network")];
    });

    let all: Vec<_> = (0..10).map(|_| arrive(&guard, "192.0.2.1", 0).expect("no bound")).collect();

    assert!(all.iter().all(Option::is_none));
}

#[test]
fn the_table_forgets_who_is_as_new_and_never_grows_without_bound() {
    let guard = guard(|limits| {
        limits.address_connections_max = 10;
        limits.address_arrivals_per_second = 1;
    });
    let stays = arrive(&guard, "192.0.2.1", 0).expect("room");

    // Each from an address of its own, and none of them stays.
    for number in 0..300_000u64 {
        let address = format!("2001:db8:{:x}:{:x}::1", number >> 16, number & 0xffff);
        arrive(&guard, &address, number / 1_000).expect("the first from there");
    }

    assert!(guard.addresses.len() <= 2 * ACCOUNTS_IDLE_MAX, "{}", guard.addresses.len());
    // After a while all of them are as new, and the next sweeps take them.
    for number in 0..300_000u64 {
        let address = format!("2001:db9:{:x}:{:x}::1", number >> 16, number & 0xffff);
        arrive(&guard, &address, 1_000_000 + 20 * number).expect("the first from there");
    }
    assert!(guard.addresses.len() < 10_000, "{}", guard.addresses.len());
    let address = stays.as_ref().and_then(|standing| standing.address.as_ref()).expect("it is counted there");
    assert!(address.0.with(|state| state.has_connections()));
}

#[test]
fn a_message_takes_from_the_connection_and_from_its_address() {
    let guard = guard(|limits| {
        limits.messages_per_second = crate::config::PerWhom { connection: 10, user: 0, address: 12 };
        limits.burst_ms = 1_000;
    });
    let mut one = arrive(&guard, "192.0.2.1", 0).expect("room").expect("it is metered");
    let mut two = arrive(&guard, "192.0.2.1", 0).expect("room").expect("it is metered");
    let mut other = arrive(&guard, "192.0.2.2", 0).expect("room").expect("it is metered");

    assert!((0..10).all(|_| one.take_message(at(0)).is_ok()));
    let over = one.take_message(at(0)).expect_err("one too many");
    assert_eq!((over.whose, over.retry_ms, over.is_last), (Whose::Connection, 1_000, false));
    assert!(one.is_paused() && !one.resume(at(999)) && one.resume(at(1_000)));

    assert!((0..2).all(|_| two.take_message(at(0)).is_ok()));
    assert_eq!(two.take_message(at(0)).expect_err("one too many").whose, Whose::Address);
    assert!((0..10).all(|_| other.take_message(at(0)).is_ok()));
}

#[test]
fn bytes_are_shared_out_until_there_are_none() {
    let guard = guard(|limits| {
        limits.bytes_per_second = crate::config::PerWhom { connection: 1_000, user: 0, address: 0 };
        limits.burst_ms = 1_000;
    });
    let mut standing = arrive(&guard, "192.0.2.1", 0).expect("room").expect("it is metered");

    assert_eq!(standing.share(64, at(0)), Ok(64));
    assert_eq!(standing.share(4_096, at(0)), Ok(1_000));
    standing.spend(1_000, at(0));
    let over = standing.share(4_096, at(0)).expect_err("nothing is left");
    assert_eq!((over.what, over.retry_ms), (What::Bytes, 1_000));
    assert!(standing.resume(at(1_000)));
    assert_eq!(standing.share(4_096, at(1_000)), Ok(1_000));
}

#[test]
fn a_user_is_one_whatever_his_connections_and_addresses() {
    let guard = guard(|limits| {
        limits.messages_per_second = crate::config::PerWhom { connection: 0, user: 10, address: 0 };
        limits.burst_ms = 1_000;
    });
    let mut one = arrive(&guard, "192.0.2.1", 0).expect("room").expect("it is metered");
    let mut two = arrive(&guard, "192.0.2.2", 0).expect("room").expect("it is metered");
    let (ana, bob): (Arc<str>, Arc<str>) = ("ana".into(), "bob".into());

    assert!((0..7).all(|_| one.take_message_of(&ana, at(0)).is_ok()));
    assert!((0..3).all(|_| two.take_message_of(&ana, at(0)).is_ok()));
    assert_eq!(two.take_message_of(&ana, at(0)).expect_err("one too many").whose, Whose::User);
    assert!((0..10).all(|_| one.take_message_of(&bob, at(0)).is_ok()));

    // Nobody is forgotten while he lacks anything.
    drop((one, two));
    let mut three = arrive(&guard, "192.0.2.3", 0).expect("room").expect("it is metered");
    assert!(three.take_message_of(&ana, at(0)).is_err());
    assert!(three.take_message_of(&ana, at(100)).is_ok());
}

#[test]
fn other_bounds_hold_at_once_and_close_nobody() {
    let guard = guard(|limits| {
        limits.address_connections_max = 1;
        limits.messages_per_second.connection = 10;
        limits.burst_ms = 1_000;
    });
    let mut one = arrive(&guard, "192.0.2.1", 0).expect("room").expect("it is metered");
    assert!(arrive(&guard, "192.0.2.1", 0).is_err());

    let mut limits = GuardLimits { address_exceptions: Vec::new(), burst_ms: 1_000, ..GuardLimits::none() };
    limits.address_connections_max = 2;
    limits.messages_per_second.connection = 3;
    guard.change(&limits, &["192.0.2.9".parse().expect("a network")]);

    let _two = arrive(&guard, "192.0.2.1", 0).expect("there is room now");
    assert!(arrive(&guard, "192.0.2.1", 0).is_err());
    assert_eq!((0..10).filter(|_| one.take_message(at(0)).is_ok()).count(), 3);
    assert!(guard.expects_proxy_header("192.0.2.9".parse().ok()));
}

#[test]
fn what_datagrams_say_without_proof_uses_up_nothing_of_an_address() {
    let guard = guard(|limits| limits.messages_per_second.address = 1);
    let mut gate = guard.datagram_gate().expect("a rate is bound");
    let source = |address: &str| Source {
        socket: 0,
        local: None,
        peer: PeerAddress::Ip(address.parse().expect("an address")),
    };
    let victim = source("192.0.2.1:1");

    let admitted = (0..100).filter(|_| gate.admits(&victim, 20, false, at(0))).count();

    assert_eq!(admitted, 5);
    assert!(gate.admits(&victim, 20, true, at(0)));
    assert!(gate.admits(&source("192.0.2.2:1"), 20, false, at(0)));
    assert_eq!(guard.counts.of(Limit::AddressMessages, Outcome::Dropped), 95);
}

#[test]
fn a_hundred_thousand_forged_senders_leave_boundedly_many_accounts() {
    let guard = guard(|limits| limits.messages_per_second.address = 1);
    let mut gate = guard.datagram_gate().expect("a rate is bound");

    for number in 0..100_000_u32 {
        let ip = std::net::Ipv4Addr::from(number + (1 << 24));
        gate.admits(
            &Source { socket: 0, local: None, peer: PeerAddress::Ip((ip, 1).into()) },
            20,
            false,
            at(0),
        );
    }

    assert!(guard.senders.len() <= ACCOUNTS_IDLE_MAX, "{}", guard.senders.len());
    assert_eq!(guard.addresses.len(), 0);
}

#[test]
fn without_rates_nothing_is_asked_of_datagrams() {
    assert!(guard(|limits| limits.address_connections_max = 1).datagram_gate().is_none());
    assert!(guard(|limits| limits.channels_per_minute.address = 1).datagram_gate().is_none());
    assert!(guard(|limits| limits.bytes_per_second.user = 1).datagram_gate().is_some());
}

#[test]
fn what_was_reserved_as_one_user_is_not_given_back_to_another() {
    let guard = guard(|limits| {
        limits.channels_per_minute.connection = 100;
        limits.channels_per_minute.user = 10;
    });
    let ben: Arc<str> = "ben".into();
    let mut his = arrive(&guard, "192.0.2.1", 0).expect("room").expect("it is bound");
    his.take_message_of(&ben, at(0)).expect("no bound");
    let given = his.creations(None, at(0)).expect("a bound");
    assert_eq!(given.left, 10);
    his.settle_creations(Some(Creations { left: 2, ..given }), at(0));

    let mut nobodys = arrive(&guard, "192.0.2.2", 0).expect("room").expect("it is bound");
    let given = nobodys.creations(None, at(0)).expect("a bound");
    let asked = Creations { left: given.left - 5, reserved: 5, ..given };
    nobodys.settle_creations(Some(asked), at(0));
    nobodys.take_message_of(&ben, at(0)).expect("no bound");
    let given = nobodys.creations(Some(asked), at(0)).expect("a bound");
    assert_eq!(given.left, 2);
    let answered = Creations { left: given.left + 5, reserved: 0, ..given };

    assert_eq!(nobodys.creations(Some(answered), at(0)).expect("a bound").left, 2);
}
