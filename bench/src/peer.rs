//! The peers: echo servers on tokio-tungstenite and fastwebsockets, as their own examples write them, on a
//! current-thread runtime with Nagle's algorithm off.

use anyhow::bail;
use futures_util::{StreamExt as _, TryStreamExt as _, future};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::generator::socket::UPGRADE_ACCEPTED;

/// An echo server other than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// tokio-tungstenite.
    Tungstenite,
    /// fastwebsockets.
    Fastwebsockets,
}

impl Peer {
    /// The peer's own name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tungstenite => "tokio-tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
        }
    }

    /// The words that make another process this peer.
    pub(crate) fn to_words(self) -> Vec<String> {
        vec!["peer".into(), self.name().into()]
    }
}

/// Runs a peer until it is killed.
pub(crate) fn main(words: &[String]) -> anyhow::Result<()> {
    let peer = match words {
        [name] if name == Peer::Tungstenite.name() => Peer::Tungstenite,
        [name] if name == Peer::Fastwebsockets.name() => Peer::Fastwebsockets,
        _ => bail!("peer takes a peer's name"),
    };
    let listener = crate::process::listen_as_child()?;
    listener.set_nonblocking(true)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection ends when the generator goes; how it ends is nobody's concern.
            match peer {
                Peer::Tungstenite => drop(tokio::spawn(tungstenite(stream))),
                Peer::Fastwebsockets => drop(tokio::spawn(fastwebsockets(stream))),
            }
        }
    })
}

async fn tungstenite(stream: TcpStream) -> anyhow::Result<()> {
    let (write, read) = tokio_tungstenite::accept_async(stream).await?.split();
    read.try_filter(|message| future::ready(message.is_text() || message.is_binary())).forward(write).await?;
    Ok(())
}

async fn fastwebsockets(mut stream: TcpStream) -> anyhow::Result<()> {
    use fastwebsockets::{FragmentCollector, Frame, OpCode, Role, WebSocket};

    // The generator sends its first message only after the answer, so the head stands alone.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {UPGRADE_ACCEPTED}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;

    let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                // Echoing the frame itself would keep the client's mask.
                socket.write_frame(Frame::new(true, frame.opcode, None, frame.payload)).await?;
            }
            _ => {}
        }
    }
}
