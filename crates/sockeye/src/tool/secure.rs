//! TLS under a conversation: the client's side, blocking, one thread that reads and one that writes.
//!
//! Deliberately absent: a way to trust a certificate for ever. It is the system's, or a file's, or nobody's.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::ToolError;
use crate::address::Address;
use crate::net::{INSECURE, client_config};

/// The options that are obeyed here.
pub(super) const OPTIONS: [&str; 5] = ["ca", "cert", "key", "server-name", "insecure"];

/// An encrypted connection.
pub(super) struct Secure {
    tcp: TcpStream,
    connection: Mutex<ClientConnection>,
    /// What was received and not decrypted yet.
    received: Mutex<Received>,
    /// Held while ciphertext is written, so that it goes out in the order in which it was made.
    writing: Mutex<()>,
}

struct Received {
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

impl Secure {
    /// The socket under it.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Shakes hands over `tcp`, which has a time limit for reading, with a server that is called `host`.
    pub(super) fn shake_hands(
        address: &Address,
        host: &str,
        tcp: TcpStream,
    ) -> Result<Arc<Secure>, ToolError> {
        let failed = |why: String| ToolError::Tls { address: address.clone(), why };
        let name = address.options.server_name.clone().unwrap_or_else(|| host.to_owned());
        let name = ServerName::try_from(name.clone())
            .map_err(|_| failed(format!("{name:?} is no name that a certificate could have")))?;
        if address.options.insecure == Some(true) {
            super::tell(INSECURE);
        }
        let config = client_config(address)?;
        let mut connection =
            ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))?;
        // Nothing is written before it is sent, so this is never more than one message.
        connection.set_buffer_limit(None);
        while connection.is_handshaking() {
            connection.complete_io(&mut &tcp).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ToolError::TimedOut {
                    address: address.clone(),
                    step: "the TLS handshake",
                    seconds: super::link::CONNECT_TIMEOUT.as_secs(),
                },
                io::ErrorKind::UnexpectedEof => failed(
                    "the server ended the handshake: perhaps it does not speak TLS on this port".into(),
                ),
                _ => failed(explain(&error)),
            })?;
        }
        let received = Received { buffer: vec![0; 16 << 10].into_boxed_slice(), at: 0, end: 0 };
        Ok(Arc::new(Secure {
            tcp,
            connection: Mutex::new(connection),
            received: Mutex::new(received),
            writing: Mutex::new(()),
        }))
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_read_timeout(timeout)
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_write_timeout(timeout)
    }

    /// Reads plain text. `Ok(0)` is an end that the server announced.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = lock(&self.received);
        loop {
            {
                let mut connection = lock(&self.connection);
                match connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(io::Error::new(error.kind(), "it was cut: TLS did not announce an end"));
                    }
                    result => return result,
                }
                if received.at < received.end {
                    let (at, end) = (received.at, received.end);
                    received.at += connection.read_tls(&mut &received.buffer[at..end])?;
                    connection.process_new_packets().map_err(io::Error::other)?;
                    continue;
                }
            }
            // The peer may ask for an answer below the protocol, such as new keys.
            self.flush()?;
            (received.at, received.end) = (0, 0);
            // The system does not begin a read again that has a time limit and was interrupted.
            received.end = loop {
                match (&self.tcp).read(&mut received.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            if received.end == 0 {
                lock(&self.connection).read_tls(&mut io::empty())?;
            }
        }
    }

    /// Encrypts and sends all of it.
    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = lock(&self.writing);
        let ciphertext = {
            let mut connection = lock(&self.connection);
            connection.writer().write_all(bytes)?;
            take_ciphertext(&mut connection)?
        };
        // The connection is free meanwhile: who reads must not wait for a peer that does not read.
        (&self.tcp).write_all(&ciphertext)
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&self) -> io::Result<()> {
        lock(&self.connection).send_close_notify();
        self.flush()
    }

    fn flush(&self) -> io::Result<()> {
        if !lock(&self.connection).wants_write() {
            return Ok(());
        }
        self.write_all(&[])
    }
}

fn take_ciphertext(connection: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut ciphertext = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut ciphertext)?;
    }
    Ok(ciphertext)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What went wrong, and what to do about it.
fn explain(error: &io::Error) -> String {
    use rustls::CertificateError as Bad;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer)) => {
            "nobody who is trusted here has signed the server's certificate: name who has with ca=FILE, or trust anybody \
             with insecure"
                .into()
        }
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS on this port".into(),
        Some(rustls::Error::AlertReceived(alert)) => format!("the server refused: {alert:?}"),
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}
