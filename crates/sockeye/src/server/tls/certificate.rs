//! Certificates: read from PEM files with their keys, and chosen by the name that a client asks for.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use crate::config::CertificateFiles;
use crate::net::der;

/// A certificate that fits its key.
pub(super) struct Certificate {
    key: Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

/// What is told of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The file, or how it was made.
    pub(super) source: String,
    /// The names it is for: `chat.example`, `*.example`.
    pub(super) names: Vec<String>,
    /// When it ends, in seconds of Unix time.
    pub(super) ends_at: Option<i64>,
    /// SHA-256 of the certificate, as browsers show it.
    pub(super) fingerprint: String,
}

/// A certificate that ends within this is told about, while there is time to renew it.
const END_IS_NEAR_SECONDS: i64 = 14 * 86_400;

impl Facts {
    /// The day on which it ends.
    pub(super) fn ends_text(&self) -> String {
        self.ends_at.map_or_else(|| "?".into(), der::date_text)
    }

    /// Says whether the certificate is to be renewed, and why.
    pub(super) fn ending(&self, now: i64) -> Option<&'static str> {
        let end = self.ends_at?;
        if end <= now {
            Some("the certificate has ended, so clients refuse it: renew it")
        } else if end <= now + END_IS_NEAR_SECONDS {
            Some("the certificate ends soon: renew it")
        } else {
            None
        }
    }
}

impl Certificate {
    /// Reads a chain and its key.
    pub(super) fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let chain = read_chain(&files.certificate)?;
        let key = read_key(&files.key)?;
        Certificate::new(files.certificate.display().to_string(), chain, key, provider).map_err(|error| {
            let why = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("the key in {} belongs to another certificate", files.key.display())
                }
                error => {
                    format!("this certificate or the key in {} is of no use: {error}", files.key.display())
                }
            };
            TlsError::unusable(&files.certificate, why)
        })
    }

    /// Joins a chain and its key.
    pub(super) fn new(
        source: String,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, rustls::Error> {
        let key = CertifiedKey::from_der(chain, key, provider)?;
        let own = key.end_entity_cert()?;
        // The library has parsed it a moment ago, so it can be parsed.
        let parsed = webpki::EndEntityCert::try_from(own).ok();
        let names = parsed.map(|parsed| parsed.valid_dns_names().map(str::to_ascii_lowercase).collect());
        let ends_at = der::not_after(own);
        let fingerprint = fingerprint(own);
        let facts = Facts { names: names.unwrap_or_default(), ends_at, fingerprint, source };
        Ok(Certificate { facts, key: Arc::new(key) })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.display().to_string(), source })
}

/// Reads every certificate of a PEM file.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read_file(path)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::unusable(path, format!("is not a PEM file of certificates: {error}")))?;
    if chain.is_empty() {
        return Err(TlsError::unusable(
            path,
            "has no certificate: it should hold -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read_file(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound if text.windows(9).any(|window| window == b"ENCRYPTED") => {
                "the key is encrypted, and nobody can be asked for the password: `openssl pkey -in FILE -out PLAIN`".into()
            }
            pem::Error::NoItemsFound => "has no private key: it should hold -----BEGIN PRIVATE KEY-----".into(),
            error => format!("is not a PEM file of a private key: {error}"),
        };
        TlsError::unusable(path, why)
    })
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Which certificate a client is shown.
#[derive(Debug)]
pub(super) struct Resolver {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    /// Of at least one certificate: the first is the default, and of two for one name the first is shown.
    pub(super) fn new(certificates: &[Certificate]) -> Option<Self> {
        let default = Arc::clone(&certificates.first()?.key);
        let mut by_name = HashMap::new();
        for certificate in certificates {
            for name in &certificate.facts.names {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        Some(Resolver { default, by_name })
    }

    fn choose(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        // RFC 9525, 6.3: a wildcard stands for exactly the leftmost label.
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&name).or_else(wildcard).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.choose(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_asked_for_chooses_the_certificate() {
        let provider = rustls::crypto::ring::default_provider();
        let make = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
            let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            Certificate::new(String::new(), vec![made.cert.der().clone()], key, &provider)
                .expect("a good one")
        };
        let certificates = [make(&["a.example"]), make(&["b.example", "*.b.example"]), make(&["A.example"])];

        let resolver = Resolver::new(&certificates).expect("three are enough");

        for (name, index) in [
            ("a.example", 0),
            ("A.EXAMPLE", 0),
            ("b.example", 1),
            ("x.b.example", 1),
            ("x.y.b.example", 0),
            ("other", 0),
            ("", 0),
        ] {
            assert!(Arc::ptr_eq(resolver.choose(name), &certificates[index].key), "{name}");
        }
        assert!(Resolver::new(&[]).is_none());
    }
}
