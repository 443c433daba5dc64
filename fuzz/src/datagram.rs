//! Datagrams of four peers, whose addresses may be forged, to a server with a real hub.
//!
//! Whatever they send, nobody is ever sent more than three times the bytes that came from there before he has shown a
//! cookie that was sent to him, and nothing that the server says is answered by another server.
//!
//! An input is lines: the first byte of each is the peer (`0` to `3`), or `+` for 40 seconds without a word; the rest is
//! the datagram, in which `COOKIE` stands for the last cookie that this peer was sent. So one can be written by hand.

use std::net::{Ipv4Addr, SocketAddr};

use sockeye_gateway::datagram::Datagrams;
use sockeye_gateway::mail::{Mail, PeerAddress, Source};
use sockeye_gateway::site::Hosts;
use sockeye_gateway::{Context, CookieKey, Limits, Out, Site, Tally, form};
use sockeye_hub::{Hub, Limits as HubLimits, Now, Rule, ShardInfo};

use super::pages::FewPages;

/// Lets the peers speak.
pub fn datagram(data: &[u8]) {
    let (mut server, mut other) = (Server::new(1), Server::new(2));
    let mut peers: [Peer; 4] = std::array::from_fn(|_| Peer::default());

    for line in data.split(|byte| *byte == b'\n') {
        let Some((&first, text)) = line.split_first() else { continue };
        if first == b'+' {
            server.pass(40_000);
            continue;
        }
        let number = usize::from(first) % peers.len();
        let peer = &mut peers[number];
        let text = peer.with_cookie(text);
        peer.received_bytes += text.len();

        for (to, letter) in server.receive(number, &text) {
            let peer = &mut peers[to];
            peer.sent_bytes += letter.len();
            let said: serde_json::Value = serde_json::from_slice(&letter).expect("what is said is JSON");
            if let Some(cookie) = said.get("cookie") {
                peer.cookie = Some(cookie.as_str().expect("a cookie is a text").to_owned());
            }
            assert!(other.receive(0, &letter).is_empty(), "an answer was answered: {said}");
        }
        for peer in &peers {
            let is_fair = peer.sent_bytes <= 3 * peer.received_bytes;
            assert!(peer.is_proved || is_fair, "{} for {}", peer.sent_bytes, peer.received_bytes);
        }
    }
    server.pass(60_000);
    assert_eq!(server.datagrams.sessions(), 0, "a session outlived its peer's silence");
}

/// What is known of one peer.
#[derive(Default)]
struct Peer {
    cookie: Option<String>,
    /// It has shown a cookie that was sent to it, however long ago.
    is_proved: bool,
    received_bytes: usize,
    sent_bytes: usize,
}

impl Peer {
    /// The datagram with the peer's cookie in it.
    fn with_cookie(&mut self, text: &[u8]) -> Vec<u8> {
        const WORD: &[u8] = b"COOKIE";
        let mut out = Vec::with_capacity(text.len() + 16);
        let mut rest = text;
        while let Some(at) = rest.windows(WORD.len()).position(|window| window == WORD) {
            out.extend_from_slice(&rest[..at]);
            self.is_proved |= self.cookie.is_some();
            out.extend_from_slice(self.cookie.as_deref().unwrap_or("0123456789abcdef").as_bytes());
            rest = &rest[at + WORD.len()..];
        }
        out.extend_from_slice(rest);
        // A cookie may be written out as well, if whoever wrote the input knows it.
        let own = self.cookie.as_deref().map(str::as_bytes).filter(|cookie| !cookie.is_empty());
        self.is_proved |= own.is_some_and(|own| out.windows(own.len()).any(|window| window == own));
        out
    }
}

struct Server {
    datagrams: Datagrams,
    hub: Hub,
    limits: Limits,
    site: Site,
    out: Out,
    mail: Mail,
    tally: Tally,
    now: Now,
}

impl Server {
    fn new(seed: u64) -> Self {
        Server {
            datagrams: Datagrams::new(CookieKey::new(seed, 8)),
            hub: Hub::new(
                HubLimits::default(),
                vec![Rule::kept("#")],
                ShardInfo::single(),
                seed,
                2,
                form::encoder(64),
            ),
            limits: Limits { datagram_sessions_max: 3, ..Limits::default() },
            site: Site {
                server: "sockeye/fuzz".into(),
                origins: Vec::new(),
                hosts: Hosts::default(),
                anonymous: None,
                tokens: None,
                requires_tls: false,
            },
            out: Out::new(),
            mail: Mail::new(),
            tally: Tally::default(),
            now: Now { ms: 600_000, unix_ms: 1_764_000_000_000 },
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_ms += ms;
        self.datagrams.handle_timeout(&mut self.hub, self.now);
    }

    /// Handles one datagram of one peer. What is said, and to whom.
    fn receive(&mut self, peer: usize, text: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, peer as u16));
        let source = Source { socket: 0, local: None, peer: PeerAddress::Ip(address) };
        let mut cx = Context {
            hub: &mut self.hub,
            now: self.now,
            limits: &self.limits,
            site: &self.site,
            pages: &FewPages,
            out: &mut self.out,
            tally: &mut self.tally,
            meter: None,
        };
        self.datagrams.handle_input(&source, text, false, &mut self.mail, &mut cx);
        assert!(self.out.is_empty(), "what was said was not sent");
        while let Some(client) = self.hub.take_touched() {
            self.datagrams.flush(client, &mut self.mail, &mut self.hub, self.now, &self.limits);
        }
        let letters = self.mail.letters().iter().map(|letter| {
            let PeerAddress::Ip(to) = letter.to.peer else { panic!("a letter to nobody") };
            (usize::from(to.port()), self.mail.text(letter).to_vec())
        });
        let letters = letters.collect();
        self.mail.clear();
        letters
    }
}
