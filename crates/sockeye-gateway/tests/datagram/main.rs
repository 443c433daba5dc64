//! The datagram machine through its public door.

mod no_pages;
mod world;

mod amplification;
mod session;
