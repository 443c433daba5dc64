//! A WebSocket client that reads and writes at once: `cargo run --example websocket_client ws://127.0.0.1:7000/live`.

#![expect(clippy::print_stdout, reason = "an example shows what it received")]

use sockeye::net::{MessageKind, Result, Socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:7000/live".into());
    let (mut receive, mut send) = Socket::connect(&address).await?.split();
    let reading = tokio::spawn(async move {
        while let Some(message) = receive.recv().await? {
            match message.kind {
                MessageKind::Text => println!("text: {}", String::from_utf8_lossy(&message.bytes)),
                _ => println!("{} bytes", message.bytes.len()),
            }
        }
        println!("closed: {:?}", receive.closed());
        Result::Ok(())
    });
    send.send("hello").await?;
    send.send(vec![0, 1, 2]).await?;
    send.finish().await?;
    reading.await.expect("the task does not panic")
}
