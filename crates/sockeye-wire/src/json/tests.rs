//! Claims about the grammar, one example each. Properties are checked next door.

use std::borrow::Cow;

use super::*;

#[test]
fn every_verb_of_the_protocol_is_read() {
    let cases = [
        (r#"{"hello":1,"id":0}"#, Some("0"), Verb::Hello { version: 1, token: None }),
        (r#"{"hello":1,"token":"a.b"}"#, None, Verb::Hello { version: 1, token: Some("a.b".into()) }),
        (r#"{"auth":"a.b","id":7}"#, Some("7"), Verb::Auth { token: "a.b".into() }),
        (r#"{"sub":"chat/42","id":1}"#, Some("1"), subscribe("chat/42")),
        (r#"{"unsub":"chat/42","id":"a"}"#, Some(r#""a""#), Verb::Unsubscribe { name: "chat/42".into() }),
        (
            r#"{"past":"chat/42","last":50,"since":"k3f:1"}"#,
            None,
            Verb::Past { channel: "chat/42".into(), last: Some(50), since: Some("k3f:1".into()) },
        ),
        (r#"{"sub":"sensors/+/temperature"}"#, None, subscribe("sensors/+/temperature")),
        (r#" { "pub" : "c" , "data" : 1 } "#, None, publish("c", Kind::Json, b"1")),
    ];

    for (text, id, verb) in cases {
        let request = parse_request(text.as_bytes()).unwrap();

        assert_eq!(request.id.map(Id::as_str), id, "{text}");
        assert_eq!(request.verb, verb, "{text}");
    }
}

#[test]
fn subscribe_takes_its_options() {
    let text = br#"{"sub":"c","since":"k3f:118","last":0,"self":false,"slow":"latest"}"#;

    let request = parse_request(text).unwrap();

    let expected = Verb::Subscribe {
        name: "c".into(),
        since: Some("k3f:118".into()),
        last: Some(0),
        own: false,
        slow: Slow::Latest,
    };
    assert_eq!(request.verb, expected);
}

#[test]
fn ping_carries_its_value() {
    for value in ["9", "-9007199254740991", "\"x\"", "\"\\u00e9\""] {
        let text = format!(r#"{{"ping":{value}}}"#);

        let Verb::Ping { value: read } = parse_request(text.as_bytes()).unwrap().verb else {
            panic!("{text}")
        };

        assert_eq!(read.as_str(), value);
    }
}

#[test]
fn payloads_are_decoded_by_their_kind() {
    let cases: [(&str, Kind, &[u8]); 9] = [
        (r#""data":"hi""#, Kind::Text, b"hi"),
        (r#""data":"a\n\"\u00e9\ud83d\ude00\/""#, Kind::Text, "a\n\"\u{e9}\u{1F600}/".as_bytes()),
        (r#""data":{"a": [1, "\n"]}"#, Kind::Json, br#"{"a": [1, "\n"]}"#),
        ("\"data\":[1,\r\n2 ]", Kind::Json, b"[1,  2 ]"),
        (r#""data":null"#, Kind::Json, b"null"),
        (r#""data":-1.50e+10"#, Kind::Json, b"-1.50e+10"),
        (r#""b64":"AAH/""#, Kind::Binary, &[0, 1, 255]),
        (r#""b64":"AAH\/""#, Kind::Binary, &[0, 1, 255]),
        (r#""b64":"""#, Kind::Binary, b""),
    ];

    for (field, kind, bytes) in cases {
        let text = format!(r#"{{"pub":"c",{field}}}"#);

        assert_eq!(parse_request(text.as_bytes()).unwrap().verb, publish("c", kind, bytes), "{text}");
    }
}

#[test]
fn a_payload_is_lent_from_the_input() {
    for text in [r#"{"pub":"c","data":"plain"}"#, r#"{"pub":"c","data":{"a":"\n"}}"#] {
        let Verb::Publish { channel, payload, .. } = parse_request(text.as_bytes()).unwrap().verb else {
            panic!("{text}")
        };

        assert!(matches!(channel, Cow::Borrowed(_)));
        assert!(matches!(payload.bytes, Cow::Borrowed(_)));
    }
}

#[test]
fn keys_are_compared_after_their_escapes() {
    assert_eq!(parse_request(br#"{"\u0073ub":"c"}"#).unwrap().verb, subscribe("c"));
    assert_eq!(refusal(r#"{"\u0073ub":"c","sub":"c"}"#).why, "the key \"sub\" is repeated");
}

#[test]
fn unknown_fields_are_ignored_beside_a_verb() {
    let text = r#"{"x":{"sub":[{}]},"here":1,"ok":null,"sub":"c","last":2,"x":[]}"#;

    assert!(parse_request(text.as_bytes()).is_ok());
}

#[test]
fn fields_of_other_verbs_are_ignored() {
    assert_eq!(parse_request(br#"{"sub":"c","data":1,"b64":2,"key":3}"#).unwrap().verb, subscribe("c"));
}

#[test]
fn bad_requests_say_what_is_allowed_and_keep_their_id() {
    let cases = [
        (r#"{"id":5}"#, "no verb"),
        (r#"{"id":5,"ok":1,"ch":"c"}"#, "no verb"),
        (r#"{"sub":"a","pub":"b","data":1,"id":5}"#, "more than one verb"),
        (r#"{"sub":"a","sub":"b","id":5}"#, "the key \"sub\" is repeated"),
        (r#"{"pub":"a","data":1,"data":1,"id":5}"#, "the key \"data\" is repeated"),
        (r#"{"sub":1,"id":5}"#, "\"sub\" must be a string, a channel or a pattern"),
        (r#"{"unsub":[],"id":5}"#, "\"unsub\" must be a string, a channel or a pattern"),
        (r#"{"pub":null,"data":1,"id":5}"#, "\"pub\" must be a string, the channel"),
        (r#"{"past":{},"id":5}"#, "\"past\" must be a string, the channel"),
        (r#"{"hello":"1","id":5}"#, "\"hello\" must be the version, an integer"),
        (r#"{"ping":1.5,"id":5}"#, WHY_PING),
        (r#"{"sub":"a","since":7,"id":5}"#, "\"since\" must be a string, a position such as \"k3f:118\""),
        (r#"{"sub":"a","last":-1,"id":5}"#, WHY_LAST),
        (r#"{"sub":"a","last":1.0,"id":5}"#, WHY_LAST),
        (r#"{"past":"a","last":9007199254740992,"id":5}"#, WHY_LAST),
        (r#"{"sub":"a","last":null,"id":5}"#, WHY_LAST),
        (r#"{"sub":"a","self":0,"id":5}"#, "\"self\" must be true or false"),
        (r#"{"sub":"a","slow":"fast","id":5}"#, "\"slow\" must be \"all\", \"latest\" or \"close\""),
        (r#"{"pub":"a","id":5}"#, "\"pub\" needs \"data\" or \"b64\""),
        (r#"{"pub":"a","data":1,"b64":"","id":5}"#, "\"pub\" takes \"data\" or \"b64\", not both"),
        (r#"{"pub":"a","data":1,"key":1,"id":5}"#, "\"key\" must be a string"),
        (r#"{"pub":"a","b64":1,"id":5}"#, WHY_B64),
        (r#"{"pub":"a","b64":"AAA","id":5}"#, WHY_B64),
        (r#"{"pub":"a","b64":"AAF=","id":5}"#, WHY_B64),
        (r#"{"pub":"a","b64":"AA-_","id":5}"#, WHY_B64),
        (r#"{"pub":"a","b64":"AA A","id":5}"#, WHY_B64),
        (r#"{"pub":"a","data":"\ud800","id":5}"#, "a \\u escape is half of a surrogate pair"),
        (r#"{"pub":"a","data":"\ud800\u0041","id":5}"#, "a \\u escape is half of a surrogate pair"),
        (r#"{"pub":"a","data":["\udc00"],"id":5}"#, "a \\u escape is half of a surrogate pair"),
    ];

    for (text, why) in cases {
        let refusal = refusal(text);

        assert_eq!(refusal.why, why, "{text}");
        assert_eq!(refusal.id.as_deref(), Some("5"), "{text}");
        assert_eq!(refusal.code, Code::BadRequest, "{text}");
        assert!(!refusal.unreadable, "{text}");
    }
}

#[test]
fn an_object_without_a_known_verb_names_the_unknown_one() {
    let cases = [
        (r#"{"frobnicate":1,"id":5}"#, "unknown verb \"frobnicate\""),
        (r#"{"ok":1,"frob":1,"other":2,"id":5}"#, "unknown verb \"frob\""),
        (r#"{"x":1,"presence":"a","id":5}"#, "unknown verb \"presence\""),
        ("{\"\\n\\\"\":1,\"id\":5}", "unknown verb \"\\n\\\"\""),
    ];

    for (text, why) in cases {
        let refusal = refusal(text);

        assert_eq!(refusal.why, why, "{text}");
        assert_eq!(refusal.code, Code::UnknownVerb, "{text}");
        assert_eq!(refusal.id.as_deref(), Some("5"), "{text}");
    }
}

#[test]
fn a_long_unknown_verb_is_named_in_part() {
    let refusal = refusal(&format!("{{\"{}\":1}}", "é".repeat(10_000)));

    assert_eq!(refusal.why, format!("unknown verb \"{}\"", "é".repeat(32)));
}

#[test]
fn ids_are_echoed_as_written_or_refused() {
    let accepted = [
        "0".to_owned(),
        "-0".to_owned(),
        "9007199254740991".to_owned(),
        "-9007199254740991".to_owned(),
        "\"\"".to_owned(),
        format!("\"{}\"", "x".repeat(64)),
        format!("\"{}\"", "\\u0041".repeat(64)),
        "\"\\ud83d\\ude00\"".to_owned(),
    ];
    let refused = [
        "9007199254740992".to_owned(),
        "-9007199254740992".to_owned(),
        "99999999999999999999999999".to_owned(),
        "1.0".to_owned(),
        "1e3".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        "[1]".to_owned(),
        format!("\"{}\"", "x".repeat(65)),
        format!("\"{}\"", "\\u0041".repeat(65)),
        format!("\"{}\"", "\\u20ac".repeat(22)),
    ];

    for id in accepted {
        let text = format!(r#"{{"sub":"a","id":{id}}}"#);
        assert_eq!(parse_request(text.as_bytes()).unwrap().id.unwrap().as_str(), id);
    }
    for id in refused {
        let refusal = refusal(&format!(r#"{{"sub":"a","id":{id}}}"#));
        assert_eq!((refusal.id, refusal.unreadable), (None, false), "{id}");
        assert!(refusal.why.starts_with("\"id\" must be"), "{id}");
    }
    assert_eq!(refusal(r#"{"sub":"a","id":1,"id":1}"#).id, None);
}

#[test]
fn an_integer_id_is_a_number_only_if_it_is_written_back_the_same() {
    let integer = |id: &str| {
        parse_request(format!(r#"{{"sub":"a","id":{id}}}"#).as_bytes()).unwrap().id.unwrap().as_integer()
    };

    assert_eq!(integer("7"), Some(7));
    assert_eq!(integer("-7"), Some(-7));
    assert_eq!(integer("-0"), None);
    assert_eq!(integer("\"7\""), None);
}

#[test]
fn what_is_not_one_object_is_unreadable() {
    let cases = [
        ("", None),
        ("  ", None),
        ("[1]", None),
        ("5", None),
        ("hello", None),
        ("{", None),
        (r#"{"id":5,"sub":}"#, Some("5")),
        (r#"{"id":5,"sub":"a"} x"#, Some("5")),
        (r#"{"id":5,"sub":"a"}{"sub":"a"}"#, Some("5")),
        (r#"{"id":5,}"#, Some("5")),
        (r#"{"id":5 "sub":"a"}"#, Some("5")),
        (r#"{"id":5,sub:"a"}"#, Some("5")),
        ("{\"id\":5,\"sub\":\"a\u{1}\"}", Some("5")),
        ("{\"id\":5,\"sub\":\"a", Some("5")),
        ("{\"id\":5,\"sub\":\"a\\", Some("5")),
        ("{\"id\":5,\"sub\":\"\\u12", Some("5")),
        ("\u{feff}{\"id\":5}", None),
    ];

    for (text, id) in cases {
        let refusal = refusal(text);

        assert!(refusal.unreadable, "{text}");
        assert_eq!(refusal.id.as_deref(), id, "{text}");
        assert_eq!(refusal.code, Code::BadRequest, "{text}");
    }
    assert_eq!(parse_request(b"{\"sub\":\"\xFF\"}").unwrap_err().why, "not UTF-8");
}

#[test]
fn a_fault_says_where_it_is() {
    assert_eq!(refusal(r#"{"sub":}"#).why, "expected a value at byte 7");
}

#[test]
fn nesting_ends_at_the_maximum() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let request = |depth: usize| format!(r#"{{"pub":"a","data":{}}}"#, nested(depth));

    assert!(is_json(nested(63).as_bytes()));
    assert!(!is_json(nested(64).as_bytes()));
    assert!(is_object_or_array(nested(63).as_bytes()));
    assert!(!is_object_or_array(nested(64).as_bytes()));
    assert!(!is_json(&[b'['; 1_000_000]));
    assert!(!is_json(nested(1_000_000).as_bytes()));
    assert!(parse_request(request(63).as_bytes()).is_ok());
    let refusal = refusal(&request(64).replace("]}", r#"],"id":5}"#));
    assert_eq!((&*refusal.why, refusal.id.as_deref()), ("nested deeper than 64 levels", Some("5")));
    assert!(!refusal.unreadable);
    assert!(is_json(format!("[{},{}]", "{\"a\":".repeat(62) + "1" + &"}".repeat(62), nested(62)).as_bytes()));
}

#[test]
fn json_texts_are_told_from_others() {
    for json in ["1", " \"a\" ", "{}", "[ ]", "\t{\"a\" : [1,{}]}\r\n", "1e999", "-0.0"] {
        assert!(is_json(json.as_bytes()), "{json}");
    }
    for other in [
        "", "01", "1.", ".5", "+1", "-", "1e", "tru", "True", "[1,]", "{,}", "[", "]", "{\"a\"}", "'a'",
        "[}", "{]",
    ] {
        assert!(!is_json(other.as_bytes()), "{other}");
    }
    assert!(is_object_or_array(b" {\"a\":1}\n"));
    assert!(is_object_or_array(b"[]"));
    for other in ["1", "\"{}\"", "{", "[1] x", "", "hello {}"] {
        assert!(!is_object_or_array(other.as_bytes()), "{other}");
    }
    assert!(!is_json(b"\"\xFF\""));
}

#[test]
fn a_push_has_the_form_of_the_protocol() {
    let push = Push {
        channel: "chat/42",
        at: At { epoch: "k3f", sequence: 122 },
        t: 1_764_000_000_123,
        from: Some("ana"),
        data: Data::Json(b"{\"text\":\n\"hi\"}"),
    };

    assert_eq!(
        written(|out| write_push(out, &push)),
        r#"{"ch":"chat/42","at":"k3f:122","t":1764000000123,"from":"ana","data":{"text": "hi"}}"#
    );
    let push = Push { from: None, data: Data::Binary(&[0, 1, 255]), ..push };
    assert_eq!(
        written(|out| write_message(out, &push)),
        r#"{"ch":"chat/42","at":"k3f:122","t":1764000000123,"b64":"AAH/"}"#
    );
    let push = Push { data: Data::Text("a\"\\\n\u{1f}\u{7f}\u{2028}é"), ..push };
    assert_eq!(
        written(|out| write_push(out, &push)),
        "{\"ch\":\"chat/42\",\"at\":\"k3f:122\",\"t\":1764000000123,\"data\":\"a\\\"\\\\\\n\\u001f\u{7f}\u{2028}é\"}"
    );
}

#[test]
fn answers_have_the_form_of_the_protocol() {
    let from = At { epoch: "k3f", sequence: 500 };
    let to = At { epoch: "k3f", sequence: 540 };

    assert_eq!(
        written(|out| write_gap(out, "prices/AAPL", from, to, "slow")),
        r#"{"ch":"prices/AAPL","gap":{"from":"k3f:500","to":"k3f:540","why":"slow"}}"#
    );
    assert_eq!(
        written(|out| write_error(out, Some("3"), Code::Denied, "no publish permission on chat/42", false)),
        r#"{"error":3,"code":"denied","why":"no publish permission on chat/42","retry":false}"#
    );
    assert_eq!(
        written(|out| write_error(out, None, Code::Busy, "a", true)),
        r#"{"error":null,"code":"busy","why":"a","retry":true}"#
    );
    assert_eq!(written(|out| write_pong(out, "9")), r#"{"pong":9}"#);
    assert_eq!(
        written(|out| write_bye(out, "drain", Some((500, 15_000)))),
        r#"{"bye":"drain","reconnect":[500,15000]}"#
    );
    assert_eq!(written(|out| write_bye(out, "slow", None)), r#"{"bye":"slow"}"#);
    assert_eq!(
        written(|out| write_ended(out, Code::Denied, "gone", "chat/#")),
        r##"{"error":null,"code":"denied","why":"gone","retry":false,"sub":"chat/#"}"##
    );
    assert_eq!(written(|out| write_expires(out, 30_000)), r#"{"expires_ms":30000}"#);
    assert_eq!(
        written(|out| Object::ok(out, Some("8")).at(to).raw("messages", b"[]").bool("more", true).end()),
        r#"{"ok":8,"at":"k3f:540","messages":[],"more":true}"#
    );
    assert_eq!(
        written(|out| Object::ok(out, None).str("you", "c9f").int("ping_ms", 25_000).end()),
        r#"{"ok":null,"you":"c9f","ping_ms":25000}"#
    );
}

#[test]
fn codes_have_their_words_and_statuses() {
    assert_eq!(Code::UnknownVerb.as_str(), "unknown_verb");
    assert_eq!(Code::TooMany.http_status(), 429);
    assert!(Code::Degraded.retry());
    assert!(!Code::TooLarge.retry());
}

#[test]
fn what_a_server_says_is_known_wherever_the_mark_stands() {
    for text in [
        r#"{"ok":1}"#,
        r#"{"error":null,"code":"busy","why":"","retry":true}"#,
        r#"{"ch":"a","at":"k3f:1","t":1,"data":{"sub":"a"}}"#,
        r#"{"pong":1,"cookie":"0123456789abcdef"}"#,
        r#"{"bye":"drain"}"#,
        r#"{"cookie":"0123456789abcdef"}"#,
        r#"{"cookie":1,"id":7,"data":2}"#,
        r#"{"sub":"a","id":1,"ok":1}"#,
        r#"{"ok":1,"dance":2}"#,
        r#"{"ok":1,"ok":2,"ping":1"#,
    ] {
        assert!(parse_datagram(text.as_bytes()).is_answer, "{text}");
    }
    for text in
        [r#"{"sub":"a"}"#, r#"{"sub":"a","cookie":"x"}"#, r#"{"dance":1,"cookie":"x"}"#, "{}", "", "ok"]
    {
        assert!(!parse_datagram(text.as_bytes()).is_answer, "{text}");
    }
}

#[test]
fn a_datagram_is_its_request_and_its_cookie() {
    let datagram = parse_datagram(br#"{"sub":"c","cookie":"\u0061b","cookie":"c"}"#);
    assert_eq!(datagram.request.unwrap().verb, subscribe("c"));
    assert_eq!(datagram.cookie.unwrap(), "ab");

    assert_eq!(parse_datagram(br#"{"ping":1,"cookie":["x"]}"#).cookie.unwrap(), "");
    assert_eq!(parse_datagram(br#"{"ping":1}"#).cookie, None);
    assert_eq!(parse_datagram(b"\xFF").request.unwrap_err().why, "not UTF-8");
}

fn subscribe(name: &str) -> Verb<'_> {
    Verb::Subscribe { name: name.into(), since: None, last: None, own: true, slow: Slow::All }
}

fn publish<'a>(channel: &'a str, kind: Kind, bytes: &'a [u8]) -> Verb<'a> {
    Verb::Publish {
        channel: channel.into(),
        payload: Payload { kind, bytes: Cow::Borrowed(bytes) },
        key: None,
    }
}

fn refusal(text: &str) -> BadRequest {
    parse_request(text.as_bytes()).expect_err(text)
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

const WHY_PING: &str =
    "\"ping\" must be a string of at most 64 bytes, or an integer within +-9007199254740991";
const WHY_LAST: &str = "\"last\" must be an integer from 0 to 9007199254740991";
const WHY_B64: &str = "\"b64\" must be a string, base64 in the standard alphabet with padding";
