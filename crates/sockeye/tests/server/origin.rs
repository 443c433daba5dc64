//! A web page elsewhere: what its browser says of it decides before anything happens.

use crate::client::WebSocket;
use crate::http_client::{Http, request};
use crate::world::Server;

#[test]
fn a_foreign_page_can_neither_publish_nor_read_nor_open_a_socket() {
    let server = Server::start();
    let mut witness = server.lines();
    witness.ask(r#"{"sub":"c","id":1}"#);

    for origin in
        ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:1", "file://"]
    {
        let foreign = [("Origin", origin)];
        server.ask("POST", "/ch/c", &foreign, b"x").refused(403, "denied");
        let read = server.ask("GET", "/ch/c", &foreign, b"");
        read.refused(403, "denied");
        assert_eq!(read.header("access-control-allow-origin"), None);
        let preflight = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        server.ask("OPTIONS", "/ch/c", &preflight, b"").refused(403, "denied");
        for path in ["/ws", "/echo", "/ch/c"] {
            let refusal = WebSocket::over(server.connect(), path, &foreign).err().expect("a refusal");
            refusal.refused(403, "denied");
        }
    }

    assert_eq!(witness.ask(r#"{"ping":1}"#)["pong"], 1, "something was published");
}

#[test]
fn the_servers_own_page_and_listed_ones_may_use_it() {
    let server = Server::with("origins = [\"https://chat.example\"]");
    let port = server.tcp().port();

    let host = format!("127.0.0.1:{port}");
    let own = [("Host", host.as_str()), ("Origin", &format!("http://{host}"))];
    let answer = server.ask("POST", "/ch/c", &own, b"x");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));

    let listed = [("Origin", "https://chat.example")];
    let mut http = server.http();
    for (method, path, status) in
        [("POST", "/ch/c", 200), ("GET", "/ch/c", 200), ("GET", "/nothing", 404), ("POST", "/ch/a%2Fb", 400)]
    {
        let answer = http.ask(method, path, &listed, b"");
        assert_eq!((answer.status, answer.header("vary")), (status, Some("Origin")), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://chat.example"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("Retry-After"));
    }
    let preflight = [("Origin", "https://chat.example"), ("Access-Control-Request-Method", "POST")];
    let answer = http.ask("OPTIONS", "/ch/c", &preflight, b"");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (204, Some("https://chat.example"))
    );
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("Idempotency-Key"));
    let mut socket = WebSocket::over(server.connect(), "/ws", &listed).unwrap();
    assert_eq!(socket.ask(r#"{"ping":1}"#)["pong"], 1);
}

#[test]
fn an_origin_listed_with_its_default_port_is_the_one_that_browsers_send_without() {
    let server = Server::with("origins = [\"https://chat.example:443\", \"http://plain.example:80\"]");

    for origin in ["https://chat.example", "http://plain.example"] {
        assert_eq!(server.ask("POST", "/ch/c", &[("Origin", origin)], b"x").status, 200, "{origin}");
    }
    for origin in ["http://chat.example", "https://plain.example"] {
        server.ask("POST", "/ch/c", &[("Origin", origin)], b"x").refused(403, "denied");
    }
}

#[test]
fn a_foreign_name_is_refused_and_a_listed_one_is_not() {
    let server = Server::with("names = [\"inner.example\"]");
    let ask = |host: &str| server.ask("POST", "/ch/c", &[("Host", host)], b"x");

    for host in [
        "evil.example",
        "localhost.evil.example:80",
        "10.1.2.3",
        "[2001:db8::1]:80",
        "127.0.0.1.evil.example",
    ] {
        ask(host).refused(403, "denied");
    }
    for host in [
        "localhost",
        "LOCALHOST:99",
        "127.0.0.1",
        "127.8.8.8:1",
        "[::1]:7625",
        "inner.example",
        "Inner.Example:8",
    ] {
        assert_eq!(ask(host).status, 200, "{host}");
    }
    // An absolute target names the host, whatever the field says (RFC 9112, 3.2.2).
    server.ask("GET", "http://evil.example/ch/c", &[], b"").refused(403, "denied");
}

#[test]
fn an_address_may_be_listed_as_a_name() {
    let server = Server::with("names = [\"192.0.2.7\", \"[2001:db8::7]\"]");
    let ask = |host: &str| server.ask("POST", "/ch/c", &[("Host", host)], b"x");

    for host in ["192.0.2.7", "192.0.2.7:80", "[2001:db8::7]:80"] {
        assert_eq!(ask(host).status, 200, "{host}");
    }
    ask("192.0.2.8").refused(403, "denied");
}

#[test]
fn a_unix_socket_asks_for_no_name() {
    let server = Server::start();
    let mut http = Http::over(server.connect_unix());

    http.send(&request("POST", "/ch/c", &[("Host", "whatever.example")], b"x"));

    assert_eq!(http.receive().status, 200);
}
