//! Who may do what, as written: static tokens, keys, roles and what is open to everybody.
//!
//! Secrets are named, never written: a token stands in a variable, in a file, or as its hash, so that this configuration can
//! be printed. Deliberately absent: reading them and checking patterns against users (`server/token`).

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use sockeye_hub::Rights;
use toml::{Table, Value};

use crate::address::{Secret, Source};

/// How the server knows who somebody is, and what follows.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The longest token (8 KiB). Longer: refused.
    pub token_bytes_max: usize,
    /// How far the clocks of who makes tokens may be off (10 s).
    pub leeway_ms: u64,
    /// How often files of tokens and keys are looked at (1 s).
    pub check_interval_ms: u64,
    /// Who may have made a token (`iss`); empty: anybody with a key.
    pub issuers: Vec<String>,
    /// Whom a token may be meant for (`aud`).
    pub audiences: Vec<String>,
    /// Secrets for HS256.
    pub secrets: Vec<Source>,
    /// Public keys, PEM or JWKS.
    pub keys: Vec<Source>,
    /// Files of static tokens.
    pub token_files: Vec<Source>,
    /// Roles of a signed token that names no rights.
    pub default_roles: Vec<String>,
    /// Static tokens.
    pub tokens: Vec<StaticToken>,
    /// Rights by name.
    pub roles: BTreeMap<String, Grant>,
    /// What everybody may do without a token.
    pub anonymous: Option<Grant>,
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            token_bytes_max: 8 << 10,
            leeway_ms: 10_000,
            check_interval_ms: 1_000,
            issuers: Vec::new(),
            audiences: Vec::new(),
            secrets: Vec::new(),
            keys: Vec::new(),
            token_files: Vec::new(),
            default_roles: Vec::new(),
            tokens: Vec::new(),
            roles: BTreeMap::new(),
            anonymous: None,
        }
    }
}

/// What somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Patterns of channels to publish to; `{user}` stands for the user's name.
    pub publish: Vec<String>,
    /// Patterns of channels to hear.
    pub hear: Vec<String>,
    /// Hearing `$sys/#`, and reading `/metrics`.
    pub admin: bool,
}

/// One static token.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// The token, or where it is.
    pub text: TokenText,
    /// Whose it is, if anybody's.
    pub user: Option<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Rights beside those of the roles.
    pub grant: Grant,
}

/// A token, or how to know it.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenText {
    /// It is in a variable or a file.
    Source(Source),
    /// Its SHA-256.
    Digest([u8; 32]),
    /// It stands in a file of tokens.
    Written(Secret),
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StaticToken(*** of {:?})", self.user)
    }
}

impl Auth {
    /// Says whether anything here decides who may do what.
    pub fn is_configured(&self) -> bool {
        self.has_tokens() || self.anonymous.is_some()
    }

    /// Says whether any token is known.
    pub fn has_tokens(&self) -> bool {
        !(self.secrets.is_empty()
            && self.keys.is_empty()
            && self.token_files.is_empty()
            && self.tokens.is_empty())
    }

    /// Reads what is not a plain key of the section; `None` if it is one.
    pub(super) fn read(&mut self, name: &str, value: &Value) -> Option<Result<(), (String, String)>> {
        let path = format!("auth.{name}");
        let wrong = |path: String, why: &str| Some(Err((path, why.to_owned())));
        match (name, value) {
            ("roles", Value::Table(roles)) => {
                for (role, value) in roles {
                    match read_grant(&format!("{path}.{role}"), value) {
                        Ok(grant) => self.roles.insert(role.clone(), grant),
                        Err(fault) => return Some(Err(fault)),
                    };
                }
            }
            ("roles", _) => return wrong(path, "is a table of roles: write [auth.roles.NAME]"),
            ("anonymous", value) => match read_grant(&path, value) {
                Ok(grant) => self.anonymous = Some(grant),
                Err(fault) => return Some(Err(fault)),
            },
            ("tokens", Value::Array(tokens)) => {
                for (index, value) in tokens.iter().enumerate() {
                    match read_token(&format!("{path}[{index}]"), value, Written::Refused) {
                        Ok(token) => self.tokens.push(token),
                        Err(fault) => return Some(Err(fault)),
                    }
                }
            }
            ("tokens", _) => return wrong(path, "is a list of tables: write [[auth.tokens]]"),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// Prints what is not a plain key.
    pub(super) fn print(&self, out: &mut String) {
        if self.roles.is_empty() && self.tokens.is_empty() && self.anonymous.is_none() {
            out.push_str(
                "\n# Rights by name, static tokens, and what everybody may do without one. {user} stands for the user's name.\n\
                 # [auth.roles.chatter]\n# publish = [\"chat/#\"]\n# hear = [\"chat/#\", \"inbox/{user}/#\"]\n# admin = false\n\
                 #\n# [[auth.tokens]]\n# token = \"env:SENSOR_TOKEN\"     # or file:PATH, or sha256:HEX\n# user = \"sensor\"\n\
                 # roles = [\"chatter\"]\n#\n# [auth.anonymous]\n# hear = [\"news/#\"]\n",
            );
        }
        for (name, grant) in &self.roles {
            let _ = write!(out, "\n[auth.roles.{}]\n", print_key(name));
            grant.print(out);
        }
        if let Some(anonymous) = &self.anonymous {
            out.push_str("\n[auth.anonymous]\n");
            anonymous.print(out);
        }
        for token in &self.tokens {
            let text = match &token.text {
                TokenText::Source(source) => source.to_string(),
                TokenText::Digest(digest) => {
                    digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
                }
                // A token that stands in a file of its own is not part of this configuration.
                TokenText::Written(_) => continue,
            };
            let _ = write!(out, "\n[[auth.tokens]]\ntoken = {}\n", Value::String(text));
            if let Some(user) = &token.user {
                let _ = writeln!(out, "user = {}", Value::String(user.clone()));
            }
            let _ = writeln!(out, "roles = {}", Value::from(token.roles.clone()));
            token.grant.print(out);
        }
    }
}

impl Grant {
    /// These rights as the hub takes them.
    ///
    /// # Errors
    /// Names the pattern that is none.
    pub fn rights(&self) -> Result<Rights, String> {
        Rights::new(&self.publish, &self.hear, self.admin)
            .map_err(|(pattern, error)| format!("pattern {pattern:?}: {error}"))
    }

    /// Grants what `other` grants, too.
    pub fn add(&mut self, other: &Grant) {
        self.publish.extend_from_slice(&other.publish);
        self.hear.extend_from_slice(&other.hear);
        self.admin |= other.admin;
    }

    fn print(&self, out: &mut String) {
        let (publish, hear) = (Value::from(self.publish.clone()), Value::from(self.hear.clone()));
        let _ = write!(out, "publish = {publish}\nhear = {hear}\nadmin = {}\n", self.admin);
    }
}

/// Reads a file of static tokens: `[[tokens]]` tables as in the configuration, in which a token may also stand itself.
///
/// # Errors
/// Says where and why; what a token is, is not repeated.
pub fn read_token_file(text: &str) -> Result<Vec<StaticToken>, String> {
    // TOML's own message would show the line.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        format!("not TOML at line {line}: {}", error.message())
    })?;
    let mut tokens = Vec::new();
    for (name, value) in &table {
        let ("tokens", Value::Array(values)) = (name.as_str(), value) else {
            return Err(format!("{name:?}: a file of tokens has [[tokens]] tables and nothing else"));
        };
        for (index, value) in values.iter().enumerate() {
            let token = read_token(&format!("tokens[{index}]"), value, Written::Allowed);
            tokens.push(token.map_err(|(path, why)| format!("{path}: {why}"))?);
        }
    }
    Ok(tokens)
}

/// Whether a token may stand where it is described.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Allowed,
    Refused,
}

fn read_token(path: &str, value: &Value, written: Written) -> Result<StaticToken, (String, String)> {
    const BYTES_MIN: usize = 16;
    let fault = |key: &str, why: &str| Err((format!("{path}{key}"), why.to_owned()));
    let Value::Table(table) = value else { return fault("", "is a table") };
    let (mut token, mut user, mut roles) = (None, None, Vec::new());
    let mut rights = Table::new();
    for (name, value) in table {
        match (name.as_str(), value) {
            ("token", Value::String(text)) => {
                token = Some(if let Some(hex) = text.strip_prefix("sha256:") {
                    let Some(digest) = read_digest(hex) else {
                        return fault(".token", "sha256: is followed by 64 hexadecimal digits");
                    };
                    TokenText::Digest(digest)
                } else if let Ok(source) = text.parse::<Source>() {
                    TokenText::Source(source)
                } else if written == Written::Refused {
                    return fault(
                        ".token",
                        "takes env:NAME, file:PATH or sha256:HEX: no token stands here itself",
                    );
                } else if text.len() < BYTES_MIN {
                    return fault(".token", "has less than 16 bytes, which can be guessed");
                } else {
                    TokenText::Written(Secret::from(text.clone()))
                });
            }
            ("token", _) => return fault(".token", "takes a text"),
            ("user", Value::String(text)) => user = Some(text.clone()),
            ("user", _) => return fault(".user", "takes a text"),
            ("roles", value) => roles = read_texts(&format!("{path}.roles"), value)?,
            (_, value) => {
                rights.insert(name.clone(), value.clone());
            }
        }
    }
    let grant = read_grant(path, &Value::Table(rights))?;
    match token {
        Some(text) => Ok(StaticToken { text, user, roles, grant }),
        None => fault("", "has no token"),
    }
}

fn read_grant(path: &str, value: &Value) -> Result<Grant, (String, String)> {
    let Value::Table(table) = value else {
        return Err((path.to_owned(), "is a table with publish, hear and admin".to_owned()));
    };
    let mut grant = Grant::default();
    for (name, value) in table {
        let key = format!("{path}.{name}");
        match (name.as_str(), value) {
            ("publish", value) => grant.publish = read_texts(&key, value)?,
            ("hear", value) => grant.hear = read_texts(&key, value)?,
            ("admin", Value::Boolean(admin)) => grant.admin = *admin,
            ("admin", _) => return Err((key, "takes true or false".into())),
            _ => return Err((key, "is not a key: rights are publish, hear and admin".into())),
        }
    }
    grant.rights().map_err(|why| (path.to_owned(), why))?;
    Ok(grant)
}

fn read_texts(path: &str, value: &Value) -> Result<Vec<String>, (String, String)> {
    let wrong = || (path.to_owned(), "takes a list of texts: [\"...\", \"...\"]".to_owned());
    let Value::Array(values) = value else { return Err(wrong()) };
    values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

fn read_digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// A key of TOML, quoted where it has to be.
fn print_key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if is_bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}
