//! Requests: what is accepted is JSON to another parser too, and survives being written and read again.

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use sockeye_wire::json::{
    At, Data, Kind, Payload, Push, Verb, is_json, is_object_or_array, parse_request, without_line_breaks,
    write_push,
};

/// Parses the bytes as one request.
pub fn json_request(data: &[u8]) {
    let request = parse_request(data);

    if request.is_ok() || is_json(data) || is_object_or_array(data) {
        serde_json::from_slice::<IgnoredAny>(data).expect("serde_json takes what we take");
    }
    if is_json(data) {
        let line = without_line_breaks(data);
        assert!(is_json(&line) && !line.contains(&b'\n') && !line.contains(&b'\r'));
    }
    if let Ok(request) = request
        && let Verb::Publish { channel, payload, .. } = request.verb
    {
        a_push_is_read_as_what_was_published(&channel, &payload);
    }
}

fn a_push_is_read_as_what_was_published(channel: &str, payload: &Payload<'_>) {
    let data = match payload.kind {
        Kind::Text => Data::Text(std::str::from_utf8(&payload.bytes).expect("text is UTF-8")),
        Kind::Json => Data::Json(&payload.bytes),
        Kind::Binary => Data::Binary(&payload.bytes),
    };
    let at = At { epoch: "k3f", sequence: 122 };
    let mut line = Vec::new();
    write_push(&mut line, &Push { channel, at, t: 1_764_000_000_123, from: None, data });
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "a payload forged a line");

    // A number that serde_json cannot hold is JSON all the same, and passed on as it came.
    let Ok(push) = serde_json::from_slice::<Value>(&line) else {
        assert_eq!(payload.kind, Kind::Json);
        return;
    };
    assert_eq!(push["at"], "k3f:122");
    let key = if payload.kind == Kind::Binary { "b64" } else { "data" };
    let again = json!({"pub": push["ch"], key: push[key]}).to_string();
    let again = parse_request(again.as_bytes()).expect("a push holds what a request may hold");
    let Verb::Publish { channel: same_channel, payload: same, .. } = again.verb else {
        panic!("{:?} is not a publish", again.verb);
    };
    assert_eq!((channel, payload.kind), (&*same_channel, same.kind));
    // JSON may be written with other white space and other escapes; text and bytes may not change at all.
    if payload.kind != Kind::Json {
        assert_eq!(payload.bytes, same.bytes);
    }
}
