//! TLS over any stream, both sides of it, on rustls.
//!
//! The system's certificates are trusted unless the address names its own. Deliberately absent: revocation lists, and
//! versions before 1.2.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::resolve::step;
use super::transport::{Beneath, Transport};
use super::{Error, ErrorKind, Result};
use crate::address::{Address, File};

/// What whoever asks for `insecure` is told.
pub(crate) const INSECURE: &str =
    "any certificate is trusted: whoever is in between can read and change everything";

/// What a client shakes hands with, and the name that it expects.
pub(super) struct Prepared {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Reads what the handshake of a client needs: before there is a connection that would wait for it.
pub(super) fn prepare(address: &Address) -> Result<Prepared> {
    let config = client_config(address)?;
    let host = match (&address.options.server_name, address.host_port()) {
        (Some(name), _) => name.clone(),
        (None, Some(at)) if !at.host.is_empty() => at.without_zone().to_owned(),
        _ => "localhost".to_owned(),
    };
    let name = ServerName::try_from(host.clone())
        .map_err(|_| Error::usage(address, format!("{host:?} cannot be the name of a certificate")))?;
    Ok(Prepared { connector: TlsConnector::from(Arc::new(config)), name })
}

/// Shakes hands as a client.
pub(super) async fn connect(
    address: &Address,
    prepared: Prepared,
    transport: Transport,
) -> Result<Transport> {
    let handshake = prepared.connector.connect(prepared.name, Beneath::new(transport));
    let outcome = step(address, "the TLS handshake", handshake).await?;
    let tls = outcome.map_err(|error| failed(address, error))?;
    Ok(Transport::Tls(Box::new(tls.into())))
}

/// Shakes hands as a server.
pub(super) async fn accept(
    address: &Address,
    acceptor: &TlsAcceptor,
    transport: Transport,
) -> Result<Transport> {
    let outcome = step(address, "the TLS handshake", acceptor.accept(Beneath::new(transport))).await?;
    let tls = outcome.map_err(|error| failed(address, error))?;
    Ok(Transport::Tls(Box::new(tls.into())))
}

fn failed(address: &Address, error: std::io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "ca=FILE trusts another authority, server-name=NAME expects another name, and insecure trusts anybody"
        }
        Some(rustls::Error::InvalidMessage(_)) => "does the peer speak TLS on that port?",
        Some(rustls::Error::AlertReceived(_)) => {
            "the peer ended it: does it demand a certificate (cert= and key=)?"
        }
        Some(_) => "the two have no version, cipher or certificate in common",
        None => "the peer closed the connection: does it speak TLS on that port?",
    };
    let why = tls.map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorKind::Tls, address.shown(), format!("the TLS handshake failed: {why}")).with_hint(hint)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a client trusts and shows, by the options of its address.
pub(crate) fn client_config(address: &Address) -> Result<ClientConfig> {
    let options = &address.options;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the ciphers of both versions");
    let builder = if options.insecure == Some(true) {
        tracing::warn!(address = %address.shown(), "{INSECURE}");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider())))
    } else {
        builder.with_root_certificates(roots(address)?)
    };
    let mut config = match own_certificate(address)? {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(address, "cert", &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(address);
    Ok(config)
}

/// What a listener shakes hands with.
pub(super) fn acceptor(address: &Address) -> Result<TlsAcceptor> {
    let Some((chain, key)) = own_certificate(address)? else {
        return Err(Error::usage(address, "who listens needs a certificate")
            .with_hint("add cert=FILE and key=FILE, in PEM"));
    };
    if address.options.insecure == Some(true) {
        return Err(Error::usage(address, "insecure is for who connects").with_hint("leave it out"));
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the ciphers of both versions");
    let builder = match &address.options.ca {
        Some(file) => {
            let roots = Arc::new(read_roots(address, file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| unusable(address, "ca", &error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| unusable(address, "cert", &error))?;
    config.alpn_protocols = alpn(address);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn alpn(address: &Address) -> Vec<Vec<u8>> {
    let list = address.options.alpn.as_ref().map_or(&[][..], |list| &list.0);
    list.iter().map(|protocol| protocol.clone().into_bytes()).collect()
}

fn roots(address: &Address) -> Result<RootCertStore> {
    if let Some(file) = &address.options.ca {
        return read_roots(address, file);
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let what = "this system has no certificates to trust";
        let hint = "install the package ca-certificates, or name a file with ca=FILE";
        return Err(Error::new(ErrorKind::Tls, address.shown(), what).with_hint(hint));
    }
    Ok(roots)
}

fn read_roots(address: &Address, file: &File) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(address, "ca", file)? {
        roots.add(certificate).map_err(|error| unusable(address, "ca", &error))?;
    }
    Ok(roots)
}

fn own_certificate(
    address: &Address,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let Some(file) = &address.options.certificate else { return Ok(None) };
    let chain = certificates(address, "cert", file)?;
    // One file may hold both.
    let key_file = address.options.key.as_ref().unwrap_or(file);
    let text = key_file.0.read().map_err(|error| Error::unreadable(address, "key", &error))?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        Error::usage(address, format!("key: {} has no private key in PEM", key_file.0))
            .with_hint("it begins with -----BEGIN PRIVATE KEY-----")
    })?;
    Ok(Some((chain, key)))
}

fn certificates(address: &Address, option: &str, file: &File) -> Result<Vec<CertificateDer<'static>>> {
    let text = file.0.read().map_err(|error| Error::unreadable(address, option, &error))?;
    let certificates: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::usage(address, format!("{option}: {} has no certificate in PEM", file.0))
            .with_hint("it begins with -----BEGIN CERTIFICATE-----")),
    }
}

fn unusable(address: &Address, option: &str, why: &dyn std::fmt::Display) -> Error {
    Error::usage(address, format!("{option}: {why}"))
}

/// Trusts every certificate. Signatures are checked all the same: who speaks has the key of what it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
