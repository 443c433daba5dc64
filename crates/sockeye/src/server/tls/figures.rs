//! What is counted about TLS: for the whole server, since handshakes are rare enough for shared counters.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustls::Error;

/// Counters of handshakes and certificates.
#[derive(Debug, Default)]
pub(crate) struct TlsFigures {
    full: AtomicU64,
    resumed: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
    truncated: AtomicU64,
    loaded: AtomicU64,
    kept: AtomicU64,
    /// When the certificate that ends first ends, in seconds of Unix time.
    ends_at: AtomicI64,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What came was no handshake.
    Garbage,
    /// No version, suite or group in common.
    Incompatible,
    /// The client speaks no protocol that is spoken here (ALPN).
    Protocol,
    /// The client's certificate is missing or bad.
    ClientCertificate,
    /// The client refused, mostly because it does not trust the certificate.
    Refused,
    /// The client went away.
    Ended,
    /// It took too long.
    TimedOut,
    /// Anything else.
    Other,
}

impl Failure {
    const ALL: [Failure; 8] = [
        Failure::Garbage,
        Failure::Incompatible,
        Failure::Protocol,
        Failure::ClientCertificate,
        Failure::Refused,
        Failure::Ended,
        Failure::TimedOut,
        Failure::Other,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Failure::Garbage => "garbage",
            Failure::Incompatible => "incompatible",
            Failure::Protocol => "protocol",
            Failure::ClientCertificate => "client_certificate",
            Failure::Refused => "refused",
            Failure::Ended => "ended",
            Failure::TimedOut => "timed_out",
            Failure::Other => "other",
        }
    }

    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerMisbehaved(_) => Failure::Garbage,
            Error::PeerIncompatible(_) => Failure::Incompatible,
            Error::NoApplicationProtocol => Failure::Protocol,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Failure::ClientCertificate,
            Error::AlertReceived(_) => Failure::Refused,
            _ => Failure::Other,
        }
    }
}

impl TlsFigures {
    pub(super) fn count_done(&self, is_resumed: bool) {
        let counter = if is_resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self, failure: Failure) {
        self.failed[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_truncated(&self) {
        self.truncated.fetch_add(1, Ordering::Relaxed);
    }

    /// Certificates were read, or were bad and the old ones stayed.
    pub(super) fn count_load(&self, ends_at: Option<i64>) {
        match ends_at {
            Some(ends_at) => {
                self.loaded.fetch_add(1, Ordering::Relaxed);
                self.ends_at.store(ends_at, Ordering::Relaxed);
            }
            None => {
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Appends the families to a page in the Prometheus text format.
    pub(crate) fn write_metrics(&self, page: &mut String) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, figure) in samples {
                let _ = writeln!(page, "{name}{labels} {figure}");
            }
        };
        family(
            "sockeye_tls_handshakes_total",
            "counter",
            "TLS handshakes done, in full or by resuming a session.",
            &[("{kind=\"full\"}".into(), get(&self.full)), ("{kind=\"resumed\"}".into(), get(&self.resumed))],
        );
        let failed = Failure::ALL.map(|failure| {
            (format!("{{reason=\"{}\"}}", failure.as_str()), get(&self.failed[failure as usize]))
        });
        family(
            "sockeye_tls_handshakes_failed_total",
            "counter",
            "TLS handshakes that failed, by reason.",
            &failed,
        );
        family(
            "sockeye_tls_truncated_total",
            "counter",
            "TLS connections that ended without saying so (close_notify).",
            &[(String::new(), get(&self.truncated))],
        );
        family(
            "sockeye_tls_certificate_loads_total",
            "counter",
            "Times that certificate files were read; bad ones change nothing.",
            &[
                ("{outcome=\"loaded\"}".into(), get(&self.loaded)),
                ("{outcome=\"kept_old\"}".into(), get(&self.kept)),
            ],
        );
        family(
            "sockeye_tls_certificate_end_seconds",
            "gauge",
            "When the certificate that ends first ends, in Unix time.",
            &[(String::new(), self.ends_at.load(Ordering::Relaxed).max(0) as u64)],
        );
    }
}
