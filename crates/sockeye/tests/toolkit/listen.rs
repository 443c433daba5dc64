//! `sockeye listen`.

use crate::world::{Running, said};

#[test]
fn a_command_serves_each_peer_and_knows_its_address() {
    let (_listening, at) =
        Running::listen(&["--keep", "tcp:127.0.0.1:0", "--exec", "tr a-z A-Z; echo from $SOCKEYE_PEER"]);

    for _ in 0..3 {
        let answer = said(&["connect", &at], b"hello\n");

        assert!(answer.starts_with("HELLO\nfrom 127.0.0.1:"), "{answer}");
    }
}
