//! How one message is told from the next: WebSocket frames (RFC 6455, 5.2) and lines. Only what a generator
//! needs: whole messages in one frame, a constant mask, and heads that are read but not believed.

use anyhow::bail;

/// The mask of every frame that the generator sends. Not zero, so that unmasking is real work.
const MASK: [u8; 4] = [0x5a, 0x13, 0xc7, 0x2e];

/// A way to send messages over a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One message is one WebSocket frame.
    WebSocket,
    /// One message is one line.
    Line,
}

/// A kind of WebSocket message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text = 1,
    Binary = 2,
    Pong = 10,
}

impl Framing {
    /// A message as a client sends it. A line has no kind.
    pub(crate) fn request(self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::WebSocket => {
                let mut out = vec![0x80 | kind as u8];
                write_length(&mut out, 0x80, payload.len());
                out.extend_from_slice(&MASK);
                out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
                out
            }
            Self::Line => [payload, b"\n"].concat(),
        }
    }

    /// The size of a message as a server sends it.
    pub(crate) fn response_bytes(self, payload_bytes: usize) -> usize {
        payload_bytes
            + match self {
                Self::WebSocket if payload_bytes < 126 => 2,
                Self::WebSocket if payload_bytes < 1 << 16 => 4,
                Self::WebSocket => 10,
                Self::Line => 1,
            }
    }

    /// A message of exactly `length` bytes as a server would send it, with nothing to say.
    pub(crate) fn filler(self, length: usize) -> anyhow::Result<Vec<u8>> {
        let overhead = match self {
            Self::WebSocket => 2..=10,
            Self::Line => 1..=1,
        };
        for payload in overhead.filter_map(|overhead| length.checked_sub(overhead)) {
            if self.response_bytes(payload) != length {
                continue;
            }
            let mut out = Vec::with_capacity(length);
            if self == Self::WebSocket {
                out.push(0x80 | Kind::Binary as u8);
                write_length(&mut out, 0, payload);
            }
            out.resize(out.len() + payload, b'x');
            if self == Self::Line {
                out.push(b'\n');
            }
            return Ok(out);
        }
        bail!("no message is {length} bytes long");
    }
}

/// A frame's head as a server sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) opcode: u8,
    pub(crate) head_bytes: usize,
    pub(crate) payload_bytes: usize,
}

impl Head {
    /// Reads a head at the beginning of `bytes`; none if more bytes are needed.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        // RFC 6455, 5.1: a server must not mask. And nothing here is sent in fragments.
        // RFC 7692, 6.1: a compressed message is marked, and counts like any other.
        if first & 0xb0 != 0x80 || second & 0x80 != 0 {
            bail!("not a whole, plain frame: {first:02x} {second:02x}");
        }
        let (head_bytes, payload_bytes) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (10, usize::try_from(u64::from_be_bytes(*length))?),
                None => return Ok(None),
            },
            length => (2, usize::from(*length)),
        };
        Ok(Some(Self { opcode: first & 0x0f, head_bytes, payload_bytes }))
    }

    /// Whether the frame is a text or binary message.
    pub(crate) fn is_message(self) -> bool {
        matches!(self.opcode, 1 | 2)
    }
}

fn write_length(out: &mut Vec<u8>, mask_bit: u8, length: usize) {
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        out.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_have_the_length_asked_for_and_a_true_head() {
        for length in [2, 22, 127, 130, 132, 1_000, 16_388, 65_539, 65_546] {
            let filler = Framing::WebSocket.filler(length).expect("such a frame exists");
            let head = Head::parse(&filler).expect("it is plain").expect("it is whole");

            assert_eq!(filler.len(), length);
            assert_eq!(head.head_bytes + head.payload_bytes, length);
            assert!(head.is_message());
        }
        // 128 bytes would need a payload of 126 in a short head, or of 124 in a medium one.
        assert!(Framing::WebSocket.filler(128).is_err());
        assert_eq!(Framing::Line.filler(3).expect("such a line exists"), b"xx\n");
    }

    #[test]
    fn requests_are_masked() {
        let request = Framing::WebSocket.request(Kind::Binary, &[0; 20]);

        assert_eq!(request.len(), 26);
        assert_eq!(request[..2], [0x82, 0x94]);
        assert_eq!(request[6..10], MASK);
    }
}
