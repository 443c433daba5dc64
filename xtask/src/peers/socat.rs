//! socat: late answers, datagrams, TLS, and a terminal.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Folder, exchange, host_and_port, listen, lossy, secure, start};
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let socat = tools::program(workspace, &["socat"], "socat")?;
    let folder = Folder::new()?;
    let connect = |arguments: &[&str], input: &[u8]| {
        exchange(Command::new(binary).arg("connect").args(arguments), input)
    };

    for (address, base) in [("tcp:127.0.0.1:0", "TCP"), ("udp:127.0.0.1:0", "UDP")] {
        let (_echo, at) = listen(binary, &["--keep", "--echo", address])?;
        let (host, port) = host_and_port(&at)?;
        let target = format!("{base}:{host}:{port}");
        exchange(Command::new(&socat).args(["-t", "1", "-", &target]), b"hello")?.said(b"hello")?;
    }

    // The answer that socat's own default of half a second cuts off.
    let path = folder.file("late.sock");
    let serve = format!("UNIX-LISTEN:{path},fork");
    let mut command = Command::new(&socat);
    command.args(["-d", "-d", "-t", "20", &serve, "SYSTEM:cat >/dev/null; sleep 2; echo late"]);
    let (_server, ()) = start(&mut command, |line| line.contains("listening on").then_some(()))?;
    let at = format!("unix:{path}");
    connect(&[&at], b"question")?.said(b"late\n")?;
    let hasty = connect(&["--linger", "1s", &at], b"question")?;
    ensure!(hasty.code == Some(8) && hasty.errors.contains("--linger"), "an answer was cut off: {hasty:?}");

    // One datagram is one message, and its reply is waited for.
    let path = folder.file("datagram.sock");
    let mut command = Command::new(&socat);
    command.args(["-d", "-d", &format!("UNIX-RECVFROM:{path},fork"), "SYSTEM:tr a-z A-Z"]);
    let (_server, ()) = start(&mut command, |line| line.contains("receiving on").then_some(()))?;
    connect(&[&format!("unixgram:{path}")], b"ping\n")?.said(b"PING\n")?;

    let own = secure::certificate(workspace, &folder)?;
    let (_echo, at) = listen(binary, &["--keep", "--echo", &format!("tls:127.0.0.1:0?{}", own.ours)])?;
    let (_, port) = host_and_port(&at)?;
    let target = format!("OPENSSL:127.0.0.1:{port},cafile={},commonname=localhost", own.file);
    exchange(Command::new(&socat).args(["-t", "1", "-", &target]), b"hello")?.said(b"hello")?;

    // On a terminal, what comes in is told apart from what goes out.
    let (_echo, at) = listen(binary, &["--keep", "--echo", "ws://127.0.0.1:0/"])?;
    let on_terminal = format!("EXEC:'{} connect {at}',pty,setsid,ctty,raw,echo=0", binary.display());
    let ran = exchange(Command::new(&socat).args(["-t", "2", "-", &on_terminal]), b"hello\n")?;
    let shown = lossy(&ran.output);
    ensure!(shown.contains("< hello") && shown.contains("\u{1b}[36m"), "on a terminal: {ran:?}");
    Ok(Outcome::passed("late answers, datagrams, TLS, a terminal"))
}
