//! The page of figures: its form (Prometheus' text format, version 0.0.4), its names, and that it counts what happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::WebSocket;
use crate::world::Server;

/// The page, by name with labels; every line of it must be right.
fn figures(server: &Server) -> BTreeMap<String, f64> {
    let page = server.ask("GET", "/metrics", &[], b"").text();
    assert!(page.ends_with('\n'));
    let mut figures = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind, mut help) = (String::new(), String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("a help has a text");
            assert!(text.ends_with('.') && text.len() > 8, "{line}");
            name.clone_into(&mut help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, its_kind) = rest.split_once(' ').expect("a type has a kind");
            assert_eq!(name, help, "the help stands before its type");
            assert!(families.insert(name.to_owned()), "{name} is told in one place");
            assert!(name.starts_with("sockeye_") && !name.contains("__"), "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), its_kind == "counter", "{line}");
            assert!(!name.ends_with("_ms") && !name.contains("milli"), "base units: {name}");
            (family, kind) = (name.to_owned(), its_kind.to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a figure has a value");
            let bare = name.split('{').next().expect("a first part");
            assert_eq!(bare, family, "figures stand under their type");
            assert!(matches!(kind.as_str(), "counter" | "gauge"), "{kind}");
            if let Some(labels) = name.strip_prefix(bare).filter(|labels| !labels.is_empty()) {
                let inner =
                    labels.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).expect("braces");
                for label in inner.split(',') {
                    let (key, value) = label.split_once('=').expect("a label has a value");
                    assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
                    let value =
                        value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("quotes");
                    assert!(!value.contains(['"', '\\']), "{line}");
                }
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(figures.insert(name.to_owned(), value).is_none(), "{name} is told once");
        }
    }
    figures
}

#[test]
fn every_line_keeps_to_the_format_and_its_conventions() {
    let server = Server::start();
    server.lines().ask(r#"{"sub":"c","id":1}"#);

    assert!(figures(&server).len() > 30);
}

#[test]
fn connections_requests_and_ends_are_counted_by_what_they_were() {
    let server = Server::start();
    let mut lines = server.lines();
    lines.ask(r#"{"sub":"c","id":1}"#);
    lines.ask(r#"{"pub":"$sys/no","data":1,"id":2}"#);
    lines.ask(r#"{"unheard":"of","id":3}"#);
    lines.ask(r#"{"unsub":"not","id":4}"#);
    let mut socket = WebSocket::open(&server, "/ws");
    for id in 0..3 {
        socket.ask(&format!(r#"{{"pub":"c","data":1,"id":{id}}}"#));
    }
    let mut raw = WebSocket::open(&server, "/ch/c?sub=0");
    raw.send("raw");
    socket.send_close(Some(1000), "");
    raw.send_close(Some(1000), "");
    server.ask("POST", "/ch/c", &[], b"posted");
    server.ask("GET", "/ch/c%2Fd", &[], b"");
    server.lines().ask(r#"{"ping":1}"#);

    let closed = "sockeye_connections_closed_total{protocol=\"ws\",reason=\"closed\"}";
    // Another shard shows its figures a moment later.
    for (name, least) in [
        ("sockeye_connections_accepted_total{transport=\"tcp\"}", 5.0),
        ("sockeye_requests_total{protocol=\"lines\"}", 5.0),
        ("sockeye_requests_total{protocol=\"ws\"}", 3.0),
        ("sockeye_requests_total{protocol=\"raw\"}", 1.0),
        ("sockeye_requests_total{protocol=\"http\"}", 3.0),
        ("sockeye_publishes_total{outcome=\"ok\"}", 5.0),
        ("sockeye_publishes_total{outcome=\"denied\"}", 1.0),
        ("sockeye_requests_refused_total{code=\"denied\"}", 1.0),
        ("sockeye_requests_refused_total{code=\"not_found\"}", 1.0),
        ("sockeye_requests_refused_total{code=\"unknown_verb\"}", 1.0),
        ("sockeye_requests_refused_total{code=\"bad_request\"}", 1.0),
        (closed, 1.0),
    ] {
        server.wait_until(name, |server| figures(server).get(name).is_some_and(|found| *found >= least));
    }
}
