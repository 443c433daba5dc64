//! What the server is told about TLS: which files, for whom, how strict.
//!
//! Deliberately absent: the files' content, which `server::tls` reads, and reads again when it changes.

use std::path::PathBuf;

use super::ConfigError;
use super::word::Words;

/// TLS, as it is meant. It is spoken where there is a certificate, on the port that everything else is spoken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whether TCP connections may, must, or must not be encrypted.
    pub mode: TlsMode,
    /// Certificates and their keys. The first is for clients that name no server, or one that no certificate has.
    pub certificates: Vec<CertificateFiles>,
    /// A certificate is made at the start and trusted by nobody: for trying.
    pub self_signed: bool,
    /// Who may have signed the certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certificate: ClientCertificate,
    /// The oldest version spoken.
    pub version_min: TlsVersion,
    /// Sessions of TLS 1.2 remembered, so that they can be resumed without a ticket (4,096, some hundreds of bytes each);
    /// above it the oldest are forgotten, and their clients shake hands in full. Tickets cost no memory.
    pub sessions_max: usize,
    /// How often the files are looked at (2 s). One that has changed, and has not changed since the last look, is read.
    pub check_interval_ms: u64,
}

impl Default for TlsConfig {
    fn default() -> Self {
        TlsConfig {
            mode: TlsMode::Optional,
            certificates: Vec::new(),
            self_signed: false,
            client_ca: None,
            client_certificate: ClientCertificate::None,
            version_min: TlsVersion::V12,
            sessions_max: 4_096,
            check_interval_ms: 2_000,
        }
    }
}

/// A certificate chain and its key: two PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// Whether TCP connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// As the client likes.
    Optional,
    /// Always: plain text is refused.
    Required,
}

impl Words for TlsMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", TlsMode::Off), ("optional", TlsMode::Optional), ("required", TlsMode::Required)];
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is asked for.
    None,
    /// One is asked for, and verified if it is shown.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

impl Words for ClientCertificate {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", ClientCertificate::None),
        ("optional", ClientCertificate::Optional),
        ("required", ClientCertificate::Required),
    ];
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

impl Words for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
}

impl TlsConfig {
    /// Says whether TLS is spoken at all.
    pub fn is_on(&self) -> bool {
        self.mode != TlsMode::Off && (self.self_signed || !self.certificates.is_empty())
    }

    /// Lays the flags `--tls-certificate`, `--tls-key` and `--self-signed` over the file.
    pub(super) fn override_with(
        &mut self,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        self_signed: bool,
    ) {
        if let (Some(certificate), Some(key)) = (certificate, key) {
            self.certificates = vec![CertificateFiles { certificate, key }];
        }
        self.self_signed |= self_signed;
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.self_signed && !self.certificates.is_empty() {
            return Err(ConfigError::whole(
                "tls.certificates",
                "a certificate is given, so none is made: leave --self-signed out, or the certificate",
            ));
        }
        if self.mode == TlsMode::Required && !self.is_on() {
            return Err(ConfigError::whole(
                "tls.mode",
                "is \"required\", but there is no certificate: add [[tls.certificates]], or try with --self-signed",
            ));
        }
        if !self.is_on() && (self.client_ca.is_some() || self.client_certificate != ClientCertificate::None) {
            let written = match self.client_ca {
                Some(_) => "tls.client_ca",
                None => "tls.client_certificate",
            };
            return Err(ConfigError::whole(
                written,
                "is for TLS, and there is no certificate to speak it with: add [[tls.certificates]], or leave it out",
            ));
        }
        if self.client_certificate != ClientCertificate::None && self.client_ca.is_none() {
            return Err(ConfigError::whole(
                "tls.client_ca",
                "is missing: name the PEM file of whoever signs the certificates of clients",
            ));
        }
        Ok(())
    }
}
