//! The configuration as written: a TOML file read into a [`Config`], and a [`Config`] printed as such a file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sockeye_hub::{Rule, RuleKind};
use toml::{Table, Value};

use super::key::{Field, KEYS, Key};
use super::network::Network;
use super::reload::needs_restart;
use super::{CertificateFiles, Config, Shards};
use crate::address::unit::{parse_bytes, parse_milliseconds, print_bytes, print_milliseconds};
use crate::address::{Address, Source, nearest};

/// Why a configuration cannot be used: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not TOML: {why}")]
    Syntax {
        /// The file.
        path: String,
        /// Where and why.
        why: String,
    },
    /// A key is wrong.
    #[error("{path}: {key}: {why}")]
    Key {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// Why, and what is allowed.
        why: String,
    },
    /// The whole does not fit together.
    #[error("{key}: {why}")]
    Whole {
        /// The key that is most to blame.
        key: &'static str,
        /// Why, and what is allowed.
        why: String,
    },
}

impl ConfigError {
    pub(super) fn whole(key: &'static str, why: impl Into<String>) -> Self {
        ConfigError::Whole { key, why: why.into() }
    }
}

/// A fault of one key, before it is known in which file.
struct Fault {
    key: String,
    why: String,
}

fn fault<T>(key: impl Into<String>, why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { key: key.into(), why: why.into() })
}

/// Reads a file over the defaults.
pub(super) fn read(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: name.clone(), source })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: name.clone(),
        why: error.to_string(),
    })?;
    let mut config = Config { listen_written: table.contains_key("listen"), ..Config::default() };
    apply(&mut config, &table).map_err(|Fault { key, why }| ConfigError::Key {
        path: name.clone(),
        key,
        why,
    })?;
    // Absolute, so that an error names the file that was tried, and what is printed means the same elsewhere.
    let whole = std::path::absolute(path).map_err(|source| ConfigError::Unreadable { path: name, source })?;
    if let Some(folder) = whole.parent() {
        super::path::resolve(&mut config, folder);
    }
    Ok(config)
}

fn apply(config: &mut Config, table: &Table) -> Result<(), Fault> {
    for (name, value) in table {
        match (name.as_str(), value) {
            ("channels", Value::Array(rules)) => {
                for (index, rule) in rules.iter().enumerate() {
                    let rule = read_rule(&format!("channels[{index}]"), rule, &config.default_rule)?;
                    config.rules.push(rule);
                }
            }
            ("channels", _) => return fault("channels", "is a list of tables: write [[channels]]"),
            ("limits" | "history" | "tls" | "auth", Value::Table(section)) => {
                for (key, value) in section {
                    if name == "tls" && key == "certificates" {
                        config.tls.certificates = read_certificates(value)?;
                        continue;
                    }
                    if name == "auth"
                        && let Some(read) = config.auth.read(key, value)
                    {
                        read.map_err(|(key, why)| Fault { key, why })?;
                        continue;
                    }
                    set(config, &format!("{name}.{key}"), value)?;
                }
            }
            ("limits" | "history" | "tls" | "auth", _) => {
                return fault(name, format!("is a table: write [{name}]"));
            }
            _ => set(config, name, value)?,
        }
    }
    Ok(())
}

fn set(config: &mut Config, path: &str, value: &Value) -> Result<(), Fault> {
    let Some(key) = KEYS.iter().find(|key| key.path == path) else {
        let known: Vec<&str> = KEYS
            .iter()
            .map(|key| key.path)
            .chain(["channels", "limits", "history", "tls", "tls.certificates", "auth"])
            .collect();
        return fault(path, unknown(path, &known));
    };
    match ((key.field)(config), value) {
        (Field::Addresses(field), Value::Array(values)) => {
            *field = texts(path, values)?
                .iter()
                .map(|text| text.parse::<Address>().or_else(|error| fault(path, error.to_string())))
                .collect::<Result<_, _>>()?;
        }
        (Field::Texts(field), Value::Array(values)) => *field = texts(path, values)?,
        (Field::Networks(field), Value::Array(values)) => {
            *field = texts(path, values)?
                .iter()
                .map(|text| text.parse::<Network>().or_else(|why| fault(path, why)))
                .collect::<Result<_, _>>()?;
        }
        (Field::Sources(field), Value::Array(values)) => {
            *field = texts(path, values)?
                .iter()
                .map(|text| text.parse::<Source>().or_else(|why| fault(path, why)))
                .collect::<Result<_, _>>()?;
        }
        (Field::Addresses(_) | Field::Texts(_) | Field::Sources(_) | Field::Networks(_), _) => {
            return fault(path, "takes a list of texts: [\"...\", \"...\"]");
        }
        (Field::Flag(field), Value::Boolean(flag)) => *field = *flag,
        (Field::Shards(field), value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            *field = text.parse().or_else(|why: String| fault(path, why))?;
        }
        (Field::Flag(_), _) => return fault(path, "takes true or false"),
        (Field::Level(field), Value::String(text)) => {
            *field = text.parse().or_else(|why: String| fault(path, why))?;
        }
        (Field::Level(_), _) => return fault(path, "takes a text such as \"info\""),
        (Field::Bytes(field), value) => *field = positive(path, bytes(path, value)?)?,
        (Field::Count(field), value) => *field = positive(path, count(path, value)?)?,
        (Field::CountOrNone(field), value) => *field = count(path, value)?,
        (Field::BytesOrNone(field), value) => *field = bytes(path, value)?,
        (Field::Count32(field), value) => {
            let count = positive(path, count(path, value)?)?;
            *field = u32::try_from(count).or_else(|_| fault(path, "is too large"))?;
        }
        (Field::TimeOrNone(field), value) => *field = time(path, value)?,
        (Field::Time(field), value) => *field = positive(path, time(path, value)?)?,
        (Field::Path(field), Value::String(text)) => {
            *field = (!text.is_empty()).then(|| PathBuf::from(text));
        }
        (Field::Path(_), _) => return fault(path, "takes the path of a file, or \"\""),
        (Field::Word(field), value) => {
            field.set_word(value.as_str().unwrap_or_default()).or_else(|why| fault(path, why))?;
        }
    }
    Ok(())
}

/// A bound of nothing would refuse everything, and is never what is meant.
fn positive<T: PartialEq + Default>(path: &str, number: T) -> Result<T, Fault> {
    if number == T::default() { fault(path, "must be more than 0") } else { Ok(number) }
}

fn read_rule(path: &str, value: &Value, default: &Rule) -> Result<Rule, Fault> {
    const FIELDS: [&str; 5] = ["pattern", "kind", "messages", "bytes", "age"];
    let Value::Table(table) = value else { return fault(path, "is a table: write [[channels]]") };
    let mut rule = Rule { pattern: String::new(), ..default.clone() };
    for (name, value) in table {
        let key = format!("{path}.{name}");
        match (name.as_str(), value) {
            ("pattern", Value::String(pattern)) => rule.pattern = pattern.clone(),
            ("pattern", _) => return fault(key, "takes a text such as \"prices/#\""),
            ("kind", Value::String(kind)) if kind == "live" => rule.kind = RuleKind::Live,
            ("kind", Value::String(kind)) if kind == "kept" => rule.kind = RuleKind::Kept,
            ("kind", _) => return fault(key, "takes \"live\" or \"kept\""),
            ("messages", value) => rule.messages = positive(&key, count(&key, value)?)?,
            ("bytes", value) => rule.bytes = positive(&key, bytes(&key, value)?)?,
            ("age", value) => rule.age_ms = positive(&key, time(&key, value)?)?,
            _ => return fault(key, unknown(name, &FIELDS)),
        }
    }
    // A bound that would never be met is a mistake about the kind.
    if rule.kind == RuleKind::Live
        && let Some(name) = ["messages", "bytes", "age"].into_iter().find(|name| table.contains_key(*name))
    {
        return fault(
            format!("{path}.{name}"),
            "bounds a history, and a channel of kind \"live\" has none: leave it out, or write kind = \"kept\"",
        );
    }
    if rule.pattern.is_empty() {
        return fault(path, "has no pattern: add pattern = \"prices/#\"");
    }
    Ok(rule)
}

/// The tables of `[[tls.certificates]]`.
fn read_certificates(value: &Value) -> Result<Vec<CertificateFiles>, Fault> {
    let Value::Array(tables) = value else {
        return fault("tls.certificates", "is a list of tables: write [[tls.certificates]]");
    };
    let read = |(index, value): (usize, &Value)| {
        let path = format!("tls.certificates[{index}]");
        let Value::Table(table) = value else {
            return fault(path, "is a table: write [[tls.certificates]]");
        };
        let mut files = CertificateFiles::default();
        for (name, value) in table {
            let key = format!("{path}.{name}");
            match (name.as_str(), value.as_str()) {
                ("certificate", Some(text)) => files.certificate = text.into(),
                ("key", Some(text)) => files.key = text.into(),
                ("certificate" | "key", None) => return fault(key, "takes the path of a PEM file"),
                _ => return fault(key, unknown(name, &["certificate", "key"])),
            }
        }
        if files.certificate.as_os_str().is_empty() || files.key.as_os_str().is_empty() {
            return fault(path, "needs both: certificate = \"FILE.pem\" and key = \"FILE.key\"");
        }
        Ok(files)
    };
    tables.iter().enumerate().map(read).collect()
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("is not a key; did you mean {near:?}?"),
        None => "is not a key; `sockeye check --print` lists them all".into(),
    }
}

fn texts(path: &str, values: &[Value]) -> Result<Vec<String>, Fault> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => fault(path, format!("takes texts, not {other}")),
    };
    values.iter().map(text).collect()
}

fn count(path: &str, value: &Value) -> Result<usize, Fault> {
    match value {
        Value::Integer(number) => {
            usize::try_from(*number).or_else(|_| fault(path, "takes a number that is not negative"))
        }
        other => fault(path, format!("takes a whole number, not {other}")),
    }
}

fn bytes(path: &str, value: &Value) -> Result<usize, Fault> {
    match value {
        Value::String(text) => parse_bytes(text).or_else(|why| fault(path, why)),
        other => count(path, other),
    }
}

fn time(path: &str, value: &Value) -> Result<u64, Fault> {
    match value {
        Value::String(text) => parse_milliseconds(text).or_else(|why| fault(path, why)),
        other => fault(path, format!("takes a time such as \"25s\", not {other}")),
    }
}

/// Prints every key with its comment and value.
pub(super) fn print(config: &Config) -> String {
    let mut config = config.clone();
    let mut out =
        String::from("# The configuration of a Sockeye server: every key, and what it is set to.\n");
    let mut section = "";
    for key in KEYS {
        let (in_section, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if in_section != section {
            section = in_section;
            let _ = write!(out, "\n[{section}]");
        }
        let restart = if needs_restart(key.path) { " A change needs a restart." } else { "" };
        let value = value_of((key.field)(&mut config));
        let _ = write!(out, "\n# {}{restart}\n{name} = {value}\n", key.comment);
    }
    if config.tls.certificates.is_empty() {
        out.push_str(
            "\n# Certificate chains and their keys, as PEM files. Clients are shown the one that has the name they ask for,\n\
             # else the first.\n# [[tls.certificates]]\n# certificate = \"/etc/sockeye/chat.example.pem\"\n\
             # key = \"/etc/sockeye/chat.example.key\"\n",
        );
    }
    for files in &config.tls.certificates {
        let (certificate, key) = (text_of(&files.certificate), text_of(&files.key));
        let _ = write!(out, "\n[[tls.certificates]]\ncertificate = {certificate}\nkey = {key}\n");
    }
    config.auth.print(&mut out);
    if config.rules.is_empty() {
        out.push_str(
            "\n# What channels keep, by pattern; the first that matches wins. kind is \"live\" (nothing is kept) or \"kept\".\n\
             # [[channels]]\n# pattern = \"prices/#\"\n# kind = \"kept\"\n# messages = 1\n# bytes = \"256KiB\"\n# age = \"1h\"\n",
        );
    }
    for rule in &config.rules {
        let pattern = Value::String(rule.pattern.clone());
        let _ = write!(out, "\n[[channels]]\npattern = {pattern}\n");
        if rule.kind == RuleKind::Live {
            out.push_str("kind = \"live\"\n");
            continue;
        }
        let (bytes, age) = (print_bytes(rule.bytes), print_milliseconds(rule.age_ms));
        let messages = rule.messages;
        let _ = write!(out, "kind = \"kept\"\nmessages = {messages}\nbytes = \"{bytes}\"\nage = \"{age}\"\n");
    }
    out
}

/// Says whether two configurations say the same for a key.
pub(super) fn same_key(key: &Key, one: &Config, other: &Config) -> bool {
    value_of((key.field)(&mut one.clone())) == value_of((key.field)(&mut other.clone()))
}

/// Gives a key the value that it has in another configuration.
pub(super) fn copy_key(key: &Key, from: &Config, to: &mut Config) {
    let written = format!("value = {}", value_of((key.field)(&mut from.clone())));
    let read = written.parse::<Table>().ok().and_then(|table| set(to, key.path, table.get("value")?).ok());
    read.expect("what is printed for a key can be read for it");
}

fn value_of(field: Field<'_>) -> String {
    match field {
        Field::Addresses(list) => {
            Value::from(list.iter().map(Address::to_string).collect::<Vec<_>>()).to_string()
        }
        Field::Texts(list) => Value::from(list.clone()).to_string(),
        Field::Networks(list) => {
            Value::from(list.iter().map(Network::to_string).collect::<Vec<_>>()).to_string()
        }
        Field::Sources(list) => {
            Value::from(list.iter().map(Source::to_string).collect::<Vec<_>>()).to_string()
        }
        Field::Flag(flag) => flag.to_string(),
        Field::Shards(Shards::Cores) => "\"cores\"".into(),
        Field::Shards(Shards::Count(count)) => count.to_string(),
        Field::BytesOrNone(bytes) if *bytes == 0 => "0".into(),
        Field::Bytes(bytes) | Field::BytesOrNone(bytes) => format!("{:?}", print_bytes(*bytes)),
        Field::Count(count) | Field::CountOrNone(count) => count.to_string(),
        Field::Count32(count) => count.to_string(),
        Field::Time(ms) | Field::TimeOrNone(ms) => format!("{:?}", print_milliseconds(*ms)),
        Field::Level(level) => format!("{:?}", level.as_str()),
        Field::Path(path) => path.as_deref().map_or("\"\"".into(), text_of),
        Field::Word(word) => format!("{:?}", word.as_word()),
    }
}

fn text_of(path: &Path) -> String {
    Value::from(path.display().to_string()).to_string()
}
