//! A subscriber that keeps books: every sequence is either heard, in order, or inside exactly one gap.

use anyhow::{Context as _, bail, ensure};

use super::framing::{Framing, Head, Kind};

/// How much of a push is looked at: channel and position stand before the data.
const PREFIX_BYTES: usize = 128;

/// What a subscriber has learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The sequence up to which everything is accounted for.
    pub(crate) last: u64,
    pub(crate) messages: u64,
    /// Messages inside gaps.
    pub(crate) missed: u64,
    pub(crate) gaps: u64,
}

/// Reads frames in any cuts and checks their order.
pub(crate) struct Reader {
    pending: Vec<u8>,
    pongs: Vec<u8>,
    heard: Heard,
}

impl Reader {
    /// A reader that expects the sequence 1 first.
    pub(crate) fn new() -> Self {
        Self { pending: Vec::new(), pongs: Vec::new(), heard: Heard::default() }
    }

    /// What was learned so far.
    pub(crate) fn heard(&self) -> Heard {
        self.heard
    }

    /// Answers to the server's pings, to be sent.
    pub(crate) fn take_pongs(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pongs)
    }

    /// Takes received bytes. An order that was not announced is an error.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(head) = Head::parse(&self.pending[start..])? {
            let payload = start + head.head_bytes;
            let end = payload + head.payload_bytes;
            if end > self.pending.len() {
                break;
            }
            let payload = &self.pending[payload..end];
            match head.opcode {
                1 => self.heard.learn(payload)?,
                // RFC 6455, 5.5.3: a pong carries the ping's data.
                9 => self.pongs.extend(Framing::WebSocket.request(Kind::Pong, payload)),
                opcode => bail!("opcode {opcode}: {}", String::from_utf8_lossy(payload)),
            }
            start = end;
        }
        self.pending.drain(..start);
        Ok(())
    }
}

impl Heard {
    fn learn(&mut self, push: &[u8]) -> anyhow::Result<()> {
        let prefix = String::from_utf8_lossy(&push[..push.len().min(PREFIX_BYTES)]);
        let (from, to) = if prefix.contains(r#""gap":"#) {
            let gap: serde_json::Value = serde_json::from_slice(push)?;
            let from = sequence(gap["gap"]["from"].as_str().context("a gap without a beginning")?)?;
            let to = sequence(gap["gap"]["to"].as_str().context("a gap without an end")?)?;
            ensure!(from <= to, "an empty gap: {gap}");
            self.gaps += 1;
            self.missed += to - from + 1;
            (from, to)
        } else {
            let (_, rest) =
                prefix.split_once(r#""at":""#).with_context(|| format!("no position: {prefix}"))?;
            let (position, _) = rest.split_once('"').context("a position without an end")?;
            let sequence = sequence(position)?;
            self.messages += 1;
            (sequence, sequence)
        };
        ensure!(from == self.last + 1, "after {} came {from} to {to}", self.last);
        self.last = to;
        Ok(())
    }
}

fn sequence(position: &str) -> anyhow::Result<u64> {
    let (_, sequence) = position.split_once(':').with_context(|| format!("not a position: {position}"))?;
    sequence.parse().with_context(|| format!("not a position: {position}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Vec<u8> {
        let mut out = vec![0x81, u8::try_from(text.len()).expect("short texts only")];
        out.extend_from_slice(text.as_bytes());
        out
    }

    #[test]
    fn messages_and_gaps_add_up() {
        let mut reader = Reader::new();
        let stream = [
            frame(r#"{"ch":"a","at":"k3f:1","t":1,"data":"x"}"#),
            frame(r#"{"ch":"a","gap":{"from":"k3f:2","to":"k3f:9","why":"slow"}}"#),
            frame(r#"{"ch":"a","at":"k3f:10","t":1,"data":"x"}"#),
        ]
        .concat();

        for byte in stream {
            reader.take(&[byte]).expect("the order is right");
        }

        assert_eq!(reader.heard(), Heard { last: 10, messages: 2, missed: 8, gaps: 1 });
    }

    #[test]
    fn a_hole_without_a_gap_is_found() {
        let mut reader = Reader::new();
        reader.take(&frame(r#"{"ch":"a","at":"k3f:1","data":"x"}"#)).expect("the first is right");

        assert!(reader.take(&frame(r#"{"ch":"a","at":"k3f:3","data":"x"}"#)).is_err());
    }

    #[test]
    fn pings_are_answered() {
        let mut reader = Reader::new();

        reader.take(&[0x89, 0x01, b'!']).expect("a ping is welcome");

        assert_eq!(reader.take_pongs().len(), 2 + 4 + 1);
    }
}
