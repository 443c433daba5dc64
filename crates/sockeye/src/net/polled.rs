//! The one socket, polled: for who writes futures of his own, and for the traits of tokio and futures.
//!
//! All state is the socket's own, so a future that is dropped between two polls loses nothing. Deliberately absent: what can be
//! awaited, which is in `socket`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::{Close, Message, MessageKind};
use super::outgoing::Outgoing;
use super::socket::{Core, Socket};
use super::transport::Transport;
use super::websocket::poll_fill;
use super::{Error, ErrorKind, Result};

impl Socket {
    /// [`Socket::recv`], polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::poll_fn;
    ///
    /// use sockeye::net::{Close, Message, Socket};
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// poll_fn(|cx| socket.poll_ready(cx)).await?;
    /// socket.start_send(Message::text("hello"))?;
    /// poll_fn(|cx| socket.poll_flush(cx)).await?;
    /// poll_fn(|cx| socket.poll_finish(&Close::normal(), cx)).await?;
    /// let message = poll_fn(|cx| socket.poll_recv(cx)).await?;
    /// assert_eq!(message.map(|message| message.bytes), Some(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        match &mut self.core {
            Core::Stream(stream) => {
                let mut bytes = Vec::new();
                Poll::Ready(match ready!(poll_fill(&mut stream.transport, &mut bytes, cx)) {
                    Ok(0) => Ok(None),
                    Ok(count) => {
                        // What holds little should not hold the room for much.
                        if count < bytes.capacity() / 2 {
                            bytes.shrink_to_fit();
                        }
                        Ok(Some(Message::binary(bytes)))
                    }
                    Err(error) => Err(Error::from_io(&self.name, "the connection broke", error)),
                })
            }
            Core::Datagram(datagram) => {
                let received = ready!(datagram.poll_recv_from(&self.name, cx))?;
                Poll::Ready(Ok(received.map(|(bytes, _)| Message::binary(bytes))))
            }
            Core::WebSocket(websocket) => websocket.poll_recv(&self.name, cx),
            Core::Framed(framed) => framed.poll_recv(&self.name, cx),
            Core::Http(exchange) => exchange.poll_recv(&self.name, cx),
        }
    }

    /// Waits until the outgoing slot is free.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::poll_fn;
    ///
    /// use sockeye::net::{Close, Message, Socket};
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// poll_fn(|cx| socket.poll_ready(cx)).await?;
    /// socket.start_send(Message::text("hello"))?;
    /// poll_fn(|cx| socket.poll_flush(cx)).await?;
    /// poll_fn(|cx| socket.poll_finish(&Close::normal(), cx)).await?;
    /// let message = poll_fn(|cx| socket.poll_recv(cx)).await?;
    /// assert_eq!(message.map(|message| message.bytes), Some(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let is_free = match &self.core {
            Core::Stream(stream) => stream.outgoing.is_free(),
            Core::Datagram(datagram) => datagram.is_free(),
            Core::WebSocket(websocket) => websocket.outgoing.is_free(),
            Core::Framed(framed) => framed.outgoing.is_free(),
            Core::Http(exchange) => exchange.outgoing.is_free(),
        };
        if is_free { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Puts a message into the outgoing slot; to be called when [`Socket::poll_ready`] was ready.
    ///
    /// # Errors
    /// When the message does not fit this kind of socket.
    ///
    /// # Panics
    /// When the slot is not free.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::poll_fn;
    ///
    /// use sockeye::net::{Close, Message, Socket};
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// poll_fn(|cx| socket.poll_ready(cx)).await?;
    /// socket.start_send(Message::text("hello"))?;
    /// poll_fn(|cx| socket.poll_flush(cx)).await?;
    /// poll_fn(|cx| socket.poll_finish(&Close::normal(), cx)).await?;
    /// let message = poll_fn(|cx| socket.poll_recv(cx)).await?;
    /// assert_eq!(message.map(|message| message.bytes), Some(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_send(&mut self, message: Message) -> Result<()> {
        if self.core.is_ended() {
            return Err(Error::from_io(&self.name, "cannot send", already_ended()));
        }
        match &mut self.core {
            Core::WebSocket(websocket) => {
                assert!(websocket.outgoing.is_free(), "poll_ready comes before start_send");
                websocket.start_send(&self.name, message)?;
            }
            Core::Framed(framed) => {
                assert!(framed.outgoing.is_free(), "poll_ready comes before start_send");
                framed.start_send(&self.name, message)?;
            }
            _ if matches!(message.kind, MessageKind::Ping | MessageKind::Pong) => {
                return Err(self.cannot("send pings and pongs"));
            }
            Core::Stream(stream) => {
                assert!(stream.outgoing.is_free(), "poll_ready comes before start_send");
                stream.outgoing.put(message.bytes, |_| {});
            }
            Core::Http(exchange) => {
                assert!(exchange.outgoing.is_free(), "poll_ready comes before start_send");
                exchange.start_send(&self.name, &message.bytes)?;
            }
            Core::Datagram(datagram) => {
                assert!(datagram.is_free(), "poll_ready comes before start_send");
                datagram.start_send(&self.name, message.bytes, None)?;
            }
        }
        self.taken += 1;
        Ok(())
    }

    /// [`Socket::flush`], polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::poll_fn;
    ///
    /// use sockeye::net::{Close, Message, Socket};
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// poll_fn(|cx| socket.poll_ready(cx)).await?;
    /// socket.start_send(Message::text("hello"))?;
    /// poll_fn(|cx| socket.poll_flush(cx)).await?;
    /// poll_fn(|cx| socket.poll_finish(&Close::normal(), cx)).await?;
    /// let message = poll_fn(|cx| socket.poll_recv(cx)).await?;
    /// assert_eq!(message.map(|message| message.bytes), Some(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let outcome = match &mut self.core {
            Core::Stream(stream) => stream.outgoing.poll_flush(&mut stream.transport, cx),
            Core::Datagram(datagram) => return datagram.poll_flush(&self.name, cx),
            Core::WebSocket(websocket) => websocket.poll_flush(cx),
            Core::Framed(framed) => framed.poll_flush(cx),
            Core::Http(exchange) => exchange.poll_flush(cx),
        };
        Poll::Ready(ready!(outcome).map_err(|error| Error::from_io(&self.name, "cannot send", error)))
    }

    /// [`Socket::finish_with`], polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::future::poll_fn;
    ///
    /// use sockeye::net::{Close, Message, Socket};
    ///
    /// let mut socket = Socket::connect("exec:cat").await?;
    /// poll_fn(|cx| socket.poll_ready(cx)).await?;
    /// socket.start_send(Message::text("hello"))?;
    /// poll_fn(|cx| socket.poll_flush(cx)).await?;
    /// poll_fn(|cx| socket.poll_finish(&Close::normal(), cx)).await?;
    /// let message = poll_fn(|cx| socket.poll_recv(cx)).await?;
    /// assert_eq!(message.map(|message| message.bytes), Some(b"hello".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_finish(&mut self, close: &Close, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_flush(cx))?;
        if self.core.is_ended() {
            return Poll::Ready(Ok(()));
        }
        let outcome = match &mut self.core {
            Core::Datagram(_) => Poll::Ready(Ok(())),
            Core::WebSocket(websocket) => websocket.poll_finish(close, cx),
            Core::Stream(stream) => Pin::new(&mut stream.transport).poll_shutdown(cx),
            Core::Framed(framed) => framed.poll_finish(close, cx),
            Core::Http(exchange) => exchange.poll_finish(cx),
        };
        if matches!(outcome, Poll::Ready(Ok(())))
            && let Some(outgoing) = self.core.outgoing_mut()
        {
            outgoing.ended = true;
        }
        Poll::Ready(
            ready!(outcome).map_err(|error| Error::from_io(&self.name, "cannot end the stream", error)),
        )
    }

    fn stream(&mut self) -> io::Result<(&mut Transport, &mut Outgoing)> {
        match &mut self.core {
            Core::Stream(stream) => Ok((&mut stream.transport, &mut stream.outgoing)),
            _ => {
                Err(Error::new(ErrorKind::Usage, &self.name, "it has messages, not bytes: use recv and send")
                    .into_io())
            }
        }
    }
}

/// For streams; a socket with messages gives an error. What was taken by `send` is written first, and the promises are
/// those of tokio's own streams.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if let Core::Http(exchange) = &mut socket.core {
            return exchange.poll_read(&socket.name, cx, buffer);
        }
        let (transport, _) = socket.stream()?;
        Pin::new(transport).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        if let Core::Http(exchange) = &mut socket.core {
            return exchange.poll_write(&socket.name, cx, bytes);
        }
        let (transport, outgoing) = socket.stream()?;
        if outgoing.ended {
            return Poll::Ready(Err(already_ended()));
        }
        ready!(outgoing.poll_flush(transport, cx))?;
        Pin::new(transport).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if let Core::Http(exchange) = &mut socket.core {
            return exchange.poll_flush(cx);
        }
        let (transport, outgoing) = socket.stream()?;
        ready!(outgoing.poll_flush(transport, cx))?;
        Pin::new(transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if let Core::Http(exchange) = &mut socket.core {
            return exchange.poll_finish(cx);
        }
        let (transport, outgoing) = socket.stream()?;
        ready!(outgoing.poll_flush(transport, cx))?;
        if !outgoing.ended {
            ready!(Pin::new(transport).poll_shutdown(cx))?;
            outgoing.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// POSIX, send(): what is said after our own end.
fn already_ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "our side was ended before")
}

/// The messages that are received, until an orderly end.
impl futures_core::Stream for Socket {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        self.get_mut().poll_recv(cx).map(Result::transpose)
    }
}

/// The messages that are sent; closing finishes.
impl futures_sink::Sink<Message> for Socket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<()> {
        self.get_mut().start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_finish(&Close::normal(), cx)
    }
}
