//! Two halves of one socket, for two tasks: one receives, one sends.
//!
//! The halves share the socket behind a lock that is held for one poll at a time. Where receiving may have to write (a
//! pong, a TLS record) and sending to read, whatever happens wakes both.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::{fmt, future::poll_fn};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::{Close, Message};
use super::peer::Peer;
use super::socket::{Core, Socket};
use super::transport::Transport;
use super::{Error, Result, Traits};

/// The half that receives.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sockeye::net::Socket;
///
/// let (mut receive, _send) = Socket::connect("sh:printf hello").await?.split();
/// assert_eq!(receive.recv().await?.map(|message| message.bytes), Some(b"hello".to_vec()));
/// # Ok(())
/// # }
/// ```
pub struct ReceiveHalf(Arc<Shared>);

/// The half that sends.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sockeye::net::Socket;
///
/// let (_receive, mut send) = Socket::connect("exec:cat").await?.split();
/// send.send("hello").await?;
/// # Ok(())
/// # }
/// ```
pub struct SendHalf(Arc<Shared>);

struct Shared {
    socket: Mutex<Socket>,
    wakers: Arc<Wakers>,
    entangled: bool,
}

/// Who waits on either side.
#[derive(Default)]
struct Wakers {
    receiver: Mutex<Option<Waker>>,
    sender: Mutex<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum Side {
    Receiver,
    Sender,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        for slot in [&self.receiver, &self.sender] {
            let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Socket {
    /// Takes the socket apart into the half that receives and the half that sends. It ends when both are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use sockeye::net::Socket;
    ///
    /// let (mut receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.send("meow").await?;
    /// send.finish().await?;
    /// assert_eq!(receive.recv().await?.map(|message| message.bytes), Some(b"meow".to_vec()));
    /// # Ok::<(), sockeye::net::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split(self) -> (ReceiveHalf, SendHalf) {
        let entangled = matches!(self.core, Core::WebSocket(_))
            || self.core.transport().is_some_and(Transport::is_entangled);
        let shared = Arc::new(Shared { socket: Mutex::new(self), wakers: Arc::default(), entangled });
        (ReceiveHalf(Arc::clone(&shared)), SendHalf(shared))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<T>(
        &self,
        side: Side,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Socket, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut socket = self.lock();
        if !self.entangled {
            return act(&mut socket, cx);
        }
        let slot = match side {
            Side::Receiver => &self.wakers.receiver,
            Side::Sender => &self.wakers.sender,
        };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        let both = Waker::from(Arc::clone(&self.wakers));
        act(&mut socket, &mut Context::from_waker(&both))
    }
}

impl ReceiveHalf {
    /// As [`Socket::recv`].
    ///
    /// # Errors
    /// As [`Socket::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (mut receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.send("meow").await?;
    /// assert!(receive.recv().await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Result<Option<Message>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`ReceiveHalf::recv`], polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (mut receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.send("meow").await?;
    /// assert!(std::future::poll_fn(|cx| receive.poll_recv(cx)).await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        self.0.poll(Side::Receiver, cx, Socket::poll_recv)
    }

    /// As [`Socket::closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Close, Listener, Socket};
    ///
    /// let mut listener = Listener::bind("ws://127.0.0.1:0/").await?;
    /// let connecting = tokio::spawn(Socket::connect(listener.address().clone()));
    /// let (mut server, _peer) = listener.accept().await?;
    /// let client = connecting.await??;
    /// let (mut receive, _send) = client.split();
    /// server.finish_with(Close::new(4001, "closed for lunch")).await?;
    /// assert!(receive.recv().await?.is_none());
    /// assert_eq!(receive.closed(), Some(Close::new(4001, "closed for lunch")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn closed(&self) -> Option<Close> {
        self.0.lock().closed().cloned()
    }

    /// As [`Socket::peer`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Listener, Socket};
    ///
    /// let listener = Listener::bind("tcp:127.0.0.1:0").await?;
    /// let (receive, _send) = Socket::connect(listener.address()).await?.split();
    /// assert_eq!(receive.peer(), listener.locals()[0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn peer(&self) -> Peer {
        self.0.lock().peer().clone()
    }

    /// As [`Socket::traits`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (receive, _send) = Socket::connect("exec:cat").await?.split();
    /// assert!(!receive.traits().boundaries);
    /// # Ok(())
    /// # }
    /// ```
    pub fn traits(&self) -> Traits {
        self.0.lock().traits()
    }

    /// Makes one socket of both halves again.
    ///
    /// # Errors
    /// Gives both back when they are not of one socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (receive, send) = Socket::connect("exec:cat").await?.split();
    /// let socket = receive.reunite(send).map_err(|_| "they are not of one socket")?;
    /// assert_eq!(socket.name(), "exec:cat");
    /// # Ok(())
    /// # }
    /// ```
    pub fn reunite(self, send: SendHalf) -> std::result::Result<Socket, (ReceiveHalf, SendHalf)> {
        if !Arc::ptr_eq(&self.0, &send.0) {
            return Err((self, send));
        }
        drop(send);
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Ok(shared.socket.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(_) => unreachable!("a half cannot be cloned, and the other was just dropped"),
        }
    }
}

impl SendHalf {
    /// As [`Socket::send`].
    ///
    /// # Errors
    /// As [`Socket::send`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (_receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.send("meow").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        let mut message = Some(message.into());
        poll_fn(|cx| {
            self.0.poll(Side::Sender, cx, |socket, cx| {
                std::task::ready!(socket.poll_ready(cx))?;
                if let Some(message) = message.take() {
                    socket.start_send(message)?;
                }
                socket.poll_flush(cx)
            })
        })
        .await
    }

    /// As [`Socket::flush`].
    ///
    /// # Errors
    /// As [`Socket::flush`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (_receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.send("meow").await?;
    /// send.flush().await?; // nothing is left of it here
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.0.poll(Side::Sender, cx, Socket::poll_flush)).await
    }

    /// As [`Socket::finish`].
    ///
    /// # Errors
    /// As [`Socket::finish`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (mut receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.finish().await?;
    /// assert!(receive.recv().await?.is_none(), "cat has ended too");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn finish(&mut self) -> Result<()> {
        self.finish_with(Close::normal()).await
    }

    /// As [`Socket::finish_with`].
    ///
    /// # Errors
    /// As [`Socket::finish_with`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::{Close, Listener, Socket};
    ///
    /// let mut listener = Listener::bind("ws://127.0.0.1:0/").await?;
    /// let connecting = tokio::spawn(Socket::connect(listener.address().clone()));
    /// let (mut server, _peer) = listener.accept().await?;
    /// let client = connecting.await??;
    /// let (_receive, mut send) = client.split();
    /// send.finish_with(Close::new(1001, "going away")).await?;
    /// assert!(server.recv().await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn finish_with(&mut self, close: Close) -> Result<()> {
        poll_fn(|cx| self.0.poll(Side::Sender, cx, |socket, cx| socket.poll_finish(&close, cx))).await
    }

    /// As [`Socket::taken`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (_receive, mut send) = Socket::connect("exec:cat").await?.split();
    /// send.send("meow").await?;
    /// assert_eq!(send.taken(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn taken(&self) -> u64 {
        self.0.lock().taken()
    }

    /// As [`Socket::traits`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sockeye::net::Socket;
    ///
    /// let (_receive, send) = Socket::connect("exec:cat").await?.split();
    /// assert!(send.traits().half_close);
    /// # Ok(())
    /// # }
    /// ```
    pub fn traits(&self) -> Traits {
        self.0.lock().traits()
    }
}

impl AsyncRead for ReceiveHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll(Side::Receiver, cx, |socket, cx| Pin::new(socket).poll_read(cx, buffer))
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(Side::Sender, cx, |socket, cx| Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(Side::Sender, cx, |socket, cx| AsyncWrite::poll_flush(Pin::new(socket), cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(Side::Sender, cx, |socket, cx| Pin::new(socket).poll_shutdown(cx))
    }
}

impl futures_core::Stream for ReceiveHalf {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        self.get_mut().poll_recv(cx).map(Result::transpose)
    }
}

impl futures_sink::Sink<Message> for SendHalf {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll(Side::Sender, cx, Socket::poll_ready)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<()> {
        self.0.lock().start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll(Side::Sender, cx, Socket::poll_flush)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll(Side::Sender, cx, |socket, cx| socket.poll_finish(&Close::normal(), cx))
    }
}

impl fmt::Debug for ReceiveHalf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ReceiveHalf").field(&*self.0.lock()).finish()
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SendHalf").field(&*self.0.lock()).finish()
    }
}
