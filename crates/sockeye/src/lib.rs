//! Sockeye: a real-time server where every kind of socket meets on the same channels, and the toolkit around it.
//!
//! Who writes a program with sockets looks at [`net`]: one life for every kind of them.
//!
//! The rooms, from the bottom up: [`address`] (where a socket is), [`config`] (what the server is told) and [`net`] (sockets on
//! tokio), then [`server`] (the loop) and [`tool`] (clients), then [`cli`] (the commands). Arrows go downward only.

pub mod address;
pub mod cli;
pub mod config;
pub mod console;
pub mod net;
pub mod server;
pub mod tool;
