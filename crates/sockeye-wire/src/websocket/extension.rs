//! The agreement on permessage-deflate (RFC 7692, 7.1): what a client offers, what a server accepts of it.
//!
//! ```text
//! client: permessage-deflate; client_max_window_bits, permessage-deflate      (offers, the favourite first)
//! server: permessage-deflate; server_no_context_takeover                      (the first that can be accepted)
//! ```
//!
//! Deliberately absent: other extensions. Offers of them are passed over by a server, and are an error in its answer.

use super::handshake::{elements, is_token};

/// Offers that are looked at in one request; what comes after them is passed over.
const OFFERS_MAX: usize = 16;

/// The longest value of a parameter: a window has at most two digits.
const VALUE_BYTES_MAX: usize = 2;

const NAME: &[u8] = b"permessage-deflate";

/// How a connection compresses its messages: what both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// Each message of the server stands alone.
    pub server_no_context_takeover: bool,
    /// Each message of the client stands alone.
    pub client_no_context_takeover: bool,
    /// The window of the server's messages, 8 to 15 bits.
    pub server_max_window_bits: u8,
    /// The window of the client's messages, 8 to 15 bits.
    pub client_max_window_bits: u8,
    /// The client asked about the server's window, so the answer names it.
    names_server_window: bool,
}

/// What one end is ready to do, whatever the other allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateTerms {
    /// Messages may refer to those before them, in both directions.
    pub takeover: bool,
    /// The window of this end's own messages, 8 to 15 bits.
    pub window_bits_max: u8,
}

/// One offer of a client (RFC 7692, 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeflateOffer {
    /// The server is asked to let each message stand alone.
    pub server_no_context_takeover: bool,
    /// The client says that its own messages will.
    pub client_no_context_takeover: bool,
    /// The server is asked to use at most this window.
    pub server_max_window_bits: Option<u8>,
    /// The client can limit its own window: to what the server says, and by itself to this.
    pub client_max_window_bits: Option<Option<u8>>,
}

impl DeflateOffer {
    /// Chooses the first of the offers that can be accepted on these terms: any that is one, since every window that a
    /// client may ask for can be kept to.
    pub fn accept(offers: &[DeflateOffer], terms: DeflateTerms) -> Option<Deflate> {
        offers.first().map(|offer| {
            let window_bits = offer.server_max_window_bits.unwrap_or(15).min(terms.window_bits_max);
            Deflate {
                // No zlib writes for a window of 8 bits. A message that is not longer and stands alone needs none.
                server_no_context_takeover: offer.server_no_context_takeover
                    || !terms.takeover
                    || window_bits < 9,
                // RFC 7692, 7.1.1.2: the server may ask this of a client that did not mention it.
                client_no_context_takeover: offer.client_no_context_takeover || !terms.takeover,
                server_max_window_bits: window_bits,
                client_max_window_bits: 15,
                names_server_window: offer.server_max_window_bits.is_some(),
            }
        })
    }

    /// Appends this offer, as the value of `Sec-WebSocket-Extensions`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME);
        write_flag(out, self.server_no_context_takeover, Parameter::ServerNoContextTakeover);
        write_flag(out, self.client_no_context_takeover, Parameter::ClientNoContextTakeover);
        if let Some(bits) = self.server_max_window_bits {
            write_window(out, Parameter::ServerMaxWindowBits, Some(bits));
        }
        if let Some(bits) = self.client_max_window_bits {
            write_window(out, Parameter::ClientMaxWindowBits, bits);
        }
    }

    /// Checks a server's answer to this offer. `None`: it does not answer it, so the client must fail (RFC 7692, 7.1).
    pub fn agree(&self, answer: &[u8]) -> Option<Deflate> {
        let answer = Extension::parse(answer)?;
        let answered = answer.is_deflate().then(|| Parameters::read(&answer)).flatten()?;
        let server_bits = match answered.server_max_window_bits {
            None => None,
            Some(None) => return None,
            Some(Some(bits)) => Some(bits),
        };
        let client_bits = match (answered.client_max_window_bits, self.client_max_window_bits) {
            (None, own) => own.flatten().unwrap_or(15),
            // RFC 7692, 7.1.2.2: without the offer the server must not answer it, nor without a value.
            (Some(None), _) | (Some(_), None) => return None,
            (Some(Some(bits)), Some(own)) => bits.min(own.unwrap_or(15)),
        };
        // RFC 7692, 7.1.1.1 and 7.1.2.1: what the server was asked for it must say that it does.
        let is_kept = answered.server_no_context_takeover || !self.server_no_context_takeover;
        let is_within =
            self.server_max_window_bits.is_none_or(|asked| server_bits.is_some_and(|bits| bits <= asked));
        (is_kept && is_within).then_some(Deflate {
            server_no_context_takeover: answered.server_no_context_takeover,
            client_no_context_takeover: answered.client_no_context_takeover
                || self.client_no_context_takeover,
            server_max_window_bits: server_bits.unwrap_or(15),
            client_max_window_bits: client_bits,
            names_server_window: server_bits.is_some(),
        })
    }
}

impl Deflate {
    /// Appends a server's answer, as the value of `Sec-WebSocket-Extensions`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME);
        write_flag(out, self.server_no_context_takeover, Parameter::ServerNoContextTakeover);
        write_flag(out, self.client_no_context_takeover, Parameter::ClientNoContextTakeover);
        if self.names_server_window {
            write_window(out, Parameter::ServerMaxWindowBits, Some(self.server_max_window_bits));
        }
    }
}

/// Appends the offers of one header to those before it. Extensions that are something else are passed over, and so are
/// offers that RFC 7692 declines. Returns whether the header is one (RFC 6455, 9.1).
pub(super) fn read_offers(header: &[u8], offers: &mut Vec<DeflateOffer>) -> bool {
    for element in elements(header) {
        let Some(extension) = Extension::parse(element) else { return false };
        if offers.len() < OFFERS_MAX
            && extension.is_deflate()
            && let Some(offer) = Parameters::read(&extension).and_then(Parameters::into_offer)
        {
            offers.push(offer);
        }
    }
    true
}

/// One element of `Sec-WebSocket-Extensions`: a name and its parameters, each a name that may have a value.
struct Extension<'a> {
    name: &'a [u8],
    parameters: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Extension<'a> {
    /// RFC 6455, 9.1. A quoted value must be a token too, so neither quote, comma nor semicolon can be in one, and what
    /// is escaped in it need not have been: such a value is none.
    fn parse(element: &'a [u8]) -> Option<Extension<'a>> {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| is_token(name))?;
        let parameters = parts.map(|part| match part.iter().position(|byte| *byte == b'=') {
            None => is_token(part).then_some((part, None)),
            Some(at) => {
                let (name, value) = (part[..at].trim_ascii(), part[at + 1..].trim_ascii());
                let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                let value = quoted.unwrap_or(value);
                (is_token(name) && is_token(value)).then_some((name, Some(value)))
            }
        });
        Some(Extension { name, parameters: parameters.collect::<Option<_>>()? })
    }

    fn is_deflate(&self) -> bool {
        self.name.eq_ignore_ascii_case(NAME)
    }
}

/// The four parameters that there are (RFC 7692, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameter {
    ServerNoContextTakeover,
    ClientNoContextTakeover,
    ServerMaxWindowBits,
    ClientMaxWindowBits,
}

impl Parameter {
    const ALL: [Parameter; 4] = [
        Parameter::ServerNoContextTakeover,
        Parameter::ClientNoContextTakeover,
        Parameter::ServerMaxWindowBits,
        Parameter::ClientMaxWindowBits,
    ];

    fn name(self) -> &'static [u8] {
        match self {
            Parameter::ServerNoContextTakeover => b"server_no_context_takeover",
            Parameter::ClientNoContextTakeover => b"client_no_context_takeover",
            Parameter::ServerMaxWindowBits => b"server_max_window_bits",
            Parameter::ClientMaxWindowBits => b"client_max_window_bits",
        }
    }
}

/// The parameters as they were written.
#[derive(Clone, Copy, Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<Option<u8>>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// RFC 7692, 7.1: unknown names, names that are repeated and values that are none decline the whole.
    fn read(extension: &Extension<'_>) -> Option<Parameters> {
        let mut parameters = Parameters::default();
        let mut seen = [false; Parameter::ALL.len()];
        for (name, value) in &extension.parameters {
            let parameter =
                Parameter::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.name()))?;
            if std::mem::replace(&mut seen[parameter as usize], true) {
                return None;
            }
            match (parameter, *value) {
                (Parameter::ServerNoContextTakeover, None) => parameters.server_no_context_takeover = true,
                (Parameter::ClientNoContextTakeover, None) => parameters.client_no_context_takeover = true,
                (Parameter::ServerNoContextTakeover | Parameter::ClientNoContextTakeover, Some(_)) => {
                    return None;
                }
                (Parameter::ServerMaxWindowBits, None) => parameters.server_max_window_bits = Some(None),
                (Parameter::ClientMaxWindowBits, None) => parameters.client_max_window_bits = Some(None),
                (Parameter::ServerMaxWindowBits, Some(value)) => {
                    parameters.server_max_window_bits = Some(Some(window_bits(value)?));
                }
                (Parameter::ClientMaxWindowBits, Some(value)) => {
                    parameters.client_max_window_bits = Some(Some(window_bits(value)?));
                }
            }
        }
        Some(parameters)
    }

    /// RFC 7692, 7.1.2.1: a client that asks about the server's window says which.
    fn into_offer(self) -> Option<DeflateOffer> {
        let server_max_window_bits = match self.server_max_window_bits {
            None => None,
            Some(bits) => Some(bits?),
        };
        Some(DeflateOffer {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits: self.client_max_window_bits,
        })
    }
}

/// RFC 7692, 7.1.2: a decimal number from 8 to 15, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    if value.len() > VALUE_BYTES_MAX || value.first() == Some(&b'0') {
        return None;
    }
    let text = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok().filter(|bits| (8..=15).contains(bits))
}

fn write_flag(out: &mut Vec<u8>, is_set: bool, parameter: Parameter) {
    if is_set {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(parameter.name());
    }
}

fn write_window(out: &mut Vec<u8>, parameter: Parameter, bits: Option<u8>) {
    write_flag(out, true, parameter);
    if let Some(bits) = bits {
        out.push(b'=');
        out.extend_from_slice(bits.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: DeflateTerms = DeflateTerms { takeover: false, window_bits_max: 12 };
    const DEDICATED: DeflateTerms = DeflateTerms { takeover: true, window_bits_max: 15 };

    #[test]
    fn offers_that_are_one_are_read_and_others_are_passed_over() {
        let read = |header: &str| {
            let mut offers = Vec::new();
            read_offers(header.as_bytes(), &mut offers).then_some(offers)
        };
        let plain = DeflateOffer::default();

        assert_eq!(read("permessage-deflate"), Some(vec![plain]));
        assert_eq!(read("Permessage-DEFLATE ; Client_Max_Window_Bits"), Some(vec![any_client_window()]));
        assert_eq!(
            read("permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits = 8"),
            Some(vec![DeflateOffer {
                server_max_window_bits: Some(10),
                client_max_window_bits: Some(Some(8)),
                ..plain
            }])
        );
        assert_eq!(
            read(
                "permessage-deflate; client_no_context_takeover; server_no_context_takeover, permessage-deflate"
            ),
            Some(vec![
                DeflateOffer { client_no_context_takeover: true, server_no_context_takeover: true, ..plain },
                plain
            ])
        );
        for declined in [
            "",
            "x-webkit-deflate-frame; max_window_bits=15",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=99999999999999999999",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; Server_No_Context_Takeover",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=5",
        ] {
            assert_eq!(read(declined), Some(vec![]), "{declined}");
            // The next one is looked at.
            assert_eq!(read(&format!("{declined}, permessage-deflate")), Some(vec![plain]), "{declined}");
        }
        for malformed in [
            "permessage deflate",
            "permessage-deflate;",
            "permessage-deflate; ; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; =5",
            "permessage-deflate; a=b=c",
            "permessage-deflate; client_max_window_bits=\"10",
            "; client_max_window_bits",
        ] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
        assert_eq!(read(&vec!["permessage-deflate"; 100].join(",")).unwrap().len(), OFFERS_MAX);
    }

    #[test]
    fn a_server_answers_what_it_was_asked_and_what_it_demands() {
        let answer = |offer, terms| {
            let mut out = Vec::new();
            DeflateOffer::accept(&[offer], terms).unwrap().write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let asking = |bits| DeflateOffer { server_max_window_bits: Some(bits), ..any_client_window() };

        assert_eq!(answer(any_client_window(), DEDICATED), "permessage-deflate");
        assert_eq!(
            answer(any_client_window(), SHARED),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        );
        assert_eq!(answer(asking(10), DEDICATED), "permessage-deflate; server_max_window_bits=10");
        assert_eq!(
            answer(asking(8), DEDICATED),
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=8"
        );
        assert_eq!(
            answer(asking(15), SHARED),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
        );
        assert_eq!(
            answer(DeflateOffer { client_no_context_takeover: true, ..DeflateOffer::default() }, DEDICATED),
            "permessage-deflate; client_no_context_takeover"
        );
        assert_eq!(DeflateOffer::accept(&[], SHARED), None);
    }

    #[test]
    fn a_client_agrees_to_answers_of_its_offer_only() {
        let agree = |offer: DeflateOffer, answer: &str| offer.agree(answer.as_bytes());
        let asking = DeflateOffer {
            server_no_context_takeover: true,
            server_max_window_bits: Some(12),
            client_max_window_bits: Some(Some(11)),
            client_no_context_takeover: false,
        };

        let agreed = agree(
            any_client_window(),
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=10",
        );
        let agreed = agreed.unwrap();
        assert_eq!((agreed.client_max_window_bits, agreed.server_max_window_bits), (9, 10));
        assert!(!agreed.server_no_context_takeover && !agreed.client_no_context_takeover);
        let agreed =
            agree(asking, "permessage-deflate; server_no_context_takeover; server_max_window_bits=12")
                .unwrap();
        assert_eq!((agreed.client_max_window_bits, agreed.server_no_context_takeover), (11, true));
        for refused in [
            "permessage-bzip2",
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bits=12",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=13",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; client_max_window_bits",
        ] {
            assert_eq!(agree(asking, refused), None, "{refused}");
        }
        let plain = DeflateOffer::default();
        assert_eq!(agree(plain, "permessage-deflate; client_max_window_bits=10"), None);
        assert!(agree(plain, "permessage-deflate; server_max_window_bits=10").is_some());
    }

    #[test]
    fn what_is_accepted_is_agreed_to_whatever_was_offered() {
        for (own, named) in [(None, None), (Some(None), Some(8)), (Some(Some(9)), Some(15))] {
            for flags in 0..4_u8 {
                let offer = DeflateOffer {
                    server_no_context_takeover: flags & 1 != 0,
                    client_no_context_takeover: flags & 2 != 0,
                    server_max_window_bits: named,
                    client_max_window_bits: own,
                };
                let (mut written, mut read) = (Vec::new(), Vec::new());
                offer.write(&mut written);
                assert!(read_offers(&written, &mut read));
                assert_eq!(read, [offer]);

                for terms in [SHARED, DEDICATED] {
                    let accepted = DeflateOffer::accept(&read, terms).unwrap();
                    let mut answer = Vec::new();
                    accepted.write(&mut answer);
                    let agreed = offer.agree(&answer).unwrap();
                    assert_eq!(agreed.server_no_context_takeover, accepted.server_no_context_takeover);
                    assert_eq!(agreed.client_no_context_takeover, accepted.client_no_context_takeover);
                    assert!(agreed.server_max_window_bits >= accepted.server_max_window_bits);
                    assert!(agreed.client_max_window_bits <= accepted.client_max_window_bits);
                }
            }
        }
    }

    fn any_client_window() -> DeflateOffer {
        DeflateOffer { client_max_window_bits: Some(None), ..DeflateOffer::default() }
    }
}
