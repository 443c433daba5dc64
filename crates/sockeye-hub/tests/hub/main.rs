//! The hub's rules as claims, entered by the public door.

mod creation;
mod events;
mod forget;
mod history;
mod key;
mod lag;
mod names;
mod outbox;
mod past;
mod random;
mod reconfigure;
mod rights;
mod shards;
mod subscribe;
mod totals;
mod world;
