//! Where pairs come from: connections that are accepted, and those that are opened for them.
//!
//! A connection that cannot be joined is told of and closed; it ends the relay only where it is the only one.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::carry::carry;
use super::rules::{End, Shared};
use super::{Joined, Pair, Relay, ended};
use crate::address::{Address, Role, Shape};
use crate::config::holds;
use crate::net::{Connector, Error, ErrorKind, Listener, Peer, Result, Socket};

/// Connections that wait for their other side at once. Above it nobody is accepted until one of them is through.
const OPENING_MAX: usize = 1_024;
/// The first pause before connecting again, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Descriptors that are no connection: standard streams, listeners, copies.
const DESCRIPTORS_SPARE: u64 = 64;
/// What the kernel holds for datagrams that come faster than they can be passed on, unless the address says otherwise. A
/// kernel that allows less gives what it allows.
const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;
/// How long the end of a relay waits for its pairs to say goodbye.
const GOODBYE: Duration = Duration::from_secs(6);

/// Connects both sides once, and joins them.
pub(super) async fn one_pair(plan: &Relay, shared: &Arc<Shared>) -> Result<()> {
    let opening = async {
        let left = dial(plan, &plan.left.address, None, shared).await?;
        let right = dial(plan, &plan.right.address, Some(left.peer()), shared).await?;
        Ok::<Pair, Error>(Pair::new(left, right, shared, None))
    };
    let mut stop = shared.stop.clone();
    let pair = tokio::select! {
        pair = opening => pair?,
        _ = stop.wait_for(|stop| *stop) => return stopped(shared),
    };
    run_alone(pair, shared).await
}

/// Runs the only pair, whose end is the relay's.
async fn run_alone(pair: Pair, shared: &Arc<Shared>) -> Result<()> {
    let (mut stop, is_plain) = (shared.stop.clone(), pair.is_plain());
    let outcome = tokio::select! {
        outcome = run(pair, Arc::clone(shared)) => outcome,
        // What is carried hears of it by itself, and says goodbye.
        _ = stop.wait_for(|stop| *stop), if is_plain => return stopped(shared),
    };
    if *shared.stop.borrow() { stopped(shared) } else { outcome }
}

fn stopped(shared: &Shared) -> Result<()> {
    Err(Error::new(ErrorKind::EndedEarly, &shared.left, "stopped by a signal before both sides had ended"))
}

/// Accepts until it is told to end, or the first pair has ended where one is wanted.
pub(super) async fn pairs(plan: &Relay, shared: &Arc<Shared>) -> Result<()> {
    let (near, far) = match plan.left.role {
        Role::Listen => (End::Left, &plan.right),
        Role::Connect => (End::Right, &plan.left),
    };
    let near_address = if near == End::Left { &plan.left.address } else { &plan.right.address };
    let mut listener = bind(near_address).await?;
    let mut second = match far.role {
        Role::Listen => Some(bind(&far.address).await?),
        Role::Connect => None,
    };
    announce(&listener, near_address, shared);
    if let Some(second) = &second {
        announce(second, &far.address, shared);
    }
    let plan = Arc::new(plan.clone());
    let places = Arc::new(Semaphore::new(plan.pairs_max.min(descriptors_max() / 2).max(1)));
    let mut stop = shared.stop.clone();
    let mut opening: JoinSet<Result<Pair>> = JoinSet::new();
    let mut running: JoinSet<()> = JoinSet::new();
    let mut plain: JoinSet<()> = JoinSet::new();
    loop {
        let is_open = opening.len() < OPENING_MAX;
        let (socket, peer, permit) = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(opened) = opening.join_next() => {
                if let Ok(Ok(pair)) = opened {
                    let is_plain = pair.is_plain();
                    let task = run(pair, Arc::clone(shared));
                    let set = if is_plain { &mut plain } else { &mut running };
                    set.spawn(async move { let _ = task.await; });
                }
                continue;
            }
            Some(_) = running.join_next() => continue,
            Some(_) = plain.join_next() => continue,
            accepted = accept(&mut listener, &places), if is_open => accepted?,
        };
        if !admits(&plan, &peer) {
            let words = format!("{peer} denied");
            shared.voice.tell(Some(words), || json!({ "event": "denied", "peer": peer.to_string() }));
            continue;
        }
        let other = match &mut second {
            Some(second) => tokio::select! {
                accepted = second.accept() => Some(accepted?.0),
                _ = stop.wait_for(|stop| *stop) => break,
            },
            None => None,
        };
        let (plan, inner) = (Arc::clone(&plan), Arc::clone(shared));
        let once = plan.once;
        let open = open(plan, socket, peer, other, near, inner, permit);
        if once {
            let pair = tokio::select! {
                pair = open => pair?,
                _ = stop.wait_for(|stop| *stop) => return stopped(shared),
            };
            return run_alone(pair, shared).await;
        }
        opening.spawn(open);
    }
    // Nobody new is heard; whoever can be told goodbye is.
    drop((listener, second));
    opening.shutdown().await;
    plain.shutdown().await;
    let _ = timeout(GOODBYE, async { while running.join_next().await.is_some() {} }).await;
    running.shutdown().await;
    Ok(())
}

async fn bind(address: &Address) -> Result<Listener> {
    Listener::bind(prepared(address)).await.map_err(|error| error.about(address.shown()))
}

/// Waits for a place, and for somebody to take it.
async fn accept(
    listener: &mut Listener,
    places: &Arc<Semaphore>,
) -> Result<(Socket, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(places).acquire_owned().await.expect("it is never closed");
    let (socket, peer) = listener.accept().await?;
    Ok((socket, peer, permit))
}

/// Opens the other side of a connection that came.
async fn open(
    plan: Arc<Relay>,
    socket: Socket,
    peer: Peer,
    other: Option<Socket>,
    near: End,
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
) -> Result<Pair> {
    let address = if near == End::Left { &plan.right.address } else { &plan.left.address };
    let other = match other {
        Some(other) => other,
        None => match dial(&plan, address, Some(&peer), &shared).await {
            Ok(other) => other,
            Err(error) => {
                shared.figures.failed.fetch_add(1, Ordering::Relaxed);
                let words = format!("{peer} is not relayed: {error}");
                shared.voice.tell(
                    Some(words),
                    || json!({ "event": "failed", "peer": peer.to_string(), "error": error.to_string() }),
                );
                return Err(error);
            }
        },
    };
    let (left, right) = if near == End::Left { (socket, other) } else { (other, socket) };
    Ok(Pair::new(left, right, &shared, Some(permit)))
}

/// Connects, again if that is wanted and may help.
async fn dial(plan: &Relay, address: &Address, peer: Option<&Peer>, shared: &Shared) -> Result<Socket> {
    let until = plan.retry.map(|retry| Instant::now() + retry);
    let mut pause = PAUSE_MIN;
    loop {
        let mut connector = Connector::new(prepared(address))?.named(address.shown());
        if let Some(peer) = peer {
            connector = connector.environment("SOCKEYE_PEER", peer.to_string());
        }
        let error = match Box::pin(connector.connect()).await {
            Err(error) if is_passing(error.kind()) => error,
            outcome => return outcome,
        };
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(error);
        }
        // A random part keeps many from coming back at once.
        let wait = pause.mul_f64(0.5 + 0.5 * crate::tool::connect::fraction()).min(left);
        let words = format!("{error}; trying again in {} ms", wait.as_millis());
        shared.voice.tell(Some(words), || json!({ "event": "retry", "error": error.to_string() }));
        sleep(wait).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// With room in the kernel for datagrams, unless the address says how much.
fn prepared(address: &Address) -> Address {
    let mut address = address.clone();
    if address.shape() == Shape::Datagram
        && address.options_known().any(|(name, ..)| name == "receive-buffer")
    {
        address.options.receive_buffer.get_or_insert(DATAGRAM_BUFFER_BYTES);
    }
    address
}

/// Whether it may be well the next time.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::EndedEarly | ErrorKind::NameNotFound
    )
}

/// Moves what comes until the pair has ended.
async fn run(pair: Pair, shared: Arc<Shared>) -> Result<()> {
    let Pair { joined, number, _permit } = pair;
    match joined {
        Joined::Plain(mut plain) => {
            let outcome = poll_fn(|cx| plain.poll(cx)).await;
            ended(&shared, number, plain.tally(), outcome)
        }
        Joined::Carried(sockets) => {
            let (left, right) = *sockets;
            let (outcome, tally) = Box::pin(carry(left, right, &shared, number)).await;
            ended(&shared, number, tally, outcome)
        }
    }
}

fn admits(plan: &Relay, peer: &Peer) -> bool {
    let ip: Option<IpAddr> = peer.ip().map(|address| address.ip().to_canonical());
    (plan.allow.is_empty() || holds(&plan.allow, ip)) && !holds(&plan.deny, ip)
}

/// Where it listens: who started it may need the port.
fn announce(listener: &Listener, asked: &Address, shared: &Shared) {
    // What was not asked for is not shown.
    let mut address = listener.address().clone();
    address.options.clone_from(&asked.options);
    let address = address.shown();
    shared.voice.tell(Some(format!("listening on {address}")), || {
        let locals: Vec<String> = listener.locals().iter().map(ToString::to_string).collect();
        json!({ "event": "listening", "address": address, "locals": locals })
    });
}

/// How many descriptors there can be for connections, after asking for as many as the system allows.
fn descriptors_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(current.saturating_sub(DESCRIPTORS_SPARE)).unwrap_or(usize::MAX)
}
