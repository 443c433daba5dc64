//! Headers as proxies send them, and as they must not.

use super::*;

fn read(input: &[u8]) -> Result<Option<(Endpoints, usize)>, ProxyError> {
    decode(input).map(|decoded| decoded.map(|(header, length)| (header.endpoints, length)))
}

/// A version 2 header with this command, family and content.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[0x20 | command, family]);
    header.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
    header.extend_from_slice(content);
    header
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 9, 0xc8, 0x22, 0x01, 0xbb];

fn between(source: &str, destination: &str) -> Endpoints {
    Endpoints::tcp(source.parse().unwrap(), destination.parse().unwrap())
}

#[test]
fn lines_tell_addresses_and_end_at_their_line_feed() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.9 51234 443\r\nGET / HTTP/1.1\r\n";
    assert_eq!(read(line), Ok(Some((between("192.0.2.1:51234", "192.0.2.9:443"), 42))));

    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n";
    assert_eq!(read(line), Ok(Some((between("[2001:db8::1]:0", "[2001:db8::2]:65535"), line.len()))));
}

#[test]
fn an_unknown_line_is_taken_whatever_it_says() {
    for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN \r\n", b"PROXY UNKNOWN \xff\xfe any thing\r\n"] {
        assert_eq!(read(line), Ok(Some((Endpoints::Unknown, line.len()))));
    }
    assert_eq!(read(b"PROXY UNKNOWNS\r\n"), Err(ProxyError::Line));
}

#[test]
fn a_line_of_107_bytes_is_the_longest() {
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    assert_eq!(read(longest.as_bytes()), Ok(Some((Endpoints::Unknown, 107))));

    let longer = format!("PROXY UNKNOWN {full} {full} 65535 65535 \r\n");
    assert_eq!(read(longer.as_bytes()), Err(ProxyError::LineTooLong));
    assert_eq!(read(&longer.as_bytes()[..106]), Ok(None));
}

#[test]
fn lines_that_are_wrong_are_refused() {
    for (line, error) in [
        ("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", ProxyError::Missing),
        ("POST / HTTP/1.1\r\n", ProxyError::Missing),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n", ProxyError::Line),
        ("PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n", ProxyError::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n", ProxyError::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", ProxyError::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", ProxyError::Line),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", ProxyError::Line),
        ("PROXY \r\n", ProxyError::Line),
        ("PROXY TCP4 ::1 ::1 1 1\r\n", ProxyError::Address),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", ProxyError::Address),
        ("PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n", ProxyError::Address),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", ProxyError::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n", ProxyError::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", ProxyError::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n", ProxyError::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 x\r\n", ProxyError::Port),
    ] {
        assert_eq!(read(line.as_bytes()), Err(error), "{line:?}");
    }
}

#[test]
fn a_binary_header_tells_addresses_of_both_families() {
    let mut input = binary(1, 0x11, &TCP4);
    input.extend_from_slice(b"{\"hello\":1}");
    assert_eq!(read(&input), Ok(Some((between("192.0.2.1:51234", "192.0.2.9:443"), 28))));

    let mut content = [0; 36];
    (content[15], content[31], content[33], content[35]) = (1, 2, 3, 4);
    let input = binary(1, 0x21, &content);
    assert_eq!(read(&input), Ok(Some((between("[::1]:3", "[::2]:4"), 52))));
    assert!(matches!(
        read(&binary(1, 0x12, &TCP4)),
        Ok(Some((Endpoints::Inet4 { transport: Transport::Datagram, .. }, 28)))
    ));
}

#[test]
fn a_binary_header_tells_names_of_unix_sockets() {
    let mut content = [0; 216];
    content[108..114].copy_from_slice(b"\0proxy");
    let input = binary(1, 0x31, &content);

    let Ok(Some((Endpoints::Unix(unix), 232))) = read(&input) else { panic!("{:?}", read(&input)) };

    assert_eq!(unix.source.as_bytes(), b"");
    assert_eq!(unix.destination.as_bytes(), b"\0proxy");
    assert_eq!(Endpoints::Unix(unix).source(), None);
}

#[test]
fn local_discards_everything_that_follows_in_the_header() {
    for (family, content) in [(0x00, &b""[..]), (0x11, b"abc"), (0xff, b"\xff\xff\xff")] {
        let input = binary(0, family, content);
        assert_eq!(read(&input), Ok(Some((Endpoints::Local, input.len()))));
    }
}

#[test]
fn an_unspecified_family_is_unknown() {
    assert_eq!(read(&binary(1, 0x00, b"")), Ok(Some((Endpoints::Unknown, 16))));
}

#[test]
fn tlvs_are_passed_over_and_must_fill_the_header() {
    let with = |tlvs: &[u8]| read(&binary(1, 0x11, &[&TCP4, tlvs].concat()));
    let taken = |length| Ok(Some((between("192.0.2.1:51234", "192.0.2.9:443"), length)));

    // A NOOP, and an authority (SNI).
    assert_eq!(with(b"\x04\0\0\x02\0\x03a.b"), taken(37));
    assert_eq!(with(b"\x04\0"), Err(ProxyError::Tlv));
    assert_eq!(with(b"\x04\0\x02x"), Err(ProxyError::Tlv));
    assert_eq!(with(b"\x04\0\x01xy"), Err(ProxyError::Tlv));
}

#[test]
fn a_checksum_is_checked() {
    let mut input = binary(1, 0x11, &[&TCP4[..], b"\x03\0\x04\0\0\0\0"].concat());
    assert_eq!(read(&input), Err(ProxyError::Checksum));

    // Computed by another implementation of CRC32c (one that gives 0xe3069283 for "123456789").
    let crc = CHECKSUM.to_be_bytes();
    input[31..].copy_from_slice(&crc);
    assert!(matches!(read(&input), Ok(Some((Endpoints::Inet4 { .. }, 35)))));

    input[16] ^= 1;
    assert_eq!(read(&input), Err(ProxyError::Checksum));
    assert_eq!(read(&binary(1, 0x11, &[&TCP4[..], b"\x03\0\x01x"].concat())), Err(ProxyError::Tlv));
}

#[test]
fn binary_headers_that_are_wrong_are_refused_at_the_byte_that_proves_it() {
    let header = |version_command: u8, family: u8, length: u16| {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[version_command, family]);
        header.extend_from_slice(&length.to_be_bytes());
        header
    };
    assert_eq!(read(&header(0x11, 0x11, 12)[..13]), Err(ProxyError::Version(1)));
    assert_eq!(read(&header(0x22, 0x11, 12)[..13]), Err(ProxyError::Command(2)));
    for family in [0x01, 0x10, 0x13, 0x33, 0x41] {
        assert_eq!(read(&header(0x21, family, 500)[..14]), Err(ProxyError::Family(family)));
    }
    assert_eq!(read(&header(0x21, 0x21, 12)), Err(ProxyError::TooShort { length: 12, needed: 36 }));
    assert_eq!(read(&header(0x20, 0, 16_369)), Err(ProxyError::TooLong(16_385)));
    assert_eq!(read(&header(0x20, 0, 16_368)), Ok(None));
    assert_eq!(read(b"\r\n\r\n\0\r\nQUIT\r"), Err(ProxyError::Missing));
    assert_eq!(read(b"\r\n{"), Err(ProxyError::Missing));
}

/// The CRC32c of `binary(1, 0x11, TCP4 and a checksum of zero)`.
const CHECKSUM: u32 = 0xae1d_cd04;
