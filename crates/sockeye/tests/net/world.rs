//! What the tests stand on: addresses of every kind, pairs of connected sockets, certificates.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sockeye::net::{Listener, Message, Result, Socket};

/// A folder with sockets and certificates, and the runtime that a test runs on.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let world = World { folder: tempfile::tempdir().expect("a folder") };
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("a certificate");
        std::fs::write(world.path("cert.pem"), pem("CERTIFICATE", made.cert.der())).expect("a file");
        std::fs::write(world.path("key.pem"), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
            .expect("a file");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every kind that can be listened on: what to listen on, and what to connect to with `PORT` in it.
    pub(crate) fn kinds(&self) -> Vec<(String, String)> {
        let folder = self.folder().display();
        let own = format!("cert={folder}/cert.pem&key={folder}/key.pem");
        let trust = format!("ca={folder}/cert.pem");
        vec![
            ("tcp:127.0.0.1:0".into(), "tcp:127.0.0.1:PORT".into()),
            (format!("tls:127.0.0.1:0?{own}"), format!("tls:localhost:PORT?{trust}&family=4")),
            (format!("unix:{folder}/stream"), format!("unix:{folder}/stream")),
            ("udp:127.0.0.1:0".into(), "udp:127.0.0.1:PORT".into()),
            (format!("unixgram:{folder}/datagram"), format!("unixgram:{folder}/datagram")),
            ("ws://127.0.0.1:0/live".into(), "ws://127.0.0.1:PORT/live".into()),
            ("ws://127.0.0.1:0/#deflate".into(), "ws://127.0.0.1:PORT/#deflate".into()),
            (format!("wss://127.0.0.1:0/#{own}"), format!("wss://localhost:PORT/#{trust}&family=4")),
            (
                format!("ws+unix:{folder}/websocket?path=/live"),
                format!("ws+unix:{folder}/websocket?path=/live"),
            ),
            (format!("ws+tls+unix:{folder}/both?{own}"), format!("ws+tls+unix:{folder}/both?{trust}")),
            ("lines+tcp:127.0.0.1:0".into(), "lines+tcp:127.0.0.1:PORT".into()),
            (format!("len+unix:{folder}/length"), format!("len+unix:{folder}/length")),
            ("jsonl+tcp:127.0.0.1:0".into(), "jsonl+tcp:127.0.0.1:PORT".into()),
            (format!("jsonl+tls:127.0.0.1:0?{own}"), format!("jsonl+tls:localhost:PORT?{trust}&family=4")),
            (format!("jsonl+unix:{folder}/objects"), format!("jsonl+unix:{folder}/objects")),
        ]
    }

    /// A connected pair, which outlives its listener: the client's end and the server's.
    pub(crate) async fn pair(&self, listen: &str, connect: &str) -> (Socket, Socket) {
        let mut listener = Listener::bind(listen).await.unwrap_or_else(|error| panic!("{listen}: {error}"));
        let port = listener.address().host_port().map_or(0, |at| at.port);
        let connect = connect.replace("PORT", &port.to_string());
        let client = tokio::spawn(async move {
            let mut client = Socket::connect(&connect).await?;
            if !client.traits().end {
                // Where there are no connections, the first datagram makes one.
                client.send("hello").await?;
            }
            Ok::<Socket, sockeye::net::Error>(client)
        });
        let (mut server, _) = soon(listener.accept()).await.expect("a client comes");
        let client = soon(client).await.expect("a task").unwrap_or_else(|error| panic!("{error}"));
        if !server.traits().end {
            let first = soon(server.recv()).await.expect("the first datagram").expect("a datagram");
            assert_eq!(first.bytes, b"hello");
        }
        (client, server)
    }
}

/// What takes longer than this has failed.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes no longer than 20 s")
}

/// Receives until so many bytes are there, or the end.
pub(crate) async fn receive_bytes(socket: &mut Socket, count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        match socket.recv().await? {
            Some(Message { bytes: more, .. }) => bytes.extend(more),
            None => break,
        }
    }
    Ok(bytes)
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<String> =
        encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
