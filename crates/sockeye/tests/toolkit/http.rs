//! One request over HTTP as a stream, against a server that says whatever it likes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::world::{Ran, run, said};

/// Answers one request; what was asked is what the thread gives back.
fn server(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let is_whole = |request: &[u8]| match request.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(_) if !String::from_utf8_lossy(request).contains("chunked") => true,
            Some(_) => request.ends_with(b"\r\n0\r\n\r\n"),
            None => false,
        };
        while !is_whole(&request) {
            let mut piece = [0; 4_096];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "the request ends by what it says: {:?}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&piece[..count]);
        }
        answer(&mut stream);
        String::from_utf8(request).unwrap()
    });
    (format!("http://{at}"), thread)
}

/// A server that says this, and then nothing until the client leaves.
fn saying(words: &'static str) -> (String, JoinHandle<String>) {
    server(move |stream| {
        stream.write_all(words.as_bytes()).unwrap();
        let _ = stream.read(&mut [0; 1]);
    })
}

/// A server that says this and ends the connection.
fn ending(words: &'static str) -> (String, JoinHandle<String>) {
    server(move |stream| {
        stream.write_all(words.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

#[test]
fn without_input_a_request_is_a_get_and_its_body_is_the_output() {
    for (words, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and what is behind it", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: r\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
    ] {
        let (at, server) = saying(words);

        let ran = run(&["connect", "--header", "X-Room: 42", &format!("{at}/a?b=c")], b"");

        assert_eq!((ran.code, ran.text(), ran.errors.as_str()), (0, body, ""), "{words}");
        let request = server.join().unwrap();
        let host = at.trim_start_matches("http://");
        assert!(request.starts_with(&format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n")), "{request}");
        assert!(request.contains("X-Room: 42\r\n") && request.contains("Connection: close\r\n"), "{request}");
        assert!(request.contains("User-Agent: sockeye/") && !request.contains("chunked"), "{request}");
    }
    let (at, server) = ending("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    assert_eq!(said(&["connect", &at], b""), "until the end");
    server.join().unwrap();
}

#[test]
fn input_is_the_body_of_a_post_and_other_methods_can_be_chosen() {
    let large = "0123456789abcdef".repeat(20_000);
    let (at, server) = saying("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(said(&["connect", &at], large.as_bytes()), "ok");
    let request = server.join().unwrap();
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{}", &request[..200]);
    assert_eq!(unchunked(&request), large);

    let (at, server) = saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(said(&["connect", &format!("{at}/x#method=PUT")], b"new"), "");
    let request = server.join().unwrap();
    assert!(request.starts_with("PUT /x HTTP/1.1\r\n"), "{request}");
    assert_eq!(unchunked(&request), "new");

    let (at, server) = saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(said(&["connect", &format!("{at}/x#method=POST")], b""), "");
    assert!(server.join().unwrap().contains("Content-Length: 0\r\n"));

    let (at, server) = saying("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    assert_eq!(said(&["connect", &format!("{at}/x#method=HEAD")], b""), "");
    assert!(server.join().unwrap().starts_with("HEAD /x"));
}

/// The body of a request, out of its chunks.
fn unchunked(request: &str) -> String {
    let (_, mut rest) = request.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    loop {
        let (size, data) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&data[..size]);
        rest = data[size..].strip_prefix("\r\n").unwrap();
    }
}

#[test]
fn a_refused_handshake_is_told_in_the_same_way() {
    let end = "2\r\nno\r\n9\r\n \u{1b}[31mit\n\r\n4\r\nmore\r\n";
    for (body, told) in [
        ("Content-Length: 60\r\n\r\n\nno \u{1b}[31mit\r\nmore of it", "no [31mit"),
        (&format!("Transfer-Encoding: chunked\r\n\r\n{end}"), "no [31mit"),
        // Neither the line nor the body ends: what there is, is shown.
        ("Content-Type: text/plain\r\n\r\nno [31mit", "no [31mit"),
        ("Content-Length: 0\r\n\r\n", "Conflict"),
    ]
    .map(|(body, told)| (&*format!("HTTP/1.1 409 Conflict\r\n{body}").leak(), told))
    {
        for arguments in [&["connect"][..], &["pub", "c", "hi", "--to"]] {
            let (at, server) = saying(body);
            let ran = run(&[arguments, &[&at.replace("http:", "ws:")]].concat(), b"");
            assert_eq!((ran.code, ran.text()), (7, ""), "{ran:?}");
            assert!(ran.errors.contains("409 Conflict") && ran.errors.contains(told), "{ran:?}");
            assert!(!ran.errors.contains("more") && !ran.errors.contains('\u{1b}'), "{ran:?}");
            server.join().unwrap();
        }
    }
}

#[test]
fn a_refusal_is_told_with_its_status_and_its_first_line() {
    let check = |(at, server): (String, JoinHandle<String>), said: &[&str]| {
        let ran = run(&["connect", &at], b"");
        assert_eq!((ran.code, ran.text()), (7, ""), "{ran:?}");
        for said in said {
            assert!(ran.errors.contains(said), "{ran:?}");
        }
        server.join().unwrap();
        ran
    };
    let words =
        "HTTP/1.1 404 Not Found\r\nContent-Length: 60\r\n\r\n\nno \u{1b}[31mroom\r\nhere is more of it";
    let ran: Ran = check(saying(words), &["404 Not Found: no [31mroom"]);
    assert!(!ran.errors.contains("more of it") && !ran.errors.contains('\u{1b}'), "{ran:?}");
    check(
        saying("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        &["401 Unauthorized", "token=env:NAME"],
    );
    check(ending("HTTP/1.1 500 Oops\r\n\r\nbroken"), &["500 Oops: broken"]);
    // It is told although what it says does not come.
    check(saying("HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n"), &["503 Busy"]);
    let words = "HTTP/1.1 302 Found\r\nLocation: https://example.org/there\r\nContent-Length: 0\r\n\r\n";
    check(saying(words), &["302 Found", "https://example.org/there", "redirects are not followed"]);
}

#[test]
fn what_is_cut_short_stalls_or_never_ends_is_told_by_name() {
    for (words, code, output, said) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 8, "half", "cut short, 4 bytes"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            8,
            "hello",
            "cut short, 5 bytes",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 8, "", "broke HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Le", 7, "", "in the middle"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 7, "", "not clear"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 7, "", "not asked for"),
        ("SSH-2.0-OpenSSH_9.2\r\n", 7, "", "not http"),
        ("", 7, "", "without an answer"),
    ] {
        let (at, server) = ending(words);
        let ran = run(&["connect", &at], b"");
        assert_eq!((ran.code, ran.text()), (code, output), "{ran:?}");
        assert!(ran.errors.contains(said), "{ran:?}");
        server.join().unwrap();
    }

    let (at, stalling) = saying("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    let ran = run(&["connect", "--linger", "300ms", &at], b"");
    assert_eq!((ran.code, ran.text()), (8, "half"), "{ran:?}");
    stalling.join().unwrap();

    for piece in ["x", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (at, endless) = server(move |stream| {
            let begin = if piece == "x" { "HTTP/1.1 200 OK\r\nA: " } else { "" };
            let _ = stream.write_all(begin.as_bytes());
            while stream.write_all(piece.repeat(1_000).as_bytes()).is_ok() {}
        });
        let ran = run(&["connect", &at], b"");
        assert_eq!(ran.code, 7, "{ran:?}");
        assert!(ran.errors.contains("16384 bytes") || ran.errors.contains("16 times"), "{ran:?}");
        endless.join().unwrap();
    }
}

#[test]
fn a_request_is_probed_by_its_answer_and_joined_by_a_relay() {
    let (at, server) = saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(said(&["probe", &at], b"").contains("ready"));
    assert!(server.join().unwrap().starts_with("GET / "));
    let (at, server) = saying("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let ran = run(&["probe", &at], b"");
    assert!(ran.code == 7 && ran.text().contains("503 Busy"), "{ran:?}");
    server.join().unwrap();

    let (at, server) = saying("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");
    assert_eq!(said(&["relay", "-", &at], b"question"), "answer");
    assert_eq!(unchunked(&server.join().unwrap()), "question");
}

#[test]
fn what_a_request_is_not_is_refused_by_name() {
    for (arguments, said) in [
        (&["listen", "http://127.0.0.1:0/"][..], "sockeye serve"),
        (&["connect", "http://127.0.0.1:1/#method=CONNECT"], "CONNECT"),
        (&["connect", "--header", "Content-Length: 5", "http://127.0.0.1:1/"], "Content-Length"),
        (&["connect", "--subprotocol", "x", "http://127.0.0.1:1/"], "--subprotocol for WebSockets"),
        (&["connect", "tcp:127.0.0.1:1?method=PUT"], "belongs to http"),
    ] {
        let ran = run(arguments, b"");
        assert!(ran.code == 2 && ran.errors.contains(said), "{ran:?}");
    }
}
