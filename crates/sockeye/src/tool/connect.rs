//! Connecting standard input and output to an address.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::bridge::{Ours, Rules, Tally, bridge};
use super::run::notice;
use super::signal::{Stop, unstopped, until_signal};
use super::tell;
use crate::address::{Address, Base};
use crate::net::{Connector, Error, ErrorKind, Kind, Message, Result, Socket, Timings};

/// The first pause before connecting again, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted so long was one: the pauses begin anew.
const STEADY: Duration = Duration::from_secs(10);

/// What `connect` does.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Where to.
    pub address: Address,
    /// What it is called: the address as it was given.
    pub name: String,
    /// Headers of the request, of a WebSocket or over HTTP.
    pub headers: Vec<(String, String)>,
    /// What is said first, on each connection.
    pub hello: Vec<Message>,
    /// Connect again when the connection breaks.
    pub reconnect: bool,
    /// How the two are joined.
    pub rules: Rules,
    /// Tell figures at the end.
    pub stats: Option<Stats>,
}

/// How figures are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Connects, and joins standard input and output with the peer until both have ended. A peer that can be told goodbye is, when a
/// signal ends the command.
///
/// # Errors
/// Those of connecting, and of an end that was not in good order.
pub async fn connect(plan: &Connect) -> Result<()> {
    let kind = Kind::of(&plan.address).map_err(|error| error.about(&plan.name))?;
    if kind.traits().close_reason {
        until_signal(|stop| again_and_again(plan, stop)).await
    } else {
        // The kernel tells the end of everything else.
        unstopped(|stop| again_and_again(plan, stop)).await
    }
}

async fn again_and_again(plan: &Connect, mut stop: Stop) -> Result<()> {
    let mut pause = PAUSE_MIN;
    let mut ours = Ours::new(Socket::connect(Address::new(Base::Standard)).await?, &plan.rules);
    // Who types sees an answer without having said that there is nothing to say.
    if matches!(plan.address.base, Base::Http(_)) && std::io::stdin().is_terminal() {
        ours.end_input();
    }
    loop {
        let began = Instant::now();
        let mut connector = Connector::new(&plan.address)?.named(&plan.name);
        for (name, value) in &plan.headers {
            connector = connector.header(name, value);
        }
        let (connected, timings) = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            connected = connector.connect_timed() => connected,
        };
        let (outcome, tally) = match connected {
            Ok(socket) => converse(plan, &mut ours, socket, &mut stop).await,
            Err(error) => (Err(error), Tally::default()),
        };
        if let Some(stats) = plan.stats {
            tell_stats(stats, &plan.name, &timings, began.elapsed(), tally, outcome.as_ref().err());
        }
        // What was sent and is over is not said again.
        let goes_on = plan.reconnect && !ours.is_spent() && outcome.as_ref().err().is_none_or(is_passing);
        if !goes_on || stop.is_told() {
            return outcome;
        }
        if began.elapsed() >= STEADY {
            pause = PAUSE_MIN;
        }
        // A random part keeps many clients from coming back at once.
        let wait = pause.mul_f64(0.5 + 0.5 * fraction());
        let why = match outcome {
            Err(error) => error.to_string(),
            Ok(()) => format!("{}: the peer ended", plan.name),
        };
        let words = format_args!("{why}; connecting again in {} ms", wait.as_millis());
        notice(plan.rules.json, "again", words);
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = sleep(wait) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn converse(
    plan: &Connect,
    ours: &mut Ours,
    mut socket: Socket,
    stop: &mut Stop,
) -> (Result<()>, Tally) {
    for message in &plan.hello {
        if let Err(error) = socket.send(message.clone()).await {
            return (Err(error), Tally::default());
        }
    }
    bridge(ours, socket, &plan.rules, stop.wait()).await
}

/// Whether it may be well the next time.
fn is_passing(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::EndedEarly | ErrorKind::NameNotFound => {
            true
        }
        // RFC 9110, 15.6 and 6585, 4: the server, or who stands before it, cannot serve anybody at the moment.
        ErrorKind::Refused => matches!(error.http_status(), Some(429 | 500..=599)),
        _ => false,
    }
}

/// A random number from 0 to 1.
pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

fn tell_stats(
    stats: Stats,
    name: &str,
    timings: &Timings,
    whole: Duration,
    tally: Tally,
    error: Option<&Error>,
) {
    let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let steps: serde_json::Map<String, serde_json::Value> =
        timings.steps().map(|(name, time)| (format!("{name}_ms"), json!(milliseconds(time)))).collect();
    match stats {
        Stats::Json => super::run::tell_json(&json!({
            "address": name,
            "steps": steps,
            "whole_ms": milliseconds(whole),
            "sent": tally.sent,
            "sent_bytes": tally.sent_bytes,
            "received": tally.received,
            "received_bytes": tally.received_bytes,
            "error": error.map(ToString::to_string),
        })),
        Stats::Text => {
            let steps: Vec<String> =
                timings.steps().map(|(name, time)| format!("{name} {} ms", milliseconds(time))).collect();
            tell(format_args!(
                "{}; sent {} bytes in {} pieces, received {} bytes in {} pieces, {} ms in all",
                steps.join(", "),
                tally.sent_bytes,
                tally.sent,
                tally.received_bytes,
                tally.received,
                milliseconds(whole)
            ));
        }
    }
}
