//! The server as a whole: listeners, one shard, signals, and the end in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sockeye_gateway::{Asset, Site, form};
use sockeye_hub::{Hub, Identity, Rights, ShardInfo};
use tracing::{info, warn};

use super::guard::Guard;
use super::listen::{ListenError, Listening, listen, listen_passed_tcp, listen_passed_unix};
use super::mio::MioKernel;
use super::service::{Notifier, Passed, PassedError, take_passed};
use super::shard::{Setup, Shard};
use crate::config::{Config, ConfigError, Environment};

/// Why the server cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket that the service manager passed cannot be listened on.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The service manager passed a socket that the configuration does not allow.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gives no readiness, randomness or signals.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
}

/// Runs the server until SIGTERM or SIGINT, and ends it in good order. `announce` is told where it listens, before
/// anything else is said; the service manager of `environment` is told how it goes.
///
/// # Errors
/// See [`ServeError`]. A drain whose time is over is no error.
pub fn serve(
    config: &Config,
    environment: &Environment,
    assets: fn(&str) -> Option<Asset>,
    announce: impl FnOnce(&[String]),
) -> Result<(), ServeError> {
    let descriptors = sockeye_sys::process::raise_descriptor_limit();
    let mut listening = listen_passed(config)?;
    // A passed socket stands for the default address, not for one that somebody wrote.
    if listening.is_empty() || config.listen_written {
        for address in &config.listen {
            listening.extend(listen(address, &config.server)?);
        }
    }
    let is_loopback = socket_addresses(&listening).iter().all(|address| address.ip().is_loopback());
    let signals = Signals::catch()?;
    let socket_addresses = socket_addresses(&listening);
    let addresses: Vec<String> = listening.iter().map(Listening::address).collect();
    announce(&addresses);
    if let Some(address) = socket_addresses.first() {
        let port = address.port();
        info!("open http://localhost:{port}/ or say: curl -d 'hello' http://localhost:{port}/ch/chat");
    }
    match descriptors {
        Ok(limit) if limit < 1_024 => {
            warn!(limit, "few descriptors: at most so many connections, less a few")
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "the limit of descriptors could not be raised"),
    }

    let site = Site {
        server: concat!("sockeye/", env!("CARGO_PKG_VERSION")).into(),
        origins: config.origins.clone(),
        hosts: config.hosts(&socket_addresses),
        anonymous: (!is_loopback).then(|| {
            // Everybody can reach it, and nobody has to say who he is: nobody administers it either.
            Arc::new(Identity { user: None, rights: Arc::new(Rights::open()), expires_ms: None })
        }),
    };
    let hub = Hub::new(
        config.hub.clone(),
        config.all_rules(),
        ShardInfo::single(),
        random()?,
        random()?,
        form::encode,
    );
    let setup = Setup {
        hub,
        site: Arc::new(site),
        limits: config.connection.clone(),
        server_limits: config.server.clone(),
        guard: Arc::new(Guard::new(&config.guard, &config.proxy_protocol_from)),
        assets,
    };
    let mut shard = Shard::new(MioKernel::new(listening)?, setup);
    let mut notifier = Notifier::new(environment);
    notifier.ready();
    let mut alive = Alive::new(&notifier);
    loop {
        shard.turn(alive.wait_max())?;
        alive.tell(&mut notifier);
        if signals.seen() && !shard.is_draining() {
            notifier.stopping(Duration::from_millis(config.server.drain_timeout_ms));
            shard.begin_drain();
        }
        if shard.is_drained() {
            info!("drained");
            return Ok(());
        }
    }
}

/// The sockets that the service manager passed.
fn listen_passed(config: &Config) -> Result<Vec<Listening>, ServeError> {
    let mut listening = Vec::new();
    for passed in take_passed()? {
        listening.push(match passed {
            Passed::Tcp(socket, address) => {
                config.check_passed(address)?;
                listen_passed_tcp(socket, &config.server)?
            }
            Passed::Unix(socket, path) => listen_passed_unix(socket, path),
            Passed::Udp(..) | Passed::UnixDatagram(..) => return Err(PassedError::Datagrams.into()),
        });
    }
    Ok(listening)
}

fn socket_addresses(listening: &[Listening]) -> Vec<SocketAddr> {
    listening.iter().filter_map(Listening::socket_address).collect()
}

/// When the service manager is next told that the loop comes round.
struct Alive {
    interval: Option<Duration>,
    told: Instant,
}

impl Alive {
    fn new(notifier: &Notifier) -> Self {
        Alive { interval: notifier.alive_interval(), told: Instant::now() }
    }

    /// How long the loop may wait for something to do.
    fn wait_max(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.saturating_sub(self.told.elapsed()))
    }

    fn tell(&mut self, notifier: &mut Notifier) {
        if self.wait_max() == Some(Duration::ZERO) {
            self.told = Instant::now();
            notifier.alive();
        }
    }
}

/// Eight bytes of the system's randomness.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

/// SIGTERM and SIGINT. A signal interrupts poll; one that comes just before is seen at the next timer, within a second.
struct Signals {
    seen: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            // In this order: the first signal finds the flag down and raises it, the second finds it up and exits.
            signal_hook::flag::register_conditional_shutdown(signal, ENDED_EARLY, Arc::clone(&seen))?;
            signal_hook::flag::register(signal, Arc::clone(&seen))?;
        }
        Ok(Signals { seen })
    }

    fn seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }
}

/// The exit code after a second signal: not everything was said.
const ENDED_EARLY: i32 = 8;
