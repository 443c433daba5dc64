//! Compression of messages: the examples of RFC 7692, its rules, and what holds for all streams.

use flate2::{Decompress, FlushDecompress};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    Compressor, Decoder, Deflate, DeflateOffer, DeflateTerms, Error, Opcode, Role, compress_alone,
    tests::{Heard, hear_with},
    write_compressed_frame, write_frame, write_masked_compressed_frame, write_masked_frame,
};

/// RFC 7692, 7.2.3.1: "Hello" in one block.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn the_examples_of_the_rfc_are_understood() {
    let frames = |frames: &[&[u8]]| hear_with(decoder(false, 1000), &[&frames.concat()]);
    let hello = Ok(vec![Heard::Text("Hello".into())]);

    assert_eq!(frames(&[&[0xc1, 0x07], &HELLO]), hello);
    // 7.2.3.1: in two fragments.
    assert_eq!(frames(&[&[0x41, 0x03], &HELLO[..3], &[0x80, 0x04], &HELLO[3..]]), hello);
    // 7.2.3.3: in a stored block.
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(frames(&[&[0xc1, 0x0b], &stored]), hello);
    // 7.2.3.4: in a block that says it is the last one, and the empty block behind it.
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(frames(&[&[0xc1, 0x08], &last]), hello);
    // The same, without it.
    assert_eq!(frames(&[&[0xc1, 0x07], &last[..7]]), hello);
    // 7.2.3.5: in two blocks.
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(frames(&[&[0xc1, 0x0d], &two]), hello);
    // 7.2.3.6: nothing.
    assert_eq!(frames(&[&[0xc1, 0x01, 0x00]]), Ok(vec![Heard::Text(String::new())]));
}

#[test]
fn with_takeover_a_message_refers_to_those_before_it_and_without_it_does_not() {
    // 7.2.3.2: the second "Hello" is a reference to the first.
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let bytes = [&[0xc1, 0x07][..], &HELLO, &[0xc1, 0x05], &second].concat();
    let hello = || Heard::Text("Hello".into());

    assert_eq!(hear_with(decoder(true, 1000), &[&bytes]), Ok(vec![hello(), hello()]));
    assert_eq!(hear_with(decoder(false, 1000), &[&bytes]), Err((vec![hello()], Error::Compressed)));
}

#[test]
fn only_the_first_frame_of_a_message_may_say_that_it_is_compressed() {
    let refused = |bytes: &[u8]| hear_with(decoder(true, 1000), &[bytes]).unwrap_err().1;

    assert_eq!(refused(&[0xc9, 0x00]), Error::ReservedBits, "a ping");
    assert_eq!(refused(&[0xc8]), Error::ReservedBits, "a close, at its first byte");
    assert_eq!(refused(&[0x41, 0x01, 0xf2, 0xc0]), Error::ReservedBits, "a continuation");
    assert_eq!(refused(&[0xa1]), Error::ReservedBits, "the second reserved bit");
    assert_eq!(refused(&[0xd1]), Error::ReservedBits, "the third as well");
    let without = hear_with(Decoder::new(Role::Client, 1000), &[&[0xc1, 0x00]]);
    assert_eq!(without.unwrap_err().1, Error::ReservedBits, "without an agreement");
}

#[test]
fn a_bomb_is_refused_by_the_limit_and_costs_no_more_than_it() {
    let mut bomb = Vec::new();
    let mut compressor = Compressor::new(15, true);
    let zeros = vec![0; 64 << 20];
    assert!(write_compressed_frame(&mut bomb, Opcode::Binary, zeros.len(), |out| compressor
        .compress(&zeros, out)));
    assert!(bomb.len() < 128 << 10);
    let mut decoder = decoder(true, 1 << 20);

    let mut at = 0;
    let error = loop {
        let end = bomb.len().min(at + 100);
        match decoder.decode(&mut bomb[..end], &mut at) {
            Ok(None) => assert!(decoder.held_bytes() <= 2 * at + 100, "no more is held than came"),
            other => break other.unwrap_err(),
        }
    };

    assert_eq!(error, Error::TooLarge { bytes: (1 << 20) + 1, bytes_max: 1 << 20 });
    assert_eq!(error.close_code(), 1009);
}

#[test]
fn a_compressed_message_that_is_too_long_before_it_is_inflated_is_refused() {
    let mut decoder = decoder(false, 1_000);
    // An empty stored block, over and over: it inflates to nothing.
    let block = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(20);
    let mut taken = 0;
    let error = loop {
        let opcode = if taken == 0 { 0x42 } else { 0x00 };
        let mut frame = [&[opcode, block.len() as u8][..], &block].concat();
        match decoder.decode(&mut frame, &mut 0) {
            Ok(_) => taken += block.len(),
            Err(error) => break error,
        }
    };

    assert_eq!(taken, 2_100);
    assert!(matches!(error, Error::TooLarge { bytes: 2_200, bytes_max: 1_000 }));
}

#[test]
fn a_message_of_exactly_the_limit_is_taken_and_one_more_byte_is_not() {
    for bytes in [0, 1, 2, 511, 512, 513, 4_000] {
        for role_takes_over in [false, true] {
            let message = "x".repeat(bytes + 1);
            let mut frame = Vec::new();
            if !write_compressed_frame(&mut frame, Opcode::Text, message.len(), |out| {
                compress_alone(message.as_bytes(), out)
            }) {
                continue;
            }

            let heard = hear_with(decoder(role_takes_over, bytes + 1), &[&frame]);
            assert_eq!(heard, Ok(vec![Heard::Text(message)]));
            let refused = hear_with(decoder(role_takes_over, bytes), &[&frame]);
            assert!(matches!(refused, Err((_, Error::TooLarge { .. }))), "{bytes}");
        }
    }
}

#[test]
fn text_is_checked_when_it_is_inflated() {
    let mut payload = Vec::new();
    assert!(compress_alone(&[b"good good good ", &[0xff][..], &[b'x'; 500]].concat(), &mut payload));
    let (first, last) = payload.split_at(payload.len() / 2);
    let first = [&[0x41, first.len() as u8][..], first].concat();
    let last = [&[0x80, last.len() as u8][..], last].concat();

    assert_eq!(hear_with(decoder(false, 10_000), &[&first]), Ok(vec![]));
    assert_eq!(hear_with(decoder(false, 10_000), &[&first, &last]), Err((vec![], Error::Utf8)));
}

#[test]
fn what_ends_too_early_or_is_no_deflate_is_refused() {
    let mut text = Vec::new();
    assert!(compress_alone(b"pay 100 EUR to bob, and to bob pay 100 EUR, and to bob", &mut text));
    for takeover in [false, true] {
        let refused = |payload: &[u8]| {
            let frame = [&[0xc2, payload.len() as u8], payload].concat();
            hear_with(decoder(takeover, 1000), &[&frame])
        };

        for whole in [&HELLO[..], &text] {
            for length in 0..whole.len() - 1 {
                let heard = refused(&whole[..length]);
                assert_eq!(heard, Err((vec![], Error::Compressed)), "{length} of {whole:?}");
            }
        }
        // A reserved kind of block.
        assert_eq!(refused(&[0x06]), Err((vec![], Error::Compressed)));
    }
    assert_eq!(Error::Compressed.close_code(), 1007);
}

#[test]
fn with_takeover_a_message_refers_as_far_back_as_the_window_reaches() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    let new: Vec<Vec<u8>> = (0..60).map(|index| (0..500 + 40 * index).map(|_| next()).collect()).collect();
    let mut compressor = Compressor::new(15, true);
    let (mut bytes, mut sent, mut saved) = (Vec::new(), Vec::new(), 0);
    for index in 0..new.len() {
        // Each new one behind one that may be gone from the window, or not.
        let message = [&new[index.saturating_sub(index % 30)][..], &new[index]].concat();
        let mut payload = Vec::new();
        if compressor.compress(&message, &mut payload) {
            saved += message.len() - payload.len();
            bytes.extend([0xc2, 126]);
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend(payload);
            sent.push(Heard::Binary(message));
        }
    }

    assert!(saved > 10_000, "nothing refers to anything");
    assert_eq!(hear_with(decoder(true, 1 << 20), &[&bytes]), Ok(sent));
}

#[test]
fn what_does_not_become_smaller_is_not_compressed_and_the_next_one_is_understood() {
    let mut compressor = Compressor::new(15, true);
    let noise: Vec<u8> = (0_u8..10).flat_map(|n| sha1_smol::Sha1::from([n]).digest().bytes()).collect();
    let mut out = Vec::new();

    assert!(!compressor.compress(b"", &mut out));
    assert!(!compressor.compress(&noise, &mut out));
    assert!(!compressor.compress(b"ab", &mut out));
    assert!(out.is_empty());
    let text = "again and again and again and again".repeat(3);
    assert!(write_compressed_frame(&mut out, Opcode::Text, text.len(), |out| {
        compressor.compress(text.as_bytes(), out)
    }));
    assert_eq!(hear_with(decoder(true, 1000), &[&out]), Ok(vec![Heard::Text(text)]));
}

#[test]
fn nothing_is_kept_for_a_connection_between_messages_that_stand_alone() {
    let bytes = [&[0xc1, 0x07][..], &HELLO].concat();
    let mut kept = decoder(true, 1000);
    let mut alone = decoder(false, 1000);
    for decoder in [&mut kept, &mut alone] {
        let mut at = 0;
        while decoder.decode(&mut bytes.clone(), &mut at).unwrap().is_some() {}
        assert!(!decoder.is_mid_message());
    }

    assert!(alone.is_between_frames());
    assert!(!kept.is_between_frames());
    assert!(size_of::<Decoder>() <= 24);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_compressed_is_heard_however_it_is_cut(
        sent in vec(sent(), 0..6),
        manner in manner(),
        mask: [u8; 4],
        cuts in vec(any::<Index>(), 0..12),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let bytes = write(&sent, &manner, role, mask);
        let expected = sent.iter().map(Sent::heard).collect::<Vec<_>>();
        let decoder = Decoder::new(role, 1 << 20).inflate(&agreed(manner.takeover));

        prop_assert_eq!(hear_with(decoder, &cut(&bytes, &cuts)), Ok(expected));
    }

    #[test]
    fn a_damaged_stream_fails_the_same_way_however_it_is_cut(
        sent in vec(sent(), 1..4),
        manner in manner(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cuts in vec(any::<Index>(), 0..12),
        bytes_max in prop_oneof![Just(1 << 20), 0_usize..400],
    ) {
        let mut bytes = write(&sent, &manner, Role::Client, [0; 4]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let decoder = || decoder(manner.takeover, bytes_max);

        prop_assert_eq!(hear_with(decoder(), &cut(&bytes, &cuts)), hear_with(decoder(), &[&bytes]));
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        payload in vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 0..120),
        takeover: bool,
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut bytes = vec![0xc1, payload.len() as u8];
        bytes.extend_from_slice(&payload);
        let decoder = || decoder(takeover, 1000);

        prop_assert_eq!(hear_with(decoder(), &cut(&bytes, &cuts)), hear_with(decoder(), &[&bytes]));
    }

    #[test]
    fn a_reader_with_the_window_that_was_agreed_understands(
        messages in vec(vec(prop_oneof![8 => 0_u8..4, 1 => any::<u8>()], 0..3_000), 1..6),
        window_bits in 9_u8..=15,
        takeover: bool,
    ) {
        let mut compressor = Compressor::new(window_bits, takeover);
        let mut strict = Strict::new(window_bits);
        for message in messages {
            let mut payload = Vec::new();
            if compressor.compress(&message, &mut payload) {
                prop_assert_eq!(strict.inflate(&payload), message);
            }
            if !takeover {
                strict = Strict::new(window_bits);
            }
        }
    }
}

/// Inflates byte by byte, so that it can only refer to its window.
struct Strict(Decompress);

impl Strict {
    fn new(window_bits: u8) -> Strict {
        Strict(Decompress::new_with_window_bits(false, window_bits))
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let payload = [payload, &[0x00, 0x00, 0xff, 0xff]].concat();
        let mut out = Vec::new();
        let mut input = &payload[..];
        loop {
            let (read, made) = (self.0.total_in(), self.0.total_out());
            let mut byte = [0];
            self.0.decompress(input, &mut byte, FlushDecompress::Sync).expect("within the window");
            input = &input[(self.0.total_in() - read) as usize..];
            match self.0.total_out() - made {
                0 if input.is_empty() => return out,
                0 => {}
                _ => out.push(byte[0]),
            }
        }
    }
}

/// A message, and whether it is compressed if it may be.
#[derive(Clone, Debug)]
struct Sent {
    is_text: bool,
    compressed: bool,
    bytes: Vec<u8>,
    fragments: Vec<(Index, bool)>,
}

impl Sent {
    fn heard(&self) -> Heard {
        match self.is_text {
            true => Heard::Text(String::from_utf8(self.bytes.clone()).expect("it was made of text")),
            false => Heard::Binary(self.bytes.clone()),
        }
    }
}

#[derive(Clone, Debug)]
struct Manner {
    takeover: bool,
    window_bits: u8,
}

fn manner() -> impl Strategy<Value = Manner> {
    (any::<bool>(), 9_u8..=15).prop_map(|(takeover, window_bits)| Manner { takeover, window_bits })
}

fn sent() -> impl Strategy<Value = Sent> {
    let compressible = vec(0_u8..3, 0..3_000);
    let bytes = prop_oneof![compressible, vec(any::<u8>(), 0..300)].prop_map(|bytes| (false, bytes));
    let text = vec("[ab]{1,9}|ü|\u{1F600}", 0..200).prop_map(|words| (true, words.concat().into_bytes()));
    (prop_oneof![bytes, text], any::<bool>(), vec((any::<Index>(), any::<bool>()), 0..3))
        .prop_map(|((is_text, bytes), compressed, fragments)| Sent { is_text, compressed, bytes, fragments })
}

fn write(sent: &[Sent], manner: &Manner, reader: Role, mask: [u8; 4]) -> Vec<u8> {
    let mut compressor = Compressor::new(manner.window_bits, manner.takeover);
    let mut out = Vec::new();
    for message in sent {
        let opcode = if message.is_text { Opcode::Text } else { Opcode::Binary };
        let mut payload = Vec::new();
        let compressed = message.compressed && compressor.compress(&message.bytes, &mut payload);
        let payload = if compressed { payload } else { message.bytes.clone() };
        if message.fragments.is_empty() && compressed {
            // The writers of whole frames.
            let copy = |out: &mut Vec<u8>| {
                out.extend_from_slice(&payload);
                true
            };
            let longest = message.bytes.len();
            assert!(match reader {
                Role::Server => write_masked_compressed_frame(&mut out, opcode, longest, mask, copy),
                Role::Client => write_compressed_frame(&mut out, opcode, longest, copy),
            });
            continue;
        }
        let mut start = 0;
        for (index, (at, is_empty)) in message.fragments.iter().enumerate() {
            let end = if *is_empty { start } else { start + at.index(payload.len() - start + 1) };
            let first = (index == 0).then_some((opcode, compressed));
            fragment(&mut out, reader, first, &payload[start..end], false, mask);
            start = end;
        }
        let first = message.fragments.is_empty().then_some((opcode, compressed));
        fragment(&mut out, reader, first, &payload[start..], true, mask);
    }
    out
}

fn fragment(
    out: &mut Vec<u8>,
    reader: Role,
    first: Option<(Opcode, bool)>,
    payload: &[u8],
    fin: bool,
    mask: [u8; 4],
) {
    let start = out.len();
    let opcode = first.map_or(Opcode::Continuation, |(opcode, _)| opcode);
    match reader {
        Role::Server => write_masked_frame(out, opcode, payload, mask),
        Role::Client => write_frame(out, opcode, payload),
    }
    if first.is_some_and(|(_, compressed)| compressed) {
        out[start] |= 0x40;
    }
    if !fin {
        out[start] &= 0x7f;
    }
}

fn decoder(takeover: bool, bytes_max: usize) -> Decoder {
    Decoder::new(Role::Client, bytes_max).inflate(&agreed(takeover))
}

fn agreed(takeover: bool) -> Deflate {
    let terms = DeflateTerms { takeover, window_bits_max: 15 };
    DeflateOffer::accept(&[DeflateOffer::default()], terms).expect("there is an offer")
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
