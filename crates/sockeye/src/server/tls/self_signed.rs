//! `--self-signed`: a certificate made at the start, for trying.
//!
//! Deliberately absent: keeping it. It goes with the server, so nobody comes to depend on it.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;

use super::TlsError;
use super::certificate::Certificate;
use crate::net::der;

/// Makes a certificate for this machine and the names given.
pub(super) fn make(names: &[String], provider: &CryptoProvider) -> Result<Certificate, TlsError> {
    let failed = |error: rcgen::Error| TlsError::Library(format!("no certificate could be made: {error}"));
    let all = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(names.iter().cloned());
    let mut parameters = rcgen::CertificateParams::new(all.collect::<Vec<_>>()).map_err(failed)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Sockeye, for trying");
    // Some clients refuse certificates that are good for longer than two years.
    let next_year = der::date(der::unix_now() + 365 * 86_400);
    parameters.not_after =
        rcgen::date_time_ymd(next_year.year as i32, next_year.month as u8, next_year.day as u8);
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(Certificate::new("self-signed".into(), vec![certificate.der().clone()], key, provider)?)
}
