//! What compression costs and saves: JSON prices of 400 bytes from one publisher to 1,000 subscribers, who offered
//! compression in one program and did not in the other. The server compresses as it does by default, `shared`.

use std::time::Duration;

use anyhow::ensure;

use super::Bench;
use crate::generator::broadcast::{Broadcast, Burst};
use crate::generator::framing::{Framing, Kind};
use crate::generator::socket::{Door, Socket};
use crate::histogram::Histogram;
use crate::measure::{Running, Sample, Work, alternate};
use crate::process::{Build, Process, Program};
use crate::report::{Report, Row, Target, Unit};

const SUBSCRIBERS: usize = 1_000;
const SINGLE: Burst = Burst { writes: 1, messages_per_write: 1 };
const TARGET: Target = Target::AtMost(1.3);

/// What a market says of one symbol, in about 400 bytes.
const PRICE: &str = r#"{"symbol":"SCKY","exchange":"XNAS","currency":"USD","time":"2026-11-20T14:31:07.482Z","sequence":48271934,"last":{"price":187.42,"size":300},"bid":[{"price":187.41,"size":1200},{"price":187.40,"size":3400},{"price":187.38,"size":900}],"ask":[{"price":187.43,"size":800},{"price":187.44,"size":2600},{"price":187.47,"size":1500}],"day":{"open":185.10,"high":188.02,"low":184.77,"volume":8129340}}"#;

/// The server beside itself.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    for (name, hear) in
        [("400 B of JSON to 1,000 on /ch", "/ch/bench?pub=0"), ("400 B of JSON to 1,000 on /ws", "/ws")]
    {
        let mut frame_bytes = [0; 2];
        let rounds = alternate(&bench.plan, 2, |index| {
            let prices = start(bench, if index == 0 { Door::Deflated(hear) } else { Door::WebSocket(hear) })?;
            frame_bytes[index] = prices.frame_bytes;
            Ok(prices)
        })?;
        let [compressed, plain] = frame_bytes;
        let note = format!("{compressed} B on the wire instead of {plain} B; {}", rounds.note());
        let row = Row::of_ratio(name, "CPU per delivery, compressed / plain", &rounds, (0, 1), TARGET);
        report.push(row.with_note(note));
        let saved = plain.saturating_sub(compressed) as f64;
        report.push(Row::of_value(name, "bytes saved per delivery", saved, Unit::Count, Target::None));
    }
    Ok(())
}

/// A publisher and its subscribers, warm.
struct Prices {
    generator: Broadcast,
    process: Process,
    /// The frame of one message, as a subscriber received it.
    frame_bytes: usize,
}

impl Running for Prices {
    fn slice(&mut self, duration: Duration) -> anyhow::Result<Work> {
        let before = self.process.cpu_ns()?;
        let deliveries = self.generator.run(duration, &mut Histogram::new())?;
        Ok(Work { cpu_ns: self.process.cpu_ns()? - before, messages: deliveries })
    }

    fn finish(self, work: Work) -> anyhow::Result<Sample> {
        Ok(Sample::of(work))
    }
}

fn start(bench: &Bench, hear: Door) -> anyhow::Result<Prices> {
    let process = bench.start(&Program::Sockeye(Build::This))?;
    let mut publisher = Socket::open(process.address, Door::WebSocket("/ch/bench?sub=0"))?;
    let mut subscribers = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let mut subscriber = Socket::open(process.address, hear)?;
        if matches!(hear, Door::Deflated("/ws") | Door::WebSocket("/ws")) {
            subscriber.subscribe("bench")?;
        }
        subscribers.push(subscriber);
    }
    let message = Framing::WebSocket.request(Kind::Text, PRICE.as_bytes());
    publisher.send(&message)?;
    let mut frame_bytes = 0;
    for subscriber in &mut subscribers {
        let heard = subscriber.receive()?;
        let is_plain = std::str::from_utf8(&heard).is_ok_and(|text| text.contains("187.42"));
        ensure!(is_plain != matches!(hear, Door::Deflated(_)), "a door that was not asked for");
        frame_bytes = Framing::WebSocket.response_bytes(heard.len());
    }
    let streams: anyhow::Result<Vec<_>> = subscribers.into_iter().map(Socket::into_stream).collect();
    let mut generator =
        Broadcast::new(publisher.into_stream()?, streams?, Framing::WebSocket, &message, SINGLE)?;
    generator.run(bench.warm_up(), &mut Histogram::new())?;
    Ok(Prices { generator, process, frame_bytes })
}
