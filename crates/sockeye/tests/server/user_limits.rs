//! What is counted for a user: one account for all his connections, whatever they speak, and nobody else's.

use std::io::Write as _;
use std::path::Path;

use crate::client::{Lines, WebSocket};
use crate::http_client::request;
use crate::world::Server;

/// Ten messages at once, and one more in two seconds: nothing comes back while a test runs.
const TEN: &str = "user_messages_per_second = 1\nrate_burst = \"10s\"\n";

/// A server that knows Ana and Ben by the tokens that [`token`] gives, and grants everybody everything.
fn start(folder: &Path, limits: &str) -> Server {
    Server::with(&config(folder, limits))
}

fn config(folder: &Path, limits: &str) -> String {
    let entry = |user: &str| {
        let file = folder.join(user);
        std::fs::write(&file, token(user)).unwrap();
        format!(
            "[[auth.tokens]]\ntoken = \"file:{}\"\nuser = \"{user}\"\npublish = [\"#\"]\nhear = [\"#\"]\nadmin = true\n",
            file.display()
        )
    };
    let anonymous = "[auth.anonymous]\npublish = [\"#\"]\nhear = [\"#\"]\n";
    format!("[limits]\n{limits}{anonymous}{}{}", entry("ana"), entry("ben"))
}

fn token(user: &str) -> String {
    format!("the token of {user}, long enough")
}

fn known(server: &Server, user: &str) -> Lines {
    let mut lines = server.lines();
    assert_eq!(lines.ask(&format!(r#"{{"auth":"{}","id":0}}"#, token(user)))["ok"], 0);
    lines
}

/// The request of a user, over HTTP.
fn page(user: &str) -> Vec<u8> {
    request("GET", "/healthz", &[("Authorization", &format!("Bearer {}", token(user)))], b"")
}

#[test]
fn the_messages_of_a_user_are_counted_over_all_his_connections_and_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), TEN);
    let mut lines = known(&server, "ana");
    let mut socket = WebSocket::open(&server, "/ws");
    assert_eq!(socket.ask(&format!(r#"{{"auth":"{}","id":0}}"#, token("ana")))["ok"], 0);
    let mut http = server.http();
    let mut ben = known(&server, "ben");
    let mut nobody = server.lines();

    // Three of the ten by each; who shows a token speaks for himself from then on.
    for n in 0..3 {
        assert_eq!(lines.ask(&format!(r#"{{"ping":{n}}}"#))["pong"], n);
        assert_eq!(socket.ask(&format!(r#"{{"ping":{n}}}"#))["pong"], n);
        http.send(&page("ana"));
        assert_eq!(http.receive().status, 200);
    }
    lines.0.stream.write_all(&b"{\"ping\":1}\n".repeat(12)).unwrap();

    let refused = std::iter::repeat_with(|| lines.receive()).find(|said| said["code"] == "rate").unwrap();
    assert!(refused["why"].as_str().unwrap().contains("user"), "{refused}");
    assert!(refused["retry_ms"].as_u64().is_some_and(|ms| ms > 5_000), "{refused}");
    assert_eq!(socket.ask(r#"{"ping":1}"#)["code"], "rate");
    http.send(&page("ana"));
    http.receive().refused(429, "rate");
    // Neither another user nor who is nobody is touched.
    for n in 0..9 {
        assert_eq!(ben.ask(&format!(r#"{{"ping":{n}}}"#))["pong"], n);
    }
    for n in 0..30 {
        assert_eq!(nobody.ask(&format!(r#"{{"ping":{n}}}"#))["pong"], n);
    }
}

#[test]
fn a_request_is_counted_for_whom_its_token_names_and_not_for_who_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), TEN);
    let mut shared = server.http();
    for _ in 0..10 {
        shared.send(&page("ana"));
        assert_eq!(shared.receive().status, 200);
    }

    // Ana has none left, and the connection was hers.
    for _ in 0..10 {
        shared.send(&page("ben"));
        assert_eq!(shared.receive().status, 200);
    }

    let mut other = server.http();
    other.send(&page("ana"));
    other.receive().refused(429, "rate");
    let mut other = server.http();
    other.send(&page("ben"));
    other.receive().refused(429, "rate");
}

#[test]
fn the_bytes_and_new_channels_of_a_user_are_counted_over_all_his_connections() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "user_bytes_per_second = 10\nuser_channels_per_minute = 3\nrate_burst = \"1000s\"\n";
    let server = start(folder.path(), limits);
    let (mut first, mut second, mut ben) =
        (known(&server, "ana"), known(&server, "ana"), known(&server, "ben"));

    for channel in ["a", "b", "c"] {
        assert_eq!(first.ask(&format!(r#"{{"pub":"{channel}","data":1,"id":1}}"#))["ok"], 1);
    }
    assert_eq!(second.ask(r#"{"pub":"d","data":1,"id":1}"#)["code"], "rate");
    assert_eq!(ben.ask(r#"{"pub":"e","data":1,"id":1}"#)["ok"], 1);

    let large = format!(r#"{{"pub":"a","data":"{}","id":2}}"#, "x".repeat(12_000));
    first.send(&large);
    assert_eq!(first.receive()["code"], "rate");
    assert_eq!(second.ask(r#"{"ping":2}"#)["code"], "rate");
    assert_eq!(ben.ask(r#"{"ping":3}"#)["pong"], 3);
}

#[test]
fn new_channels_of_a_user_are_bound_wherever_they_live() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "user_channels_per_minute = 3\nrate_burst = \"60s\"\n";
    let server = Server::on_shards(4, &config(folder.path(), limits));
    let mut ben = known(&server, "ben");
    for channel in ["x", "y", "z"] {
        assert_eq!(ben.ask(&format!(r#"{{"pub":"{channel}","data":1,"id":1}}"#))["ok"], 1);
    }

    // What is there already takes nothing away, on whatever shard it is; and of what is new each connection asks for
    // one, and then says nothing more.
    let mut connections: Vec<Lines> = (0..16).map(|_| known(&server, "ana")).collect();
    for (lines, channel) in connections.iter_mut().zip(["x", "y", "z"].iter().cycle()) {
        assert_eq!(lines.ask(&format!(r#"{{"sub":"{channel}","id":1}}"#))["ok"], 1);
    }
    let made = connections.iter_mut().enumerate().filter_map(|(n, lines)| {
        let answer = lines.ask(&format!(r#"{{"sub":"new/{n}","id":2}}"#));
        assert!(answer["ok"] == 2 || answer["code"] == "rate", "{answer}");
        (answer["ok"] == 2).then_some(n)
    });

    assert_eq!(made.collect::<Vec<_>>(), [0, 1, 2]);
}
