//! The page of figures, as Prometheus' own tool judges it: its form, and the conventions of names.
//!
//! Deliberately absent: what the figures mean, which the server's tests know.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::command::output;
use crate::server::Server;
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

/// Lets promtool read `/metrics` of a server that has done something.
pub(crate) fn step(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let promtool = tools::program(workspace, &["promtool"], "prometheus")?;
    let curl = tools::program(workspace, &["curl"], "curl")?;
    let server = Server::start(binary, &[])?;
    let ask = |path: &str, arguments: &[&str]| {
        output(Command::new(&curl).args(["-sS"]).args(arguments).arg(format!("http://{}{path}", server.tcp)))
    };
    ask("/ch/metrics", &["-d", "a message"])?;
    ask("/ch/nobody", &[])?;
    ask("/nowhere", &[])?;
    let page = ask("/metrics", &[])?;

    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("its input was asked for")?.write_all(page.as_bytes())?;
    let judged = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&judged.stderr);
    ensure!(judged.status.success() && said.trim().is_empty(), "promtool says: {}", said.trim());
    let families = page.lines().filter(|line| line.starts_with("# TYPE ")).count();
    Ok(Outcome::passed(format!("{families} families")))
}
