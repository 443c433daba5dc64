//! A TCP server in the five classical steps: `cargo run --example tcp_server`.

use sockeye::net::{Kind, Result, Socket, StreamKind::Tcp};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "tcp:127.0.0.1:7000".into());
    let socket = Socket::new(Kind::Stream(Tcp))?; // socket()
    let socket = socket.bind(&address)?; // bind()
    let mut listener = socket.listen().await?; // listen()
    eprintln!("listening on {}", listener.address());
    loop {
        let (mut connection, peer) = listener.accept().await?; // accept()
        tokio::spawn(async move {
            eprintln!("{peer} came");
            while let Some(message) = connection.recv().await? {
                connection.send(message).await?; // send(), recv()
            }
            eprintln!("{peer} ended");
            connection.close().await // close()
        });
    }
}
