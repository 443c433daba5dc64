//! Who may do what: every verb, over every protocol, with every kind of right, against the running server.

use std::net::UdpSocket;

use serde_json::Value;

use crate::client::{Lines, WebSocket};
use crate::http_client::{Http, Response};
use crate::world::{PATIENCE, Server};

const CONFIG: &str = r##"
[auth.roles.writer]
publish = ["chat/#"]

[auth.roles.hearer]
hear = ["chat/#"]

[auth.roles.own]
publish = ["own/{user}"]
hear = ["own/{user}"]

[auth.anonymous]
publish = ["open/+"]
hear = ["open/#"]

[[auth.tokens]]
token = "env:SOCKEYE_TEST_WRITER"
user = "w"
roles = ["writer"]

[[auth.tokens]]
token = "env:SOCKEYE_TEST_HEARER"
roles = ["hearer"]

[[auth.tokens]]
token = "env:SOCKEYE_TEST_ADMIN"
admin = true

[[auth.tokens]]
token = "env:SOCKEYE_TEST_ANA"
user = "ana"
roles = ["own", "hearer"]

[[auth.tokens]]
token = "env:SOCKEYE_TEST_SLY"
user = "+"
roles = ["own"]
"##;

/// Who, by what token, with what to publish to, what to hear, and whether he administers.
struct Grant {
    token: Option<(&'static str, &'static str)>,
    publish: &'static [&'static str],
    hear: &'static [&'static str],
    admin: bool,
}

const GRANTS: [Grant; 6] = [
    Grant { token: None, publish: &["open/1"], hear: &["open/1", "open/#"], admin: false },
    Grant {
        token: Some(("WRITER", "the token of a writer")),
        publish: &["chat/1", "chat/1/2"],
        hear: &[],
        admin: false,
    },
    Grant {
        token: Some(("HEARER", "the token of a hearer")),
        publish: &[],
        hear: &["chat/1", "chat/1/2", "chat/+"],
        admin: false,
    },
    Grant { token: Some(("ADMIN", "the token of an admin")), publish: &[], hear: &[], admin: true },
    Grant {
        token: Some(("ANA", "the token of ana, a user")),
        publish: &["own/ana"],
        hear: &["own/ana", "chat/1", "chat/1/2", "chat/+"],
        admin: false,
    },
    Grant { token: Some(("SLY", "the token of a plus")), publish: &[], hear: &[], admin: false },
];

const CHANNELS: [&str; 6] = ["open/1", "chat/1", "chat/1/2", "own/ana", "own/ben", "$sys/stats"];
const PATTERNS: [&str; 6] = ["open/#", "chat/+", "own/+", "+/1", "#", "$sys/#"];

/// How a request came out: as a word of the protocol.
type Outcome = String;

impl Grant {
    fn refusal(&self) -> &'static str {
        if self.token.is_some() { "denied" } else { "unauthorized" }
    }

    fn publishing(&self, channel: &str) -> &'static str {
        // Nobody publishes what the server says about itself, whoever he is.
        let may = self.publish.contains(&channel);
        if may { "ok" } else { self.refusal() }
    }

    fn hearing(&self, name: &str) -> &'static str {
        let may = if name.starts_with("$sys") { self.admin } else { self.hear.contains(&name) };
        if may { "ok" } else { self.refusal() }
    }

    fn header(&self) -> Option<String> {
        self.token.map(|(_, token)| format!("Bearer {token}"))
    }
}

fn start() -> Server {
    let variables = GRANTS.iter().filter_map(|grant| grant.token);
    let variables: Vec<_> = variables.map(|(name, token)| (format!("SOCKEYE_TEST_{name}"), token)).collect();
    Server::with_variables(CONFIG, &variables)
}

fn outcome(answer: &Value) -> Outcome {
    match answer.get("ok") {
        Some(_) => "ok".into(),
        // Whoever may look learns that there is nothing.
        None if answer["code"] == "not_found" => "ok".into(),
        None => answer["code"].as_str().unwrap_or("?").into(),
    }
}

fn outcome_of(response: &Response) -> Outcome {
    match response.status {
        200 => "ok".into(),
        404 => "ok".into(),
        401 => {
            assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"sockeye\""));
            "unauthorized".into()
        }
        403 => "denied".into(),
        status => format!("{status}"),
    }
}

/// A conversation in objects, however it is carried.
trait Objects {
    /// The answer to a request: what is pushed meanwhile is passed over.
    fn answer(&mut self, request: &str) -> Value;
}

impl Objects for Lines {
    fn answer(&mut self, request: &str) -> Value {
        self.send(request);
        loop {
            let object = self.receive();
            if object.get("ch").is_none() {
                return object;
            }
        }
    }
}

impl Objects for WebSocket {
    fn answer(&mut self, request: &str) -> Value {
        self.send(request);
        loop {
            let object = self.object();
            if object.get("ch").is_none() {
                return object;
            }
        }
    }
}

fn check_objects(grant: &Grant, by: &str, objects: &mut dyn Objects) {
    let who = grant.token.map_or("nobody", |(name, _)| name);
    for channel in CHANNELS {
        let sent = objects.answer(&format!(r#"{{"pub":"{channel}","data":"x","id":1}}"#));
        let past = objects.answer(&format!(r#"{{"past":"{channel}","id":2}}"#));
        assert_eq!(outcome(&past), grant.hearing(channel), "{who} past {channel} by {by}");
        let expected = if channel.starts_with('$') { grant.refusal() } else { grant.publishing(channel) };
        assert_eq!(outcome(&sent), expected, "{who} pub {channel} by {by}: {sent}");
    }
    for name in CHANNELS.into_iter().chain(PATTERNS) {
        let answer = objects.answer(&format!(r#"{{"sub":"{name}","id":3}}"#));
        assert_eq!(outcome(&answer), grant.hearing(name), "{who} sub {name} by {by}: {answer}");
        // A subscription that was refused does not exist.
        let ended = objects.answer(&format!(r#"{{"unsub":"{name}","id":4}}"#));
        assert_eq!(ended.get("ok").is_some(), grant.hearing(name) == "ok", "{who} {name} by {by}: {ended}");
    }
}

#[test]
fn objects_do_what_rights_allow_over_every_socket_and_way_to_show_a_token() {
    let server = start();
    for grant in &GRANTS {
        let over_ws = |path: &str, headers: &[(&str, &str)]| {
            WebSocket::over(server.connect(), path, headers).unwrap_or_else(|refusal| panic!("{refusal:?}"))
        };
        let Some((_, token)) = grant.token else {
            check_objects(grant, "tcp", &mut server.lines());
            check_objects(grant, "unix", &mut Lines::over(server.connect_unix()));
            check_objects(grant, "ws", &mut over_ws("/ws", &[]));
            continue;
        };
        let mut tcp = server.lines();
        assert_eq!(tcp.ask(&format!(r#"{{"auth":"{token}","id":1}}"#))["ok"], 1);
        check_objects(grant, "tcp", &mut tcp);

        let mut unix = Lines::over(server.connect_unix());
        assert_eq!(unix.ask(&format!(r#"{{"hello":1,"token":"{token}","id":1}}"#))["ok"], 1);
        check_objects(grant, "unix", &mut unix);

        let header = grant.header().unwrap();
        check_objects(grant, "a header", &mut over_ws("/ws", &[("Authorization", &header)]));
        let query = format!("/ws?token={}", token.replace(' ', "%20"));
        check_objects(grant, "a query", &mut over_ws(&query, &[]));
    }
}

#[test]
fn http_requests_do_what_rights_allow() {
    let server = start();
    let mut kept = server.http();
    // The second time, another's token came before on the same connection.
    for grant in GRANTS.iter().chain(GRANTS.iter().rev()) {
        let who = grant.token.map_or("nobody", |(name, _)| name);
        let header = grant.header();
        let headers: Vec<_> = header.iter().map(|header| ("Authorization", header.as_str())).collect();
        for channel in CHANNELS {
            let path = format!("/ch/{channel}");
            let sent = kept.ask("POST", &path, &headers, b"");
            let expected = if channel.starts_with('$') { grant.refusal() } else { grant.publishing(channel) };
            assert_eq!(outcome_of(&sent), expected, "{who} POST {channel}");
            let found = kept.ask("GET", &path, &headers, b"");
            assert_eq!(outcome_of(&found), grant.hearing(channel), "{who} GET {channel}");
        }
        let figures = outcome_of(&kept.ask("GET", "/metrics", &headers, b""));
        assert_eq!(figures, if grant.admin { "ok" } else { grant.refusal() }, "{who}");
        for page in ["/healthz", "/readyz", "/", "/client.js"] {
            assert_eq!(kept.ask("GET", page, &headers, b"").status, 200, "{who} {page}");
        }
    }
}

#[test]
fn event_streams_and_raw_sockets_do_what_rights_allow() {
    let server = start();
    for grant in &GRANTS {
        let who = grant.token.map_or("nobody", |(name, _)| name);
        let header = grant.header();
        let mut headers: Vec<_> = header.iter().map(|header| ("Authorization", header.as_str())).collect();
        headers.push(("Accept", "text/event-stream"));
        for name in CHANNELS.into_iter().chain(PATTERNS) {
            let path = format!("/ch/{}", name.replace('#', "%23"));
            for method in ["GET", "HEAD"] {
                let mut http = Http::over(server.connect());
                http.send(&crate::http_client::request(method, &path, &headers, b""));
                let head = Response::read_head(&mut http.0);
                assert_eq!(outcome_of(&head), grant.hearing(name), "{who} hears {name} by {method}");
            }
        }
        headers.pop();
        for channel in CHANNELS {
            let over = |path: &str| match WebSocket::over(server.connect(), path, &headers) {
                Ok(socket) => Ok(socket),
                Err(refusal) => Err(outcome_of(&refusal)),
            };
            let opened = over(&format!("/ch/{channel}?pub=0")).map(|_| ()).err();
            assert_eq!(opened.as_deref().unwrap_or("ok"), grant.hearing(channel), "{who} raw {channel}");

            let opened = over(&format!("/ch/{channel}?sub=0")).map(|_| ()).err();
            let publishing =
                if channel.starts_with('$') { grant.refusal() } else { grant.publishing(channel) };
            assert_eq!(opened.as_deref().unwrap_or("ok"), publishing, "{who} raw {channel}");

            // Who may hear and not publish is told so when he does.
            if grant.hearing(channel) == "ok" && publishing != "ok" {
                let mut socket = over(&format!("/ch/{channel}")).expect("it may be heard");
                socket.send("x");
                assert!(socket.closed_with(1008).contains("no publish permission"), "{who} {channel}");
            }
        }
    }
}

#[test]
fn messages_say_who_sent_them_and_keys_belong_to_a_user() {
    let server = start();
    let mut ear = server.lines();
    ear.ask(r#"{"auth":"the token of a hearer","id":1}"#);
    ear.ask(r#"{"sub":"chat/1","id":2}"#);
    let by = [("Authorization", "Bearer the token of a writer"), ("Idempotency-Key", "k")];

    let first = server.ask("POST", "/ch/chat/1", &by, b"a").json();
    let again = server.ask("POST", "/ch/chat/1", &by, b"a").json();
    let push = ear.receive();

    assert_eq!((&push["from"], &push["data"]), (&"w".into(), &"a".into()));
    assert_eq!(first["at"], again["at"]);
    assert_eq!(again["again"], true);
}

/// A conversation in datagrams, in which every request is answered.
struct Datagrams {
    socket: UdpSocket,
    cookie: Option<String>,
}

impl Datagrams {
    fn connect(server: &Server) -> Datagrams {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.tcp()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Datagrams { socket, cookie: None }
    }

    fn answer(&mut self, fields: &str) -> Value {
        loop {
            let cookie =
                self.cookie.as_ref().map_or(String::new(), |cookie| format!(",\"cookie\":\"{cookie}\""));
            self.socket.send(format!("{{{fields}{cookie}}}").as_bytes()).unwrap();
            loop {
                let mut buffer = [0; 2_048];
                let length = self.socket.recv(&mut buffer).unwrap();
                let said: Value = serde_json::from_slice(&buffer[..length]).unwrap();
                if let Some(cookie) = said["cookie"].as_str() {
                    self.cookie = Some(cookie.to_owned());
                    break;
                }
                if said.get("ch").is_none() {
                    return said;
                }
            }
        }
    }
}

#[test]
fn datagrams_do_what_rights_allow_and_lend_them_to_nobody() {
    let server = start();
    for grant in &GRANTS {
        let who = grant.token.map_or("nobody", |(name, _)| name);
        let mut known = Datagrams::connect(&server);
        if let Some((_, token)) = grant.token {
            let shown = known.answer(&format!(r#""auth":"{token}","id":1"#));
            assert_eq!(shown["ok"], 1, "{who}: {shown}");
            assert!(known.cookie.is_some(), "{who} was believed without a proof of address");
        }
        for channel in CHANNELS {
            let sent = known.answer(&format!(r#""pub":"{channel}","data":"x","id":2"#));
            let expected = if channel.starts_with('$') { grant.refusal() } else { grant.publishing(channel) };
            assert_eq!(outcome(&sent), expected, "{who} pub {channel}: {sent}");
        }
        for name in CHANNELS.into_iter().chain(PATTERNS) {
            let answer = known.answer(&format!(r#""sub":"{name}","id":3"#));
            assert_eq!(outcome(&answer), grant.hearing(name), "{who} sub {name}: {answer}");
        }
        // `hello` shows a token as `auth` does, and one that is forged is not passed over.
        let mut other = Datagrams::connect(&server);
        assert_eq!(outcome(&other.answer(r#""hello":1,"token":"forged","id":4"#)), "unauthorized", "{who}");
        if let Some((_, token)) = grant.token {
            let shown = other.answer(&format!(r#""hello":1,"token":"{token}","id":4"#));
            assert_eq!(shown["ok"], 4, "{who}: {shown}");
        }
        let sent = other.answer(r#""pub":"chat/1","data":"x","id":5"#);
        assert_eq!(outcome(&sent), grant.publishing("chat/1"), "{who}");
        // Whoever comes from another address is nobody.
        let mut nobody = Datagrams::connect(&server);
        assert_eq!(outcome(&nobody.answer(r#""pub":"own/ana","data":"x","id":6"#)), "unauthorized", "{who}");
    }
}
