//! Keys that tokens are signed with: read from PEM, JWKS or a secret, and asked whether a signature is theirs.
//!
//! A key knows its one algorithm, so what a token says of itself never decides how its signature is read. Deliberately
//! absent: private keys, which a server that checks has no use for, and keys fetched over the network.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde::Deserialize;

/// The shortest secret: RFC 7518, 3.2: a key of the same size as the hash output or larger must be used.
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// RFC 7518, 3.3: a key of size 2048 bits or larger must be used. Signatures of keys above 8192 bits are not checked here.
const MODULUS_BYTES: RangeInclusive<usize> = 256..=1_024;
/// What is said of a key that is none of these.
const UNDERSTOOD: &str = "RSA of 2048 to 8192 bits, P-256 and Ed25519 are understood";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// Its name in a token's header (RFC 7518, 3.1; RFC 8037, 3.1). The comparison is exact.
    pub(super) fn from_name(name: &str) -> Option<Algorithm> {
        Some(match name {
            "HS256" => Algorithm::Hs256,
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            "EdDSA" => Algorithm::EdDsa,
            _ => return None,
        })
    }
}

/// One key.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    /// Its name in a JWKS.
    pub(super) id: Option<String>,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    /// As ring takes it: a point, or an RSA key in the DER of RFC 8017, A.1.1.
    Public(Vec<u8>),
    /// Modulus and exponent, big-endian.
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
}

impl Key {
    /// A secret that both sides know.
    pub(super) fn from_secret(secret: &[u8]) -> Result<Key, String> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "a secret has at least {SECRET_BYTES_MIN} bytes, this one has {}",
                secret.len()
            ));
        }
        let material = Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Ok(Key { algorithm: Algorithm::Hs256, id: None, material })
    }

    /// Says whether the signature is this key's. What cannot be a signature costs as much as what is not one.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let length = match (&self.material, self.algorithm) {
            (_, Algorithm::Hs256) => 32,
            (_, Algorithm::Es256 | Algorithm::EdDsa) => 64,
            (Material::Rsa(key), _) => key.n.len(),
            (Material::Public(der), _) => modulus_bytes(der),
            (Material::Secret(_), _) => 32,
        };
        if signature.len() == length {
            return self.verify(message, signature);
        }
        // One in the first half and one in the last byte is within the range of every algorithm.
        let mut stand_in = vec![0; length];
        stand_in[length / 2 - 1] = 1;
        stand_in[length - 1] = 1;
        self.verify(message, &stand_in);
        false
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::Hs256 => {
                let Material::Secret(key) = &self.material else { return false };
                // In constant time.
                return hmac::verify(key, message, signature).is_ok();
            }
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDsa => &signature::ED25519,
        };
        match &self.material {
            Material::Secret(_) => false,
            Material::Public(bytes) => {
                signature::UnparsedPublicKey::new(algorithm, bytes).verify(message, signature).is_ok()
            }
            Material::Rsa(key) => {
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }
}

/// Reads a file of public keys: PEM, or a JWKS.
pub(super) fn read_keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "neither PEM nor a JWKS: it is not text".to_owned())?;
    if text.trim_start().starts_with('{') { read_jwks(text) } else { read_pem(text) }
}

fn read_pem(text: &str) -> Result<Vec<Key>, String> {
    const BEGIN: &str = "-----BEGIN ";
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        rest = &rest[start + BEGIN.len()..];
        let (label, body) = rest.split_once("-----").ok_or("a PEM header that does not end")?;
        let (body, after) =
            body.split_once(&format!("-----END {label}-----")).ok_or("a PEM block that does not end")?;
        rest = after;
        if label.contains("PRIVATE") {
            return Err("a private key: the server needs the public one alone \
                        (openssl pkey -pubout), so keep this one where tokens are made"
                .into());
        }
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| format!("the {label} is not base64"))?;
        let (algorithm, material) = match label {
            "PUBLIC KEY" => {
                read_spki(&der).ok_or_else(|| format!("a public key of another kind: {UNDERSTOOD}"))?
            }
            "RSA PUBLIC KEY" if MODULUS_BYTES.contains(&modulus_bytes(&der)) => (Algorithm::Rs256, der),
            "RSA PUBLIC KEY" => return Err(format!("an RSA key of another size: {UNDERSTOOD}")),
            label => return Err(format!("a {label}, where a PUBLIC KEY is needed")),
        };
        keys.push(Key { algorithm, id: None, material: Material::Public(material) });
    }
    if keys.is_empty() { Err("neither PEM nor a JWKS".into()) } else { Ok(keys) }
}

/// RFC 5280, 4.1: SubjectPublicKeyInfo.
fn read_spki(der: &[u8]) -> Option<(Algorithm, Vec<u8>)> {
    // The whole AlgorithmIdentifier: rsaEncryption; id-ecPublicKey with prime256v1; id-Ed25519.
    const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
    let (whole, []) = element(der, 0x30)? else { return None };
    let (algorithm, rest) = element(whole, 0x30)?;
    let ([0, key @ ..], []) = element(rest, 0x03)? else { return None };
    let algorithm = match algorithm {
        RSA if MODULUS_BYTES.contains(&modulus_bytes(key)) => Algorithm::Rs256,
        P256 if key.len() == 65 && key[0] == 4 => Algorithm::Es256,
        ED25519 if key.len() == 32 => Algorithm::EdDsa,
        _ => return None,
    };
    Some((algorithm, key.to_vec()))
}

/// One element of DER: its content, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = match rest {
        [short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    (*found == tag && length <= rest.len()).then(|| rest.split_at(length))
}

/// The length of an RSA key's modulus, and so of its signatures; 0 if it cannot be told.
fn modulus_bytes(der: &[u8]) -> usize {
    let modulus = element(der, 0x30).and_then(|(key, _)| element(key, 0x02));
    modulus.map_or(0, |(modulus, _)| modulus.strip_prefix(&[0]).unwrap_or(modulus).len())
}

/// RFC 7517: a set of keys. What is not understood in it is passed over, as its section 5 asks.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

fn read_jwks(text: &str) -> Result<Vec<Key>, String> {
    let set: Jwks = serde_json::from_str(text).map_err(|error| format!("not a JWKS: {error}"))?;
    let understood = |key: serde_json::Value| serde_json::from_value::<Jwk>(key).ok().and_then(read_jwk);
    let keys: Vec<Key> = set.keys.into_iter().filter_map(understood).collect();
    if keys.is_empty() {
        return Err(
            "a JWKS without a key that is understood: RSA of 2048 to 8192 bits, P-256, Ed25519, or a \
                    secret of at least 32 bytes, for signatures"
                .into(),
        );
    }
    Ok(keys)
}

fn read_jwk(jwk: Jwk) -> Option<Key> {
    // RFC 7517, 4.2 and 4.3: what a key is for, if it is said.
    let is_for_others = jwk.used_for.is_some_and(|used_for| used_for != "sig")
        || jwk.key_ops.is_some_and(|operations| !operations.iter().any(|operation| operation == "verify"));
    if is_for_others {
        return None;
    }
    let decode = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
    let (algorithm, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let without_zeros = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            let n: Vec<u8> = without_zeros(decode(jwk.n)?);
            if !MODULUS_BYTES.contains(&n.len()) {
                return None;
            }
            let key = signature::RsaPublicKeyComponents { n, e: without_zeros(decode(jwk.e)?) };
            (Algorithm::Rs256, Material::Rsa(key))
        }
        ("EC", Some("P-256")) => {
            let point = [vec![4], decode(jwk.x)?, decode(jwk.y)?].concat();
            if point.len() != 65 {
                return None;
            }
            (Algorithm::Es256, Material::Public(point))
        }
        ("OKP", Some("Ed25519")) => {
            (Algorithm::EdDsa, Material::Public(decode(jwk.x).filter(|x| x.len() == 32)?))
        }
        ("oct", _) => {
            let Key { algorithm, material, .. } = Key::from_secret(&decode(jwk.k)?).ok()?;
            (algorithm, material)
        }
        _ => return None,
    };
    let is_meant_otherwise = jwk.alg.is_some_and(|alg| Algorithm::from_name(&alg) != Some(algorithm));
    (!is_meant_otherwise).then_some(Key { algorithm, id: jwk.kid, material })
}
