//! What an address means, layer by layer: its options with their defaults, the privileges it needs, and the classical calls
//! that will be made. Nothing is opened, looked up or read.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::address::{Address, Base, HostPort, Layer, Shape, UnixName};
use crate::net::Kind;

/// An address, explained.
#[derive(Clone, Debug)]
pub struct Explanation {
    address: String,
    carries: &'static str,
    stack: Vec<(String, String)>,
    options: Vec<SetOption>,
    privileges: Vec<String>,
    warnings: Vec<String>,
    connect: Result<Vec<String>, String>,
    listen: Result<Vec<String>, String>,
}

#[derive(Clone, Debug)]
struct SetOption {
    name: &'static str,
    value: Option<String>,
    default: &'static str,
    comment: &'static str,
}

/// Explains an address.
pub fn explain(address: &Address) -> Explanation {
    let given = address.options.given();
    let options = address.options_known().map(|(name, comment, default)| SetOption {
        name,
        value: given.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        default,
        comment,
    });
    let usable = Kind::of(address).map_err(|error| error.to_string());
    Explanation {
        address: address.shown(),
        carries: match address.shape() {
            Shape::Stream => "a stream of bytes: in order, without boundaries",
            Shape::Datagram => "datagrams: with boundaries",
            Shape::Message => "messages: with boundaries, in order",
            Shape::Raw => "packets as they are on the network",
        },
        stack: stack(address),
        options: options.collect(),
        privileges: privileges(address),
        warnings: warnings(address),
        connect: usable.clone().map(|_| connect_calls(address)),
        listen: usable.and_then(|_| listen_calls(address)),
    }
}

/// The stack from the top down: what each part is, and what it does.
fn stack(address: &Address) -> Vec<(String, String)> {
    let mut stack: Vec<(String, String)> = address
        .layers
        .iter()
        .map(|layer| {
            let does = match layer {
                Layer::Tls => "encrypts, and checks who the peer is",
                Layer::WebSocket => {
                    "text and binary messages, with a close that has a code and a reason (RFC 6455)"
                }
                Layer::Socks5 => "through a SOCKS5 proxy (RFC 1928)",
                Layer::Connect => "through an HTTP proxy (RFC 9110, 9.3.6)",
                Layer::ProxyProtocol => "says first whose connection it is (PROXY protocol)",
                Layer::Lines => "each line is a message",
                Layer::Length => {
                    "each message has its length before it: four bytes, the most significant first"
                }
                Layer::JsonLines => "each line is a JSON object that tells a message with its kind",
            };
            (layer.name().to_owned(), does.to_owned())
        })
        .collect();
    let mut add = |name: &str, does: String| stack.push((name.to_owned(), does));
    match &address.base {
        Base::Tcp(at) => add("tcp", at_words(at)),
        Base::Tls(at) => {
            add("tls", "encrypts, and checks who the peer is".into());
            add("tcp", at_words(at));
        }
        Base::WebSocket(url) => {
            add("ws", format!("messages (RFC 6455), asked for by GET {}", url.path_shown()));
            if url.secure {
                add("tls", "encrypts, and checks who the peer is".into());
            }
            add("tcp", at_words(&url.server));
        }
        Base::Http(url) => {
            let method = address.options.method.as_deref().unwrap_or("GET, or POST with what is sent,");
            add("http", format!("one request and its answer (RFC 9110): {method} {}", url.path_shown()));
            if url.secure {
                add("tls", "encrypts, and checks who the peer is".into());
            }
            add("tcp", at_words(&url.server));
        }
        Base::Channel { server, channel } => {
            add("ch", format!("the channel {channel} of a Sockeye server: each message is one frame"));
            add("ws", "messages (RFC 6455)".into());
            add("tcp", at_words(server));
        }
        Base::Udp(at) => add("udp", at_words(at)),
        Base::Unix(name) => add("unix", unix_words(name)),
        Base::UnixDatagram(name) => add("unixgram", unix_words(name)),
        Base::Seqpacket(name) => add("seqpacket", unix_words(name)),
        Base::Ip(host) => add("ip", format!("raw IP packets, to and from {host}")),
        Base::Packet(interface) => add("packet", format!("whole frames of the interface {interface}")),
        Base::Exec(words) => add(
            "exec",
            format!("the program {:?} with {} arguments, without a shell", words[0], words.len() - 1),
        ),
        Base::Shell(_) => add("sh", "a command of /bin/sh: its standard input and output".into()),
        Base::Descriptor(number) => add("fd", format!("descriptor {number}, that this process was given")),
        Base::File(path) => add("file", format!("the file {}", path.display())),
        Base::Standard => add("-", "standard input and output".into()),
    }
    stack
}

fn at_words(at: &HostPort) -> String {
    match at.host.as_str() {
        "" => {
            format!("port {} of every local address when listening, of this machine when connecting", at.port)
        }
        host => format!("host {host}, port {}", at.port),
    }
}

fn unix_words(name: &UnixName) -> String {
    match name {
        UnixName::Path(path) => format!("between processes of this machine, at {}", path.display()),
        UnixName::Abstract(_) => {
            "between processes of this machine, by an abstract name: no file, no permissions".into()
        }
    }
}

fn privileges(address: &Address) -> Vec<String> {
    let mut needed = Vec::new();
    let is_network = matches!(address.base, Base::Ip(_) | Base::Packet(_));
    if is_network {
        needed.push("CAP_NET_RAW: packets of any kind".to_owned());
    }
    if address.options.mark.is_some() {
        needed.push("CAP_NET_ADMIN: the option mark".to_owned());
    }
    if let Some(at) = address.host_port().filter(|at| (1..1024).contains(&at.port)) {
        needed.push(format!("to listen only: CAP_NET_BIND_SERVICE, since port {} is below 1024", at.port));
    }
    if let Base::Unix(UnixName::Path(path))
    | Base::UnixDatagram(UnixName::Path(path))
    | Base::Seqpacket(UnixName::Path(path)) = &address.base
    {
        needed.push(format!("write permission on {} to connect, on its folder to listen", path.display()));
    }
    needed
}

fn warnings(address: &Address) -> Vec<String> {
    let mut warnings = Vec::new();
    if address.options.insecure == Some(true) {
        warnings.push(
            "insecure: any certificate is trusted, so whoever is in between can read and change everything"
                .into(),
        );
    }
    if let Base::WebSocket(url) | Base::Http(url) = &address.base {
        let query = url.path.split_once('?').map_or("", |(_, query)| query);
        let known: Vec<&str> = address.options_known().map(|(name, ..)| name).collect();
        for pair in query.split('&') {
            let name = pair.split('=').next().unwrap_or_default();
            if known.contains(&name) {
                warnings.push(format!(
                    "{name} stands in the query, which is sent to the server: as an option write #{name}"
                ));
            }
        }
        if !url.secure && address.options.token.is_some() && !url.server.is_loopback() {
            warnings
                .push(format!("the token is sent unencrypted: {}s: would encrypt it", address.base.name()));
        }
    }
    warnings
}

/// The options that become calls, in the order in which they are made.
fn set_calls(address: &Address) -> Vec<String> {
    let options = &address.options;
    let mut calls = Vec::new();
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            calls.push(format!("setsockopt({name}, {value})"));
        }
    };
    set("SO_BINDTODEVICE", options.device.clone());
    set("SO_MARK", options.mark.map(|mark| mark.to_string()));
    set("IP_TOS or IPV6_TCLASS", options.tos.map(|tos| tos.to_string()));
    set("IP_TTL or IPV6_UNICAST_HOPS", options.ttl.map(|ttl| ttl.to_string()));
    set("SO_REUSEPORT", options.reuse_port.filter(|on| *on).map(|_| "1".into()));
    set("SO_SNDBUF", options.send_buffer.map(|bytes| bytes.to_string()));
    set("SO_RCVBUF", options.receive_buffer.map(|bytes| bytes.to_string()));
    set("SO_BROADCAST", options.broadcast.filter(|on| *on).map(|_| "1".into()));
    set("IP_ADD_MEMBERSHIP or IPV6_ADD_MEMBERSHIP", options.join.clone());
    if is_tcp(&address.base) {
        set("TCP_NODELAY", Some(u8::from(options.no_delay.unwrap_or(true)).to_string()));
        set(
            "SO_KEEPALIVE and TCP_KEEPIDLE",
            options.keep_alive.map(|idle| format!("{} s", idle.as_secs().max(1))),
        );
    }
    calls
}

fn is_tcp(base: &Base) -> bool {
    matches!(base, Base::Tcp(_) | Base::Tls(_) | Base::WebSocket(_) | Base::Http(_) | Base::Channel { .. })
}

fn family(address: &Address) -> &'static str {
    use crate::address::Family;
    match address.options.family {
        Some(Family::V4) => "AF_INET",
        Some(Family::V6) => "AF_INET6",
        None => "AF_INET6 and AF_INET",
    }
}

fn connect_calls(address: &Address) -> Vec<String> {
    let mut calls = Vec::new();
    let at = address.host_port();
    if let Some(at) = at {
        if at.ip().is_none() && !at.host.is_empty() && !at.host.eq_ignore_ascii_case("localhost") {
            calls.push(format!("getaddrinfo({:?})", at.host));
        }
        let kind = if is_tcp(&address.base) { "SOCK_STREAM" } else { "SOCK_DGRAM" };
        calls.push(format!("socket({}, {kind})", family(address)));
        calls.extend(set_calls(address));
        if let Some(bind) = &address.options.bind {
            calls.push(format!("bind({bind})"));
        }
        let is_group = at.ip().is_some_and(|ip| ip.is_multicast()) || address.options.broadcast == Some(true);
        if is_group {
            calls.push(format!("sendto({at}), recvfrom(): a group has no single peer to connect to"));
            return calls;
        }
        if is_tcp(&address.base) {
            calls.push(format!(
                "connect({at}): each address of the host in turn, the next after 250 ms (RFC 8305)"
            ));
        } else {
            calls.push(format!("connect({at}): no packet is sent, the kernel remembers the peer"));
        }
    }
    match &address.base {
        Base::Unix(name) => calls.extend(["socket(AF_UNIX, SOCK_STREAM)".into(), format!("connect({name})")]),
        Base::UnixDatagram(name) => calls.extend([
            "socket(AF_UNIX, SOCK_DGRAM)".into(),
            "bind(an abstract name, so that the peer can answer)".into(),
            format!("connect({name})"),
        ]),
        Base::Exec(_) | Base::Shell(_) => calls.extend(["pipe(), pipe()".into(), "fork(), exec()".into()]),
        Base::File(path) => calls.push(format!("open({})", path.display())),
        Base::Descriptor(number) => calls.push(format!("fcntl({number}, F_DUPFD_CLOEXEC)")),
        _ => {}
    }
    let secure = matches!(&address.base, Base::Tls(_))
        || matches!(&address.base, Base::WebSocket(url) | Base::Http(url) if url.secure);
    if secure || address.layers.contains(&Layer::Tls) {
        calls.push("the TLS handshake: ClientHello, ServerHello, certificates, Finished".into());
    }
    if let Base::Http(_) = address.base {
        let whole = "recv(): the body of the answer, whole; a status of 300 or more is an error";
        calls.extend([
            "send(): the request, its body in chunks".into(),
            end_calls(address),
            whole.into(),
            "close()".into(),
        ]);
        return calls;
    }
    if is_websocket(address) {
        calls.push("the WebSocket handshake: GET with Upgrade: websocket, answered by 101".into());
    }
    calls.extend(["send(), recv()".to_owned(), end_calls(address), "close()".to_owned()]);
    calls
}

fn end_calls(address: &Address) -> String {
    match (address.shape(), is_websocket(address)) {
        (_, true) => "at the end of input: a close frame, answered by the peer's".into(),
        (Shape::Datagram | Shape::Raw, _) => "at the end of input: nothing that the peer could hear".into(),
        _ if matches!(address.base, Base::Http(_)) => {
            "at the end of input: the request ends, without a body if there was no input".into()
        }
        _ if address.layers.first() == Some(&Layer::JsonLines) => {
            "at the end of input: a line with the close, shutdown(SHUT_WR); receiving goes on".into()
        }
        _ => "at the end of input: shutdown(SHUT_WR); receiving goes on".into(),
    }
}

fn is_websocket(address: &Address) -> bool {
    matches!(address.base, Base::WebSocket(_) | Base::Channel { .. })
        || address.layers.contains(&Layer::WebSocket)
}

fn listen_calls(address: &Address) -> Result<Vec<String>, String> {
    let mut calls = Vec::new();
    match &address.base {
        Base::Channel { .. } => return Err("a channel is the server's to listen on".into()),
        Base::Http(_) => return Err("it is a request, which a client makes: sockeye serve, or tcp:".into()),
        Base::Exec(_) | Base::Shell(_) | Base::File(_) | Base::Descriptor(_) | Base::Standard => {
            return Err("nobody can connect to it".into());
        }
        Base::Unix(name) | Base::UnixDatagram(name) => {
            let kind = if matches!(address.base, Base::Unix(_)) { "SOCK_STREAM" } else { "SOCK_DGRAM" };
            calls.push(format!("socket(AF_UNIX, {kind})"));
            calls.extend(set_calls(address));
            calls.push(format!("bind({name}): a file that nobody listens behind is replaced"));
            if let Some(mode) = address.options.mode {
                calls.push(format!("chmod({:o})", mode.0));
            }
        }
        base => {
            let kind = if is_tcp(base) { "SOCK_STREAM" } else { "SOCK_DGRAM" };
            calls.push(format!("socket({}, {kind}): one for each family", family(address)));
            calls.extend(set_calls(address));
            if is_tcp(base) {
                calls.push("setsockopt(SO_REUSEADDR, 1)".into());
            }
            if let Some(at) = address.host_port() {
                calls.push(format!("bind({at})"));
            }
        }
    }
    if address.shape() == Shape::Datagram {
        calls.push("recvfrom(), sendto(): each peer is a session, which ends after 60 s of silence".into());
        return Ok(calls);
    }
    calls.push(format!("listen({})", address.options.backlog.unwrap_or(1_024)));
    calls.push("accept()".into());
    let is_secure =
        matches!(&address.base, Base::Tls(_)) || matches!(&address.base, Base::WebSocket(url) if url.secure);
    if is_secure || address.layers.contains(&Layer::Tls) {
        if address.options.certificate.is_none() {
            return Err("who listens with TLS needs a certificate: add cert=FILE and key=FILE".into());
        }
        calls.push("the TLS handshake, as its server".into());
    }
    if is_websocket(address) {
        calls.push("the WebSocket handshake, as its server".into());
    }
    calls.extend(["recv(), send()".to_owned(), "close()".to_owned()]);
    Ok(calls)
}

impl Explanation {
    /// For people.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n  carries {}\n", self.address, self.carries);
        for (index, (name, does)) in self.stack.iter().enumerate() {
            let _ = writeln!(out, "  {:indent$}{name}: {does}", "", indent = 2 * index);
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "\nwarning: {warning}");
        }
        let _ = writeln!(out, "\nprivileges: {}", if self.privileges.is_empty() { "none" } else { "" });
        for privilege in &self.privileges {
            let _ = writeln!(out, "  {privilege}");
        }
        for (verb, calls) in [("connect", &self.connect), ("listen", &self.listen)] {
            match calls {
                Ok(calls) => {
                    let _ = writeln!(out, "\nto {verb}:");
                    for (index, call) in calls.iter().enumerate() {
                        let _ = writeln!(out, "  {}. {call}", index + 1);
                    }
                }
                Err(why) => {
                    let _ = writeln!(out, "\nto {verb}: not possible: {why}");
                }
            }
        }
        if !self.options.is_empty() {
            out.push_str("\noptions (* given):\n");
        }
        for option in &self.options {
            let mark = if option.value.is_some() { '*' } else { ' ' };
            let value = option.value.as_deref().unwrap_or(option.default);
            let _ = writeln!(out, " {mark}{:<15} {value:<24} {}", option.name, option.comment);
        }
        out
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let calls = |calls: &Result<Vec<String>, String>| match calls {
            Ok(calls) => json!({ "possible": true, "calls": calls }),
            Err(why) => json!({ "possible": false, "why": why }),
        };
        json!({
            "address": self.address,
            "carries": self.carries,
            "stack": self.stack.iter().map(|(name, does)| json!({ "name": name, "does": does })).collect::<Vec<_>>(),
            "options": self.options.iter().map(|option| json!({
                "name": option.name,
                "given": option.value,
                "default": option.default,
                "does": option.comment,
            })).collect::<Vec<_>>(),
            "privileges": self.privileges,
            "warnings": self.warnings,
            "connect": calls(&self.connect),
            "listen": calls(&self.listen),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: &str) -> String {
        explain(&address.parse().expect(address)).to_text()
    }

    #[test]
    fn the_stack_is_told_from_the_top_down_with_its_calls() {
        let text = text("wss://example.org/live#no-delay=false&keep-alive=30s");

        let places = [
            "ws: messages",
            "tls: encrypts",
            "tcp: host example.org, port 443",
            "getaddrinfo(\"example.org\")",
            "socket(AF_INET6 and AF_INET, SOCK_STREAM)",
            "setsockopt(TCP_NODELAY, 0)",
            "TCP_KEEPIDLE, 30 s",
            "connect(example.org:443)",
            "TLS handshake",
            "WebSocket handshake",
            "close()",
            "*no-delay",
        ];
        let mut at = 0;
        for place in places {
            at += text[at..].find(place).unwrap_or_else(|| panic!("{place} comes in order:\n{text}"));
        }
        assert!(text.contains("needs a certificate"), "{text}");
    }

    #[test]
    fn privileges_and_risks_are_told() {
        assert!(text("tcp::80").contains("CAP_NET_BIND_SERVICE"));
        assert!(text("udp:h:5000?mark=7").contains("CAP_NET_ADMIN"));
        assert!(text("packet:eth0").contains("CAP_NET_RAW"));
        assert!(text("tls:h:1?insecure").contains("any certificate is trusted"));
        assert!(text("wss://h/?insecure").contains("write #insecure"));
        assert!(text("tcp::7000").contains("privileges: none"));
    }

    #[test]
    fn what_is_not_there_yet_is_said_by_name() {
        for (address, said) in [
            ("seqpacket:/x", "seqpacket:"),
            ("socks5+tcp:p:1?to=h:2", "socks5+"),
            ("exec:cat", "nobody can connect to it"),
            ("jsonl+tcp:h:1", "a line with the close"),
            ("https://h/", "TLS handshake"),
            ("http://h/x#method=PUT", "PUT /x"),
            ("http://h/", "which a client makes"),
            ("ch:localhost/chat", "the server's to listen on"),
        ] {
            assert!(text(address).contains(said), "{address}");
        }
    }

    #[test]
    fn secrets_are_named_by_where_they_are_and_queries_are_masked() {
        let explained =
            explain(&"ws://ana@h/?access_token=hunter2#password=env:PW".parse().expect("an address"));

        for shown in [explained.to_text(), explained.to_json().to_string()] {
            assert!(shown.contains("env:PW") && !shown.contains("hunter2"), "{shown}");
        }
    }
}
