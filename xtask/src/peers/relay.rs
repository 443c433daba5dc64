//! Foreign programs on both sides of `relay`: socat before and behind it, and a terminal.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Folder, Running, exchange, host_and_port, start};
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let socat = tools::program(workspace, &["socat"], "socat")?;
    let folder = Folder::new()?;
    let ask = |at: &str, input: &[u8]| {
        let (host, port) = host_and_port(at)?;
        exchange(Command::new(&socat).args(["-t", "20", "-", &format!("TCP:{host}:{port}")]), input)
    };

    // An answer that comes long after the end of the question.
    let path = folder.file("late.sock");
    let mut command = Command::new(&socat);
    let serve = format!("UNIX-LISTEN:{path},fork");
    command.args(["-d", "-d", "-t", "20", &serve, "SYSTEM:cat >/dev/null; sleep 2; echo late"]);
    let (_server, ()) = start(&mut command, |line| line.contains("listening on").then_some(()))?;
    let (_relay, at) = relay(binary, &["listen:tcp:127.0.0.1:0", &format!("unix:{path}")])?;
    ask(&at, b"question")?.said(b"late\n")?;

    // Datagrams in front, a program behind.
    let (_relay, at) = relay(binary, &["--frame", "lines", "listen:udp:127.0.0.1:0", "exec:cat"])?;
    let (_, port) = host_and_port(&at)?;
    let asked = format!("UDP:127.0.0.1:{port}");
    exchange(Command::new(&socat).args(["-t", "2", "-", &asked]), b"ping")?.said(b"ping")?;

    // On a terminal, a line tells what goes on.
    let path = folder.file("live.sock");
    let on_terminal = format!(
        "EXEC:'{} relay --once listen:unix:{path} exec:cat',pty,setsid,ctty,raw,echo=0,stderr",
        binary.display()
    );
    let talk = format!("(echo hello; sleep 2) | '{}' connect unix:{path}", binary.display());
    let wait = format!("until [ -S {path} ]; do sleep 0.05; done; {talk}");
    let client = std::thread::spawn(move || exchange(Command::new("sh").args(["-c", &wait]), b""));
    let shown = exchange(Command::new(&socat).args(["-u", &on_terminal, "-"]), b"")?;
    client.join().expect("it does not panic")?.said(b"hello\n")?;
    let shown = super::lossy(&shown.output);
    ensure!(shown.contains("1 open, 1 in all; there 6 B"), "on a terminal: {shown:?}");
    Ok(Outcome::passed("late answers, datagrams, a terminal"))
}

/// `sockeye relay` with these arguments; with the address that it tells.
fn relay(binary: &Path, arguments: &[&str]) -> Result<(Running, String)> {
    start(Command::new(binary).arg("relay").args(arguments), |line| {
        line.split_once("listening on ").map(|(_, address)| address.to_owned())
    })
}
