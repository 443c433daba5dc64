//! nc (OpenBSD's), ncat and curl: questions and answers over TCP, UDP and Unix sockets.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Folder, exchange, host_and_port, listen};
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

pub(super) fn openbsd(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let nc = tools::program(workspace, &["nc.openbsd", "nc"], "netcat-openbsd")?;
    let (_echo, at) = listen(binary, &["--keep", "--echo", "tcp:127.0.0.1:0"])?;
    let (host, port) = host_and_port(&at)?;
    exchange(Command::new(&nc).args(["-N", host, port]), b"hello")?.said(b"hello")?;

    let (_echo, at) = listen(binary, &["--keep", "--echo", "udp:127.0.0.1:0"])?;
    let (host, port) = host_and_port(&at)?;
    exchange(Command::new(&nc).args(["-u", "-w", "1", host, port]), b"hello")?.said(b"hello")?;

    // nc listens, for one connection: until it does, connecting is tried again.
    let folder = Folder::new()?;
    let path = folder.file("nc.sock");
    let served = std::thread::spawn({
        let (nc, path) = (nc.clone(), path.clone());
        move || exchange(Command::new(nc).args(["-N", "-l", "-U", &path]), b"from nc\n")
    });
    let mut connect = Command::new(binary);
    connect.args(["connect", "--reconnect", &format!("unix:{path}")]);
    exchange(&mut connect, b"from sockeye\n")?.said(b"from nc\n")?;
    let served = served.join().map_err(|_| anyhow::anyhow!("nc's thread ended"))??;
    ensure!(served.output == b"from sockeye\n", "nc heard {served:?}");
    Ok(Outcome::passed("over TCP, UDP and a Unix socket, listening and connecting"))
}

pub(super) fn ncat(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let ncat = tools::program(workspace, &["ncat"], "ncat")?;
    let (_echo, at) = listen(binary, &["--keep", "--echo", "tcp:127.0.0.1:0"])?;
    let (host, port) = host_and_port(&at)?;
    exchange(Command::new(&ncat).args([host, port]), b"hello")?.said(b"hello")?;

    let folder = Folder::new()?;
    let path = folder.file("ncat.sock");
    let served = std::thread::spawn({
        let (ncat, path) = (ncat.clone(), path.clone());
        move || exchange(Command::new(ncat).args(["-l", "-U", &path]), b"from ncat\n")
    });
    let mut connect = Command::new(binary);
    connect.args(["connect", "--reconnect", &format!("unix:{path}")]);
    exchange(&mut connect, b"from sockeye\n")?.said(b"from ncat\n")?;
    let served = served.join().map_err(|_| anyhow::anyhow!("ncat's thread ended"))??;
    ensure!(served.output == b"from sockeye\n", "ncat heard {served:?}");

    // The reply that ncat itself loses.
    let (_echo, at) = listen(binary, &["--keep", "--echo", "udp:127.0.0.1:0"])?;
    exchange(Command::new(binary).args(["connect", &at]), b"ping")?.said(b"ping\n")?;
    Ok(Outcome::passed("listening and connecting; the reply of a datagram is waited for"))
}

pub(super) fn curl(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let curl = tools::program(workspace, &["curl"], "curl")?;
    let answer = "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n'";
    let (_server, at) = listen(binary, &["--keep", "tcp:127.0.0.1:0", "--exec", answer])?;
    let url = format!("http://{}/", at.trim_start_matches("tcp:"));
    for _ in 0..10 {
        exchange(Command::new(&curl).args(["-sS", "--max-time", "20", &url]), b"")?.said(b"hello\n")?;
    }
    let folder = Folder::new()?;
    let at = format!("unix:{}", folder.file("http.sock"));
    let (_server, _) = listen(binary, &["--keep", &at, "--exec", answer])?;
    let mut command = Command::new(&curl);
    command.args([
        "-sS",
        "--max-time",
        "20",
        "--unix-socket",
        at.trim_start_matches("unix:"),
        "http://localhost/",
    ]);
    exchange(&mut command, b"")?.said(b"hello\n")?;
    Ok(Outcome::passed("a command is its HTTP server, over TCP and a Unix socket"))
}
