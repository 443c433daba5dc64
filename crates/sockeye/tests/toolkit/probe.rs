//! `sockeye probe`.

use serde_json::Value;

use crate::world::{BINARY, Running, World, closed_port, full_port, run};

#[test]
fn several_addresses_are_told_in_their_order_and_the_exit_code_tells() {
    let (_listening, ws) = Running::listen(&["--keep", "--echo", "ws://127.0.0.1:0/"]);
    let closed = format!("tcp:127.0.0.1:{}", closed_port());

    let ran = run(&["probe", "--json", &ws, &closed], b"");

    assert_eq!(ran.code, 4, "{ran:?}");
    let found: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["address"], &found[0]["ready"]), (&ws.into(), &true.into()));
    assert!(found[0]["steps"]["handshake_ms"].is_number(), "{}", found[0]);
    assert_eq!((&found[1]["ready"], &found[1]["exit_code"]), (&false.into(), &4.into()));
    assert!(found[1]["error"].as_str().unwrap().contains("refused"), "{}", found[1]);
}

#[test]
fn an_address_is_awaited_until_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let at = format!("unix:{}", folder.path().join("s.sock").display());
    let probing = Running::start(&["probe", "--json", "--wait", "30s", &at, "exec:true"]);
    probing.goes_on_for(std::time::Duration::from_millis(300));

    let (_listening, _) = Running::listen(&["--keep", "--echo", &at]);

    let ran = probing.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    let found: Value = serde_json::from_str(ran.text().lines().next().unwrap()).unwrap();
    assert_eq!(found["ready"], true);
    assert!(found["attempts"].as_u64().unwrap() > 1, "{found}");
}

#[test]
fn what_never_becomes_ready_ends_with_its_last_reason() {
    let closed = format!("tcp:127.0.0.1:{}", closed_port());

    let ran = run(&["probe", "--wait", "600ms", &closed], b"");

    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.text().contains("not ready") && ran.text().contains("attempts"), "{ran:?}");
    // A step that would outlast the whole does not.
    let full = full_port();
    let ran = run(&["probe", "--wait", "500ms", &format!("tcp:{}", full.at)], b"");
    assert_eq!(ran.code, 5, "{ran:?}");
}

#[test]
fn each_step_has_its_time_and_the_certificate_its_end() {
    let world = World::new();
    let (_listening, at) = Running::listen(&["--keep", "--echo", &world.tls("wss://127.0.0.1:0/")]);

    let ran = run(&["probe", "--json", "--certificate-days", "7", &world.trusting(&at)], b"");

    assert_eq!(ran.code, 0, "{ran:?}");
    let found: Value = serde_json::from_str(ran.text()).unwrap();
    for step in ["name_ms", "connect_ms", "tls_ms", "handshake_ms"] {
        assert!(found["steps"][step].as_f64().is_some_and(|time| time >= 0.0), "{found}");
    }
    assert!(found["certificate_ends"].as_str().unwrap().starts_with("4096-"), "{found}");
    let text = run(&["probe", &world.trusting(&at)], b"");
    for words in ["ready ", "connect ", "tls ", "handshake ", " ms", "certificate until 4096-"] {
        assert!(text.text().contains(words), "{words:?}: {text:?}");
    }
}

#[test]
fn the_first_byte_is_awaited_after_something_was_said() {
    let (_listening, tcp) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);
    let (_other, udp) = Running::listen(&["--keep", "--echo", "udp:127.0.0.1:0"]);

    let ran = run(&["probe", "--json", "--first-byte", "10s", "--send", "PING", &tcp, &udp], b"");

    assert_eq!(ran.code, 0, "{ran:?}");
    for line in ran.text().lines() {
        let found: Value = serde_json::from_str(line).unwrap();
        assert!(found["steps"]["first_byte_ms"].is_number(), "{found}");
    }
    let ran = run(&["probe", "--first-byte", "100ms", &tcp], b"");
    assert!(ran.code == 5 && ran.errors.contains("--send"), "{ran:?}");
    assert_eq!(run(&["probe", "--send", "PING", &tcp], b"").code, 2);
}

#[test]
fn an_address_is_told_as_it_was_given_while_it_is_waited_for() {
    let at = format!("tcp:127.0.0.1:{}", closed_port());

    let ran = run(&["probe", "--json", "--wait", "300ms", &at], b"");

    let found: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(found["address"], at.as_str());
    assert!(found["error"].as_str().unwrap().starts_with(&format!("{at}: cannot connect")), "{found}");
}

#[test]
fn what_cannot_be_written_is_an_error_and_a_reader_who_left_is_none() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);
    let to = |output: std::process::Stdio| {
        let mut command = std::process::Command::new(BINARY);
        let command = command.args(["probe", &at]).stdout(output).stderr(std::process::Stdio::piped());
        let ran = command.spawn().unwrap().wait_with_output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };

    let (code, errors) = to(std::fs::File::options().write(true).open("/dev/full").unwrap().into());
    assert!(code == Some(1) && errors.contains("standard output"), "{code:?} {errors}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(to(writer.into()), (Some(0), String::new()));
}

#[test]
fn a_certificate_is_not_demanded_where_there_is_none() {
    let (_listening, at) = Running::listen(&["--keep", "--echo", "tcp:127.0.0.1:0"]);

    for at in [at.as_str(), "ws://127.0.0.1:1/", "udp:127.0.0.1:1", "unix:/nowhere", "exec:true"] {
        let ran = run(&["probe", "--certificate-days", "4", at], b"");
        assert_eq!((ran.code, ran.text()), (2, ""), "{ran:?}");
        assert!(ran.errors.contains("--certificate-days") && ran.errors.contains(at), "{ran:?}");
    }
}
