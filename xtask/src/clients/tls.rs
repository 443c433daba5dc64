//! Real clients over TLS: curl, openssl s_client, and the scripts once more with a certificate to trust.
//!
//! Deliberately absent: a certificate in the repository. openssl makes one for each run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{SCRIPTS, Script};
use crate::command::{Conversation, output, run};
use crate::server::Server;
use crate::step::{Outcome, Report};
use crate::tools;
use crate::workspace::Workspace;

/// Adds one step for each client.
pub(super) fn steps(workspace: &Workspace, binary: &Path, report: &mut Report) {
    report.step("curl over TLS", || curl(workspace, binary));
    report.step("openssl s_client", || s_client(workspace, binary));
    for script in SCRIPTS.iter().filter(|script| !["browser.mjs", "client.mjs"].contains(&script.file)) {
        report.step(&format!("{} over TLS", script.name), || {
            let files = Files::make(workspace)?;
            let server = files.start(binary, &[])?;
            let mut command = script.command(workspace)?;
            run(command.env("CLIENTS_CA", &files.certificate).args([&server.tcp, "check"]))?;
            Ok(Outcome::passed(script.shows))
        });
    }
    report.step("Chromium over TLS", || {
        let files = Files::make(workspace)?;
        let script = Script { name: "Chromium", file: "secure_browser.mjs", shows: "" };
        let mut command = script.command(workspace)?;
        command.env("CLIENTS_CA", &files.certificate).env("CLIENTS_KEY", &files.key);
        run(command.env("CLIENTS_SERVER", binary))?;
        Ok(Outcome::passed("page, WebSocket, client.js resuming after a restart; a certificate of this run"))
    });
}

/// A certificate for localhost that signs itself, and its key.
struct Files {
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn make(workspace: &Workspace) -> Result<Self> {
        let openssl = tools::program(workspace, &["openssl"], "openssl")?;
        let folder = std::env::temp_dir().join(format!("sockeye-xtask-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let files = Files { certificate: folder.join("c.pem"), key: folder.join("k.pem"), folder };
        let mut command = Command::new(openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-subj", "/CN=localhost"]);
        command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        output(command.arg("-out").arg(&files.certificate).arg("-keyout").arg(&files.key))?;
        Ok(files)
    }

    /// A certificate for a client, signed by the other one, and its key.
    fn issue(&self, openssl: &Path) -> Result<(PathBuf, PathBuf)> {
        let file = |name: &str| self.folder.join(name);
        let (request, certificate, key) = (file("client.csr"), file("client.pem"), file("client.key"));
        let mut command = Command::new(openssl);
        command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-subj", "/CN=ana"]).arg("-out").arg(&request).arg("-keyout").arg(&key);
        output(&mut command)?;
        // Without an extension it would be of version 1, which TLS libraries refuse.
        let extensions = file("client.ext");
        std::fs::write(&extensions, "subjectAltName = DNS:ana.example\n")?;
        let mut command = Command::new(openssl);
        command.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"]).arg(&request);
        command.arg("-CA").arg(&self.certificate).arg("-CAkey").arg(&self.key);
        output(command.arg("-extfile").arg(&extensions).arg("-out").arg(&certificate))?;
        Ok((certificate, key))
    }

    fn start(&self, binary: &Path, more: &[&str]) -> Result<Server> {
        let certificate = self.certificate.to_str().context("the temporary folder has an odd name")?;
        let key = self.key.to_str().context("the temporary folder has an odd name")?;
        Server::start(binary, &[&["--tls-certificate", certificate, "--tls-key", key], more].concat())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn curl(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let curl = tools::program(workspace, &["curl"], "curl")?;
    let files = Files::make(workspace)?;
    let server = files.start(binary, &[])?;
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let ask = |more: &[&str], path: &str| {
            let mut command = Command::new(&curl);
            command.args(["-sS", "--fail-with-body", "--max-time", "60", version]);
            if version == "--tlsv1.2" {
                command.args(["--tls-max", "1.2"]);
            }
            command.arg("--cacert").arg(&files.certificate).args(more);
            output(command.arg(format!("https://{}{path}", server.tcp)))
        };
        let answer = ask(&["-d", "over TLS"], "/ch/clients/tls")?;
        ensure!(answer.contains("accepted"), "{answer}");
        let history = ask(&[], "/ch/clients/tls?last=1")?;
        ensure!(history.contains("over TLS"), "{history}");
    }
    let plain = output(Command::new(&curl).args(["-sS", &format!("http://{}/healthz", server.tcp)]))?;
    ensure!(plain == "ok\n", "{plain}");
    Ok(Outcome::passed("POST and history by TLS 1.2 and 1.3, plain text on the same port"))
}

fn s_client(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let openssl = tools::program(workspace, &["openssl"], "openssl")?;
    let files = Files::make(workspace)?;
    let config = files.folder.join("sockeye.toml");
    let ca = files.certificate.display();
    std::fs::write(&config, format!("[tls]\nclient_certificate = \"required\"\nclient_ca = \"{ca}\"\n"))?;
    let config = config.to_str().context("the temporary folder has an odd name")?;
    let server = files.start(binary, &["--config", config])?;
    let (certificate, key) = files.issue(&openssl)?;
    let session = files.folder.join("session.pem");
    for (version, spoken) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for (flag, begun) in [("-sess_out", "New"), ("-sess_in", "Reused")] {
            let mut command = Command::new(&openssl);
            command.args(["s_client", "-connect", &server.tcp, "-servername", "localhost", version]);
            command.arg("-CAfile").arg(&files.certificate).args([
                "-verify_return_error",
                "-alpn",
                "http/1.1",
            ]);
            command.arg("-cert").arg(&certificate).arg("-key").arg(&key);
            let mut talk = Conversation::start("openssl s_client", command.arg(flag).arg(&session))?;
            talk.hear("its handshake", |line| line.starts_with(begun) && line.contains(spoken))?;
            talk.say("{\"ping\":1}")?;
            // It may stand in the middle of what is printed of a ticket.
            talk.hear("the pong", |line| line.contains("{\"pong\":1}"))?;
            talk.wait()?;
        }
    }
    Ok(Outcome::passed("TLS 1.2 and 1.3, resumption, SNI, ALPN, a client certificate"))
}
