//! What holds for all streams of frames: cuts do not matter, both ends agree, memory follows what was received.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    Decoder, Opcode, Role,
    tests::{Heard, hear},
    write_frame, write_masked_frame,
};

/// A message in fragments, each with a control frame before it or none.
#[derive(Clone, Debug)]
struct Sent {
    is_text: bool,
    fragments: Vec<(Option<Control>, Vec<u8>)>,
}

/// Whether it is a ping (or a pong), and its payload.
type Control = (bool, Vec<u8>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ends_agree_however_the_stream_is_cut(
        sent in vec(sent(), 0..6),
        mask: [u8; 4],
        cuts in vec(any::<Index>(), 0..12),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let bytes = write(&sent, role, mask);

        let heard = hear(role, &cut(&bytes, &cuts));

        prop_assert_eq!(heard, Ok(expected(&sent)));
    }

    #[test]
    fn byte_by_byte_is_as_good_as_at_once(sent in vec(sent(), 0..3), mask: [u8; 4]) {
        let bytes = write(&sent, Role::Server, mask);
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();

        prop_assert_eq!(hear(Role::Server, &pieces), hear(Role::Server, &[&bytes]));
    }

    #[test]
    fn a_damaged_stream_fails_the_same_way_however_it_is_cut(
        sent in vec(sent(), 1..4),
        mask: [u8; 4],
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut bytes = write(&sent, Role::Client, mask);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }

        prop_assert_eq!(hear(Role::Client, &cut(&bytes, &cuts)), hear(Role::Client, &[&bytes]));
    }

    #[test]
    fn arbitrary_bytes_mean_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x01), Just(0x80), Just(0x00), Just(0x02)], 0..200),
        cuts in vec(any::<Index>(), 0..12),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        prop_assert_eq!(hear(role, &cut(&bytes, &cuts)), hear(role, &[&bytes]));
    }

    #[test]
    fn memory_follows_what_was_received(sent in vec(sent(), 0..4), mask: [u8; 4], step in 1_usize..40) {
        let mut bytes = write(&sent, Role::Server, mask);
        let mut decoder = Decoder::new(Role::Server, usize::MAX);
        let mut received = 0;

        for piece in bytes.chunks_mut(step) {
            received += piece.len();
            let mut at = 0;
            while decoder.decode(piece, &mut at).is_ok_and(|event| event.is_some()) {}
            prop_assert!(decoder.held_bytes() <= 2 * received + 125);
        }
        prop_assert!(decoder.is_between_frames());
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let control = proptest::option::weighted(0.3, (any::<bool>(), vec(any::<u8>(), 0..126)));
    let sizes = prop_oneof![4 => 0_usize..40, 2 => 120_usize..130, 1 => 65_530_usize..65_540];
    let binary = vec((control.clone(), sizes.prop_flat_map(|size| vec(any::<u8>(), size))), 1..4)
        .prop_map(|fragments| Sent { is_text: false, fragments });
    // Text is cut into fragments anywhere, also inside a character.
    let text = (any::<String>(), vec((control, any::<Index>()), 1..4)).prop_map(|(text, cuts)| {
        let mut rest = text.into_bytes();
        let last = cuts.len() - 1;
        let fragments = cuts.into_iter().enumerate().map(|(index, (control, at))| {
            let end = if index == last { rest.len() } else { at.index(rest.len() + 1) };
            (control, rest.drain(..end).collect())
        });
        Sent { is_text: true, fragments: fragments.collect() }
    });
    prop_oneof![binary, text]
}

fn write(sent: &[Sent], reader: Role, mask: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut write = |opcode, payload: &[u8], fin: bool| {
        let start = out.len();
        match reader {
            Role::Server => write_masked_frame(&mut out, opcode, payload, mask),
            Role::Client => write_frame(&mut out, opcode, payload),
        }
        if !fin {
            out[start] &= 0x7f;
        }
    };
    for message in sent {
        let last = message.fragments.len() - 1;
        for (index, (control, payload)) in message.fragments.iter().enumerate() {
            if let Some((is_ping, payload)) = control {
                write(if *is_ping { Opcode::Ping } else { Opcode::Pong }, payload, true);
            }
            let opcode = match (index, message.is_text) {
                (0, true) => Opcode::Text,
                (0, false) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            write(opcode, payload, index == last);
        }
    }
    out
}

fn expected(sent: &[Sent]) -> Vec<Heard> {
    let mut heard = Vec::new();
    for message in sent {
        let mut bytes = Vec::new();
        for (control, payload) in &message.fragments {
            if let Some((is_ping, payload)) = control {
                heard.push(if *is_ping {
                    Heard::Ping(payload.clone())
                } else {
                    Heard::Pong(payload.clone())
                });
            }
            bytes.extend_from_slice(payload);
        }
        heard.push(match message.is_text {
            true => Heard::Text(String::from_utf8(bytes).unwrap()),
            false => Heard::Binary(bytes),
        });
    }
    heard
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in cuts {
        pieces.push(&bytes[start..end]);
        start = end;
    }
    pieces.push(&bytes[start..]);
    pieces
}
