//! Names and patterns: the hub's tree, the obvious rule and the rule over lists agree on who hears a name.

use sockeye_hub::{
    ClientSetup, Encoded, Encoder, Hub, Limits, Now, ShardInfo, Subscribe, Tag, check_name, check_pattern,
    matches,
};

/// Takes the bytes as lines: patterns, and last a name.
pub fn name_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (patterns, name) = text.rsplit_once('\n').unwrap_or(("", text));
    if check_name(name).is_err() {
        return;
    }
    let mut patterns: Vec<String> = patterns.split('\n').take(PATTERNS_MAX).map(str::to_owned).collect();
    patterns.retain(|pattern| check_pattern(pattern).is_ok());
    for pattern in &patterns {
        assert_eq!(matches(pattern, name), matches_by_levels(pattern, name), "{pattern} and {name}");
    }
    for made in patterns_for(name) {
        // A pattern made from a name of the greatest length or depth may be over the limits itself.
        if check_pattern(&made).is_ok() {
            assert!(matches(&made, name), "{made} is made from {name}");
            patterns.truncate(PATTERNS_MAX - 1);
            patterns.push(made);
        }
    }
    the_hub_agrees(patterns, name);
}

/// Subscribes to all patterns and takes them back one by one.
fn the_hub_agrees(mut patterns: Vec<String>, name: &str) {
    patterns.sort();
    patterns.dedup();
    let (now, key) = (Now::default(), 7);
    let encoder = Encoder::new(|_, _, _| Encoded::Own(Box::default()), 0);
    let mut hub = Hub::new(Limits::default(), Vec::new(), ShardInfo::single(), 1, key, encoder);
    let client = hub.connect(ClientSetup::default());
    for pattern in &patterns {
        hub.subscribe(client, Tag::Silent, pattern, Subscribe::default(), now);
    }
    assert_eq!(hub.subscriptions(client), patterns.len());
    loop {
        let is_heard = patterns.iter().any(|pattern| matches(pattern, name));
        assert_eq!(hub.has_audience(name), is_heard, "{name} by {patterns:?}");
        let Some(pattern) = patterns.pop() else { return };
        hub.unsubscribe(client, Tag::Silent, &pattern, now);
    }
}

/// The rules of the protocol once more, over lists.
fn matches_by_levels(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    let is_hidden = name[0].starts_with('$') && ["+", "#"].contains(&pattern[0]);
    let is_open = pattern.last() == Some(&"#");
    let fixed = if is_open { &pattern[..pattern.len() - 1] } else { &pattern[..] };
    let fits = if is_open { name.len() >= fixed.len() } else { name.len() == fixed.len() };
    !is_hidden && fits && fixed.iter().zip(&name).all(|(level, part)| *level == "+" || level == part)
}

/// The name, the name with one level replaced by `+`, and each of its beginnings followed by `#`.
fn patterns_for(name: &str) -> Vec<String> {
    let levels: Vec<&str> = name.split('/').collect();
    let first = usize::from(name.starts_with('$'));
    let mut made = vec![name.to_owned()];
    for index in first..levels.len() {
        let mut one = levels.clone();
        one[index] = "+";
        made.push(one.join("/"));
    }
    for count in first..=levels.len() {
        let mut rest = levels[..count].to_vec();
        rest.push("#");
        made.push(rest.join("/"));
    }
    made
}

/// Below the number of patterns that one client may have.
const PATTERNS_MAX: usize = 16;
