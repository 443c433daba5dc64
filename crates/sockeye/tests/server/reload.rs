//! A configuration that is read again while the server runs: what takes effect, what says that it does not, and what is kept.
//!
//! That nobody notices is shown under load (`reload_under_load.rs`).

use serde_json::json;

use crate::certificates::{Authority, Issued};
use crate::client::WebSocket;
use crate::http_client::{Response, request};
use crate::world::Server;

/// Changes the file, asks for it to be read, and waits until every shard goes by it.
fn reload(server: &Server, config: &str) {
    let before = server.metric("sockeye_config_reloads_total{outcome=\"ok\"}");
    server.rewrite(config);
    server.hang_up();
    server.wait_until("a reload", |server| {
        server.metric("sockeye_config_reloads_total{outcome=\"ok\"}") > before
    });
}

#[test]
fn a_changed_file_takes_effect_by_itself() {
    let server = Server::with("[limits]\npatterns_max = 1\n");
    let mut early = server.lines();
    early.ask(r#"{"sub":"a/#","id":1}"#);
    assert_eq!(early.ask(r#"{"sub":"b/#","id":2}"#)["code"], "too_many");
    let foreign = [("Origin", "https://a.example")];
    assert_eq!(server.ask("POST", "/ch/c", &foreign, b"x").status, 403);

    server.rewrite("origins = [\"https://a.example\"]\n[limits]\npatterns_max = 2\n");

    let line = server.wait_for_log(|line| line.contains("was read again"));
    assert!(line.contains("origins limits.patterns_max") && line.contains("the file has changed"), "{line}");
    assert!(early.ask(r#"{"sub":"b/#","id":3}"#).get("ok").is_some(), "who was there before goes by it too");
    assert_eq!(server.ask("POST", "/ch/c", &foreign, b"x").status, 200);
}

#[test]
fn what_needs_a_restart_says_so_and_keeps_its_value() {
    let server = Server::with("[limits]\nunsent_bytes_max = \"64KiB\"\n");

    reload(&server, "open = true\n[limits]\nunsent_bytes_max = \"32KiB\"\nmessage_bytes_max = 1000\n");

    let line = server.wait_for_log(|line| line.contains("until a restart"));
    assert!(line.contains("\"open limits.unsent_bytes_max\"") && line.contains("WARN"), "{line}");
    assert_eq!(server.ask("POST", "/ch/c", &[], &[b'x'; 1_001]).status, 413);
    assert_eq!(server.ask("POST", "/ch/c", &[], &[b'x'; 1_000]).status, 200);
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_is_named() {
    let server = Server::with("[limits]\nmessage_bytes_max = 1000\n");
    assert_eq!(server.metric("sockeye_config_last_reload_successful"), 1);

    for (text, said) in [
        ("[limits]\nmessage_bytes_max = \"5 bananas\"\n", "limits.message_bytes_max"),
        ("not toml", "is not TOML"),
        ("[limits]\nping_interval = \"90s\"\n", "limits.silence_timeout"),
    ] {
        server.rewrite(text);
        server.hang_up();
        let line = server.wait_for_log(|line| line.contains("the old one stays") && line.contains(said));
        assert!(line.contains("WARN"), "{line}");
    }

    assert_eq!(server.metric("sockeye_config_last_reload_successful"), 0);
    assert_eq!(server.ask("POST", "/ch/c", &[], &[b'x'; 1_001]).status, 413);
    let before = server.metric("sockeye_config_last_reload_success_timestamp_seconds");
    reload(&server, "");
    assert_eq!(server.metric("sockeye_config_last_reload_successful"), 1);
    assert!(server.metric("sockeye_config_last_reload_success_timestamp_seconds") >= before);
    assert_eq!(server.ask("POST", "/ch/c", &[], &[b'x'; 1_001]).status, 200);
}

#[test]
fn a_file_that_no_server_could_start_with_changes_nothing() {
    let authority = Authority::new();
    let (one, other) = (authority.issue("one", &["localhost"]), authority.issue("other", &["localhost"]));
    let table = |key: &Issued| {
        let (certificate, key) = (one.certificate.display(), key.key.display());
        format!("[[tls.certificates]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    };
    let auth = "[[auth.tokens]]\ntoken = \"file:/nonexistent/secret\"\nhear = [\"#\"]\n";
    let plain = "[limits]\nmessage_bytes_max = 1000\n".to_owned();
    let secure = format!("{plain}{}", table(&one));

    for (before, wanted) in [(&secure, table(&other)), (&plain, table(&other)), (&plain, auth.into())] {
        let server = Server::with(before);
        server.rewrite(&format!("[limits]\nmessage_bytes_max = 10\n{wanted}"));
        server.hang_up();

        server.wait_for_log(|line| line.contains("cannot be used: the old one stays"));
        assert_eq!(server.metric("sockeye_config_last_reload_successful"), 0);
        assert_eq!(server.ask("POST", "/ch/c", &[], &[b'x'; 1_000]).status, 200);
    }
}

#[test]
fn the_first_and_the_last_of_auth_wait_for_a_restart_and_say_so() {
    let auth = "[auth]\nanonymous.hear = [\"#\"]\n";
    for (before, after, status) in [("", auth, 200), (auth, "", 401)] {
        let server = Server::with(before);
        server.rewrite(&format!("{after}[limits]\npatterns_max = 3\n"));
        server.hang_up();

        let line = server.wait_for_log(|line| line.contains("until a restart"));
        assert!(line.contains("\"auth\""), "{line}");
        let line = server.wait_for_log(|line| line.contains("was read again"));
        assert!(line.contains("limits.patterns_max") && !line.contains("auth"), "{line}");
        assert_eq!(server.ask("POST", "/ch/c", &[], b"x").status, status);
    }
}

#[test]
fn the_log_tells_more_from_then_on_unless_a_flag_has_decided() {
    let server = Server::start();
    server.lines().ask(r#"{"ping":1}"#);
    reload(&server, "log = \"debug\"\n");
    server.lines().ask(r#"{"ping":2}"#);
    server.wait_for_log(|line| line.contains("accepted"));

    let decided = Server::with_flags(&["--log", "info"]);
    reload(&decided, "log = \"debug\"\n");
    decided.lines().ask(r#"{"ping":2}"#);
    assert!(!decided.log().iter().any(|line| line.contains("accepted")), "{:?}", decided.log());
}

#[test]
fn rules_take_effect_on_channels_that_are_there() {
    let server = Server::start();
    for text in ["one", "two", "three"] {
        server.ask("POST", "/ch/c", &[], text.as_bytes());
    }
    let kept =
        |server: &Server| server.ask("GET", "/ch/c", &[], b"").json()["messages"].as_array().unwrap().len();
    assert_eq!(kept(&server), 3);

    reload(&server, "[[channels]]\npattern = \"c\"\nmessages = 1\n");

    assert_eq!(kept(&server), 1);
}

#[test]
fn a_right_that_is_taken_away_ends_what_is_heard_by_it_on_every_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "the token of ana, long enough").unwrap();
    let config = |role: &str, anonymous: &str| {
        format!(
            "[auth.anonymous]\nhear = [{anonymous}]\n[auth.roles.talker]\npublish = [{role}]\nhear = [{role}]\n\
             [[auth.tokens]]\ntoken = \"file:{}\"\nuser = \"ana\"\nroles = [\"talker\"]\n",
            file.display()
        )
    };
    let server = Server::with(&config("\"chat/#\", \"kept\"", "\"chat/1\""));
    let bearer = [("Authorization", "Bearer the token of ana, long enough")];
    let mut lines = server.lines();
    assert_eq!(lines.ask(r#"{"auth":"the token of ana, long enough","id":1}"#)["ok"], 1);
    for name in ["chat/1", "chat/+", "kept"] {
        assert!(lines.ask(&format!(r#"{{"sub":"{name}","id":2}}"#)).get("ok").is_some(), "{name}");
    }
    let mut socket = WebSocket::over(server.connect(), "/ws", &bearer).unwrap();
    assert_eq!(socket.ask(r#"{"sub":"chat/1","id":1}"#)["ok"], 1);
    let mut raw = WebSocket::over(server.connect(), "/ch/chat/1", &bearer).unwrap();
    let mut events = server.http();
    let stream = [bearer[0], ("Accept", "text/event-stream")];
    events.send(&request("GET", "/ch/chat/1", &stream, b""));
    assert_eq!(Response::read_head(&mut events.0).status, 200);
    let mut anonymous = server.lines();
    assert_eq!(anonymous.ask(r#"{"sub":"chat/1","id":1}"#)["ok"], 1);

    server.rewrite(&config("\"kept\"", ""));
    server.hang_up();

    for name in ["chat/1", "chat/+"] {
        let ended = lines.receive();
        assert_eq!((&ended["sub"], &ended["code"]), (&json!(name), &json!("denied")), "{ended}");
    }
    let ended = socket.object();
    assert_eq!((&ended["sub"], &ended["code"]), (&json!("chat/1"), &json!("denied")), "{ended}");
    raw.closed_with(1008);
    assert_eq!(anonymous.receive()["code"], "denied");
    let said = std::iter::repeat_with(|| events.event().1).find(|said| said.get("code").is_some()).unwrap();
    assert_eq!(said["code"], "denied");
    // It has no other subscription, and its reader shall not wait for what will not come.
    events.ended();
    // What is left goes on, and what was taken is refused.
    assert_eq!(lines.ask(r#"{"pub":"chat/1","data":"x","id":3}"#)["code"], "denied");
    lines.send(r#"{"pub":"kept","data":"still heard"}"#);
    assert_eq!(lines.receive()["data"], "still heard");
}
