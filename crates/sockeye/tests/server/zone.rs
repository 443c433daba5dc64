//! The zone of an IPv6 address, which means something on one machine only.

use serde_json::Value;

use crate::command::run;
use crate::world::Server;

#[test]
fn the_zone_of_an_address_stays_on_this_side() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: there is no IPv6");
        return;
    }
    let server = Server::with_flags(&["--listen", "tcp:[::1]:0", "--self-signed"]);
    let first: Value = serde_json::from_str(&server.wait_for_log(|_| true)).unwrap();
    let listening = first["fields"]["listen"].to_string();
    let port = listening.split("tcp:[::1]:").nth(1).unwrap().split('"').next().unwrap();

    // The zone is the number of an interface, which for this address may be any.
    for address in [
        format!("ws://[::1%251]:{port}/ws"),
        format!("tcp:[::1%1]:{port}"),
        format!("wss://[::1%251]:{port}/ws#insecure"),
        format!("tls:[::1%1]:{port}?insecure"),
    ] {
        let published = run(&["pub", "--to", &address, "c", &address], b"");
        let heard = run(&["sub", "--from", &address, "--last", "1", "--count", "1", "c"], b"");

        assert_eq!((published.code, heard.code), (0, 0), "{published:?} {heard:?}");
        assert_eq!(String::from_utf8(heard.output).unwrap(), format!("{address}\n"));
    }
}
