//! TLS for the generator: a certificate that the harness makes, connections that trust it, and links over them.
//!
//! Absent on purpose: resumption, so that every handshake is a whole one.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use rustix::event::epoll::Event;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::closed_loop::STALL_TIMEOUT;
use super::counter::Counter;
use super::framing::Framing;
use super::socket::UPGRADE_ACCEPTED;
use crate::poller::{self, Poller};

/// A certificate for localhost, its key, and who trusts it.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    client: Arc<ClientConfig>,
}

/// The one certificate of this process, made when it is first asked for.
pub(crate) fn certificate() -> anyhow::Result<&'static Certificate> {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    if let Some(made) = CERTIFICATE.get() {
        return Ok(made);
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let file = |end: &str| std::env::temp_dir().join(format!("sockeye-bench-{}.{end}", std::process::id()));
    let (certificate, key) = (file("pem"), file("key"));
    std::fs::write(&certificate, pem("CERTIFICATE", made.cert.der()))?;
    std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der()))?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    Ok(CERTIFICATE.get_or_init(|| Certificate { certificate, key, client: Arc::new(client) }))
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

/// A connection during set-up: handshakes and the first exchange.
pub(crate) struct SecureSocket(StreamOwned<ClientConnection, TcpStream>);

impl SecureSocket {
    /// Connects and shakes hands.
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(address).context("connect")?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(STALL_TIMEOUT))?;
        let client = Arc::clone(&certificate()?.client);
        let connection = ClientConnection::new(client, "localhost".try_into()?)?;
        Ok(SecureSocket(StreamOwned::new(connection, tcp)))
    }

    /// Sends, and waits for an answer of exactly so many bytes.
    pub(crate) fn ask(&mut self, question: &[u8], answer_bytes: usize) -> anyhow::Result<Vec<u8>> {
        self.0.write_all(question)?;
        self.0.flush()?;
        let mut answer = vec![0; answer_bytes];
        self.0.read_exact(&mut answer).context("an answer over TLS")?;
        Ok(answer)
    }

    /// Asks for a WebSocket at `path`.
    pub(crate) fn upgrade(&mut self, path: &str) -> anyhow::Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.0.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).context("upgrade")?;
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8_lossy(&head);
        ensure!(head.contains(UPGRADE_ACCEPTED), "the upgrade of {path} was refused: {head}");
        Ok(())
    }
}

/// One link: what it sends comes back.
struct Link {
    connection: ClientConnection,
    tcp: TcpStream,
    counter: Counter,
    heard: usize,
}

/// Many links over TLS, each with one write in flight.
pub(crate) struct SecureLoop {
    poller: Poller,
    events: Vec<Event>,
    links: Vec<Link>,
    request: Vec<u8>,
    messages_per_write: usize,
    buffer: Vec<u8>,
}

impl SecureLoop {
    /// Takes over connections on which nothing is in flight.
    pub(crate) fn new(
        sockets: Vec<SecureSocket>,
        request: Vec<u8>,
        messages_per_write: usize,
    ) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        let mut links = Vec::new();
        for (index, SecureSocket(stream)) in sockets.into_iter().enumerate() {
            let (connection, tcp) = stream.into_parts();
            tcp.set_nonblocking(true)?;
            poller.add(&tcp, index)?;
            links.push(Link { connection, tcp, counter: Counter::new(Framing::WebSocket), heard: 0 });
        }
        Ok(Self {
            poller,
            events: Poller::room(),
            links,
            request,
            messages_per_write,
            buffer: vec![0; 256 << 10],
        })
    }

    /// Goes on for `duration`, then waits until nothing is in flight. Returns the messages heard.
    pub(crate) fn run(&mut self, duration: Duration) -> anyhow::Result<u64> {
        let deadline = Instant::now() + duration;
        let mut active = self.links.len();
        let mut messages = 0;
        for link in &mut self.links {
            link.send(&self.request)?;
        }
        while active > 0 {
            let is_over = Instant::now() >= deadline;
            self.poller.wait(&mut self.events, Some(STALL_TIMEOUT))?;
            if self.events.is_empty() {
                bail!("nothing was heard for {STALL_TIMEOUT:?}, {active} links are waiting");
            }
            for event in &self.events {
                let link = &mut self.links[poller::token(event)];
                link.flush()?;
                if !poller::is_readable(event) {
                    continue;
                }
                let heard = link.hear(&mut self.buffer)?;
                messages += heard as u64;
                link.heard += heard;
                if link.heard < self.messages_per_write || heard == 0 {
                    continue;
                }
                ensure!(link.heard == self.messages_per_write, "a link heard more than it asked for");
                link.heard = 0;
                if is_over {
                    active -= 1;
                } else {
                    link.send(&self.request)?;
                }
            }
        }
        Ok(messages)
    }
}

impl Link {
    fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.connection.writer().write_all(request)?;
        self.flush()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn hear(&mut self, buffer: &mut [u8]) -> anyhow::Result<usize> {
        let mut messages = 0;
        loop {
            match self.connection.read_tls(&mut self.tcp) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(_) => {
                    self.connection.process_new_packets()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(messages),
                Err(error) => return Err(error.into()),
            }
            loop {
                match self.connection.reader().read(buffer) {
                    Ok(0) => bail!("the server ended a connection"),
                    Ok(length) => messages += self.counter.count(&buffer[..length])?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}
