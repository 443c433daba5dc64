//! What a seed decides before a run begins: how many shards, and every bound, most of them small, so that each is
//! reached often.

use sockeye::config::ServerLimits;
use sockeye_gateway::DeflateMode;
use sockeye_hub::Rule;

use crate::dice::Dice;

/// The bounds of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shards.
    pub shards: u16,
    /// Clients at a time.
    pub clients_max: usize,
    /// Bounds of the hub.
    pub hub: sockeye_hub::Limits,
    /// Bounds of connections.
    pub connection: sockeye_gateway::Limits,
    /// Bounds of the loop.
    pub server: ServerLimits,
    /// What channels keep.
    pub rules: Vec<Rule>,
    /// The longest payload.
    pub payload_bytes_max: usize,
    /// Turns of a shard in a step, at most.
    pub turns_max: usize,
    /// Whether the run ends with a drain.
    pub drains: bool,
    /// Whether that begins in the midst of everything, instead of when all is at rest.
    pub drains_amid: bool,
    /// How many of a hundred acts publish.
    pub publishing: usize,
    /// How many of a hundred clients are guests. With none, nobody is asked for a token.
    pub guests: usize,
}

impl Plan {
    /// Decides.
    pub fn draw(dice: &mut Dice) -> Self {
        let payload_bytes_max = dice.pick(&[30, 100, 300, 1_200]);
        let requests_in_flight_max = dice.pick(&[2, 6, 64]);
        let answers_bytes_max = dice.pick(&[400, 1_500, 6_000]);
        let hub = sockeye_hub::Limits {
            outbox_bytes_max: dice.between(600, 8 << 10),
            outbox_messages_max: dice.pick(&[2, 4, 8, 32, 4_096]),
            lagging_channels_max: dice.pick(&[1, 2, 4, 256]),
            outbox_total_bytes_max: dice.between(1_500, 24 << 10),
            answers_bytes_max,
            answers_total_bytes_max: dice.pick(&[600, 6_000, 256 << 20]),
            history_total_bytes_max: dice.pick(&[3 << 10, 8 << 10, 20 << 10, 64 << 20]),
            channels_max: dice.pick(&[4, 1_000, 1_000]),
            subscriptions_max: dice.pick(&[2, 1_024, 1_024]),
            patterns_max: dice.pick(&[1, 2, 32]),
            requests_in_flight_max,
            message_bytes_max: 1_400,
            past_messages_max: dice.pick(&[2, 10, 1_000]),
            past_bytes_max: dice.pick(&[300, 4_000]),
            keys_max: dice.pick(&[2, 1_024]),
            key_bytes_max: 64,
            key_age_ms: dice.pick(&[200, 300_000]),
            keys_total_max: dice.pick(&[3, 65_536]),
            channel_grace_ms: dice.pick(&[20, 500, 60_000]),
            page_bytes: dice.pick(&[100, 1_000, 16 << 10]),
            link_messages_max: dice.pick(&[1, 2, 4, 16, 1_024]),
            link_bytes_max: dice.pick(&[200, 2_000, 1 << 20]),
            expiry_notice_ms: 30_000,
        };
        let connection = sockeye_gateway::Limits {
            message_bytes_max: 1_400,
            work_per_turn: dice.pick(&[1, 40, 1 << 16]),
            answers_bytes_max,
            requests_in_flight_max,
            deflate: dice.pick(&DeflateMode::ALL),
            deflate_bytes_min: dice.pick(&[1, 80, 256]),
            ..sockeye_gateway::Limits::default()
        };
        let server = ServerLimits {
            receive_bytes_max: dice.pick(&[37, 256, 4_096, 64 << 10]),
            accepts_per_turn_max: dice.pick(&[1, 3, 256]),
            writes_per_turn_max: dice.pick(&[1, 3, 1_024]),
            accept_retry_ms: 100,
            ..ServerLimits::default()
        };
        let kept =
            |pattern: &str, messages, bytes, age_ms| Rule { messages, bytes, age_ms, ..Rule::kept(pattern) };
        let rules = vec![
            Rule::live("live/#"),
            kept(
                "k/#",
                dice.between(1, 16),
                dice.pick(&[1_000, 256 << 10]),
                dice.pick(&[50, 2_000, 600_000]),
            ),
            kept("#", dice.pick(&[2, 64]), 256 << 10, 600_000),
        ];
        Plan {
            shards: dice.pick(&[1, 1, 2, 3, 4]),
            clients_max: dice.between(2, 10),
            hub,
            connection,
            server,
            rules,
            payload_bytes_max,
            turns_max: dice.between(1, 3),
            drains: dice.chance(15),
            drains_amid: dice.chance(15),
            publishing: dice.between(40, 75),
            guests: dice.pick(&[0, 0, 20, 50]),
        }
    }
}
