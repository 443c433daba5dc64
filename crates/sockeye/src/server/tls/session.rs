//! One TLS session: the library without buffers of its own, so that an idle connection keeps none.
//!
//! Deliberately absent: sockets. Ciphertext comes in slices and leaves as [`Ciphertext`].

use std::io;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{HandshakeKind, ServerConfig};

use crate::net::der;
use crate::server::ciphertext::Ciphertext;
use crate::server::kernel::Secured;

/// The library's part of a connection.
///
/// The library keeps no ciphertext, but it remembers where in it the fragments of a message of the handshake are. So
/// whatever is asked of it, also to encrypt, it is given what it has not done with: `partial`.
pub(super) struct Session {
    connection: UnbufferedServerConnection,
    /// Ciphertext that begins a record which is not whole, or a message of the handshake. Empty for most of the time.
    partial: Vec<u8>,
    /// It has told the peer of an error, and must not be asked anything any more.
    has_failed: bool,
}

/// What came of some ciphertext.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// How much plain text it gave.
    pub(super) plain: usize,
    /// The peer said that nothing more will come.
    pub(super) ended: bool,
    /// What follows is not understood; the alert that says so is in the outgoing buffer.
    pub(super) error: Option<rustls::Error>,
}

/// What a record adds to its content at most: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;
/// The most that one record holds (RFC 8446, 5.1).
pub(super) const RECORD_CONTENT_BYTES_MAX: usize = 16 << 10;

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Session {
            connection: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            has_failed: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What has to stand before the next ciphertext.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes ciphertext in, which begins with `partial`, and decrypts it into `plain`, which is at least as long.
    pub(super) fn receive(&mut self, input: &mut [u8], plain: &mut [u8], outgoing: &mut Ciphertext) -> Step {
        let mut step = Step::default();
        let mut taken = 0;
        loop {
            let status = self.connection.process_tls_records(&mut input[taken..]);
            let mut discard = status.discard;
            let goes_on = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                let end = step.plain + record.payload.len();
                                plain[step.plain..end].copy_from_slice(record.payload);
                                step.plain = end;
                                discard += record.discard;
                            }
                            Err(error) => step.error = Some(error),
                        }
                    }
                    step.error.is_none()
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, outgoing);
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    step.ended = true;
                    true
                }
                // Early data is never offered, so it never comes.
                Ok(_) => false,
                Err(error) => {
                    step.error = Some(error);
                    false
                }
            };
            taken += discard;
            if !goes_on {
                break;
            }
        }
        if step.error.is_some() {
            self.has_failed = true;
            // What the library wants to tell the peer, and not a step further.
            while self.connection.wants_write()
                && let UnbufferedStatus { discard, state: Ok(ConnectionState::EncodeTlsData(data)), .. } =
                    self.connection.process_tls_records(&mut input[taken..])
            {
                encode(data, outgoing);
                taken += discard;
            }
        }
        if taken < input.len() || !self.partial.is_empty() {
            // As short as possible: it may have to wait.
            self.partial = input[taken..].to_vec();
        }
        step
    }

    /// What the library can do without further ciphertext.
    fn state(&mut self) -> Result<ConnectionState<'_, '_, ServerConnectionData>, rustls::Error> {
        if self.has_failed {
            return Err(rustls::Error::General("the connection has failed before".into()));
        }
        // Nothing is done with that was not done with when it was received.
        self.connection.process_tls_records(&mut self.partial).state
    }

    /// Encrypts.
    ///
    /// # Errors
    /// `WouldBlock` before the handshake is done; otherwise when nothing can be encrypted any more.
    pub(super) fn encrypt(&mut self, plain: &[u8], outgoing: &mut Ciphertext) -> io::Result<()> {
        let records = plain.len() / RECORD_CONTENT_BYTES_MAX + 1;
        let mut needed = plain.len() + records * RECORD_OVERHEAD_BYTES;
        loop {
            match self.state() {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match traffic.encrypt(plain, outgoing.room(needed)) {
                        Ok(length) => {
                            outgoing.grow(length);
                            return Ok(());
                        }
                        // A change of keys goes before it.
                        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                            if required_size > needed =>
                        {
                            needed = required_size;
                        }
                        Err(error) => return Err(io::Error::other(error)),
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::BlockedHandshake) => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }

    /// Says that nothing more will come (RFC 8446, 6.1), if it can be said.
    pub(super) fn end(&mut self, outgoing: &mut Ciphertext) {
        loop {
            match self.state() {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if let Ok(length) = traffic.queue_close_notify(outgoing.room(64)) {
                        outgoing.grow(length);
                    }
                    return;
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                _ => return,
            }
        }
    }

    /// What was agreed on, once it is.
    pub(super) fn secured(&self) -> Secured {
        let suite = self.connection.negotiated_cipher_suite();
        let client = self.connection.peer_certificates().and_then(|chain| {
            let certificate = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
            Some(der::name_text(certificate.subject()))
        });
        Secured {
            version: match self.connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
                _ => "?",
            },
            suite: suite.and_then(|suite| suite.suite().as_str()).unwrap_or("?"),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client,
        }
    }
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Ciphertext) {
    let mut needed = 4 << 10;
    loop {
        match data.encode(outgoing.room(needed)) {
            Ok(length) => {
                outgoing.grow(length);
                return;
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > needed =>
            {
                needed = required_size;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// A server's and a client's configuration; the client's messages come in fragments of 32 bytes.
    fn pair() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let provider = Arc::new(default_provider());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.max_fragment_size = Some(32);
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a good certificate");
        (Arc::new(server), Arc::new(client))
    }

    /// Gives a session ciphertext in pieces, and asks it to encrypt and to end after each, as a loop may at any time.
    struct World {
        session: Session,
        plain: Vec<u8>,
        said: Vec<u8>,
        failed: bool,
    }

    impl World {
        fn receive(&mut self, ciphertext: &[u8], piece_bytes: usize) {
            let mut outgoing = Ciphertext::default();
            for piece in ciphertext.chunks(piece_bytes) {
                let mut input = [self.session.partial(), piece].concat();
                let mut plain = vec![0; input.len()];
                let step = self.session.receive(&mut input, &mut plain, &mut outgoing);
                self.plain.extend_from_slice(&plain[..step.plain]);
                if self.session.is_handshaking() || step.error.is_some() {
                    // It must refuse, and must not fall over what it holds.
                    let _ = self.session.encrypt(b"too early or too late", &mut outgoing);
                }
                if step.error.is_some() {
                    self.session.end(&mut outgoing);
                    self.failed = true;
                    break;
                }
            }
            self.said.extend_from_slice(outgoing.bytes());
        }
    }

    #[test]
    fn however_a_stream_is_cut_the_plain_text_is_the_same() {
        let (server, client) = pair();
        for piece_bytes in [1, 2, 5, 37, 100, 100_000] {
            let (world, said) = converse(&server, &client, piece_bytes, |_, _| {});

            assert!(!world.failed);
            assert_eq!(said, [7; 500], "pieces of {piece_bytes}");
            assert!(world.session.partial().is_empty());
        }
    }

    #[test]
    fn a_stream_with_any_byte_changed_ends_in_an_error_or_not_at_all() {
        let (server, client) = pair();
        let mut failures = 0;
        for case in 0..600_usize {
            // A small generator: the same cases each time.
            let dice = (case as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
            let damage = |flight: usize, bytes: &mut Vec<u8>| {
                if flight == case % 3 && !bytes.is_empty() {
                    let at =
                        if case % 2 == 0 { dice as usize % bytes.len() } else { case % 64 % bytes.len() };
                    bytes[at] ^= 1 << (dice % 8);
                }
            };
            let (world, _) = converse(&server, &client, 1 + case % 90, damage);
            failures += usize::from(world.failed);
        }
        assert!(failures > 300, "{failures}");
    }

    /// A handshake and 500 bytes from the client. Returns the server's side, and what it decrypted.
    fn converse(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        piece_bytes: usize,
        mut damage: impl FnMut(usize, &mut Vec<u8>),
    ) -> (World, Vec<u8>) {
        let session = Session::new(Arc::clone(server)).expect("a session");
        let mut world = World { session, plain: Vec::new(), said: Vec::new(), failed: false };
        let name = "localhost".try_into().expect("a name");
        let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
        for flight in 0..4 {
            if flight == 2 {
                let _ = io::Write::write_all(&mut client.writer(), &[7; 500]);
            }
            let mut flown = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flown).expect("a vector takes it");
            }
            damage(flight, &mut flown);
            world.receive(&flown, piece_bytes);
            let said = std::mem::take(&mut world.said);
            let mut said = &said[..];
            while !said.is_empty() && client.read_tls(&mut said).is_ok() {
                if client.process_new_packets().is_err() {
                    break;
                }
            }
        }
        let plain = std::mem::take(&mut world.plain);
        (world, plain)
    }
}
