//! A request over HTTP in a program: bytes out, bytes in, and the end of each.

use sockeye::net::{Connector, ErrorKind, Kind, Listener, Message, Socket, StreamKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, soon};

/// Receives until this is there.
async fn receive_until(socket: &mut Socket, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let message = soon(socket.recv()).await.expect("received").expect("more of the request");
        text.push_str(message.as_text().expect("it is text"));
    }
    text
}

#[tokio::test]
async fn a_request_lives_as_a_stream_does_over_tls_too() {
    let world = World::new();
    let folder = world.folder().display().to_string();
    for (listen, url, options) in [
        ("tcp:127.0.0.1:0".to_owned(), "http://localhost", String::new()),
        (
            format!("tls:127.0.0.1:0?cert={folder}/cert.pem&key={folder}/key.pem"),
            "https://localhost",
            format!("&ca={folder}/cert.pem"),
        ),
    ] {
        let mut listener = Listener::bind(&listen).await.expect("a free port");
        let port = listener.address().host_port().expect("it has one").port;
        let connector = Connector::new(format!("{url}:{port}/x#family=4{options}")).expect("an address");
        let client = tokio::spawn(connector.header("X-Room", "42").connect());
        let (mut server, _) = soon(listener.accept()).await.expect("a client");
        let mut client = soon(client).await.expect("a task").expect("connected");
        assert_eq!(client.kind(), Kind::Stream(StreamKind::Http));
        assert!(client.traits().half_close && client.traits().peer_address && !client.traits().boundaries);

        assert!(client.send(Message::ping("x")).await.is_err());
        client.send("").await.expect("nothing is nothing yet");
        client.send("one ").await.expect("sent");
        client.send("two").await.expect("sent");
        client.finish().await.expect("ended");
        let error = client.send("late").await.expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::EndedEarly, "{error}");
        let request = receive_until(&mut server, "0\r\n\r\n").await;
        assert!(request.starts_with(&format!("POST /x HTTP/1.1\r\nHost: localhost:{port}\r\n")), "{request}");
        assert!(
            request.contains("X-Room: 42\r\n") && request.contains("\r\n\r\n4\r\none \r\n3\r\ntwo\r\n"),
            "{request}"
        );

        // The answer in pieces, of which the last is told to be the last.
        let mut answer = String::new();
        for piece in ["HTTP/1.1 200 OK\r\nContent-", "Length: 6\r\n\r\nan", "swer"] {
            server.send(piece).await.expect("sent");
        }
        while let Some(message) = soon(client.recv()).await.expect("received") {
            answer.push_str(message.as_text().expect("it is text"));
        }
        assert_eq!(answer, "answer");
        assert!(client.recv().await.expect("an end stays one").is_none());
    }
}

#[tokio::test]
async fn bytes_are_written_and_read_by_the_traits_of_tokio_and_in_halves() {
    let mut listener = Listener::bind("tcp:127.0.0.1:0").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    let server = tokio::spawn(async move {
        let (mut server, _) = listener.accept().await?;
        let request = receive_until(&mut server, "0\r\n\r\n").await;
        server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nanswer\r\n0\r\n\r\n").await?;
        Ok::<_, sockeye::net::Error>((server, request))
    });

    let (mut receive, mut send) = Socket::connect(format!("http://{at}/")).await.expect("connected").split();
    send.write_all(b"question").await.expect("written");
    send.shutdown().await.expect("ended");
    let mut few = [0; 2];
    receive.read_exact(&mut few).await.expect("read");
    let rest = soon(receive.recv()).await.expect("received").expect("the rest");
    let mut end = Vec::new();
    receive.read_to_end(&mut end).await.expect("read");

    assert_eq!((&few, rest.bytes.as_slice(), end.as_slice()), (b"an", &b"swer"[..], &b""[..]));
    let (_server, request) = soon(server).await.expect("a task").expect("answered");
    assert!(request.contains("8\r\nquestion\r\n"), "{request}");
}

#[tokio::test]
async fn a_status_is_in_the_error_and_nobody_listens_for_requests() {
    let mut listener = Listener::bind("tcp:127.0.0.1:0").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    let mut client = Socket::connect(format!("http://{at}/")).await.expect("connected");
    let (mut server, _) = soon(listener.accept()).await.expect("a client");

    client.finish().await.expect("asked");
    assert!(receive_until(&mut server, "\r\n\r\n").await.starts_with("GET / "));
    server.send("HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n").await.expect("sent");

    let error = soon(client.recv()).await.expect_err("no success");
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Refused, Some(429)), "{error}");
    assert!(client.recv().await.expect("it is over").is_none());
    let error = Listener::bind("http://127.0.0.1:0/").await.expect_err("the server's side");
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("sockeye serve"), "{error}");
}
