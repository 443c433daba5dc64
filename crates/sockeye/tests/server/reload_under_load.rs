//! A reload of certificate, tokens and limits while messages are published and heard without a pause: none of them is
//! lost, and no connection.
//!
//! Each reload is asked for by SIGHUP or left to the steward, who sees that the file has changed; and the load goes on until
//! the log says that it was done.

use std::net::TcpStream;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::certificates::{Authority, Issued, replace};
use crate::client::{Lines, Secure, Stream, WebSocket};
use crate::http_client::{Http, Response, request};
use crate::world::Server;

const RELOADS: u64 = 8;
/// What is published between two looks into the log.
const MESSAGES_PER_LOOK: u64 = 50;
const STAYS: &str = "the token of one who stays, long enough";

/// The configuration of one moment: every key that it names is another one each time.
fn config(folder: &Path, issued: &Issued, moment: u64) -> String {
    let token = |user: &str, text: &str| {
        let file = folder.join(user);
        replace(&file, text);
        format!("[[auth.tokens]]\ntoken = \"file:{}\"\nuser = \"{user}\"\n", file.display())
    };
    let stays = token("stays", STAYS);
    let guest = token(&format!("guest-{moment}"), &guest(moment));
    format!(
        "origins = [\"https://o{moment}.example\"]\n\
         [limits]\nmessage_bytes_max = {size}\nping_interval = \"{ping}s\"\npatterns_max = {patterns}\n\
         bytes_per_second = \"{rate}MiB\"\n\
         [history]\nmessages = {kept}\n\
         [auth.anonymous]\npublish = [\"load\"]\nhear = [\"load\"]\n\
         {stays}hear = [\"load\", \"guests/{moment}\"]\npublish = [\"load\"]\nadmin = true\n\
         {guest}hear = [\"load\"]\n\
         [tls]\ncheck_interval = \"1h\"\n{table}",
        size = 100 + moment,
        ping = 20 + moment,
        patterns = 1 + moment,
        rate = 100 + moment,
        kept = 500 + moment,
        table = issued.table(),
    )
}

fn guest(moment: u64) -> String {
    format!("the token of guest {moment}, long enough")
}

fn secure(server: &Server, authority: &Authority) -> Secure {
    let tcp = TcpStream::connect(server.tcp()).unwrap();
    tcp.set_nodelay(true).unwrap();
    Secure::over(tcp, &authority.client(), "localhost").unwrap()
}

fn over_tls(server: &Server, authority: &Authority) -> Stream {
    Stream::Tls(Box::new(secure(server, authority)))
}

/// How many reloads the log tells of.
fn reloads(server: &Server) -> usize {
    server.log().iter().filter(|line| line.contains("the configuration was read again")).count()
}

/// Hears until the end is published, and says whether nothing was missing before it.
fn hears_all(mut next: impl FnMut() -> Value) -> u64 {
    let mut heard = 0;
    loop {
        let push = next();
        if push["data"] == "the end" {
            return heard;
        }
        assert_eq!(push["data"], json!(heard), "{push}");
        heard += 1;
    }
}

#[test]
fn a_reload_of_certificate_tokens_and_limits_loses_no_message_and_no_connection() {
    let authority = Authority::new();
    let first = authority.issue("server", &["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(&config(folder.path(), &first, 0));
    let show = |lines: &mut Lines| assert_eq!(lines.ask(&format!(r#"{{"auth":"{STAYS}","id":0}}"#))["ok"], 0);
    let subscribe = r#"{"sub":"load","id":1}"#;
    // Who hears: anonymous and known, plain and encrypted, by every protocol.
    let mut lines = server.lines();
    show(&mut lines);
    assert_eq!(lines.ask(subscribe)["ok"], 1);
    let mut secure_lines = Lines::over(over_tls(&server, &authority));
    show(&mut secure_lines);
    assert_eq!(secure_lines.ask(subscribe)["ok"], 1);
    let mut socket = WebSocket::open(&server, "/ws");
    assert_eq!(socket.ask(subscribe)["ok"], 1);
    let mut secure_socket = WebSocket::over(over_tls(&server, &authority), "/ws", &[]).unwrap();
    assert_eq!(secure_socket.ask(subscribe)["ok"], 1);
    let mut events = [server.http(), Http::over(over_tls(&server, &authority))];
    for events in &mut events {
        events.send(&request("GET", "/ch/load", &[("Accept", "text/event-stream")], b""));
        Response::read_head(&mut events.0);
        events.event();
    }
    let [mut events, mut secure_events] = events;
    // Who publishes, in turn.
    let mut publishers = [server.lines(), Lines::over(over_tls(&server, &authority))];
    show(&mut publishers[1]);

    let published = thread::scope(|scope| {
        let hearers = [
            scope.spawn(|| hears_all(|| lines.receive())),
            scope.spawn(|| hears_all(|| secure_lines.receive())),
            scope.spawn(|| hears_all(|| socket.object())),
            scope.spawn(|| hears_all(|| secure_socket.object())),
            scope.spawn(|| hears_all(|| events.event().1)),
            scope.spawn(|| hears_all(|| secure_events.event().1)),
        ];
        let mut published = 0;
        let mut publish = |data: Value| {
            let request = format!(r#"{{"pub":"load","data":{data},"id":{published}}}"#);
            let answer = publishers[published as usize % 2].ask(&request);
            assert_eq!(answer["ok"], json!(published), "{answer}");
            published += 1;
            published
        };
        let mut said = 0;
        for moment in 1..=RELOADS {
            let issued = authority.issue("server", &["localhost"]);
            server.rewrite(&config(folder.path(), &issued, moment));
            // Most of them are asked for; a change of the file is noticed within two looks.
            if moment % 4 != 0 {
                server.hang_up();
            }
            while (reloads(&server) as u64) < moment {
                for _ in 0..MESSAGES_PER_LOOK {
                    said = publish(json!(said));
                }
            }
            assert_eq!(secure(&server, &authority).shown(), issued.der, "certificate {moment}");
            for _ in 0..MESSAGES_PER_LOOK {
                said = publish(json!(said));
            }
        }
        publish(json!("the end"));
        for hearer in hearers {
            assert_eq!(hearer.join().unwrap(), said, "every message, in order");
        }
        said
    });

    assert!(published >= 2 * RELOADS * MESSAGES_PER_LOOK);
    for line in ["asked by SIGHUP", "the file has changed"] {
        server.wait_for_log(|written| written.contains("was read again") && written.contains(line));
    }
    // Everybody is still there, and lives by the last configuration.
    for client in [&mut lines, &mut secure_lines].into_iter().chain(&mut publishers) {
        assert_eq!(client.ask(r#"{"ping":1}"#), json!({"pong": 1}));
        let long = "x".repeat(100 + RELOADS as usize + 1);
        assert_eq!(client.ask(&format!(r#"{{"pub":"load","data":"{long}","id":1}}"#))["code"], "too_large");
    }
    assert_eq!(socket.ask(r#"{"ping":1}"#), json!({"pong": 1}));
    assert_eq!(secure_socket.ask(r#"{"ping":1}"#), json!({"pong": 1}));
    server.wait_until("the rights of the last configuration", |_| {
        lines.ask(&format!(r#"{{"sub":"guests/{RELOADS}","id":1}}"#)).get("ok").is_some()
    });
    assert_eq!(lines.ask(r#"{"sub":"guests/1","id":2}"#)["code"], "denied");
    let auth = |moment| server.lines().ask(&format!(r#"{{"auth":"{}","id":1}}"#, guest(moment)));
    assert_eq!(auth(RELOADS)["ok"], 1);
    assert_eq!(auth(RELOADS - 1)["code"], "unauthorized");
}

#[test]
fn sighup_reads_certificates_again_and_a_bad_one_keeps_the_old_and_says_so() {
    let authority = Authority::new();
    let first = authority.issue("server", &["localhost"]);
    // Nobody but who asks reads them again.
    let server = Server::with(&format!("[tls]\ncheck_interval = \"1h\"\n{}", first.table()));
    let mut early = Lines::over(over_tls(&server, &authority));
    assert_eq!(early.ask(r#"{"sub":"kept","id":1}"#)["ok"], 1);

    replace(&first.certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n");
    server.hang_up();

    let line = server.wait_for_log(|line| line.contains("certificates were not replaced"));
    assert!(line.contains("WARN") && line.contains("server.pem"), "{line}");
    server.wait_until("the reload is over", |server| {
        server.metric("sockeye_config_last_reload_successful") == 0
    });
    assert_eq!(secure(&server, &authority).shown(), first.der);
    assert_eq!(server.metric("sockeye_tls_certificate_loads_total{outcome=\"kept_old\"}"), 1);

    let second = authority.issue("server", &["localhost"]);
    server.hang_up();

    server.wait_until("the new certificate is shown", |server| {
        secure(server, &authority).shown() == second.der
    });
    server.wait_until("the reload is good", |server| {
        server.metric("sockeye_config_last_reload_successful") == 1
    });
    server.lines().ask(r#"{"pub":"kept","data":"still here","id":1}"#);
    assert_eq!(early.receive()["data"], "still here");
}
