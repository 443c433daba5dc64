//! One file of `docs/protocol`: its lines as values, its substitutions and its patterns, as its README defines them.

use std::collections::HashMap;

use serde_json::Value;

/// One line for one client.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its line in the file, from 1.
    pub(crate) line: usize,
    pub(crate) client: char,
    /// How often, counting `{n}`.
    pub(crate) times: usize,
    pub(crate) act: Act,
}

#[derive(Debug)]
pub(crate) enum Act {
    Send(String),
    Hold(String),
    Receive(String),
    ReceiveAnyOrder(String),
    Has(String),
    Lacks(String),
    Closes,
    Ends,
    Closed,
}

/// A file that was read.
pub(crate) struct Transcript {
    /// From which step on it is played only over some sockets, and over which.
    over: Vec<(usize, Vec<String>)>,
    steps: Vec<Step>,
}

impl Transcript {
    pub(crate) fn parse(text: &str) -> Transcript {
        let mut transcript = Transcript { over: Vec::new(), steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("over ") {
                Some(sockets) => {
                    let sockets = sockets.split(' ').map(str::to_owned).collect();
                    transcript.over.push((transcript.steps.len(), sockets));
                }
                None => transcript.steps.push(step(index + 1, line)),
            }
        }
        transcript
    }

    /// What is played over a socket: everything, or what stands before the first `over` that does not name it.
    pub(crate) fn steps_over(&self, socket: &str) -> &[Step] {
        let is_without = |(_, sockets): &&(usize, Vec<String>)| !sockets.iter().any(|name| name == socket);
        let end = self.over.iter().find(is_without).map_or(self.steps.len(), |(end, _)| *end);
        &self.steps[..end]
    }
}

fn step(number: usize, line: &str) -> Step {
    let mut chars = line.chars();
    let client = chars.next().filter(char::is_ascii_lowercase).expect("a client");
    let mut rest = chars.as_str().strip_prefix(' ').unwrap_or_else(|| panic!("line {number}: {line}"));
    let mut times = 1;
    if let Some((count, after)) = rest.split_once(' ')
        && let Ok(count) = count.parse()
    {
        (times, rest) = (count, after);
    }
    let (form, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let text = text.to_owned();
    let act = match form {
        "->" => Act::Send(text),
        "+>" => Act::Hold(text),
        "<-" => Act::Receive(text),
        "<*" => Act::ReceiveAnyOrder(text),
        "has" => Act::Has(text),
        "lacks" => Act::Lacks(text),
        "closes" => Act::Closes,
        "ends" => Act::Ends,
        "closed" => Act::Closed,
        _ => panic!("line {number}: no such form: {line}"),
    };
    Step { line: number, client, times, act }
}

/// What the variables of a file stand for.
pub(crate) type Variables = HashMap<String, String>;

/// Replaces `{ch}`, `{n}`, `{cr}`, `{tab}` and `{64*TEXT}`.
pub(crate) fn expand(text: &str, channel: &str, n: usize) -> String {
    let text = text.replace("{ch}", channel).replace("{n}", &n.to_string());
    let text = text.replace("{cr}", "\r").replace("{tab}", "\t");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        let repeated = rest[1 + digits..].strip_prefix('*').and_then(|after| after.split_once('}'));
        match (rest[1..=digits].parse(), repeated) {
            (Ok(times), Some((repeated, after))) => {
                out.push_str(&repeated.repeat(times));
                rest = after;
            }
            _ => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Replaces `<name>` by what it is bound to; other angle brackets stand for themselves.
pub(crate) fn bind(text: &str, variables: &Variables) -> String {
    variables.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
}

/// Says whether a value matches, and binds what it binds.
pub(crate) fn matches(pattern: &Value, value: &Value, variables: &mut Variables) -> bool {
    match (pattern, value) {
        (Value::Object(pattern), Value::Object(value)) => {
            let open = pattern.contains_key("...");
            let named = pattern.iter().filter(|(key, _)| *key != "...");
            let counted = open || pattern.len() == value.len();
            counted
                && named.into_iter().all(|(key, pattern)| {
                    value.get(key).is_some_and(|value| matches(pattern, value, variables))
                })
        }
        (Value::Array(pattern), Value::Array(value)) => {
            pattern.len() == value.len()
                && pattern.iter().zip(value).all(|(pattern, value)| matches(pattern, value, variables))
        }
        (Value::String(pattern), value) => match (pattern.as_str(), value) {
            ("<any>", _) => true,
            ("<int>", value) => value.is_u64(),
            ("<string>", value) => value.is_string(),
            (pattern, Value::String(value)) => matches_text(pattern, value, variables),
            _ => false,
        },
        (Value::Number(pattern), Value::Number(value)) => {
            let is_whole = |number: &serde_json::Number| number.is_i64() || number.is_u64();
            if is_whole(pattern) && is_whole(value) {
                pattern == value
            } else {
                pattern.as_f64() == value.as_f64()
            }
        }
        (pattern, value) => pattern == value,
    }
}

fn matches_text(pattern: &str, value: &str, variables: &mut Variables) -> bool {
    let Some((literal, name, after)) = next_variable(pattern) else { return pattern == value };
    let Some(value) = value.strip_prefix(literal) else { return false };
    if let Some(bound) = variables.get(name) {
        let rest = value.strip_prefix(bound.as_str());
        return rest.is_some_and(|rest| matches_text(after, rest, variables));
    }
    let length = value.bytes().take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')).count();
    if length == 0 {
        return false;
    }
    variables.insert(name.to_owned(), value[..length].to_owned());
    matches_text(after, &value[length..], variables)
}

/// The first `<word>` of a pattern, with what is before and after.
fn next_variable(pattern: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + pattern[from..].find('<')?;
        let length = pattern[start + 1..].bytes().take_while(u8::is_ascii_lowercase).count();
        let end = start + 1 + length;
        if length > 0 && pattern[end..].starts_with('>') {
            return Some((&pattern[..start], &pattern[start + 1..end], &pattern[end + 1..]));
        }
        from = start + 1;
    }
}

#[test]
fn patterns_bind_variables_and_hold_them() {
    let mut variables = Variables::new();
    let mut check = |pattern: &str, value: &str| {
        let (pattern, value) = (serde_json::from_str(pattern).unwrap(), serde_json::from_str(value).unwrap());
        matches(&pattern, &value, &mut variables)
    };

    assert!(check(r#"{"at":"<e>:1","...":0}"#, r#"{"at":"k3f:1","x":2}"#));
    assert!(check(r#"{"at":"<e>:2"}"#, r#"{"at":"k3f:2"}"#));
    assert!(!check(r#"{"at":"<e>:2"}"#, r#"{"at":"abc:2"}"#));
    assert!(!check(r#"{"at":"<e>:2"}"#, r#"{"at":"k3f:2","x":1}"#));
    assert!(check(r#"[1,1.0,"<int>","<any>"]"#, r#"[1,1,7,null]"#));
    assert!(!check(r#""<int>""#, "-1"));
    assert_eq!(expand("{2*ab}{x}{n}{ch}", "c", 3), "abab{x}3c");
}
