//! Rates that datagrams are held to: those of an address, with and without proof, and those of a session.

use serde_json::{Value, json};

use crate::client::Lines;
use crate::gram::Grams;
use crate::http_client::Http;
use crate::world::Server;

/// Ten at once from an address, and one more in two seconds: nothing comes back while a test runs.
const TEN_OF_AN_ADDRESS: &str =
    "[limits]\naddress_messages_per_second = 1\nrate_burst = \"10s\"\naddress_exceptions = []\n";

/// One figure of `/metrics`, asked where no address is counted.
fn figure(server: &Server, name: &str) -> u64 {
    let page = Http::over(server.connect_unix()).ask("GET", "/metrics", &[], b"").text();
    let figure = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    figure.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

/// Sends so many pings, and returns which are answered before one of another address is, which comes after them.
fn answered(server: &Server, gram: &mut Grams, pings: u64) -> u64 {
    for number in 0..pings {
        gram.send(&format!(r#"{{"ping":{number}}}"#));
    }
    server.wait_until("all have come", |server| {
        figure(server, "sockeye_datagrams_received_total{protocol=\"udp\"}") >= pings
    });
    let mut heard = 0;
    while gram.is_waiting() {
        assert_eq!(gram.receive_value(), json!({ "pong": heard }));
        heard += 1;
    }
    heard
}

#[test]
fn what_is_over_the_rate_of_an_unproved_address_is_dropped_and_counted() {
    // On one shard the answers are sent before the figures are told.
    let server = Server::on_shards(1, TEN_OF_AN_ADDRESS);
    let mut gram = Grams::udp(&server);

    assert_eq!(answered(&server, &mut gram, 25), 10);

    assert_eq!(
        figure(&server, "sockeye_limited_total{limit=\"address_messages_per_second\",outcome=\"dropped\"}"),
        15
    );
    assert_eq!(figure(&server, "sockeye_datagrams_dropped_total{protocol=\"udp\"}"), 15);
    assert_eq!(figure(&server, "sockeye_requests_total{protocol=\"udp\"}"), 10);
    // Neither another address nor the connections of this one, whose datagrams may be forged, are touched.
    let mut other = Grams::udp_from(&server, "127.0.0.2:0");
    other.send(r#"{"ping":1}"#);
    assert_eq!(other.receive_value()["pong"], 1);
    let mut lines = server.lines();
    for number in 0..10 {
        assert_eq!(lines.ask(&format!(r#"{{"ping":{number}}}"#))["pong"], number);
    }
    assert_eq!(lines.ask(r#"{"ping":10}"#)["code"], "rate");
}

#[test]
fn what_is_proved_shares_the_rate_of_its_address_with_its_connections() {
    let server = Server::on_shards(1, TEN_OF_AN_ADDRESS);
    let mut gram = Grams::udp(&server).prove();
    let mut lines = server.lines();
    for number in 0..8 {
        assert_eq!(lines.ask(&format!(r#"{{"ping":{number}}}"#))["pong"], number);
    }

    gram.ask(r#"{"sub":"shared","id":1}"#);
    assert_eq!(gram.receive_value()["ok"], 1);
    gram.ask(r#"{"sub":"shared/2","id":2}"#);
    assert_eq!(gram.receive_value()["ok"], 2);
    gram.ask(r#"{"sub":"shared/3","id":3}"#);

    let told = gram.receive_value();
    assert_eq!((&told["error"], &told["code"]), (&json!(3), &json!("rate")), "{told}");
    assert!(told["why"].as_str().unwrap().contains("address"), "{told}");
    assert_eq!(lines.ask(r#"{"ping":9}"#)["code"], "rate");
}

#[test]
fn a_session_over_its_rate_is_told_then_dropped_then_heard_again_and_at_last_ended() {
    let config = "[limits]\nmessages_per_second = 50\nrate_burst = \"200ms\"\nrate_strikes_max = 3\n";
    for kind in [Grams::udp, Grams::unix] {
        let server = Server::with(config);
        let mut gram = kind(&server).prove();
        let mut other = kind(&server).prove();
        for gram in [&mut gram, &mut other] {
            gram.ask(r#"{"sub":"news","id":"s"}"#);
            assert_eq!(gram.receive_value()["ok"], "s");
        }
        let (mut done, mut told, mut number) = (0, Vec::<Value>::new(), 0);

        let bye = loop {
            gram.ask(&format!(r#"{{"hello":1,"id":{number}}}"#));
            number += 1;
            assert!(number < 1_000_000, "it is never ended");
            let mut bye = None;
            while gram.is_waiting() {
                let said = gram.receive_value();
                match said.get("code") {
                    _ if said.get("bye").is_some() => bye = Some(said),
                    Some(code) => {
                        assert_eq!(code, "rate", "{said}");
                        told.push(said);
                    }
                    None => done += 1,
                }
            }
            if let Some(bye) = bye {
                break bye;
            }
        };

        assert_eq!(told.len(), 3, "{told:?}");
        assert!(done >= 20, "{done} were done: it was heard again");
        assert!(told[0]["retry_ms"].as_u64().is_some_and(|ms| (1..=200).contains(&ms)), "{told:?}");
        assert_eq!(bye["bye"], "rate");
        assert!(bye["reconnect"][0].as_u64().is_some(), "{bye}");
        // The other one is where it was.
        Lines::over(server.connect_unix()).ask(r#"{"pub":"news","data":"hi","id":1}"#);
        assert_eq!(other.receive_value()["data"], "hi");
        assert_eq!(
            figure(&server, "sockeye_limited_total{limit=\"messages_per_second\",outcome=\"closed\"}"),
            1
        );
    }
}

#[test]
fn bytes_of_a_session_are_counted_too_and_a_reload_brings_rates_to_new_sessions() {
    let server = Server::start();
    let mut early = Grams::unix(&server).prove();
    early.ask(r#"{"sub":"a","id":1}"#);
    assert_eq!(early.receive_value()["ok"], 1);

    server.rewrite("[limits]\nbytes_per_second = 1\nrate_burst = \"1000s\"\n");
    server.hang_up();
    server.wait_for_log(|line| line.contains("was read again"));

    let mut late = Grams::unix(&server).prove();
    late.ask(r#"{"sub":"a","id":1}"#);
    assert_eq!(late.receive_value()["ok"], 1);
    let large = "x".repeat(900);
    let ask = |gram: &mut Grams, id: u32| {
        gram.ask(&format!(r#"{{"unsub":"{large}","id":{id}}}"#));
        gram.receive_value()
    };
    assert_eq!(ask(&mut late, 2)["error"], 2);
    assert_eq!(ask(&mut late, 3)["error"], 3);
    let told = ask(&mut late, 4);
    assert_eq!((&told["error"], &told["code"]), (&json!(4), &json!("rate")), "{told}");
    assert!(told["why"].as_str().unwrap().contains("bytes from this session"), "{told}");
    // A session that nothing was asked of stays so.
    for id in 2..9 {
        assert_ne!(ask(&mut early, id)["code"], "rate");
    }
}
