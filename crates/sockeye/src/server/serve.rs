//! The server as a whole: listeners, one shard, signals, and the end in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sockeye_gateway::{Asset, Site, form};
use sockeye_hub::{Hub, ShardInfo};
use tracing::{info, warn};

use super::listen::{ListenError, Listening, listen};
use super::mio::MioKernel;
use super::shard::{Setup, Shard};
use crate::config::Config;

/// Why the server cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no readiness, randomness or signals.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
}

/// Runs the server until SIGTERM or SIGINT, and ends it in good order. `announce` is told where it listens, before
/// anything else is said.
///
/// # Errors
/// See [`ServeError`]. A drain whose time is over is no error.
pub fn serve(
    config: &Config,
    assets: fn(&str) -> Option<Asset>,
    announce: impl FnOnce(&[String]),
) -> Result<(), ServeError> {
    let descriptors = sockeye_sys::process::raise_descriptor_limit();
    let mut listening = Vec::new();
    for address in &config.listen {
        listening.extend(listen(address, &config.server)?);
    }
    let signals = Signals::catch()?;
    let socket_addresses: Vec<SocketAddr> = listening.iter().filter_map(Listening::socket_address).collect();
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
        system_is_public: config.is_loopback(),
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
        assets,
    };
    let mut shard = Shard::new(MioKernel::new(listening)?, setup);
    loop {
        shard.turn(None)?;
        if signals.seen() {
            shard.begin_drain();
        }
        if shard.is_drained() {
            info!("drained");
            return Ok(());
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
