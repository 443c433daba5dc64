//! The real binary from outside: every promise of the protocol's documents, kept by a server that was started for it.
//!
//! One test binary, so that it is linked once: each module is one side of the server. `world.rs` starts servers and
//! fails the test when their log tells of a bug; `client.rs` and `http_client.rs` are deliberately simple clients.
//! Absent: fixed ports, sleeps, and anything of the server's own code beside its codecs.

// Helpers are tests too: they may unwrap.
#![cfg(test)]

mod batch;
mod certificates;
mod client;
mod command;
mod datagram;
mod datagram_limits;
mod deflate;
mod gram;
mod hostile;
mod http;
mod http_client;
mod life;
mod limits;
mod metrics;
mod origin;
mod proxied;
mod publisher;
mod raw;
mod reload;
mod reload_under_load;
mod rights;
mod service;
mod shards;
mod slow;
mod system;
mod tls;
mod tokens;
mod transcript;
mod transcripts;
mod user_limits;
mod websocket;
mod world;
mod zone;
