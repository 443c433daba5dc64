//! Text to address.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use sockeye_hub::check_name;

use super::error::without_secrets;
use super::option::{KEYS, OptionFault, Options};
use super::{Address, AddressError, Base, DEFAULT_PORT, HostPort, Layer, Parts, Shape, UnixName, Url};
use super::{nearest, percent, words};

/// Every base, as it is written.
const BASES: [&str; 16] = [
    "tcp",
    "tls",
    "unix",
    "udp",
    "unixgram",
    "seqpacket",
    "ws",
    "wss",
    "http",
    "https",
    "ip",
    "packet",
    "exec",
    "sh",
    "fd",
    "file",
];

const NO_ESCAPE: &str = "% begins an escape such as %20: write %25 for the character itself";

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shown = || without_secrets(text);
        let bad = |why: String| AddressError::BadTarget { address: shown(), why };
        let (head, rest) = match text.split_once(':') {
            Some((head, rest)) => (head, Some(rest)),
            None => (text, None),
        };
        let mut names: Vec<&str> = head.split('+').collect();
        let base_name = names.pop().unwrap_or_default();
        // Without a colon only standard input and output are named: by `-`.
        let rest = match rest {
            None if base_name.split('?').next() == Some("-") => {
                base_name.strip_prefix('-').unwrap_or_default()
            }
            None => return Err(AddressError::NoBase(shown())),
            Some(rest) => rest,
        };
        let base_name = if base_name.starts_with("-?") { "-" } else { base_name };
        let mut layers = Vec::new();
        for name in names {
            let layer = Layer::ALL.into_iter().find(|layer| layer.name() == name);
            layers.push(layer.ok_or_else(|| unknown_layer(shown(), name))?);
        }

        let (base, user, options_text) = read_base(base_name, rest)
            .ok_or_else(|| unknown_base(shown(), base_name, rest))?
            .map_err(|why| bad(why.to_string()))?;
        check_layers(&layers, &base).map_err(bad)?;

        let mut address = Address { layers: layers.into(), base, options: Box::default() };
        let parts = address.parts();
        let mut options = Options::default();
        for pair in options_text.split('&').filter(|pair| !pair.is_empty()) {
            options.set(pair, parts).map_err(|fault| match fault {
                OptionFault::Unknown(key) => unknown_option(shown(), key, &address),
                OptionFault::Bad { key, why } => AddressError::BadOption { address: shown(), key, why },
            })?;
        }
        options.user = user;
        check_options(&options, &address).map_err(|why| bad(why.into()))?;
        address.options = Box::new(options);
        Ok(address)
    }
}

type Read<'a> = Result<(Base, Option<String>, &'a str), std::borrow::Cow<'static, str>>;

/// Reads the target of a base: what it is, whose name stands before it, and the options behind it. `None`: there is no such
/// base.
fn read_base<'a>(name: &str, rest: &'a str) -> Option<Read<'a>> {
    Some(match name {
        // The command is everything: its own `?` and `&` are not ours.
        "exec" => words::split(rest).map(|command| (Base::Exec(command), None, "")).map_err(Into::into),
        "sh" if rest.trim().is_empty() => Err("a command is missing: write sh:COMMAND".into()),
        "sh" => Ok((Base::Shell(rest.to_owned()), None, "")),
        "ws" | "wss" | "http" | "https" => read_url(name, rest),
        "tcp" | "tls" | "udp" | "unix" | "unixgram" | "seqpacket" | "ip" | "packet" | "fd" | "file"
        | "ch" | "-" => {
            let (target, options) = rest.split_once('?').unwrap_or((rest, ""));
            let target = target.strip_prefix("//").unwrap_or(target);
            read_target(name, target).map(|(base, user)| (base, user, options))
        }
        _ => return None,
    })
}

fn read_target(name: &str, target: &str) -> Result<(Base, Option<String>), std::borrow::Cow<'static, str>> {
    let unix = || UnixName::parse(target);
    let base = match name {
        "unix" => Base::Unix(unix()?),
        "unixgram" => Base::UnixDatagram(unix()?),
        "seqpacket" => Base::Seqpacket(unix()?),
        "ip" => Base::Ip(HostPort::parse(target, Some(0))?.host),
        "packet" => {
            let is_interface = (1..16).contains(&target.len())
                && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
            if !is_interface {
                return Err("an interface is missing: write packet:eth0".into());
            }
            Base::Packet(target.to_owned())
        }
        "fd" => match target.parse() {
            Ok(number)
                if i32::try_from(number).is_ok() && target.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Base::Descriptor(number)
            }
            _ => return Err("a descriptor is a number: write fd:3".into()),
        },
        "file" => {
            let path = percent::decode(target).ok_or(NO_ESCAPE)?;
            if path.is_empty() || path.contains(&0) {
                return Err("a path is missing: write file:PATH".into());
            }
            Base::File(PathBuf::from(OsStr::from_bytes(&path)))
        }
        "-" if target.is_empty() => Base::Standard,
        "-" => return Err("nothing stands behind -, which is standard input and output".into()),
        "ch" => {
            let (authority, channel) = target.split_once('/').ok_or(
                "a channel is missing: write ch:HOST:PORT/CHANNEL, for example ch:localhost/chat/42",
            )?;
            let (user, server) = read_authority(authority, Some(DEFAULT_PORT))?;
            if server.host.is_empty() {
                return Err("a host is missing: write ch:localhost/CHANNEL".into());
            }
            let channel = percent::decode(channel).ok_or(NO_ESCAPE)?;
            let channel = String::from_utf8(channel).map_err(|_| "the channel's name is not UTF-8")?;
            check_name(&channel).map_err(|error| error.to_string())?;
            return Ok((Base::Channel { server, channel: channel.into() }, user));
        }
        name => {
            let (user, at) = read_authority(target, None)?;
            let base = match name {
                "tcp" => Base::Tcp(at),
                "tls" => Base::Tls(at),
                _ => Base::Udp(at),
            };
            return Ok((base, user));
        }
    };
    Ok((base, None))
}

fn read_url<'a>(name: &str, rest: &'a str) -> Read<'a> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    // RFC 6455, 3: a fragment has no meaning in these URLs and is not sent, so it is free for options.
    let (url, options) = rest.split_once('#').unwrap_or((rest, ""));
    let (authority, path) = url.split_at(url.find(['/', '?']).unwrap_or(url.len()));
    if path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        return Err("the path has a blank or a character that must be percent-encoded".into());
    }
    let secure = matches!(name, "wss" | "https");
    // RFC 6455, 3 and RFC 9110, 4.2: without a port, that of HTTP.
    let (user, server) = read_authority(authority, Some(if secure { 443 } else { 80 }))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = Box::new(Url { secure, server, path });
    let base = if name.starts_with("ws") { Base::WebSocket(url) } else { Base::Http(url) };
    Ok((base, user, options))
}

fn read_authority(
    authority: &str,
    default_port: Option<u16>,
) -> Result<(Option<String>, HostPort), std::borrow::Cow<'static, str>> {
    let (user, at) = match authority.rsplit_once('@') {
        Some((user, at)) => (Some(user), at),
        None => (None, authority),
    };
    let user = match user {
        Some(user) if user.contains(':') => {
            return Err("a password is not written into an address, where every process sees it: \
                        write password=env:NAME or password=file:PATH among the options"
                .into());
        }
        Some(user) => {
            let user = percent::decode(user).ok_or(NO_ESCAPE)?;
            let user = String::from_utf8(user).map_err(|_| "the user's name is not UTF-8")?;
            if user.is_empty() || user.chars().any(|character| character.is_control() || character == ':') {
                return Err("the user's name is empty, or has a character that no name has".into());
            }
            Some(user)
        }
        None => None,
    };
    Ok((user, HostPort::parse(at, default_port)?))
}

/// Checks, from the inside out, that each layer stands on what it needs.
fn check_layers(layers: &[Layer], base: &Base) -> Result<(), String> {
    let mut shape = base.shape();
    let mut parts = base.parts();
    for (index, layer) in layers.iter().enumerate().rev() {
        let name = layer.name();
        match base {
            Base::Channel { .. } if *layer == Layer::Tls && layers.len() == 1 => return Ok(()),
            Base::Channel { .. } => return Err("a channel takes no layer but tls+".into()),
            Base::Http(_) => return Err(format!("a request takes no layer: {name}+ cannot stand before it")),
            Base::File(_) if layer.shape() == Shape::Stream || *layer == Layer::WebSocket => {
                return Err(format!("{name}+ needs somebody to talk with, and a file is nobody"));
            }
            _ => {}
        }
        if shape != Shape::Stream {
            let beneath = layers.get(index + 1).map_or(base.name(), |layer| layer.name());
            return Err(format!("{name}+ needs a stream of bytes beneath it, and {beneath} is none"));
        }
        if layers[index + 1..].contains(layer) || parts.meets(layer.parts()) {
            return Err(format!("{name}+ stands twice in the stack"));
        }
        shape = layer.shape();
        parts = parts.and(layer.parts());
    }
    Ok(())
}

/// Checks what no single option can know.
fn check_options(options: &Options, address: &Address) -> Result<(), &'static str> {
    let parts = address.parts();
    if options.user.is_some() && !parts.meets(Parts::WEBSOCKET.and(Parts::PROXY).and(Parts::HTTP)) {
        return Err("nobody asks for a user's name there: leave USER@ out");
    }
    if options.password.is_some() && options.user.is_none() {
        return Err("a password needs a user: write USER@ before the host");
    }
    if options.token.is_some() && options.user.is_some() {
        return Err("a token and a user exclude each other");
    }
    if options.key.is_some() && options.certificate.is_none() {
        return Err("a key needs its certificate: add cert=FILE");
    }
    if options.last.is_some() && options.since.is_some() {
        return Err("last and since exclude each other");
    }
    if options.write == Some(true) && options.append == Some(true) {
        return Err("write and append exclude each other");
    }
    Ok(())
}

fn unknown_base(address: String, base: &str, rest: &str) -> AddressError {
    let lower = base.to_ascii_lowercase();
    let is_port = rest.parse::<u16>().is_ok();
    let hint = if base == "listen" {
        "only relay is told who listens; for the other commands the verb says it".into()
    } else if let Some(listens) = lower.strip_suffix("-listen") {
        format!("the verb says who listens, so it is {listens}:")
    } else if BASES.contains(&lower.as_str()) {
        format!("bases are written small: {lower}:")
    } else if is_port {
        // As netcat and curl take it.
        format!("a host and a port need the kind of socket before them, such as tcp:{base}:{rest}")
    } else {
        let known: Vec<&str> = BASES.into_iter().chain(["ch"]).collect();
        match nearest(base, &known) {
            Some(near) => format!("did you mean {near}: ?"),
            None => {
                let known: Vec<String> = known.iter().map(|base| format!("{base}:")).collect();
                format!("known are {} -", known.join(" "))
            }
        }
    };
    AddressError::UnknownBase { address, base: base.to_owned(), hint }
}

fn unknown_layer(address: String, layer: &str) -> AddressError {
    let known = Layer::ALL.map(Layer::name);
    let hint = match nearest(layer, &known) {
        Some(near) => format!("did you mean {near}+ ?"),
        None => format!("known are {}", known.map(|name| format!("{name}+")).join(" ")),
    };
    AddressError::UnknownLayer { address, layer: layer.to_owned(), hint }
}

fn unknown_option(shown: String, key: String, address: &Address) -> AddressError {
    let here: Vec<&str> = address.options_known().map(|(name, ..)| name).collect();
    let everywhere: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let hint = match nearest(&key, &here).or_else(|| nearest(&key, &everywhere)) {
        Some(near) => format!("did you mean {near}?"),
        None if here.is_empty() => format!("{} has none", address.base.name()),
        None => format!("known here are {}", here.join(" ")),
    };
    AddressError::UnknownOption { address: shown, key, hint }
}
