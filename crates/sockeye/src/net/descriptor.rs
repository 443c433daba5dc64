//! Files, descriptors that were passed to this process, and standard input and output, as streams.
//!
//! A pipe is opened anew, so that it can be waited for without blocking: the flag that says so belongs to the open file,
//! which a shell shares with us. What cannot be opened anew is read by a thread.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};

use super::transport::Transport;
use super::{Error, ErrorKind, Result};
use crate::address::{Address, Base};

/// A stream that consists of a part to read from and a part to write to.
#[derive(Debug)]
pub(super) struct Descriptor {
    input: Option<Input>,
    output: Option<Output>,
}

#[derive(Debug)]
enum Input {
    Pipe(pipe::Receiver),
    File(File),
    Terminal(tokio::io::Stdin),
}

#[derive(Debug)]
enum Output {
    Pipe(pipe::Sender),
    File(File),
    Terminal(tokio::io::Stdout),
}

/// Opens a `file:`, `fd:` or `-` address.
pub(super) async fn open(address: &Address) -> Result<Transport> {
    let failed = |step| move |error| Error::system(address.shown(), step, error);
    match &address.base {
        Base::File(path) => {
            let options = &address.options;
            let (write, append) = (options.write == Some(true), options.append == Some(true));
            let mut open = File::options();
            if write || append {
                open.create(true).write(true).truncate(write).append(append);
            } else {
                open.read(true);
            }
            let file = open.open(path).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    Error::new(ErrorKind::Unreachable, address.shown(), "there is no such file")
                }
                io::ErrorKind::PermissionDenied => {
                    let needed = if write || append { "write" } else { "read" };
                    failed("cannot open the file")(error).with_hint(format!(
                        "it takes {needed} permission, and search permission on the folders above"
                    ))
                }
                _ => failed("cannot open the file")(error),
            })?;
            let (input, output) = if write || append {
                (None, Some(Output::File(file)))
            } else {
                (Some(Input::File(file)), None)
            };
            Ok(Transport::Descriptor(Descriptor { input, output }))
        }
        Base::Standard => Ok(Transport::Descriptor(standard())),
        Base::Descriptor(number) => passed(*number).map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BADF.raw_os_error() => {
                Error::usage(address, "no such descriptor was passed to this process")
            }
            _ => failed("cannot use the descriptor")(error),
        }),
        _ => Err(Error::usage(address, "is neither a file nor a descriptor")),
    }
}

/// Standard input and output.
fn standard() -> Descriptor {
    let input = match reopen(0, true) {
        Ok(Reopened::Pipe(file)) => pipe::Receiver::from_file(file).ok().map(Input::Pipe),
        Ok(Reopened::File(file)) => Some(Input::File(file.into())),
        _ => None,
    };
    let output = match reopen(1, false) {
        Ok(Reopened::Pipe(file)) => pipe::Sender::from_file(file).ok().map(Output::Pipe),
        _ => None,
    };
    Descriptor {
        input: Some(input.unwrap_or_else(|| Input::Terminal(tokio::io::stdin()))),
        output: Some(output.unwrap_or_else(|| Output::Terminal(tokio::io::stdout()))),
    }
}

/// A descriptor that this process was given: a socket, a pipe, a file or a terminal.
fn passed(number: u32) -> io::Result<Transport> {
    let own = sockeye_sys::descriptor::duplicate(number)?;
    let file_type = StdFile::from(own.try_clone()?).metadata()?.file_type();
    if file_type.is_socket() {
        let socket = socket2::Socket::from(own);
        let is_unix = socket.domain()? == socket2::Domain::UNIX;
        if socket.r#type()? != socket2::Type::STREAM {
            let why = "it is a socket that is no stream";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        socket.set_nonblocking(true)?;
        return Ok(if is_unix {
            Transport::Unix(UnixStream::from_std(OwnedFd::from(socket).into())?)
        } else {
            Transport::Tcp(TcpStream::from_std(OwnedFd::from(socket).into())?)
        });
    }
    let can = |read| reopen(number, read).ok();
    let mode = rustix::fs::fcntl_getfl(&own)?;
    let access = mode & rustix::fs::OFlags::ACCMODE;
    let reads = access != rustix::fs::OFlags::WRONLY;
    let writes = access == rustix::fs::OFlags::WRONLY || access == rustix::fs::OFlags::RDWR;
    let input = match reads.then(|| can(true)).flatten() {
        Some(Reopened::Pipe(file)) => Some(Input::Pipe(pipe::Receiver::from_file(file)?)),
        _ if reads => Some(Input::File(StdFile::from(own.try_clone()?).into())),
        _ => None,
    };
    let output = match writes.then(|| can(false)).flatten() {
        Some(Reopened::Pipe(file)) => Some(Output::Pipe(pipe::Sender::from_file(file)?)),
        _ if writes => Some(Output::File(StdFile::from(own).into())),
        _ => None,
    };
    Ok(Transport::Descriptor(Descriptor { input, output }))
}

enum Reopened {
    Pipe(StdFile),
    File(StdFile),
}

/// Opens what is behind a descriptor anew, if it is a pipe; files keep their position only in the descriptor itself.
fn reopen(number: u32, read: bool) -> io::Result<Reopened> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let own = StdFile::from(sockeye_sys::descriptor::duplicate(number)?);
    let file_type = own.metadata()?.file_type();
    if file_type.is_fifo() {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut open = StdFile::options();
        let file =
            open.read(read).write(!read).custom_flags(nonblocking).open(format!("/proc/self/fd/{number}"))?;
        return Ok(Reopened::Pipe(file));
    }
    if file_type.is_file() {
        return Ok(Reopened::File(own));
    }
    Err(io::ErrorKind::Unsupported.into())
}

impl AsyncRead for Descriptor {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().input {
            Some(Input::Pipe(pipe)) => Pin::new(pipe).poll_read(cx, buffer),
            Some(Input::File(file)) => Pin::new(file).poll_read(cx, buffer),
            Some(Input::Terminal(terminal)) => Pin::new(terminal).poll_read(cx, buffer),
            // What is only written to has nothing to say.
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Descriptor {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().output {
            Some(Output::Pipe(pipe)) => Pin::new(pipe).poll_write(cx, bytes),
            Some(Output::File(file)) => Pin::new(file).poll_write(cx, bytes),
            Some(Output::Terminal(terminal)) => Pin::new(terminal).poll_write(cx, bytes),
            None => {
                let why = "it is open for reading only: write=true makes the file, append=true adds to it";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, why)))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().output {
            Some(Output::Pipe(pipe)) => Pin::new(pipe).poll_flush(cx),
            Some(Output::File(file)) => Pin::new(file).poll_flush(cx),
            Some(Output::Terminal(terminal)) => Pin::new(terminal).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.as_mut().poll_flush(cx))?;
        // The end of a pipe is the end of its last descriptor.
        self.get_mut().output = None;
        Poll::Ready(Ok(()))
    }
}
