//! TLS: who is let in, what is shown to whom, how connections begin and end, and certificates that change meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use serde_json::json;
use sockeye_wire::websocket::Opcode;

use crate::certificates::{Authority, Issued, replace};
use crate::client::{Frame, Lines, Secure, Stream, WebSocket};
use crate::command::run;
use crate::http_client::Http;
use crate::world::Server;

/// A server with one certificate, for `localhost`, and its authority.
fn start(more: &str) -> (Server, Authority, Issued) {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost"]);
    let server =
        Server::with_log(&format!("[tls]\ncheck_interval = \"20ms\"\n{more}\n{}", issued.table()), "debug");
    (server, authority, issued)
}

fn connect(server: &Server, client: &Arc<ClientConfig>) -> Secure {
    connect_as(server, client, "localhost")
}

fn connect_as(server: &Server, client: &Arc<ClientConfig>, name: &'static str) -> Secure {
    let tcp = TcpStream::connect(server.tcp()).unwrap();
    tcp.set_nodelay(true).unwrap();
    Secure::over(tcp, client, name).unwrap()
}

fn lines(server: &Server, client: &Arc<ClientConfig>) -> Lines {
    Lines::over(Stream::Tls(Box::new(connect(server, client))))
}

#[test]
fn tls_and_plain_text_share_one_port() {
    let (server, authority, _) = start("");
    let mut plain = server.lines();
    let mut encrypted = lines(&server, &authority.client());
    assert_eq!(encrypted.ask(r#"{"sub":"shared","id":1}"#)["ok"], 1);

    plain.send(r#"{"pub":"shared","data":"from plain text"}"#);

    assert_eq!(encrypted.receive()["data"], "from plain text");
    let mut http = Http::over(Stream::Tls(Box::new(connect(&server, &authority.client()))));
    assert_eq!(http.ask("GET", "/healthz", &[], b"").text(), "ok\n");
    assert_eq!(server.ask("GET", "/healthz", &[], b"").text(), "ok\n");
    let socket = Stream::Tls(Box::new(connect(&server, &authority.client())));
    let mut socket = WebSocket::over(socket, "/echo", &[("Origin", "https://localhost")]).unwrap();
    for length in [0, 5, 20_000, 700_000] {
        socket.send_frame(Opcode::Binary, &vec![7; length]);
        assert_eq!(socket.receive(), Frame::Binary(vec![7; length]));
    }
    let mut over_unix = Lines::over(server.connect_unix());
    assert_eq!(over_unix.ask(r#"{"ping":1}"#), json!({"pong":1}));
}

#[test]
fn plain_text_is_refused_in_its_own_words_where_tls_is_required() {
    let (server, authority, _) = start("mode = \"required\"");

    let answer = server.lines().ask(r#"{"ping":1}"#);
    let page = server.ask("GET", "/healthz", &[], b"");

    assert_eq!((answer["code"].as_str(), &answer["retry"]), (Some("denied"), &json!(false)));
    assert!(answer["why"].as_str().unwrap().contains("TLS only"), "{answer}");
    assert!(page.refused(403, "denied").contains("https:"));
    assert_eq!(lines(&server, &authority.client()).ask(r#"{"ping":1}"#), json!({"pong":1}));
    assert_eq!(Lines::over(server.connect_unix()).ask(r#"{"ping":1}"#), json!({"pong":1}));
}

#[test]
fn the_certificate_shown_is_that_of_the_name_asked_for() {
    let authority = Authority::new();
    let first = authority.issue("first", &["localhost", "one.example"]);
    let second = authority.issue("second", &["two.example", "*.two.example"]);
    let server = Server::with(&format!("{}{}", first.table(), second.table()));

    for (name, shown) in [("one.example", &first), ("two.example", &second), ("a.two.example", &second)] {
        assert_eq!(connect_as(&server, &authority.client(), name).shown(), shown.der, "{name}");
    }
    // A name that nobody has gets the first one, and the client judges.
    let tcp = TcpStream::connect(server.tcp()).unwrap();
    let refused = Secure::over(tcp, &authority.client(), "other.example").unwrap_err();
    assert!(
        refused.to_string().contains("NotValidForName") || refused.to_string().contains("not valid for name")
    );
    server.wait_until("the refusal is counted", |server| {
        server.metric("sockeye_tls_handshakes_failed_total{reason=\"refused\"}") == 1
    });
}

#[test]
fn both_versions_are_spoken_and_their_sessions_resumed() {
    let (server, authority, _) = start("");

    for (version, name) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let client = authority.client_of(&[version]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut secure = connect(&server, &client);
            assert_eq!(secure.connection().protocol_version(), Some(name));
            // The tickets of 1.3 come with the first answer.
            secure.write_all(b"{\"ping\":1}\n").unwrap();
            let mut answer = [0; 11];
            secure.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"{\"pong\":1}\n");
            kinds.push(secure.connection().handshake_kind());
        }
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)], "{name:?}");
    }
    assert_eq!(server.metric("sockeye_tls_handshakes_total{kind=\"full\"}"), 2);
    assert_eq!(server.metric("sockeye_tls_handshakes_total{kind=\"resumed\"}"), 2);
    server.wait_for_log(|line| line.contains("\"version\":\"1.2\"") && line.contains("\"resumed\":true"));
}

#[test]
fn an_old_version_is_refused_where_it_is_not_wanted() {
    let (server, authority, _) = start("version_min = \"1.3\"");

    let tcp = TcpStream::connect(server.tcp()).unwrap();
    let refused =
        Secure::over(tcp, &authority.client_of(&[&rustls::version::TLS12]), "localhost").unwrap_err();

    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    server.wait_until("it is counted", |server| {
        server.metric("sockeye_tls_handshakes_failed_total{reason=\"incompatible\"}") == 1
    });
}

#[test]
fn a_required_client_certificate_must_be_good_and_is_named_in_the_log() {
    let clients = Authority::new();
    let ca = clients.file();
    let more = format!("client_certificate = \"required\"\nclient_ca = \"{}\"", ca.display());
    let (server, authority, _) = start(&more);
    let ana = clients.issue("ana", &["ana.example"]);
    let stranger = Authority::new().issue("stranger", &["stranger.example"]);

    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let known = authority.client_with(versions, Some(&ana));
        assert_eq!(lines(&server, &known).ask(r#"{"ping":1}"#), json!({"pong":1}));
        for shown in [None, Some(&stranger)] {
            let tcp = TcpStream::connect(server.tcp()).unwrap();
            let refused = Secure::over(tcp, &authority.client_with(versions, shown), "localhost")
                .and_then(|mut secure| secure.read(&mut [0; 1]));
            assert!(refused.unwrap_err().to_string().contains("alert"), "{versions:?}");
        }
    }
    server.wait_for_log(|line| line.contains("secured") && line.contains("CN=ana"));
    let mut http = Http::over(Stream::Tls(Box::new(connect(
        &server,
        &authority.client_with(rustls::DEFAULT_VERSIONS, Some(&ana)),
    ))));
    let page = http.ask("GET", "/metrics", &[], b"").text();
    assert!(page.contains("sockeye_tls_handshakes_failed_total{reason=\"client_certificate\"} 4"), "{page}");
}

#[test]
fn a_replaced_certificate_is_shown_to_newcomers_and_disturbs_nobody() {
    let (server, authority, first) = start("");
    let client = authority.client();
    let mut hearer = lines(&server, &client);
    let mut speaker = lines(&server, &client);
    assert_eq!(hearer.ask(r#"{"sub":"renewed","id":1}"#)["ok"], 1);
    let mut published = 0;
    let mut publish = |speaker: &mut Lines| {
        published += 1;
        let answer = speaker.ask(&format!(r#"{{"pub":"renewed","data":{published},"id":{published}}}"#));
        assert_eq!(answer["ok"], published);
    };
    publish(&mut speaker);

    // A bad file first: it is said, and changes nothing.
    replace(&first.certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n");
    server.wait_for_log(|line| line.contains("WARN") && line.contains("server.pem") && line.contains("stay"));
    publish(&mut speaker);
    assert_eq!(connect(&server, &authority.client()).shown(), first.der);
    assert_eq!(server.metric("sockeye_tls_certificate_loads_total{outcome=\"kept_old\"}"), 1);
    // Then a good one.
    let second = authority.issue("server", &["localhost"]);
    server.wait_until("the new certificate is shown", |server| {
        publish(&mut speaker);
        connect(server, &authority.client()).shown() == second.der
    });
    publish(&mut speaker);

    for data in 1..=published {
        assert_eq!(hearer.receive()["data"], data);
    }
    server.wait_until("both are still there", |server| {
        server.metric("sockeye_connections{protocol=\"lines\"}") == 2
    });
    assert_eq!(server.metric("sockeye_tls_certificate_loads_total{outcome=\"loaded\"}"), 2);
    // The tickets from before are still good.
    assert_eq!(connect(&server, &client).connection().handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn garbage_after_the_first_byte_is_answered_by_an_alert() {
    let (server, _, _) = start("");

    for garbage in [
        &b"\x16garbage that is no handshake"[..],
        &[0x16; 200_000],
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    ] {
        let mut stream = server.connect();
        // The server may have ended it before all of it is written.
        let _ = stream.write_all(garbage);
        let answer = stream.read_rest();
        assert!(answer.is_empty() || answer.starts_with(&[0x15, 3]), "{answer:?}");
    }

    server.wait_until("all are counted", |server| {
        server.metric("sockeye_tls_handshakes_failed_total{reason=\"garbage\"}") == 3
    });
    assert_eq!(server.lines().ask(r#"{"ping":1}"#), json!({"pong":1}));
}

#[test]
fn a_stalled_handshake_ends_by_its_timeout_and_others_do_not_wait() {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost"]);
    let config = format!("[limits]\nhandshake_timeout = \"150ms\"\n{}", issued.table());
    let server = Server::with_log(&config, "debug");
    let mut stalled = server.connect();
    stalled.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut done = connect(&server, &authority.client());

    assert_eq!(stalled.read_rest(), b"");

    server.wait_for_log(|line| line.contains("no TLS handshake in time"));
    assert_eq!(server.metric("sockeye_tls_handshakes_failed_total{reason=\"timed_out\"}"), 1);
    // Whose handshake is done may be silent for as long as anybody.
    done.write_all(b"{\"ping\":1}\n").unwrap();
    done.read_exact(&mut [0; 11]).unwrap();
}

#[test]
fn a_handshake_may_come_byte_by_byte_and_a_crowd_at_once() {
    let (server, authority, _) = start("");
    let tcp = TcpStream::connect(server.tcp()).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut slow = Secure::slowly(tcp, &authority.client(), "localhost").unwrap();
    slow.write_all(b"{\"ping\":1}\n").unwrap();
    slow.read_exact(&mut [0; 11]).unwrap();

    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let mut one = lines(&server, &authority.client());
                assert_eq!(one.ask(r#"{"ping":1}"#), json!({"pong":1}));
            });
        }
    });

    assert_eq!(server.metric("sockeye_tls_handshakes_total{kind=\"full\"}"), 61);
}

#[test]
fn an_end_is_said_and_one_that_was_not_said_is_told_apart() {
    let (server, authority, _) = start("");
    // We end our side and go on hearing, as with plain text.
    let mut half = connect(&server, &authority.client());
    half.write_all(b"{\"sub\":\"half\",\"id\":1}\n").unwrap();
    let mut half = Lines::over(Stream::Tls(Box::new(half)));
    half.receive();
    half.0.stream.finish();
    server.lines().ask(r#"{"pub":"half","data":"still heard","id":1}"#);
    assert_eq!(half.receive()["data"], "still heard");
    // The server says its end: a read returns it, rather than an error.
    let mut ended = connect(&server, &authority.client());
    ended.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = Vec::new();
    ended.read_to_end(&mut said).unwrap();
    assert!(said.ends_with(b"ok\n"));

    let mut cut = connect(&server, &authority.client());
    cut.write_all(b"{\"ping\":1}\n").unwrap();
    cut.read_exact(&mut [0; 11]).unwrap();
    cut.tcp().shutdown(std::net::Shutdown::Write).unwrap();

    let end = cut.read(&mut [0; 1]);
    assert!(
        matches!(&end, Ok(0)) || matches!(&end, Err(error) if error.kind() == ErrorKind::UnexpectedEof),
        "{end:?}"
    );
    server.wait_for_log(|line| line.contains("without close_notify"));
    assert_eq!(server.metric("sockeye_tls_truncated_total"), 1);
}

#[test]
fn what_comes_along_with_the_end_of_the_handshake_is_not_lost() {
    let (server, authority, _) = start("");
    let client = authority.client();
    for length in [10, 60_000, 300_000, 1_000_000] {
        // The second one resumes, and has the least to wait for.
        for channel in ["along/1", "along/2"] {
            let text = "x".repeat(length);
            let mut secure = connect(&server, &client);
            secure
                .write_all(format!("{{\"pub\":\"{channel}\",\"data\":\"{text}\",\"id\":1}}\n").as_bytes())
                .unwrap();
            secure.finish();
            let mut lines = Lines::over(Stream::Tls(Box::new(secure)));
            assert_eq!(lines.receive()["ack"], "accepted", "{length} {channel}");
            assert_eq!(lines.next(), None);
        }
    }
}

#[test]
fn a_slow_reader_of_tls_gets_everything_in_order() {
    let (server, authority, _) = start("[history]\nmessages = 4000\nbytes = \"64MiB\"");
    let mut slow = lines(&server, &authority.client());
    assert_eq!(slow.ask(r#"{"sub":"slow","id":1}"#)["ok"], 1);
    let mut speaker = server.lines();
    let text = "x".repeat(10_000);

    for number in 0..2_000 {
        speaker.send(&format!(r#"{{"pub":"slow","data":"{number} {text}"}}"#));
    }
    speaker.ask(r#"{"ping":1}"#);

    for number in 0..2_000 {
        let push = slow.receive();
        assert!(
            push["data"].as_str().unwrap().starts_with(&format!("{number} ")),
            "{number}: {:.80}",
            push.to_string()
        );
    }
}

#[test]
fn a_connection_that_is_held_to_a_rate_loses_nothing_over_tls() {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost"]);
    let config =
        format!("[limits]\nbytes_per_second = \"200KiB\"\nrate_burst = \"100ms\"\n{}", issued.table());
    let server = Server::with(&config);
    let socket = Stream::Tls(Box::new(connect(&server, &authority.client())));
    let mut socket = WebSocket::over(socket, "/echo", &[]).unwrap();

    for length in [10, 3_000, 15_000] {
        socket.send_frame(Opcode::Binary, &vec![3; length]);
        assert_eq!(socket.receive(), Frame::Binary(vec![3; length]));
    }
}

#[test]
fn a_drain_says_goodbye_over_tls_too() {
    let (mut server, authority, _) = start("");
    let mut hearer = lines(&server, &authority.client());
    hearer.ask(r#"{"sub":"drained","id":1}"#);
    // One that is still shaking hands is not waited for.
    let mut shaking = server.connect();
    shaking.write_all(b"\x16\x03\x01").unwrap();

    server.terminate();

    assert_eq!(hearer.receive()["bye"], "drain");
    assert_eq!(hearer.next(), None);
    drop((hearer, shaking));
    assert!(server.wait().success());
}

#[test]
fn bad_certificates_are_named_before_anything_begins() {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost"]);
    let other = authority.issue("other", &["localhost"]);
    let (good, key) = (issued.certificate.to_str().unwrap(), issued.key.to_str().unwrap());
    let serve = |certificate: &str, key: &str| {
        run(
            &["serve", "--listen", "tcp:127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key],
            b"",
        )
    };

    for (certificate, key, said) in [
        ("/nowhere.pem", key, "/nowhere.pem"),
        (good, "/nowhere.key", "/nowhere.key"),
        (good, good, "no private key"),
        (key, key, "no certificate"),
        (good, other.key.to_str().unwrap(), "belongs to another certificate"),
    ] {
        let ran = serve(certificate, key);
        assert_eq!(ran.code, 2, "{}", ran.errors);
        assert!(ran.errors.contains(said), "{}", ran.errors);
    }
    let half = run(&["serve", "--tls-certificate", good], b"");
    assert_eq!(half.code, 2);
    assert!(half.errors.contains("--tls-key"), "{}", half.errors);
}

#[test]
fn pub_and_sub_speak_tls_and_say_whom_they_do_not_trust() {
    let (server, authority, _) = start("");
    let (port, ca) = (server.tcp().port(), authority.file());
    let trusting = [
        format!("tls:127.0.0.1:{port}?ca={}&server-name=localhost", ca.display()),
        format!("wss://localhost:{port}/ws#ca={}", ca.display()),
        format!("wss://127.0.0.1:{port}/ws#insecure"),
    ];

    for (number, address) in trusting.iter().enumerate() {
        let channel = format!("tools/{number}");
        let said = run(&["pub", "--to", address, &channel, "over TLS"], b"");
        assert_eq!(said.code, 0, "{address}: {}", said.errors);
        let warnings = said.errors.matches("any certificate is trusted").count();
        assert_eq!(warnings, usize::from(number == 2), "{}", said.errors);
        let heard = run(&["sub", "--from", address, "--last", "1", "--count", "1", &channel], b"");
        assert_eq!(
            (heard.code, heard.output.as_slice()),
            (0, &b"over TLS\n"[..]),
            "{address}: {}",
            heard.errors
        );
    }

    let refused = run(&["pub", "--to", &format!("tls:localhost:{port}"), "c", "x"], b"");
    assert_eq!(refused.code, 6, "{}", refused.errors);
    let plain = Server::start();
    let deaf =
        run(&["pub", "--to", &format!("tls:127.0.0.1:{}?insecure", plain.tcp().port()), "c", "x"], b"");
    assert_eq!(deaf.code, 6, "{}", deaf.errors);
    assert!(deaf.errors.contains("does not speak TLS"), "{}", deaf.errors);
}

#[test]
fn pub_shows_the_certificate_that_its_address_names() {
    let clients = Authority::new();
    let ana = clients.issue("ana", &["ana.example"]);
    let ca = clients.file();
    let more = format!("client_certificate = \"required\"\nclient_ca = \"{}\"", ca.display());
    let (server, authority, _) = start(&more);
    let to = format!("tls:localhost:{}?ca={}", server.tcp().port(), authority.file().display());
    // One file may hold both.
    let both = clients.file().with_file_name("both.pem");
    let pems = [&ana.certificate, &ana.key].map(|file| std::fs::read_to_string(file).unwrap());
    replace(&both, &pems.concat());
    let (certificate, key) = (ana.certificate.display(), ana.key.display());

    for (options, code) in [
        (format!("&cert={certificate}&key={key}"), 0),
        (format!("&cert={}", both.display()), 0),
        (format!("&cert={certificate}"), 2),
        ("&cert=/nowhere.pem".to_owned(), 2),
    ] {
        let ran = run(&["pub", "--to", &format!("{to}{options}"), "c", "shown"], b"");
        assert_eq!(ran.code, code, "{options}: {}", ran.errors);
        assert_eq!(ran.errors.contains("private key"), options.ends_with("ana.pem"), "{}", ran.errors);
        assert_eq!(ran.errors.contains("/nowhere.pem"), options.contains("nowhere"), "{}", ran.errors);
    }
}

#[test]
fn a_certificate_can_be_made_for_trying() {
    let server = Server::with_flags(&["--self-signed"]);
    let line = server.wait_for_log(|line| line.contains("fingerprint"));
    assert!(line.contains("localhost"), "{line}");

    let tcp = TcpStream::connect(server.tcp()).unwrap();
    let refused = Secure::over(tcp, &Authority::new().client(), "localhost").unwrap_err();

    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[test]
fn check_tells_which_certificates_are_to_be_renewed() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sockeye.toml");
    let check = |issued: &Issued| {
        let (certificate, key) = (issued.certificate.display(), issued.key.display());
        let text = format!("[[tls.certificates]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        std::fs::write(&config, text).unwrap();
        let ran = run(&["check", "--config", config.to_str().unwrap()], b"");
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.errors
    };

    assert_eq!(check(&authority.issue("good", &["localhost"])), "");
    let ended = authority.issue_until("ended", &["localhost"], 2_020);
    let said = check(&ended);
    assert!(
        said.contains(ended.certificate.to_str().unwrap()) && said.contains("renew it (2020-01-01)"),
        "{said}"
    );
}
