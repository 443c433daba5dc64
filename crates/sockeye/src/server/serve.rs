//! The server as a whole: listeners, shards, signals, and the end in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::Poll;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use sockeye_gateway::{Asset, CookieKey, Site, TokenCheck, form};
use sockeye_hub::{Hub, Identity, Rights, ShardInfo};
use tracing::{info, warn};

use super::board::Board;
use super::crew::{Crew, end_on_panic};
use super::datagram_socket::{DatagramSocket, Sockets, open};
use super::guard::Guard;
use super::inbox::Inboxes;
use super::letter::Control;
use super::listen::{ListenError, Listening, is_link_local, listen_passed_tcp, listen_passed_unix};
use super::mio::MioKernel;
use super::service::{Notifier, Passed, PassedError, take_passed};
use super::shard::{Setup, Shard};
use super::steward::{Reloading, Steward};
use super::tls::{Door, Tls, TlsError};
use super::token::{TokenError, Tokens};
use crate::config::{Config, ConfigError, Environment, TlsMode};

/// Why the server cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Tokens cannot be checked.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A socket that the service manager passed cannot be listened on.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The service manager passed a socket that the configuration does not allow.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no readiness, randomness or signals.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
}

/// Runs the server until SIGTERM or SIGINT, and ends it in good order. `announce` is told where it listens, once every
/// file was read and every socket is open, and before anything else is said; the service manager of `environment` is told
/// how it goes.
///
/// # Errors
/// See [`ServeError`]. A drain whose time is over is no error.
pub fn serve(
    config: &Config,
    environment: &Environment,
    reloading: &Reloading<'_>,
    assets: fn(&str) -> Option<Asset>,
    announce: impl FnOnce(&[String], u16),
) -> Result<(), ServeError> {
    end_on_panic();
    let shards = config.shards.count();
    let tls = match config.tls.is_on() {
        true => Some(Tls::load(&config.tls, &config.names)?),
        false => None,
    };
    let tokens = match config.auth.is_configured() {
        true => Some(Tokens::load(&config.auth)?),
        false => None,
    };
    let descriptors = sockeye_sys::process::raise_descriptor_limit();
    let (mut listening, mut datagram_sockets) = listen_passed(config)?;
    // A passed socket stands for the default address, not for one that somebody wrote.
    if listening.is_empty() && datagram_sockets.is_empty() || config.listen_written {
        let mut passed = addresses(&listening, &datagram_sockets);
        passed.extend(listening.iter().filter_map(Listening::address_of_both_families));
        passed.extend(datagram_sockets.iter().filter_map(DatagramSocket::address_of_both_families));
        for address in &config.listen {
            let (streams, datagrams) = open(address, &passed, config, shards)?;
            listening.extend(streams);
            datagram_sockets.extend(datagrams);
        }
    }
    let datagram_addresses = datagram_sockets.iter().filter_map(DatagramSocket::socket_address);
    let is_loopback = socket_addresses(&listening)
        .into_iter()
        .chain(datagram_addresses)
        .all(|address| address.ip().is_loopback());
    let signals = catch_signals()?;
    let socket_addresses = socket_addresses(&listening);
    let addresses = addresses(&listening, &datagram_sockets);
    let listeners = share_out((listening, datagram_sockets), shards, config)?;
    announce(&addresses, shards);
    if let Some(url) = own_url(&socket_addresses, config.tls.mode == TlsMode::Required) {
        info!("open {url}/ or say: curl -d 'hello' {url}/ch/chat");
    }
    match descriptors {
        Ok(limit) if limit < 1_024 => {
            warn!(limit, "few descriptors: at most so many connections, less a few")
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "the limit of descriptors could not be raised"),
    }

    if let Some(tls) = &tls {
        tls.tell();
        tls.watch()?;
    }
    if let Some(tokens) = &tokens {
        tokens.watch()?;
    }
    let anonymous = (!is_loopback).then(|| {
        // Everybody can reach it, and nobody has to say who he is: nobody administers it either.
        Arc::new(Identity {
            user: None,
            rights: Arc::new(Rights::open()),
            expires_ms: None,
            credential: None,
        })
    });
    let site = |config: &Config| Site {
        tokens: tokens.clone().map(|tokens| tokens as Arc<dyn TokenCheck>),
        server: concat!("sockeye/", env!("CARGO_PKG_VERSION")).into(),
        origins: config.origins.clone(),
        hosts: config.hosts(&socket_addresses),
        anonymous: anonymous.clone(),
        requires_tls: config.tls.mode == TlsMode::Required,
    };
    let makings = Makings {
        config,
        site: Arc::new(site(config)),
        guard: Arc::new(Guard::new(&config.guard, &config.proxy_protocol_from)),
        board: Board::new(shards),
        hash_key: random()?,
        cookie_key: CookieKey::new(random()?, random()?),
        shards,
        assets,
        tls,
    };
    let polls: Vec<Poll> = (0..shards).map(|_| Poll::new()).collect::<io::Result<_>>()?;
    let crew = Crew::new(Inboxes::new(&polls, &config.server)?);
    let mut notifier = Notifier::new(environment);
    notifier.ready();
    let mut alive = Alive::new(&notifier);
    let notifier = Mutex::new(notifier);
    let mut is_stopping = false;
    let after_turn = |shard: &Shard<MioKernel>| {
        alive.tell(&notifier, &crew);
        if shard.is_leaving() && !is_stopping {
            is_stopping = true;
            lock(&notifier).stopping(Duration::from_millis(shard.drain_ms()));
        }
        alive.wait_max()
    };
    let tell = |orders| {
        crew.inboxes.tell_all(&Control::Reload(orders));
        usize::from(shards)
    };
    let steward = Steward {
        reloading,
        config: config.clone(),
        board: &makings.board,
        notifier: &notifier,
        guard: Arc::clone(&makings.guard),
        tls: makings.tls.clone(),
        tokens: tokens.clone(),
        site: &site,
        tell: &tell,
    };
    let places = polls.into_iter().zip(listeners).collect();
    run(&crew, &makings, places, (signals, steward), after_turn)?;
    info!("drained");
    Ok(())
}

/// Runs all threads, until the last of them has ended.
fn run(
    crew: &Crew,
    makings: &Makings<'_>,
    places: Vec<(Poll, Sockets)>,
    (mut signals, steward): (Signals, Steward<'_>),
    after_turn: impl FnMut(&Shard<MioKernel>) -> Option<Duration>,
) -> io::Result<()> {
    let handle = signals.handle();
    let mut places = (0u16..).zip(places);
    thread::scope(|scope| {
        let spawn_all = || {
            let (_, (poll, listening)) = places.next().expect("there is at least one shard");
            let mut others = Vec::new();
            for (index, (poll, listening)) in places {
                let run = move || crew.run(index, || makings.make(crew, index, poll, listening), |_| None);
                others.push(thread::Builder::new().name(format!("shard-{index}")).spawn_scoped(scope, run)?);
            }
            // It ends when the thread of signals does.
            let (ask, asked) = channel();
            thread::Builder::new().name("steward".into()).spawn_scoped(scope, move || steward.run(&asked))?;
            let pass_on = move || {
                for signal in signals.forever() {
                    match signal {
                        // It fails only when the steward has ended, and then so does the server.
                        SIGHUP => drop(ask.send(())),
                        _ => crew.inboxes.tell_all(&Control::Drain),
                    }
                }
            };
            thread::Builder::new().name("signals".into()).spawn_scoped(scope, pass_on)?;
            Ok((poll, listening, others))
        };
        let spawned: io::Result<_> = spawn_all();
        let result = spawned.and_then(|(poll, listening, others)| {
            let own = crew.run(0, || makings.make(crew, 0, poll, listening), after_turn);
            let joined = others.into_iter().map(|thread| thread.join().expect("a panic ends the process"));
            joined.fold(own, io::Result::and)
        });
        if result.is_err() {
            crew.inboxes.tell_all(&Control::End);
        }
        handle.close();
        result
    })
}

/// What every shard is made of.
struct Makings<'a> {
    config: &'a Config,
    site: Arc<Site>,
    guard: Arc<Guard>,
    board: Arc<Board>,
    /// The same for all: it decides which shard is a channel's home.
    hash_key: u64,
    /// The same for all: a peer may come to another shard with its next socket.
    cookie_key: CookieKey,
    shards: u16,
    assets: fn(&str) -> Option<Asset>,
    tls: Option<Arc<Tls>>,
}

impl Makings<'_> {
    fn make(&self, crew: &Crew, index: u16, poll: Poll, sockets: Sockets) -> io::Result<Shard<MioKernel>> {
        let hub = Hub::new(
            self.config.hub.part_of(self.shards),
            self.config.all_rules(),
            ShardInfo { index, count: self.shards },
            random()?,
            self.hash_key,
            form::encoder(self.config.connection.deflate_bytes_min),
        );
        let setup = Setup {
            hub,
            site: Arc::clone(&self.site),
            limits: self.config.connection.clone(),
            server_limits: self.config.server.clone(),
            guard: Arc::clone(&self.guard),
            cookie_key: self.cookie_key,
            board: Arc::clone(&self.board),
            assets: self.assets,
            tls: self.tls.clone(),
        };
        let datagram_bytes_max = self.config.server.datagram_bytes_max;
        let inboxes = Arc::clone(&crew.inboxes);
        let reserve = Arc::clone(&crew.reserve);
        let turn_max = self.config.server.handshakes_per_turn_max;
        let door = self.tls.as_ref().map(|tls| Door::new(Arc::clone(tls), turn_max));
        let mut kernel =
            MioKernel::new(poll, sockets, datagram_bytes_max, (index, inboxes), reserve, door, crew.started)?;
        if self.config.io_uring {
            kernel.open_ring();
        }
        Ok(Shard::new(kernel, setup))
    }
}

/// Gives every shard its listeners: those of the first, and for the others the same again where that can be.
fn share_out(first: Sockets, shards: u16, config: &Config) -> io::Result<Vec<Sockets>> {
    let mut all = Vec::new();
    for _ in 1..shards {
        let streams = first.0.iter().map(|listening| listening.of_another_shard(&config.server));
        let streams = streams.filter_map(Result::transpose).collect::<io::Result<_>>()?;
        let datagrams = first.1.iter().map(|socket| socket.of_another_shard(&config.server));
        all.push((streams, datagrams.filter_map(Result::transpose).collect::<io::Result<_>>()?));
    }
    all.insert(0, first);
    Ok(all)
}

/// The sockets that the service manager passed.
fn listen_passed(config: &Config) -> Result<Sockets, ServeError> {
    let (mut listening, mut datagram_sockets) = (Vec::new(), Vec::new());
    for passed in take_passed()? {
        match passed {
            Passed::Tcp(socket, address) => {
                config.check_passed(address)?;
                listening.push(listen_passed_tcp(socket, &config.server)?);
            }
            Passed::Unix(socket, path) => listening.push(listen_passed_unix(socket, path)),
            Passed::Udp(socket, address) => {
                config.check_passed(address)?;
                datagram_sockets.push(DatagramSocket::passed_udp(socket, &config.server)?);
            }
            Passed::UnixDatagram(socket, path) => {
                datagram_sockets.push(DatagramSocket::passed_unix(socket, path, &config.server)?);
            }
        }
    }
    Ok((listening, datagram_sockets))
}

fn addresses(listening: &[Listening], datagram_sockets: &[DatagramSocket]) -> Vec<String> {
    let listening = listening.iter().map(Listening::address);
    listening.chain(datagram_sockets.iter().map(DatagramSocket::address)).collect()
}

fn socket_addresses(listening: &[Listening]) -> Vec<SocketAddr> {
    listening.iter().filter_map(Listening::socket_address).collect()
}

fn lock(notifier: &Mutex<Notifier>) -> MutexGuard<'_, Notifier> {
    notifier.lock().unwrap_or_else(PoisonError::into_inner)
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
        // While another shard does not come round, this one looks again and again, though not without a pause.
        let pause = Duration::from_millis(10);
        self.interval.map(|interval| interval.saturating_sub(self.told.elapsed()).max(pause))
    }

    fn tell(&mut self, notifier: &Mutex<Notifier>, crew: &Crew) {
        let is_due = self.interval.is_some_and(|interval| self.told.elapsed() >= interval);
        if is_due && crew.is_alive() {
            self.told = Instant::now();
            lock(notifier).alive();
        }
    }
}

/// Eight bytes of the system's randomness.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

/// SIGTERM and SIGINT: the first is told to all shards, a second one ends the process. SIGHUP asks for the configuration to
/// be read again.
fn catch_signals() -> io::Result<Signals> {
    let ending = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT];
    let seen = Arc::new(AtomicBool::new(false));
    for signal in ending {
        // In this order: the first signal finds the flag down and raises it, the second finds it up and exits.
        signal_hook::flag::register_conditional_shutdown(signal, ENDED_EARLY, Arc::clone(&seen))?;
        signal_hook::flag::register(signal, Arc::clone(&seen))?;
    }
    Signals::new(ending.into_iter().chain([SIGHUP]))
}

/// The exit code after a second signal: not everything was said.
const ENDED_EARLY: i32 = 8;

/// Where somebody at this machine opens the page. A browser reaches no link-local address.
fn own_url(addresses: &[SocketAddr], is_tls_required: bool) -> Option<String> {
    let scheme = if is_tls_required { "https" } else { "http" };
    let is_local = |address: &&SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    if let Some(local) = addresses.iter().find(is_local) {
        return Some(format!("{scheme}://localhost:{}", local.port()));
    }
    let address = addresses.iter().find(|address| !is_link_local(address.ip()))?;
    Some(format!("{scheme}://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_the_server_listens() {
        let url = |addresses: &[&str], is_tls_required| {
            let addresses = addresses.iter().map(|address| address.parse().expect("an address"));
            own_url(&addresses.collect::<Vec<_>>(), is_tls_required)
        };

        assert_eq!(url(&["127.0.0.1:1", "[::1]:1"], false).as_deref(), Some("http://localhost:1"));
        assert_eq!(url(&["192.0.2.1:2", "0.0.0.0:1"], false).as_deref(), Some("http://localhost:1"));
        assert_eq!(url(&["[2001:db8::1]:2"], true).as_deref(), Some("https://[2001:db8::1]:2"));
        assert_eq!(url(&["[fe80::1]:2", "192.0.2.1:3"], false).as_deref(), Some("http://192.0.2.1:3"));
        assert_eq!(url(&["[fe80::1]:2"], false), None);
        assert_eq!(url(&[], false), None);
    }
}
