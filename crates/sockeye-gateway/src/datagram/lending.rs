//! Lending: clients of the hub, the helpers, do for whoever has no session what needs none.
//!
//! A helper is lent to one datagram until that is answered, which takes longer where another shard is asked. Deliberately
//! absent: who is lent one, and the rates of that (`mod.rs`).

use sockeye_hub::{ClientId, ClientSetup, Hub, Now, Publish, Tag};
use sockeye_wire::json::{BadRequest, Payload, Request};

use super::gram::encode;
use super::{AMPLIFICATION_MAX, Datagrams, carry_out, protocol_of};
use crate::context::Context;
use crate::form::Form;
use crate::mail::{Mail, PeerAddress, Source};
use crate::request;

/// A client of the hub that publishes for whoever has no session.
#[derive(Debug)]
pub(super) struct Helper {
    client: ClientId,
    /// For whom it waits for another shard's answer.
    asked: Option<Asked>,
}

/// Somebody who is to be answered.
#[derive(Clone, Debug)]
struct Asked {
    source: Source,
    /// The longest answer that may be sent there.
    bytes_max: usize,
}

impl Helper {
    /// Nobody waits for it: every request that it made is answered, and every answer sent on.
    fn is_free(&self, hub: &Hub) -> bool {
        hub.is_idle(self.client)
    }
}

impl Datagrams {
    /// Publishes for somebody who has proved nothing and wants no answer, as most datagrams do.
    #[inline]
    pub(super) fn publish(
        &mut self,
        source: &Source,
        input_bytes: usize,
        channel: &str,
        payload: Payload<'_>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        let Some(index) = self.free_helper(cx) else {
            self.counts.of(source.peer.kind()).dropped += 1;
            return;
        };
        let client = self.helpers[index].client;
        cx.tally.asked(protocol_of(source));
        let (kind, payload) = (request::kind_of(payload.kind), payload.bytes);
        cx.hub.publish(client, Tag::Silent, Publish { channel, kind, payload, key: None }, cx.now);
        if !cx.hub.is_idle(client) {
            let bytes_max = input_bytes.saturating_mul(AMPLIFICATION_MAX);
            self.helpers[index].asked = Some(Asked { source: source.clone(), bytes_max });
            self.settle_helper(index, mail, cx.hub, cx.now);
        }
    }

    /// Lets a helper carry out a request, and answers it now or when another shard has. A helper is nobody, and stays nobody:
    /// what would make it somebody, or last, needs a session (see `needs_session`).
    pub(super) fn lend_helper(
        &mut self,
        source: &Source,
        bytes_max: usize,
        request: Result<Request<'_>, BadRequest>,
        mail: &mut Mail,
        cx: &mut Context<'_>,
    ) {
        let Some(index) = self.free_helper(cx) else {
            self.counts.of(source.peer.kind()).dropped += 1;
            return;
        };
        let client = self.helpers[index].client;
        carry_out(source, client, request, cx);
        if !cx.out.is_empty() {
            let mut said = std::mem::take(&mut self.scratch);
            said.extend_from_slice(cx.out.scratch());
            cx.out.clear();
            self.answer(source, bytes_max, &said, mail, cx.now);
            self.keep_scratch(said);
        }
        if !cx.hub.is_idle(client) {
            self.helpers[index].asked = Some(Asked { source: source.clone(), bytes_max });
            self.settle_helper(index, mail, cx.hub, cx.now);
        }
    }

    /// How many helpers wait for another shard's answer.
    pub(super) fn helpers_busy(&self, hub: &Hub) -> usize {
        self.helpers.iter().filter(|helper| !helper.is_free(hub)).count()
    }

    /// Sends on what the hub has answered to a client, if it is a helper: returns whether it is.
    pub(super) fn flush_helper(
        &mut self,
        client: ClientId,
        mail: &mut Mail,
        hub: &mut Hub,
        now: Now,
    ) -> bool {
        let helper = self.helpers.iter().position(|helper| helper.client == client);
        if let Some(index) = helper {
            self.settle_helper(index, mail, hub, now);
        }
        helper.is_some()
    }

    /// A helper that nobody waits for.
    #[inline]
    fn free_helper(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        if let Some(index) = self.helpers.iter().position(|helper| helper.is_free(cx.hub)) {
            self.helpers[index].asked = None;
            return Some(index);
        }
        if self.helpers.len() >= cx.limits.requests_in_flight_max {
            return None;
        }
        let client = cx.hub.connect(ClientSetup { encoding: Form::Datagram.encoding(), identity: None });
        self.helpers.push(Helper { client, asked: None });
        Some(self.helpers.len() - 1)
    }

    /// Sends on what the hub has answered to a helper.
    fn settle_helper(&mut self, index: usize, mail: &mut Mail, hub: &mut Hub, now: Now) {
        let client = self.helpers[index].client;
        let asked = self.helpers[index].asked.take();
        let mut said = std::mem::take(&mut self.scratch);
        while let Some(item) = hub.outbox(client).get(0) {
            said.clear();
            encode(item, &mut said);
            hub.pop_front(client);
            if let Some(Asked { source, bytes_max }) = &asked {
                self.answer(source, *bytes_max, &said, mail, now);
            }
        }
        self.keep_scratch(said);
        if !hub.is_idle(client) {
            self.helpers[index].asked = asked;
        }
    }

    /// Answers somebody who has no session. What is too long for an address that is not proved is answered by a cookie:
    /// only what had no effect can be, since the answer to a message that was published is shorter than three times it.
    fn answer(&mut self, source: &Source, bytes_max: usize, said: &[u8], mail: &mut Mail, now: Now) {
        if said.len() > bytes_max {
            self.give_cookie(source, bytes_max, mail, now);
        } else if source.peer == PeerAddress::Unnamed {
            self.counts.of(source.peer.kind()).unanswered += 1;
        } else {
            mail.put(source, None, |out| out.extend_from_slice(said));
        }
    }

    fn keep_scratch(&mut self, mut said: Vec<u8>) {
        said.clear();
        self.scratch = said;
    }
}
