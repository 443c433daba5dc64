//! Datagrams from outside: proof, sessions, loss that is told, and a hundred thousand who lie about their address.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::command::{finish, run, spawn};
use crate::gram::Grams;
use crate::world::{BINARY, Server};

#[test]
fn a_sensor_publishes_with_one_datagram_and_a_subscriber_proves_itself() {
    let server = Server::start();
    let mut ear = server.lines();
    ear.ask(r#"{"sub":"sensors/1","id":1}"#);
    let mut gram = Grams::udp(&server).prove();
    gram.ask(r#"{"sub":"sensors/1","id":1}"#);
    assert_eq!(gram.receive_value()["ok"], 1);

    // A socket of its own, which nobody knows and nobody answers.
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(br#"{"pub":"sensors/1","data":21.5}"#, server.tcp())
        .unwrap();

    let over_lines = ear.receive();
    let over_udp = gram.receive_value();
    assert_eq!(over_lines["data"], 21.5);
    assert_eq!(over_udp, over_lines);
    wait_for(&server, "sockeye_connections{protocol=\"udp\"}", |figure| figure == 1);
}

#[test]
fn a_hundred_thousand_forged_addresses_leave_memory_bounded() {
    let server = Server::start();
    let to = server.tcp();
    let texts = [
        r#"{"sub":"forged","id":1}"#,
        r#"{"pub":"forged","data":1,"id":1}"#,
        r#"{"ping":1,"cookie":"0123456789abcdef"}"#,
    ];
    // A few first, so that what is made once is made.
    let forge = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let [_, a, b, c] = number.to_be_bytes();
            let from = (std::net::Ipv4Addr::new(127, 1 + a, b, c), 0);
            let Ok(socket) = UdpSocket::bind(from) else { continue };
            socket.send_to(texts[number as usize % texts.len()].as_bytes(), to).unwrap();
            if number % 64 == 63 {
                // The last of every few waits for its answer, so that none of them is lost for want of room.
                let mut last = [0; 256];
                socket.send_to(b"{\"ping\":1}", to).unwrap();
                while !socket.recv(&mut last).is_ok_and(|length| last[..length].starts_with(b"{\"pong\"")) {}
            }
        }
    };
    forge(0..1_000);
    let before = server.resident_bytes();

    forge(1_000..100_000);

    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more after 99,000 addresses");
    wait_for(&server, "sockeye_connections{protocol=\"udp\"}", |figure| figure == 0);
    wait_for(&server, "sockeye_datagrams_lost_total", |figure| figure == 0);
    wait_for(&server, "sockeye_datagrams_received_total{protocol=\"udp\"}", |figure| figure > 100_000);
    wait_for(&server, "sockeye_datagrams_cookies_total{protocol=\"udp\"}", |figure| figure > 66_000);
    wait_for(&server, "sockeye_subscriptions", |figure| figure == 0);
}

#[test]
fn a_unix_subscriber_that_reads_late_misses_nothing() {
    let server = Server::start();
    let mut gram = Grams::unix(&server).prove();
    gram.ask(r#"{"sub":"slow","id":1}"#);
    gram.receive();
    let mut publisher = server.lines();
    let mut other = Grams::unix(&server).prove();
    other.ask(r#"{"sub":"slow","id":1}"#);
    other.receive();

    // More than fits the queue of a socket on most systems.
    const MESSAGES: u64 = 400;
    for n in 1..=MESSAGES {
        assert_eq!(publisher.ask(&format!(r#"{{"pub":"slow","data":{n},"id":{n}}}"#))["ok"], n);
        // Who reads is not held up by who does not.
        assert_eq!(other.receive_value()["data"], n);
    }

    // The channel keeps 64 messages: what was not in the outbox either would be announced.
    let mut next = 1;
    while next <= MESSAGES {
        let heard = gram.receive_value();
        assert_eq!(heard["data"], next, "{heard}");
        next += 1;
    }
}

#[test]
fn who_is_not_bound_publishes_and_cannot_be_answered() {
    let server = Server::start();
    let mut ear = server.lines();
    ear.ask(r#"{"sub":"a","id":1}"#);

    let unbound = UnixDatagram::unbound().unwrap();
    unbound.send_to(br#"{"pub":"a","data":"hi","id":1}"#, server.unixgram()).unwrap();

    assert_eq!(ear.receive()["data"], "hi");
    wait_for(&server, "sockeye_datagrams_unanswered_total{protocol=\"unixgram\"}", |figure| figure == 1);
}

#[test]
fn who_asks_one_of_many_addresses_is_answered_from_that_one() {
    for (any, asked, local) in [
        ("udp:0.0.0.0:0", "127.0.0.2", "127.0.0.1:0"),
        ("tcp:0.0.0.0:0", "127.0.0.3", "127.0.0.1:0"),
        // On loopback IPv6 has one address: that the family works at all is what is seen here.
        ("udp:[::]:0", "::1", "[::1]:0"),
    ] {
        if UdpSocket::bind(local).is_err() {
            continue;
        }
        let server = Server::with_flags(&["--open", "--listen", any]);
        let port = port_of(&server, any.strip_suffix('0').unwrap());
        let to = SocketAddr::new(asked.parse().unwrap(), port);

        let mut gram = Grams::udp_between(local, to);
        gram.send(r#"{"ping":1}"#);
        assert_eq!(gram.receive(), r#"{"pong":1}"#, "{any}");
        let mut gram = gram.prove();
        gram.ask(r#"{"sub":"a","id":1}"#);
        assert_eq!(gram.receive_value()["ok"], 1, "{any}");
        let mut publisher = server.lines();
        for n in 1..=200 {
            publisher.ask(&format!(r#"{{"pub":"a","data":{n},"id":1}}"#));
            assert_eq!(gram.receive_value()["data"], n, "{any}");
        }
        // Many in one call, to several who have asked several.
        let second = format!("127.9.9.9:{port}").parse().unwrap();
        if to.is_ipv4() {
            let mut other = Grams::udp_between(local, second).prove();
            other.ask(r#"{"sub":"a","id":1}"#);
            assert_eq!(other.receive_value()["ok"], 1, "{any}");
            for n in 1..=100 {
                other.send(&format!(r#"{{"pub":"a","data":{n}}}"#));
            }
            for n in 1..=100 {
                assert_eq!(other.receive_value()["data"], n, "{any}");
                assert_eq!(gram.receive_value()["data"], n, "{any}");
            }
        }
    }
}

#[test]
fn a_session_loses_nothing_of_what_it_publishes_to_channels_of_other_shards() {
    const BURST: u64 = 100;
    let server = Server::start();
    let mut ear = server.lines();
    let mut gram = Grams::udp(&server).prove();
    gram.ask(r#"{"sub":"mine","id":1}"#);
    assert_eq!(gram.receive_value()["ok"], 1);

    // Wherever the session lives, some of these live on another shard.
    for channel in 0..8 {
        ear.ask(&format!(r#"{{"sub":"c{channel}","id":1}}"#));
        for n in 1..=BURST {
            gram.ask(&format!(r#"{{"pub":"c{channel}","data":{n},"id":{n}}}"#));
        }
        for n in 1..=BURST {
            assert_eq!(ear.receive()["data"], n, "c{channel}");
            assert_eq!(gram.receive_value()["ok"], n, "c{channel}");
        }
    }
    wait_for(&server, "sockeye_datagrams_dropped_total{protocol=\"udp\"}", |figure| figure == 0);
}

#[test]
fn a_drain_tells_sessions_when_to_come_back() {
    let mut server = Server::start();
    let (mut udp, mut unix) = (Grams::udp(&server).prove(), Grams::unix(&server).prove());
    for gram in [&mut udp, &mut unix] {
        gram.ask(r#"{"sub":"a","id":1}"#);
        gram.receive();
    }

    server.terminate();

    for gram in [&mut udp, &mut unix] {
        assert_eq!(gram.receive(), r#"{"bye":"drain","reconnect":[500,15000]}"#);
    }
    assert!(server.wait().success());
}

#[test]
fn a_subscriber_that_is_gone_is_forgotten() {
    let server = Server::start();
    let mut gram = Grams::unix(&server).prove();
    gram.ask(r#"{"sub":"a","id":1}"#);
    gram.receive();
    wait_for(&server, "sockeye_connections{protocol=\"unixgram\"}", |figure| figure == 1);

    drop(gram);
    let mut publisher = server.lines();
    publisher.ask(r#"{"pub":"a","data":1,"id":1}"#);

    server.wait_until("the session is gone", |server| {
        server.metric("sockeye_connections{protocol=\"unixgram\"}") == 0
    });
}

#[test]
fn two_servers_never_talk_to_each_other() {
    let (one, two) = (Server::start(), Server::start());

    // A datagram that claims to be from the other server can only be forged on this machine by a raw socket: what one
    // says is carried to the other by hand, until one of them is silent.
    let mut gram = Grams::udp(&one);
    for text in [
        r#"{"sub":"a"}"#,
        r#"{"ping":1}"#,
        r#"{"pub":"a","data":1,"id":1}"#,
        r#"{"dance":1,"why":"a longer one"}"#,
    ] {
        gram.send(text);
        let said = gram.receive();
        let mut carrier = Grams::udp(&two);
        carrier.send(&said);
        carrier.send(r#"{"ping":"after"}"#);
        assert_eq!(carrier.receive(), r#"{"pong":"after"}"#, "{said} was answered");
    }
}

#[test]
fn pub_and_sub_speak_datagrams_and_tell_what_does_not_fit_one() {
    let server = Server::start();
    let addresses = [format!("udp:{}", server.tcp()), format!("unixgram:{}", server.unixgram().display())];

    for (index, address) in addresses.iter().enumerate() {
        let channel = format!("tool/{index}");
        let mut ear = Command::new(BINARY);
        let child = spawn(ear.args(["sub", "--from", address, &channel, "--count", "3"]), b"");
        wait_for(&server, "sockeye_subscriptions", |figure| figure == 1);
        let long = format!("one\n{}\ntwo", "x".repeat(2_000));
        let published = run(&["pub", "--to", address, &channel], long.as_bytes());
        let last = run(&["pub", "--to", address, &channel, "{\"n\": 3}"], b"");

        assert_eq!((published.code, last.code), (0, 0), "{published:?} {last:?}");
        let heard = finish(child);
        assert_eq!(String::from_utf8(heard.output).unwrap(), "one\ntwo\n{\"n\": 3}\n");
        assert!(heard.errors.starts_with(&format!("missed {channel} ")), "{}", heard.errors);
        assert!(heard.errors.trim_end().ends_with(": too_large"), "{}", heard.errors);
        wait_for(&server, "sockeye_subscriptions", |figure| figure == 0);
    }
    let refused = run(&["pub", "--to", &addresses[0], "$sys/x", "no"], b"");
    assert_eq!(refused.code, 7, "{refused:?}");
    assert!(refused.errors.contains("denied"), "{refused:?}");
    let nobody = run(&["pub", "--to", "udp:127.0.0.1:1", "c", "hello"], b"");
    assert_eq!(nobody.code, 4, "{nobody:?}");
}

#[test]
fn a_server_that_ends_in_the_middle_of_datagrams_is_an_early_end() {
    for kind in ["udp", "unixgram"] {
        let mut server = Server::start();
        let address = match kind {
            "udp" => format!("udp:{}", server.tcp()),
            _ => format!("unixgram:{}", server.unixgram().display()),
        };
        let mut publisher = Command::new(BINARY)
            .args(["pub", "--to", &address, "c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = publisher.stdin.take().unwrap();
        input.write_all(b"heard\n").unwrap();
        wait_for(&server, "sockeye_messages_published_total", |figure| figure == 1);
        server.kill();
        input.write_all(b"not heard\n").unwrap();
        drop(input);

        let ran = finish(publisher);
        assert_eq!(ran.code, 8, "{kind} {ran:?}");
        assert!(ran.errors.contains(&address) && ran.errors.contains("the server has ended"), "{ran:?}");
    }
}

#[test]
fn sub_tells_what_was_lost_right_behind_the_answer() {
    for (at, lost, next) in [("k:0", "k:1", "k:2"), ("k:7", "k:8", "k:9")] {
        let address =
            says_to_subscribers(&[&format!(r#"{{"ok":1,"at":"{at}"}}"#), &message(next), &message("k:10")]);

        let heard = run(&["sub", "--json", "--from", &address, "--count", "2", "c"], b"");

        let gap = format!(r#"{{"ch":"c","gap":{{"from":"{lost}","to":"{lost}","why":"lost"}}}}"#);
        let output = String::from_utf8(heard.output).unwrap();
        assert_eq!(output.lines().next(), Some(gap.as_str()), "{output}");
        assert_eq!(output.lines().nth(1), Some(message(next).as_str()), "{output}");
    }
}

#[test]
fn what_overtakes_the_answer_to_sub_is_heard_behind_it() {
    let address =
        says_to_subscribers(&[&message("k:9"), r#"{"ok":1,"at":"k:7"}"#, &message("k:8"), &message("k:10")]);

    let heard = run(&["sub", "--from", &address, "--count", "3", "c"], b"");

    assert_eq!(String::from_utf8(heard.output).unwrap(), "k:9\nk:8\nk:10\n");
    assert_eq!(heard.errors, "missed c k:8 to k:8: lost\n");
}

#[test]
fn what_the_network_doubles_is_heard_once_and_what_it_delays_too() {
    let gap = r#"{"ch":"c","gap":{"from":"k:11","to":"k:12","why":"too_large"}}"#;
    let says = ["k:8", "k:8", "k:10", "k:9", "k:9", "k:10"].map(message);
    let says = [&[r#"{"ok":1,"at":"k:7"}"#], &says.each_ref().map(String::as_str)[..], &[gap, gap]].concat();
    let last = message("k:13");
    let address = says_to_subscribers(&[&says[..], &[&last]].concat());

    let heard = run(&["sub", "--from", &address, "--count", "4", "c"], b"");

    assert_eq!(String::from_utf8(heard.output).unwrap(), "k:8\nk:10\nk:9\nk:13\n");
    assert_eq!(heard.errors, "missed c k:9 to k:9: lost\nmissed c k:11 to k:12: too_large\n");
}

/// The address of a server that says this to whoever subscribes with a cookie, and nothing more.
fn says_to_subscribers(datagrams: &[&str]) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp:{}", socket.local_addr().unwrap());
    let datagrams: Vec<String> = datagrams.iter().map(|&text| text.to_owned()).collect();
    std::thread::spawn(move || {
        let mut buffer = [0; 1_000];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let request: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
            let say = |text: &str| socket.send_to(text.as_bytes(), from).unwrap();
            match (&request["sub"], &request["cookie"]) {
                (serde_json::Value::Null, _) => {
                    say(r#"{"pong":0}"#);
                }
                (_, serde_json::Value::Null) => {
                    say(r#"{"cookie":"c"}"#);
                }
                _ => {
                    for text in &datagrams {
                        say(text);
                    }
                    break;
                }
            }
        }
        // Whoever was told enough says so: while the port is open, nothing is refused.
        while !buffer.starts_with(br#"{"unsub""#) {
            socket.recv_from(&mut buffer).unwrap();
        }
    });
    address
}

/// A message at a position, which it says.
fn message(at: &str) -> String {
    format!(r#"{{"ch":"c","at":"{at}","data":"{at}"}}"#)
}

/// The port on which a server says that it listens, at the address that begins so.
fn port_of(server: &Server, begin: &str) -> u16 {
    let first: serde_json::Value = serde_json::from_str(&server.wait_for_log(|_| true)).unwrap();
    let mut addresses = first["fields"]["listen"].as_array().expect("a list").iter();
    addresses.find_map(|address| address.as_str()?.strip_prefix(begin)?.parse().ok()).expect("it is there")
}

/// What other shards have counted comes a moment later.
fn wait_for(server: &Server, metric: &str, is_it: impl Fn(u64) -> bool) {
    server.wait_until(metric, |server| is_it(server.metric(metric)));
}
