//! The grammar by examples.

use super::*;

fn read(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn addresses_are_written_as_they_are_read() {
    for text in [
        "tcp:127.0.0.1:7625",
        "tcp:[::1]:0",
        "tcp:[fe80::1%eth0]:80",
        "tcp::7625",
        "tcp:localhost:1?family=4&no-delay=false&keep-alive=30s",
        "tls:db.example:5432?ca=ca.pem&cert=me.pem&key=env:KEY&server-name=db&alpn=postgres&insecure",
        "unix:/run/s.sock",
        "unix:relative.sock?mode=660",
        "unix:@abstract",
        "unix:%40file",
        "unix:////double",
        "unix:/with%20blank%3F",
        "udp:239.1.1.1:5000?ttl=4&join=eth0&loop=false",
        "unixgram:/run/log.sock",
        "seqpacket:/run/x",
        "ws://localhost:7625/ws",
        "ws://[::1]:80/ch/chat/42?pub=0",
        "wss://ana@example.org:443/live?room=1#subprotocol=a,b&password=env:PW",
        "ws+unix:/run/app.sock?path=/live&message-max=1MiB",
        "ws+tls+unix:@x",
        "lines+tcp:localhost:1",
        "len+-",
        "jsonl+exec:cat",
        "https://example.org:443/a?b=c",
        "ip:10.0.0.1?proto=icmp",
        "ip:[::1]?proto=89",
        "packet:eth0",
        "exec:./handler --flag 'two words' ''",
        "sh:tr a-z A-Z | head -1 # ?&%",
        "fd:3",
        "file:/tmp/log?append",
        "-",
        "ch:localhost:7625/chat/42?last=50&own=false",
        "tls+ch:example.org:443/a%3Fb",
        "ws+tls+socks5+tcp:ana@proxy:1080?password=file:pw&to=host:443",
        "proxyproto+tcp:h:1",
    ] {
        let address = read(text);

        assert_eq!(address.to_string(), text);
        assert_eq!(read(&address.to_string()), address);
    }
}

#[test]
fn what_may_be_left_out_is_filled_in() {
    for (short, long) in [
        ("ws:localhost", "ws://localhost:80/"),
        // RFC 6874: the zone of a URI.
        ("ws://[fe80::1%25eth0]:80/", "ws://[fe80::1%eth0]:80/"),
        ("tcp:[fe80::1%25]:80", "tcp:[fe80::1%25]:80"),
        ("wss://example.org?a=b", "wss://example.org:443/?a=b"),
        ("tcp://h:1", "tcp:h:1"),
        ("tcp:*:1", "tcp::1"),
        ("unix:///run/s", "unix:/run/s"),
        ("ch:localhost/chat", "ch:localhost:7625/chat"),
        ("tcp:h:1?", "tcp:h:1"),
        ("tcp:h:1?no-delay=true", "tcp:h:1?no-delay"),
        ("exec:  a   b ", "exec:a b"),
        ("tls:h:1?cert=file:a.pem", "tls:h:1?cert=a.pem"),
        ("udp:h:1?tos=0x10", "udp:h:1?tos=16"),
    ] {
        assert_eq!(read(short).to_string(), long);
    }
}

#[test]
fn what_is_no_address_is_refused_by_name() {
    for (text, said) in [
        ("7625", "has no base"),
        ("tpc:localhost:1", "did you mean tcp:"),
        ("zzzzzz:h:1", "known are tcp: tls: unix:"),
        ("localhost:7000", "tcp:localhost:7000"),
        ("db:5432", "tcp:db:5432"),
        ("TCP:localhost:1", "written small: tcp:"),
        ("TCP-LISTEN:7000", "it is tcp:"),
        ("udp:localhost", "for example 127.0.0.1:7625"),
        ("listen:tcp::1", "only relay"),
        ("tsl+tcp:h:1", "did you mean tls+"),
        ("tcp:localhost", "a port is missing"),
        ("tcp:localhost:70000", "0 to 65535"),
        ("tcp:localhost:+1", "0 to 65535"),
        ("tcp:::1:7625", "brackets"),
        ("tcp:[::1:7625", "not closed"),
        ("tcp:[nonsense]:1", "not an IPv6"),
        ("tcp:[::1]1", "behind the bracket"),
        ("tcp:a b:1", "character"),
        ("unix:", "a path is missing"),
        ("unix:@", "a name is missing"),
        ("unix:/a%2", "%25"),
        ("ws://h/a b", "percent-encoded"),
        ("fd:x", "a number"),
        ("exec:", "a command is missing"),
        ("exec:'a", "not closed"),
        ("sh: ", "a command is missing"),
        ("ch:localhost", "a channel is missing"),
        ("ch:localhost/a/+", "for patterns"),
        ("-x:1", "unknown base"),
        ("packet:", "an interface"),
        ("tcp:h:1?nodelay", "did you mean no-delay"),
        ("tcp:h:1?zzzzzzzz", "known here are family"),
        ("fd:3?zzzzzzzz", "fd has none"),
        ("udp:h:1?no-delay", "belongs to tcp"),
        ("tcp:h:1?ttl=1&ttl=2", "given twice"),
        ("tcp:h:1?ttl=300", "from 0 to 255"),
        ("tcp:h:1?keep-alive=5", "25s"),
        ("tcp:h:1?family=5", "4 or 6"),
        ("tcp:h:1?no-delay=maybe", "true or false"),
        ("unix:/x?mode=999", "octal"),
        ("tls:h:1?key=k.pem", "cert=FILE"),
        ("ws+udp:h:1", "udp is none"),
        ("tls+ws+tcp:h:1", "ws is none"),
        ("tls+tls:h:1", "twice"),
        ("tls+https://h", "takes no layer"),
        ("tls+file:x", "nobody"),
        ("ws+ch:h/a", "no layer but tls+"),
        ("tcp:ana@h:1", "leave USER@ out"),
        ("ch:h/a?last=1&since=k3f:1", "exclude"),
    ] {
        let error = text.parse::<Address>().expect_err(text).to_string();

        assert!(error.contains(said), "{text}: {error}");
        assert!(error.contains(text), "{text}: {error}");
    }
}

#[test]
fn secrets_have_no_place_in_an_address_and_are_not_repeated() {
    for text in [
        "ws://ana:hunter2@h/",
        "ws:ana:hunter2@h/",
        "ch:ana:hunter2@h/a",
        "ws://h/#token=hunter2",
        "socks5+tcp:ana@h:1?to=a:1&password=hunter2",
        "ws://h/x y?access_token=hunter2",
    ] {
        let error = text.parse::<Address>().expect_err(text);

        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    assert_eq!(read("ws://h/?a=1&api_key=2&jwt=3").shown(), "ws://h:80/?a=1&api_key=***&jwt=***");
    assert_eq!(read("ws://h/#token=env:T").shown(), "ws://h:80/#token=env:T");
}

#[test]
fn shapes_are_those_of_the_outermost_layer() {
    for (text, shape) in [
        ("tcp:h:1", Shape::Stream),
        ("tls+unix:/x", Shape::Stream),
        ("ws+tls+unix:/x", Shape::Message),
        ("lines+exec:cat", Shape::Message),
        ("udp:h:1", Shape::Datagram),
        ("tls+ch:h/a", Shape::Message),
        ("packet:eth0", Shape::Raw),
    ] {
        assert_eq!(read(text).shape(), shape, "{text}");
    }
}

#[test]
fn sides_say_who_listens() {
    let side: Side = "listen:unix:/x".parse().expect("a side");

    assert_eq!(side.role, Role::Listen);
    assert_eq!(side.to_string(), "listen:unix:/x");
    assert_eq!("tcp:h:1".parse::<Side>().expect("a side").role, Role::Connect);
    assert!("listen:listen:tcp::1".parse::<Side>().is_err());
}
