//! `sockeye probe`.

use serde_json::Value;

use crate::world::{Running, closed_port, run};

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
