//! The toolkit's commands from outside: the real binary, and peers that are plain sockets of the standard library.
//!
//! One test binary, so that it is linked once. `world.rs` runs the commands. Absent: fixed ports, sleeps, and foreign
//! programs, which `cargo xtask peers` drives.

// Helpers are tests too: they may unwrap.
#![cfg(test)]

mod connect;
mod contracts;
mod http;
mod listen;
mod manual;
mod probe;
mod relay;
mod websocket;
mod world;
