//! The datagram machine through its public door.

mod world;

mod amplification;
mod session;
