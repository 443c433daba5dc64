//! All clients on one channel: what each publishes, every one of them hears.
//!
//! Deliberately absent: an order between publishers. Each message is waited for at all clients before the next is sent.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::curl::{Curl, Socket, event_data};
use super::{SCRIPTS, nc};
use crate::command::Conversation;
use crate::server::Server;
use crate::step::{Missing, Outcome};
use crate::tools;
use crate::workspace::Workspace;

const CHANNEL: &str = "clients/together";

/// Lets every client that is there publish once. A client that is missing is named, and its own step counts that.
pub(super) fn check(workspace: &Workspace, server: &Server) -> Result<Outcome> {
    let mut clients = Vec::new();
    let mut absent = Vec::new();
    for script in &SCRIPTS {
        match script.join(workspace, server, CHANNEL) {
            Ok(talk) => clients.push(Client { name: script.name, kind: Kind::Script, talk }),
            Err(error) if error.is::<Missing>() => absent.push(script.name),
            Err(error) => return Err(error.context(script.name)),
        }
    }
    let curl = tools::program(workspace, &["curl"], "curl")?;
    let netcat = nc::program(workspace)?;
    for (curl_name, nc_name, socket) in
        [("curl", "nc", Socket::Tcp), ("curl --unix-socket", "nc -U", Socket::Unix)]
    {
        let talk = Curl { program: &curl, server }.listen(socket, CHANNEL, &[])?;
        clients.push(Client { name: curl_name, kind: Kind::Curl(curl.clone(), socket), talk });
        let mut talk = nc::open(&netcat, server, socket)?;
        nc::subscribe(&mut talk, CHANNEL)?;
        clients.push(Client { name: nc_name, kind: Kind::Lines, talk });
    }
    ensure!(clients.len() > 1, "one client alone cannot meet another");

    for publisher in 0..clients.len() {
        let text = format!("안녕 from {}", clients[publisher].name);
        clients[publisher].publish(server, &text).with_context(|| clients[publisher].name)?;
        for client in &mut clients {
            client.hear(&text).with_context(|| format!("{} listens", client.name))?;
        }
    }

    let mut note = format!("{} clients, each heard by all", clients.len());
    for client in clients {
        // A script ends with its input, and takes its browser along.
        if matches!(client.kind, Kind::Script) {
            client.talk.wait().with_context(|| client.name)?;
        }
    }
    if !absent.is_empty() {
        note.push_str(&format!("; without {}", absent.join(", ")));
    }
    Ok(Outcome::passed(note))
}

struct Client {
    name: &'static str,
    kind: Kind,
    talk: Conversation,
}

enum Kind {
    Script,
    Curl(PathBuf, Socket),
    Lines,
}

impl Client {
    fn publish(&mut self, server: &Server, text: &str) -> Result<()> {
        match &self.kind {
            Kind::Script => self.talk.say(text),
            Kind::Curl(program, socket) => {
                Curl { program, server }.publish(*socket, CHANNEL, text)?;
                Ok(())
            }
            Kind::Lines => self.talk.say(&json!({"pub": CHANNEL, "data": text}).to_string()),
        }
    }

    fn hear(&mut self, text: &str) -> Result<()> {
        let kind = &self.kind;
        self.talk.hear(text, |line| match kind {
            // A page shows more than the message, such as its time.
            Kind::Script => line.strip_prefix("heard ").is_some_and(|heard| heard.contains(text)),
            Kind::Curl(..) => event_data(line) == Some(json!(text)),
            Kind::Lines => nc::field(line, "data") == Some(json!(text)),
        })?;
        Ok(())
    }
}
