//! Whether what was shown is what the chapter shows.
//!
//! Times, dates, keys, positions and ports that the system chose differ every time; everything else must be equal. In the
//! chapter, `...` stands for anything, and a line of it for any lines.

/// Whether `actual` is what `shown` says. Both consist of whole lines.
pub(crate) fn is_shown(shown: &str, actual: &str, as_stream: bool) -> bool {
    let (shown, actual) = (steady(shown), steady(actual));
    if as_stream {
        return undumped(&shown) == undumped(&actual);
    }
    let shown: Vec<&str> = shown.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    lines_match(&shown, &actual)
}

fn lines_match(shown: &[&str], actual: &[&str]) -> bool {
    match (shown.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=actual.len()).any(|skipped| lines_match(rest, &actual[skipped..])),
        (Some((line, rest)), Some((said, others))) => line_matches(line, said) && lines_match(rest, others),
        _ => false,
    }
}

fn line_matches(shown: &str, actual: &str) -> bool {
    let Some((before, behind)) = shown.split_once("...") else { return shown == actual };
    let Some(rest) = actual.strip_prefix(before) else { return false };
    let starts = (0..=rest.len()).filter(|start| rest.is_char_boundary(*start));
    starts.into_iter().any(|start| line_matches(behind, &rest[start..]))
}

/// The text without what differs every time.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.trim_end_matches('\r').split(' ').map(str::to_owned).collect();
        let mut kept: Vec<String> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let next = words.get(index + 1).map(|next| next.trim_end_matches([',', ':', ';']));
            let is_time = next == Some("ms") && word.parse::<f64>().is_ok();
            let is_date =
                word.len() == 10 && word.split('-').count() == 3 && word.starts_with(char::is_numeric);
            kept.push(if is_time || is_date { "*".into() } else { steady_word(word) });
        }
        steady.push_str(&kept.join(" "));
        steady.push('\n');
    }
    steady
}

/// Ports that the system chose, and positions of channels.
fn steady_word(word: &str) -> String {
    if let Some((before, rest)) = word.split_once("127.0.0.1:") {
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        // The chapter's own ports have four digits.
        if end == 5 {
            return format!("{before}127.0.0.1:*{}", &rest[end..]);
        }
    }
    match word.split_once("\"at\":\"") {
        Some((before, rest)) => {
            let behind = rest.split_once('"').map_or("", |(_, behind)| behind);
            format!("{before}\"at\":\"*\"{behind}")
        }
        None => word.to_owned(),
    }
}

/// The bytes of all dumps in hexadecimal, and the lines that are none.
fn undumped(text: &str) -> (Vec<u8>, Vec<&str>) {
    let mut bytes = Vec::new();
    let mut others = Vec::new();
    for line in text.lines() {
        let is_dump = line.len() > 60 && line.as_bytes()[..8].iter().all(u8::is_ascii_hexdigit);
        if is_dump {
            let digits = line[8..58].split_whitespace();
            bytes.extend(digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()));
        } else if !line.starts_with("< binary, ") {
            others.push(line);
        }
    }
    (bytes, others)
}

#[test]
fn what_differs_every_time_is_not_compared_and_everything_else_is() {
    let shown =
        "ready  connect 0.02 ms, tls 1 ms, until 2027-11-22\n127.0.0.1:54074 came\n...\nto 127.0.0.1:7000\n";
    assert!(is_shown(
        shown,
        "ready  connect 3.1 ms, tls 9.99 ms, until 2028-01-01\n127.0.0.1:33333 came\nx\nto 127.0.0.1:7000\n",
        false
    ));
    assert!(!is_shown(
        shown,
        "ready  connect 3.1 ms, tls 9.99 ms, until 2028-01-01\n127.0.0.1:33333 came\nx\nto 127.0.0.1:7001\n",
        false
    ));
    assert!(!is_shown("one\n", "one\ntwo\n", false));
    assert!(!is_shown("one\ntwo\n", "one\n", false));
    assert!(is_shown("... INFO listening ...\n", "12:00  INFO listening on 7\n", false));
    assert!(!is_shown("... INFO listening ...\n", "12:00  INFO leaving on 7\n", false));
}

#[test]
fn a_dump_of_a_stream_may_be_cut_anywhere() {
    let whole =
        "< binary, 3 bytes\n00000000  6f 6e 65                                          one\nexit 0\n";
    let cut = "< binary, 1 bytes\n00000000  6f                                                o\n\
        < binary, 2 bytes\n00000000  6e 65                                             ne\nexit 0\n";
    let other = cut.replace("6e 65", "6e 66");

    assert!(is_shown(whole, cut, true) && !is_shown(whole, cut, false));
    assert!(!is_shown(whole, &other, true));
}
