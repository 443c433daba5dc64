//! A WebSocket server that answers every message: `cargo run --example websocket_server`.
//!
//! With a certificate, the same program is a server for `wss:`; give the address
//! `wss://localhost:7000/live#cert=cert.pem&key=key.pem`.

use sockeye::net::{Listener, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:7000/live".into());
    let mut listener = Listener::bind(&address).await?;
    eprintln!("listening on {}", listener.address());
    loop {
        let (mut socket, peer) = listener.accept().await?;
        tokio::spawn(async move {
            while let Some(message) = socket.recv().await? {
                // Text stays text, and bytes stay bytes.
                socket.send(message).await?;
            }
            eprintln!("{peer} closed: {:?}", socket.closed());
            Result::Ok(())
        });
    }
}
