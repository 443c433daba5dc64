//! Headers of the PROXY protocol: cuts do not matter, and what is decoded is encoded and decoded to itself.

use sockeye_wire::proxy::{self, HEADER_BYTES_MAX, Header, ProxyError, Version};

use super::Stream;

/// Decodes the header at the beginning of a stream.
pub fn proxy(data: &[u8]) {
    let Some(stream) = Stream::new(data) else { return };

    let decoded = proxy::decode(stream.bytes);

    assert_eq!(decoded, decode_cut(&stream));
    if let Ok(Some((header, length))) = decoded {
        assert!(length <= stream.bytes.len() && length <= HEADER_BYTES_MAX);
        // TLVs are not kept, and version 1 has no words for all that version 2 tells.
        for version in [header.version, Version::Two] {
            let again = Header { version, endpoints: header.endpoints.clone() };
            let mut bytes = Vec::new();
            proxy::write(&mut bytes, &again);
            assert_eq!(proxy::decode(&bytes), Ok(Some((again, bytes.len()))));
        }
    }
}

/// As a server does: what has come is looked at again and again, until it says something.
fn decode_cut(stream: &Stream<'_>) -> Result<Option<(Header, usize)>, ProxyError> {
    let mut received = Vec::new();
    for piece in stream.cut() {
        received.extend_from_slice(piece);
        match proxy::decode(&received) {
            Ok(None) => {}
            said => return said,
        }
    }
    Ok(None)
}
