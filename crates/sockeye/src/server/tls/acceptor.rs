//! The server's TLS: certificates, sessions and who is let in, for all shards, replaced as a whole when files change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{
    NoClientAuth, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
    danger::ClientCertVerifier,
};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tracing::{info, warn};

use super::certificate::{Certificate, Facts, Resolver, read_chain};
use super::figures::TlsFigures;
use super::{TlsError, self_signed, watch};
use crate::config::{ClientCertificate, TlsConfig, TlsVersion};
use crate::net::der;
use crate::server::stamp::Stamps;

/// The protocol that is spoken inside, beside those without a name (RFC 7301).
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The server's TLS.
///
/// Connections take what is current when they begin, and keep it: replacing it disturbs none of them.
#[derive(Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<ServerConfig>>,
    kept: Mutex<Kept>,
    figures: Arc<TlsFigures>,
}

/// What is needed to read the files again.
#[derive(Clone, Debug)]
struct Kept {
    settings: TlsConfig,
    /// The certificate that was made at the start stays the same.
    made: Option<(Arc<Resolver>, Facts)>,
    /// What is used.
    facts: Vec<Facts>,
    resumption: Resumption,
    read: Stamps,
}

/// What lets clients resume sessions. It outlives the certificates, but not a change of who is let in: a resumed
/// session carries the client's certificate, which is not verified again.
#[derive(Clone, Debug)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    client_ca: Vec<u8>,
    client_certificate: ClientCertificate,
}

impl Tls {
    /// Reads every file. `names` are for a certificate that is made.
    ///
    /// # Errors
    /// Names the file, and what to do.
    pub fn load(settings: &TlsConfig, names: &[String]) -> Result<Arc<Tls>, TlsError> {
        let provider = Arc::new(default_provider());
        let mut made = None;
        if settings.self_signed {
            let certificate = self_signed::make(names, &provider)?;
            let facts = certificate.facts.clone();
            made = Resolver::new(&[certificate]).map(|resolver| (Arc::new(resolver), facts));
        }
        let mut kept = Kept {
            settings: settings.clone(),
            made,
            facts: Vec::new(),
            resumption: Resumption::new(settings, Vec::new())?,
            read: Stamps::look([]),
        };
        let config = kept.build(&provider)?;
        let figures = Arc::new(TlsFigures::default());
        figures.count_load(kept.ends_at());
        Ok(Arc::new(Tls {
            provider,
            current: RwLock::new(Arc::new(config)),
            kept: Mutex::new(kept),
            figures,
        }))
    }

    /// Says in the log what is used.
    pub fn tell(&self) {
        self.lock().tell();
    }

    /// Says which certificates are to be renewed, and why.
    pub fn endings(&self) -> Vec<String> {
        let now = der::unix_now();
        let kept = self.lock();
        let told = kept.facts.iter().filter_map(|facts| {
            let ending = facts.ending(now)?;
            Some(format!("{}: {ending} ({})", facts.source, facts.ends_text()))
        });
        told.collect()
    }

    /// Reads the files again whenever they change.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        watch::start(self)
    }

    /// Reads every file again. If one is bad, everything stays as it is. Either way it is said in the log.
    ///
    /// # Errors
    /// Names the file, and what to do.
    pub fn reload(&self) -> Result<(), TlsError> {
        let settings = self.lock().settings.clone();
        self.reload_with(&settings)
    }

    /// The same with other settings: other files, another authority for clients.
    ///
    /// # Errors
    /// Names the file, and what to do.
    pub fn reload_with(&self, settings: &TlsConfig) -> Result<(), TlsError> {
        let mut kept = self.lock();
        let mut next = Kept { settings: settings.clone(), ..kept.clone() };
        match next.build(&self.provider) {
            Ok(config) => {
                *kept = next;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                self.figures.count_load(kept.ends_at());
                kept.tell();
                Ok(())
            }
            Err(error) => {
                // What was bad is not tried again until it changes.
                kept.read = next.read;
                self.figures.count_load(None);
                warn!(%error, "certificates were not replaced: the old ones stay");
                Err(error)
            }
        }
    }

    /// What a connection that begins now is to use.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn figures(&self) -> &Arc<TlsFigures> {
        &self.figures
    }

    /// The files that are watched.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        paths(&self.lock().settings)
    }

    /// Says whether this is what was read last.
    pub(super) fn has_read(&self, stamps: &Stamps) -> bool {
        self.lock().read == *stamps
    }

    pub(super) fn check_interval_ms(&self) -> u64 {
        self.lock().settings.check_interval_ms
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn paths(settings: &TlsConfig) -> Vec<PathBuf> {
    let files = settings.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
    files.chain(&settings.client_ca).cloned().collect()
}

impl Resumption {
    fn new(settings: &TlsConfig, client_ca: Vec<u8>) -> Result<Self, TlsError> {
        Ok(Resumption {
            tickets: Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(settings.sessions_max),
            client_ca,
            client_certificate: settings.client_certificate,
        })
    }
}

impl Kept {
    /// Reads every file, and makes what connections use.
    fn build(&mut self, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, TlsError> {
        // Looked at before they are read: what changes in between is read once more.
        self.read = Stamps::look(paths(&self.settings).iter().map(PathBuf::as_path));
        let certificates = self
            .settings
            .certificates
            .iter()
            .map(|files| Certificate::read(files, provider))
            .collect::<Result<Vec<_>, _>>()?;
        let (resolver, facts) = match (Resolver::new(&certificates), &self.made) {
            (Some(resolver), _) => {
                (Arc::new(resolver), certificates.into_iter().map(|certificate| certificate.facts).collect())
            }
            (None, Some((made, facts))) => (Arc::clone(made), vec![facts.clone()]),
            (None, None) => return Err(TlsError::Library("there is no certificate".into())),
        };
        let (verifier, client_ca) = self.verifier(provider)?;
        if client_ca != self.resumption.client_ca
            || self.settings.client_certificate != self.resumption.client_certificate
        {
            self.resumption = Resumption::new(&self.settings, client_ca)?;
        }
        let versions: &[&SupportedProtocolVersion] = match self.settings.version_min {
            TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = Arc::clone(&self.resumption.tickets);
        config.session_storage = Arc::clone(&self.resumption.sessions);
        self.facts = facts;
        Ok(config)
    }

    /// When the first certificate ends.
    fn ends_at(&self) -> Option<i64> {
        Some(self.facts.iter().filter_map(|facts| facts.ends_at).min().unwrap_or(0))
    }

    /// Says what is used.
    fn tell(&self) {
        let now = der::unix_now();
        for facts in &self.facts {
            let Facts { source, names, fingerprint, .. } = facts;
            let (names, ends) = (names.join(" "), facts.ends_text());
            info!(certificate = %source, names, ends, %fingerprint, "TLS is spoken");
            match facts.ending(now) {
                _ if self.settings.self_signed => {
                    info!(
                        "the certificate was made for trying: nobody trusts it. Compare its fingerprint (SHA-256) where your \
                         browser shows it; curl takes --insecure, and wss:...#insecure is an address that trusts anybody"
                    );
                }
                Some(ending) => warn!(certificate = %source, ends, "{ending}"),
                None => {}
            }
        }
    }

    /// Who verifies the certificates of clients, and the bytes of who may have signed them.
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Arc<dyn ClientCertVerifier>, Vec<u8>), TlsError> {
        let path = match (&self.settings.client_ca, self.settings.client_certificate) {
            (Some(path), ClientCertificate::Optional | ClientCertificate::Required) => path,
            _ => return Ok((Arc::new(NoClientAuth), Vec::new())),
        };
        let mut roots = RootCertStore::empty();
        let mut bytes = Vec::new();
        for certificate in read_chain(path)? {
            bytes.extend_from_slice(&certificate);
            roots
                .add(certificate)
                .map_err(|error| TlsError::unusable(path, format!("has a certificate of no use: {error}")))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match self.settings.client_certificate {
            ClientCertificate::Required => builder,
            _ => builder.allow_unauthenticated(),
        };
        let verifier = builder.build().map_err(|error| TlsError::unusable(path, error.to_string()))?;
        Ok((verifier, bytes))
    }
}
