//! Claims about HTTP: what is read, and above all what is refused.

use proptest::prelude::*;

use super::*;

#[test]
fn a_request_head_is_read() {
    let text = "POST /ch/chat/42?last=50&a=b HTTP/1.1\r\nHost: localhost:7625\r\nX-A:  one \t\r\nx-a: two\r\n\
                Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello";

    let (head, length) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();

    assert_eq!(&text[length..], "hello");
    assert_eq!((head.method, head.path, head.query), ("POST", "/ch/chat/42", "last=50&a=b"));
    assert_eq!((head.minor, head.host), (1, "localhost:7625"));
    assert_eq!(head.body, Body::Length(5));
    assert_eq!(head.header("content-TYPE"), Some("text/plain"));
    assert_eq!(head.header("x-a"), Some("one"));
    assert_eq!(head.header("absent"), None);
    assert_eq!(head.header_all("X-A").collect::<Vec<_>>(), ["one", "two"]);
    assert!(head.keep_alive);
    assert!(!head.expect_continue);
}

#[test]
fn an_unfinished_head_is_no_error() {
    let text = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";

    for end in 0..text.len() {
        assert_eq!(parse_head(&text[..end], &HeadLimits::default()), Ok(None), "{end}");
    }
    assert_eq!(read(text).path, "/");
}

#[test]
fn connections_go_on_by_version_and_wish() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: Upgrade, CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
    ];

    for (version, field, keep_alive) in cases {
        let text = format!("GET / {version}\r\nHost: a\r\n{field}\r\n");

        assert_eq!(read(text.as_bytes()).keep_alive, keep_alive, "{text}");
    }
}

#[test]
fn lists_are_searched_by_token() {
    let text =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive,\tUpgrade\r\nUpgrade: x, WebSocket\r\n\r\n";

    let head = read(text);

    assert!(head.list_contains("connection", "upgrade"));
    assert!(head.list_contains("upgrade", "websocket"));
    assert!(!head.list_contains("connection", "up"));
    assert!(!head.list_contains("absent", ""));
}

#[test]
fn targets_have_their_forms() {
    let cases = [
        ("GET", "/", "/", "", "a"),
        ("GET", "/?", "/", "", "a"),
        ("GET", "/a?b?c", "/a", "b?c", "a"),
        ("GET", "//x/y", "//x/y", "", "a"),
        ("GET", "http://b:8080/c?d", "/c", "d", "b:8080"),
        ("GET", "HTTP://b", "/", "", "b"),
        ("GET", "https://b?d", "/", "d", "b"),
        ("GET", "http://[::1]:7625/", "/", "", "[::1]:7625"),
        ("OPTIONS", "*", "*", "", "a"),
    ];

    for (method, target, path, query, host) in cases {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");

        let head = read(text.as_bytes());

        assert_eq!((head.path, head.query, head.host), (path, query, host), "{target}");
    }
}

#[test]
fn an_old_client_needs_no_host() {
    assert_eq!(read(b"GET / HTTP/1.0\r\n\r\n").host, "");
    assert_eq!(read(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").host, "a");
    assert_eq!(read(b"GET http://b/ HTTP/1.0\r\n\r\n").host, "b");
}

#[test]
fn hosts_are_checked() {
    for host in ["localhost", "127.0.0.1:7625", "[::1]", "[::1]:80", "a-b.c_d.", "a:", "A:65535"] {
        assert_eq!(read(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).host, host);
    }
    for host in [
        "",
        "a,b",
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a#b",
        "a\\b",
        "é",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:+1",
        ":80",
        "[::1",
        "::1",
        "[a]",
        "[::1]a",
        "[::1%25eth0]",
        "a%2eb",
        "<a>",
        "a:-1",
    ] {
        let error = refuse(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(error.status, 400, "{host}");
        // The authority of a target is held to the same rules.
        if !host.is_empty() {
            let text = format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n");
            if !host.contains(['/', '?']) {
                assert_eq!(refuse(text.as_bytes()).status, 400, "{host}");
            }
        }
    }
}

#[test]
fn the_client_that_expects_is_told_to_continue() {
    let expecting = |version: &str, fields: &str| {
        let text = format!("POST / {version}\r\nHost: a\r\nExpect: 100-Continue\r\n{fields}\r\n");
        read(text.as_bytes()).expect_continue
    };

    assert!(expecting("HTTP/1.1", "Content-Length: 5\r\n"));
    assert!(expecting("HTTP/1.1", "Transfer-Encoding: chunked\r\n"));
    assert!(!expecting("HTTP/1.1", ""));
    assert!(!expecting("HTTP/1.1", "Content-Length: 0\r\n"));
    assert!(!expecting("HTTP/1.0", "Content-Length: 5\r\n"));
}

#[test]
fn bodies_are_delimited_by_their_fields() {
    let body = |fields: &str| read(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).body;

    assert_eq!(body(""), Body::None);
    assert_eq!(body("Content-Length: 0\r\n"), Body::Length(0));
    assert_eq!(body("content-length: 0042\r\n"), Body::Length(42));
    assert_eq!(body("Transfer-Encoding: \tChunked \r\n"), Body::Chunked);
}

#[test]
fn smuggling_shapes_are_refused() {
    let fields: &[(&str, u16)] = &[
        // Two lengths, or none that all agree on.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: 5,6\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length: \"5\"\r\n", 400),
        ("Content-Length: \u{ff15}\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 413),
        // Codings that hide or double the chunks.
        ("Transfer-Encoding: identity, chunked\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: chunked;a=b\r\n", 400),
        ("Transfer-Encoding: chunked,\r\n", 400),
        ("Transfer-Encoding: \"chunked\"\r\n", 400),
        ("Transfer-Encoding: \u{b}chunked\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", 400),
        // Fields that another reader sees elsewhere, or not at all.
        ("Content-Length : 5\r\n", 400),
        ("Transfer-Encoding\t: chunked\r\n", 400),
        (" Content-Length: 5\r\n", 400),
        ("X: a\r\n Content-Length: 5\r\n", 400),
        ("X: a\r\n\tb\r\n", 400),
        ("X: a\r\n \r\n", 400),
        (": a\r\n", 400),
        ("X\r\n", 400),
        ("X(y): a\r\n", 400),
        ("X\u{e9}: a\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("X\0: a\r\n", 400),
        ("X: a\u{7f}\r\n", 400),
        // Line ends that only some take for one.
        ("X: a\nContent-Length: 5\r\n", 400),
        ("X: a\rContent-Length: 5\r\n", 400),
        ("X: a\r\r\n", 400),
        ("X: a\r\n\n", 400),
        ("\rX: a\r\n", 400),
        // More than one host.
        ("Host: a\r\n", 400),
        ("host: b\r\n", 400),
        ("Expect: 200-ok\r\n", 417),
        ("Expect: 100-continue, x\r\n", 417),
    ];
    let requests: &[(&[u8], u16)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xC3\xA9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xFF HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xFF\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GETGETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ];

    for (fields, status) in fields {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let error = refuse(text.as_bytes());
        assert_eq!(error.status, *status, "{text:?}: {error}");
        assert!(!error.why.is_empty());
    }
    for (text, status) in requests {
        let error = refuse(text);
        assert_eq!(error.status, *status, "{:?}: {error}", String::from_utf8_lossy(text));
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_ends() {
    let limits = HeadLimits { head_bytes_max: 100, headers_max: 3, target_bytes_max: 20 };
    let status = |text: &str| {
        parse_head(text.as_bytes(), &limits).map(|head| head.is_some()).map_err(|error| error.status)
    };
    let start = "GET / HTTP/1.1\r\nHost: a\r\n";

    assert_eq!(status(&format!("GET /{}", "a".repeat(19))), Ok(false));
    assert_eq!(status(&format!("GET /{}", "a".repeat(20))), Err(414));
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(19))), Ok(true));
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20))), Err(414));
    // What comes first in the line is what is said, wherever the line is cut.
    assert_eq!(status(&format!("GET /{}\rA\r\n", "a".repeat(20))), Err(414));
    assert_eq!(status(&format!("\rGET /{}", "a".repeat(20))), Err(400));
    assert_eq!(status(&"A".repeat(32)), Ok(false));
    assert_eq!(status(&"A".repeat(33)), Err(501));
    assert_eq!(status(&format!("{start}B: b\r\nC: c\r\n\r\n")), Ok(true));
    assert_eq!(status(&format!("{start}B: b\r\nC: c\r\nD: d\r\n\r\n")), Err(431));
    let filled = |bytes: usize| format!("{start}B: {}\r\n\r\n", "b".repeat(bytes - start.len() - 7));
    assert_eq!(filled(100).len(), 100);
    assert_eq!(status(&filled(100)), Ok(true));
    assert_eq!(status(&filled(101)), Err(431));
    assert_eq!(status(&filled(101)[..99]), Ok(false));
}

#[test]
fn a_bare_line_feed_is_refused_at_once() {
    let limits = HeadLimits::default();

    assert_eq!(HeadFinder::new().find(b"GET / HTTP/1.1\n", &limits).unwrap_err().status, 400);
    assert_eq!(HeadFinder::new().find(b"GET / HTTP/1.1\r\r\n", &limits).unwrap_err().status, 400);
}

#[test]
fn bytes_of_the_body_are_not_judged_as_head() {
    let text = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\n\r\0\n";

    assert_eq!(read(text).body, Body::Length(4));
}

#[test]
fn a_finder_looks_at_each_byte_once() {
    let mut text = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    let limits = HeadLimits::default();
    let mut finder = HeadFinder::new();
    assert_eq!(finder.find(&text, &limits), Ok(None));

    // What was looked at is not looked at again: a fault put there afterwards goes unseen.
    text[3] = b'\n';
    text.extend_from_slice(b"\r\n");

    assert_eq!(finder.find(&text, &limits), Ok(Some(27)));
}

#[test]
fn a_body_of_known_length_ends_there() {
    let mut decoder = BodyDecoder::new(Body::Length(5), 5);
    let mut at = 2;

    assert_eq!(decoder.decode(b"xxhello world", &mut at), Ok(Some(&b"hello"[..])));
    assert_eq!(at, 7);
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(b"xxhello world", &mut at), Ok(None));
    assert_eq!(at, 7);
}

#[test]
fn no_body_is_done_at_once() {
    assert!(BodyDecoder::new(Body::None, 0).is_done());
    assert!(BodyDecoder::new(Body::Length(0), 0).is_done());
}

#[test]
fn a_declared_length_over_the_maximum_is_refused_without_input() {
    let mut decoder = BodyDecoder::new(Body::Length(6), 5);

    assert_eq!(decoder.decode(b"", &mut 0).unwrap_err().status, 413);
    assert_eq!(decoder.decode(b"hello!", &mut 0).unwrap_err().status, 413);
}

#[test]
fn chunks_are_joined_and_the_next_request_is_left() {
    let text = b"5\r\nhello\r\n00001;a=\"b\"\r\n \r\nA\r\n0123456789\r\n0;x\r\nTrailer: a\r\nB: c\r\n\r\nGET";

    let (data, rest) = decode_chunks(&[text], 16).unwrap();

    assert_eq!(data, b"hello 0123456789");
    assert_eq!(rest, 3);
}

#[test]
fn chunk_games_are_refused() {
    let extension = format!("1;{}\r\na\r\n", "x".repeat(5_000)).repeat(2);
    let trailer = format!("0\r\nA: {}\r\n\r\n", "x".repeat(10_000));
    let cases: &[(&str, u16)] = &[
        ("\r\n", 400),
        ("g\r\n", 400),
        ("+5\r\nhello\r\n", 400),
        ("-5\r\nhello\r\n", 400),
        ("0x5\r\nhello\r\n", 400),
        (" 5\r\nhello\r\n", 400),
        ("5 \r\nhello\r\n", 400),
        ("5 ;a\r\nhello\r\n", 400),
        (";a\r\n", 400),
        ("5\nhello\r\n", 400),
        ("5\r\rhello\r\n", 400),
        ("5\rhello\r\n", 400),
        ("5\r\nhello\n", 400),
        ("5\r\nhelloX\r\n", 400),
        ("5\r\nhello\rX", 400),
        ("5;a\nb\r\nhello\r\n", 400),
        ("5;a\rb\r\nhello\r\n", 400),
        ("5;a\0\r\nhello\r\n", 400),
        ("0\r\nA: b\n\r\n", 400),
        ("0\r\n\n", 400),
        ("0\r\n\rX", 400),
        ("0\r\nA\0\r\n\r\n", 400),
        ("1000000000000000\r\n", 400),
        ("10000000000000005\r\nhello\r\n", 400),
        ("0000000000000005\r\nhello\r\n", 400),
        ("FFFFFFFFFFFFFFF\r\n", 413),
        ("11\r\n", 413),
        ("10\r\n0123456789abcdef\r\n1\r\n", 413),
        (&extension, 400),
        (&trailer, 400),
    ];

    for (text, status) in cases {
        let error = decode_chunks(&[text.as_bytes()], 16).unwrap_err();

        assert_eq!(error.status, *status, "{text:?}: {error}");
    }
}

#[test]
fn percent_encoding_is_undone() {
    assert_eq!(percent_decode("chat%2F42+%E2%82%ac").as_deref(), Some("chat/42+\u{20ac}"));
    assert_eq!(percent_decode("").as_deref(), Some(""));
    for bad in ["%", "%2", "%2g", "%+1", "%FF", "%%41"] {
        assert_eq!(percent_decode(bad), None, "{bad}");
    }
}

#[test]
fn queries_are_pairs() {
    let pairs: Vec<_> = query_pairs("a=1&&b=x+y%2B&c&d=%&=e&f=g=h").collect();

    let expected = [("a", "1"), ("b", "x y+"), ("c", ""), ("", "e"), ("f", "g=h")];
    assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn answers_have_heads() {
    let written = |head: ResponseHead<'_>| {
        let mut out = Vec::new();
        head.write(&mut out);
        String::from_utf8(out).unwrap()
    };

    assert_eq!(
        written(ResponseHead::new(429).header("Retry-After", "1").length(0).close()),
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        written(ResponseHead::new(200).chunked().keep_alive()),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!(written(ResponseHead::new(204).length(0)), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(
        written(ResponseHead::new(299).header("X", "a\r\nSet-Cookie: b\0".to_owned())),
        "HTTP/1.1 299 \r\nX: a  Set-Cookie: b \r\n\r\n"
    );
    // The example of RFC 9110, 5.6.7, and the ends of what can be said.
    for (unix_ms, date) in [
        (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        let head = written(ResponseHead::new(204).date(unix_ms));
        assert_eq!(head, format!("HTTP/1.1 204 No Content\r\nDate: {date}\r\n\r\n"));
    }
}

proptest! {
    #[test]
    fn a_head_is_found_however_it_is_cut(
        pieces in proptest::collection::vec(prop::sample::select(HEAD_PIECES), 0..8),
        cuts in cuts(),
    ) {
        let text = pieces.concat();
        let text = format!("{text}\r\n\r\nrest");
        let limits = HeadLimits { head_bytes_max: 90, headers_max: 4, target_bytes_max: 30 };

        let whole = HeadFinder::new().find(text.as_bytes(), &limits);
        let mut finder = HeadFinder::new();
        let mut cut = Ok(None);
        for end in ends(text.len(), &cuts) {
            cut = finder.find(&text.as_bytes()[..end], &limits);
            if cut != Ok(None) {
                break;
            }
        }

        prop_assert_eq!(&cut, &whole);
        if let Ok(Some(length)) = cut {
            prop_assert!(text[..length].ends_with("\r\n\r\n"));
            if let Ok(head) = parse_whole_head(&text.as_bytes()[..length], &limits) {
                prop_assert!(head.minor == 0 || !head.host.is_empty());
            }
        }
    }

    #[test]
    fn arbitrary_heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_head(&bytes, &HeadLimits::default());
        let _ = parse_whole_head(&bytes, &HeadLimits::default());
    }

    #[test]
    fn written_chunks_come_back_however_they_are_cut(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        cuts in cuts(),
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            write_chunk(&mut text, chunk);
        }
        write_last_chunk(&mut text);
        text.extend_from_slice(b"GET");

        let (data, rest) = decode_chunks(&pieces(&text, &cuts), 1_000).unwrap();

        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(rest, 3);
    }

    #[test]
    fn chunk_framing_is_judged_the_same_however_it_is_cut(
        parts in proptest::collection::vec(prop::sample::select(CHUNK_PIECES), 0..10),
        cuts in cuts(),
    ) {
        let text = parts.concat();

        let whole = decode_chunks(&[text.as_bytes()], 20);

        prop_assert_eq!(decode_chunks(&pieces(text.as_bytes(), &cuts), 20), whole);
    }

    #[test]
    fn percent_encoding_anything_comes_back(text in any::<String>()) {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();

        prop_assert_eq!(percent_decode(&encoded), Some(text));
    }

    #[test]
    fn sizes_are_written_in_hexadecimal(value in any::<usize>(), shift in 0..64) {
        let value = value >> shift;
        let mut out = Vec::new();

        response::write_hexadecimal(&mut out, value);

        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:x}"));
    }
}

fn read(text: &[u8]) -> RequestHead<'_> {
    parse_head(text, &HeadLimits::default()).unwrap().unwrap().0
}

fn refuse(text: &[u8]) -> HttpError {
    match parse_head(text, &HeadLimits::default()) {
        Err(error) => error,
        Ok(head) => panic!("{:?} was read as {head:?}", String::from_utf8_lossy(text)),
    }
}

/// All data of a chunked body, and how many bytes stand behind it (`usize::MAX` if it did not end).
fn decode_chunks(pieces: &[&[u8]], bytes_max: u64) -> Result<(Vec<u8>, usize), HttpError> {
    let mut decoder = BodyDecoder::new(Body::Chunked, bytes_max);
    let mut data = Vec::new();
    let mut rest = 0;
    for piece in pieces {
        let mut at = 0;
        while let Some(part) = decoder.decode(piece, &mut at)? {
            data.extend_from_slice(part);
        }
        rest += piece.len() - at;
    }
    Ok((data, if decoder.is_done() { rest } else { usize::MAX }))
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    proptest::collection::vec(any::<prop::sample::Index>(), 0..10)
}

fn ends(length: usize, cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).chain([length]).collect();
    ends.sort_unstable();
    ends
}

fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut start = 0;
    ends(text.len(), cuts).into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]).collect()
}

const HEAD_PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n",
    "Host: a\r\n",
    "Host: b",
    "\r\n",
    "\n",
    "\r",
    "Content-Length: 5\r\n",
    "X: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    " ",
    ":",
];

const CHUNK_PIECES: &[&str] = &[
    "5\r\n",
    "hello",
    "\r\n",
    "0\r\n",
    "0\r\n\r\n",
    "a",
    "1;x=y\r\n",
    "\r",
    "\n",
    "A: b\r\n",
    "5\r\nhello\r\n",
    ";",
    " ",
];
