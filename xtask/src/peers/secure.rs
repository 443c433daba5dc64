//! openssl: TLS as a client and as a server, by an authority of one's own.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Folder, exchange, host_and_port, listen, start};
use crate::command::{Conversation, output};
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

/// A certificate for `localhost` and 127.0.0.1.
pub(super) struct Own {
    /// The certificate in PEM.
    pub(super) file: String,
    /// The options of an address that is listened on.
    pub(super) ours: String,
    key: String,
}

/// Makes a certificate in a folder.
pub(super) fn certificate(workspace: &Workspace, folder: &Folder) -> Result<Own> {
    let openssl = tools::program(workspace, &["openssl"], "openssl")?;
    let (file, key) = (folder.file("cert.pem"), folder.file("key.pem"));
    output(
        Command::new(openssl)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args([
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                &key,
                "-out",
                &file,
            ]),
    )?;
    Ok(Own { ours: format!("cert={file}&key={key}"), file, key })
}

pub(super) fn check(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let openssl = tools::program(workspace, &["openssl"], "openssl")?;
    let folder = Folder::new()?;
    let own = certificate(workspace, &folder)?;

    let mut server = Command::new(&openssl);
    server.args(["s_server", "-accept", "0", "-rev", "-cert", &own.file, "-key", &own.key]);
    let (_server, port) =
        start(&mut server, |line| line.strip_prefix("ACCEPT ")?.rsplit(':').next().map(str::to_owned))?;
    let at = format!("tls:localhost:{port}?ca={}&family=4", own.file);
    let probed = exchange(Command::new(binary).args(["probe", "--certificate-days", "7", &at]), b"")?;
    ensure!(probed.code == Some(0), "{probed:?}");
    let soon = exchange(Command::new(binary).args(["probe", "--certificate-days", "60", &at]), b"")?;
    ensure!(soon.code == Some(12), "a certificate that ends in 30 days: {soon:?}");
    exchange(Command::new(binary).args(["connect", &at]), b"hello\n")?.said(b"olleh\n")?;
    let strange = format!("tls:localhost:{port}?family=4");
    let refused = exchange(Command::new(binary).args(["connect", &strange]), b"")?;
    ensure!(refused.code == Some(6), "nobody vouches for it: {refused:?}");

    let (_echo, at) = listen(binary, &["--keep", "--echo", &format!("tls:127.0.0.1:0?{}", own.ours)])?;
    let (host, port) = host_and_port(&at)?;
    let mut client = Command::new(&openssl);
    client.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", &own.file]);
    client.args(["-verify_hostname", "localhost", "-connect", &format!("{host}:{port}")]);
    let mut talk = Conversation::start("s_client", &mut client)?;
    talk.say("hello")?;
    talk.hear("its echo", |line| line == "hello")?;
    Ok(Outcome::passed("s_server and s_client; a stranger is refused, an old certificate told"))
}
