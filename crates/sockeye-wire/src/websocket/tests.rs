//! What a decoder does with frames, clause by clause of RFC 6455.

use super::{
    Decoder, Error, Event, MessageKind, Opcode, Payload, Role, frame_header, write_close, write_frame,
    write_masked_close, write_masked_frame,
};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event together with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

#[test]
fn an_idle_decoder_is_small_and_so_is_an_event() {
    assert!(size_of::<Decoder>() <= 24);
    assert!(size_of::<Result<Option<Event>, Error>>() <= 32);
}

/// RFC 6455, 5.7: the examples.
#[test]
fn the_examples_of_the_rfc_are_understood() {
    let hello = || Ok(vec![Heard::Text("Hello".into())]);
    let server = |bytes: &[u8]| hear(Role::Server, &[bytes]);
    let client = |bytes: &[u8]| hear(Role::Client, &[bytes]);

    assert_eq!(client(b"\x81\x05Hello"), hello());
    assert_eq!(server(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), hello());
    assert_eq!(client(b"\x01\x03Hel\x80\x02lo"), hello());
    assert_eq!(client(b"\x89\x05Hello"), Ok(vec![Heard::Ping(b"Hello".to_vec())]));
    assert_eq!(
        server(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        Ok(vec![Heard::Pong(b"Hello".to_vec())])
    );
    let long = vec![7; 65_536];
    let mut bytes = b"\x82\x7f\0\0\0\0\0\x01\0\0".to_vec();
    bytes.extend_from_slice(&long);
    assert_eq!(client(&bytes), Ok(vec![Heard::Binary(long)]));
}

/// RFC 6455, 5.2: the length is written in as few bytes as possible.
#[test]
fn headers_are_minimal() {
    let header = |bytes| frame_header(Opcode::Binary, bytes).as_slice().to_vec();

    assert_eq!(header(0), [0x82, 0]);
    assert_eq!(header(125), [0x82, 125]);
    assert_eq!(header(126), [0x82, 126, 0, 126]);
    assert_eq!(header(65_535), [0x82, 126, 255, 255]);
    assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn every_length_arrives_as_it_was_sent() {
    for bytes in [0, 1, 7, 20, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let payload: Vec<u8> = (0..bytes).map(|index| index as u8).collect();
        let (mut unmasked, mut masked) = (Vec::new(), Vec::new());
        write_frame(&mut unmasked, Opcode::Binary, &payload);
        write_masked_frame(&mut masked, Opcode::Binary, &payload, MASK);

        assert_eq!(hear(Role::Client, &[&unmasked]), Ok(vec![Heard::Binary(payload.clone())]));
        assert_eq!(hear(Role::Server, &[&masked]), Ok(vec![Heard::Binary(payload)]));
    }
}

/// RFC 6455, 5.2.
#[test]
fn reserved_bits_and_opcodes_are_protocol_errors() {
    for bit in [0x40, 0x20, 0x10, 0x70] {
        assert_eq!(hear(Role::Client, &[&[0x82 | bit]]), Err((vec![], Error::ReservedBits)));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let outcome = hear(Role::Client, &[&[0x80 | opcode, 0]]);
        assert_eq!(outcome, Err((vec![], Error::ReservedOpcode(opcode))));
    }
    assert_eq!(Error::ReservedBits.close_code(), 1002);
}

/// RFC 6455, 5.1.
#[test]
fn a_client_must_mask_and_a_server_must_not() {
    assert_eq!(hear(Role::Server, &[b"\x81\x05Hello"]), Err((vec![], Error::Unmasked)));
    assert_eq!(hear(Role::Client, &[b"\x81\x85abcdHello"]), Err((vec![], Error::Masked)));
    assert_eq!(hear(Role::Server, &[b"\x89\x00"]), Err((vec![], Error::Unmasked)));
}

/// RFC 6455, 5.2.
#[test]
fn a_length_with_its_top_bit_set_is_a_protocol_error() {
    let outcome = hear(Role::Client, &[b"\x82\x7f\x80\0\0\0\0\0\0\x01"]);

    assert_eq!(outcome, Err((vec![], Error::LengthTopBit)));
    assert_eq!(Error::LengthTopBit.close_code(), 1002);
}

/// RFC 6455, 5.4.
#[test]
fn fragments_become_one_message_with_control_frames_between_them() {
    let bytes = b"\x01\x03one\x89\x01p\x00\x00\x8a\x00\x00\x03two\x80\x01!\x82\x01x";

    let outcome = hear(Role::Client, &[bytes]);

    let expected = vec![
        Heard::Ping(b"p".to_vec()),
        Heard::Pong(vec![]),
        Heard::Text("onetwo!".into()),
        Heard::Binary(b"x".to_vec()),
    ];
    assert_eq!(outcome, Ok(expected));
}

/// RFC 6455, 5.4.
#[test]
fn fragments_out_of_order_are_protocol_errors() {
    assert_eq!(hear(Role::Client, &[b"\x80\x01x"]), Err((vec![], Error::NothingToContinue)));
    assert_eq!(hear(Role::Client, &[b"\x00\x01x"]), Err((vec![], Error::NothingToContinue)));
    assert_eq!(hear(Role::Client, &[b"\x01\x01x\x81\x01y"]), Err((vec![], Error::Interrupted)));
    assert_eq!(hear(Role::Client, &[b"\x02\x00\x02\x01y"]), Err((vec![], Error::Interrupted)));
    // A message that is over cannot be continued.
    let outcome = hear(Role::Client, &[b"\x01\x01x\x80\x01y\x80\x01z"]);
    assert_eq!(outcome, Err((vec![Heard::Text("xy".into())], Error::NothingToContinue)));
}

/// RFC 6455, 5.5.
#[test]
fn control_frames_are_short_and_whole() {
    assert_eq!(hear(Role::Client, &[b"\x09\x00"]), Err((vec![], Error::ControlFragmented)));
    assert_eq!(hear(Role::Client, &[b"\x08\x00"]), Err((vec![], Error::ControlFragmented)));
    assert_eq!(hear(Role::Client, &[b"\x89\x7e\x00\x7e"]), Err((vec![], Error::ControlTooLong)));
    assert_eq!(hear(Role::Client, &[b"\x88\x7f"]), Err((vec![], Error::ControlTooLong)));
    let mut longest = Vec::new();
    write_frame(&mut longest, Opcode::Ping, &[7; 125]);
    assert_eq!(hear(Role::Client, &[&longest]), Ok(vec![Heard::Ping(vec![7; 125])]));
}

/// RFC 6455, 5.5.1 and 7.4.
#[test]
fn close_codes_are_checked() {
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        assert_eq!(close_with(code, b""), Ok(vec![Heard::Close(Some(code), String::new())]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(close_with(code, b""), Err((vec![], Error::CloseCode(code))));
    }
    assert_eq!(Error::CloseCode(0).close_code(), 1002);
}

/// RFC 6455, 5.5.1.
#[test]
fn a_close_frame_has_no_body_or_a_code_and_a_reason_in_utf_8() {
    assert_eq!(hear(Role::Client, &[b"\x88\x00"]), Ok(vec![Heard::Close(None, String::new())]));
    assert_eq!(hear(Role::Client, &[b"\x88\x01\x03"]), Err((vec![], Error::CloseTooShort)));
    assert_eq!(close_with(1000, "tschüß".as_bytes()), Ok(vec![Heard::Close(Some(1000), "tschüß".into())]));
    assert_eq!(close_with(1000, b"\xce\xba\xe1\xbd"), Err((vec![], Error::Utf8)));
    assert_eq!(Error::CloseTooShort.close_code(), 1002);
}

#[test]
fn a_reason_is_cut_at_123_bytes_on_a_character() {
    let reason = "ü".repeat(100);
    let (mut server, mut client) = (Vec::new(), Vec::new());
    write_close(&mut server, Some(1001), &reason);
    write_masked_close(&mut client, Some(1001), &reason, MASK);

    let expected = Ok(vec![Heard::Close(Some(1001), "ü".repeat(61))]);
    assert_eq!(hear(Role::Client, &[&server]), expected);
    assert_eq!(hear(Role::Server, &[&client]), expected);
}

#[test]
fn without_a_code_there_is_no_reason() {
    let mut bytes = Vec::new();
    write_close(&mut bytes, None, "left out");

    assert_eq!(bytes, b"\x88\x00");
}

/// RFC 6455, 5.5.1: nothing follows a close frame.
#[test]
fn after_a_close_frame_everything_is_taken_and_nothing_given() {
    assert_eq!(
        hear(Role::Client, &[b"\x88\x02\x03\xe8\x81\x05Hello\xff\xff", b"\x81\x01x"]),
        Ok(vec![Heard::Close(Some(1000), String::new())])
    );
}

#[test]
fn after_an_error_everything_is_taken_and_nothing_given() {
    let mut decoder = Decoder::new(Role::Client, 100);
    let mut input = b"\x83\x00\x81\x01x".to_vec();
    let mut at = 0;
    assert_eq!(decoder.decode(&mut input, &mut at), Err(Error::ReservedOpcode(3)));

    assert_eq!(decoder.decode(&mut input, &mut at), Ok(None));
    assert_eq!(at, input.len());
    assert!(!decoder.is_mid_message());
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    let too_large = |bytes| Err((vec![], Error::TooLarge { bytes, bytes_max: 1000 }));

    assert_eq!(hear(Role::Client, &[b"\x82\x7e\x03\xe9"]), too_large(1001));
    assert_eq!(
        hear(Role::Client, &[b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"]),
        too_large(i64::MAX as u64)
    );
    let mut fragments = vec![0x02, 126, 3, 231];
    fragments.resize(4 + 999, 7);
    fragments.extend_from_slice(b"\x00\x01x\x80\x01");
    assert_eq!(hear(Role::Client, &[&fragments]), too_large(1001));
    fragments.truncate(4 + 999 + 3);
    fragments.extend_from_slice(b"\x80\x00");
    assert_eq!(hear(Role::Client, &[&fragments]).map(|heard| heard.len()), Ok(1));
    assert_eq!(Error::TooLarge { bytes: 1, bytes_max: 0 }.close_code(), 1009);
}

#[test]
fn a_limit_under_126_bytes_holds_for_small_frames_too() {
    let mut decoder = Decoder::new(Role::Client, 3);
    let mut input = b"\x82\x03abc\x82\x04abcd".to_vec();
    let mut at = 0;

    assert!(decoder.decode(&mut input, &mut at).is_ok());
    assert_eq!(decoder.decode(&mut input, &mut at), Err(Error::TooLarge { bytes: 4, bytes_max: 3 }));
}

/// RFC 6455, 8.1.
#[test]
fn text_that_is_not_utf_8_is_refused() {
    let bad: [&[u8]; 7] =
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ab\x80", b"\xce", b"\xf0\x9f\x98"];
    for text in bad {
        let mut whole = Vec::new();
        write_frame(&mut whole, Opcode::Text, text);
        assert_eq!(hear(Role::Client, &[&whole]), Err((vec![], Error::Utf8)), "{text:x?}");
        let (header, payload) = whole.split_at(2);
        assert_eq!(hear(Role::Client, &[header, payload]), Err((vec![], Error::Utf8)), "{text:x?}");
        whole[1] = 126;
        whole.splice(2..2, [0, text.len() as u8]);
        assert_eq!(hear(Role::Client, &[&whole]), Err((vec![], Error::Utf8)), "{text:x?}, long header");
    }
    assert_eq!(Error::Utf8.close_code(), 1007);
}

/// RFC 6455, 8.1, as strictly as Autobahn's cases 6.4 would like it.
#[test]
fn a_bad_byte_fails_at_once_wherever_the_text_is_cut() {
    // A valid beginning, U+110000 which does not exist (its second byte proves it), and a valid end that never arrives.
    let text = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90";
    for fragment in 0..text.len() {
        let (left, right) = text.split_at(fragment);
        let mut bytes = Vec::new();
        write_masked_frame(&mut bytes, Opcode::Text, left, MASK);
        bytes[0] &= 0x7f;
        // The second fragment declares more than was received.
        let mut rest = right.to_vec();
        rest.extend_from_slice(&[b'x'; 50]);
        write_masked_frame(&mut bytes, Opcode::Continuation, &rest, MASK);
        bytes.truncate(bytes.len() - 50);

        for cut in 0..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            let (last, right) = right.split_last().unwrap();

            assert_eq!(hear(Role::Server, &[left, right]), Ok(vec![]), "no bad byte yet");
            assert_eq!(hear(Role::Server, &[left, right, &[*last]]), Err((vec![], Error::Utf8)));
        }
    }
}

#[test]
fn a_header_allocates_nothing_for_what_it_declares() {
    let mut decoder = Decoder::new(Role::Client, usize::MAX);
    let mut input = b"\x82\x7f\0\0\0\0\x40\0\0\0".to_vec();
    let mut at = 0;

    assert_eq!(decoder.decode(&mut input, &mut at), Ok(None));
    assert!(decoder.is_mid_message());
    assert_eq!(decoder.held_bytes(), 0);
    for byte in 0..1000 {
        assert_eq!(decoder.decode(&mut [byte as u8], &mut 0), Ok(None));
        assert!(decoder.held_bytes() <= 2 * (byte + 1), "{} after {byte}", decoder.held_bytes());
    }
}

#[test]
fn memory_is_exact_at_the_end_of_a_message_and_gone_after_it() {
    let payload = vec![7; 1_000_000];
    let mut bytes = Vec::new();
    write_masked_frame(&mut bytes, Opcode::Binary, &payload, MASK);
    let mut decoder = Decoder::new(Role::Server, payload.len());

    let mut heard = 0;
    for piece in bytes.chunks_mut(65_537) {
        let mut at = 0;
        while let Some(event) = decoder.decode(piece, &mut at).unwrap() {
            assert_eq!(event, Event::Message { kind: MessageKind::Binary, payload: Payload::Assembled });
            assert_eq!(decoder.bytes(piece, &Payload::Assembled), payload);
            assert_eq!(decoder.held_bytes(), payload.len());
            assert!(!decoder.is_mid_message());
            heard += 1;
        }
    }

    assert_eq!(heard, 1);
    assert!(decoder.is_between_frames());
}

#[test]
fn an_assembled_message_can_be_moved_out() {
    let mut decoder = Decoder::new(Role::Client, 100);
    let mut input = b"\x02\x03abc\x80\x03def\x81\x01x".to_vec();
    let mut at = 0;
    let event = decoder.decode(&mut input, &mut at).unwrap();

    assert_eq!(event, Some(Event::Message { kind: MessageKind::Binary, payload: Payload::Assembled }));
    assert_eq!(decoder.take_assembled(), b"abcdef");
    assert_eq!(decoder.take_assembled(), b"");
    let event = decoder.decode(&mut input, &mut at).unwrap();
    assert_eq!(event, Some(Event::Message { kind: MessageKind::Text, payload: Payload::Input(12..13) }));
    assert_eq!(decoder.take_assembled(), b"");
}

#[test]
fn a_frame_whose_header_came_before_is_not_copied() {
    let mut bytes = Vec::new();
    write_masked_frame(&mut bytes, Opcode::Text, &[b'x'; 1000], MASK);
    for cut in 1..=8 {
        let mut decoder = Decoder::new(Role::Server, 1000);
        let (header, mut rest) = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
        assert_eq!(decoder.decode(&mut header.clone(), &mut 0), Ok(None));

        let event = decoder.decode(&mut rest, &mut 0).unwrap();

        let payload = Payload::Input(8 - cut..1008 - cut);
        assert_eq!(event, Some(Event::Message { kind: MessageKind::Text, payload }));
    }
}

#[test]
fn a_control_frame_cut_inside_a_cut_message_disturbs_nothing() {
    let bytes = b"\x02\x02ab\x89\x04ping\x80\x02cd\x88\x05\x03\xe8bye";
    let expected = vec![
        Heard::Ping(b"ping".to_vec()),
        Heard::Binary(b"abcd".to_vec()),
        Heard::Close(Some(1000), "bye".into()),
    ];

    for step in 1..bytes.len() {
        let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
        assert_eq!(hear(Role::Client, &pieces), Ok(expected.clone()), "{step} bytes at a time");
    }
}

#[test]
fn being_mid_message_is_known() {
    let mut decoder = Decoder::new(Role::Client, 100);
    let mut decode = |bytes: &[u8]| {
        let _ = decoder.decode(&mut bytes.to_vec(), &mut 0).unwrap();
        decoder.is_mid_message()
    };

    assert!(!decode(b""));
    assert!(decode(b"\x82"), "half a header");
    assert!(decode(b"\x02a"), "half a frame");
    assert!(!decode(b"b"), "a whole frame");
    assert!(decode(b"\x02\x00"), "an empty first fragment");
    assert!(decode(b"\x89\x00"), "a ping between fragments");
    assert!(!decode(b"\x80\x00"), "the last fragment");
}

fn close_with(code: u16, reason: &[u8]) -> Result<Vec<Heard>, (Vec<Heard>, Error)> {
    let payload = [&code.to_be_bytes(), reason].concat();
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Opcode::Close, &payload);
    hear(Role::Client, &[&bytes])
}

/// Feeds the pieces to a decoder with a limit of 1,000 bytes (or what a piece needs), and collects what it says.
pub(super) fn hear(role: Role, pieces: &[&[u8]]) -> Result<Vec<Heard>, (Vec<Heard>, Error)> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    hear_with(Decoder::new(role, if total > 2000 { total } else { 1000 }), pieces)
}

/// Feeds the pieces to a decoder, and collects what it says.
pub(super) fn hear_with(mut decoder: Decoder, pieces: &[&[u8]]) -> Result<Vec<Heard>, (Vec<Heard>, Error)> {
    let mut heard = Vec::new();
    for piece in pieces {
        // Nothing may depend on an input after it was taken.
        let mut input = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.decode(&mut input, &mut at) {
                Ok(Some(event)) => heard.push(owned(&decoder, &input, &event)),
                Ok(None) => break,
                Err(error) => {
                    assert!(decoder.is_between_frames(), "an error holds on to nothing");
                    return Err((heard, error));
                }
            }
        }
        assert_eq!(at, input.len(), "none means that everything was taken");
    }
    Ok(heard)
}

fn owned(decoder: &Decoder, input: &[u8], event: &Event) -> Heard {
    let bytes = |payload| decoder.bytes(input, payload).to_vec();
    let text = |payload| String::from_utf8(bytes(payload)).expect("the decoder checks text");
    match event {
        Event::Message { kind: MessageKind::Text, payload } => Heard::Text(text(payload)),
        Event::Message { kind: MessageKind::Binary, payload } => Heard::Binary(bytes(payload)),
        Event::Ping(payload) => Heard::Ping(bytes(payload)),
        Event::Pong(payload) => Heard::Pong(bytes(payload)),
        Event::Close { code, payload } => Heard::Close(*code, text(payload)),
    }
}
