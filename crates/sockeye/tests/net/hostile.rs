//! Peers that stall, lie or go away: each step ends by its bound, with an error that names it.

use sockeye::net::{Connector, ErrorKind, Listener, Socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{World, soon};

/// A server that says these bytes to whoever connects, and then nothing.
async fn liar(words: &'static [u8], closes: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0; 1_024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(words).await;
        if closes {
            return;
        }
        std::future::pending::<()>().await;
    });
    port
}

#[tokio::test]
async fn a_peer_that_stalls_in_a_step_ends_by_its_bound() {
    for (base, step) in [
        ("ws://127.0.0.1:PORT/#timeout=100ms", "WebSocket"),
        ("tls:127.0.0.1:PORT?insecure&timeout=100ms", "TLS"),
    ] {
        let port = liar(b"", false).await;

        let error = soon(Socket::connect(base.replace("PORT", &port.to_string()))).await.expect_err(base);

        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains(step) && error.to_string().contains("100 ms"), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_stalls_in_a_handshake_delays_nobody() {
    let mut listener = Listener::bind("ws://127.0.0.1:0/").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    let stalled = tokio::net::TcpStream::connect(&at).await.expect("it listens");

    let client = tokio::spawn(Socket::connect(format!("ws://{at}/")));
    let accepted = soon(listener.accept()).await;

    assert!(accepted.is_ok());
    assert!(soon(client).await.expect("a task").is_ok());
    drop(stalled);
}

#[tokio::test]
async fn a_server_that_is_no_websocket_is_told_by_what_it_said() {
    for (words, closes, said) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], false, "404"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", false, "token=env:NAME"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", false, "redirects"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", false, "not http"),
        (b"", true, "without an answer"),
        (b"HTTP/1.1 101 Swi", true, "in the middle"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm9wZQ==\r\n\r\n", false, "key"),
    ] {
        let port = liar(words, closes).await;

        let error = soon(Socket::connect(format!("ws://127.0.0.1:{port}/"))).await.expect_err(said);

        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told() {
    let port = liar(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await;

    let error = soon(Socket::connect(format!("tls:127.0.0.1:{port}?insecure"))).await.expect_err("no TLS");

    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("speak TLS"), "{error}");
}

#[tokio::test]
async fn frames_that_break_the_rules_end_the_connection_with_a_reason() {
    let mut listener = Listener::bind("tcp:127.0.0.1:0").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    for (frame, said) in [
        (&b"\xc1\x00"[..], "reserved bit"),
        (b"\x81\x82abcdxx", "masked"),
        (b"\x81\x02\xff\xff", "utf-8"),
        (b"\x82\x7f\x00\x00\x00\x00\xff\xff\xff\xff", "allowed"),
        (b"\x82\x05ab", "middle of a message"),
        (b"", "without a close"),
    ] {
        let client = tokio::spawn(Socket::connect(format!("ws://{at}/")));
        let (mut server, _) = soon(listener.accept()).await.expect("a client");
        let request = soon(server.recv()).await.expect("a request").expect("a request");
        let request = String::from_utf8(request.bytes).expect("it is text");
        let key =
            request.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next()).expect("a key");
        let mut answer = Vec::new();
        sockeye_wire::websocket::write_accept(&mut answer, key, None, None);
        answer.extend_from_slice(frame);
        server.send(answer).await.expect("a client");
        server.close().await.expect("a client");
        drop(server);

        let mut client = soon(client).await.expect("a task").expect("the handshake is right");
        let error = soon(client.recv()).await.expect_err(said);

        assert_eq!(error.kind(), ErrorKind::EndedEarly, "{error}");
        assert!(error.to_string().contains(said), "{said}: {error}");
        assert!(soon(client.recv()).await.expect("it is over").is_none());
    }
}

#[tokio::test]
async fn secrets_are_sent_and_never_shown() {
    let world = World::new();
    std::fs::write(world.path("token"), "hunter2-is-secret\n").expect("a file");
    let token = world.path("token").display().to_string();
    let mut listener =
        Listener::bind(format!("ws://127.0.0.1:0/#token=file:{token}")).await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();

    let without = Socket::connect(format!("ws://{at}/"));
    let (refused, ()) = tokio::select! {
        refused = without => (refused, ()),
        _ = listener.accept() => panic!("nobody was to be admitted"),
    };
    let error = refused.expect_err("no token");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("401"), "{error}");

    let connector = Connector::new(format!("ws://{at}/#token=file:{token}"))
        .expect("an address")
        .header("X-Secret", "hunter3");
    assert!(!format!("{connector:?}").contains("hunter"));
    let client = tokio::spawn(connector.connect());
    let (server, _) = soon(listener.accept()).await.expect("a client");
    let client = soon(client).await.expect("a task").expect("admitted");
    for shown in [format!("{server:?} {client:?} {listener:?}"), client.name().to_owned(), error.to_string()]
    {
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[tokio::test]
async fn messages_are_compressed_where_both_ends_agree_and_a_lie_about_it_is_told() {
    use sockeye_wire::websocket::{DeflateOffer, DeflateTerms, compress_alone, is_compressed, write_accept};

    let mut listener = Listener::bind("tcp:127.0.0.1:0").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    let text = "the same words again, ".repeat(1_000);
    for (agrees, window_bits_max) in [(true, 15), (true, 9), (false, 15)] {
        let client = tokio::spawn(Socket::connect(format!("ws://{at}/#deflate")));
        let (mut server, _) = soon(listener.accept()).await.expect("a client");
        let request = soon(server.recv()).await.expect("a request").expect("a request");
        let request = String::from_utf8(request.bytes).expect("it is text");
        assert!(request.contains("Sec-WebSocket-Extensions: permessage-deflate; "), "{request}");
        let key =
            request.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next()).expect("a key");
        let terms = DeflateTerms { takeover: false, window_bits_max };
        let agreed = DeflateOffer::accept(&[DeflateOffer::default()], terms).filter(|_| agrees);
        let mut answer = Vec::new();
        write_accept(&mut answer, key, None, agreed.as_ref());
        let mut payload = Vec::new();
        assert!(compress_alone(b"hello hello hello hello hello hello", &mut payload));
        answer.extend_from_slice(&[0xc1, payload.len() as u8]);
        answer.extend_from_slice(&payload);
        server.send(answer).await.expect("a client");
        let mut client = soon(client).await.expect("a task").expect("the handshake is right");

        let heard = soon(client.recv()).await;
        if !agrees {
            let error = heard.expect_err("nothing was agreed");
            assert!(error.to_string().contains("reserved bit"), "{error}");
            continue;
        }
        let heard = heard.expect("a message").expect("a message");
        assert_eq!(heard.as_text(), Some("hello hello hello hello hello hello"));
        client.send(text.as_str()).await.expect("a server");
        let sent = soon(server.recv()).await.expect("a frame").expect("a frame").bytes;
        assert!(is_compressed(&sent) && sent.len() < text.len() / 10, "{} bytes", sent.len());
        client.send("short").await.expect("a server");
        let sent = soon(server.recv()).await.expect("a frame").expect("a frame").bytes;
        assert!(!is_compressed(&sent) && sent.len() == 11, "{sent:?}");
    }
}
