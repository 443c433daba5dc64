//! What a connection must know of the server around it: its name, its pages, and which browsers it trusts.

use std::net::IpAddr;
use std::sync::Arc;

use crate::tally::Tally;
use sockeye_hub::{Hub, Identity};

use crate::token::TokenCheck;

/// The fixed facts of a server.
#[derive(Clone, Debug)]
pub struct Site {
    /// Name and version, as `hello` tells them: `sockeye/0.1.0`.
    pub server: String,
    /// Web origins (`https://chat.example`) whose pages may use this server, beside its own.
    pub origins: Vec<String>,
    /// Which names a request may call this server by.
    pub hosts: Hosts,
    /// What a client is that has shown no token. `None`: it may do everything, for only this machine can reach the server.
    pub anonymous: Option<Arc<Identity>>,
    /// What comes by TCP must be encrypted.
    pub requires_tls: bool,
    /// Who knows tokens, where anybody is asked for one; it also says what is anonymous then.
    pub tokens: Option<Arc<dyn TokenCheck>>,
}

/// The names by which a request may call this server.
///
/// While nobody has to say who he is, a page from elsewhere could reach a loopback server by letting its own name point
/// here (DNS rebinding). Its requests then carry its own name as Host, and are refused. An address cannot be rebound.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Names listed in the configuration or listened on; `localhost` is always among them.
    pub names: Vec<String>,
    /// Addresses listened on; loopback ones are always among them.
    pub addresses: Vec<IpAddr>,
    /// Every address is allowed: the server listens on all of them (`0.0.0.0`, `[::]`).
    pub any_address: bool,
    /// Every name is allowed: a page that comes by a false one has no token, and without one there is nothing to be had, or
    /// what there is can be had from anywhere.
    pub any_name: bool,
}

impl Hosts {
    /// Says whether a Host header (`name`, `name:port`, `[address]:port`) calls this server.
    pub fn allow(&self, host: &str) -> bool {
        if self.any_name {
            return true;
        }
        let name = without_port(host);
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return address.is_loopback() || self.any_address || self.addresses.contains(&address);
        }
        name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

impl Site {
    /// What a client is that has shown no token.
    pub fn anonymous(&self) -> Option<Arc<Identity>> {
        match &self.tokens {
            Some(tokens) => Some(tokens.anonymous()),
            None => self.anonymous.clone(),
        }
    }

    /// Says whether a browser's page from `origin` may talk to this server, which it called `host`.
    pub fn trusts(&self, origin: &str, host: &str) -> bool {
        self.is_own(origin, host) || self.lists(origin)
    }

    /// Says whether `origin` is the server's own, under the name it was called by.
    pub fn is_own(&self, origin: &str, host: &str) -> bool {
        let (own, default_port) = match origin.split_once("://") {
            Some(("http", rest)) => (rest, ":80"),
            Some(("https", rest)) => (rest, ":443"),
            _ => return false,
        };
        let host = host.strip_suffix(default_port).unwrap_or(host);
        !own.is_empty() && own.strip_suffix(default_port).unwrap_or(own).eq_ignore_ascii_case(host)
    }

    /// Says whether `origin` is listed in the configuration.
    pub fn lists(&self, origin: &str) -> bool {
        self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon)
            if !host[colon..].contains(']') && host[colon + 1..].bytes().all(|b| b.is_ascii_digit()) =>
        {
            &host[..colon]
        }
        _ => host,
    }
}

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its Content-Type.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// Its entity tag, with quotes.
    pub etag: &'static str,
}

/// What only the shell can answer: its embedded pages and its own figures.
pub trait Pages {
    /// The page's file at `path` (`/`, `/client.js`), if there is one.
    fn asset(&self, path: &str) -> Option<Asset>;
    /// The figures of `/metrics`, in the Prometheus text format.
    fn metrics(&self, hub: &Hub, tally: &Tally) -> String;
    /// Whether `/readyz` says that new work is welcome.
    fn ready(&self) -> bool;
    /// Whether the server drains: nothing begins that would stay.
    fn draining(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            server: "sockeye/0".into(),
            origins: vec!["https://chat.example".into()],
            anonymous: None,
            requires_tls: false,
            tokens: None,
            hosts: Hosts {
                names: vec!["inner.example".into()],
                addresses: vec![],
                any_address: false,
                any_name: false,
            },
        }
    }

    #[test]
    fn loopback_and_listed_names_are_allowed_hosts_and_others_are_not() {
        let hosts = site().hosts;

        for host in [
            "localhost",
            "LocalHost:7625",
            "127.0.0.1",
            "127.0.0.9:80",
            "[::1]:7625",
            "[::1]",
            "inner.example:1",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "[2001:db8::1]:80", "", "127.0.0.1.evil"]
        {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn only_the_own_and_the_listed_origins_are_trusted() {
        let site = site();

        assert!(site.trusts("http://localhost:7625", "localhost:7625"));
        assert!(site.trusts("http://localhost", "localhost:80"));
        assert!(site.trusts("https://chat.example", "localhost:7625"));
        for origin in [
            "null",
            "",
            "http://",
            "http://localhost:7626",
            "https://evil.example",
            "file://",
            "http://localhost",
        ] {
            assert!(!site.trusts(origin, "localhost:7625"), "{origin}");
        }
    }
}
