//! `sockeye token`: a signed token for trying, without a login service.
//!
//! Deliberately absent: other algorithms than HS256 and every other claim. What makes tokens in earnest has a library for it.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ring::hmac;

use super::Failure;
use crate::address::Source;
use crate::address::unit::parse_milliseconds;
use crate::config::Grant;
use crate::net::ErrorKind;
use crate::server::{NO_USER, is_user};

/// Make a signed token (a JWT by HS256) for a server whose auth.secrets has the same secret
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    openssl rand -hex 32 > secret\n  \
    sockeye token --secret file:secret --user ana --publish 'chat/#' --hear 'chat/#' > ana.token\n  \
    sockeye sub --token file:ana.token chat/42\n\n\
    A token without --publish, --hear, --admin and --role has the server's auth.default_roles.")]
pub(super) struct Token {
    /// Where the secret is: env:NAME or file:PATH; at least 32 bytes
    #[arg(long, value_name = "SOURCE")]
    secret: Source,
    /// Whose token it is
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A pattern of channels to publish to; {user} stands for the user; may be given several times
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// A pattern of channels to hear; may be given several times
    #[arg(long, value_name = "PATTERN")]
    hear: Vec<String>,
    /// Allow hearing $sys/# and reading /metrics
    #[arg(long)]
    admin: bool,
    /// A role of the server's configuration; may be given several times
    #[arg(long, value_name = "NAME")]
    role: Vec<String>,
    /// How long it is good, such as 30s, 1h or 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_milliseconds)]
    expires: u64,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        const SECRET_BYTES_MIN: usize = 32;
        let usage = |why: String| Failure::new(ErrorKind::Usage, why);
        let secret = self.secret.read().map_err(|error| Failure::unreadable("--secret", &error))?;
        // The same bytes that the server takes: without the line end that an editor leaves.
        let secret = secret.as_text().map_or(secret.as_bytes(), str::as_bytes);
        if secret.len() < SECRET_BYTES_MIN {
            return Err(usage(format!(
                "--secret: {} has {} bytes, and {SECRET_BYTES_MIN} are the least: openssl rand -hex 32",
                self.secret,
                secret.len()
            )));
        }
        let grant = Grant { publish: self.publish, hear: self.hear, admin: self.admin };
        grant.rights().map_err(usage)?;
        if self.expires == 0 {
            return Err(usage(
                "--expires: a token that is good for no time is refused by every server".into(),
            ));
        }
        if let Some(user) = self.user.as_deref().filter(|user| !is_user(user)) {
            return Err(usage(format!("--user: {user:?} {NO_USER}")));
        }

        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let expires_ms = u64::try_from(now_ms.as_millis()).unwrap_or(u64::MAX).saturating_add(self.expires);
        let mut claims = serde_json::json!({ "exp": expires_ms as f64 / 1_000.0 });
        let mut claim = |name: &str, value: serde_json::Value| claims[name] = value;
        if let Some(user) = self.user {
            claim("sub", user.into());
        }
        if grant != Grant::default() {
            claim("publish", grant.publish.into());
            claim("hear", grant.hear.into());
            claim("admin", grant.admin.into());
        }
        if !self.role.is_empty() {
            claim("roles", self.role.into());
        }
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(&claims.to_string()));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature);
        writeln!(io::stdout(), "{message}.{signature}").context("cannot write to standard output")?;
        Ok(())
    }
}

/// Reads the token that a client shows.
pub(super) fn read(source: Option<&Source>) -> Result<Option<String>, Failure> {
    let Some(source) = source else { return Ok(None) };
    let secret = source.read().map_err(|error| Failure::unreadable("--token", &error))?;
    let token = secret.as_text().map(str::trim).filter(|token| !token.is_empty());
    let token = token
        .ok_or_else(|| Failure::new(ErrorKind::Usage, format!("--token: {source} has no token in it")))?;
    Ok(Some(token.to_owned()))
}
