//! nc: the protocol typed by hand, over TCP and over the Unix socket.
//!
//! Deliberately absent: other netcats. They differ in how they treat the end of input; this is OpenBSD's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::curl::Socket;
use crate::command::Conversation;
use crate::server::Server;
use crate::step::Outcome;
use crate::tools;
use crate::workspace::Workspace;

/// Runs nc by itself.
pub(super) fn check(workspace: &Workspace, server: &Server) -> Result<Outcome> {
    let program = program(workspace)?;
    for socket in [Socket::Tcp, Socket::Unix] {
        let channel = format!("clients/nc/{socket:?}").to_lowercase();
        what_one_publishes_the_other_hears(&program, server, socket, &channel)?;
        a_pipe_ends_after_its_last_answer(&program, server, socket, &channel)?;
    }
    Ok(Outcome::passed("lines; over TCP and the Unix socket (-U)"))
}

/// OpenBSD's netcat, by its own name where there are several.
pub(super) fn program(workspace: &Workspace) -> Result<PathBuf> {
    tools::program(workspace, &["nc.openbsd", "nc"], "netcat-openbsd")
}

/// Opens a connection. With `-N`, the end of input is passed on.
pub(super) fn open(program: &Path, server: &Server, socket: Socket) -> Result<Conversation> {
    let mut command = Command::new(program);
    match socket {
        Socket::Tcp => {
            let (host, port) = server.tcp.rsplit_once(':').unwrap_or((&server.tcp, ""));
            command.args(["-N", host, port]);
        }
        Socket::Unix => {
            command.args(["-N", "-U"]).arg(&server.unix);
        }
    }
    Conversation::start("nc", &mut command)
}

/// Subscribes and waits for the answer.
pub(super) fn subscribe(talk: &mut Conversation, channel: &str) -> Result<()> {
    talk.say(&format!(r#"{{"sub":"{channel}","id":1}}"#))?;
    talk.hear("the answer to `sub`", |line| field(line, "ok").is_some_and(|id| id == 1))?;
    Ok(())
}

/// One field of a line that is a JSON object.
pub(super) fn field(line: &str, name: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok()?.get(name).cloned()
}

fn what_one_publishes_the_other_hears(
    program: &Path,
    server: &Server,
    socket: Socket,
    channel: &str,
) -> Result<()> {
    let mut hearer = open(program, server, socket)?;
    let mut publisher = open(program, server, socket)?;
    subscribe(&mut hearer, channel)?;

    publisher.say(&format!(r#"{{"pub":"{channel}","data":{{"text":"hi"}},"id":"p-1"}}"#))?;

    let answer =
        publisher.hear("the answer to `pub`", |line| field(line, "ok").is_some_and(|id| id == "p-1"))?;
    let push = hearer.hear("the message", |line| field(line, "ch").is_some())?;
    ensure!(field(&answer, "at") == field(&push, "at"), "answered {answer}, pushed {push}");
    ensure!(field(&push, "data") == Some(serde_json::json!({"text": "hi"})), "pushed {push}");
    Ok(())
}

fn a_pipe_ends_after_its_last_answer(
    program: &Path,
    server: &Server,
    socket: Socket,
    channel: &str,
) -> Result<()> {
    let mut pipe = open(program, server, socket)?;
    for id in 2..=4 {
        pipe.say(&format!(r#"{{"pub":"{channel}","data":"line {id}","id":{id}}}"#))?;
    }
    pipe.end_input();

    for id in 2..=4 {
        pipe.hear("each answer", |line| field(line, "ok").is_some_and(|found| found == id))?;
    }
    ensure!(pipe.wait()?, "nc did not end well");
    Ok(())
}
