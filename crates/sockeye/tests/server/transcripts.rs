//! Every exchange of `docs/protocol`, unchanged, over WebSocket, TCP, TLS, UDP and both kinds of Unix socket.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::ClientConfig;
use serde_json::Value;
use sockeye_wire::websocket::Opcode;

use crate::certificates::Authority;
use crate::client::{Frame, Lines, Secure, Stream, WebSocket, frame};
use crate::gram::Grams;
use crate::transcript::{Act, Transcript, Variables, bind, expand, matches};
use crate::world::Server;

/// The rules that `docs/protocol/README.md` asks for.
const CONFIG: &str = r#"
[[channels]]
pattern = "small/#"
kind = "kept"
messages = 4

[[channels]]
pattern = "live/#"
kind = "live"
"#;

const SOCKETS: [&str; 6] = ["ws", "tcp", "tls", "unix", "udp", "unixgram"];

/// Files are played side by side; some of them wait for the server's clock.
const PLAYERS: usize = 12;

#[test]
fn every_transcript_holds_over_every_socket_on_one_shard() {
    play_all(1);
}

#[test]
fn every_transcript_holds_over_every_socket_on_two_shards() {
    play_all(2);
}

fn play_all(shards: u16) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 20, "the transcripts are missing");
    let authority = Authority::new();
    let config = format!("{CONFIG}{}", authority.issue("server", &["localhost"]).table());
    let server = Server::on_shards(shards, &config);
    let client = authority.client();
    let mut plays: Vec<_> =
        files.iter().flat_map(|file| SOCKETS.map(|socket| (file, socket))).enumerate().collect();
    plays.reverse();
    let plays = Mutex::new(plays);
    let failures = Mutex::new(Vec::new());

    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let next = plays.lock().unwrap().pop();
                    let Some((number, (file, socket))) = next else { return };
                    let name = file.file_name().unwrap().to_string_lossy();
                    let text = std::fs::read_to_string(file).unwrap();
                    let play = || play(&server, &client, &text, socket, &format!("t{number}-{socket}"));
                    let failure = match catch_unwind(AssertUnwindSafe(play)) {
                        Ok(Ok(())) => continue,
                        Ok(Err(failure)) => failure,
                        Err(_) => "a client failed".into(),
                    };
                    failures.lock().unwrap().push(format!("{name} over {socket}: {failure}"));
                }
            });
        }
    });

    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A client of a transcript.
struct Client {
    socket: Talk,
    held: Vec<u8>,
    /// Held back datagrams, which cannot leave in one write.
    held_grams: Vec<String>,
    last: String,
    is_open: bool,
    ended: bool,
}

enum Talk {
    Lines(Lines),
    WebSocket(Box<WebSocket>),
    Grams(Grams),
}

impl Client {
    fn connect(server: &Server, client: &Arc<ClientConfig>, socket: &str) -> Client {
        let socket = match socket {
            "ws" => Talk::WebSocket(Box::new(WebSocket::open(server, "/ws"))),
            "udp" => Talk::Grams(Grams::udp(server).prove()),
            "unixgram" => Talk::Grams(Grams::unix(server).prove()),
            "tls" => {
                let tcp = TcpStream::connect(server.tcp()).unwrap();
                let secure = Secure::over(tcp, client, "localhost").unwrap();
                Talk::Lines(Lines::over(Stream::Tls(Box::new(secure))))
            }
            "tcp" => Talk::Lines(Lines::over(server.connect())),
            _ => Talk::Lines(Lines::over(server.connect_unix())),
        };
        Client {
            socket,
            held: Vec::new(),
            held_grams: Vec::new(),
            last: String::new(),
            is_open: true,
            ended: false,
        }
    }

    fn hold(&mut self, text: &str) {
        match &self.socket {
            Talk::Grams(_) => self.held_grams.push(text.to_owned()),
            Talk::Lines(_) => self.held.extend_from_slice(format!("{text}\n").as_bytes()),
            Talk::WebSocket(_) => self.held.extend_from_slice(&frame(Opcode::Text, text.as_bytes())),
        }
    }

    fn flush(&mut self) {
        let held = std::mem::take(&mut self.held);
        match &mut self.socket {
            Talk::Grams(grams) => self.held_grams.drain(..).for_each(|text| grams.ask(&text)),
            Talk::Lines(lines) => lines.0.stream.write_all(&held).unwrap(),
            Talk::WebSocket(socket) => socket.stream().write_all(&held).unwrap(),
        }
    }

    /// The next message; `None` when the server has ended the connection.
    fn next(&mut self) -> Option<String> {
        match &mut self.socket {
            Talk::Grams(grams) => Some(grams.receive_shared()),
            Talk::Lines(lines) => lines.next(),
            Talk::WebSocket(socket) => match socket.receive() {
                Frame::Text(text) => Some(text),
                Frame::Close(..) | Frame::End => None,
                other => panic!("not a message: {other:?}"),
            },
        }
    }

    fn receive(&mut self) -> Result<Value, String> {
        self.last = self.next().ok_or("the connection ended")?;
        serde_json::from_str(&self.last).map_err(|_| format!("not JSON: {}", self.last))
    }

    fn close(&mut self) {
        self.is_open = false;
        match &mut self.socket {
            Talk::Lines(_) | Talk::Grams(_) => {}
            Talk::WebSocket(socket) => {
                socket.send_close(Some(1000), "");
                while !matches!(socket.receive(), Frame::Close(..)) {}
            }
        }
    }
}

fn play(
    server: &Server,
    tls: &Arc<ClientConfig>,
    text: &str,
    socket: &str,
    channel: &str,
) -> Result<(), String> {
    let transcript = Transcript::parse(text);
    // What holds over TCP holds over TLS.
    let named = if socket == "tls" { "tcp" } else { socket };
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut variables = Variables::new();
    let mut steps = transcript.steps_over(named).iter().peekable();
    while let Some(step) = steps.next() {
        let client = clients.entry(step.client).or_insert_with(|| Client::connect(server, tls, socket));
        let at = |failure: String| format!("line {}: {failure}", step.line);
        let sent = |text: &str, n, variables: &Variables| bind(&expand(text, channel, n), variables);
        match &step.act {
            Act::Send(text) | Act::Hold(text) => {
                for n in 1..=step.times {
                    client.hold(&sent(text, n, &variables));
                }
                if matches!(step.act, Act::Send(_)) {
                    client.flush();
                }
            }
            Act::Receive(text) => {
                for n in 1..=step.times {
                    let pattern = pattern(text, channel, n);
                    let value = client.receive().map_err(at)?;
                    if !matches(&pattern, &value, &mut variables) {
                        return Err(at(format!("{} is not {pattern}", brief(&client.last))));
                    }
                }
            }
            Act::ReceiveAnyOrder(text) => {
                let mut wanted = vec![pattern(text, channel, 1)];
                while let Some(next) = steps
                    .next_if(|next| next.client == step.client && matches!(next.act, Act::ReceiveAnyOrder(_)))
                {
                    let Act::ReceiveAnyOrder(text) = &next.act else { continue };
                    wanted.push(pattern(text, channel, 1));
                }
                while !wanted.is_empty() {
                    let value = client.receive().map_err(at)?;
                    let found = wanted.iter().position(|pattern| {
                        let mut tried = variables.clone();
                        let found = matches(pattern, &value, &mut tried);
                        if found {
                            variables = tried;
                        }
                        found
                    });
                    let index =
                        found.ok_or_else(|| at(format!("{} is none of them", brief(&client.last))))?;
                    wanted.swap_remove(index);
                }
            }
            Act::Has(text) => {
                if !client.last.contains(&sent(text, 1, &variables)) {
                    return Err(at(format!("{} lacks it", brief(&client.last))));
                }
            }
            Act::Lacks(text) => {
                if client.last.contains(&sent(text, 1, &variables)) {
                    return Err(at(format!("{} has it", brief(&client.last))));
                }
            }
            Act::Closes => client.close(),
            Act::Ends => {
                client.ended = true;
                if let Talk::Lines(lines) = &mut client.socket {
                    lines.0.stream.finish();
                }
            }
            Act::Closed => {
                client.is_open = false;
                let mut said_bye = false;
                while let Some(text) = client.next() {
                    if said_bye || !text.starts_with("{\"bye\":") {
                        return Err(at(format!("{} before the end", brief(&text))));
                    }
                    said_bye = true;
                }
            }
        }
    }
    for (name, client) in &mut clients {
        if !client.is_open || client.ended {
            continue;
        }
        client.hold("{\"ping\":\"the end\"}");
        client.flush();
        let value = client.receive().map_err(|failure| format!("{name} at the end: {failure}"))?;
        if value != serde_json::json!({ "pong": "the end" }) {
            return Err(format!(
                "{name} received what the transcript does not name: {}",
                brief(&client.last)
            ));
        }
    }
    Ok(())
}

fn pattern(text: &str, channel: &str, n: usize) -> Value {
    let text = expand(text, channel, n);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("the pattern {text} is not JSON: {error}"))
}

/// Long messages are cut, so that a failure can be read.
fn brief(text: &str) -> String {
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
