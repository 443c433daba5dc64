//! The server: one loop per shard, on edge-triggered readiness, without a task or a lock per connection.
//!
//! [`Shard`] is the loop, [`Kernel`] what it needs of an operating system, [`serve`] the whole on the real one.

pub mod ciphertext;
pub mod figures;
pub mod guard;
pub mod kernel;
pub mod service;
pub mod stats;
pub mod tls;

mod apart;
mod batch;
mod board;
mod chronicle;
mod crew;
mod datagram_socket;
mod desk;
mod drain;
mod exchange;
mod gather;
mod inbox;
mod letter;
mod listen;
mod mio;
mod peer;
mod post;
mod receive_buffer;
mod serve;
mod shard;
mod socket_file;
mod stamp;
mod steward;
mod timer;
mod token;

pub use board::{Board, Shown};
pub use kernel::Kernel;
pub use letter::{Content, Control, Letter, Stage};
pub use listen::{ListenError, Listening, listen};
pub use serve::{ServeError, serve};
pub use shard::{Setup, Shard};
pub use stamp::Stamps;
pub use steward::{Orders, Reloading};
pub use tls::{Tls, TlsError};
pub(crate) use token::{NO_USER, is_user};
pub use token::{TokenError, Tokens};
