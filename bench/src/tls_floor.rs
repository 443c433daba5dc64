//! The floor of TLS: a bare epoll loop around the library, with the buffers that the server has: one for what arrives
//! and one for what leaves, for all connections. It decrypts, counts bytes, and encrypts as many as the replies have.
//!
//! Absent on purpose: everything else. The first byte of plain text is answered with the same byte.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeTlsData};

use crate::generator::framing::Framing;
use crate::poller::{self, Poller};

const LISTENER: usize = usize::MAX;
/// As the server's.
const INCOMING_BYTES: usize = 128 << 10;

/// What the floor moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsFloor {
    /// The size of one message as it arrives, in plain text.
    pub(crate) received_bytes: usize,
    /// The size of one message as it leaves, in plain text.
    pub(crate) sent_bytes: usize,
}

impl TlsFloor {
    /// The words that make another process this floor.
    pub(crate) fn to_words(self) -> anyhow::Result<Vec<String>> {
        let files = crate::generator::secure::certificate()?;
        Ok(vec![
            "tls-floor".into(),
            self.received_bytes.to_string(),
            self.sent_bytes.to_string(),
            files.certificate.display().to_string(),
            files.key.display().to_string(),
        ])
    }
}

/// Runs until it is killed.
pub(crate) fn main(words: &[String]) -> anyhow::Result<()> {
    let [received, sent, certificate, key] = words else {
        bail!("tls-floor takes the bytes received, the bytes sent, a certificate and its key");
    };
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ticketer = Ticketer::new()?;
    let floor = TlsFloor {
        received_bytes: received.parse().context("bytes received")?,
        sent_bytes: sent.parse().context("bytes sent")?,
    };
    let listener = crate::process::listen_as_child()?;
    listener.set_nonblocking(true)?;
    Loop::new(floor, Arc::new(config), listener)?.run()
}

struct Connection {
    tcp: TcpStream,
    tls: UnbufferedServerConnection,
    /// Ciphertext of a record that has not wholly arrived.
    partial: Vec<u8>,
    /// Ciphertext that the kernel did not take.
    unsent: Vec<u8>,
    is_greeted: bool,
    received: usize,
}

struct Loop {
    floor: TlsFloor,
    config: Arc<ServerConfig>,
    poller: Poller,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    replies: Vec<u8>,
}

impl Loop {
    fn new(floor: TlsFloor, config: Arc<ServerConfig>, listener: TcpListener) -> anyhow::Result<Self> {
        let reply = Framing::WebSocket.filler(floor.sent_bytes)?;
        let replies = reply.repeat((64 * 1024 / reply.len()).clamp(1, 64));
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        Ok(Self {
            floor,
            config,
            poller,
            listener,
            connections: Vec::new(),
            incoming: vec![0; INCOMING_BYTES],
            outgoing: vec![0; 256 << 10],
            replies,
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut events = Poller::room();
        loop {
            self.poller.wait(&mut events, None)?;
            for event in &events {
                let index = poller::token(event);
                if index == LISTENER {
                    self.accept()?;
                    continue;
                }
                let Some(mut connection) = self.connections[index].take() else { continue };
                if !connection.unsent.is_empty() {
                    let unsent = std::mem::take(&mut connection.unsent);
                    connection.send(&unsent)?;
                }
                if !poller::is_readable(event) || self.serve(&mut connection)? {
                    self.connections[index] = Some(connection);
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((tcp, _)) => {
                    tcp.set_nonblocking(true)?;
                    tcp.set_nodelay(true)?;
                    self.poller.add(&tcp, self.connections.len())?;
                    let tls = UnbufferedServerConnection::new(Arc::clone(&self.config))?;
                    let (partial, unsent) = (Vec::new(), Vec::new());
                    let connection = Connection { tcp, tls, partial, unsent, is_greeted: false, received: 0 };
                    self.connections.push(Some(connection));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives until a short read; false at the end.
    fn serve(&mut self, connection: &mut Connection) -> anyhow::Result<bool> {
        loop {
            let held = connection.partial.len();
            let length = match recv(&connection.tcp, &mut self.incoming[held..], RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(false),
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            let is_last = held + length < self.incoming.len();
            self.incoming[..held].copy_from_slice(&connection.partial);
            if !self.handle(connection, held + length)? {
                return Ok(false);
            }
            if is_last {
                return Ok(true);
            }
        }
    }

    fn handle(&mut self, connection: &mut Connection, length: usize) -> anyhow::Result<bool> {
        let mut taken = 0;
        let mut out = 0;
        let mut goes_on = true;
        loop {
            let status = connection.tls.process_tls_records(&mut self.incoming[taken..length]);
            let mut discard = status.discard;
            match status.state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        connection.received += record.payload.len();
                        discard += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    out += encode(&mut data, &mut self.outgoing[out..])?
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    taken += discard;
                    let mut plain = &self.replies[..0];
                    if !connection.is_greeted && connection.received > 0 {
                        connection.is_greeted = true;
                        connection.received -= 1;
                        plain = b"h";
                    } else if connection.received >= self.floor.received_bytes {
                        let most = self.replies.len() / self.floor.sent_bytes;
                        let messages = (connection.received / self.floor.received_bytes).min(most);
                        connection.received -= messages * self.floor.received_bytes;
                        plain = &self.replies[..messages * self.floor.sent_bytes];
                    }
                    if plain.is_empty() {
                        break;
                    }
                    out += traffic
                        .encrypt(plain, &mut self.outgoing[out..])
                        .map_err(|error| anyhow::anyhow!("encrypt: {error}"))?;
                    continue;
                }
                ConnectionState::BlockedHandshake => {
                    taken += discard;
                    break;
                }
                _ => {
                    goes_on = false;
                    break;
                }
            }
            taken += discard;
        }
        if taken < length || !connection.partial.is_empty() {
            connection.partial = self.incoming[taken..length].to_vec();
        }
        if out > 0 {
            connection.send(&self.outgoing[..out])?;
        }
        Ok(goes_on)
    }
}

fn encode(
    data: &mut EncodeTlsData<'_, rustls::server::ServerConnectionData>,
    outgoing: &mut [u8],
) -> anyhow::Result<usize> {
    data.encode(outgoing).map_err(|error| anyhow::anyhow!("encode: {error}"))
}

impl Connection {
    fn send(&mut self, ciphertext: &[u8]) -> anyhow::Result<()> {
        let sent = match send(&self.tcp, ciphertext, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            // Its end is read next.
            Err(Errno::PIPE | Errno::CONNRESET) => ciphertext.len(),
            Err(error) => return Err(error.into()),
        };
        self.unsent.extend_from_slice(&ciphertext[sent..]);
        Ok(())
    }
}
