//! What the server is told: as written (a TOML file, flags) and as meant ([`Config`]: complete, typed, checked once).
//!
//! A flag beats the file, the file beats the default. The only room that reads configuration and environment; deliberately
//! absent: a second format, environment variables that change behaviour, and defaults that expose anything beyond loopback.

mod auth;
mod environment;
mod file;
mod guard;
mod host_name;
mod key;
mod level;
mod limit;
mod listen;
mod network;
mod origin;
mod path;
mod reload;
mod shards;
mod tls;
mod word;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sockeye_gateway::site::Hosts;
use sockeye_gateway::{DeflateMode, Limits as ConnectionLimits};
use sockeye_hub::{Limits as HubLimits, Rule};

use crate::address::{Address, Base, DEFAULT_PORT, UDP_BYTES_MAX};

pub use crate::address::unit::parse_bytes;
pub use auth::{Auth, Grant, StaticToken, TokenText, read_token_file};
pub use environment::Environment;
pub use file::ConfigError;
pub use guard::{GuardLimits, PerWhom};
pub use level::Level;
pub use limit::ServerLimits;
pub(crate) use listen::check_address;
pub use network::{Network, holds, masked};
pub use reload::{Reloaded, Source};
pub use shards::{SHARDS_MAX, Shards};
pub use tls::{CertificateFiles, ClientCertificate, TlsConfig, TlsMode, TlsVersion};

/// What the server is to do: complete, typed, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Address>,
    /// Somebody wrote where to listen: it holds beside sockets that the service manager passes, which replace the
    /// default.
    pub listen_written: bool,
    /// UDP is received on the port of every TCP address.
    pub datagrams: bool,
    /// Writes of one turn leave together, where the system allows it.
    pub io_uring: bool,
    /// Listening beyond loopback is meant.
    pub open: bool,
    /// How much is logged.
    pub log: Level,
    /// How many shards.
    pub shards: Shards,
    /// Web origins whose pages may use this server.
    pub origins: Vec<String>,
    /// Names by which requests may call this server, beside `localhost` and its own addresses.
    pub names: Vec<String>,
    /// Bounds of channels, histories and outboxes.
    pub hub: HubLimits,
    /// Bounds and timeouts of connections.
    pub connection: ConnectionLimits,
    /// Bounds and timeouts of the loop.
    pub server: ServerLimits,
    /// Bounds of what one address or connection may take from all.
    pub guard: GuardLimits,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_protocol_from: Vec<Network>,
    /// TLS.
    pub tls: TlsConfig,
    /// Who may do what.
    pub auth: Auth,
    /// What channels keep, by pattern; the first that matches a name wins.
    pub rules: Vec<Rule>,
    /// What a channel keeps that no rule matches.
    pub default_rule: Rule,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![Address::tcp("localhost", DEFAULT_PORT)],
            listen_written: false,
            datagrams: true,
            io_uring: true,
            open: false,
            log: Level::default(),
            shards: Shards::Cores,
            origins: Vec::new(),
            names: Vec::new(),
            hub: HubLimits::default(),
            connection: ConnectionLimits::default(),
            server: ServerLimits::default(),
            guard: GuardLimits::default(),
            proxy_protocol_from: Vec::new(),
            tls: TlsConfig::default(),
            auth: Auth::default(),
            rules: Vec::new(),
            default_rule: Rule::kept("#"),
        }
    }
}

/// What the flags of `serve` and `check` say, over whatever the file says.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, which replaces the file's list.
    pub listen: Vec<Address>,
    /// `--deflate`.
    pub deflate: Option<DeflateMode>,
    /// `--open`.
    pub open: bool,
    /// `--shards`.
    pub shards: Option<Shards>,
    /// `--message-bytes-max`.
    pub message_bytes_max: Option<usize>,
    /// `--log`.
    pub log: Option<Level>,
    /// `--tls-certificate`, which with `--tls-key` replaces the file's list.
    pub tls_certificate: Option<PathBuf>,
    /// `--tls-key`.
    pub tls_key: Option<PathBuf>,
    /// `--self-signed`.
    pub self_signed: bool,
}

impl Config {
    /// Reads the file, if one is given, lays the flags over it, and checks the whole.
    ///
    /// # Errors
    /// Names the file, the key and what is allowed.
    pub fn load(path: Option<&Path>, overrides: Overrides) -> Result<Config, ConfigError> {
        let mut config = match path {
            Some(path) => file::read(path)?,
            None => Config::default(),
        };
        if !overrides.listen.is_empty() {
            config.listen = overrides.listen;
            config.listen_written = true;
        }
        if let Some(mode) = overrides.deflate {
            config.connection.deflate = mode;
        }
        if let Some(level) = overrides.log {
            config.log = level;
        }
        config.open |= overrides.open;
        config.shards = overrides.shards.unwrap_or(config.shards);
        if let Some(bytes) = overrides.message_bytes_max {
            config.set_message_bytes_max(bytes);
        }
        config.tls.override_with(overrides.tls_certificate, overrides.tls_key, overrides.self_signed);
        config.check()?;
        Ok(config)
    }

    /// The whole configuration as a file that says the same, each key with its comment.
    pub fn print(&self) -> String {
        file::print(self)
    }

    fn set_message_bytes_max(&mut self, bytes: usize) {
        self.hub.message_bytes_max = bytes;
        self.connection.message_bytes_max = bytes;
    }

    /// Checks what no single key can know.
    fn check(&mut self) -> Result<(), ConfigError> {
        // One knob, two machines that obey it.
        self.connection.message_bytes_max = self.hub.message_bytes_max;
        self.connection.requests_in_flight_max = self.hub.requests_in_flight_max;
        self.connection.answers_bytes_max = self.hub.answers_bytes_max;
        self.guard.pause_ms_max = self.connection.ping_interval_ms;
        if self.listen.is_empty() {
            return Err(ConfigError::whole(
                "listen",
                "names no address: give at least one, such as tcp:127.0.0.1:7625",
            ));
        }
        for (index, address) in self.listen.iter().enumerate() {
            listen::check_address(address)
                .and_then(|()| listen::check_beside(address, &self.listen[..index], self.datagrams))
                .map_err(|why| ConfigError::whole("listen", format!("{address}: {why}")))?;
        }
        for name in &self.names {
            host_name::check(name).map_err(|why| ConfigError::whole("names", why))?;
        }
        for origin in &mut self.origins {
            *origin = origin::as_sent(origin).map_err(|why| ConfigError::whole("origins", why))?;
        }
        if !self.open
            && !self.auth.is_configured()
            && let Some(address) = self.listen.iter().find(|address| !address.is_local())
        {
            return Err(ConfigError::whole(
                "listen",
                format!(
                    "{address} is reachable from other machines, and nobody has to say who he is: \
                     listen on loopback (tcp:127.0.0.1:PORT), say who may do what under [auth], or say --open if that is meant"
                ),
            ));
        }
        if let Some(role) = self.auth.default_roles.iter().find(|role| !self.auth.roles.contains_key(*role)) {
            return Err(ConfigError::whole(
                "auth.default_roles",
                format!("there is no role {role:?}: add [auth.roles.{role}]"),
            ));
        }
        for token in &self.auth.tokens {
            if let Some(role) = token.roles.iter().find(|role| !self.auth.roles.contains_key(*role)) {
                return Err(ConfigError::whole(
                    "auth.tokens",
                    format!("there is no role {role:?}: add [auth.roles.{role}]"),
                ));
            }
        }
        if self.server.drain_reconnect_min_ms > self.server.drain_reconnect_max_ms {
            return Err(ConfigError::whole(
                "limits.drain_reconnect_min",
                "is greater than limits.drain_reconnect_max",
            ));
        }
        let datagram_bytes_max = UDP_BYTES_MAX.min(self.server.datagram_buffer_bytes);
        if self.connection.datagram_message_bytes_max > datagram_bytes_max {
            return Err(ConfigError::whole(
                "limits.datagram_message_bytes_max",
                format!(
                    "no datagram carries so much: at most {datagram_bytes_max} bytes, which are those of UDP over IPv4 \
                     ({UDP_BYTES_MAX}), or limits.datagram_buffer_bytes where that is less"
                ),
            ));
        }
        if self.connection.ping_interval_ms >= self.connection.silence_timeout_ms {
            return Err(ConfigError::whole(
                "limits.ping_interval",
                "must be less than limits.silence_timeout",
            ));
        }
        self.check_heads()?;
        self.tls.check()?;
        for rule in self.rules.iter().chain([&self.default_rule]) {
            rule.check().map_err(|error| {
                ConfigError::whole("channels", format!("pattern {:?}: {error}", rule.pattern))
            })?;
        }
        Ok(())
    }

    /// Checks that what clients send by themselves finds room in the head of a request.
    fn check_heads(&self) -> Result<(), ConfigError> {
        let connection = &self.connection;
        if connection.head_bytes_max < HEAD_BYTES_MIN {
            return Err(ConfigError::whole(
                "limits.head_bytes_max",
                format!(
                    "is too little for a browser, which would always get 431: at least {HEAD_BYTES_MIN}B"
                ),
            ));
        }
        if connection.headers_max < HEADERS_MIN {
            return Err(ConfigError::whole(
                "limits.headers_max",
                format!("is too little for a browser, which would always get 431: at least {HEADERS_MIN}"),
            ));
        }
        if connection.target_bytes_max < TARGET_BYTES_MIN {
            return Err(ConfigError::whole(
                "limits.target_bytes_max",
                format!("leaves no room for the names of channels: at least {TARGET_BYTES_MIN}B"),
            ));
        }
        if connection.target_bytes_max > connection.head_bytes_max {
            return Err(ConfigError::whole(
                "limits.target_bytes_max",
                "is greater than limits.head_bytes_max, of which the target is a part: set it to less, or the other to more",
            ));
        }
        Ok(())
    }

    /// Checks whether a socket that the service manager passed may be listened on.
    ///
    /// # Errors
    /// When it is reachable from other machines, and that was not said to be meant.
    pub fn check_passed(&self, address: SocketAddr) -> Result<(), ConfigError> {
        if self.open || self.auth.is_configured() || address.ip().is_loopback() {
            return Ok(());
        }
        Err(ConfigError::whole(
            "listen",
            format!(
                "the socket on {address} that the service manager passed is reachable from other machines, and nobody \
                 has to say who he is: bind it to loopback, or say --open if that is meant"
            ),
        ))
    }

    /// Says whether only this machine can reach the server.
    pub fn is_loopback(&self) -> bool {
        self.listen.iter().all(Address::is_local)
    }

    /// The rules with the default one last.
    pub fn all_rules(&self) -> Vec<Rule> {
        self.rules.iter().chain([&self.default_rule]).cloned().collect()
    }

    /// The names and addresses by which requests may call a server that listens on these.
    pub fn hosts(&self, listening: &[SocketAddr]) -> Hosts {
        let listened_names = self.listen.iter().filter_map(|address| match &address.base {
            Base::Tcp(at) if !at.host.is_empty() && at.ip().is_none() => Some(at.host.clone()),
            _ => None,
        });
        Hosts {
            names: self.names.iter().cloned().chain(listened_names).collect(),
            addresses: listening
                .iter()
                .map(SocketAddr::ip)
                .chain(self.names.iter().filter_map(|name| host_name::address(name)))
                .collect(),
            any_address: listening.iter().any(|address| address.ip().is_unspecified()),
            any_name: self.auth.is_configured()
                && (self.auth.anonymous.is_none()
                    || listening.iter().any(|address| !address.ip().is_loopback())),
        }
    }
}

/// The least that holds the head of a browser's WebSocket handshake, which has some 600 bytes without cookies.
const HEAD_BYTES_MIN: usize = 1_024;
/// The fewest header fields that hold the same: it has some 14.
const HEADERS_MIN: usize = 16;
/// The least that holds every path of the server's own, and a channel's name of usual length.
const TARGET_BYTES_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sockeye.toml");
        std::fs::write(&path, text).expect("a file");
        Config::load(Some(&path), Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let config = load("").expect("an empty file is a file");

        assert_eq!(config.print(), Config::default().print());
    }

    #[test]
    fn what_is_printed_can_be_read_and_means_the_same() {
        let text = "listen = [\"tcp:127.0.0.1:0\", \"unix:/tmp/x.sock\"]\nshards = 3\norigins = [\"https://a.example\"]\n\
                    [limits]\nmessage_bytes_max = \"2MiB\"\nping_interval = \"10s\"\n\
                    [[channels]]\npattern = \"prices/#\"\nkind = \"live\"\n\
                    [[channels]]\npattern = \"chat/+\"\nmessages = 5\nage = \"1h\"\n\
                    [tls]\nmode = \"required\"\nclient_ca = \"ca.pem\"\nclient_certificate = \"optional\"\n\
                    [[tls.certificates]]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";
        let config = load(text).expect("a good file");

        let again = load(&config.print()).expect("what we print is a good file");

        assert_eq!(again.print(), config.print());
        assert_eq!(config.connection.message_bytes_max, 2 << 20);
        assert_eq!(again.shards, Shards::Count(3));
        assert_eq!(config.rules.len(), 2);
        assert_eq!(config.rules[1].age_ms, 3_600_000);
    }

    #[test]
    fn every_key_is_printed_with_its_default_and_a_comment() {
        let print = Config::default().print();

        for key in key::KEYS {
            let name = key.path.rsplit('.').next().expect("a path has a last part");
            let line = print.lines().position(|line| line.starts_with(&format!("{name} = ")));
            let line = line.unwrap_or_else(|| panic!("{name} is printed"));
            assert!(
                print.lines().nth(line - 1).is_some_and(|before| before.starts_with("# ")),
                "{name} has a comment"
            );
        }
    }

    #[test]
    fn the_manual_shows_every_key() {
        let manual = include_str!("../../../../docs/configuration.md");

        let print = Config::default().print();

        assert!(
            manual.contains(print.trim()),
            "docs/configuration.md must hold what `sockeye check --print` prints"
        );
    }

    #[test]
    fn wrong_files_are_refused_by_name() {
        for (text, said) in [
            ("lisen = []", "did you mean \"listen\""),
            ("[limits]\nmessage_byte_max = 5", "did you mean \"limits.message_bytes_max\""),
            ("[limits]\nmessage_bytes_max = \"5 bananas\"", "limits.message_bytes_max"),
            ("[limits]\nmessage_bytes_max = 0", "limits.message_bytes_max"),
            ("[limits]\naddress_exceptions = [\"10.0.0.1/8\"]", "10.0.0.0/8"),
            ("proxy_protocol_from = \"unix\"", "a list"),
            ("[limits]\nping_interval = \"60s\"", "limits.silence_timeout"),
            ("listen = \"tcp:127.0.0.1:1\"", "a list"),
            ("listen = [\"tpc:127.0.0.1:1\"]", "did you mean tcp:"),
            ("listen = [\"tcp:0.0.0.0:1\"]", "--open"),
            ("listen = []", "names no address"),
            ("open = 1", "true or false"),
            ("shards = 0", "from 1 to 256"),
            ("shards = \"many\"", "from 1 to 256"),
            ("[[channels]]\nkind = \"kept\"", "pattern"),
            ("[[channels]]\npattern = \"a/#/b\"", "a/#/b"),
            ("[[channels]]\npattern = \"a\"\nkind = \"keep\"", "\"live\" or \"kept\""),
            ("[[channels]]\npattern = \"a\"\nmesages = 1", "did you mean \"messages\""),
            ("[tls]\nmode = \"requird\"", "\"optional\" or \"required\""),
            ("[tls]\nmode = \"required\"", "[[tls.certificates]]"),
            ("[tls]\nclient_certificate = \"required\"", "tls.client_certificate"),
            ("[[tls.certificates]]\ncertificate = \"a.pem\"", "tls.certificates[0]"),
            ("[[tls.certificates]]\nkey = \"a\"\ncertificat = \"b\"", "did you mean \"certificate\""),
            ("deflate = \"on\"", "\"dedicated\" or \"off\""),
            ("a = [", "sockeye.toml"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn beyond_loopback_needs_to_be_said() {
        let open =
            Overrides { listen: vec!["tcp::7625".parse().expect("an address")], ..Overrides::default() };

        assert!(Config::load(None, open.clone()).is_err());
        assert!(Config::load(None, Overrides { open: true, ..open }).is_ok());
        for loopback in ["tcp:127.0.0.5:1", "tcp:localhost:1", "tcp:[::1]:1", "unix:/tmp/x"] {
            let listen = vec![loopback.parse().expect("an address")];
            assert!(Config::load(None, Overrides { listen, ..Overrides::default() }).is_ok(), "{loopback}");
        }
    }
}
