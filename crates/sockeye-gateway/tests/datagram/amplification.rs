//! Nobody can be flooded by way of us: never more than three times the bytes received before proof, never an answer to
//! an answer, and no memory for forged addresses.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sockeye_gateway::Limits;
use sockeye_gateway::mail::Source;
use sockeye_hub::ShardInfo;

use crate::world::{World, cookie_in, source, texts};

#[test]
fn what_a_server_says_is_never_answered() {
    let mut world = World::new();
    let peer = source("192.0.2.1:7625");
    let cookie = world.subscribe(&peer, "a");

    for text in [
        r#"{"ok":1,"at":"k3f:1"}"#,
        r#"{"error":null,"code":"bad_request","why":"","retry":false}"#,
        r#"{"ch":"a","at":"k3f:1","t":1,"data":1}"#,
        r#"{"ch":"a","gap":{"from":"k3f:1","to":"k3f:2","why":"slow"}}"#,
        r#"{"pong":1}"#,
        r#"{"bye":"drain"}"#,
        r#"{"cookie":"0123456789abcdef"}"#,
        r#"{"pub":"a","data":1,"id":1,"ok":1}"#,
        r#"{"sub":"a","error":1}"#,
        r#"{"ping":1,"pong":1}"#,
        "not an object",
        "[1]",
        "",
        "\n",
        "\u{7f}ELF",
    ] {
        assert_eq!(world.receive(&peer, text), [], "{text:?}");
    }
    assert_eq!(world.receive(&peer, format!(r#"{{"cookie":"{cookie}"}}"#)), []);
    assert_eq!(world.receive(&peer, format!(r#"{{"ok":1,"ping":1,"cookie":"{cookie}"}}"#)), []);
    assert_eq!(world.hub.stats().published, 0);
}

#[test]
fn what_is_too_long_before_proof_is_a_cookie_and_after_it_the_answer() {
    let mut world = World::new();
    let peer = source("192.0.2.1:1");

    let cookie = cookie_in(&world.receive(&peer, r#"{"hello":1,"id":1}"#)).expect("hello is longer");
    let hello = world.receive(&peer, format!(r#"{{"hello":1,"id":1,"cookie":"{cookie}"}}"#));
    let padded = world.receive(&peer, format!(r#"{{"hello":1,"id":1}}{}"#, " ".repeat(40)));
    let wrong = cookie_in(&world.receive(&peer, r#"{"dance":1}"#)).expect("errors are longer");
    let nothing = world.receive(&peer, "{1}");

    assert!(texts(&hello)[0].contains("message_bytes_max"), "{hello:?}");
    assert!(texts(&padded)[0].contains("message_bytes_max"), "{padded:?}");
    assert_eq!(wrong, cookie);
    assert_eq!(nothing, []);
    assert_eq!(world.datagrams.counts().udp.unanswered, 1);
}

#[test]
fn the_answer_to_a_published_message_always_fits() {
    let mut world = World::new();
    let peer = source("192.0.2.1:1");

    for text in [
        r#"{"pub":"a","data":1,"id":1}"#,
        r#"{"pub":"a","b64":"","id":1}"#,
        r#"{"pub":"a","data":1,"id":""}"#,
    ] {
        for _ in 0..1_000 {
            let letters = world.receive(&peer, text);
            assert!(texts(&letters)[0].starts_with(r#"{"ok":"#), "{letters:?}");
            assert!(texts(&letters)[0].len() + 16 <= 3 * text.len(), "a sequence may have 16 digits more");
        }
    }
}

#[test]
fn forged_addresses_cost_no_memory() {
    let mut world = World::new();

    for number in 0..100_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let forged = source(&format!("10.{a}.{b}.{c}:{}", 1 + number % 65_535));
        let text = match number % 4 {
            0 => r#"{"sub":"a","id":1}"#,
            1 => r#"{"pub":"a","data":1,"id":1}"#,
            2 => r#"{"ping":1,"cookie":"0123456789abcdef"}"#,
            _ => r#"{"hello":1}"#,
        };
        world.receive(&forged, text);
    }

    assert_eq!(world.datagrams.sessions(), 0);
    assert_eq!(world.datagrams.poll_timeout(), None);
    // One helper, whoever publishes.
    assert_eq!(world.hub.stats().clients, 1);
}

/// What somebody may send.
fn text() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        r#"{"sub":"a","id":1COOKIE}"#,
        r##"{"sub":"#"COOKIE}"##,
        r#"{"sub":"a","since":"k3f:1","id":"x"COOKIE}"#,
        r#"{"unsub":"a"COOKIE}"#,
        r#"{"unsub":"b","id":3COOKIE}"#,
        r#"{"pub":"a","data":1COOKIE}"#,
        r#"{"pub":"a","data":{"text":"hi"},"id":4COOKIE}"#,
        r#"{"pub":"a/#","data":1COOKIE}"#,
        r#"{"pub":"$sys/x","data":1,"id":5COOKIE}"#,
        r#"{"past":"a","id":6COOKIE}"#,
        r#"{"ping":1COOKIE}"#,
        r#"{"ping":"a longer value","id":1COOKIE}"#,
        r#"{"hello":1,"id":7COOKIE}"#,
        r#"{"hello":2COOKIE}"#,
        r#"{"dance":1COOKIE}"#,
        r#"{"id":1COOKIE}"#,
        r#"{}"#,
        r#"{"#,
        r#"{"pub":"#,
        r#"{"ok":1,"ping":2COOKIE}"#,
    ]);
    prop_oneof![8 => known.prop_map(String::from), 1 => "[{}\":a-z0-9, ]{0,40}", 1 => r#"\{"[a-z]{1,6}":[0-9]{1,3}\}"#]
}

/// Which cookie goes with it.
#[derive(Clone, Copy, Debug)]
enum With {
    Nothing,
    Nonsense,
    Own,
    Stolen,
}

fn with() -> impl Strategy<Value = With> {
    prop::sample::select(vec![
        With::Nothing,
        With::Nothing,
        With::Nonsense,
        With::Own,
        With::Own,
        With::Stolen,
    ])
}

proptest! {
    #[test]
    fn nobody_gets_more_than_three_times_what_he_sent_before_he_has_proved_himself(
        steps in prop::collection::vec((0..4_usize, text(), with(), 0..40_000_u64), 1..60)
    ) {
        let limits = Limits { datagram_sessions_max: 2, ..Limits::default() };
        let mut world = World::with(limits, ShardInfo::single());
        let mut other = World::new();
        let sources: Vec<Source> = (1..=4).map(|port| source(&format!("192.0.2.1:{port}"))).collect();
        let mut cookies: BTreeMap<usize, String> = BTreeMap::new();
        let mut proved = [false; 4];
        let (mut received, mut sent) = ([0; 4], [0; 4]);

        for (who, text, with, ms) in steps {
            world.pass(ms);
            let cookie = match with {
                With::Nothing => None,
                With::Nonsense => Some("0123456789abcdef".to_owned()),
                With::Own => cookies.get(&who).cloned(),
                With::Stolen => cookies.get(&((who + 1) % 4)).cloned(),
            };
            // Old cookies count as proof here, so that the claim is about those who never had one.
            proved[who] |= matches!(with, With::Own) && cookie.is_some();
            let cookie = cookie.map(|cookie| format!(",\"cookie\":\"{cookie}\"")).unwrap_or_default();
            let text = text.replace("COOKIE", &cookie);
            received[who] += text.len();

            for (to, letter) in world.receive(&sources[who], &text) {
                let whose = sources.iter().position(|source| *source == to).expect("one of these");
                sent[whose] += letter.len();
                let said: serde_json::Value = serde_json::from_str(&letter).expect("every letter is JSON");
                if let Some(cookie) = said.get("cookie") {
                    cookies.insert(whose, cookie.as_str().expect("a text").to_owned());
                }
                // Another server that is made believe it came from us says nothing.
                prop_assert_eq!(other.receive(&source("192.0.2.9:7625"), &letter), []);
            }
            for who in 0..4 {
                prop_assert!(proved[who] || sent[who] <= 3 * received[who], "{} of {}", sent[who], received[who]);
            }
            prop_assert!(world.datagrams.sessions() <= 2);
        }
        world.pass(60_000);
        prop_assert_eq!(world.datagrams.sessions(), 0);
        prop_assert!(world.hub.stats().clients <= 1);
    }
}
