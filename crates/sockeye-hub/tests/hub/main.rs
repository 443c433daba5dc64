//! The hub's rules as claims, entered by the public door.

mod subscribe;
mod world;
