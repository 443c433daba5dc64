//! A server's answer to a client that asked for a WebSocket: whatever it says, the verdict does not depend on the cuts, and
//! consent is to what was offered.

use sockeye_wire::websocket::{Deflate, DeflateOffer, UpgradeResponseError, parse_upgrade_response};

use super::Stream;

/// Of RFC 6455, 1.3, so that seeds can have the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SUBPROTOCOLS: [&str; 2] = ["chat", "superchat"];

/// Reads the answer of a server that may lie.
pub fn websocket_response(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };
    let offer = DeflateOffer { client_max_window_bits: Some(None), ..DeflateOffer::default() };
    for offer in [None, Some(offer)] {
        let whole = verdict(&stream.whole(), offer);

        assert_eq!(whole, verdict(&stream.cut(), offer));
        if let Some(Ok(consent)) = whole {
            assert!(consent.head_bytes <= stream.bytes.len());
            assert!(stream.bytes[..consent.head_bytes].ends_with(b"\n"));
            assert!(consent.subprotocol.is_none_or(|name| SUBPROTOCOLS.contains(&&*name)));
            assert!(consent.deflate.is_none() || offer.is_some());
        }
    }
}

#[derive(Debug, PartialEq)]
struct Consent {
    head_bytes: usize,
    subprotocol: Option<String>,
    deflate: Option<Deflate>,
}

/// What a client that reads piece by piece comes to. `None`: it would wait for more.
fn verdict(pieces: &[&[u8]], offer: Option<DeflateOffer>) -> Option<Result<Consent, &'static str>> {
    let mut read = Vec::new();
    for piece in pieces {
        read.extend_from_slice(piece);
        match parse_upgrade_response(&read, KEY, &SUBPROTOCOLS, offer.as_ref()) {
            Ok(None) => {}
            Ok(Some(response)) => {
                return Some(Ok(Consent {
                    head_bytes: response.head_bytes,
                    subprotocol: response.subprotocol.map(str::to_owned),
                    deflate: response.deflate,
                }));
            }
            Err(error) => return Some(Err(name(&error))),
        }
    }
    None
}

/// The kind of an error: what is wrong first may be seen in one piece and not in another.
fn name(error: &UpgradeResponseError) -> &'static str {
    match error {
        UpgradeResponseError::NotHttp(_) | UpgradeResponseError::TooLong => "no head",
        _ => "no consent",
    }
}
