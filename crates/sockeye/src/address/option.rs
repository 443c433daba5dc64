//! Options: every key that an address may have, where it belongs, and what it means.
//!
//! One table reads, prints and explains, so the three cannot disagree. Deliberately absent: keys that nothing obeys, and
//! secrets, of which an address only says where they are.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Source;
use super::unit::{parse_bytes, parse_milliseconds, print_bytes, print_milliseconds};
use super::{HostPort, percent};

/// What an option may belong to: the parts of an address's stack, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts(pub(super) u16);

impl Parts {
    pub(super) const NONE: Parts = Parts(0);
    pub(super) const TCP: Parts = Parts(1);
    pub(super) const UDP: Parts = Parts(1 << 1);
    pub(super) const UNIX: Parts = Parts(1 << 2);
    pub(super) const TLS: Parts = Parts(1 << 3);
    pub(super) const WEBSOCKET: Parts = Parts(1 << 4);
    /// A WebSocket whose address is no URL: its path and host are options.
    pub(super) const WEBSOCKET_LAYER: Parts = Parts(1 << 5);
    pub(super) const CHANNEL: Parts = Parts(1 << 6);
    pub(super) const FILE: Parts = Parts(1 << 7);
    pub(super) const RAW_IP: Parts = Parts(1 << 8);
    pub(super) const PROXY: Parts = Parts(1 << 9);
    /// What makes messages out of a stream, or has them by itself.
    pub(super) const FRAMED: Parts = Parts(1 << 10);
    pub(super) const HTTP: Parts = Parts(1 << 11);
    const IP: Parts = Parts::TCP.and(Parts::UDP);

    pub(super) const fn and(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }

    pub(super) const fn meets(self, other: Parts) -> bool {
        self.0 & other.0 != 0
    }

    /// In words, for who used an option elsewhere.
    fn names(self) -> String {
        const NAMES: [(Parts, &str); 12] = [
            (Parts::TCP, "tcp"),
            (Parts::UDP, "udp"),
            (Parts::UNIX, "unix"),
            (Parts::TLS, "tls"),
            (Parts::WEBSOCKET, "ws"),
            (Parts::WEBSOCKET_LAYER, "ws+"),
            (Parts::HTTP, "http"),
            (Parts::CHANNEL, "ch"),
            (Parts::FILE, "file"),
            (Parts::RAW_IP, "ip"),
            (Parts::PROXY, "socks5+ and connect+"),
            (Parts::FRAMED, "lines+, len+ and jsonl+"),
        ];
        let names: Vec<&str> =
            NAMES.iter().filter(|(part, _)| self.meets(*part)).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

/// One key.
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// Where it belongs.
    pub(super) parts: Parts,
    /// What it does.
    pub(super) comment: &'static str,
    /// What holds without it.
    pub(super) default: &'static str,
    pub(super) set: fn(&mut Options, &[u8]) -> Result<(), String>,
    pub(super) value: fn(&Options) -> Option<Vec<u8>>,
}

macro_rules! options {
    ($($field:ident: $type:ty, $name:literal, $parts:expr, $default:literal, $comment:literal;)*) => {
        /// The options of an address; `None` means the default.
        ///
        /// # Examples
        ///
        /// ```
        /// use sockeye::address::Address;
        ///
        /// let address: Address = "tcp::7000?backlog=64".parse()?;
        /// assert_eq!(address.options.backlog, Some(64));
        /// # Ok::<(), sockeye::address::AddressError>(())
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct Options {
            /// Who asks, of URLs: `user@`.
            pub user: Option<String>,
            $(#[doc = $comment] pub $field: Option<$type>,)*
        }

        pub(super) const KEYS: &[Key] = &[$(Key {
            name: $name,
            parts: $parts,
            comment: $comment,
            default: $default,
            set: |options, value| {
                options.$field = Some(<$type as Value>::read(value)?);
                Ok(())
            },
            value: |options| options.$field.as_ref().map(Value::written),
        }),*];
    };
}

options! {
    family: Family, "family", Parts::IP, "any", "Only IPv4 (4) or only IPv6 (6).";
    bind: HostPort, "bind", Parts::IP, "chosen by the system", "The local address and port to connect from.";
    device: String, "device", Parts::IP, "any", "The network interface to use, by its name.";
    mark: u32, "mark", Parts::IP, "0", "The mark that routing and firewall rules see; needs CAP_NET_ADMIN.";
    tos: u8, "tos", Parts::IP, "0", "Type of service: the DSCP and ECN bits of every packet.";
    ttl: u8, "ttl", Parts::IP, "the system's; 1 for multicast", "How many routers a packet may pass.";
    send_buffer: usize, "send-buffer", Parts::IP.and(Parts::UNIX), "the system's", "The kernel's buffer for what is sent.";
    receive_buffer: usize, "receive-buffer", Parts::IP.and(Parts::UNIX), "the system's", "The kernel's buffer for what is received.";
    timeout: Duration, "timeout", Parts::TCP.and(Parts::UNIX), "10s", "How long each step of connecting may take: the name, the connection, each handshake.";
    no_delay: bool, "no-delay", Parts::TCP, "true", "Send small writes at once, without waiting for more (TCP_NODELAY).";
    keep_alive: Duration, "keep-alive", Parts::TCP, "off", "After this silence the kernel asks whether the peer is still there.";
    backlog: u32, "backlog", Parts::TCP.and(Parts::UNIX), "1024", "How many connections may wait to be accepted.";
    reuse_port: bool, "reuse-port", Parts::IP, "false", "Several sockets may listen on one port and share what comes.";
    broadcast: bool, "broadcast", Parts::UDP, "false", "Allow datagrams to broadcast addresses.";
    join: String, "join", Parts::UDP, "none", "The interface on which to join the multicast group: its name, or its address.";
    multicast_loop: bool, "loop", Parts::UDP, "true", "Whether multicast datagrams also come back to this machine.";
    mode: Mode, "mode", Parts::UNIX, "by the umask", "Permissions of a socket file that is listened on, in octal.";
    ca: File, "ca", Parts::TLS, "the system's", "The certificates to trust, in PEM: instead of the system's; for who listens, whom to demand of clients.";
    certificate: File, "cert", Parts::TLS, "none", "Our certificate chain, in PEM.";
    key: File, "key", Parts::TLS, "none", "The private key of our certificate, in PEM.";
    server_name: String, "server-name", Parts::TLS, "the host", "The name that the peer's certificate must have.";
    alpn: List, "alpn", Parts::TLS, "none", "Protocols to offer inside TLS, the favourite first.";
    insecure: bool, "insecure", Parts::TLS, "false", "Trust any certificate: whoever is in between can read and change everything.";
    path: String, "path", Parts::WEBSOCKET_LAYER, "/", "The path to ask for, with its query.";
    host: String, "host", Parts::WEBSOCKET_LAYER, "localhost", "The host to ask for.";
    subprotocol: List, "subprotocol", Parts::WEBSOCKET, "none", "Subprotocols to offer or to speak, the favourite first.";
    origin: String, "origin", Parts::WEBSOCKET, "none", "The web page that a browser would name.";
    deflate: bool, "deflate", Parts::WEBSOCKET, "false", "Offer to the server, or accept from clients, that messages are compressed (permessage-deflate).";
    message_max: usize, "message-max", Parts::WEBSOCKET.and(Parts::FRAMED), "64MiB", "The largest message that is accepted. A larger one ends the connection.";
    method: String, "method", Parts::HTTP, "GET; POST when there is input", "The method of the request.";
    token: Source, "token", Parts::WEBSOCKET.and(Parts::HTTP), "none", "Where the bearer token is: env:NAME or file:PATH.";
    password: Source, "password", Parts::WEBSOCKET.and(Parts::PROXY).and(Parts::HTTP), "none", "Where the password of USER@ is: env:NAME or file:PATH.";
    last: u64, "last", Parts::CHANNEL, "0", "Begin with this many of the newest messages.";
    since: String, "since", Parts::CHANNEL, "none", "Begin after this position.";
    own: bool, "own", Parts::CHANNEL, "true", "Hear one's own messages too.";
    hear: bool, "hear", Parts::CHANNEL, "true", "Hear the channel; false only publishes.";
    publish: bool, "publish", Parts::CHANNEL, "true", "Publish to the channel; false only hears.";
    write: bool, "write", Parts::FILE, "false", "Make the file or empty it, and write to it, instead of reading.";
    append: bool, "append", Parts::FILE, "false", "Make the file if it is missing, and write behind its end, instead of reading.";
    protocol: String, "proto", Parts::RAW_IP, "none", "The IP protocol, by name or number.";
    to: HostPort, "to", Parts::PROXY, "none", "Where the proxy is to connect to.";
}

impl Options {
    /// Says whether everything is at its default.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// assert!("tcp::7000".parse::<Address>()?.options.is_empty());
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        *self == Options::default()
    }

    /// The names of the options that were given, and their values as written. Secrets are named by where they are.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// let address: Address = "tcp::7000?backlog=64".parse()?;
    /// assert_eq!(address.options.given(), [("backlog", "64".to_owned())]);
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn given(&self) -> Vec<(&'static str, String)> {
        KEYS.iter()
            .filter_map(|key| (key.value)(self).map(|value| (key.name, percent::encode(&value))))
            .collect()
    }

    /// The names of the options that were given and are not among `known`: for a place that obeys only those.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::address::Address;
    ///
    /// let address: Address = "tcp::7000?backlog=64&ttl=3".parse()?;
    /// assert_eq!(address.options.given_beside(&["backlog"]), ["ttl"]);
    /// # Ok::<(), sockeye::address::AddressError>(())
    /// ```
    pub fn given_beside(&self, known: &[&str]) -> Vec<&'static str> {
        let given = self.given().into_iter().map(|(name, _)| name);
        given.filter(|name| !known.contains(name)).chain(self.user.as_ref().map(|_| "user@")).collect()
    }

    /// Reads one `key=value`, of an address with these parts.
    pub(super) fn set(&mut self, pair: &str, parts: Parts) -> Result<(), OptionFault> {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        };
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Err(OptionFault::Unknown(name.to_owned()));
        };
        let fault = |why: String| Err(OptionFault::Bad { key: key.name, why });
        if !parts.meets(key.parts) {
            return fault(format!("does not apply here: it belongs to {}", key.parts.names()));
        }
        if (key.value)(self).is_some() {
            return fault("is given twice".into());
        }
        let Some(value) = value.map_or(Some(Vec::new()), percent::decode) else {
            return fault("has a % that begins no escape: write %25 for the character itself".into());
        };
        (key.set)(self, &value).or_else(fault)
    }

    /// As they are written behind an address, without the sign before the first.
    pub(super) fn written(&self) -> String {
        let pair = |key: &Key| {
            let value = (key.value)(self)?;
            // A flag that is on needs no value.
            let pair = if value == b"true" {
                key.name.to_owned()
            } else {
                format!("{}={}", key.name, percent::encode(&value))
            };
            Some(pair)
        };
        KEYS.iter().filter_map(pair).collect::<Vec<_>>().join("&")
    }
}

/// What is wrong with one option, before it is known of which address. It does not repeat the value, which may be a
/// secret.
pub(super) enum OptionFault {
    Unknown(String),
    Bad { key: &'static str, why: String },
}

/// A value of an option: how it is read, and how it is written.
trait Value: Sized {
    fn read(value: &[u8]) -> Result<Self, String>;
    fn written(&self) -> Vec<u8>;
}

fn text(value: &[u8]) -> Result<&str, String> {
    let text = str::from_utf8(value).map_err(|_| "is not UTF-8".to_owned())?;
    if text.chars().any(char::is_control) {
        return Err("has a control character".into());
    }
    Ok(text)
}

impl Value for String {
    fn read(value: &[u8]) -> Result<Self, String> {
        let text = text(value)?;
        if text.is_empty() { Err("needs a value".into()) } else { Ok(text.to_owned()) }
    }

    fn written(&self) -> Vec<u8> {
        self.clone().into_bytes()
    }
}

impl Value for bool {
    fn read(value: &[u8]) -> Result<Self, String> {
        match value {
            b"" | b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err("takes true or false".into()),
        }
    }

    fn written(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn read(value: &[u8]) -> Result<Self, String> {
                let number = match text(value)?.strip_prefix("0x") {
                    Some(digits) => <$type>::from_str_radix(digits, 16).ok(),
                    None => text(value)?.parse().ok(),
                };
                number.ok_or_else(|| format!("takes a number from 0 to {}", <$type>::MAX))
            }

            fn written(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
        }
    )*};
}

number!(u8, u32, u64);

impl Value for usize {
    fn read(value: &[u8]) -> Result<Self, String> {
        match parse_bytes(text(value)?) {
            Ok(0) => Err("must be more than 0".into()),
            Ok(bytes) => Ok(bytes),
            Err(_) => Err("takes a size such as 65536, 64KiB or 16MiB".into()),
        }
    }

    fn written(&self) -> Vec<u8> {
        print_bytes(*self).into_bytes()
    }
}

impl Value for Duration {
    fn read(value: &[u8]) -> Result<Self, String> {
        match parse_milliseconds(text(value)?) {
            Ok(0) => Err("must be more than 0".into()),
            Ok(ms) => Ok(Duration::from_millis(ms)),
            Err(_) => Err("takes a time such as 500ms, 25s or 10m".into()),
        }
    }

    fn written(&self) -> Vec<u8> {
        let ms = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        print_milliseconds(ms).into_bytes()
    }
}

impl Value for HostPort {
    fn read(value: &[u8]) -> Result<Self, String> {
        HostPort::parse(text(value)?, None).map_err(|why| format!("takes HOST:PORT: {why}"))
    }

    fn written(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Value for Source {
    fn read(value: &[u8]) -> Result<Self, String> {
        // The value is not repeated: it may be the secret itself.
        Source::parse(value).ok_or_else(|| {
            "takes env:NAME or file:PATH: a secret is not written into an address, where every process sees it".into()
        })
    }

    fn written(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

/// A file in PEM: a path, `file:PATH`, or `env:NAME`.
///
/// # Examples
///
/// ```
/// use sockeye::address::Address;
///
/// let address: Address = "tls:localhost:7000?ca=ca.pem".parse()?;
/// assert!(address.options.ca.is_some());
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File(pub Source);

impl Value for File {
    fn read(value: &[u8]) -> Result<Self, String> {
        use std::os::unix::ffi::OsStrExt as _;
        if let Some(source) = Source::parse(value) {
            return Ok(File(source));
        }
        let is_path = !value.is_empty() && !value.starts_with(b"env:") && !value.starts_with(b"file:");
        if !is_path || value.contains(&0) {
            return Err("takes the path of a file, or env:NAME".into());
        }
        Ok(File(Source::File(PathBuf::from(std::ffi::OsStr::from_bytes(value)))))
    }

    fn written(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt as _;
        match &self.0 {
            Source::File(path) => {
                let path = path.as_os_str().as_bytes();
                let is_plain = !path.starts_with(b"env:") && !path.starts_with(b"file:");
                if is_plain { path.to_vec() } else { self.0.to_bytes() }
            }
            Source::Environment(_) => self.0.to_bytes(),
        }
    }
}

/// Several words, separated by commas.
///
/// # Examples
///
/// ```
/// use sockeye::address::Address;
///
/// let address: Address = "ws://localhost/#subprotocol=chat,superchat".parse()?;
/// assert_eq!(address.options.subprotocol.map(|list| list.0.len()), Some(2));
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List(pub Vec<String>);

impl Value for List {
    fn read(value: &[u8]) -> Result<Self, String> {
        let words: Vec<String> = text(value)?.split(',').map(|word| word.trim().to_owned()).collect();
        if words.iter().any(String::is_empty) {
            return Err("takes words separated by commas".into());
        }
        Ok(List(words))
    }

    fn written(&self) -> Vec<u8> {
        self.0.join(",").into_bytes()
    }
}

/// Which Internet Protocol.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Family};
///
/// let address: Address = "tcp:localhost:7000?family=6".parse()?;
/// assert_eq!(address.options.family, Some(Family::V6));
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Value for Family {
    fn read(value: &[u8]) -> Result<Self, String> {
        match value {
            b"4" => Ok(Family::V4),
            b"6" => Ok(Family::V6),
            _ => Err("takes 4 or 6".into()),
        }
    }

    fn written(&self) -> Vec<u8> {
        match self {
            Family::V4 => b"4".to_vec(),
            Family::V6 => b"6".to_vec(),
        }
    }
}

/// Permissions of a file, as `chmod` takes them.
///
/// # Examples
///
/// ```
/// use sockeye::address::{Address, Mode};
///
/// let address: Address = "unix:/run/app.sock?mode=660".parse()?;
/// assert_eq!(address.options.mode, Some(Mode(0o660)));
/// # Ok::<(), sockeye::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode(pub u32);

impl Value for Mode {
    fn read(value: &[u8]) -> Result<Self, String> {
        match u32::from_str_radix(text(value)?, 8) {
            Ok(mode @ 0..=0o777) => Ok(Mode(mode)),
            _ => Err("takes permissions in octal, such as 660".into()),
        }
    }

    fn written(&self) -> Vec<u8> {
        format!("{:o}", self.0).into_bytes()
    }
}
