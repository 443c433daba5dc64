//! Which tokens are good, and that every other one is refused at the same cost.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{self, KeyPair as _};
use ring::{digest, hmac};
use serde_json::{Value, json};
use sockeye_hub::{Identity, Now};

use super::jwt::Fault;
use super::key::read_keys;
use super::keyring::Keyring;
use crate::address::{Secret, Source};
use crate::config::{Auth, Grant, StaticToken, TokenText};

const NOW: Now = Now { ms: 5_000, unix_ms: 1_764_000_000_000 };
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rs256.pem");
const RSA_TOKEN: &str = include_str!("../../../tests/keys/rs256.jwt").trim_ascii_end();

fn now_s() -> u64 {
    NOW.unix_ms / 1_000
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256_with(secret: &[u8], claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, |m| hmac::sign(&key, m).as_ref().to_vec())
}

fn hs256(claims: &Value) -> String {
    hs256_with(SECRET.as_bytes(), claims)
}

fn pem(prefix: &[u8], key: &[u8]) -> String {
    let der = [prefix, key].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

/// An Ed25519 and a P-256 key: public PEM, and how to sign.
fn ed25519() -> (String, signature::Ed25519KeyPair) {
    let pkcs8 = signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("its own");
    let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    (pem(prefix, pair.public_key().as_ref()), pair)
}

fn p256() -> (String, signature::EcdsaKeyPair) {
    let (algorithm, chance) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &chance).expect("a key");
    let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &chance).expect("its own");
    let prefix = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    (pem(prefix, pair.public_key().as_ref()), pair)
}

/// Files that live as long as the test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, text: &str) -> Source {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file");
        Source::File(path)
    }
}

fn keyring(auth: &Auth) -> Keyring {
    Keyring::load(auth).unwrap_or_else(|error| panic!("{error}"))
}

fn verify(keyring: &Keyring, token: &str) -> Result<Identity, Fault> {
    keyring.verify(token, NOW, &mut 0)
}

fn with_secret(files: &Files) -> Auth {
    Auth { secrets: vec![files.write("secret", &format!("{SECRET}\n"))], ..Auth::default() }
}

#[test]
fn every_algorithm_is_understood_from_pem_and_jwks() {
    let files = Files::new();
    let ((ed_pem, ed), (ec_pem, ec)) = (ed25519(), p256());
    let claims = json!({ "sub": "ana", "hear": ["chat/#"] });
    let by_ed = signed(&json!({ "alg": "EdDSA" }), &claims, |m| ed.sign(m).as_ref().to_vec());
    let sign_ec = |m: &[u8]| ec.sign(&SystemRandom::new(), m).expect("a signature").as_ref().to_vec();
    let by_ec = signed(&json!({ "alg": "ES256", "kid": "e" }), &claims, sign_ec);
    let tokens = [by_ed.as_str(), &by_ec, RSA_TOKEN];

    let all_pem = files.write("all.pem", &format!("a comment\n{ed_pem}{ec_pem}{RSA_PUBLIC}"));
    let point = ec.public_key().as_ref();
    let modulus = "0BmqNKzQtKDjVIt_PzHmcH7mKTBr2oc3_adl4-9ut37QwY7pP8R4Bi2-SCDr4sQXqIsAYwD0-pNJoRwcUSbbpfcQpjS_XiQejVu1OJUQrvVtx6oSuP0ZHtrePwNfn-Ao50P5CoXmzwgvUFBf8COE4fTT0fhr2oLeFP5w-xkaYJPt5PW3yrFgcuTRCQbxWqhj_T_ly9JxP1H7U7wvdiQrpbBbgGvWOS0rQHEeCGKjo2BFJGsrMSFERE9fZiz9fDFm3s5XYyjxuxywnfNJMbrBlu4-Hn2WzwOAlKtBWpdjNLUntKYx84se5h8ElxvWs1tyC1pp1r0vG5dO3xulsgmzKw";
    let jwks = json!({ "keys": [
        { "kty": "strange" }, 7, { "kty": "RSA", "use": "enc", "n": "AQ", "e": "AQAB" },
        { "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(ed.public_key().as_ref()) },
        { "kty": "EC", "crv": "P-256", "kid": "e", "alg": "ES256",
          "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) },
        { "kty": "RSA", "kid": "r1", "alg": "RS256", "use": "sig", "n": modulus, "e": "AQAB" },
        { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) },
    ]});
    let all_jwks = files.write("jwks.json", &jwks.to_string());

    for source in [all_pem, all_jwks] {
        let keyring = keyring(&Auth { keys: vec![source], ..Auth::default() });
        for token in tokens {
            let identity = verify(&keyring, token).expect("a good token");
            assert_eq!(identity.user.as_deref(), Some("ana"));
            assert!(identity.rights.check_hearing(Some("ana"), "chat/1").is_ok());
            // One letter of the signed part, and one of the signature.
            for place in [token.find('.').expect("three parts") + 3, token.len() - 20] {
                let mut forged = token.as_bytes().to_vec();
                forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
                let forged = String::from_utf8(forged).expect("letters");
                assert_eq!(verify(&keyring, &forged), Err(Fault::Signature), "{forged}");
            }
        }
    }
    assert_eq!(read_keys(jwks.to_string().as_bytes()).map(|keys| keys.len()), Ok(4));
}

#[test]
fn a_key_of_a_jwks_is_used_for_what_it_says_and_as_it_can_be() {
    let k = URL_SAFE_NO_PAD.encode(SECRET);
    let n = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xc1_u8; bytes]);
    for (key, is_used) in [
        (json!({ "kty": "oct", "k": k }), true),
        (json!({ "kty": "oct", "k": k, "alg": "HS256", "key_ops": ["sign", "verify"] }), true),
        (json!({ "kty": "oct", "k": k, "alg": "HS512" }), false),
        (json!({ "kty": "oct", "k": k, "key_ops": ["encrypt"] }), false),
        (json!({ "kty": "RSA", "n": n(256), "e": "AQAB" }), true),
        (json!({ "kty": "RSA", "n": n(256), "e": "AQAB", "key_ops": ["wrapKey"] }), false),
        (json!({ "kty": "RSA", "n": n(256), "e": "AQAB", "alg": "PS256" }), false),
        (json!({ "kty": "RSA", "n": n(255), "e": "AQAB" }), false),
        (json!({ "kty": "RSA", "n": n(1_024), "e": "AQAB" }), true),
        (json!({ "kty": "RSA", "n": n(1_025), "e": "AQAB" }), false),
    ] {
        let set = json!({ "keys": [key] }).to_string();
        assert_eq!(read_keys(set.as_bytes()).is_ok(), is_used, "{set}");
    }
}

#[test]
fn whatever_is_wrong_with_a_token_one_signature_is_checked() {
    let files = Files::new();
    let good = json!({ "sub": "ana", "exp": now_s() + 60 });
    let (_, stranger) = ed25519();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let sign = |m: &[u8]| hmac::sign(&key, m).as_ref().to_vec();
    let by_secret = |header: &Value, claims: &Value| signed(header, claims, sign);
    let hs = json!({ "alg": "HS256" });
    let mut auth = with_secret(&files);
    auth.keys = vec![files.write("rsa.pem", RSA_PUBLIC)];
    auth.audiences = vec!["sockeye".into()];
    auth.issuers = vec!["us".into()];
    let keyring = keyring(&auth);
    let claims = |more: Value| {
        let mut claims = json!({ "sub": "ana", "exp": now_s() + 60, "aud": "sockeye", "iss": "us" });
        for (name, value) in more.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        by_secret(&hs, &claims)
    };
    let none = encode(&json!({ "alg": "none" }));
    let body = encode(&good);

    assert!(verify(&keyring, &claims(json!({}))).is_ok());
    assert!(verify(&keyring, &claims(json!({ "aud": ["other", "sockeye"] }))).is_ok());
    let table: Vec<(String, Fault)> = vec![
        (String::new(), Fault::Shape),
        ("x".into(), Fault::Shape),
        ("a.b.c".into(), Fault::Shape),
        (format!("{none}.{body}."), Fault::NoKey),
        (format!("{none}.{body}"), Fault::Shape),
        (format!("{}.{body}.", encode(&json!({ "alg": "NONE" }))), Fault::NoKey),
        (format!("{}.{body}.", encode(&json!({ "alg": "hs256" }))), Fault::NoKey),
        (format!("{}.{body}.", encode(&hs)), Fault::Signature),
        (format!("{}.{body}.AAAA", encode(&hs)), Fault::Signature),
        (format!("{}.{body}.AAAA", encode(&json!({ "alg": "RS256" }))), Fault::Signature),
        (format!("{}.{body}.AAAA", encode(&json!({ "alg": "ES256" }))), Fault::NoKey),
        // The public key taken for a secret: algorithm confusion.
        (hs256_with(RSA_PUBLIC.as_bytes(), &good), Fault::Signature),
        (hs256_with(RSA_PUBLIC.trim().as_bytes(), &good), Fault::Signature),
        (hs256_with(b"another secret of thirty-two bytes", &good), Fault::Signature),
        (signed(&json!({ "alg": "EdDSA" }), &good, |m| stranger.sign(m).as_ref().to_vec()), Fault::NoKey),
        (by_secret(&json!({ "alg": "HS256", "crit": ["exp"] }), &good), Fault::Shape),
        (by_secret(&json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AA" } }), &good), Fault::Issuer),
        (claims(json!({ "exp": now_s() - 11 })), Fault::Expired),
        (claims(json!({ "exp": 0 })), Fault::Expired),
        (claims(json!({ "nbf": now_s() + 11 })), Fault::NotYet),
        (claims(json!({ "exp": "tomorrow" })), Fault::Claims),
        (claims(json!({ "exp": -1 })), Fault::Claims),
        (claims(json!({ "exp": 1e300 })), Fault::Claims),
        (claims(json!({ "iss": "them" })), Fault::Issuer),
        (claims(json!({ "iss": null })), Fault::Claims),
        (claims(json!({ "aud": "other" })), Fault::Audience),
        (claims(json!({ "aud": null })), Fault::Claims),
        // Null is no end: RFC 7519, 4.1.4.
        (claims(json!({ "exp": null })), Fault::Claims),
        (claims(json!({ "roles": null })), Fault::Claims),
        (claims(json!({ "nbf": null })), Fault::Claims),
        (by_secret(&json!({ "alg": "HS256", "crit": null }), &good), Fault::Shape),
        // The same values as a list are no object: RFC 7519, 7.2.
        (by_secret(&json!(["HS256"]), &good), Fault::Shape),
        (by_secret(&json!(["HS256", null, null]), &good), Fault::Shape),
        (
            by_secret(&hs, &json!(["ana", now_s() + 60, 0, "us", "sockeye", [], ["#"], false, []])),
            Fault::Claims,
        ),
        (claims(json!({ "sub": "" })), Fault::User),
        (claims(json!({ "sub": "a\nb" })), Fault::User),
        (claims(json!({ "sub": "a".repeat(257) })), Fault::User),
        (claims(json!({ "sub": 7 })), Fault::Claims),
        (claims(json!({ "publish": "chat" })), Fault::Claims),
        (claims(json!({ "publish": ["a/#/b"] })), Fault::Pattern),
        (claims(json!({ "hear": vec!["a"; 257] })), Fault::Pattern),
        (claims(json!({ "admin": "yes" })), Fault::Claims),
        (claims(json!({ "note": "a".repeat(9_000) })), Fault::TooLong),
        ("x".repeat(1 << 20), Fault::TooLong),
    ];
    for (token, fault) in table {
        let mut checked = 0;
        let result = keyring.verify(&token, NOW, &mut checked);
        assert_eq!(result, Err(fault), "{token:.200}");
        assert_eq!(checked, 1, "{token:.200}");
    }
    // A claim that comes twice is neither of both.
    let twice = format!("{}.{}", encode(&hs), URL_SAFE_NO_PAD.encode(r#"{"sub":"ana","sub":"eve"}"#));
    let twice = format!("{twice}.{}", URL_SAFE_NO_PAD.encode(sign(twice.as_bytes())));
    assert_eq!(verify(&keyring, &twice), Err(Fault::Claims));
}

#[test]
fn rights_come_from_claims_roles_or_the_default() {
    let files = Files::new();
    let mut auth = with_secret(&files);
    let grant = |publish: &str, admin| Grant { publish: vec![publish.into()], hear: vec![], admin };
    auth.roles = [("writer".into(), grant("news/#", false)), ("admin".into(), grant("a", true))].into();
    auth.default_roles = vec!["writer".into()];
    let keyring = keyring(&auth);
    let may = |claims: Value, channel: &str| {
        let identity = verify(&keyring, &hs256(&claims)).expect("a good token");
        (
            identity.rights.check_publishing(identity.user.as_deref(), channel).is_ok(),
            identity.rights.is_admin(),
        )
    };

    assert_eq!(may(json!({ "sub": "ana" }), "news/1"), (true, false));
    assert_eq!(may(json!({ "sub": "ana", "hear": [] }), "news/1"), (false, false));
    assert_eq!(may(json!({ "sub": "ana", "roles": "writer" }), "news/1"), (true, false));
    assert_eq!(may(json!({ "roles": ["admin", "unknown"] }), "news/1"), (false, true));
    assert_eq!(may(json!({ "sub": "ana", "publish": ["to/{user}"], "admin": true }), "to/ana"), (true, true));
    // Equal grants are one.
    let one = verify(&keyring, &hs256(&json!({ "sub": "ana", "roles": "writer" }))).expect("good");
    let other = verify(&keyring, &hs256(&json!({ "sub": "ben", "publish": ["news/#"] }))).expect("good");
    assert!(std::sync::Arc::ptr_eq(&one.rights, &other.rights));
}

#[test]
fn a_token_ends_when_it_says_and_clocks_may_be_off() {
    let files = Files::new();
    let keyring = keyring(&with_secret(&files));
    let expires = |exp: Value| verify(&keyring, &hs256(&json!({ "exp": exp }))).map(|who| who.expires_ms);

    assert_eq!(expires(json!(now_s() + 60)), Ok(Some(5_000 + 70_000)));
    assert_eq!(expires(json!(now_s() as f64 + 0.5)), Ok(Some(5_000 + 10_500)));
    assert_eq!(expires(json!(now_s() - 9)), Ok(Some(6_000)));
    assert_eq!(expires(json!(now_s() - 10)), Err(Fault::Expired));
    assert!(verify(&keyring, &hs256(&json!({ "nbf": now_s() + 10 }))).is_ok());
}

#[test]
fn static_tokens_are_known_by_their_hash_and_taken_back() {
    let files = Files::new();
    let grant = Grant { publish: vec!["s/{user}".into()], ..Grant::default() };
    let token = |text| StaticToken { text, user: Some("sensor".into()), roles: vec![], grant: grant.clone() };
    let digest = digest::digest(&digest::SHA256, b"by its hash alone");
    let auth = Auth {
        tokens: vec![
            token(TokenText::Source(files.write("one", "in a file of its own\n"))),
            token(TokenText::Digest(digest.as_ref().try_into().expect("32 bytes"))),
        ],
        token_files: vec![
            files.write("t.toml", "[[tokens]]\ntoken = \"written in a file\"\nhear = [\"#\"]\n"),
        ],
        ..Auth::default()
    };
    let keyring = keyring(&auth);

    for good in ["in a file of its own", "by its hash alone", "written in a file"] {
        let identity = verify(&keyring, good).expect(good);
        let again = keyring.find(identity.credential.expect("it can be taken back"));
        assert_eq!(again, Some(identity));
    }
    for bad in ["", "in a file of its own\n", "by its hash alone!", "written in a fil", "sensor"] {
        assert_eq!(verify(&keyring, bad), Err(Fault::Unknown), "{bad}");
    }
    assert_eq!(verify(&keyring, &"x".repeat(8_193)), Err(Fault::TooLong));
    assert_eq!(super::Tokens::load(&Auth::default()).expect("nothing to read").keyring().find(7), None);
}

#[test]
fn what_cannot_be_used_is_named_and_never_shown() {
    let files = Files::new();
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let written = |text: &str| TokenText::Written(Secret::from(text.to_owned()));
    for (auth, said) in [
        (Auth { secrets: vec![files.write("s", "hunter2hunter2")], ..Auth::default() }, "at least 32 bytes"),
        (
            Auth { secrets: vec![Source::Environment("SOCKEYE_NO_SUCH".into())], ..Auth::default() },
            "SOCKEYE_NO_SUCH",
        ),
        (Auth { keys: vec![files.write("k", private)], ..Auth::default() }, "private key"),
        (Auth { keys: vec![files.write("n", "hunter2")], ..Auth::default() }, "neither PEM nor a JWKS"),
        (Auth { keys: vec![files.write("j", "{\"keys\":[]}")], ..Auth::default() }, "without a key"),
        (
            Auth { token_files: vec![files.write("t", "tokens = \"hunter2")], ..Auth::default() },
            "not TOML at line 1",
        ),
        (
            Auth {
                token_files: vec![files.write("u", "[[tokens]]\ntoken = \"hunter2\"")],
                ..Auth::default()
            },
            "less than 16",
        ),
        (
            Auth {
                tokens: vec![StaticToken {
                    text: written("hunter2hunter2hunter2"),
                    user: Some("a\u{7}".into()),
                    roles: vec![],
                    grant: Grant::default(),
                }],
                ..Auth::default()
            },
            "user's name",
        ),
        (
            Auth {
                token_files: vec![files.write(
                    "v",
                    "[[tokens]]\ntoken = \"hunter2hunter2hunter2\"\n[[tokens]]\ntoken = \"hunter2hunter2hunter2\"\nuser = \"ana\"",
                )],
                ..Auth::default()
            },
            "of user \"ana\" is listed before",
        ),
    ] {
        let error = Keyring::load(&auth).err().expect(said).to_string();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Nothing that somebody could send is taken for a token, and nothing of it makes the server fall.
    #[test]
    fn no_bytes_are_a_token(
        text in prop_oneof![
            ".{0,60}",
            "[A-Za-z0-9_.-]{0,120}",
            // A good header with anything behind it.
            "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}".prop_map(|rest| format!("eyJhbGciOiJIUzI1NiJ9.{rest}")),
            "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}".prop_map(|rest| format!("eyJhbGciOiJub25lIn0.{rest}")),
        ],
    ) {
        let files = Files::new();
        let keyring = keyring(&with_secret(&files));

        prop_assert!(verify(&keyring, &text).is_err());
    }

    /// One bit of a good token makes it a bad one, wherever it is, unless it is one that base64 does not use.
    #[test]
    fn a_changed_token_is_refused(place in 0_usize..10_000, bit in 0_u8..7) {
        let files = Files::new();
        let keyring = keyring(&with_secret(&files));
        let good = hs256(&json!({ "sub": "ana", "exp": now_s() + 60, "hear": ["chat/#"] }));
        let mut changed = good.clone().into_bytes();
        let place = place % changed.len();
        changed[place] ^= 1 << bit;

        let changed = String::from_utf8(changed).expect("seven bits are ASCII");
        prop_assert!(verify(&keyring, &changed).is_err(), "{}", changed);
    }
}
