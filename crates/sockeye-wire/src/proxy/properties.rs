//! What holds for every header, and for every bytes that are none.

use std::net::{SocketAddr, SocketAddrV6};

use proptest::prelude::*;

use super::*;

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Stream), Just(Transport::Datagram)]
}

fn name() -> impl Strategy<Value = UnixPath> {
    proptest::collection::vec(any::<u8>(), 0..=108)
        .prop_map(|name| UnixPath::new(&name).expect("short enough"))
}

fn endpoints() -> impl Strategy<Value = Endpoints> {
    // Flow and scope are not part of a header.
    let v6 = || any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddrV6::new(ip.into(), port, 0, 0));
    prop_oneof![
        Just(Endpoints::Local),
        Just(Endpoints::Unknown),
        (transport(), any::<([u8; 4], u16)>(), any::<([u8; 4], u16)>()).prop_map(|(transport, from, to)| {
            let address = |(ip, port): ([u8; 4], u16)| std::net::SocketAddrV4::new(ip.into(), port);
            Endpoints::Inet4 { transport, source: address(from), destination: address(to) }
        }),
        (transport(), v6(), v6()).prop_map(|(transport, source, destination)| Endpoints::Inet6 {
            transport,
            source,
            destination
        }),
        (transport(), name(), name()).prop_map(|(transport, source, destination)| {
            Endpoints::Unix(Box::new(UnixEndpoints { transport, source, destination }))
        }),
    ]
}

/// Bytes that are nearly a header.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let damaged = (endpoints(), any::<bool>(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(endpoints, is_text, at, byte)| {
            let mut bytes = written(&endpoints, if is_text { Version::One } else { Version::Two });
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    prop_oneof![
        damaged,
        proptest::collection::vec(any::<u8>(), 0..64),
        "PROXY [ -~]{0,120}\r\n".prop_map(Vec::from)
    ]
}

fn written(endpoints: &Endpoints, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, &Header { version, endpoints: endpoints.clone() });
    out
}

proptest! {
    #[test]
    fn version_2_tells_everything_and_takes_nothing_of_what_follows(
        endpoints in endpoints(), behind in proptest::collection::vec(any::<u8>(), 0..40)
    ) {
        let mut bytes = written(&endpoints, Version::Two);
        let length = bytes.len();
        for cut in 0..length {
            prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
        }
        bytes.extend_from_slice(&behind);
        prop_assert_eq!(decode(&bytes), Ok(Some((Header { version: Version::Two, endpoints }, length))));
    }

    #[test]
    fn version_1_tells_tcp_and_nothing_else(
        endpoints in endpoints(), behind in proptest::collection::vec(any::<u8>(), 0..40)
    ) {
        let mut bytes = written(&endpoints, Version::One);
        let length = bytes.len();
        for cut in 0..length {
            prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
        }
        bytes.extend_from_slice(&behind);
        let told = match endpoints {
            Endpoints::Inet4 { transport: Transport::Stream, .. }
            | Endpoints::Inet6 { transport: Transport::Stream, .. } => endpoints,
            _ => Endpoints::Unknown,
        };
        prop_assert_eq!(decode(&bytes), Ok(Some((Header { version: Version::One, endpoints: told }, length))));
    }

    #[test]
    fn more_bytes_change_neither_a_value_nor_an_error(bytes in nearly(), behind in any::<[u8; 8]>()) {
        let whole = [&bytes[..], &behind].concat();
        let last = decode(&whole);
        let mut told = None;
        for cut in 0..=whole.len() {
            let found = decode(&whole[..cut]);
            if let Some(told) = &told {
                prop_assert_eq!(&found, told);
            } else if found != Ok(None) {
                told = Some(found);
            }
        }
        prop_assert_eq!(last, told.unwrap_or(Ok(None)));
    }

    #[test]
    fn a_pair_of_addresses_keeps_its_source(source: SocketAddr, destination: SocketAddr) {
        let told = Endpoints::tcp(source, destination).source().expect("an address");
        prop_assert_eq!((told.ip().to_canonical(), told.port()), (source.ip().to_canonical(), source.port()));
    }
}
