//! Replays every committed fuzz input through the body of its target, so that no fuzzer is needed to know them all.
//!
//! Deliberately absent: random inputs. `cargo xtask fuzz` looks for them.

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

// The fuzz targets live in a workspace of their own, whose compiler flags are not ours; their bodies are shared as source.
#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the targets, in another crate, call what is public here")]
mod bodies;

type Body = fn(&[u8]);

/// Each target by its name.
const TARGETS: &[(&str, Body)] = &[
    ("connection", bodies::connection),
    ("datagram", bodies::datagram),
    ("deflate", bodies::deflate),
    ("event_stream", bodies::event_stream),
    ("http_answer", bodies::http_answer),
    ("http_body", bodies::http_body),
    ("http_head", bodies::http_head),
    ("json_request", bodies::json_request),
    ("line", bodies::line),
    ("message_frame", bodies::message_frame),
    ("name_pattern", bodies::name_pattern),
    ("proxy", bodies::proxy),
    ("websocket_client", bodies::websocket_client),
    ("websocket_response", bodies::websocket_response),
    ("websocket_server", bodies::websocket_server),
];

#[test]
fn every_committed_input_holds() {
    let mut findings = Vec::new();
    for (name, body) in TARGETS {
        let inputs = files(&root().join("corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            if catch_unwind(|| body(&bytes)).is_err() {
                findings.push(input);
            }
        }
    }

    assert_eq!(findings, Vec::<PathBuf>::new());
}

#[test]
fn every_target_is_replayed() {
    let targets: BTreeMap<String, PathBuf> = files(&root().join("fuzz_targets"))
        .into_iter()
        .map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), file))
        .collect();

    let replayed: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();

    assert_eq!(targets.keys().map(String::as_str).collect::<Vec<_>>(), replayed);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask has a parent folder").join("fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    files
}
