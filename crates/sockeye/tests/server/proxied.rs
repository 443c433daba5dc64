//! Connections that a proxy relays, with a header of the PROXY protocol before them.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use sockeye_wire::proxy::{self, Endpoints, Header, Version};

use crate::certificates::Authority;
use crate::client::{Lines, Secure, Stream, WebSocket};
use crate::http_client::{Http, request};
use crate::world::Server;

const LISTED: &str = "proxy_protocol_from = [\"127.0.0.0/8\"]\n";

#[test]
fn what_follows_a_header_goes_on_as_usual_in_every_protocol() {
    let server = Server::with(LISTED);
    for header in headers("203.0.113.7:1234") {
        let mut lines = Lines::over(relayed(&server, &header));
        assert_eq!(lines.ask(r#"{"ping":1}"#)["pong"], 1);

        let mut http = Http::over(server.connect());
        http.send(&[&header[..], &request("GET", "/healthz", &[], b"")].concat());
        assert_eq!(http.receive().status, 200);

        let mut socket = WebSocket::over(relayed(&server, &header), "/ws", &[]).unwrap();
        assert_eq!(socket.ask(r#"{"ping":2}"#)["pong"], 2);
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let server = Server::with(LISTED);
    for header in headers("[2001:db8::7]:1234") {
        let mut stream = server.connect();
        for byte in header {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(Lines::over(stream).ask(r#"{"ping":1}"#)["pong"], 1);
    }
}

#[test]
fn a_proxy_may_speak_for_itself_or_for_somebody_unknown() {
    let server = Server::with(LISTED);
    for (version, endpoints) in [
        (Version::One, Endpoints::Unknown),
        (Version::Two, Endpoints::Unknown),
        (Version::Two, Endpoints::Local),
    ] {
        let header = written(&Header { version, endpoints });
        assert_eq!(Lines::over(relayed(&server, &header)).ask(r#"{"ping":1}"#)["pong"], 1);
    }
}

#[test]
fn the_address_in_the_header_is_the_one_that_limits_count() {
    let server =
        Server::with(&format!("{LISTED}[limits]\naddress_connections_max = 1\naddress_exceptions = []\n"));
    let one = &headers("203.0.113.7:1234")[1];
    let again = &headers("203.0.113.7:4321")[0];
    let other = &headers("203.0.113.8:1234")[0];

    let mut first = Lines::over(relayed(&server, one));
    assert_eq!(first.ask(r#"{"ping":1}"#)["pong"], 1);

    assert_eq!(relayed(&server, again).read_rest(), b"");
    assert_eq!(Lines::over(relayed(&server, other)).ask(r#"{"ping":1}"#)["pong"], 1);
    assert_eq!(first.ask(r#"{"ping":2}"#)["pong"], 2);
}

#[test]
fn a_listed_address_without_a_header_is_told_so_and_closed() {
    let server = Server::with(LISTED);
    for begin in [
        &b"GET /healthz HTTP/1.1\r\n\r\n"[..],
        b"{\"hello\":1}\n",
        b"PROXY TCP4 1.2.3.4\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31",
    ] {
        let mut stream = server.connect();
        stream.write_all(begin).unwrap();
        let said = String::from_utf8(stream.read_rest()).unwrap();
        assert!(said.contains("\"bad_request\"") && said.contains("proxy_protocol_from"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    server.wait_for_log(|line| line.contains("\"WARN\"") && line.contains("proxy_protocol_from"));
    server.wait_until("all four are gone", |server| {
        let page = Http::over(server.connect_unix()).ask("GET", "/metrics", &[], b"").text();
        page.contains("sockeye_connections_closed_total{protocol=\"unknown\",reason=\"proxy header\"} 4")
    });
}

#[test]
fn a_header_from_an_address_that_is_not_listed_is_refused() {
    let server = Server::with("proxy_protocol_from = [\"127.0.0.2\"]\n");
    for header in headers("203.0.113.7:1234") {
        let mut stream = server.connect();
        stream.write_all(&header).unwrap();
        let said = String::from_utf8(stream.read_rest()).unwrap();
        assert!(said.contains("not listed under proxy_protocol_from"), "{said}");
    }
    assert_eq!(server.ask("GET", "/healthz", &[], b"").status, 200);
    // A blank line is still nothing to answer.
    let mut lines = server.lines();
    lines.send("\r\n\r");
    assert_eq!(lines.ask(r#"{"ping":1}"#)["pong"], 1);
}

#[test]
fn a_header_that_does_not_come_in_time_or_not_whole_closes_the_connection() {
    let server = Server::with(&format!("{LISTED}[limits]\nfirst_byte_timeout = \"300ms\"\n"));
    let header = &headers("203.0.113.7:1234")[1];

    let mut silent = server.connect();
    assert_eq!(silent.read_rest(), b"");
    let mut half = server.connect();
    half.write_all(&header[..20]).unwrap();
    assert_eq!(half.read_rest(), b"");
    let mut ended = server.connect();
    ended.write_all(&header[..20]).unwrap();
    ended.finish();
    assert_eq!(ended.read_rest(), b"");
}

#[test]
fn a_proxy_may_come_by_a_unix_socket() {
    let server = Server::with("proxy_protocol_from = [\"unix\"]\n");
    let mut stream = server.connect_unix();
    stream.write_all(&headers("203.0.113.7:1234")[1]).unwrap();

    let mut http = Http::over(stream);

    assert_eq!(http.ask("GET", "/healthz", &[], b"").status, 200);
    // What it relays came by TCP, so a name that is not this server's is refused, as it is there.
    assert_eq!(http.ask("GET", "/healthz", &[("Host", "rebound.example")], b"").status, 403);
    assert_eq!(server.ask("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn a_header_stands_before_tls_and_names_the_client_to_those_who_watch() {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost"]);
    let server = Server::with(&format!("{LISTED}[tls]\nmode = \"required\"\n{}", issued.table()));
    let mut watch = Lines::over(server.connect_unix());
    assert_eq!(watch.ask(r#"{"sub":"$sys/clients","id":1}"#)["ok"], 1);
    for header in headers("203.0.113.7:1234") {
        // Once in one piece with the ClientHello, as far as that can be had, and once byte by byte before it.
        for piece_bytes in [header.len(), 1] {
            let mut tcp = TcpStream::connect(server.tcp()).unwrap();
            tcp.set_nodelay(true).unwrap();
            for piece in header.chunks(piece_bytes) {
                tcp.write_all(piece).unwrap();
            }
            let secure = Secure::over(tcp, &authority.client(), "localhost").unwrap();
            assert_eq!(secure.shown(), issued.der);
            let mut socket = WebSocket::over(Stream::Tls(Box::new(secure)), "/ws", &[]).unwrap();
            assert_eq!(socket.ask(r#"{"ping":1}"#)["pong"], 1);

            for event in ["connect", "speaks"] {
                let told = watch.receive()["data"].take();
                assert_eq!(
                    (&told["event"], &told["address"]),
                    (&json!(event), &json!("203.0.113.7:1234")),
                    "{told}"
                );
            }
            drop(socket);
            assert_eq!(watch.receive()["data"]["event"], "disconnect");
        }
        // What is relayed is no more private than what comes directly.
        let mut plain = Lines::over(relayed(&server, &header));
        assert_eq!(plain.ask(r#"{"ping":1}"#)["code"], "denied");
        drop(plain);
        for event in ["connect", "disconnect"] {
            assert_eq!(watch.receive()["data"]["event"], event);
        }
        // Who never showed a header was never there: the next that is told of is the next round's.
        let mut unnamed = Lines::over(Stream::tcp(server.tcp()));
        unnamed.send(r#"{"ping":1}"#);
        while unnamed.next().is_some() {}
    }
}

#[test]
fn a_header_before_tls_is_taken_from_listed_addresses_only() {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost"]);
    let not_listed = Server::with(&format!("proxy_protocol_from = [\"127.0.0.2\"]\n{}", issued.table()));
    let listed = Server::with(&format!("{LISTED}{}", issued.table()));
    let hello = |server: &Server, header: &[u8]| {
        let mut tcp = TcpStream::connect(server.tcp()).unwrap();
        tcp.write_all(header).unwrap();
        Secure::over(tcp, &authority.client(), "localhost").map(|_| ())
    };

    for header in headers("203.0.113.7:1234") {
        assert!(hello(&listed, &header).is_ok());
        assert!(hello(&not_listed, &header).is_err(), "a header is refused where it is not expected");
    }
    assert!(hello(&not_listed, b"").is_ok());
    assert!(hello(&listed, b"").is_err(), "who is listed and sends none is refused");
}

/// The header of a connection from this address, in both versions.
fn headers(source: &str) -> [Vec<u8>; 2] {
    let source: SocketAddr = source.parse().unwrap();
    let endpoints = Endpoints::tcp(source, SocketAddr::new(source.ip(), 7625));
    [Version::One, Version::Two].map(|version| written(&Header { version, endpoints: endpoints.clone() }))
}

fn written(header: &Header) -> Vec<u8> {
    let mut out = Vec::new();
    proxy::write(&mut out, header);
    out
}

fn relayed(server: &Server, header: &[u8]) -> Stream {
    let mut stream = server.connect();
    stream.write_all(header).unwrap();
    stream
}
