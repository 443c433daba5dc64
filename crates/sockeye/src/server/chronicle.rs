//! What the server tells of its clients and channels while somebody hears it: `$sys/clients`, `$sys/channels`.
//!
//! Each shard tells of its own connections, and of the channels whose home it is. What comes faster than
//! `ServerLimits::events_per_second_max` is counted instead of told, and the count is told within a second: a storm of connections
//! costs no more than a breeze, and nobody is left believing that they heard everything. While nobody hears `$sys/`, nothing
//! here does anything. Deliberately absent: tokens and payloads, which are never told.

use std::net::SocketAddr;

use serde_json::{Map, Value};
use sockeye_gateway::Protocol;
use sockeye_hub::{ClientId, Hub, Kind, Now};

/// The channel that tells of clients.
const CLIENTS: &str = "$sys/clients";
/// The channel that tells of channels.
const CHANNELS: &str = "$sys/channels";

/// What is told of a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClientEvent {
    /// It was accepted.
    Connected,
    /// It speaks something, or something else than before.
    Speaks(Protocol),
    /// It is gone.
    Disconnected(Protocol, &'static str),
}

/// How much may be told.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// Somebody hears `$sys/`, on whatever shard.
    pub(super) heard: bool,
    /// Somebody on this shard does, as the other shards know.
    pub(super) hears: bool,
    clients: Flow,
    channels: Flow,
}

/// One channel's rate.
#[derive(Debug, Default)]
struct Flow {
    told: u32,
    skipped: u64,
}

impl Flow {
    /// Says whether one more may be told in this second.
    fn admits(&mut self, per_second_max: u32) -> bool {
        let admits = self.told < per_second_max;
        if admits {
            self.told += 1;
        } else {
            self.skipped += 1;
        }
        admits
    }
}

impl Chronicle {
    /// Tells of a client, if that is heard and not too much.
    #[cold]
    pub(super) fn tell_client(
        &mut self,
        hub: &mut Hub,
        client: ClientId,
        address: Option<SocketAddr>,
        event: ClientEvent,
        (per_second_max, now): (u32, Now),
    ) {
        if !self.clients.admits(per_second_max) {
            return;
        }
        let mut object = Map::new();
        let (word, protocol) = match event {
            ClientEvent::Connected => ("connect", None),
            ClientEvent::Speaks(protocol) => ("speaks", Some(protocol)),
            ClientEvent::Disconnected(protocol, _) => ("disconnect", Some(protocol)),
        };
        object.insert("event".into(), word.into());
        object.insert("id".into(), format!("c{}", hub.publisher_number(client)).into());
        object.insert("shard".into(), hub.shard().index.into());
        if let Some(address) = address {
            object.insert("address".into(), address.to_string().into());
        }
        if let Some(protocol) = protocol {
            object.insert("protocol".into(), protocol.as_str().into());
        }
        if let Some(user) = hub.identity(client).and_then(|identity| identity.user.as_deref()) {
            object.insert("user".into(), user.into());
        }
        if let ClientEvent::Disconnected(_, reason) = event {
            object.insert("reason".into(), reason.into());
        }
        publish(hub, CLIENTS, object, now);
    }

    /// Tells what the hub has noted of its channels.
    pub(super) fn tell_channels(&mut self, hub: &mut Hub, per_second_max: u32, now: Now) {
        while let Some(event) = hub.take_channel_event() {
            if !self.channels.admits(per_second_max) {
                continue;
            }
            let mut object = Map::new();
            object.insert("event".into(), event.change.as_str().into());
            object.insert("channel".into(), Value::from(&*event.channel));
            object.insert("shard".into(), hub.shard().index.into());
            publish(hub, CHANNELS, object, now);
        }
    }

    /// Begins another second, and tells how much of the last one was not told.
    pub(super) fn begin_second(&mut self, hub: &mut Hub, now: Now) {
        self.channels.skipped += hub.take_skipped_channel_events();
        for (flow, channel) in [(&mut self.clients, CLIENTS), (&mut self.channels, CHANNELS)] {
            let Flow { skipped, .. } = std::mem::take(flow);
            if skipped > 0 {
                let mut object = Map::new();
                object.insert("event".into(), "skipped".into());
                object.insert("count".into(), skipped.into());
                object.insert("shard".into(), hub.shard().index.into());
                publish(hub, channel, object, now);
            }
        }
    }

    /// Somebody has begun to hear `$sys/`, or nobody does any more.
    pub(super) fn set_heard(&mut self, heard: bool, hub: &mut Hub) {
        *self = Chronicle { heard, hears: self.hears, ..Chronicle::default() };
        hub.want_channel_events(heard);
    }
}

fn publish(hub: &mut Hub, channel: &str, object: Map<String, Value>, now: Now) {
    let payload = Value::Object(object).to_string().into_bytes();
    hub.publish_system(channel, Kind::Json, payload.into_boxed_slice(), now);
}
