//! The grammar for every value: what is printed can be read, and means the same; no text panics.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;

use super::*;

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z][a-z0-9.-]{0,20}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
    ]
}

fn host_port() -> impl Strategy<Value = HostPort> {
    (host(), any::<u16>()).prop_map(|(host, port)| HostPort { host, port })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=255_u8, 1..100)
}

fn path() -> impl Strategy<Value = PathBuf> {
    bytes().prop_map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

fn unix_name() -> impl Strategy<Value = UnixName> {
    prop_oneof![
        path().prop_map(UnixName::Path),
        prop::collection::vec(any::<u8>(), 1..100).prop_map(UnixName::Abstract),
    ]
}

fn url() -> impl Strategy<Value = Box<Url>> {
    (any::<bool>(), host_port(), "/[a-z%/?&=+@:]{0,20}")
        .prop_map(|(secure, server, path)| Box::new(Url { secure, server, path }))
}

fn word() -> impl Strategy<Value = String> {
    "\\PC{1,12}".prop_filter("visible", |word| !word.contains(','))
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof!["[A-Z_]{1,8}".prop_map(Source::Environment), path().prop_map(Source::File)]
}

fn base() -> impl Strategy<Value = Base> {
    prop_oneof![
        host_port().prop_map(Base::Tcp),
        host_port().prop_map(Base::Tls),
        host_port().prop_map(Base::Udp),
        unix_name().prop_map(Base::Unix),
        unix_name().prop_map(Base::UnixDatagram),
        url().prop_map(Base::WebSocket),
        url().prop_map(Base::Http),
        prop::collection::vec("\\PC{0,12}", 1..4)
            .prop_filter("a program", |words| !words[0].is_empty())
            .prop_map(Base::Exec),
        "[^\0]{1,20}".prop_filter("a command", |text| !text.trim().is_empty()).prop_map(Base::Shell),
        (0..i32::MAX as u32).prop_map(Base::Descriptor),
        path().prop_map(Base::File),
        Just(Base::Standard),
        ("[a-z]{1,9}", any::<u16>(), "[a-zA-Z0-9%?&=@:가-힣]{1,9}(/[a-z]{1,3}){0,3}").prop_map(
            |(host, port, channel)| Base::Channel {
                server: HostPort { host, port },
                channel: channel.into()
            }
        ),
    ]
}

/// Options of every kind of value; those that do not belong to the base are taken out.
fn options() -> impl Strategy<Value = Options> {
    let numbers = (any::<Option<u8>>(), any::<Option<u32>>(), any::<Option<bool>>(), any::<Option<bool>>());
    let values = (
        prop::option::of(host_port()),
        prop::option::of((1..10_000_000_u64).prop_map(std::time::Duration::from_millis)),
        prop::option::of(1..1_usize << 40),
        prop::option::of(prop::collection::vec(word(), 1..4).prop_map(List)),
        prop::option::of(word()),
        prop::option::of(source()),
    );
    (numbers, values).prop_map(|((ttl, mark, no_delay, insecure), (bind, time, size, list, text, source))| {
        Options {
            ttl,
            mark,
            no_delay,
            insecure,
            bind,
            timeout: time,
            send_buffer: size,
            message_max: size,
            alpn: list
                .clone()
                .map(|list| {
                    List(
                        list.0
                            .iter()
                            .map(|word| word.trim().to_owned())
                            .filter(|word| !word.is_empty())
                            .collect(),
                    )
                })
                .filter(|list| !list.0.is_empty()),
            origin: text.clone(),
            device: text,
            ca: source.clone().map(File),
            certificate: source.clone().map(File),
            token: source,
            mode: mark.map(|mark| Mode(mark & 0o777)),
            ..Options::default()
        }
    })
}

/// Leaves only what may be given to this base.
fn fitting(base: Base, given: &Options) -> Address {
    let mut address = Address::new(base);
    let parts = address.parts();
    for key in KEYS.iter().filter(|key| parts.meets(key.parts)) {
        if let Some(value) = (key.value)(given) {
            (key.set)(&mut address.options, &value).expect("what is written can be read");
        }
    }
    address
}

proptest! {
    #[test]
    fn what_is_printed_can_be_read_and_means_the_same(base in base(), options in options()) {
        let address = fitting(base, &options);

        let again = address.to_string().parse::<Address>();

        prop_assert_eq!(again, Ok(address));
    }

    #[test]
    fn no_text_panics_and_what_is_read_is_stable(text in "(tcp|udp|unix|ws|wss|exec|sh|ch|-|ip|tls\\+tcp|lines\\+unix|fd):?\\PC{0,40}") {
        if let Ok(address) = text.parse::<Address>() {
            let again = address.to_string().parse::<Address>();

            prop_assert_eq!(again, Ok(address));
        }
    }

    #[test]
    fn no_secret_survives_where_one_does_not_belong(secret in "[a-z]{12}", layers in "(ws|wss|ch|tls|tcp)") {
        for text in [format!("{layers}://ana:{secret}@h:1/x"), format!("{layers}:h:1/x?a=b&token={secret}"), format!("{layers}:h:1/x#password={secret}")] {
            if let Err(error) = text.parse::<Address>() {
                prop_assert!(!error.to_string().contains(&secret), "{}", error);
            }
        }
    }
}
