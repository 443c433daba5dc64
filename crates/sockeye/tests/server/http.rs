//! "Channels over HTTP", row by row: publish, history, the page, methods and limits, bodies and connections.

use serde_json::json;

use crate::client::WebSocket;
use crate::http_client::{Http, Response, request};
use crate::world::Server;

#[test]
fn a_body_becomes_the_kind_that_its_content_type_says() {
    let server = Server::start();
    let mut socket = WebSocket::open(&server, "/ws");
    socket.ask(r#"{"sub":"c","id":1}"#);

    for (content_type, body, shown) in [
        ("application/json", &b"{\"a\":\n1}"[..], json!({"data": {"a": 1}})),
        ("application/json", b"\"7\"", json!({"data": "7"})),
        ("Application/Problem+JSON; charset=utf-8", b"7", json!({"data": 7})),
        ("text/plain", b"7", json!({"data": "7"})),
        ("text/plain;charset=utf-8", b"", json!({"data": ""})),
        ("text/csv", b"{\"a\":1}", json!({"data": {"a": 1}})),
        ("application/octet-stream", b"hi", json!({"b64": "aGk="})),
        ("application/x-www-form-urlencoded", b"hello", json!({"data": "hello"})),
        ("application/x-www-form-urlencoded", b"\xff\xfe", json!({"b64": "//4="})),
        ("", "ü".as_bytes(), json!({"data": "ü"})),
    ] {
        let headers = [("Content-Type", content_type)];
        let headers = if content_type.is_empty() { &[][..] } else { &headers };
        let answer = server.ask("POST", "/ch/c", headers, body);
        let push = socket.object();

        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), json!({"ok": null, "at": push["at"], "ack": "accepted"}));
        let found = ["data", "b64"].map(|key| push.get(key).cloned());
        assert_eq!(found, ["data", "b64"].map(|key| shown.get(key).cloned()), "{content_type} {push}");
    }
}

#[test]
fn a_body_that_is_not_what_it_says_is_refused_and_not_published() {
    let server = Server::start();
    let post = |kind, body: &[u8]| server.ask("POST", "/ch/c", &[("Content-Type", kind)], body);

    post("application/json", b"{\"a\":").refused(400, "bad_request");
    post("application/vnd.x+json", b"").refused(400, "bad_request");
    // As deep as in a line, whose own object counts, so that whoever reads lines can read what is pushed.
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    post("application/json", &nested(64)).refused(400, "bad_request");

    assert_eq!(post("application/json", &nested(63)).status, 200);
    post("text/plain", b"\xff").refused(400, "bad_request");

    assert_eq!(history(&server, "/ch/c").len(), 1);
}

#[test]
fn a_repeated_idempotency_key_publishes_once() {
    let server = Server::start();
    let post = |key| server.ask("POST", "/ch/c", &[("Idempotency-Key", key)], b"x");

    let first = post("k-1").json();
    let again = post("k-1").json();
    let other = post("k-2").json();

    assert_eq!(again, json!({"ok": null, "at": first["at"], "ack": "accepted", "again": true}));
    assert_ne!(other["at"], first["at"]);
    assert_eq!(history(&server, "/ch/c").len(), 2);
    post(&"k".repeat(65)).refused(413, "too_large");
}

#[test]
fn history_is_asked_by_count_and_by_position_and_says_when_it_is_cut() {
    let server = Server::with("limits.past_messages_max = 3");
    let positions: Vec<_> = (1..=5)
        .map(|n| server.ask("POST", "/ch/a/b", &[], format!("{n}").as_bytes()).json()["at"].clone())
        .collect();
    let ask = |query: &str| server.ask("GET", &format!("/ch/a/b{query}"), &[], b"");
    let shown = |answer: &Response| {
        let messages = answer.json()["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["data"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let last = ask("?last=2");
    assert_eq!((last.status, shown(&last)), (200, vec!["4".to_owned(), "5".into()]));
    assert_eq!(last.json()["at"], positions[4]);
    assert_eq!(last.json()["more"], false);
    assert_eq!(last.header("cache-control"), Some("no-store"));
    let since = ask(&format!("?since={}", positions[0].as_str().unwrap()));
    assert_eq!(
        (shown(&since), since.json()["more"].clone()),
        (vec!["2".into(), "3".into(), "4".into()], json!(true))
    );
    let rest = ask(&format!("?since={}", positions[3].as_str().unwrap().replace(':', "%3A")));
    assert_eq!((shown(&rest), rest.json()["more"].clone()), (vec!["5".into()], json!(false)));
    assert_eq!(ask("?last=4").json()["more"], true);
    ask("?last=few").refused(400, "bad_request");
    ask("?since=yesterday").refused(400, "bad_request");
    assert_eq!(ask("?colour=red&last=1").status, 200);
}

#[test]
fn a_browser_gets_the_page_and_a_program_gets_json() {
    let server = Server::start();
    let ask = |accept| server.ask("GET", "/ch/chat/42", &[("Accept", accept)], b"");

    let page = ask("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(page.header("vary"), Some("Accept"));
    assert_eq!(page.body, server.ask("GET", "/", &[], b"").body);
    assert!(
        ask("application/json;q=0.5, Text/HTML;q=0.6")
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    for accept in [
        "*/*",
        "application/json",
        "application/json, text/html",
        "image/png",
        // RFC 9110, 12.4.2: what has the weight 0 is not acceptable, and more weight comes first.
        "text/html;q=0, application/json",
        "text/html;q=0.1, application/json;q=0.9",
        "text/event-stream;q=0, application/json",
        "text/event-stream; Q=0.000",
    ] {
        assert_eq!(ask(accept).header("content-type"), Some("application/json"), "{accept}");
    }
    let script = server.ask("GET", "/client.js", &[], b"");
    assert!(script.header("content-type").unwrap().contains("javascript"));
    let etag = script.header("etag").unwrap();
    for (shown, status) in [
        (etag.to_owned(), 304),
        // What a proxy has compressed is compared weakly (RFC 9110, 13.1.2), and letters are what they are (8.8.3).
        (format!("\"other\", W/{etag}"), 304),
        ("*".to_owned(), 304),
        (etag.to_ascii_uppercase(), if etag.to_ascii_uppercase() == etag { 304 } else { 200 }),
        ("\"other\"".to_owned(), 200),
    ] {
        let known = server.ask("GET", "/client.js", &[("If-None-Match", &shown)], b"");
        assert_eq!((known.status, known.body.is_empty()), (status, status == 304), "{shown}");
    }
}

#[test]
fn head_says_what_get_would_and_nothing_more() {
    let server = Server::start();
    server.ask("POST", "/ch/c", &[], b"one");
    let mut http = server.http();

    for path in ["/", "/client.js", "/healthz", "/readyz", "/ch/c", "/ch/c?last=1", "/nothing"] {
        let get = http.ask("GET", path, &[], b"");
        let head = http.ask("HEAD", path, &[], b"");
        assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{path}");
    }
    for path in ["/ch/c", "/ch/new", "/ch/%23", "/ch/c?since=no"] {
        let accept = [("Accept", "text/event-stream")];
        let mut get = server.http();
        get.send(&request("GET", path, &accept, b""));
        let get = Response::read_head(&mut get.0);
        let mut http = server.http();
        let head = http.ask("HEAD", path, &accept, b"");
        assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{path}");
        if get.status == 200 {
            http.ended();
        }
    }
    assert_eq!(http.ask("HEAD", "/metrics", &[], b"").status, 200);
    assert_eq!(http.ask("GET", "/healthz", &[], b"").text(), "ok\n");
}

#[test]
fn what_is_not_there_or_not_allowed_has_its_own_answer() {
    let server = Server::start();
    let ask = |method, path: &str| server.ask(method, path, &[], b"");

    for path in ["/nothing", "/ch", "/wsx", "/client.js/", "/index.html", "//", "/.%2e/"] {
        ask("GET", path).refused(404, "not_found");
    }
    for path in [
        "/ch/",
        "/ch/a%2Fb",
        "/ch/a%2fb",
        "/ch/a/../b",
        "/ch/./a",
        "/ch/%ff",
        "/ch/%2",
        "/ch/a%00",
        "/ch/a%0Ab",
    ] {
        ask("GET", path).refused(400, "bad_request");
        ask("POST", path).refused(400, "bad_request");
    }
    for path in ["/ch/a/+", "/ch/a/%23"] {
        ask("POST", path).refused(400, "bad_request");
        ask("GET", path).refused(400, "bad_request");
    }
    for (path, method, allowed) in [
        ("/ch/c", "PUT", "GET, HEAD, POST, OPTIONS"),
        ("/ch/c", "DELETE", "GET, HEAD, POST, OPTIONS"),
        ("/", "POST", "GET, HEAD, OPTIONS"),
        ("/metrics", "DELETE", "GET, HEAD, OPTIONS"),
    ] {
        let answer = ask(method, path);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
    }
    for path in ["/ws", "/echo"] {
        let answer = ask("GET", path);
        assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")), "{answer:?}");
        assert!(answer.header("connection").unwrap().to_ascii_lowercase().contains("upgrade"), "{answer:?}");
    }
    let options = ask("OPTIONS", "/ch/c");
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, POST, OPTIONS")));
    assert_eq!(ask("OPTIONS", "*").status, 204);
    ask("POST", "/ch/$sys/stats").refused(403, "denied");
    assert_eq!(ask("CONNECT", "localhost:80").status, 501);
}

#[test]
fn each_part_of_a_request_has_its_limit() {
    let server = Server::with("limits.message_bytes_max = 1000");
    let post = |headers: &[(&str, &str)], body: &[u8]| server.ask("POST", "/ch/c", headers, body);

    assert_eq!(post(&[], &[b'x'; 1000]).status, 200);
    post(&[], &[b'x'; 1001]).refused(413, "too_large");
    let chunked = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    post(&[("Transfer-Encoding", "chunked")], chunked.as_bytes()).refused(413, "too_large");
    post(&[("X-Long", &"x".repeat(17 << 10))], b"").refused(431, "too_large");
    let many = vec![("X-Many", "x"); 70];
    post(&many, b"").refused(431, "too_large");
    server.ask("GET", &format!("/ch/{}", "x".repeat(9 << 10)), &[], b"").refused(414, "too_large");
    assert_eq!(post(&[("Expect", "miracles")], b"").status, 417);
    assert_eq!(history(&server, "/ch/c").len(), 1);
}

#[test]
fn a_client_that_expects_to_be_told_is_told_before_it_sends_its_body() {
    let server = Server::start();
    let mut http = server.http();
    let expecting = [("Expect", "100-continue"), ("Content-Length", "5")];

    http.send(&request("POST", "/ch/c", &expecting, b""));
    let told = http.receive();
    http.send(b"hello");
    let answer = http.receive();

    assert_eq!((told.status, answer.status), (100, 200));
    assert_eq!(history(&server, "/ch/c"), ["hello"]);
    // What will be refused is refused before it is sent.
    let mut http = server.http();
    http.send(&request("POST", "/ch/c", &[("Expect", "100-continue"), ("Content-Length", "9999999")], b""));
    http.receive().refused(413, "too_large");
    http.ended();
    let mut http = server.http();
    http.send(&request("POST", "/ch/a%2Fb", &expecting, b""));
    http.receive().refused(400, "bad_request");
    http.ended();
}

#[test]
fn a_body_may_come_in_chunks_and_in_pieces() {
    let server = Server::start();
    let chunked = [("Transfer-Encoding", "chunked")];
    let body = b"5;name=\"value\"\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n";
    let whole = request("POST", "/ch/c", &chunked, body);
    let mut http = server.http();

    http.send(&whole);
    assert_eq!(http.receive().status, 200);
    for byte in &whole {
        http.send(&[*byte]);
    }
    assert_eq!(http.receive().status, 200);

    assert_eq!(history(&server, "/ch/c"), ["hello world", "hello world"]);
}

#[test]
fn a_body_that_nothing_is_published_of_is_never_read_as_a_request() {
    let server = Server::start();
    server.ask("POST", "/ch/there", &[], b"x");
    let smuggled = request("POST", "/ch/smuggled", &[], b"owned");
    let chunked = [format!("{:x}\r\n", smuggled.len()).as_bytes(), &smuggled, b"\r\n0\r\n\r\n"].concat();
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    for path in ["/ch/there?last=1", "/ch/nowhere", "/healthz", "/", "/ch/a/+"] {
        for method in ["GET", "HEAD"] {
            for chunks in [false, true] {
                let headers = [("Transfer-Encoding", "chunked")];
                let (headers, body) = if chunks { (&headers[..], &chunked) } else { (&[][..], &smuggled) };
                let mut http = server.http();
                http.send(&request(method, path, headers, body));
                let mut answer = Response::read_head(&mut http.0);
                if method == "GET" {
                    answer.read_body(&mut http.0);
                }
                assert_eq!(answer.header("connection"), Some("close"), "{method} {path} {answer:?}");
                http.ended();
            }
        }
    }
    for path in ["/ws", "/echo", "/ch/there", "/ch/there?sub=0"] {
        let mut http = server.http();
        http.send(&request("GET", path, &upgrade, &smuggled));
        http.receive().refused(400, "bad_request");
        http.ended();
    }
    let events = request("GET", "/ch/there", &[("Accept", "text/event-stream")], &smuggled);
    server.http().send(&events);

    server.ask("GET", "/ch/smuggled", &[], b"").refused(404, "not_found");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::start();
    let mut http = server.http();
    let mut requests = Vec::new();
    for n in 0..100 {
        requests.extend(request("POST", "/ch/c", &[], format!("{n}").as_bytes()));
        requests.extend(request("GET", "/ch/c?last=1", &[], b""));
    }
    requests.extend(request("GET", "/healthz", &[("Connection", "close")], b""));
    requests.extend(request("POST", "/ch/c", &[], b"never"));

    http.send(&requests);

    for n in 0..100 {
        assert_eq!(http.receive().status, 200);
        assert_eq!(http.receive().json()["messages"][0]["data"], json!(format!("{n}")));
    }
    assert_eq!(http.receive().header("connection"), Some("close"));
    http.ended();
    assert_eq!(history(&server, "/ch/c").last().unwrap(), "99");
}

#[test]
fn an_old_client_is_answered_and_closed_unless_it_asks_to_stay() {
    let server = Server::start();

    let mut http = server.http();
    http.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(http.receive().header("connection"), Some("close"));
    http.ended();
    let mut http = server.http();
    http.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(http.receive().header("connection"), Some("keep-alive"));
    http.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(http.receive().text(), "ok\n");
    http.ended();
}

#[test]
fn requests_that_two_servers_could_read_differently_are_refused_and_nothing_behind_them_is_read() {
    let server = Server::start();
    let smuggled = "POST /ch/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";

    for shape in [
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nhello",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        "POST /ch/c HTTP/1.1\nHost: localhost\n\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: local host\r\n\r\n",
        "POST  /ch/c HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /ch/c HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /ch/c HTTP/2.0\r\nHost: localhost\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "POST /ch/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ] {
        let mut http = server.http();
        http.send(format!("{shape}{smuggled}").as_bytes());
        let answer = http.receive();
        assert!((400..=505).contains(&answer.status), "{shape:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{shape:?}");
        http.ended();
    }

    assert_eq!(history(&server, "/ch/c").len(), 0);
    assert_eq!(history(&server, "/ch/smuggled").len(), 0);
}

#[test]
fn events_are_the_envelope_with_positions_as_ids_and_resume_by_them() {
    let server = Server::with("history.messages = 3");
    let mut stream = events(&server, "/ch/c", &[]);
    let head = Response::read_head(&mut stream.0);

    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(
        (head.header("cache-control"), head.header("x-accel-buffering")),
        (Some("no-store"), Some("no"))
    );
    let (start, opening) = stream.event();
    assert_eq!(opening, json!({"ok": null, "at": start}));
    let first = server.ask("POST", "/ch/c", &[], b"one\ntwo").json();
    let (id, push) = stream.event();
    assert_eq!(
        (json!(id), &push["at"], &push["data"]),
        (first["at"].clone(), &first["at"], &json!("one\ntwo"))
    );
    drop(stream);

    server.ask("POST", "/ch/c", &[], b"missed");
    let wrong = format!("/ch/c?since={}", start.unwrap());
    let mut stream = events(&server, &wrong, &[("Last-Event-ID", &id.clone().unwrap())]);
    Response::read_head(&mut stream.0);
    assert_eq!(stream.event().1["recovered"], true);
    assert_eq!(stream.event().1["data"], "missed");

    for n in 0..3 {
        server.ask("POST", "/ch/c", &[], format!("{n}").as_bytes());
    }
    let mut stream = events(&server, "/ch/c", &[("Last-Event-ID", &id.unwrap())]);
    Response::read_head(&mut stream.0);
    let (at, opening) = stream.event();
    assert_eq!(opening, json!({"ok": null, "at": at, "recovered": false, "why": "evicted"}));
    server.ask("POST", "/ch/c", &[], b"live");
    assert_eq!(stream.event().1["data"], "live");
}

#[test]
fn events_begin_where_they_are_asked_to_and_patterns_have_no_ids() {
    let server = Server::with("limits.comment_interval = \"50ms\"");
    for n in 1..=3 {
        server.ask("POST", "/ch/a/b", &[], format!("{n}").as_bytes());
    }

    let mut stream = events(&server, "/ch/a/b?last=2", &[]);
    Response::read_head(&mut stream.0);
    stream.event();
    assert_eq!(
        [stream.event().1["data"].clone(), stream.event().1["data"].clone()],
        [json!("2"), json!("3")]
    );
    assert_eq!(stream.0.take(1), b":", "a comment keeps the stream open");
    let mut pattern = events(&server, "/ch/a/%2B", &[]);
    Response::read_head(&mut pattern.0);
    assert_eq!(pattern.event(), (None, json!({"ok": null})));
    server.ask("POST", "/ch/a/c", &[], b"4");
    let (id, push) = pattern.event();
    assert_eq!((id, &push["ch"], &push["data"]), (None, &json!("a/c"), &json!("4")));
    events(&server, "/ch/c", &[("Last-Event-ID", "yesterday")]).receive().refused(400, "bad_request");
    events(&server, "/ch/a/%23/b", &[]).receive().refused(400, "bad_request");
    events(&server, "/ch/a/%23?last=1", &[]).receive().refused(400, "bad_request");
    events(&server, "/ch/a/%2B?since=k3f:1", &[]).receive().refused(400, "bad_request");
}

#[test]
fn the_same_is_spoken_on_a_unix_socket() {
    let server = Server::start();
    let mut http = Http::over(server.connect_unix());

    let answer = http.ask("POST", "/ch/c", &[], b"by path");
    assert_eq!(answer.status, 200);
    assert_eq!(http.ask("GET", "/ch/c", &[], b"").json()["messages"][0]["data"], "by path");
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Server::start();
    server.ask("POST", "/ch/c", &[], b"x");

    let page = server.ask("GET", "/metrics", &[], b"");

    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = page.text();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, figure) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("sockeye_") && figure.parse::<f64>().is_ok(), "{line}");
        let family = name.split('{').next().unwrap();
        assert!(
            text.contains(&format!("# TYPE {family} ")) && text.contains(&format!("# HELP {family} ")),
            "{line}"
        );
    }
    // Another shard shows its figures a moment later.
    server.wait_until("the message is counted", |server| {
        server.metric("sockeye_messages_published_total") == 1
    });
}

fn events(server: &Server, path: &str, headers: &[(&str, &str)]) -> Http {
    let mut http = server.http();
    let headers: Vec<_> = [("Accept", "text/event-stream")].iter().chain(headers).copied().collect();
    http.send(&request("GET", path, &headers, b""));
    http
}

/// The texts in a channel's history; a channel that nobody has used has none.
fn history(server: &Server, path: &str) -> Vec<String> {
    let answer = server.ask("GET", path, &[], b"");
    if answer.status == 404 {
        answer.refused(404, "not_found");
        return Vec::new();
    }
    let answer = answer.json();
    let messages = answer["messages"].as_array().unwrap();
    messages.iter().map(|message| message["data"].as_str().unwrap_or_default().to_owned()).collect()
}
