//! Sizes and times as people write them.

/// Reads a number of bytes: `65536`, `64KiB`, `16MiB`, `1GiB`; `kB`, `MB`, `GB` are powers of ten.
///
/// # Errors
/// Says what is allowed.
///
/// # Examples
///
/// ```
/// use sockeye::address::unit::parse_bytes;
///
/// assert_eq!(parse_bytes("64KiB"), Ok(65_536));
/// assert!(parse_bytes("much").is_err());
/// ```
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let units = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    parse(text, &units).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
        format!("{text:?} is not a size: write bytes or a whole number with KiB, MiB or GiB, such as 16MiB")
    })
}

/// Reads a time in milliseconds: `500ms`, `25s`, `10m`, `1h`, `1d`.
pub(crate) fn parse_milliseconds(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    parse(text, &units).ok_or_else(|| {
        format!("{text:?} is not a time: write a whole number with ms, s, m, h or d, such as 25s")
    })
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = text[digits..].trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    text[..digits].parse::<u64>().ok()?.checked_mul(*factor)
}

pub(crate) fn print_bytes(bytes: usize) -> String {
    print(bytes as u64, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)])
        .unwrap_or_else(|| format!("{bytes}B"))
}

pub(crate) fn print_milliseconds(ms: u64) -> String {
    print(ms, &[("h", 3_600_000), ("m", 60_000), ("s", 1_000)]).unwrap_or_else(|| format!("{ms}ms"))
}

fn print(number: u64, units: &[(&str, u64)]) -> Option<String> {
    let (unit, factor) =
        units.iter().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor))?;
    Some(format!("{}{unit}", number / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_they_are_printed() {
        for bytes in [0, 1, 1_000, 1_024, 65_536, 1 << 20, (1 << 20) + 1, 3 << 30] {
            assert_eq!(parse_bytes(&print_bytes(bytes)), Ok(bytes));
        }
        for ms in [0, 1, 999, 1_000, 60_000, 90_000, 3_600_000] {
            assert_eq!(parse_milliseconds(&print_milliseconds(ms)), Ok(ms));
        }
        assert_eq!(parse_bytes("16 MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("7"), Ok(7));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "KiB", "-1", "1.5MiB", "1 XB", "99999999999999999999", "18446744073709551615GiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
            assert!(parse_milliseconds(text).is_err(), "{text}");
        }
        assert!(parse_milliseconds("25").is_err());
    }
}
