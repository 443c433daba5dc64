//! `sockeye pub` whose input stays open.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::command::finish;
use crate::world::{BINARY, Server};

#[test]
fn pub_notices_while_its_input_is_quiet_that_the_server_ended_or_refused() {
    for kind in ["tcp", "ws", "unix"] {
        let mut server = Server::start();
        let port = server.tcp().port();
        let to = match kind {
            "tcp" => format!("tcp:127.0.0.1:{port}"),
            "ws" => format!("ws://127.0.0.1:{port}/ws"),
            _ => format!("unix:{}", server.unix().display()),
        };
        let quiet = |channel: &str| {
            let mut command = Command::new(BINARY);
            command.args(["pub", "--to", &to, channel]).stdin(Stdio::piped());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(b"one\n").unwrap();
            (child, input)
        };

        let (refused, _input) = quiet("$sys/mine");
        let ran = finish(refused);
        assert_eq!(ran.code, 7, "{kind} {ran:?}");
        let (ended, _input) = quiet("c");
        server.wait_until("it is published", |server| server.metric("sockeye_messages_published_total") == 1);
        server.terminate();
        let ran = finish(ended);
        assert_eq!(ran.code, 8, "{kind} {ran:?}");
        assert!(ran.errors.contains("drain"), "{kind} {ran:?}");
        assert!(server.wait().success());
    }
}
