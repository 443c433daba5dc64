//! Real clients against the real binary: each publishes and hears by itself, then all of them on one channel.
//!
//! Chromium, Python, npm's `ws` and the page's `client.js` are scripts in `tests/clients`; curl and nc need none and are
//! driven from here. Deliberately absent: the client side of `sockeye` itself. What is shown is that none is needed.

mod cross;
mod curl;
mod nc;
mod tls;

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{Conversation, run};
use crate::server::Server;
use crate::step::{Outcome, Report};
use crate::tools;
use crate::workspace::Workspace;

/// Adds one step for each client, and the one in which all meet.
pub(crate) fn steps(workspace: &Workspace, binary: &Path, report: &mut Report) {
    for script in SCRIPTS {
        report.step(script.name, || {
            let mut command = script.command(workspace)?;
            let server = Server::start(binary, &[])?;
            run(command.args([&server.tcp, "check"]))?;
            Ok(Outcome::passed(script.shows))
        });
    }
    report.step("curl", || curl::check(workspace, &Server::start(binary, &[])?));
    tls::steps(workspace, binary, report);
    report.step("nc", || nc::check(workspace, &Server::start(binary, &[])?));
    report.step("all clients on one channel", || cross::check(workspace, &Server::start(binary, &[])?));
}

/// Runs Python's `websockets` against an address where an HTTP proxy listens, in front of a server.
pub(crate) fn check_python_through_proxy(workspace: &Workspace, address: &str) -> Result<()> {
    run(SCRIPTS[0].command(workspace)?.args([address, "check-http"]))
}

/// A client that is a script. Called with `check` it tests itself; with `join CHANNEL` it says `ready`, publishes each
/// line of its input and writes `heard TEXT` for each message.
struct Script {
    name: &'static str,
    file: &'static str,
    shows: &'static str,
}

const SCRIPTS: [Script; 4] = [
    Script { name: "Python websockets", file: "python_websockets.py", shows: "/ws, /ch, history, resuming" },
    Script { name: "npm ws", file: "ws.mjs", shows: "/ws, /ch, /echo" },
    Script { name: "client.js", file: "client.mjs", shows: "in Node: subscribing, resuming, waiting, bytes" },
    Script {
        name: "Chromium",
        file: "browser.mjs",
        shows: "page, WebSocket, EventSource resuming after a cut",
    },
];

impl Script {
    fn command(&self, workspace: &Workspace) -> Result<Command> {
        let mut command = if self.file.ends_with(".py") {
            Command::new(tools::python(workspace)?)
        } else {
            let node = tools::node(workspace)?;
            let mut command = Command::new(node.program);
            command.env("CLIENTS_PACKAGES", node.folder);
            command
        };
        if self.file.ends_with("browser.mjs") {
            let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
            command.env("CLIENTS_CHROMIUM", tools::program(workspace, &names, "chromium")?);
        }
        command.arg(workspace.root().join("tests/clients").join(self.file));
        Ok(command)
    }

    fn join(&self, workspace: &Workspace, server: &Server, channel: &str) -> Result<Conversation> {
        let mut command = self.command(workspace)?;
        let mut talk = Conversation::start(self.name, command.args([&server.tcp, "join", channel]))?;
        talk.hear("`ready`", |line| line == "ready")?;
        Ok(talk)
    }
}
