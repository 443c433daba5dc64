//! A whole connection: any bytes, cut anywhere, into the gateway with a real hub behind it.
//!
//! Whatever comes, what is said does not depend on the cuts, everything that is queued can be said, nothing is left
//! waiting, and who hears everything hears lines of JSON.

use std::sync::Arc;

use sockeye_gateway::site::Hosts;
use sockeye_gateway::{Connection, Context, Ending, Form, Limits, Out, Site, Tally, Transport, form};
use sockeye_hub::{
    ClientId, ClientSetup, Hub, Item, Limits as HubLimits, Now, Rule, ShardInfo, Slow, Start, Subscribe, Tag,
};

use super::Stream;
use super::pages::FewPages;

/// Speaks to a server of its own, and is overheard by one that hears every channel.
pub fn connection(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    let (whole, cut) = (converse(stream.whole()), converse(stream.cut()));

    assert_eq!(String::from_utf8_lossy(&whole.said), String::from_utf8_lossy(&cut.said));
    assert_eq!(whole.overheard, cut.overheard);
    for line in whole.overheard.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice::<serde_json::Value>(line) {
            // A number of any size is JSON (RFC 8259, 6), and goes through as it is.
            Err(error) if error.to_string().starts_with("number out of range") => {}
            heard => assert!(heard.is_ok(), "what is heard is one JSON object a line: {heard:?}"),
        }
    }
}

struct Conversation {
    said: Vec<u8>,
    overheard: Vec<u8>,
}

struct World {
    hub: Hub,
    limits: Limits,
    site: Site,
    out: Out,
    tally: Tally,
    machine: Connection,
    ear: Connection,
    now: Now,
    conversation: Conversation,
}

/// How long an input is that may have messages which are pointed at instead of copied, and the largest of these.
const LONG_INPUT_BYTES: usize = 1_024;
const LONG_MESSAGE_BYTES_MAX: usize = 4_096;
/// Of others. Small, so that they reach it.
const MESSAGE_BYTES_MAX: usize = 64;

fn converse(pieces: Vec<&[u8]>) -> Conversation {
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let is_long = bytes >= LONG_INPUT_BYTES;
    let mut world = World::new(if is_long { LONG_MESSAGE_BYTES_MAX } else { MESSAGE_BYTES_MAX });
    for piece in pieces {
        world.hear(piece);
    }
    world.act(|machine, cx| machine.handle_end(cx));
    // Long silence: everything that is timed must come to its end, or wait for the client.
    for _ in 0..8 {
        world.now.ms += 100_000;
        world.act(|machine, cx| machine.handle_timeout(cx));
    }
    assert!(world.hub.outbox(world.machine.client()).is_empty(), "something is left unsaid");
    world.hub.disconnect(world.machine.client());
    world.conversation
}

impl World {
    fn new(message_bytes_max: usize) -> Self {
        let limits = Limits { message_bytes_max, head_bytes_max: 512, ..Limits::default() };
        let hub_limits = HubLimits { message_bytes_max, ..HubLimits::default() };
        let mut hub =
            Hub::new(hub_limits, vec![Rule::kept("#")], ShardInfo::single(), 1, 2, form::encoder(64));
        let now = Now { ms: 1_000, unix_ms: 1_764_000_000_000 };
        let mut connect = || hub.connect(ClientSetup { encoding: Form::Line.encoding(), identity: None });
        let (client, ear) = (connect(), connect());
        let everything = Subscribe { start: Start::Live, own: true, slow: Slow::All };
        hub.subscribe(ear, Tag::Silent, "#", everything, now);
        let site = Site {
            server: "sockeye/fuzz".into(),
            origins: vec!["https://listed.example".into()],
            hosts: Hosts::default(),
            anonymous: None,
            requires_tls: false,
            tokens: None,
        };
        World {
            machine: Connection::new(client, Transport::Tcp, &limits, now),
            ear: Connection::new(ear, Transport::Unix, &limits, now),
            hub,
            limits,
            site,
            out: Out::new(),
            tally: Tally::default(),
            now,
            conversation: Conversation { said: Vec::new(), overheard: Vec::new() },
        }
    }

    /// Gives the machine one piece, again and again until it has taken all of it, as the loop does.
    fn hear(&mut self, piece: &[u8]) {
        let mut input = piece.to_vec();
        while !input.is_empty() {
            if !self.machine.may_read(&self.hub, &self.limits) {
                return assert_ne!(self.machine.ending(), Ending::No, "paused, with nothing to wait for");
            }
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
            let taken = self.machine.handle_input(&mut input, &mut cx);
            self.out.for_each(&input, |bytes| self.conversation.said.extend_from_slice(bytes));
            self.out.clear();
            input.drain(..taken);
            self.write();
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut Connection, &mut Context<'_>)) {
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
        act(&mut self.machine, &mut cx);
        self.out.for_each(&[], |bytes| self.conversation.said.extend_from_slice(bytes));
        self.out.clear();
        self.write();
    }

    fn write(&mut self) {
        write(&mut self.machine, &mut self.hub, &self.limits, self.now, &mut self.conversation.said);
        write(&mut self.ear, &mut self.hub, &self.limits, self.now, &mut self.conversation.overheard);
    }
}

/// Writes everything that waits for a client, as a socket that takes all.
fn write(machine: &mut Connection, hub: &mut Hub, limits: &Limits, now: Now, out: &mut Vec<u8>) {
    let client: ClientId = machine.client();
    hub.pump(client, now);
    while let Some(item) = hub.outbox(client).get(0) {
        let ended = machine.ending();
        match item {
            Item::Message(message) => out.extend_from_slice(machine.form().bytes(&Arc::clone(message))),
            Item::Bytes(bytes) | Item::Pushed(bytes) => out.extend_from_slice(bytes),
            item => machine.encode(item, out, limits, now),
        }
        hub.pop_front(client);
        if ended == Ending::No && machine.ending() != Ending::No {
            hub.hush(client, 0);
        }
        hub.pump(client, now);
    }
}
