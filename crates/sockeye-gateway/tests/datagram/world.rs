//! One server's datagram machine with a real hub, and the letters that it wrote.

use std::net::SocketAddr;

use serde_json::Value;
use sockeye_gateway::datagram::Datagrams;
use sockeye_gateway::mail::{Mail, PeerAddress, Source};
use sockeye_gateway::site::Hosts;
use sockeye_gateway::{Context, CookieKey, Limits, Out, Site, Tally, form};
use sockeye_hub::{Bye, Hub, Limits as HubLimits, Now, Rule, ShardInfo};

use crate::no_pages::NoPages;

pub(crate) struct World {
    pub(crate) datagrams: Datagrams,
    pub(crate) hub: Hub,
    pub(crate) limits: Limits,
    pub(crate) now: Now,
    site: Site,
    out: Out,
    tally: Tally,
    mail: Mail,
}

/// A letter that was written: to whom, and what.
pub(crate) type Letter = (Source, String);

impl World {
    pub(crate) fn new() -> Self {
        World::with(Limits::default(), ShardInfo::single())
    }

    pub(crate) fn with(limits: Limits, shard: ShardInfo) -> Self {
        let seed = u64::from(shard.index) + 1;
        World {
            datagrams: Datagrams::new(CookieKey::new(7, 8)),
            hub: Hub::new(HubLimits::default(), vec![Rule::kept("#")], shard, seed, 2, form::encoder(256)),
            limits,
            now: Now { ms: 600_000, unix_ms: 1_764_000_000_000 },
            site: Site {
                server: "sockeye/test".into(),
                origins: Vec::new(),
                hosts: Hosts::default(),
                anonymous: None,
                requires_tls: false,
                tokens: None,
            },
            out: Out::new(),
            tally: Tally::default(),
            mail: Mail::new(),
        }
    }

    /// Receives one datagram, and gives what is said at once and what waits.
    pub(crate) fn receive(&mut self, source: &Source, text: impl AsRef<[u8]>) -> Vec<Letter> {
        self.handle(source, text.as_ref(), false);
        self.flush();
        self.take()
    }

    /// Receives the beginning of a datagram that is too long.
    pub(crate) fn receive_cut(&mut self, source: &Source, text: &str) -> Vec<Letter> {
        self.handle(source, text.as_bytes(), true);
        self.take()
    }

    fn handle(&mut self, source: &Source, input: &[u8], is_cut: bool) {
        let mut cx = Context {
            hub: &mut self.hub,
            now: self.now,
            limits: &self.limits,
            site: &self.site,
            pages: &NoPages,
            out: &mut self.out,
            tally: &mut self.tally,
            meter: None,
        };
        self.datagrams.handle_input(source, input, is_cut, &mut self.mail, &mut cx);
        assert!(self.out.is_empty(), "what was said was not sent");
    }

    /// Writes what waits in outboxes.
    pub(crate) fn flush(&mut self) {
        while let Some(client) = self.hub.take_touched() {
            let is_ours = self.datagrams.flush(client, &mut self.mail, &mut self.hub, self.now, &self.limits);
            assert!(is_ours, "there is nobody else");
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Letter> {
        let mail = &self.mail;
        let text = |letter| String::from_utf8(mail.text(letter).to_vec()).expect("letters are text");
        let letters = mail.letters().iter().map(|letter| (letter.to.clone(), text(letter))).collect();
        self.datagrams.note_sent(&self.mail, self.mail.letters());
        self.mail.clear();
        letters
    }

    /// The socket takes none of what was written.
    pub(crate) fn refuse_letters(&mut self) {
        self.datagrams.take_back(&self.mail, self.mail.letters(), &mut self.hub);
        self.mail.clear();
    }

    pub(crate) fn receive_unsent(&mut self, source: &Source, text: &str) {
        self.handle(source, text.as_bytes(), false);
        self.flush();
        self.refuse_letters();
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_ms += ms;
        self.datagrams.handle_timeout(&mut self.hub, self.now);
        assert!(self.datagrams.poll_timeout().is_none_or(|due_ms| due_ms > self.now.ms));
    }

    pub(crate) fn drain(&mut self) -> Vec<Letter> {
        self.datagrams.bid_farewell(Bye { reason: "drain", reconnect: Some((500, 15_000)) }, &mut self.hub);
        self.flush();
        self.take()
    }

    /// A proved address: asks for a cookie as anybody does.
    pub(crate) fn cookie(&mut self, source: &Source) -> String {
        let letters = self.receive(source, r#"{"sub":"a"}"#);
        cookie_in(&letters).unwrap_or_else(|| panic!("a cookie, not {letters:?}"))
    }

    /// A session that hears `name`.
    pub(crate) fn subscribe(&mut self, source: &Source, name: &str) -> String {
        let cookie = self.cookie(source);
        let letters = self.receive(source, format!(r#"{{"sub":"{name}","id":1,"cookie":"{cookie}"}}"#));
        assert!(letters[0].1.starts_with(r#"{"ok":1"#), "{letters:?}");
        cookie
    }
}

/// The cookie of the only letter, if that is one.
pub(crate) fn cookie_in(letters: &[Letter]) -> Option<String> {
    let [(_, text)] = letters else { return None };
    let value: Value = serde_json::from_str(text).expect("letters are JSON");
    let cookie = value.get("cookie")?.as_str()?.to_owned();
    assert_eq!(cookie.len(), 16);
    Some(cookie)
}

pub(crate) fn source(address: &str) -> Source {
    Source {
        socket: 0,
        local: None,
        peer: PeerAddress::Ip(address.parse::<SocketAddr>().expect("an address")),
    }
}

pub(crate) fn texts(letters: &[Letter]) -> Vec<&str> {
    letters.iter().map(|(_, text)| text.as_str()).collect()
}
