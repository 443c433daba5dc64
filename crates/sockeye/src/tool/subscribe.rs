//! Hearing a channel or a pattern, one message a line.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::ToolError;
use super::link::Link;
use crate::address::Address;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The payload on a line of its own: line breaks inside it are written as `\n`, binary as base64. Messages heard
    /// through a pattern have the channel's name and a space before them.
    Line,
    /// The payload's bytes and nothing else.
    Raw,
    /// The whole object of the protocol, gaps included.
    Json,
}

/// What is heard, and for how long.
#[derive(Clone, Debug)]
pub struct Hearing<'a> {
    /// A channel or a pattern.
    pub name: &'a str,
    /// Begin after this position.
    pub since: Option<&'a str>,
    /// Begin with this many of the newest messages.
    pub last: Option<u64>,
    /// End after this many messages.
    pub count: Option<u64>,
    /// How messages are written.
    pub format: Format,
}

/// Hears until `count` messages have come, the server ends, or `out` takes no more.
///
/// # Errors
/// When the server refuses the subscription, or the connection ends before `count` messages came.
pub fn subscribe(address: &Address, hearing: &Hearing<'_>, out: &mut dyn Write) -> Result<(), ToolError> {
    if hearing.count == Some(0) {
        return Ok(());
    }
    let mut link = Link::connect(address)?;
    link.speaker().send(&request(hearing))?;
    let mut heard = 0;
    while let Some(object) = link.receive()? {
        let Ok(said) = serde_json::from_slice::<Value>(&object) else { continue };
        if said.get("error").is_some() {
            let why = format!("{}: {}", text(&said["code"]), text(&said["why"]));
            return Err(ToolError::Refused { address: address.clone(), why });
        }
        if let Some(reason) = said.get("bye") {
            let why = format!("the server said goodbye: {}", text(reason));
            return Err(ToolError::EndedEarly { address: address.clone(), why });
        }
        let is_message = said.get("ch").is_some() && said.get("gap").is_none();
        match write(&said, &object, is_message, hearing, out).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read our output has heard enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(source) => return Err(ToolError::Output { what: "cannot write to standard output", source }),
        }
        heard += u64::from(is_message);
        if Some(heard) == hearing.count {
            // The end of input alone would leave the subscription: it means only that nothing more is asked.
            let speaker = link.speaker();
            if speaker.send(json!({ "unsub": hearing.name }).to_string().as_bytes()).is_ok() {
                speaker.finish();
            }
            return Ok(());
        }
    }
    Err(ToolError::EndedEarly { address: address.clone(), why: "the server closed it".into() })
}

fn request(hearing: &Hearing<'_>) -> Vec<u8> {
    let mut object = json!({ "sub": hearing.name, "id": 1 });
    if let Some(since) = hearing.since {
        object["since"] = since.into();
    }
    if let Some(last) = hearing.last {
        object["last"] = last.into();
    }
    object.to_string().into_bytes()
}

fn write(
    said: &Value,
    object: &[u8],
    is_message: bool,
    hearing: &Hearing<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if hearing.format == Format::Json {
        if said.get("ch").is_some() {
            out.write_all(object)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    if !is_message {
        if let Some(gap) = said.get("gap") {
            let (from, to) = (text(&gap["from"]), text(&gap["to"]));
            let _ =
                writeln!(io::stderr(), "missed {} {from} to {to}: {}", text(&said["ch"]), text(&gap["why"]));
        } else if said.get("recovered") == Some(&Value::Bool(false)) {
            let _ = writeln!(
                io::stderr(),
                "not everything since then is kept ({}): live from {}",
                text(&said["why"]),
                text(&said["at"])
            );
        }
        return Ok(());
    }
    match hearing.format {
        Format::Raw => match (said.get("data"), said.get("b64")) {
            (Some(Value::String(data)), _) => out.write_all(data.as_bytes()),
            (Some(data), _) => out.write_all(data.to_string().as_bytes()),
            (None, binary) => {
                use base64::Engine as _;
                let encoded = binary.and_then(Value::as_str).unwrap_or_default();
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(encoded).map_err(io::Error::other)?;
                out.write_all(&bytes)
            }
        },
        _ => {
            if hearing.name.contains(['+', '#']) {
                write!(out, "{} ", text(&said["ch"]))?;
            }
            let line = match (said.get("data"), said.get("b64")) {
                (Some(Value::String(data)), _) => data.replace('\n', "\\n").replace('\r', "\\r"),
                (Some(data), _) => data.to_string(),
                (None, binary) => text(binary.unwrap_or(&Value::Null)).to_owned(),
            };
            writeln!(out, "{line}")
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
