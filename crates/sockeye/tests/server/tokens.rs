//! Tokens: where they come from, which are refused, how they end, and that nobody ever reads one from the server.

use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::client::{Frame, Lines, WebSocket};
use crate::command::run;
use crate::http_client::{Http, Response, request};
use crate::world::{BINARY, PATIENCE, Server};

const SECRET: &str = "a secret of the tests, long enough";
const STATIC: &str = "a-static-token-of-the-tests";

/// A server that knows signed tokens, with more of its section [auth].
fn start(folder: &Path, more: &str) -> Server {
    let secret = folder.join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    Server::with(&format!(
        "log = \"trace\"\n[auth]\nsecrets = [\"file:{}\"]\nleeway = \"1ms\"\n{more}",
        secret.display()
    ))
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn token_by(secret: &str, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
}

fn token(claims: &Value) -> String {
    token_by(SECRET, &json!({ "alg": "HS256", "typ": "JWT" }), claims)
}

fn ana(seconds: f64) -> String {
    let rights = ["chat/#", "own/{user}"];
    token(&json!({ "sub": "ana", "exp": now_s() + seconds, "publish": rights, "hear": rights }))
}

#[test]
fn ten_refused_tokens_in_a_row_close_a_connection_over_http_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let good = format!("Bearer {}", ana(60.0));
    let mut http = server.http();

    // A good one in between begins the count anew, and a request without one does not.
    for (refused, between) in [(9, Some(&good[..])), (8, None), (1, None)] {
        for _ in 0..refused {
            http.ask("GET", "/ch/chat/1", &[("Authorization", "Bearer guessed")], b"")
                .refused(401, "unauthorized");
        }
        let shown: Vec<(&str, &str)> = between.into_iter().map(|token| ("Authorization", token)).collect();
        let answer = http.ask("GET", "/healthz", &shown, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let last = http.ask("GET", "/healthz?token=guessed", &[], b"");
    assert_eq!((last.status, last.header("connection")), (401, Some("close")));
    http.ended();
}

#[test]
fn every_bad_token_is_refused_with_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let claims = json!({ "sub": "ana", "exp": now_s() + 60.0, "publish": ["#"] });
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut forged = ana(60.0);
    forged.replace_range(40..41, if &forged[40..41] == "A" { "B" } else { "A" });
    let bad = [
        "x".to_owned(),
        none,
        forged,
        ana(-60.0),
        token_by("another secret of the tests, long", &json!({ "alg": "HS256" }), &claims),
        token_by(SECRET, &json!({ "alg": "RS256" }), &claims),
        token(&json!({ "sub": "ana", "nbf": now_s() + 600.0 })),
        token(&json!({ "sub": "ana", "aud": "another" })),
        "x".repeat(7_000),
        token(&json!({ "sub": "ana", "publish": ["#"], "note": "x".repeat(8_000) })),
    ];
    let mut answers = Vec::new();
    let mut responses = Vec::new();

    for bad in &bad {
        let mut lines = server.lines();
        answers.push(lines.ask(&format!(r#"{{"auth":"{bad}","id":1}}"#)));
        answers.push(lines.ask(&format!(r#"{{"hello":1,"token":"{bad}","id":1}}"#)));
        // It is nobody still.
        assert_eq!(lines.ask(r#"{"pub":"chat/1","data":1,"id":2}"#)["code"], "unauthorized");
        let header = format!("Bearer {bad}");
        responses.push(server.ask("POST", "/ch/chat/1", &[("Authorization", &header)], b"x"));
        responses.push(server.ask("GET", "/healthz", &[("Authorization", &header)], b""));
        let refusal = WebSocket::over(server.connect(), "/ws", &[("Authorization", &header)]).err();
        responses.push(refusal.expect("no socket for a bad token"));
        if bad.len() < 7_000 {
            responses.push(server.ask("GET", &format!("/ch/chat/1?token={bad}"), &[], b""));
        }
    }

    let expected =
        json!({ "error": 1, "code": "unauthorized", "why": "the token was refused", "retry": false });
    assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}");
    for response in responses {
        response.refused(401, "unauthorized");
        assert_eq!(response.json()["why"], expected["why"]);
        let challenge = response.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer realm=\"sockeye\", error=\"invalid_token\""));
    }
}

#[test]
fn who_shows_too_many_bad_tokens_is_shown_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut lines = server.lines();

    for _ in 0..9 {
        assert_eq!(lines.ask(r#"{"auth":"x","id":1}"#)["code"], "unauthorized");
    }
    assert_eq!(lines.ask(&format!(r#"{{"auth":"{}","id":1}}"#, ana(60.0)))["user"], "ana");
    for _ in 0..10 {
        assert_eq!(lines.ask(r#"{"auth":"x","id":1}"#)["code"], "unauthorized");
    }

    assert_eq!(lines.next(), None);
}

#[test]
fn a_token_is_shown_once_and_in_one_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let good = ana(60.0);
    let header = format!("Bearer {good}");
    let offer = format!("sockeye, bearer.{good}");

    let mut socket = WebSocket::over(server.connect(), "/ws", &[("Sec-WebSocket-Protocol", &offer)]).unwrap();
    assert_eq!(socket.ask(r#"{"hello":1,"id":1}"#)["user"], "ana");
    // Only the one that is spoken is chosen, and never the token.
    let mut http = server.http();
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", offer.as_str()),
    ];
    http.send(&request("GET", "/ch/chat/1", &handshake, b""));
    assert_eq!(Response::read_head(&mut http.0).header("sec-websocket-protocol"), Some("sockeye"));

    for (path, headers) in [
        ("/ch/chat/1".to_owned(), vec![("Authorization", header.as_str()), ("Authorization", &header)]),
        (format!("/ch/chat/1?token={good}"), vec![("Authorization", &header)]),
        (format!("/ch/chat/1?token={good}&token={good}"), vec![]),
    ] {
        server.ask("GET", &path, &headers, b"").refused(400, "bad_request");
    }
    // The scheme's case does not matter; another scheme is not ours.
    let lower = format!("bearer {good}");
    assert_eq!(server.ask("POST", "/ch/chat/1", &[("Authorization", &lower)], b"x").status, 200);
    let basic = [("Authorization", "Basic YTpi")];
    server.ask("POST", "/ch/chat/1", &basic, b"x").refused(401, "unauthorized");
}

#[test]
fn a_token_that_ends_is_announced_then_ends_the_connection_unless_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "expiry_notice = \"1s\"");
    let mut lines = server.lines();
    let mut renewed = WebSocket::open(&server, "/ws");
    let header = format!("Bearer {}", ana(2.5));
    let bearer = [("Authorization", header.as_str())];
    let mut raw = WebSocket::over(server.connect(), "/ch/chat/1?pub=0", &bearer).unwrap();
    let mut events = Http::over(server.connect());
    let wanted = [bearer[0], ("Accept", "text/event-stream")];
    events.send(&request("GET", "/ch/chat/1", &wanted, b""));
    Response::read_head(&mut events.0);
    let mut kept = server.http();
    assert_eq!(kept.ask("POST", "/ch/chat/2", &bearer, b"x").status, 200);

    let began = Instant::now();
    let answer = lines.ask(&format!(r#"{{"auth":"{}","id":1}}"#, ana(2.5)));
    assert_eq!(answer["user"], "ana");
    assert!((1..=2_501).contains(&answer["expires_ms"].as_u64().unwrap()), "{answer}");
    lines.ask(r#"{"sub":"chat/1","id":2}"#);
    renewed.ask(&format!(r#"{{"auth":"{}","id":1}}"#, ana(2.5)));

    let notice = lines.receive();
    assert!(notice["expires_ms"].as_u64().unwrap() <= 1_000, "{notice}");
    assert!(renewed.object()["expires_ms"].is_u64());
    assert_eq!(renewed.ask(&format!(r#"{{"auth":"{}","id":1}}"#, ana(600.0)))["ok"], 1);
    assert_eq!(lines.receive(), json!({ "bye": "expired" }));
    assert_eq!(lines.next(), None);
    assert!(began.elapsed().as_millis() >= 2_400);
    assert_eq!(raw.closed_with(1008), "expired");
    let said: Vec<Value> = (0..3).map(|_| events.event().1).collect();
    assert_eq!(said[2], json!({ "bye": "expired" }), "{said:?}");
    // The renewed one goes on, and a request is only as long as its answer.
    assert_eq!(renewed.ask(r#"{"ping":1}"#)["pong"], 1);
    kept.ask("GET", "/ch/chat/2", &bearer, b"").refused(401, "unauthorized");
}

#[test]
fn a_request_is_answered_though_its_token_ends_whatever_else_its_client_could_take() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let token = ana(0.5);
    let mut posts: Vec<Http> = ["Accept: application/json, text/event-stream", "Upgrade: h2c"]
        .map(|header| {
            let mut http = server.http();
            let head = format!(
                "POST /ch/chat/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{header}\r\n\
                 Content-Length: 6\r\n\r\nabc"
            );
            http.send(head.as_bytes());
            http
        })
        .into();
    let mut lines = server.lines();
    lines.send(&format!(r#"{{"auth":"{token}"}}"#));
    while lines.receive() != json!({ "bye": "expired" }) {}

    for http in &mut posts {
        http.send(b"def");
        assert_eq!(http.receive().status, 200);
    }
}

#[test]
fn another_token_on_the_same_connection_ends_what_it_does_not_allow() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut lines = server.lines();
    lines.ask(&format!(r#"{{"auth":"{}","id":1}}"#, ana(60.0)));
    lines.ask(r#"{"sub":"chat/1","id":2}"#);
    lines.ask(r#"{"sub":"own/ana","id":3}"#);
    lines.ask(r#"{"sub":"chat/+","id":4}"#);

    let ben = token(&json!({ "sub": "ben", "hear": ["chat/1"], "publish": ["chat/#", "own/ana"] }));
    let answer = lines.ask(&format!(r#"{{"auth":"{ben}","id":5}}"#));

    assert_eq!(answer, json!({ "ok": 5, "user": "ben" }));
    for name in ["own/ana", "chat/+"] {
        let ended = lines.receive();
        assert_eq!((&ended["code"], &ended["sub"]), (&"denied".into(), &name.into()), "{ended}");
        assert!(ended["error"].is_null() && ended.get("ch").is_none(), "{ended}");
    }
    for channel in ["own/ana", "chat/2", "chat/1"] {
        lines.send(&format!(r#"{{"pub":"{channel}","data":"x"}}"#));
    }
    let push = lines.receive();
    assert_eq!((&push["ch"], &push["from"]), (&"chat/1".into(), &"ben".into()));
    assert_eq!(lines.ask(r#"{"ping":1}"#)["pong"], 1);
}

#[test]
fn a_changed_file_of_tokens_takes_effect_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    let write = |tokens: &str| {
        let fresh = folder.path().join("fresh");
        std::fs::write(&fresh, tokens).unwrap();
        std::fs::rename(&fresh, &file).unwrap();
    };
    let entry = |token: &str, hear: &str| format!("[[tokens]]\ntoken = \"{token}\"\nhear = [\"{hear}\"]\n");
    write(&(entry(STATIC, "#") + &entry("the token of another one", "#")));
    let server = start(
        folder.path(),
        &format!("token_files = [\"file:{}\"]\ncheck_interval = \"20ms\"", file.display()),
    );
    let hear = |token: &str| {
        let mut lines = server.lines();
        assert_eq!(lines.ask(&format!(r#"{{"auth":"{token}","id":1}}"#))["ok"], 1);
        assert_eq!(lines.ask(r#"{"sub":"chat","id":2}"#)["ok"], 2);
        lines
    };
    let (mut stays, mut goes) = (hear(STATIC), hear("the token of another one"));

    write("this is not TOML, and has a-static-token-of-the-tests in it");
    server.wait_for_log(|line| line.contains("cannot be used"));
    hear(STATIC);
    write(&entry(STATIC, "news/#"));

    // Who is connected learns of it, too.
    assert_eq!(goes.receive(), json!({ "bye": "revoked" }));
    let ended = stays.receive();
    assert_eq!((&ended["sub"], &ended["code"]), (&"chat".into(), &"denied".into()));
    assert_eq!(stays.ask(r#"{"sub":"news/1","id":3}"#)["ok"], 3);
    assert_eq!(server.lines().ask(r#"{"auth":"the token of another one","id":1}"#)["code"], "unauthorized");
}

#[test]
fn no_token_is_ever_said_logged_or_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("static");
    std::fs::write(&file, STATIC).unwrap();
    let more = format!(
        "[[auth.tokens]]\ntoken = \"file:{}\"\nuser = \"s\"\nhear = [\"#\"]\nadmin = true\n",
        file.display()
    );
    let server = start(folder.path(), &more);
    let (good, expired) = (ana(60.0), ana(-60.0));
    let secrets = [STATIC, SECRET, &good, &expired, good.rsplit('.').next().unwrap(), "sEcReT+wOrD"];
    let mut said = String::new();
    let mut ear = server.lines();
    ear.ask(&format!(r#"{{"auth":"{STATIC}","id":1}}"#));
    ear.ask(r#"{"sub":"$sys/#","id":2}"#);

    for token in [STATIC, &good, &expired, "sEcReT+wOrD"] {
        let mut lines = server.lines();
        for text in [
            format!(r#"{{"auth":"{token}","id":1}}"#),
            format!(r#"{{"hello":1,"token":"{token}","id":1}}"#),
            format!(r#"{{"auth":"{token}","token":"{token}","auth":"{token}","id":1}}"#),
            format!(r#"{{"auth":["{token}"],"id":1}}"#),
            format!(r#"{{"auth":"{token}","sub":"{token}","id":1}}"#),
            format!(r#"{{"auth":"{token}" oops "#),
        ] {
            said += &lines.ask(&text).to_string();
        }
        let header = format!("Bearer {token}");
        let offer = format!("sockeye, bearer.{token}");
        for headers in [[("Authorization", header.as_str())], [("Sec-WebSocket-Protocol", &offer)]] {
            for path in ["/ch/chat/1", "/metrics", "/nothing", "/ws", "/ch/$sys/stats"] {
                said += &format!("{:?}", server.ask("GET", path, &headers, b""));
                if let Err(refusal) = WebSocket::over(server.connect(), path, &headers) {
                    said += &format!("{refusal:?}");
                }
            }
        }
        said += &format!("{:?}", server.ask("GET", &format!("/ch/chat/1?token={token}&last=x"), &[], b""));
        said += &format!("{:?}", server.ask("GET", &format!("/nowhere?token={token}"), &[], b""));
    }
    let metrics = server.ask("GET", "/metrics", &[("Authorization", &format!("Bearer {STATIC}"))], b"");
    assert_eq!(metrics.status, 200);
    said += &metrics.text();
    said += &ear.receive().to_string();
    let config = server.folder().join("sockeye.toml");
    for arguments in [&["check", "--print", "--config"][..], &["check", "--config"]] {
        let output = Command::new(BINARY).args(arguments).arg(&config).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        said += &String::from_utf8(output.stdout).unwrap();
        said += &String::from_utf8(output.stderr).unwrap();
    }
    said += &server.log().join("\n");

    assert!(said.contains("a token was refused"), "the log tells nothing of it");
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} was said");
    }
}

#[test]
fn with_rights_configured_the_server_may_be_reached_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sockeye.toml");
    let check = |config: &str| {
        std::fs::write(&file, config).unwrap();
        Command::new(BINARY).args(["check", "--config"]).arg(&file).output().unwrap()
    };
    let listen = "listen = [\"tcp:0.0.0.0:7625\"]\n";

    assert_eq!(check(listen).status.code(), Some(2));
    assert!(check(&format!("{listen}[auth.anonymous]\nhear = [\"news/#\"]\n")).status.success());
    let digest = "0".repeat(64);
    assert!(check(&format!("{listen}[[auth.tokens]]\ntoken = \"sha256:{digest}\"\n")).status.success());
    for (config, said) in [
        ("[[auth.tokens]]\ntoken = \"hunter2hunter2\"\n", "env:NAME, file:PATH or sha256:HEX"),
        ("[[auth.tokens]]\nuser = \"a\"\n", "has no token"),
        ("[auth]\nkeys = [\"file:/nowhere/key.pem\"]\n", "/nowhere/key.pem"),
        ("[auth]\ndefault_roles = [\"x\"]\n", "[auth.roles.x]"),
        ("[auth.roles.x]\npublish = [\"a/#/b\"]\n", "a/#/b"),
        ("[auth.roles.x]\nwrite = [\"a\"]\n", "publish, hear and admin"),
        ("[auth]\nsecret = []\n", "did you mean"),
    ] {
        let output = check(config);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{config}: {told}");
        assert!(told.contains(said), "{config}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn who_cannot_use_its_keys_does_not_say_that_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sockeye.toml");
    std::fs::write(&file, "listen = [\"tcp:127.0.0.1:0\"]\n[auth]\nkeys = [\"file:/nowhere/key.pem\"]\n")
        .unwrap();

    let ran = run(&["serve", "--json", "--config", file.to_str().unwrap()], b"");

    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("/nowhere/key.pem") && !ran.errors.contains("listening"), "{ran:?}");
}

#[test]
fn a_foreign_name_is_harmless_where_nothing_is_open_to_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let closed = start(folder.path(), "");
    let header = format!("Bearer {}", ana(60.0));
    let named = [("Host", "chat.example"), ("Authorization", header.as_str())];

    assert_eq!(closed.ask("POST", "/ch/chat/1", &named, b"x").status, 200);
    closed.ask("POST", "/ch/chat/1", &named[..1], b"x").refused(401, "unauthorized");
    // A page elsewhere may still not use it, whatever it shows.
    let foreign = [named[0], named[1], ("Origin", "https://evil.example")];
    closed.ask("POST", "/ch/chat/1", &foreign, b"x").refused(403, "denied");

    let open = start(folder.path(), "[auth.anonymous]\npublish = [\"open\"]\n");
    open.ask("POST", "/ch/open", &named[..1], b"x").refused(403, "denied");
    assert_eq!(open.ask("POST", "/ch/open", &[], b"x").status, 200);
}

#[test]
fn a_server_without_rights_asks_nobody_for_a_token() {
    let server = Server::start();
    let mut lines = server.lines();

    assert_eq!(lines.ask(r#"{"auth":"whatever","id":1}"#), json!({ "ok": 1 }));
    assert!(lines.ask(r#"{"hello":1,"token":"whatever","id":2}"#).get("user").is_none());
    assert_eq!(lines.ask(r#"{"sub":"$sys/#","id":3}"#)["ok"], 3);
    let header = [("Authorization", "Bearer whatever")];
    assert_eq!(server.ask("POST", "/ch/chat", &header, b"x").status, 200);
}

#[test]
fn a_socket_that_hears_what_it_may_no_longer_hear_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, STATIC).unwrap();
    let more = format!(
        "check_interval = \"20ms\"\n[[auth.tokens]]\ntoken = \"file:{}\"\nhear = [\"#\"]\n",
        file.display()
    );
    let server = start(folder.path(), &more);
    let header = format!("Bearer {STATIC}");
    let mut raw = WebSocket::over(server.connect(), "/ch/chat?pub=0", &[("Authorization", &header)]).unwrap();

    std::fs::write(&file, "another-static-token-of-the-tests").unwrap();

    let began = Instant::now();
    assert_eq!(raw.closed_with(1008), "revoked");
    assert_eq!(raw.receive(), Frame::End);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(Lines::over(server.connect()).ask(&format!(r#"{{"auth":"{STATIC}","id":1}}"#))["error"], 1);
}

#[test]
fn the_commands_make_tokens_and_show_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "default_roles = [\"r\"]\n[auth.roles.r]\npublish = [\"r\"]\n");
    let secret = format!("file:{}", folder.path().join("secret").display());
    let make = |flags: &[&str]| {
        let made = run(&[&["token", "--secret", &secret], flags].concat(), b"");
        assert_eq!((made.code, made.errors.as_str()), (0, ""), "{made:?}");
        let file = folder.path().join("token");
        std::fs::write(&file, made.output).unwrap();
        format!("file:{}", file.display())
    };
    let port = server.tcp().port();
    let unix = format!("unix:{}", server.unix().display());
    let addresses = [
        format!("ws://localhost:{port}/ws"),
        format!("tcp:localhost:{port}"),
        unix,
        format!("udp:127.0.0.1:{port}"),
    ];

    let ana = make(&["--user", "ana", "--publish", "chat/{user}", "--hear", "chat/#", "--expires", "1h"]);
    for to in &addresses {
        let sent = run(&["pub", "--to", to, "--token", &ana, "chat/ana", "hi"], b"");
        assert_eq!((sent.code, sent.errors.as_str()), (0, ""), "{to}");
        // Datagrams have no history.
        let from = if to.starts_with("udp:") { &addresses[0] } else { to };
        let heard = run(
            &["sub", "--from", from, "--token", &ana, "--last", "1", "--count", "1", "--json", "chat/ana"],
            b"",
        );
        let heard: Value = serde_json::from_slice(&heard.output).unwrap();
        assert_eq!((&heard["from"], &heard["data"]), (&"ana".into(), &"hi".into()), "{to}");
        for (flags, said) in [
            (&["--token", &ana, "chat/ben", "hi"][..], "denied"),
            (&["chat/ana", "hi"], "unauthorized"),
            (&["--token", &secret, "chat/ana", "hi"], "the token was refused"),
        ] {
            let refused = run(&[&["pub", "--to", to], flags].concat(), b"");
            assert!(refused.code == 7 && refused.errors.contains(said), "{to}: {refused:?}");
            assert!(!refused.errors.contains(SECRET), "{refused:?}");
        }
    }
    // One that carries no rights has those of the default roles.
    let role = make(&["--user", "ben"]);
    assert_eq!(run(&["pub", "--to", &addresses[0], "--token", &role, "r", "hi"], b"").code, 0);

    for flags in [
        &["pub", "--token", "hunter2hunter2", "c", "x"][..],
        &["pub", "--token", "file:/nowhere/token", "c", "x"],
        &["token", "--secret", "env:SOCKEYE_NO_SUCH_VARIABLE"],
        &["token", "--secret", &secret, "--publish", "a/#/b"],
        &["token", "--secret", &secret, "--expires", "soon"],
        &["token", "--secret", &secret, "--expires", "0s"],
        &["token", "--secret", &secret, "--user", ""],
        &["token", "--secret", &secret, "--user", &"u".repeat(257)],
    ] {
        assert_eq!(run(flags, b"").code, 2, "{flags:?}");
    }
}
