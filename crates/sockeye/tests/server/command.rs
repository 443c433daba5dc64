//! The commands as a person or a script meets them: `pub`, `sub`, `check`, and what a mistake gets to hear.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::world::{BINARY, PATIENCE, Server};

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    finish(spawn(&mut command, input))
}

pub(crate) fn spawn(command: &mut Command, input: &[u8]) -> std::process::Child {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child
}

pub(crate) fn finish(child: std::process::Child) -> Ran {
    let id = rustix::process::Pid::from_child(&child);
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        panic!("it did not end: {:?}", ended.recv());
    };
    Ran {
        code: output.status.code().expect("no signal ended it"),
        output: output.stdout,
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs what must succeed without a word on standard error; its output.
fn said(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let ran = run(arguments, input);
    assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{arguments:?} {ran:?}");
    ran.output
}

#[test]
fn what_pub_says_sub_hears_over_every_socket() {
    let server = Server::start();
    let port = server.tcp().port();
    let addresses = [
        format!("ws://127.0.0.1:{port}/ws"),
        format!("tcp:127.0.0.1:{port}"),
        format!("unix:{}", server.unix().display()),
    ];

    for (index, address) in addresses.iter().enumerate() {
        let channel = format!("chat/{index}");
        assert_eq!(said(&["pub", "--to", address, &channel, "hello"], b""), b"");
        assert_eq!(said(&["pub", "--to", address, &channel, "{\"a\": [1]}"], b""), b"");
        assert_eq!(said(&["pub", "--to", address, &channel], "one\n\ntwo ü\nlast".as_bytes()), b"");
        for from in &addresses {
            let heard = said(&["sub", "--from", from, "--last", "10", "--count", "6", &channel], b"");
            assert_eq!(String::from_utf8(heard).unwrap(), "hello\n{\"a\": [1]}\none\n\ntwo ü\nlast\n");
        }
    }
    let ran = run(&["pub", "--to", &addresses[0], "c"], b"");
    assert_eq!(ran.code, 2, "nothing was published: {ran:?}");
}

#[test]
fn sub_writes_lines_or_bytes_or_objects() {
    let server = Server::start();
    let from = format!("unix:{}", server.unix().display());
    let sub = |flags: &[&str]| said(&[&["sub", "--from", &from], flags].concat(), b"");
    said(&["pub", "--to", &from, "c"], b"text\n\xff\x00\n[1, 2]\n");
    server.ask("POST", "/ch/c", &[("Content-Type", "text/plain")], b"two\nlines");

    assert_eq!(sub(&["--last", "4", "--count", "4", "--raw", "c"]), b"text\xff\x00[1, 2]two\nlines");
    assert_eq!(sub(&["--last", "4", "--count", "4", "c"]), b"text\n/wA=\n[1, 2]\ntwo\\nlines\n");
    let objects = String::from_utf8(sub(&["--last", "4", "--count", "4", "--json", "c"])).unwrap();
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[1]["b64"], "/wA=");
    assert_eq!((&objects[0]["ch"], &objects[3]["data"]), (&json!("c"), &json!("two\nlines")));
    let since = objects[1]["at"].as_str().unwrap();
    assert_eq!(sub(&["--since", since, "--count", "1", "c"]), b"[1, 2]\n");
    assert_eq!(sub(&["--count", "0", "c"]), b"");
    // What is missing is told beside the payload, not in it.
    let gone = ["sub", "--from", &from, "--since", "zzz:1", "--count", "1", "c"];
    // The figures are a moment old: those of the subscribers before it must have gone, or one of them is taken for it.
    server.wait_until("nobody hears", |server| server.metric("sockeye_subscriptions") == 0);
    let child = spawn(Command::new(BINARY).args(gone), b"");
    server.wait_until("it is subscribed", |server| server.metric("sockeye_subscriptions") == 1);
    said(&["pub", "--to", &from, "c", "live"], b"");
    let ran = finish(child);
    assert_eq!((ran.code, ran.output.as_slice()), (0, &b"live\n"[..]));
    assert!(ran.errors.contains("epoch"), "{ran:?}");
}

#[test]
fn sub_tells_as_an_object_that_not_everything_was_kept() {
    // One shard, whose figures are its own: those of another may be of the moment before.
    let server = Server::on_shards(1, "");
    let port = server.tcp().port();
    let ask = |from: &str, since: &str| {
        let arguments = ["sub", "--json", "--from", from, "--since", since, "--count", "1", "c"];
        let child = spawn(Command::new(BINARY).args(arguments), b"");
        server.wait_until("it is subscribed", |server| server.metric("sockeye_subscriptions") == 1);
        said(&["pub", "--to", from, "c", "live"], b"");
        let ran = finish(child);
        server.wait_until("nobody hears", |server| server.metric("sockeye_subscriptions") == 0);
        assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{ran:?}");
        let objects = String::from_utf8(ran.output).unwrap();
        objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };

    for from in [format!("tcp:127.0.0.1:{port}"), format!("ws://127.0.0.1:{port}/ws")] {
        let missed = ask(&from, "zzz:1");
        let at = missed[1]["at"].as_str().unwrap();
        let nothing_missed = ask(&from, at);

        assert_eq!((&missed[0]["recovered"], &missed[0]["why"]), (&json!(false), &json!("epoch")));
        assert_eq!((missed.len(), &missed[1]["data"]), (2, &json!("live")), "{missed:?}");
        assert_eq!((nothing_missed.len(), &nothing_missed[0]["data"]), (1, &json!("live")));
    }
}

#[test]
fn sub_gives_json_as_it_was_published() {
    let server = Server::start();
    let address = format!("unix:{}", server.unix().display());

    for (index, published) in [
        r#"{"z":1,"a":1.50,"big":12345678901234567890123}"#,
        r#"{"a":1,"a":2}"#,
        r#"[ 1e400, -0.0,  "\u00e9\ud83d\udc1f\/" ]"#,
    ]
    .into_iter()
    .enumerate()
    {
        let channel = format!("c/{index}");
        said(&["pub", "--to", &address, &channel, published], b"");
        let sub = |flag: &[&str]| {
            let heard =
                [&["sub", "--from", &address, "--last", "1", "--count", "1"], flag, &[&channel]].concat();
            String::from_utf8(said(&heard, b"")).unwrap()
        };
        assert_eq!(sub(&["--raw"]), published);
        assert_eq!(sub(&[]), format!("{published}\n"));
        assert!(sub(&["--json"]).ends_with(&format!("\"data\":{published}}}\n")));
    }
    // What is null, and what is a number alone, are payloads too.
    server.lines().ask(r#"{"pub":"d","data":null,"id":1}"#);
    assert_eq!(said(&["sub", "--from", &address, "--last", "1", "--count", "1", "d"], b""), b"null\n");
}

#[test]
fn sub_hears_numbers_of_any_size_over_every_socket() {
    // One shard, whose figures are its own: those of another may be of the moment before.
    let server = Server::on_shards(1, "");
    let port = server.tcp().port();

    for (index, address) in [
        format!("ws://127.0.0.1:{port}/ws"),
        format!("tcp:127.0.0.1:{port}"),
        format!("udp:{}", server.tcp()),
        format!("unixgram:{}", server.unixgram().display()),
    ]
    .iter()
    .enumerate()
    {
        for flag in ["--raw", "--json"] {
            let channel = format!("c/{index}{flag}");
            let arguments = ["sub", "--from", address, flag, "--count", "1", &channel];
            let child = spawn(Command::new(BINARY).args(arguments), b"");
            server.wait_until("it hears", |server| server.metric("sockeye_subscriptions") == 1);
            said(&["pub", "--to", address, &channel, "{\"n\":1e400}"], b"");
            let ran = finish(child);
            assert_eq!(ran.code, 0, "{address} {ran:?}");
            assert!(String::from_utf8_lossy(&ran.output).contains("{\"n\":1e400}"), "{address} {ran:?}");
            server.wait_until("nobody hears", |server| server.metric("sockeye_subscriptions") == 0);
        }
    }
}

#[test]
fn what_is_no_object_of_the_protocol_ends_sub_and_pub_with_a_word() {
    use std::io::Read as _;
    for command in ["sub", "pub"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("tcp:{}", listener.local_addr().unwrap());
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 mail.example ESMTP\x1b[2J\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let flag = if command == "sub" { "--from" } else { "--to" };
        let last = if command == "sub" { "--count=1" } else { "hi" };

        let ran = run(&[command, flag, &at, "c", last], b"");

        assert_eq!((ran.code, ran.output.as_slice()), (8, &b""[..]), "{ran:?}");
        assert!(ran.errors.contains("220 mail.example") && ran.errors.contains("no object"), "{ran:?}");
        assert!(!ran.errors.contains('\x1b'), "{ran:?}");
        other.join().unwrap();
    }
}

#[test]
fn the_words_of_a_server_cannot_steer_a_terminal() {
    use std::io::Read as _;
    for answer in [
        "{\"error\":1,\"code\":\"denied\",\"why\":\"\\u001b[2J\\u009b2J\\r!\"}\n",
        "{\"bye\":\"\\u001b[2J\\u009b2J\\r!\"}\n",
        "{\"ok\":1,\"recovered\":false,\"why\":\"\\u001b[2J\\u009b2J\\r!\"}\n",
        "{\"ch\":\"\\u001b[2J\\u009b2J\\r!\",\"gap\":{\"from\":\"k:1\",\"to\":\"k:2\",\"why\":\"slow\"}}\n",
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("tcp:{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });

        let ran = run(&["sub", "--from", &at, "c"], b"");

        assert!(ran.errors.contains(r"\u{1b}[2J\u{9b}2J\r!"), "{ran:?}");
        assert!(!ran.errors.trim_end().contains(|word: char| word.is_control() && word != '\n'), "{ran:?}");
        server.join().unwrap();
    }
}

#[test]
fn pub_stops_at_a_line_without_end() {
    let server = Server::start();
    for to in
        [format!("unix:{}", server.unix().display()), format!("unixgram:{}", server.unixgram().display())]
    {
        let zero = std::fs::File::open("/dev/zero").unwrap();
        let mut command = Command::new(BINARY);
        command.args(["pub", "--to", &to, "c"]).stdin(zero);

        let ran = finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());

        assert_eq!(ran.code, 2, "{ran:?}");
        for words in ["standard input", "line 1", "64 MiB"] {
            assert!(ran.errors.contains(words), "{words:?}: {ran:?}");
        }
    }
}

#[test]
fn pub_takes_both_line_ends() {
    let server = Server::start();
    for (index, to) in
        [format!("unix:{}", server.unix().display()), format!("unixgram:{}", server.unixgram().display())]
            .iter()
            .enumerate()
    {
        let channel = format!("c{index}");
        said(&["pub", "--to", to, &channel], b"a\nb\r\nc\r\r\nd\r");
        let from = format!("unix:{}", server.unix().display());
        let heard = said(&["sub", "--from", &from, "--last", "4", "--count", "4", "--json", &channel], b"");
        let heard = String::from_utf8(heard).unwrap();
        let heard: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // As the protocol's own lines: one return before the line feed belongs to the end, no other.
        let heard: Vec<&str> = heard.iter().map(|object| object["data"].as_str().unwrap()).collect();
        assert_eq!(heard, ["a", "b", "c\r", "d\r"]);
    }
}

#[test]
fn the_words_of_a_handshake_that_was_refused_are_told() {
    let server = Server::start();
    let port = server.tcp().port();
    said(&["pub", "--to", &format!("tcp:127.0.0.1:{port}"), "c", "hi"], b"");

    let ran = run(&["connect", &format!("ch:127.0.0.1:{port}/c?since=zz:9")], b"");
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.errors.contains("410 Gone: ") && ran.errors.contains("no longer kept (epoch)"), "{ran:?}");
    let ran = run(&["sub", "--from", &format!("ws://127.0.0.1:{port}/nothing"), "c"], b"");
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.errors.contains("404 Not Found: nothing is here"), "{ran:?}");
    assert!(!ran.errors.contains('{'), "{ran:?}");
}

#[test]
fn sub_hears_a_pattern_live_and_says_when_the_server_ends_first() {
    let mut server = Server::start();
    let from = format!("ws://localhost:{}/ws", server.tcp().port());
    let child = spawn(Command::new(BINARY).args(["sub", "--from", &from, "a/+", "--count", "3"]), b"");
    server.wait_until("it is subscribed", |server| server.metric("sockeye_patterns") == 1);
    server.ask("POST", "/ch/a/b", &[], b"one");
    server.ask("POST", "/ch/a/c", &[], b"two");

    server.terminate();

    let ran = finish(child);
    assert_eq!(
        (ran.code, String::from_utf8_lossy(&ran.output).as_ref()),
        (8, "a/b one\na/c two\n"),
        "{ran:?}"
    );
    assert!(ran.errors.contains("drain"), "{ran:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn refused_and_unreachable_have_their_own_codes() {
    let server = Server::start();
    let port = server.tcp().port();
    let to = format!("tcp:127.0.0.1:{port}");

    let ran = run(&["pub", "--to", &to, "$sys/mine", "x"], b"");
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.errors.contains("denied") && ran.errors.contains("$sys/mine"), "{ran:?}");
    let ran = run(&["sub", "--from", &format!("ws://127.0.0.1:{port}/nothing"), "c"], b"");
    assert_eq!(ran.code, 7, "{ran:?}");
    let ran = run(&["sub", "--from", "unix:/nowhere/s.sock", "c"], b"");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.errors.contains("/nowhere/s.sock"), "{ran:?}");
}

#[test]
fn a_mistake_is_named_with_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sockeye.toml");
    let file = config.to_str().unwrap();
    let wrong = |arguments: &[&str], words: &[&str]| {
        let ran = run(arguments, b"");
        assert_eq!((ran.code, ran.output.as_slice()), (2, &b""[..]), "{arguments:?} {ran:?}");
        for word in words {
            assert!(ran.errors.contains(word), "{arguments:?} does not say {word:?}: {}", ran.errors);
        }
    };

    wrong(&["serve", "--lisen", "tcp:127.0.0.1:0"], &["--lisen", "--listen"]);
    wrong(&["sevre"], &["sevre", "serve"]);
    wrong(&["serve", "--listen", "tpc:127.0.0.1:0"], &["tpc", "tcp:"]);
    wrong(&["serve", "--listen", "tcp:127.0.0.1:70000"], &["70000", "65535"]);
    wrong(&["serve", "--listen", "7625"], &["7625", "tcp:HOST:PORT"]);
    wrong(&["serve", "--listen", "ws://localhost:1/ws"], &["ws://localhost:1/ws", "tcp:"]);
    wrong(&["serve", "--listen", "tcp:192.0.2.1:0", "--open"], &["192.0.2.1", "no such address"]);
    wrong(&["serve", "--listen", "tcp:[fe80::1]:0", "--open"], &["[fe80::1]", "interface"]);
    wrong(&["serve", "--listen", "tcp:0.0.0.0:0"], &["0.0.0.0", "--open"]);
    wrong(&["serve", "--listen", "unix:/nowhere/s.sock"], &["unix:/nowhere/s.sock", "folder"]);
    wrong(&["serve", "--listen", &format!("unix:/tmp/{}", "x".repeat(200))], &["xxx", "107"]);
    wrong(&["serve", "--message-bytes-max", "12XB"], &["12XB", "MiB"]);
    wrong(&["serve", "--message-bytes-max", "0"], &["--message-bytes-max", "more than 0"]);
    wrong(&["serve", "--log", "loud"], &["loud", "debug"]);
    wrong(&["serve", "--config", "/nowhere/sockeye.toml"], &["/nowhere/sockeye.toml"]);
    wrong(&["pub", "a/+", "x"], &["a/+", "pattern"]);
    wrong(&["pub", "a/../b", "x"], &["a/../b", ".."]);
    wrong(&["pub", "", "x"], &["at least one byte"]);
    wrong(&["sub", "a/#/b"], &["a/#/b", "#"]);
    wrong(&["sub", "--since", "yesterday", "c"], &["yesterday", "k3f:118"]);
    wrong(&["sub", "--last", "few", "c"], &["few"]);
    wrong(&["sub", "--raw", "--json", "c"], &["--raw", "--json"]);
    for (text, words) in [
        ("limits.mesage_bytes_max = 1", ["limits.mesage_bytes_max", "limits.message_bytes_max"]),
        ("limits.message_bytes_max = \"much\"", ["limits.message_bytes_max", "much"]),
        ("limits.ping_interval = 25", ["limits.ping_interval", "25s"]),
        ("[[channels]]\nkind = \"kept\"", ["channels[0]", "pattern"]),
        ("[[channels]]\npattern = \"a/#/b\"", ["a/#/b", "channels"]),
        ("[auth.anonymous]\nhear = [\"inbox/{usr}\"]", ["inbox/{usr}", "{user}"]),
        ("[[channels]]\npattern = \"a\"\nkind = \"forever\"", ["channels[0].kind", "live"]),
        ("listen = [\"tpc:1\"]", ["listen", "tpc"]),
        ("listen = [\n", [file, "TOML"]),
        ("listen = [\"http://localhost:1\"]", ["http://localhost:1", "tcp:HOST:PORT"]),
        ("listen = [\"tls:localhost:1\"]", ["tls:localhost:1", "[tls]"]),
        ("listen = [\"exec:cat\"]", ["exec", "unixgram:PATH"]),
        ("listen = [\"tcp:127.0.0.1:1\", \"tcp:127.0.0.1:1\"]", ["tcp:127.0.0.1:1", "twice"]),
        ("listen = [\"tcp:127.0.0.1:1\", \"udp:127.0.0.1:1\"]", ["udp:127.0.0.1:1", "datagrams = false"]),
        ("listen = [\"udp:localhost:1\", \"tcp:127.0.0.1:1\"]", ["udp:localhost:1", "datagrams = false"]),
        ("listen = [\"tcp:localhost:1\", \"tcp:127.0.0.1:1\"]", ["tcp:localhost:1", "leave one"]),
        ("listen = [\"udp:[::1]:1\", \"udp::1\"]\nopen = true", ["udp:[::1]:1", "leave one"]),
        ("listen = [\"unix:@name\"]", ["unix:@name", "paths only"]),
        ("listen = [\"tcp:127.0.0.1:1?ttl=3\"]", ["ttl", "leave it out"]),
        ("limits.datagram_message_bytes_max = \"65508B\"", ["limits.datagram_message_bytes_max", "65507"]),
        (
            "limits.datagram_message_bytes_max = \"8KiB\"\nlimits.datagram_buffer_bytes = \"4KiB\"",
            ["limits.datagram_message_bytes_max", "4096"],
        ),
        ("names = [\"http://chat.example\"]", ["names", "without scheme"]),
        ("names = [\"\"]", ["names", "no host name"]),
        ("names = [\"a b\"]", ["names", "a b"]),
        ("names = [\"*.example\"]", ["*.example", "for itself only"]),
        ("names = [\"chat.example.\"]", ["chat.example.", "without a dot at the end"]),
        ("names = [\"채팅.example\"]", ["채팅.example", "xn--"]),
        ("[tls]\nclient_ca = \"ca.pem\"", ["tls.client_ca", "no certificate"]),
        ("[tls]\nclient_certificate = \"required\"", ["tls.client_certificate", "no certificate"]),
        ("names = [\"chat.example:8080\"]", ["chat.example:8080", "port"]),
        ("origins = [\"app.example\"]", ["origins", "https://"]),
        ("origins = [\"https://app.example/\"]", ["origins", "https://app.example/"]),
        ("origins = [\"https://*.example\"]", ["origins", "https://*.example"]),
        ("limits.head_bytes_max = \"1B\"", ["limits.head_bytes_max", "1024B"]),
        ("limits.headers_max = 1", ["limits.headers_max", "16"]),
        ("limits.target_bytes_max = \"1B\"", ["limits.target_bytes_max", "256B"]),
        ("limits.target_bytes_max = \"17KiB\"", ["limits.target_bytes_max", "limits.head_bytes_max"]),
        ("limits.head_bytes_max = \"4KiB\"", ["limits.target_bytes_max", "limits.head_bytes_max"]),
        ("[[channels]]\npattern = \"a\"\nkind = \"live\"\nmessages = 5", ["channels[0].messages", "live"]),
        ("[[channels]]\npattern = \"a\"\nkind = \"live\"\nbytes = \"1KiB\"", ["channels[0].bytes", "live"]),
        ("[[channels]]\npattern = \"a\"\nkind = \"live\"\nage = \"1h\"", ["channels[0].age", "live"]),
        ("open = 1", ["open", "true or false"]),
    ] {
        std::fs::write(&config, text).unwrap();
        wrong(&["serve", "--config", file], &words);
        wrong(&["check", "--config", file], &words);
    }
}

#[test]
fn check_prints_what_it_reads_back_as_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sockeye.toml");
    let path = file.to_str().unwrap();

    for text in [
        "",
        "listen = [\"tcp:127.0.0.1:9000\", \"unix:/run/s.sock\"]\norigins = [\"https://a.example\"]\nlimits.message_bytes_max = \"3MiB\"\nlimits.outbox_bytes_max = \"4MiB\"\nhistory.age = \"90s\"\n[[channels]]\npattern = \"a \\\"b\\\"/#\"\nkind = \"live\"\n[[channels]]\npattern = \"#\"\nmessages = 3\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let printed = said(&["check", "--config", path, "--print"], b"");
        std::fs::write(&file, &printed).unwrap();
        let again = said(&["check", "--config", path, "--print"], b"");
        assert_eq!(String::from_utf8(printed).unwrap(), String::from_utf8(again).unwrap());
    }
    assert_eq!(said(&["check", "--print"], b""), {
        std::fs::write(&file, "").unwrap();
        said(&["check", "--config", path, "--print"], b"")
    });
}

#[test]
fn programs_are_told_where_it_listens_however_little_is_logged() {
    // The server of a test is found by that line.
    let server = Server::with_flags(&["--log", "error"]);
    assert_eq!(server.ask("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn a_path_without_envelopes_is_refused_before_anything_is_published_there() {
    let server = Server::start();
    let port = server.tcp().port();

    for path in ["/ch/c", "/ch/c?sub=0", "/echo"] {
        let address = format!("ws://127.0.0.1:{port}{path}");
        for arguments in [["pub", "--to", &address, "c", "hi"], ["sub", "--from", &address, "c", "--count=1"]]
        {
            let ran = run(&arguments, b"");
            assert_eq!(ran.code, 2, "{ran:?}");
            assert!(ran.errors.contains("without envelopes") && ran.errors.contains("/ws"), "{ran:?}");
        }
    }
    let ran = run(&["sub", "--from", &format!("ws:127.0.0.1:{port}"), "c"], b"");
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.errors.contains("/ws"), "{ran:?}");
    server.ask("GET", "/ch/c", &[], b"").refused(404, "not_found");
}

#[test]
fn who_never_answers_is_not_waited_for_without_end() {
    // Nobody accepts: the system does, and then nothing comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", silent.local_addr().unwrap());
    let commands = [["pub", "--to", &address, "c", "hi"], ["sub", "--from", &address, "c", "--count=1"]];

    let running = commands.map(|arguments| spawn(Command::new(BINARY).args(arguments), b""));
    for child in running {
        let ran = finish(child);
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.errors.contains("an answer") && ran.errors.contains(&address), "{ran:?}");
    }
}

#[test]
fn a_server_that_was_opened_serves_others_but_does_not_speak_of_itself() {
    let server = Server::with_flags(&["--listen", "tcp:0.0.0.0:0", "--open"]);

    assert_eq!(server.ask("POST", "/ch/c", &[], b"x").status, 200);
    assert_eq!(server.lines().ask(r#"{"sub":"$sys/stats","id":1}"#)["code"], "denied");
    assert_eq!(server.lines().ask(r##"{"sub":"$sys/#","id":1}"##)["code"], "denied");
    server.ask("GET", "/ch/$sys/stats", &[], b"").refused(403, "denied");
}

#[test]
fn a_missing_permission_is_named() {
    let Some(somebody) = Somebody::new() else { return };
    let closed = somebody.folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let config = closed.join("sockeye.toml");
    std::fs::write(&config, "").unwrap();
    allow(&closed, 0o555);
    allow(&config, 0o000);

    let ran = somebody.run(&["serve", "--listen", &format!("unix:{}", closed.join("s.sock").display())]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(
        ran.errors.contains("write permission") && ran.errors.contains(closed.to_str().unwrap()),
        "{ran:?}"
    );
    let ran = somebody.run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(ran.code, 10, "{ran:?}");
    let naming = somebody.folder.path().join("naming.toml");
    for section in
        ["secrets = [\"file:SECRET\"]", "keys = [\"file:SECRET\"]", "token_files = [\"file:SECRET\"]"]
    {
        let section = section.replace("SECRET", config.to_str().unwrap());
        std::fs::write(&naming, format!("[auth]\n{section}\n")).unwrap();
        let ran = somebody.run(&["check", "--config", naming.to_str().unwrap()]);
        assert_eq!(ran.code, 10, "{ran:?}");
    }
    assert!(ran.errors.contains(config.to_str().unwrap()), "{ran:?}");
    allow(&closed, 0o755);
}

#[test]
fn a_client_without_permission_is_told_so_and_not_that_nobody_listens() {
    let Some(somebody) = Somebody::new() else { return };
    let stream = somebody.folder.path().join("s.sock");
    let datagram = somebody.folder.path().join("d.sock");
    let file = somebody.folder.path().join("secret");
    let _stream = std::os::unix::net::UnixListener::bind(&stream).unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(&datagram).unwrap();
    std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    for path in [&stream, &datagram, &file] {
        allow(path, 0o000);
    }
    let (stream, datagram) =
        (format!("unix:{}", stream.display()), format!("unixgram:{}", datagram.display()));
    let named = format!("file:{}", file.display());
    let file = file.to_str().unwrap();
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listening.local_addr().unwrap();

    for arguments in [
        &["pub", "--to", &stream, "c", "hi"][..],
        &["sub", "--from", &stream, "c"],
        &["pub", "--to", &datagram, "c", "hi"],
        &["connect", &stream],
    ] {
        let ran = somebody.run(arguments);
        assert_eq!(ran.code, 10, "{arguments:?} {ran:?}");
        assert!(ran.errors.contains("write permission"), "{arguments:?} {ran:?}");
        assert!(!ran.errors.contains("running"), "{arguments:?} {ran:?}");
    }
    for arguments in [
        &["token", "--secret", &named][..],
        &["pub", "--token", &named, "c", "hi"],
        &["sub", "--token", &named, "c"],
        &["connect", &named],
        &["connect", "--hello-file", file, "tcp:127.0.0.1:1"],
        &["connect", &format!("tls:127.0.0.1:1?ca={file}")],
        &["connect", &format!("ws://{accepting}/#token={named}")],
        &["sub", "--from", &format!("tls:{accepting}?ca={file}"), "c"],
    ] {
        let ran = somebody.run(arguments);
        assert_eq!(ran.code, 10, "{arguments:?} {ran:?}");
        assert!(ran.errors.contains(file), "{arguments:?} {ran:?}");
        assert!(!ran.errors.contains("1024"), "{arguments:?} {ran:?}");
    }
}

#[test]
fn paths_in_a_configuration_begin_in_its_folder_wherever_it_is_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, elsewhere) = (folder.path().join("etc"), folder.path().join("elsewhere"));
    std::fs::create_dir(&inner).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(inner.join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    let check = |text: &str, path: &str| {
        std::fs::write(inner.join("sockeye.toml"), text).unwrap();
        let mut command = Command::new(BINARY);
        finish(spawn(command.args(["check", "--config", path]).current_dir(&elsewhere), b""))
    };
    let good = "[auth]\nsecrets = [\"file:secret\"]\n";

    for path in ["../etc/sockeye.toml", inner.join("sockeye.toml").to_str().unwrap()] {
        let ran = check(good, path);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    for (text, named) in [
        ("[auth]\nkeys = [\"file:no.pem\"]", "etc/no.pem"),
        ("[auth]\ntoken_files = [\"file:no/tokens.toml\"]", "etc/no/tokens.toml"),
        ("[[auth.tokens]]\ntoken = \"file:no.token\"", "etc/no.token"),
        ("[[tls.certificates]]\ncertificate = \"no.pem\"\nkey = \"no.key\"", "etc/no.pem"),
    ] {
        let ran = check(text, "../etc/sockeye.toml");
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            ran.errors.contains(named) && ran.errors.contains(folder.path().to_str().unwrap()),
            "{ran:?}"
        );
    }
}

#[test]
fn the_log_for_people_names_where_to_go() {
    let mut child = Command::new(BINARY)
        .args(["serve", "--listen", "tcp:localhost:0"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let (first, second) = (lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();

    assert!(first.contains("listening") && first.contains("tcp:127.0.0.1:"), "{first}");
    let port = first.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    assert!(second.contains(&format!("http://localhost:{port}/")), "{second}");
}

/// Somebody who may not do everything, with a copy of the binary that everybody may run, wherever the build is.
struct Somebody {
    folder: tempfile::TempDir,
}

impl Somebody {
    /// `None` where root cannot become anybody else.
    fn new() -> Option<Somebody> {
        if Somebody::is_root() && Command::new("setpriv").arg("--version").output().is_err() {
            eprintln!("skipped: root may do everything, and there is no setpriv to become somebody else");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // By another process: a program that somebody has open for writing cannot be run, and what this one has open, the
        // children of other tests have until they run theirs.
        let copied = Command::new("cp").arg(BINARY).arg(folder.path().join("sockeye")).status().unwrap();
        assert!(copied.success());
        allow(folder.path(), 0o755);
        Some(Somebody { folder })
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let binary = self.folder.path().join("sockeye");
        let mut command = Command::new("setpriv");
        if Somebody::is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
        } else {
            command = Command::new(&binary);
        }
        finish(spawn(command.args(arguments), b""))
    }
}

fn allow(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn who_hears_ends_when_nobody_reads_what_he_writes() {
    let server = Server::start();
    let from = format!("tcp:{}", server.tcp());
    for data in 1..=3 {
        server.ask("POST", "/ch/c", &[], data.to_string().as_bytes());
    }
    let mut sub = Command::new(BINARY)
        .args(["sub", "--from", &from, "--last", "3", "c"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let reader = BufReader::new(sub.stdout.take().unwrap());
    let lines: Vec<String> = reader.lines().take(3).map(Result::unwrap).collect();

    // It has nothing left to write, and nothing more is published.
    assert_eq!((lines, sub.wait().unwrap().code()), (vec!["1".into(), "2".into(), "3".into()], Some(0)));
}
