//! The two things of a certificate that the TLS library does not tell: whom it names, and until when it is good.
//!
//! A walk over the fixed beginning of a certificate (RFC 5280, 4.1). Deliberately absent: any judgement. What is read
//! here is logged; the library verifies.

use std::time::{SystemTime, UNIX_EPOCH};

/// One element: its tag and its content.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, explicit: the version of a certificate.
const VERSION: u8 = 0xa0;

/// Takes the next element off `input`. Only definite lengths, as DER has them.
fn take<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        rest = after;
        digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(Element { tag, content })
}

fn take_tagged<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(input).filter(|element| element.tag == tag).map(|element| element.content)
}

/// When a certificate ends, in seconds of Unix time.
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    let mut input = certificate;
    let mut certificate = take_tagged(&mut input, SEQUENCE)?;
    let mut fields = take_tagged(&mut certificate, SEQUENCE)?;
    let mut serial = take(&mut fields)?;
    if serial.tag == VERSION {
        serial = take(&mut fields)?;
    }
    let _ = serial;
    take_tagged(&mut fields, SEQUENCE)?; // signature algorithm
    take_tagged(&mut fields, SEQUENCE)?; // issuer
    let mut validity = take_tagged(&mut fields, SEQUENCE)?;
    take(&mut validity)?;
    let end = take(&mut validity)?;
    unix_seconds(end.tag, end.content)
}

/// RFC 5280, 4.1.2.5: `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from 2050.
fn unix_seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let number = |digits: &[u8]| -> Option<i64> {
        digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let (digits, zone) = rest.split_at_checked(10)?;
    if zone != b"Z" {
        return None;
    }
    let two = |index: usize| number(&digits[index * 2..index * 2 + 2]);
    let (month, day, hour, minute, second) = (two(0)?, two(1)?, two(2)?, two(3)?, two(4)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    // Days since 1970 of a date in the Gregorian calendar, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let days_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + days_of_year;
    Some((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// A day of the Gregorian calendar.
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

/// The day of a moment, given in seconds of Unix time.
pub(crate) fn date(unix_seconds: i64) -> Date {
    let days = unix_seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    Date {
        year: era * 400 + year_of_era + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
    }
}

/// The same as text: `2026-03-01`.
pub(crate) fn date_text(unix_seconds: i64) -> String {
    let Date { year, month, day } = date(unix_seconds);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The time.
pub(crate) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// A name (the content of its sequence) as text, such as `CN=ana, O=Example`. What has no letters here is left out.
pub(crate) fn name_text(mut name: &[u8]) -> String {
    let mut text = String::new();
    while let Some(mut set) = take_tagged(&mut name, SET) {
        while let Some(mut pair) = take_tagged(&mut set, SEQUENCE) {
            let (Some(kind), Some(value)) = (take_tagged(&mut pair, OBJECT_IDENTIFIER), take(&mut pair))
            else {
                break;
            };
            let Some(letters) = attribute(kind) else { continue };
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(letters);
            text.push('=');
            text.extend(string(&value).chars().filter(|letter| !letter.is_control()));
        }
    }
    text
}

/// The letters of the attributes that names are made of (RFC 4514, 3, and the e-mail address of PKCS #9).
fn attribute(kind: &[u8]) -> Option<&'static str> {
    Some(match kind {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        _ => return None,
    })
}

fn string(value: &Element<'_>) -> String {
    if value.tag == BMP_STRING {
        let units = value.content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        return char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    }
    String::from_utf8_lossy(value.content).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(unix_seconds(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(unix_seconds(UTC_TIME, b"260301123456Z"), Some(1_772_368_496));
        assert_eq!(unix_seconds(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(unix_seconds(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(unix_seconds(GENERALIZED_TIME, b"20240229000000Z"), Some(1_709_164_800));
        for wrong in [&b""[..], b"7001010000", b"700101000000+0100", b"701301000000Z", b"70x101000000Z"] {
            assert_eq!(unix_seconds(UTC_TIME, wrong), None);
        }
    }

    #[test]
    fn days_are_written_as_they_are_read() {
        for (text, date) in [
            (b"700101000000Z", "1970-01-01"),
            (b"240229235959Z", "2024-02-29"),
            (b"261231000000Z", "2026-12-31"),
            (b"000301000000Z", "2000-03-01"),
        ] {
            assert_eq!(date_text(unix_seconds(UTC_TIME, text).expect("a time")), date);
        }
    }

    #[test]
    fn a_certificate_tells_whom_it_names_and_until_when_it_is_good() {
        let mut parameters = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "안나\n");
        parameters.not_after = rcgen::date_time_ymd(2060, 2, 3);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");

        let parsed = webpki::EndEntityCert::try_from(certificate.der()).expect("a good certificate");

        assert_eq!(name_text(parsed.subject()), "O=Example, CN=안나");
        assert_eq!(not_after(certificate.der()), Some(2_842_992_000));
    }

    #[test]
    fn cut_certificates_tell_nothing_and_harm_nothing() {
        let certificate =
            rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        let whole = certificate.cert.der();

        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None);
            let _ = name_text(&whole[..length]);
        }
    }
}
