//! Sockeye: a real-time server where every kind of socket meets on the same channels, and the toolkit around it.
//!
//! The rooms, from the bottom up: [`address`] (where a socket is) and [`config`] (what the server is told), then
//! [`server`] (the loop) and [`tool`] (clients), then [`cli`] (the commands). Arrows go downward only.

pub mod address;
pub mod cli;
pub mod config;
pub mod console;
pub mod server;
pub mod tool;
