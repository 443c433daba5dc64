//! TLS under a conversation: the client's side, blocking, one thread that reads and one that writes.
//!
//! Deliberately absent: a way to trust a certificate for ever. It is the system's, or a file's, or nobody's.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::ToolError;
use crate::address::{Address, Source};
use crate::net::INSECURE;

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
        let config = config(address)?;
        let mut connection =
            ClientConnection::new(config, name).map_err(|error| failed(error.to_string()))?;
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
            received.at = 0;
            received.end = (&self.tcp).read(&mut received.buffer)?;
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

/// Whom to trust, and what to show.
fn config(address: &Address) -> Result<Arc<ClientConfig>, ToolError> {
    let failed = |why: String| ToolError::Tls { address: address.clone(), why };
    let options = &address.options;
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let builder = if options.insecure == Some(true) {
        // Where nobody can be told, the option itself has told.
        let _ = writeln!(io::stderr(), "{address}: {INSECURE}");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
    } else {
        let roots = roots(address)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_webpki_verifier(verifier.map_err(|error| failed(error.to_string()))?)
    };
    let config = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            let chain = read_chain(&certificate.0).map_err(failed)?;
            let text = key.0.read().map_err(|error| failed(format!("key={}: {error}", key.0)))?;
            let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|error| failed(format!("key={}: {error}", key.0)))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(address: &Address) -> Result<RootCertStore, ToolError> {
    let failed = |why: String| ToolError::Tls { address: address.clone(), why };
    let mut roots = RootCertStore::empty();
    match &address.options.ca {
        Some(file) => {
            for certificate in read_chain(&file.0).map_err(failed)? {
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Systems keep some that nobody can use; what matters is that there are others.
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(failed(
                    "this system trusts nobody: install its package ca-certificates, or name a file with ca=FILE".into(),
                ));
            }
        }
    }
    Ok(roots)
}

fn read_chain(source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = source.read().map_err(|error| format!("{source}: {error}"))?;
    let chain = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{source} has no certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{source}: {error}")),
    }
}

/// Trusts any certificate, as `insecure` asks. Signatures are verified all the same: who shows a certificate has its key.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
