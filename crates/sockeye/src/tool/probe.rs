//! Whether an address is ready: each step of connecting, timed; the certificate's end; the first byte, if one is waited for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::address::{Address, Base, Shape};
use crate::net::{Connector, Error, ErrorKind, Message, Result, Timings, certificate_date, unix_now};

/// How long to rest between two attempts.
const REST: Duration = Duration::from_millis(250);
/// How long the answer to a request is waited for, unless a time is given.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What `probe` does.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Where to.
    pub addresses: Vec<Address>,
    /// Try again for so long.
    pub wait: Option<Duration>,
    /// How long each step of connecting may take, if not as long as the address says.
    pub timeout: Option<Duration>,
    /// Wait so long for a first byte, after saying this.
    pub first_byte: Option<Duration>,
    /// What is said before the first byte is waited for.
    pub send: Option<Message>,
    /// A certificate that ends within so many days is a failure.
    pub certificate_days: Option<u64>,
}

/// What was found out about one address.
#[derive(Debug)]
pub struct Finding {
    /// The address.
    pub address: String,
    /// Whether it is ready, or why not.
    pub outcome: Result<()>,
    timings: Timings,
    first_byte: Option<Duration>,
    peer: Option<String>,
    certificate_ends_at: Option<i64>,
    attempts: u32,
}

/// Probes all addresses at once, each until it is ready or its time is over; they are told in the order given.
pub async fn probe(plan: &Probe, mut tell: impl FnMut(&Finding)) -> Vec<Finding> {
    let mut under_way = JoinSet::new();
    for (index, address) in plan.addresses.iter().enumerate() {
        let (plan, address) = (plan.clone(), address.clone());
        under_way.spawn(async move { (index, until_ready(&plan, &address).await) });
    }
    let mut found: Vec<Option<Finding>> = plan.addresses.iter().map(|_| None).collect();
    let mut told = 0;
    while let Some(outcome) = under_way.join_next().await {
        let Ok((index, finding)) = outcome else { continue };
        found[index] = Some(finding);
        while let Some(Some(finding)) = found.get(told) {
            tell(finding);
            told += 1;
        }
    }
    found.into_iter().flatten().collect()
}

async fn until_ready(plan: &Probe, address: &Address) -> Finding {
    let began = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        // No step outlasts the whole.
        let left = plan.wait.map(|wait| wait.saturating_sub(began.elapsed()).max(REST));
        let mut finding = once(plan, address, left, attempts).await;
        // The bound of this attempt is no part of what was asked.
        finding.outcome = finding.outcome.map_err(|error| error.about(&finding.address));
        let may_become = |error: &Error| !matches!(error.kind(), ErrorKind::Usage | ErrorKind::Permission);
        let goes_on = plan.wait.is_some_and(|wait| began.elapsed() + REST < wait);
        match &finding.outcome {
            Err(error) if may_become(error) && goes_on => sleep(REST).await,
            _ => return finding,
        }
    }
}

async fn once(plan: &Probe, address: &Address, left: Option<Duration>, attempts: u32) -> Finding {
    let mut finding = Finding {
        address: address.shown(),
        outcome: Ok(()),
        timings: Timings::default(),
        first_byte: None,
        peer: None,
        certificate_ends_at: None,
        attempts,
    };
    if address.shape() == Shape::Datagram && plan.first_byte.is_none() {
        let what = "datagrams have no connection that could be tried";
        let hint = "--send TEXT --first-byte TIME asks the peer for an answer";
        finding.outcome = Err(Error::new(ErrorKind::Usage, address.shown(), what).with_hint(hint));
        return finding;
    }
    let mut bounded = address.clone();
    let has_steps = address.options_known().any(|(name, ..)| name == "timeout");
    if has_steps {
        let asked = plan.timeout.or(address.options.timeout);
        bounded.options.timeout = left.into_iter().chain(asked).min();
    }
    let address = &bounded;
    let (connected, timings) = match Connector::new(address) {
        Ok(connector) => connector.connect_timed().await,
        Err(error) => (Err(error), Timings::default()),
    };
    finding.timings = timings;
    let mut socket = match connected {
        Ok(socket) => socket,
        Err(error) => {
            finding.outcome = Err(error);
            return finding;
        }
    };
    finding.peer = Some(socket.peer().to_string());
    finding.certificate_ends_at = socket.certificate_ends_at();
    if let Some(days) = plan.certificate_days
        && let Err(what) = check_certificate(finding.certificate_ends_at, days)
    {
        finding.outcome = Err(Error::new(ErrorKind::Threshold, address.shown(), what));
        return finding;
    }
    if let Some(message) = &plan.send
        && let Err(error) = socket.send(message.clone()).await
    {
        finding.outcome = Err(error);
        return finding;
    }
    // Of a request the answer is what tells whether the server is ready.
    let is_request = matches!(address.base, Base::Http(_));
    if is_request && let Err(error) = socket.finish().await {
        finding.outcome = Err(error);
        return finding;
    }
    let answer = is_request.then(|| address.options.timeout.unwrap_or(ANSWER_TIMEOUT));
    if let Some(bound) = plan.first_byte.or(answer) {
        let bound = left.map_or(bound, |left| left.min(bound));
        let began = Instant::now();
        finding.outcome = match tokio::time::timeout(bound, socket.recv()).await {
            Ok(Ok(Some(_))) => {
                finding.first_byte = Some(began.elapsed());
                Ok(())
            }
            // An answer may have nothing in it.
            Ok(Ok(None)) if is_request => Ok(()),
            Ok(Ok(None)) => {
                let what = "the peer ended before it said anything";
                Err(Error::new(ErrorKind::EndedEarly, address.shown(), what))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let what = format!("no byte came within {} ms", bound.as_millis());
                Err(Error::new(ErrorKind::TimedOut, address.shown(), what)
                    .with_hint("does the peer speak first? --send says something to it"))
            }
        };
    }
    if finding.outcome.is_ok() && !is_request {
        // In good order, but not at any price: who is probed should not count it as a broken connection.
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.close()).await;
    }
    finding
}

/// Whether a certificate lasts for so many days from now.
fn check_certificate(ends_at: Option<i64>, days: u64) -> std::result::Result<(), String> {
    let ends = ends_at.ok_or("when the certificate ends cannot be read")?;
    let left = (ends - unix_now()).div_euclid(86_400);
    match left < i64::try_from(days).unwrap_or(i64::MAX) {
        true => Err(format!("the certificate ends on {}, in {left} days", certificate_date(ends))),
        false => Ok(()),
    }
}

impl Finding {
    fn steps(&self) -> Vec<(&'static str, Duration)> {
        self.timings.steps().chain(self.first_byte.map(|time| ("first byte", time))).collect()
    }

    /// One line for people.
    pub fn to_text(&self) -> String {
        let steps: Vec<String> = self
            .steps()
            .into_iter()
            .map(|(name, time)| format!("{name} {:.2} ms", time.as_secs_f64() * 1e3))
            .collect();
        let mut line = match &self.outcome {
            Ok(()) => format!("ready      {}", self.address),
            Err(error) => format!("not ready  {error}"),
        };
        if !steps.is_empty() {
            line.push_str("  ");
            line.push_str(&steps.join(", "));
        }
        if let Some(ends) = self.certificate_ends_at {
            line.push_str(&format!(", certificate until {}", certificate_date(ends)));
        }
        if self.attempts > 1 {
            line.push_str(&format!(", {} attempts", self.attempts));
        }
        line
    }

    /// One object for programs.
    pub fn to_json(&self) -> Value {
        let steps: serde_json::Map<String, Value> = self
            .steps()
            .into_iter()
            .map(|(name, time)| {
                let milliseconds = (time.as_secs_f64() * 1e6).round() / 1e3;
                (format!("{}_ms", name.replace(' ', "_")), json!(milliseconds))
            })
            .collect();
        let error = self.outcome.as_ref().err();
        json!({
            "address": self.address,
            "ready": error.is_none(),
            "error": error.map(ToString::to_string),
            "exit_code": error.map_or(0, |error| error.kind().exit_code()),
            "steps": steps,
            "peer": self.peer,
            "certificate_ends": self.certificate_ends_at.map(certificate_date),
            "attempts": self.attempts,
        })
    }
}
