//! A deterministic world for the server: the real loop, gateway and hub on a network, clients, faults and a clock that
//! a seed decides, and a model that judges what every client was told.
//!
//! Reading order: [`plan`] (what a seed decides), [`kernel`] (sockets and edges), [`ear`] and [`client`] (who listens),
//! `whim` (what they ask for), [`model`] and [`raw`] (what they must have heard), [`world`] (all of it together).
//!
//! Deliberately absent: threads and the real time. The same seed gives the same run, so a failure is a number.
#![allow(clippy::print_stdout)]

pub mod client;
pub mod coverage;
pub mod dice;
pub mod ear;
pub mod guest;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod raw;
pub mod run;
pub mod watch;
pub mod world;

mod whim;
