//! `sockeye relay`: the flags of relaying.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::Failure;
use super::join::parse_time;
use crate::address::unit::parse_bytes;
use crate::address::{Address, Side};
use crate::config::Network;
use crate::net::INSECURE;
use crate::tool::{self, Frame, RelayRules};

/// Join two addresses, in both directions
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye relay listen:tcp::8080 tcp:10.0.0.7:80           a port forwarded, anew each time\n  \
    sockeye relay listen:unix:/run/db.sock tls:db.example:5432\n  \
    sockeye relay listen:tcp::8080 wss://example.org/tunnel  a tunnel, and at its other end:\n  \
    sockeye relay listen:ws://:9000/tunnel tcp:localhost:22\n  \
    sockeye relay listen:udp::53 udp:9.9.9.9:53              a session for each peer\n  \
    sockeye relay --frame lines listen:ws://:9000/ tcp:localhost:7000\n  \
    sockeye relay --one-way --tee file:log?append=true listen:tcp::7000 tcp:localhost:7001\n\n\
    `listen:` marks the side that is listened on; each connection there opens the other side anew.\n\
    Without it both are connected once, and the exit code is that of the pair: 3 name not found,\n\
    4 refused, 5 timed out, 6 TLS, 7 handshake refused, 8 ended early. The end of one direction is\n\
    passed on, and the other goes on until it ends too. To a WebSocket, whose close ends both, it is passed on when\n\
    nothing has come from it for --wait; --wait 0s leaves that out where the peer is a relay, too.")]
pub(super) struct Relay {
    /// One side: an address, or listen:ADDRESS
    #[arg(value_name = "LEFT")]
    left: Side,
    /// The other side: an address, or listen:ADDRESS
    #[arg(value_name = "RIGHT")]
    right: Side,
    /// Only from LEFT to RIGHT: what comes back is read and dropped
    #[arg(long)]
    one_way: bool,
    /// How messages stand on the side that is a stream, where the other has messages; raw passes bytes as they come, len32
    /// has a length before each, jsonl loses nothing [default: raw]
    #[arg(long, value_name = "FRAME", value_parser = PossibleValuesParser::new(Frame::ALL.map(Frame::as_str)).try_map(|name| name.parse::<Frame>()))]
    frame: Option<Frame>,
    /// Send as text what does not say whether it is (lines, datagrams); what is not UTF-8 is refused [default: binary]
    #[arg(long)]
    text: bool,
    /// The largest message read from a stream
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "64MiB")]
    message_max: usize,
    /// Write what goes from LEFT to RIGHT to this address, too
    #[arg(long, value_name = "ADDRESS")]
    tee: Option<Address>,
    /// Write what comes back to this address, too
    #[arg(long, value_name = "ADDRESS", conflicts_with = "one_way")]
    tee_back: Option<Address>,
    /// Show what passes in hexadecimal, on standard error
    #[arg(long)]
    hex: bool,
    /// End a connection in which nothing has moved for so long [default: never; UDP peers: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    idle: Option<Duration>,
    /// How long one direction may go on after the other has ended [default: without limit]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    linger: Option<Duration>,
    /// How long to wait for an answer after the other side has ended, and again after each answer, where nothing ends one
    /// direction alone: datagrams, and WebSockets, which are closed then
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "1s")]
    wait: Duration,
    /// Try to connect again for so long, after growing random pauses [default: once]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    retry: Option<Duration>,
    /// How many connections at once; further ones wait. Each takes two descriptors
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// End with the first connection
    #[arg(long)]
    once: bool,
    /// Admit only peers of this network, such as 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "NETWORK")]
    allow: Vec<Network>,
    /// Admit no peers of this network; may be given several times
    #[arg(long, value_name = "NETWORK")]
    deny: Vec<Network>,
    /// Tell figures at the end, on standard error
    #[arg(long)]
    stats: bool,
    /// Tell what happens as JSON, one object a line, on standard error
    #[arg(long)]
    json: bool,
}

impl Relay {
    pub(super) fn run(self) -> Result<(), Failure> {
        for side in [&self.left, &self.right] {
            if side.address.options.insecure == Some(true) {
                tool::tell(INSECURE);
            }
        }
        let plan = tool::Relay {
            left: self.left,
            right: self.right,
            rules: RelayRules {
                one_way: self.one_way,
                frame: self.frame.unwrap_or(Frame::Raw),
                text: self.text,
                message_bytes_max: self.message_max,
                idle: self.idle,
                linger: self.linger,
                wait: self.wait,
                hex: self.hex,
            },
            frame_is_chosen: self.frame.is_some(),
            tee: self.tee,
            tee_back: self.tee_back,
            retry: self.retry,
            pairs_max: self.max as usize,
            once: self.once,
            allow: self.allow,
            deny: self.deny,
            stats: self.stats,
            json: self.json,
        };
        Ok(tool::run(tool::relay(plan))?)
    }
}
