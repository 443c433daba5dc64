//! Counts messages in a stream of bytes by looking at frame heads or line ends, whatever the cuts.

use anyhow::bail;

use super::framing::{Framing, Head};

/// Where in the stream one connection is.
pub(crate) struct Counter {
    framing: Framing,
    /// Payload bytes of the current frame that have not arrived.
    remaining: usize,
    in_payload: bool,
    /// A head of which only the beginning has arrived.
    head: Vec<u8>,
}

impl Counter {
    /// A counter at the beginning of a message.
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, remaining: 0, in_payload: false, head: Vec::new() }
    }

    /// How many messages end within `bytes`.
    pub(crate) fn count(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        match self.framing {
            Framing::WebSocket => self.count_frames(bytes),
            Framing::Line => Ok(bytes.iter().filter(|byte| **byte == b'\n').count()),
        }
    }

    fn count_frames(&mut self, mut bytes: &[u8]) -> anyhow::Result<usize> {
        let mut messages = 0;
        loop {
            if self.in_payload {
                let taken = self.remaining.min(bytes.len());
                self.remaining -= taken;
                bytes = &bytes[taken..];
                if self.remaining > 0 {
                    return Ok(messages);
                }
                self.in_payload = false;
                messages += 1;
            }
            if bytes.is_empty() {
                return Ok(messages);
            }
            let head = if self.head.is_empty() { Head::parse(bytes)? } else { None };
            if let Some(head) = head {
                bytes = &bytes[head.head_bytes..];
                self.begin(head)?;
                continue;
            }
            // The rare way: a head in pieces, byte by byte.
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(head) = Head::parse(&self.head)? {
                self.head.clear();
                self.begin(head)?;
            }
        }
    }

    fn begin(&mut self, head: Head) -> anyhow::Result<()> {
        if !head.is_message() {
            bail!("the server sent a control frame (opcode {}) in the middle of a run", head.opcode);
        }
        self.remaining = head.payload_bytes;
        self.in_payload = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_whatever_the_cuts() {
        let mut stream = Vec::new();
        for length in [22, 2, 132, 70_000, 22] {
            stream.extend(Framing::WebSocket.filler(length).expect("such a frame exists"));
        }

        for cut in [1, 2, 3, 7, 131, 4_096, 100_000] {
            let mut counter = Counter::new(Framing::WebSocket);
            let counted: usize =
                stream.chunks(cut).map(|piece| counter.count(piece).expect("all are messages")).sum();
            assert_eq!(counted, 5, "cut into {cut}");
        }
    }

    #[test]
    fn a_close_frame_is_an_error() {
        assert!(Counter::new(Framing::WebSocket).count(&[0x88, 0x02, 0x03, 0xe8]).is_err());
    }
}
