//! curl: publishing, history and the event stream, over TCP and over the Unix socket.
//!
//! Deliberately absent: an HTTP client of ours; the exact commands of the README are what is run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::command::{Conversation, output};
use crate::server::Server;
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

/// Runs curl by itself.
pub(super) fn check(workspace: &Workspace, server: &Server) -> Result<Outcome> {
    let program = tools::program(workspace, &["curl"], "curl")?;
    let curl = Curl { program: &program, server };
    for socket in [Socket::Tcp, Socket::Unix] {
        let channel = format!("clients/curl/{socket:?}").to_lowercase();
        history_holds_what_was_posted(&curl, socket, &channel)?;
        events_arrive_live_and_resume(&curl, socket, &channel)?;
        a_bad_name_is_refused(&curl, socket)?;
    }
    Ok(Outcome::passed("POST, history, event stream; over TCP and the Unix socket"))
}

/// curl and the server it speaks to.
pub(super) struct Curl<'a> {
    pub(super) program: &'a Path,
    pub(super) server: &'a Server,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Socket {
    Tcp,
    Unix,
}

impl Curl<'_> {
    fn command(&self, socket: Socket, path: &str) -> Command {
        let mut command = Command::new(self.program);
        command.args(["-sS", "--max-time", "120"]);
        match socket {
            Socket::Tcp => command.arg(format!("http://{}{path}", self.server.tcp)),
            Socket::Unix => {
                command.arg("--unix-socket").arg(&self.server.unix).arg(format!("http://localhost{path}"))
            }
        };
        command
    }

    /// Publishes text and returns the position it got.
    pub(super) fn publish(&self, socket: Socket, channel: &str, text: &str) -> Result<String> {
        let answer =
            output(self.command(socket, &format!("/ch/{channel}")).args(["--fail-with-body", "-d", text]))?;
        let answer: Value =
            serde_json::from_str(&answer).with_context(|| format!("the answer is {answer}"))?;
        ensure!(answer["ack"] == "accepted", "the answer is {answer}");
        Ok(answer["at"].as_str().context("the answer has no position")?.to_owned())
    }

    /// Starts an event stream and waits until the server has answered it.
    pub(super) fn listen(&self, socket: Socket, channel: &str, headers: &[&str]) -> Result<Conversation> {
        let mut command = self.command(socket, &format!("/ch/{channel}"));
        command.args(["-N", "-i", "-H", "Accept: text/event-stream"]);
        for header in headers {
            command.args(["-H", header]);
        }
        let mut events = Conversation::start("curl -N", &mut command)?;
        events.hear("status 200", |line| line.starts_with("HTTP/1.1 200"))?;
        events.hear("the end of the head", str::is_empty)?;
        Ok(events)
    }
}

/// The `data` of a `data:` line that holds a push. The first event is the answer and has none.
pub(super) fn event_data(line: &str) -> Option<Value> {
    let push: Value = serde_json::from_str(line.strip_prefix("data:")?.trim_start()).ok()?;
    push.get("data").cloned()
}

fn history_holds_what_was_posted(curl: &Curl<'_>, socket: Socket, channel: &str) -> Result<()> {
    let first = curl.publish(socket, channel, "one")?;
    let second = curl.publish(socket, channel, "두 번째")?;

    let history = output(&mut curl.command(socket, &format!("/ch/{channel}?last=50")))?;

    let history: Value = serde_json::from_str(&history)?;
    let messages = history["messages"].as_array().context("the history has no messages")?;
    let seen: Vec<Value> = messages.iter().map(|message| json!([message["at"], message["data"]])).collect();
    ensure!(seen == [json!([first, "one"]), json!([second, "두 번째"])], "the history is {history}");
    Ok(())
}

fn events_arrive_live_and_resume(curl: &Curl<'_>, socket: Socket, channel: &str) -> Result<()> {
    let mut live = curl.listen(socket, channel, &[])?;
    let at = curl.publish(socket, channel, "three")?;
    live.hear("its position", |line| line.strip_prefix("id:").is_some_and(|id| id.trim() == at))?;
    live.hear("three", |line| event_data(line) == Some(json!("three")))?;
    drop(live);
    curl.publish(socket, channel, "four")?;

    let mut resumed = curl.listen(socket, channel, &[&format!("Last-Event-ID: {at}")])?;

    let line = resumed.hear("the first message", |line| event_data(line).is_some())?;
    ensure!(event_data(&line) == Some(json!("four")), "resumed with {line}");
    Ok(())
}

fn a_bad_name_is_refused(curl: &Curl<'_>, socket: Socket) -> Result<()> {
    let status = ["-o", "/dev/null", "-w", "%{http_code}", "-d", "text"];

    let status = output(curl.command(socket, "/ch/a%2Fb").args(status))?;

    if status != "400" {
        bail!("%2F in a name was answered with {status}");
    }
    Ok(())
}
