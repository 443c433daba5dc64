//! What each kind has of its own.

use std::net::SocketAddr;
use std::time::Duration;

use sockeye::address::Address;
use sockeye::net::{ErrorKind, Kind, Listener, Message, MessageKind, Peer, Socket, StreamKind};

use crate::world::{World, receive_bytes, soon};

#[tokio::test]
async fn a_host_with_two_families_is_reached_on_the_one_that_listens() {
    for ip in ["127.0.0.1", "[::1]"] {
        let Ok(mut listener) = Listener::bind(format!("tcp:{ip}:0")).await else { continue };
        let port = listener.address().host_port().expect("it has one").port;

        let client = soon(Socket::connect(format!("tcp:localhost:{port}"))).await;

        assert!(client.is_ok(), "{ip}: {client:?}");
        assert!(soon(listener.accept()).await.is_ok());
    }
}

#[tokio::test]
async fn who_takes_one_kind_for_another_or_names_nobody_is_told_what_to_use() {
    let world = World::new();
    let path = world.folder().join("stream");
    let _listener = Listener::bind(format!("unix:{}", path.display())).await.expect("it is bound");

    let other = Socket::connect(format!("unixgram:{}", path.display())).await.expect_err("it is a stream");
    assert_eq!(other.kind(), ErrorKind::Usage, "{other}");
    assert!(other.to_string().contains("unix:"), "{other}");

    let mut unconnected = Socket::bind("udp:127.0.0.1:0").await.expect("a free port");
    let nobody = unconnected.send("to whom").await.expect_err("it has no peer");
    assert_eq!(nobody.kind(), ErrorKind::Usage, "{nobody}");
    assert!(nobody.to_string().contains("send_to"), "{nobody}");
}

#[tokio::test]
async fn refusals_have_their_kinds_and_say_what_to_try() {
    let world = World::new();
    let folder = world.folder().display().to_string();
    let free = Listener::bind("tcp:127.0.0.1:0").await.expect("a free port");
    let port = free.address().host_port().expect("it has one").port;
    let taken = Listener::bind(format!("tcp:127.0.0.1:{port}")).await.expect_err("it is taken");
    assert_eq!(taken.kind(), ErrorKind::InUse, "{taken}");
    drop(free);

    for (address, kind, said) in [
        (format!("tcp:127.0.0.1:{port}"), ErrorKind::Unreachable, "is anything listening"),
        (format!("unix:{folder}/nobody"), ErrorKind::Unreachable, "no socket has that path"),
        ("seqpacket:/x".into(), ErrorKind::Usage, "seqpacket:"),
        ("ip:127.0.0.1?proto=1".into(), ErrorKind::Usage, "ip:"),
        ("packet:lo".into(), ErrorKind::Usage, "packet:"),
        ("socks5+tcp:h:1?to=h:2".into(), ErrorKind::Usage, "socks5+"),
        ("http://h/#method=CONNECT".into(), ErrorKind::Usage, "CONNECT"),
        ("exec:/no/such/program".into(), ErrorKind::Unreachable, "cannot start"),
        ("nonsense".into(), ErrorKind::Usage, "no base"),
        (format!("tls:127.0.0.1:{port}?insecure"), ErrorKind::Unreachable, "cannot connect"),
        // Told before anybody is connected to.
        (format!("tls:127.0.0.1:{port}?ca={folder}/none.pem"), ErrorKind::Usage, "none.pem"),
        ("tcp:127.0.0.1:1?bind=192.0.2.77:0".into(), ErrorKind::Unreachable, "cannot connect"),
    ] {
        let error = soon(Socket::connect(&address)).await.expect_err(&address);

        assert_eq!(error.kind(), kind, "{address}: {error}");
        assert!(error.to_string().contains(said), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let world = World::new();
    for base in ["unix", "unixgram"] {
        let path = world.path(base);
        let address = format!("{base}:{}?mode=600", path.display());
        // As a process that was killed leaves it.
        match base {
            "unix" => drop(std::os::unix::net::UnixListener::bind(&path).expect("a free path")),
            _ => drop(std::os::unix::net::UnixDatagram::bind(&path).expect("a free path")),
        }

        let live = Listener::bind(&address).await.expect("a stale path is replaced");

        let error = Listener::bind(&address).await.expect_err("a live one is not");
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        drop(live);
        assert!(!path.exists(), "{base}: the file goes with its socket");
        std::fs::write(&path, "precious").expect("a file");
        let error = Listener::bind(&address).await.expect_err("a file is not replaced");
        assert!(error.to_string().contains("no socket"), "{error}");
    }
}

#[tokio::test]
async fn abstract_names_need_no_file() {
    let name = format!("@sockeye-test-{}", std::process::id());
    let mut listener = Listener::bind(format!("unix:{name}")).await.expect("a free name");

    let mut client = Socket::connect(format!("unix:{name}")).await.expect("it listens");
    client.send("hello").await.expect("sent");

    let (mut server, _) = soon(listener.accept()).await.expect("a client");
    assert_eq!(receive_bytes(&mut server, 5).await.expect("received"), b"hello");
}

#[tokio::test]
async fn a_datagram_session_answers_from_the_address_that_was_asked() {
    for (any, asked) in [("0.0.0.0:0", &["127.0.0.1", "127.0.0.2"][..]), ("[::]:0", &["::1"])] {
        let Ok(mut listener) = Listener::bind(format!("udp:{any}")).await else { continue };
        let port = listener.locals()[0].ip().expect("it is UDP").port();
        // One and the same socket asks: what it asks keeps the sessions apart.
        let asker = tokio::net::UdpSocket::bind(any).await.expect("a port");
        for address in asked {
            let ours = SocketAddr::new(address.parse().expect("an address"), port);
            asker.send_to(address.as_bytes(), ours).await.expect("sent");

            let (mut session, _) = soon(listener.accept()).await.expect("a peer");
            let heard = soon(session.recv()).await.expect("received").expect("a datagram");
            session.send("back").await.expect("sent");

            assert_eq!(heard.bytes, address.as_bytes());
            assert_eq!(session.local().ip(), Some(ours));
            let mut buffer = [0; 16];
            assert_eq!(soon(asker.recv_from(&mut buffer)).await.expect("received"), (4, ours));
        }
    }
}

#[tokio::test]
async fn datagram_peers_are_sessions_of_their_own() {
    let mut listener = Listener::bind("udp:127.0.0.1:0").await.expect("a free port");
    let at = listener.address().to_string();
    let mut clients = Vec::new();
    for name in ["ana", "bo"] {
        let mut client = Socket::connect(&at).await.expect("it is bound");
        client.send(name).await.expect("sent");
        clients.push(client);
    }

    for client in &mut clients {
        let (mut session, peer) = soon(listener.accept()).await.expect("a peer");
        assert_eq!(peer, client.local());
        let name = soon(session.recv()).await.expect("received").expect("a datagram");
        session.send(name.clone()).await.expect("sent");
        assert_eq!(soon(client.recv()).await.expect("received"), Some(name));
        // An empty datagram is one, too.
        client.send("").await.expect("sent");
        assert_eq!(
            soon(session.recv()).await.expect("received").map(|message| message.bytes),
            Some(Vec::new())
        );
    }
}

#[tokio::test]
async fn a_datagram_that_nobody_waits_for_is_refused_by_the_next_call() {
    let gone = Socket::bind("udp:127.0.0.1:0").await.expect("a free port");
    let mut client = Socket::connect(format!("udp:{}", gone.local())).await.expect("it is bound");
    drop(gone);

    client.send("anybody?").await.expect("sent");
    let error = soon(client.recv()).await.expect_err("nobody is there");

    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_host_with_two_families_is_reached_by_datagrams_on_the_one_that_hears() {
    for ip in ["127.0.0.1", "[::1]"] {
        let Ok(mut service) = Socket::bind(format!("udp:{ip}:0")).await else { continue };
        let port = service.local().ip().expect("it is UDP").port();
        let mut client = Socket::connect(format!("udp:localhost:{port}")).await.expect("there is a way");

        // A refusal may be told by the second send, or by waiting for the answer.
        client.send("one").await.expect("sent");
        client.send("two").await.expect("sent");
        let answered = async {
            for _ in 0..2 {
                let (bytes, peer) = service.recv_from().await.expect("received");
                service.send_to(bytes, &peer).await.expect("sent");
            }
        };
        let heard = async { [client.recv().await, client.recv().await] };

        let (heard, ()) = soon(async { tokio::join!(heard, answered) }).await;
        let heard = heard.map(|heard| heard.expect("received").expect("a datagram").bytes);
        assert_eq!(heard, [b"one", b"two"], "{ip}");
        assert_eq!(*client.peer(), service.local());
    }
}

#[tokio::test]
async fn who_waits_already_hears_from_the_address_that_is_tried_next() {
    let mut service = Socket::bind("udp:127.0.0.1:0").await.expect("a free port");
    let port = service.local().ip().expect("it is UDP").port();
    let client = Socket::connect(format!("udp:localhost:{port}")).await.expect("there is a way");
    let (mut receive, mut send) = client.split();
    let heard = tokio::spawn(async move { [receive.recv().await, receive.recv().await] });
    tokio::task::yield_now().await;

    // Without a pause, so that the second send is told that nobody hears the first.
    send.send("one").await.expect("sent");
    send.send("two").await.expect("sent");
    for _ in 0..2 {
        let (bytes, peer) = soon(service.recv_from()).await.expect("received");
        service.send_to(bytes, &peer).await.expect("sent");
    }

    let heard = soon(heard).await.expect("it ends");
    assert!(heard.iter().all(|heard| matches!(heard, Ok(Some(_)))), "{heard:?}");
}

#[tokio::test]
async fn a_host_that_no_address_answers_for_is_told_as_refused() {
    let gone = Socket::bind("udp:127.0.0.1:0").await.expect("a free port");
    let port = gone.local().ip().expect("it is UDP").port();
    let mut client = Socket::connect(format!("udp:localhost:{port}")).await.expect("there is a way");
    drop(gone);

    client.send("anybody?").await.expect("sent");
    let error = soon(client.recv()).await.expect_err("nobody is there");

    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_group_is_heard_by_all_who_joined() {
    let group = "239.255.77.77";
    let mut hears = Vec::new();
    let first = Socket::bind(format!("udp:{group}:0?join=127.0.0.1")).await.expect("loopback has groups");
    let port = first.local().ip().expect("it is bound").port();
    hears.push(first);
    hears.push(Socket::bind(format!("udp:{group}:{port}?join=127.0.0.1")).await.expect("a group is shared"));
    let mut speaker =
        Socket::connect(format!("udp:{group}:{port}?join=127.0.0.1&ttl=0")).await.expect("a group");

    speaker.send("to all").await.expect("sent");

    for ear in &mut hears {
        let (bytes, _) = soon(ear.recv_from()).await.expect("received");
        assert_eq!(bytes, b"to all");
    }
}

#[tokio::test]
async fn certificates_are_checked_unless_insecure_is_said() {
    let world = World::new();
    let folder = world.folder().display().to_string();
    let own = format!("cert={folder}/cert.pem&key={folder}/key.pem");
    let mut listener =
        Listener::bind(format!("tls:127.0.0.1:0?{own}&alpn=b,a")).await.expect("a certificate");
    let port = listener.address().host_port().expect("it has one").port;
    let accept = tokio::spawn(async move { while listener.accept().await.is_ok() {} });

    for (options, outcome) in [
        ("family=4".to_owned(), Err("ca=FILE")),
        (format!("ca={folder}/cert.pem&server-name=other.example"), Err("server-name=NAME")),
        (format!("ca={folder}/cert.pem&alpn=a"), Ok(Some(&b"a"[..]))),
        ("insecure".into(), Ok(None)),
    ] {
        let connected = soon(Socket::connect(format!("tls:localhost:{port}?{options}"))).await;
        match (connected, outcome) {
            (Ok(socket), Ok(protocol)) => {
                assert_eq!(socket.tls().expect("it is TLS").alpn_protocol(), protocol, "{options}");
            }
            (Err(error), Err(said)) => {
                assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
                assert!(error.to_string().contains(said), "{error}");
            }
            (other, _) => panic!("{options}: {other:?}"),
        }
    }
    accept.abort();
}

#[tokio::test]
async fn a_listener_may_demand_a_certificate() {
    let world = World::new();
    let folder = world.folder().display().to_string();
    let own = format!("cert={folder}/cert.pem&key={folder}/key.pem&ca={folder}/cert.pem");
    let mut listener = Listener::bind(format!("tls:127.0.0.1:0?{own}")).await.expect("a certificate");
    let port = listener.address().host_port().expect("it has one").port;
    let accept = tokio::spawn(async move { listener.accept().await.map(|_| ()) });

    // In TLS 1.3 a client learns of a refusal when it reads.
    let mut without =
        soon(Socket::connect(format!("tls:localhost:{port}?ca={folder}/cert.pem"))).await.expect("so far");
    assert!(soon(without.recv()).await.is_err());

    assert!(soon(Socket::connect(format!("tls:localhost:{port}?{own}"))).await.is_ok());
    assert!(soon(accept).await.expect("a task").is_ok());
}

#[tokio::test]
async fn a_child_hears_its_input_and_its_end_is_told() {
    let mut child = Socket::connect("exec:sh -c 'cat; exit 3'").await.expect("it starts");
    child.send("meow").await.expect("sent");
    child.finish().await.expect("half closed");

    assert_eq!(receive_bytes(&mut child, 100).await.expect("received"), b"meow");
    assert_eq!(child.wait().await.expect("it ends").and_then(|status| status.code()), Some(3));
}

#[tokio::test]
async fn files_are_read_written_and_added_to() {
    let world = World::new();
    let path = world.path("file").display().to_string();
    for (option, text) in [("write", "one\n"), ("append", "two\n")] {
        let mut file = Socket::connect(format!("file:{path}?{option}")).await.expect("it opens");
        file.send(text).await.expect("written");
        file.close().await.expect("closed");
    }

    let mut file = Socket::connect(format!("lines+file:{path}")).await.expect("it opens");

    assert_eq!(file.recv().await.expect("read"), Some(Message::binary(b"one")));
    assert_eq!(file.recv().await.expect("read"), Some(Message::binary(b"two")));
    assert_eq!(file.recv().await.expect("read"), None);
    let error = file.send("x").await.expect_err("it is open for reading");
    assert!(error.to_string().contains("write=true"), "{error}");
}

#[tokio::test]
async fn descriptors_are_what_they_are() {
    use std::os::fd::AsRawFd as _;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut socket = Socket::connect(format!("fd:{}", theirs.as_raw_fd())).await.expect("a socket");
    socket.send("through").await.expect("sent");
    let mut bytes = [0; 7];
    std::io::Read::read_exact(&mut &ours, &mut bytes).expect("received");
    assert_eq!(&bytes, b"through");

    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, b"drops").expect("written");
    drop(writer);
    let mut pipe = Socket::connect(format!("fd:{}", reader.as_raw_fd())).await.expect("a pipe");
    assert_eq!(receive_bytes(&mut pipe, 100).await.expect("received"), b"drops");

    let error = Socket::connect("fd:1000000").await.expect_err("not open");
    assert!(error.to_string().contains("descriptor"), "{error}");
}

#[tokio::test]
async fn pings_are_answered_unseen_and_seen_when_asked_for() {
    let world = World::new();
    let (mut client, mut server) = world.pair("ws://127.0.0.1:0/", "ws://127.0.0.1:PORT/").await;
    client.show_control(true);
    client.send(Message::ping(b"there?")).await.expect("sent");
    client.send("text").await.expect("sent");

    assert_eq!(server.recv().await.expect("received"), Some(Message::text("text")));
    let pong = soon(client.recv()).await.expect("received").expect("a pong");

    assert_eq!((pong.kind, pong.bytes), (MessageKind::Pong, b"there?".to_vec()));
    let error = client.send(Message::ping(vec![0; 126])).await.expect_err("too long");
    assert!(error.to_string().contains("125"), "{error}");
}

#[tokio::test]
async fn json_lines_carry_every_kind_and_the_close_and_name_what_is_wrong() {
    let world = World::new();
    let (mut client, mut server) = world.pair("jsonl+tcp:127.0.0.1:0", "jsonl+tcp:127.0.0.1:PORT").await;
    let said = [
        Message::text("two\nlines and a \u{0}"),
        Message::binary(b"\xff\n\x00"),
        Message::ping(b"there?"),
        Message::text(""),
    ];
    for message in &said {
        client.send(message.clone()).await.expect("sent");
    }
    assert!(client.send(Message { kind: MessageKind::Text, bytes: vec![0xff] }).await.is_err());

    // As with a WebSocket, pings are seen by who asks for them.
    assert_eq!(server.recv().await.expect("received").as_ref(), Some(&said[0]));
    assert_eq!(server.recv().await.expect("received").as_ref(), Some(&said[1]));
    assert_eq!(server.recv().await.expect("received").as_ref(), Some(&said[3]));
    server.show_control(true);
    client.send(Message::ping(b"again")).await.expect("sent");
    assert_eq!(server.recv().await.expect("received"), Some(Message::ping(b"again")));
    client.finish().await.expect("closed");
    let error = client.send("late").await.expect_err("it was closed");
    assert_eq!(error.kind(), ErrorKind::EndedEarly, "{error}");
    assert!(server.recv().await.expect("an end").is_none());

    for (line, said) in [
        ("{\"kind\":\"text\",\"data\":\"0123456789a\"}", "message-max=SIZE"),
        ("{\"kind\":\"text\",\"data\":\"cut", "not a message"),
        ("hello", "write {"),
        (&"x".repeat(400), "message-max=SIZE"),
    ] {
        let path = world.path("lines");
        std::fs::write(&path, format!("{{\"kind\":\"binary\",\"b64\":\"YQ==\"}}\n{line}")).expect("a file");
        let at = format!("jsonl+file:{}?message-max=10", path.display());
        let mut file = Socket::connect(&at).await.expect("it opens");

        assert_eq!(file.recv().await.expect("before the mistake"), Some(Message::binary(b"a")));
        let error = file.recv().await.expect_err(said);
        assert!(error.kind() == ErrorKind::EndedEarly && error.to_string().contains(said), "{error}");
        assert!(file.recv().await.expect("it is over").is_none());
    }
}

#[tokio::test]
async fn subprotocols_and_paths_are_agreed_on() {
    let world = World::new();
    let (client, server) = world
        .pair("ws://127.0.0.1:0/live#subprotocol=b,c", "ws://127.0.0.1:PORT/live?x=1#subprotocol=a,b")
        .await;
    assert_eq!((client.subprotocol(), server.subprotocol()), (Some("b"), Some("b")));

    let mut listener = Listener::bind("ws://127.0.0.1:0/live").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    let accept = tokio::spawn(async move { listener.accept().await.map(|_| ()) });
    let error = soon(Socket::connect(format!("ws://{at}/other"))).await.expect_err("another path");
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("404"), "{error}");
    accept.abort();
}

#[tokio::test]
async fn options_are_set_where_they_apply_and_refused_where_they_do_not() {
    let world = World::new();
    let (tcp, _other) = world
        .pair("tcp:127.0.0.1:0", "tcp:127.0.0.1:PORT?keep-alive=30s&send-buffer=64KiB&tos=16&ttl=9")
        .await;
    tcp.set_no_delay(false).expect("tcp has it");
    tcp.set_keep_alive(Some(Duration::from_secs(60))).expect("tcp has it");
    tcp.set_ttl(5).expect("a network has it");
    tcp.set_tos(0x10).expect("a network has it");
    tcp.set_receive_buffer(1 << 16).expect("a socket has it");
    for refused in [tcp.set_broadcast(true), tcp.join("239.0.0.1".parse().expect("an address"), "lo")] {
        let error = refused.expect_err("tcp has no groups");
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("UDP"), "{error}");
    }

    let child = Socket::connect("exec:cat").await.expect("it starts");
    assert!(child.set_send_buffer(1).is_err());
    let udp = Socket::bind("udp:127.0.0.1:0").await.expect("a free port");
    udp.set_broadcast(true).expect("udp has it");
    udp.set_multicast_loop(false).expect("udp has it");
    assert!(udp.set_no_delay(true).is_err());
    assert!(udp.set_device(Some("no-such-interface")).is_err());
}

#[tokio::test]
async fn what_a_kind_cannot_do_is_an_error_that_names_it() {
    let world = World::new();
    let (mut tcp, _other) = world.pair("tcp:127.0.0.1:0", "tcp:127.0.0.1:PORT").await;

    assert!(
        tcp.send_to("x", &Peer::Unnamed).await.expect_err("tcp").to_string().contains("tcp sockets cannot")
    );
    assert!(tcp.recv_from().await.is_err());
    assert!(tcp.send(Message::ping(b"")).await.is_err());
    assert!(Socket::bind("tcp:127.0.0.1:0").await.is_err());
    assert!(Listener::bind("exec:cat").await.is_err());
    assert!(
        Listener::bind("tls:127.0.0.1:0")
            .await
            .expect_err("no certificate")
            .to_string()
            .contains("cert=FILE")
    );
    assert!(Socket::new(Kind::Stream(StreamKind::Tls)).is_err());
    let draft = Socket::new(Kind::Stream(StreamKind::Tcp)).expect("a draft");
    assert!(draft.clone().bind("udp::0").is_err());
    assert!(draft.listen().await.is_err());
}

#[tokio::test]
async fn a_channel_is_a_websocket_at_its_path() {
    let mut listener = Listener::bind("ws://127.0.0.1:0/ch/chat/42").await.expect("a free port");
    let at = listener.address().host_port().expect("it has one").to_string();
    let channel: Address = format!("ch:{at}/chat/42?last=5").parse().expect("an address");

    let client = tokio::spawn(async move { Socket::connect(&channel).await });
    let (mut server, _) = soon(listener.accept()).await.expect("a client");
    server.send("news").await.expect("sent");

    let mut client = soon(client).await.expect("a task").expect("connected");
    assert_eq!(client.recv().await.expect("received"), Some(Message::text("news")));
}
