//! Properties of the grammar, with serde_json as the oracle for what is JSON and for what it means.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::*;

proptest! {
    #[test]
    fn what_serde_json_accepts_is_accepted(tree in tree(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();

        prop_assert!(is_json(text.as_bytes()), "{}", text);
        prop_assert_eq!(is_object_or_array(text.as_bytes()), tree.is_object() || tree.is_array());
    }

    #[test]
    fn mutated_documents_are_judged_as_serde_json_judges_them(
        tree in tree(),
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), mutation()), 1..4),
    ) {
        let mut text = serde_json::to_vec(&tree).unwrap();
        for (place, mutation) in mutations {
            mutation.apply(&mut text, &place);
        }

        agrees_with_serde_json(&text)?;
    }

    #[test]
    fn texts_of_json_pieces_are_judged_as_serde_json_judges_them(
        pieces in proptest::collection::vec(prop::sample::select(PIECES), 0..12),
    ) {
        agrees_with_serde_json(pieces.concat().as_bytes())?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse_request(&bytes);
        agrees_with_serde_json(&bytes)?;
    }

    #[test]
    fn objects_of_request_pieces_are_read_as_serde_json_reads_them(
        pieces in proptest::collection::vec(prop::sample::select(REQUEST_PIECES), 0..4),
    ) {
        let text = format!("{{{}}}", pieces.join(","));

        let result = parse_request(text.as_bytes());

        let valid = serde_json::from_str::<Tree>(&text).is_ok();
        match result {
            Ok(request) => {
                let tree: Tree = serde_json::from_str(&text).unwrap();
                let id = request.id.map_or(Tree::Null, |id| serde_json::from_str(id.as_str()).unwrap());
                prop_assert_eq!(&id, &tree["id"]);
                if let Verb::Publish { payload: Payload { kind, bytes }, .. } = request.verb {
                    match kind {
                        Kind::Text => prop_assert_eq!(tree["data"].as_str().unwrap().as_bytes(), &*bytes),
                        Kind::Json => {
                            prop_assert_eq!(&tree["data"], &serde_json::from_slice::<Tree>(&bytes).unwrap());
                        }
                        Kind::Binary => prop_assert_eq!(&*bytes, b"hi"),
                    }
                }
            }
            Err(refusal) => prop_assert_eq!(refusal.unreadable, !valid, "{}", text),
        }
    }

    #[test]
    fn text_payloads_come_back_through_a_publish(text in any::<String>(), ascii in any::<bool>()) {
        let mut encoded = serde_json::to_string(&text).unwrap();
        if ascii {
            // Every character as an escape: surrogate pairs where UTF-16 needs them.
            encoded = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            encoded = format!("\"{encoded}\"");
        }
        let request = format!(r#"{{"pub":"c","data":{encoded}}}"#);

        let verb = parse_request(request.as_bytes()).unwrap().verb;

        prop_assert_eq!(verb, publish("c", Kind::Text, text.as_bytes()));
    }

    #[test]
    fn a_push_parses_back_to_what_went_in(
        channel in any::<String>(),
        from in proptest::option::of(any::<String>()),
        sequence in any::<u64>(),
        t in any::<u64>(),
        text in any::<String>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..50),
        tree in tree(),
        kind in 0..3,
    ) {
        let json = serde_json::to_vec_pretty(&tree).unwrap();
        let data = match kind {
            0 => Data::Text(&text),
            1 => Data::Json(&json),
            _ => Data::Binary(&bytes),
        };
        let at = At { epoch: "k3f", sequence };

        let line = written(|out| write_push(out, &Push { channel: &channel, at, t, from: from.as_deref(), data }));

        let mut expected = json!({ "ch": channel, "at": format!("k3f:{sequence}"), "t": t });
        if let Some(from) = &from {
            expected["from"] = json!(from);
        }
        match kind {
            0 => expected["data"] = json!(text),
            1 => expected["data"] = tree,
            _ => expected["b64"] = json!(STANDARD.encode(&bytes)),
        }
        prop_assert!(!line.contains(['\n', '\r']));
        prop_assert_eq!(serde_json::from_str::<Tree>(&line).unwrap(), expected);
        prop_assert!(is_json(line.as_bytes()));
    }

    #[test]
    fn integers_are_written_as_the_standard_library_writes_them(value in any::<u64>(), shift in 0..64) {
        let value = value >> shift;

        prop_assert_eq!(written(|out| write::write_integer(out, value)), value.to_string());
    }

    #[test]
    fn line_breaks_are_removed_without_changing_the_value(tree in tree()) {
        let json = serde_json::to_vec_pretty(&tree).unwrap();

        let line = without_line_breaks(&json);

        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(serde_json::from_slice::<Tree>(&line).unwrap(), tree);
    }
}

fn publish<'a>(channel: &'a str, kind: Kind, bytes: &'a [u8]) -> Verb<'a> {
    Verb::Publish {
        channel: channel.into(),
        payload: Payload { kind, bytes: Cow::Borrowed(bytes) },
        key: None,
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

/// Agreement on what is JSON, apart from the documented differences.
fn agrees_with_serde_json(text: &[u8]) -> Result<(), TestCaseError> {
    match serde_json::from_slice::<Tree>(text) {
        Ok(tree) => prop_assert_eq!(is_json(text), depth(&tree) < DEPTH_MAX, "{:?}", text),
        Err(error) if error.to_string().starts_with("number out of range") => {}
        Err(_) => prop_assert!(!is_json(text), "{:?}", String::from_utf8_lossy(text)),
    }
    Ok(())
}

fn depth(tree: &Tree) -> usize {
    match tree {
        Tree::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Tree::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<i32>().prop_map(|value| Tree::from(f64::from(value) / 64.0)),
        any::<String>().prop_map(Tree::from),
        "[a-z\"\\\\\n]{0,20}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Tree::from),
            proptest::collection::btree_map("[a-z]{0,3}", inner, 0..5)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

#[derive(Debug, Clone)]
enum Mutation {
    Remove,
    Insert(&'static str),
    Replace(u8),
    Cut,
}

impl Mutation {
    fn apply(&self, text: &mut Vec<u8>, place: &prop::sample::Index) {
        let at = place.index(text.len() + 1);
        match self {
            Self::Insert(piece) => drop(text.splice(at..at, piece.bytes())),
            Self::Cut => text.truncate(at),
            Self::Remove if at < text.len() => drop(text.remove(at)),
            Self::Replace(byte) if at < text.len() => text[at] = *byte,
            Self::Remove | Self::Replace(_) => {}
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        Just(Mutation::Remove),
        Just(Mutation::Cut),
        prop::sample::select(PIECES).prop_map(Mutation::Insert),
        any::<u8>().prop_map(Mutation::Replace),
    ]
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "\n",
    "\t",
    "\r",
    "\u{b}",
    "\0",
    "\u{1f}",
    "0",
    "1",
    "-",
    "+",
    ".",
    "e",
    "E",
    "00",
    "1.5",
    "-0",
    "1e5",
    "1e999",
    "true",
    "false",
    "null",
    "nul",
    "NaN",
    "\"a\"",
    "\"a\":",
    "\"\\u0041\"",
    "\\ud800",
    "\"\\ud83d\\ude00\"",
    "\"\\ude00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800\\ud83d\\ude00\"",
    "\\u12",
    "\\x",
    "é",
    "\u{feff}",
    "//",
    "'",
    "a",
];

const REQUEST_PIECES: &[&str] = &[
    r#""pub":"c""#,
    r#""pub":1"#,
    r#""sub":"c""#,
    r#""hello":1"#,
    r#""data":"a\u00e9\n""#,
    r#""data":{"a":[1,2.5e3,null,{}]}"#,
    "\"data\":[ 1 ,\n\"\\n\" ]",
    r#""data":true"#,
    r#""b64":"aGk=""#,
    r#""b64":"aGk""#,
    r#""id":7"#,
    r#""id":"seven""#,
    r#""id":"\u0041""#,
    r#""id":[]"#,
    r#""x":{"pub":1}"#,
    r#""key":"k""#,
    r#""last":5"#,
    r#""data":}"#,
    r#""data":01"#,
    r#""data" "#,
];
