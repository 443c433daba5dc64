//! A TCP client, call by call: `cargo run --example tcp_client tcp:127.0.0.1:7000`.

#![expect(clippy::print_stdout, reason = "an example shows what it received")]

use sockeye::net::{Kind, Result, Socket, StreamKind::Tcp};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "tcp:127.0.0.1:7000".into());
    let socket = Socket::new(Kind::Stream(Tcp))?; // socket()
    let mut socket = socket.connect_to(&address).await?; // connect()
    socket.send("hello\n").await?; // send()
    socket.finish().await?; // shutdown(): nothing more is sent, and receiving goes on
    while let Some(message) = socket.recv().await? {
        print!("{}", String::from_utf8_lossy(&message.bytes)); // recv()
    }
    socket.close().await // close()
}
