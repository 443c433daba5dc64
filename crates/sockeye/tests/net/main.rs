//! The library's sockets from outside: one life for every kind, dropped futures, and what each kind has of its own.
//!
//! Deliberately absent: the network. Every socket is on loopback or in a folder of its own.

mod cancel;
mod hostile;
mod http;
mod kinds;
mod life;
mod world;
