//! Python's websockets: messages of every shape, and ends with a code, in both directions.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{exchange, listen, lossy, start};
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let python = tools::python(workspace)?;
    let script = workspace.root().join("tests/clients/toolkit_peer.py");

    for (option, extensions) in [("", "extensions: \n"), ("#deflate", "extensions: permessage-deflate\n")] {
        let (_echo, at) = listen(binary, &["--keep", "--echo", &format!("ws://127.0.0.1:0/{option}")])?;
        let url = at.trim_end_matches(option);
        exchange(Command::new(&python).arg(&script).args(["call", url]), b"")?.said(extensions.as_bytes())?;
    }

    let (_server, url) = start(Command::new(&python).arg(&script).arg("serve"), |line| {
        line.starts_with("ws://").then(|| line.to_owned())
    })?;
    for option in ["", "#deflate"] {
        call(binary, &format!("{url}{option}"))?;
    }
    Ok(Outcome::passed(
        "text, binary, empty, 16 MiB, ping, and a close with a code, both ways, plain and compressed",
    ))
}

/// Says messages of every shape to a server that sends everything back.
fn call(binary: &Path, at: &str) -> Result<()> {
    let said = messages();
    let mut input = String::new();
    for message in said.iter().filter(|message| message["kind"] != "close") {
        input.push_str(&format!("{message}\n"));
    }
    let connect = |input: &str| {
        // Its close would tell the server to answer no more, so it comes when all answers have.
        exchange(
            Command::new(binary).args(["connect", "--frame", "jsonl", "--wait", "5s", at]),
            input.as_bytes(),
        )
    };
    let ran = connect(&input)?;
    ensure!(ran.code == Some(0), "{}", ran.errors);
    let heard: Result<Vec<Value>, _> = lossy(&ran.output).lines().map(serde_json::from_str).collect();
    let mut heard = heard.context("not JSON")?;
    // A ping is answered by a pong, which may come between the others.
    let pong = heard.iter().position(|message| message["kind"] == "pong").context("no pong came")?;
    heard.remove(pong);
    let expected: Vec<&Value> = said.iter().filter(|message| message["kind"] != "ping").collect();
    ensure!(heard.len() == expected.len(), "{} of {} came back", heard.len(), expected.len());
    for (heard, expected) in heard.iter().zip(expected) {
        let is_same = ["kind", "data", "b64", "code"].iter().all(|key| heard[key] == expected[key]);
        ensure!(is_same, "a message came back otherwise: {:.200}", heard.to_string());
    }
    let closed = connect("{\"kind\":\"close\",\"code\":4000,\"reason\":\"that was all\"}\n")?;
    closed.said(b"{\"kind\":\"close\",\"code\":4000,\"reason\":\"that was all\"}\n")?;
    Ok(())
}

fn messages() -> Vec<Value> {
    vec![
        json!({"kind": "text", "data": ""}),
        json!({"kind": "text", "data": "two\nlines and a \u{0}"}),
        json!({"kind": "binary", "b64": "AA=="}),
        json!({"kind": "binary", "b64": ""}),
        json!({"kind": "ping", "b64": "aGk="}),
        json!({"kind": "text", "data": "x\ny\u{0}".repeat(4 << 20)}),
        json!({"kind": "text", "data": "ü".repeat(1_000)}),
        // It answers our end.
        json!({"kind": "close", "code": 1000}),
    ]
}
