//! `sockeye serve`: the flags of the server.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use sockeye_gateway::DeflateMode;

use super::Failure;
use super::log::{Log, Reader};
use crate::address::Address;
use crate::config::{Environment, Level, Overrides, Shards, Source, parse_bytes};
use crate::server::{self, Reloading, Stamps};

/// Run the server
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye serve                                    loopback, port 7625: open http://localhost:7625/\n  \
    sockeye serve --listen tcp:127.0.0.1:9000 --listen unix:/tmp/sockeye.sock\n  \
    sockeye serve --config sockeye.toml              every key: sockeye check --print\n\n\
    SIGTERM or SIGINT ends it in good order: clients are told when to come back. A second one ends it at once.")]
pub(super) struct Serve {
    /// Listen on ADDRESS: tcp:HOST:PORT (and UDP there), unix:PATH, udp:HOST:PORT or unixgram:PATH; may be given several times [default: tcp:localhost:7625]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<Address>,
    /// Read the configuration from FILE (TOML); flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Allow listening beyond loopback, although nobody has to say who he is
    #[arg(long)]
    open: bool,
    /// Serve with N threads, 1 to 256 [default: one for each core]
    #[arg(long, value_name = "N")]
    shards: Option<Shards>,
    /// Speak TLS with the certificate chain in FILE (PEM), on the same port as plain text
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate that is made at the start, for trying: nobody trusts it
    #[arg(long, conflicts_with = "tls_certificate")]
    self_signed: bool,
    /// The largest payload, such as 16MiB [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    message_bytes_max: Option<usize>,
    /// Compress WebSocket messages once for all their readers, for each connection, or not [default: shared]
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(DeflateMode::ALL.map(DeflateMode::as_str)).try_map(|name| name.parse::<DeflateMode>()))]
    deflate: Option<DeflateMode>,
    /// Write the log as JSON, one object a line; the first lists the addresses listened on
    #[arg(long)]
    json: bool,
    /// How much to log; debug tells of every connection
    #[arg(long, value_name = "LEVEL", value_parser = PossibleValuesParser::new(Level::ALL.map(Level::as_str)).try_map(|name| name.parse::<Level>()))]
    log: Option<Level>,
}

fn parse_size(text: &str) -> Result<usize, String> {
    match parse_bytes(text)? {
        0 => Err("must be more than 0".into()),
        bytes => Ok(bytes),
    }
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let environment = Environment::read();
        let reader = Reader::find(self.json, environment.journal_stream);
        self.serve(&environment, reader).map_err(|failure| failure.to(reader))
    }

    fn serve(self, environment: &Environment, reader: Reader) -> Result<(), Failure> {
        let overrides = Overrides {
            listen: self.listen,
            open: self.open,
            shards: self.shards,
            message_bytes_max: self.message_bytes_max,
            deflate: self.deflate,
            log: self.log,
            tls_certificate: self.tls_certificate,
            tls_key: self.tls_key,
            self_signed: self.self_signed,
        };
        let source = Source::new(self.config, overrides);
        let read = Stamps::look(source.path());
        let config = source.load()?;
        let log = Log::begin(config.log, reader);
        let announce = |addresses: &[String], shards: u16| log.announce(addresses, shards);
        let reloading = Reloading { source: &source, read, set_level: &|level| log.set_level(level) };
        Ok(server::serve(&config, environment, &reloading, crate::console::asset, announce)?)
    }
}
