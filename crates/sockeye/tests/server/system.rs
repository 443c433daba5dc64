//! What the server tells of its clients and channels on `$sys/clients` and `$sys/channels`.

use serde_json::{Value, json};

use crate::client::{Lines, WebSocket};
use crate::world::Server;

/// Somebody who hears one of the server's channels.
fn hearer(server: &Server, channel: &str) -> Lines {
    let mut lines = server.lines();
    let answer = lines.ask(&format!(r#"{{"sub":"{channel}","id":1}}"#));
    assert!(answer.get("ok").is_some(), "{answer}");
    lines
}

/// The next event, without what differs between runs. Figures come in between, each second and when a shard begins.
fn event(lines: &mut Lines) -> Value {
    let mut push = lines.receive();
    while push["ch"] == "$sys/stats" {
        push = lines.receive();
    }
    let mut data = push["data"].clone();
    let shard = data.as_object_mut().and_then(|data| data.remove("shard"));
    assert!(shard.is_some(), "each event names its shard: {push}");
    data
}

#[test]
fn a_clients_life_is_told_with_its_address_protocol_and_end() {
    let server = Server::start();
    let mut hearer = hearer(&server, "$sys/clients");

    let mut socket = WebSocket::open(&server, "/ws");
    let you = socket.ask(r#"{"hello":1,"id":1}"#)["you"].clone();
    let address = match socket.stream() {
        crate::client::Stream::Tcp(tcp) => tcp.local_addr().unwrap().to_string(),
        _ => unreachable!("it came by TCP"),
    };
    let told = |event: &str, protocol: &str| json!({"event": event, "id": you, "address": address, "protocol": protocol});
    assert_eq!(event(&mut hearer), json!({"event": "connect", "id": you, "address": address}));
    assert_eq!(event(&mut hearer), told("speaks", "ws"));

    socket.send_close(Some(1000), "");
    let mut end = told("disconnect", "ws");
    end["reason"] = json!("closed");
    assert_eq!(event(&mut hearer), end);
}

#[test]
fn a_client_by_unix_socket_has_no_address_and_silence_a_reason() {
    let server = Server::with("[limits]\nfirst_byte_timeout = \"100ms\"\n");
    let mut hearer = hearer(&server, "$sys/#");

    let silent = server.connect_unix();

    let connect = event(&mut hearer);
    assert_eq!((&connect["event"], connect.get("address")), (&json!("connect"), None));
    let end = event(&mut hearer);
    assert_eq!((&end["event"], &end["protocol"]), (&json!("disconnect"), &json!("unknown")));
    assert_eq!(end["reason"], "no first byte in time");
    drop(silent);
}

#[test]
fn a_channels_life_is_told() {
    let server = Server::with(
        "[limits]\nchannel_grace = \"50ms\"\n[[channels]]\npattern = \"c/#\"\nkind = \"live\"\n",
    );
    let mut hearer = hearer(&server, "$sys/channels");
    let mut client = server.lines();

    client.ask(r#"{"sub":"c/1","id":1}"#);
    client.ask(r#"{"unsub":"c/1","id":2}"#);

    for word in ["created", "heard", "unheard", "forgotten"] {
        assert_eq!(event(&mut hearer), json!({"event": word, "channel": "c/1"}));
    }
}

#[test]
fn a_storm_is_cut_short_and_the_count_of_what_was_cut_is_told() {
    let server = Server::with("[limits]\nevents_per_second_max = 20\n");
    let mut hearer = hearer(&server, "$sys/channels");
    let mut client = server.lines();

    const STORM: u64 = 500;
    for number in 0..STORM {
        client.send(&format!(r#"{{"pub":"storm/{number}","data":1}}"#));
    }
    client.ask(r#"{"ping":1}"#);

    let (mut told, mut skipped) = (0, 0);
    while told + skipped < STORM {
        let event = event(&mut hearer);
        match event["event"].as_str() {
            Some("created") => told += 1,
            Some("skipped") => skipped += event["count"].as_u64().unwrap(),
            _ => panic!("{event}"),
        }
    }
    assert_eq!(told + skipped, STORM, "each is told or counted");
    assert!(skipped > 0, "{told} were told");
}

#[test]
fn who_does_not_ask_costs_nothing_and_tokens_are_never_told() {
    let server = Server::start();
    server.lines().ask(r#"{"pub":"quiet","data":1,"id":1}"#);
    let mut late = hearer(&server, "$sys/#");

    let mut client = server.lines();
    client.send(r#"{"past":"$sys/clients","id":1}"#);
    let answer = client.receive();
    let texts = answer["messages"].to_string();
    assert!(!texts.contains("quiet"), "{answer}");
    assert_eq!(event(&mut late)["event"], "connect", "what came before was not kept");
}
