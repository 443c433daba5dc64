//! Sockets of every kind, with one life: the library.
//!
//! [`Socket`] connects, sends, receives, finishes and closes; [`Listener`] accepts; an [`Address`](crate::address::Address)
//! says of which kind. What a kind cannot do, its [`Traits`] say, and asking for it is an error that names it. Everything
//! runs on tokio, which needs its input, output and time enabled.
//!
//! In reading order: `socket` and `listener` are the doors (`polled` is the socket for who polls, `facts` what it tells of itself);
//! `connect` builds the stack of an address; `tcp`, `unix`, `datagram`, `process` and `descriptor` open what is at its bottom;
//! `tls`, `handshake`, `websocket`, `http` and `framed` (with `jsonl`) stand upon a `transport`; `outgoing` is the slot of what is being sent,
//! `closing` how that ends.
//!
//! Deliberately absent: raw and packet sockets, proxies, the server's side of HTTP (the grammar has them, this version refuses them by
//! name), a runtime of its own, and reconnecting, since only the caller knows what must be said again.
//!
//! # Examples
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use sockeye::net::{Listener, Socket};
//!
//! let mut listener = Listener::bind("ws://127.0.0.1:0/live").await?;
//! let server = tokio::spawn(async move {
//!     let (mut socket, _peer) = listener.accept().await?;
//!     while let Some(message) = socket.recv().await? {
//!         socket.send(message).await?;
//!     }
//!     Ok::<(), sockeye::net::Error>(())
//! });
//! # let address = "exec:cat";
//! let mut socket = Socket::connect(address).await?;
//! socket.send("hello").await?;
//! println!("{:?}", socket.recv().await?);
//! socket.close().await?;
//! # server.abort();
//! # Ok::<(), sockeye::net::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod closing;
mod connect;
mod datagram;
pub(crate) mod der;
mod descriptor;
mod error;
mod facts;
mod framed;
mod handshake;
mod http;
pub(crate) mod jsonl;
mod kind;
mod listener;
mod message;
mod option;
mod outgoing;
mod peer;
mod plain;
mod polled;
mod process;
mod resolve;
mod session;
mod setting;
mod socket;
mod split;
mod tcp;
mod timing;
mod tls;
mod transport;
mod unix;
mod untried;
mod websocket;

pub(crate) use connect::needs_tls;
pub use connect::{Connector, Draft, ToAddress};
pub(crate) use der::{date_text as certificate_date, unix_now};
pub use error::{Error, ErrorKind, Result};
pub(crate) use handshake::authority;
pub(crate) use http::{LINE_TIMEOUT, RefusalWords};
pub use kind::{DatagramKind, FramedKind, Kind, StreamKind, Traits};
pub use listener::Listener;
pub use message::{Close, Message, MessageKind};
pub(crate) use option::MESSAGE_BYTES_MAX;
pub use peer::Peer;
pub(crate) use plain::Plain;
pub use socket::Socket;
pub use split::{ReceiveHalf, SendHalf};
pub use timing::Timings;
pub(crate) use tls::{INSECURE, client_config};
