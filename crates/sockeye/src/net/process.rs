//! A child process as a stream: what is sent is its standard input, what it prints is received.
//!
//! Its standard error is ours. Deliberately absent: pseudo-terminals.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::transport::Transport;
use super::{Error, ErrorKind, Result};
use crate::address::{Address, Base};

/// A running child.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
}

/// Starts the command of an `exec:` or `sh:` address, with these variables in its environment.
pub(super) fn start(address: &Address, environment: &[(String, String)]) -> Result<Transport> {
    let mut command = match &address.base {
        Base::Exec(words) => {
            let mut command = Command::new(words.first().map_or("", String::as_str));
            command.args(words.iter().skip(1));
            command
        }
        Base::Shell(text) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(text);
            command
        }
        _ => return Err(Error::usage(address, "is no command")),
    };
    command
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Dropping a socket is abrupt for every kind.
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::Unreachable, address.shown(), "cannot start it: there is no such command")
                .with_hint("is it spelt right, and in PATH?")
        }
        io::ErrorKind::PermissionDenied => Error::system(address.shown(), "cannot start the command", error)
            .with_hint("it takes execute permission on the file, and search permission on the folders above"),
        _ => Error::system(address.shown(), "cannot start the command", error),
    })?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (input, output) = pipes.expect("both were asked for");
    Ok(Transport::Process(Box::new(Process { child, input: Some(input), output: Some(output) })))
}

impl Process {
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the child has ended. Nobody reads what it still prints, as at the end of every broken pipe, so it cannot
    /// wait for us while we wait for it.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.input = None;
        self.output = None;
        self.child.wait().await
    }
}

impl AsyncRead for Process {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().output {
            Some(output) => Pin::new(output).poll_read(cx, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Process {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().input {
            Some(input) => Pin::new(input).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().input {
            Some(input) => Pin::new(input).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end of a pipe is the end of its last descriptor.
        self.get_mut().input = None;
        Poll::Ready(Ok(()))
    }
}
