//! The opening handshake: the example of the RFC, and every rule that a request or a response can break.

use super::handshake::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const REQUEST: [(&str, &str); 5] = [
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

#[test]
fn the_key_of_the_rfc_gets_the_accept_of_the_rfc() {
    assert_eq!(accept_key(KEY), ACCEPT.as_bytes());
    assert_eq!(request_key(*b"the sample nonce"), KEY);
}

#[test]
fn a_request_by_the_rfc_is_accepted() {
    let upgrade = verify_upgrade("GET", 1, REQUEST);

    assert_eq!(upgrade, Ok(Some(Upgrade { key: KEY, subprotocols: vec![], deflate: vec![] })));
}

#[test]
fn values_may_be_bytes() {
    let upgrade = verify_upgrade("GET", 1, REQUEST.map(|(name, value)| (name, value.as_bytes())));

    assert_eq!(upgrade.map(|upgrade| upgrade.is_some()), Ok(true));
}

#[test]
fn names_and_tokens_are_compared_without_case_and_lists_may_be_spread() {
    let headers = [
        ("upgrade", "h2c, WebSocket"),
        ("CONNECTION", "keep-alive"),
        ("connection", "x, UPGRADE"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", " 13 "),
        ("sec-websocket-protocol", "mqtt, chat"),
        ("sec-websocket-protocol", "v2.bridge"),
    ];

    let upgrade = verify_upgrade("GET", 1, headers).unwrap().unwrap();

    assert_eq!(upgrade.subprotocols, ["mqtt", "chat", "v2.bridge"]);
}

#[test]
fn a_request_that_asks_for_nothing_gets_nothing() {
    assert_eq!(verify_upgrade("GET", 1, without("Upgrade")), Ok(None));
    assert_eq!(verify_upgrade("GET", 1, with("Upgrade", "h2c")), Ok(None));
    assert_eq!(verify_upgrade("GET", 0, REQUEST), Ok(None), "http/1.0 cannot upgrade");
}

#[test]
fn another_version_is_answered_by_426() {
    for headers in [without("Sec-WebSocket-Version"), with("Sec-WebSocket-Version", "8")] {
        assert_eq!(verify_upgrade("GET", 1, headers).map_err(|error| error.status), Err(426));
    }
}

#[test]
fn a_request_that_breaks_a_rule_is_answered_by_400() {
    let twice = |name, value| {
        let mut headers = REQUEST.to_vec();
        headers.push((name, value));
        headers
    };
    let broken = [
        without("Connection"),
        with("Connection", "keep-alive"),
        without("Sec-WebSocket-Key"),
        with("Sec-WebSocket-Key", ""),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j===="),
        with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==AA=="),
        with("Sec-WebSocket-Key", "dGhl\u{fc}HNhbXBsZSBub25jZ=="),
        twice("Sec-WebSocket-Key", KEY),
        twice("Sec-WebSocket-Protocol", "two words"),
        twice("Content-Length", "5"),
        twice("Transfer-Encoding", "chunked"),
    ];

    for headers in broken {
        let outcome = verify_upgrade("GET", 1, headers.iter().copied());
        assert_eq!(outcome.map_err(|error| error.status), Err(400), "{headers:?}");
    }
    assert_eq!(verify_upgrade("POST", 1, REQUEST).map_err(|error| error.status), Err(400));
    let why = verify_upgrade("GET", 1, twice("Content-Length", "5")).map_err(|error| error.why);
    assert!(why.is_err_and(|why| why.contains("no body") && why.contains("without content-length")));
}

#[test]
fn subprotocols_are_bounded() {
    let offer = vec!["chat"; SUBPROTOCOLS_MAX + 1].join(",");
    let mut headers = REQUEST.to_vec();
    headers.push(("Sec-WebSocket-Protocol", &offer));

    assert_eq!(verify_upgrade("GET", 1, headers).map_err(|error| error.status), Err(400));
}

#[test]
fn a_client_accepts_what_a_server_writes() {
    let mut response = Vec::new();
    write_accept(&mut response, KEY, Some("chat"), None);
    response.extend_from_slice(b"\x81\x00");

    for cut in 0..response.len() - 2 {
        assert_eq!(parse_upgrade_response(&response[..cut], KEY, &["chat"], None), Ok(None));
    }
    let accepted = parse_upgrade_response(&response, KEY, &["mqtt", "chat"], None);

    let head_bytes = response.len() - 2;
    assert_eq!(accepted, Ok(Some(UpgradeResponse { head_bytes, subprotocol: Some("chat"), deflate: None })));
}

#[test]
fn a_server_accepts_what_a_client_writes() {
    let mut request = Vec::new();
    let offer = [("Sec-WebSocket-Protocol", "chat"), ("Origin", "http://localhost")];
    write_upgrade_request(&mut request, "localhost:7625", "/ws?x=1", KEY, &offer, None).unwrap();

    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Request::new(&mut headers);
    assert_eq!(parsed.parse(&request), Ok(httparse::Status::Complete(request.len())));
    assert_eq!(parsed.path, Some("/ws?x=1"));
    let upgrade =
        verify_upgrade("GET", 1, parsed.headers.iter().map(|header| (header.name, header.value))).unwrap();

    assert_eq!(upgrade, Some(Upgrade { key: KEY, subprotocols: vec!["chat"], deflate: vec![] }));
}

#[test]
fn a_client_cannot_be_made_to_write_a_second_request() {
    let write = |host, path, headers: &[(&str, &str)]| {
        let mut out = Vec::new();
        let outcome = write_upgrade_request(&mut out, host, path, KEY, headers, None);
        assert!(outcome.is_ok() || out.is_empty());
        outcome
    };

    assert!(matches!(write("a\r\nX: y", "/", &[]), Err(UpgradeRequestError::Host(_))));
    assert!(matches!(write("a", "/ HTTP/1.1", &[]), Err(UpgradeRequestError::Path(_))));
    assert!(matches!(write("a", "ws", &[]), Err(UpgradeRequestError::Path(_))));
    assert!(matches!(write("a", "/", &[("X Y", "z")]), Err(UpgradeRequestError::HeaderName(_))));
    assert!(matches!(write("a", "/", &[("Host", "z")]), Err(UpgradeRequestError::HeaderName(_))));
    assert!(matches!(write("a", "/", &[("X", "z\r\n")]), Err(UpgradeRequestError::HeaderValue(_))));
}

#[test]
fn a_client_refuses_a_response_that_breaks_a_rule() {
    let good = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n");
    let parse = |status: &str, headers: &str| {
        let response = format!("HTTP/1.1 {status}\r\n{headers}\r\n");
        parse_upgrade_response(response.as_bytes(), KEY, &["chat"], None).map(|response| response.is_some())
    };

    assert_eq!(parse("101 Switching Protocols", &good), Ok(true));
    assert!(matches!(parse("200 OK", &good), Err(UpgradeResponseError::Status { status: 200, .. })));
    assert_eq!(
        parse("101 x", &good.replace("websocket", "h2c")),
        Err(UpgradeResponseError::Header("upgrade"))
    );
    assert_eq!(
        parse("101 x", &good.replace(": Upgrade", ": close")),
        Err(UpgradeResponseError::Header("connection"))
    );
    assert_eq!(parse("101 x", &good.replace("s3p", "S3p")), Err(UpgradeResponseError::WrongAccept));
    let with_line = |line: &str| parse("101 x", &format!("{good}{line}\r\n"));
    assert_eq!(with_line("Sec-WebSocket-Protocol: chat"), Ok(true));
    assert!(matches!(
        with_line("Sec-WebSocket-Protocol: mqtt"),
        Err(UpgradeResponseError::Subprotocol(name)) if name == "mqtt"
    ));
    assert!(matches!(
        with_line("Sec-WebSocket-Extensions: permessage-deflate; x=1"),
        Err(UpgradeResponseError::Extension(_))
    ));
    assert!(matches!(
        parse_upgrade_response(b"SSH-2.0-x\r\n", KEY, &[], None),
        Err(UpgradeResponseError::NotHttp(_))
    ));
}

#[test]
fn a_response_without_an_end_is_refused() {
    let response = format!("HTTP/1.1 101 x\r\nX: {}", "y".repeat(RESPONSE_HEAD_BYTES_MAX));

    let outcome = parse_upgrade_response(response.as_bytes(), KEY, &[], None);

    assert_eq!(outcome, Err(UpgradeResponseError::TooLong));
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    REQUEST.into_iter().filter(|(other, _)| *other != name).collect()
}

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut headers = without(name);
    headers.push((name, value));
    headers
}
