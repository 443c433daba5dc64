//! Two UDP sockets, and what makes datagrams different: boundaries are kept, and nobody is connected.

#![expect(clippy::print_stdout, reason = "an example shows what it received")]

use sockeye::net::{Result, Socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut here = Socket::bind("udp:127.0.0.1:0").await?; // socket(), bind()
    let mut there = Socket::bind("udp:127.0.0.1:0").await?;

    here.send_to("one", &there.local()).await?; // sendto()
    here.send_to("two", &there.local()).await?;
    for _ in 0..2 {
        let (bytes, from) = there.recv_from().await?; // recvfrom()
        println!("{from}: {}", String::from_utf8_lossy(&bytes));
        there.send_to(bytes, &from).await?;
    }

    // A connected one hears only its peer, and is told when nobody is there.
    let mut connected = Socket::connect(format!("udp:{}", there.local())).await?; // connect()
    connected.send("three").await?;
    let (bytes, from) = there.recv_from().await?;
    println!("{from}: {}", String::from_utf8_lossy(&bytes));
    Ok(())
}
