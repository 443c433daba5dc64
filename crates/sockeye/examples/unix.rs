//! Unix-domain sockets: a stream by its path, and datagrams by an abstract name.

#![expect(clippy::print_stdout, reason = "an example shows what it received")]

use sockeye::net::{Listener, Result, Socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let path = std::env::temp_dir().join(format!("sockeye-example-{}", std::process::id()));
    let mut listener = Listener::bind(format!("unix:{}?mode=600", path.display())).await?;
    let mut client = Socket::connect(listener.address()).await?;
    let (mut server, _) = listener.accept().await?;
    client.send("a stream has no boundaries").await?;
    client.finish().await?;
    while let Some(message) = server.recv().await? {
        println!("{}", String::from_utf8_lossy(&message.bytes));
    }

    let mut datagrams = Socket::bind("unixgram:@sockeye-example").await?;
    let mut client = Socket::connect("unixgram:@sockeye-example").await?;
    for text in ["each datagram", "is one message"] {
        client.send(text).await?;
        let (bytes, from) = datagrams.recv_from().await?;
        println!("{}", String::from_utf8_lossy(&bytes));
        // The client has a name of the kernel's choice, so it can be answered.
        datagrams.send_to("heard", &from).await?;
        client.recv().await?;
    }
    Ok(())
}
