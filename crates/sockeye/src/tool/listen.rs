//! Listening, and joining each peer with standard input and output, with itself, or with a command.

use std::future::pending;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::{JoinSet, LocalSet};

use super::bridge::{Ours, Rules, bridge};
use super::run::notice;
use super::tell;
use crate::address::{Address, Base};
use crate::config::{Network, holds};
use crate::net::{Connector, Listener, Peer, Result, Socket};

/// What `listen` does.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// With what each peer is joined.
    pub with: With,
    /// Go on after the first peer.
    pub keep: bool,
    /// How many peers at once; further ones wait until one has ended.
    pub peers_max: usize,
    /// Only these peers; everybody if it is empty.
    pub allow: Vec<Network>,
    /// Not these peers.
    pub deny: Vec<Network>,
    /// How the two are joined.
    pub rules: Rules,
    /// Tell of peers as JSON.
    pub json: bool,
}

/// With what a peer is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    /// Standard input and output: one peer after the other.
    Standard,
    /// Itself: everything comes back.
    Echo,
    /// A command of its own, by an `exec:` or `sh:` address.
    Command(Address),
}

/// Listens until the first peer has ended, or for ever.
///
/// # Errors
/// When listening fails, or the one peer's connection does.
pub async fn listen(plan: &Listen) -> Result<()> {
    let mut listener = Listener::bind(&plan.address).await?;
    announce(plan, &listener);
    // With the port that the system chose.
    let plan = Rc::new(Listen { address: listener.address().clone(), ..plan.clone() });
    // Peers do not move between threads: there is one.
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut peers: JoinSet<(Peer, Result<()>)> = JoinSet::new();
            let mut ours = None;
            loop {
                // Who wants one peer lets nobody else in.
                let room = if plan.keep { plan.peers_max } else { 1 };
                let (socket, peer) = tokio::select! {
                    accepted = listener.accept(), if peers.len() < room => accepted?,
                    Some(ended) = peers.join_next() => {
                        if let Ok((peer, outcome)) = ended {
                            tell_end(&plan, &peer, &outcome);
                            if !plan.keep {
                                return outcome;
                            }
                        }
                        continue;
                    }
                };
                if !admits(&plan, &peer) {
                    tell_peer(&plan, &peer, "denied", None);
                    continue;
                }
                tell_peer(&plan, &peer, "came", None);
                if plan.with == With::Standard {
                    let ours = match &mut ours {
                        Some(ours) => ours,
                        none => none.insert(Ours::new(
                            Socket::connect(Address::new(Base::Standard)).await?,
                            &plan.rules,
                        )),
                    };
                    let (outcome, _) = bridge(ours, socket, &plan.rules, pending()).await;
                    tell_end(&plan, &peer, &outcome);
                    if !plan.keep {
                        return outcome;
                    }
                    continue;
                }
                let plan = Rc::clone(&plan);
                peers.spawn_local(async move {
                    let outcome = serve(&plan, socket, &peer).await;
                    (peer, outcome)
                });
            }
        })
        .await
}

/// Serves one peer by itself or by a command.
async fn serve(plan: &Listen, mut socket: Socket, peer: &Peer) -> Result<()> {
    let With::Command(command) = &plan.with else {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        return socket.close().await;
    };
    let child = Connector::new(command)?
        .environment("SOCKEYE_PEER", peer.to_string())
        .environment("SOCKEYE_LOCAL", socket.local().to_string())
        .environment("SOCKEYE_ADDRESS", plan.address.shown())
        .connect()
        .await?;
    let mut ours = Ours::new(child, &plan.rules);
    let (outcome, _) = bridge(&mut ours, socket, &plan.rules, pending()).await;
    let status = ours.into_socket().wait().await?;
    if let Some(status) = status.filter(|status| !status.success()) {
        notice(plan.json, "command", format_args!("{peer}: the command ended with {status}"));
    }
    outcome
}

fn admits(plan: &Listen, peer: &Peer) -> bool {
    let ip: Option<IpAddr> = peer.ip().map(|address| address.ip().to_canonical());
    (plan.allow.is_empty() || holds(&plan.allow, ip)) && !holds(&plan.deny, ip)
}

/// Where it listens: who started it may need the port.
fn announce(plan: &Listen, listener: &Listener) {
    if plan.json {
        let locals: Vec<String> = listener.locals().iter().map(ToString::to_string).collect();
        super::run::tell_json(&serde_json::json!({
            "event": "listening", "address": listener.address().shown(), "locals": locals,
        }));
    } else {
        tell(format_args!("listening on {}", listener.address().shown()));
    }
}

fn tell_peer(plan: &Listen, peer: &Peer, event: &str, error: Option<String>) {
    if plan.json {
        let peer = peer.to_string();
        super::run::tell_json(&serde_json::json!({ "event": event, "peer": peer, "error": error }));
    } else if plan.keep || event == "denied" {
        match error {
            Some(error) => tell(format_args!("{peer} {event}: {error}")),
            None => tell(format_args!("{peer} {event}")),
        }
    }
}

fn tell_end(plan: &Listen, peer: &Peer, outcome: &Result<()>) {
    tell_peer(plan, peer, "ended", outcome.as_ref().err().map(ToString::to_string));
}
