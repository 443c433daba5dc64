//! Unix-domain streams, and what streams and datagrams share: names, stale paths, permissions.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::option::{BACKLOG, apply_buffers};
use super::resolve::step;
use super::{Error, Result};
use crate::address::{Address, UnixName};

/// Connects to a stream.
pub(super) async fn connect(address: &Address, name: &UnixName) -> Result<UnixStream> {
    let failed = |error| Error::system(address.shown(), "cannot connect", error);
    // Connecting waits while the backlog is full; the bound is that of every step.
    let stream = step(address, "connecting", async {
        match name {
            UnixName::Path(path) => UnixStream::connect(path).await,
            UnixName::Abstract(abstract_name) => UnixStream::connect(abstract_path(abstract_name)).await,
        }
    });
    let stream = stream.await?.map_err(failed)?;
    apply_buffers(&SockRef::from(&stream), &address.options).map_err(failed)?;
    Ok(stream)
}

/// An abstract name as tokio takes it: a path that begins with a NUL.
pub(super) fn abstract_path(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(&[&[0], name].concat()))
}

/// Listens for streams.
pub(super) fn listen(address: &Address, name: &UnixName) -> Result<(UnixListener, Option<SocketFile>)> {
    let listen = || {
        let (socket, file) = bind(Type::STREAM, address, name)?;
        socket.listen(i32::try_from(address.options.backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX))?;
        let socket: std::os::unix::net::UnixListener = socket.into();
        Ok((UnixListener::from_std(socket)?, file))
    };
    listen().map_err(|error| refused(address, name, error))
}

/// Makes a socket of a type and gives it its name.
pub(super) fn bind(
    kind: Type,
    address: &Address,
    name: &UnixName,
) -> io::Result<(Socket, Option<SocketFile>)> {
    let socket = Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)?;
    apply_buffers(&SockRef::from(&socket), &address.options)?;
    let path = match name {
        UnixName::Abstract(name) => {
            socket.bind(&SockAddr::unix(abstract_path(name))?)?;
            return Ok((socket, None));
        }
        UnixName::Path(path) => path,
    };
    let at = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&at) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path)? {
            return Err(error);
        }
        // Whoever listened was killed: nobody is behind this path.
        fs::remove_file(path)?;
        socket.bind(&at)?;
    }
    let file = SocketFile::of(path)?;
    if let Some(mode) = address.options.mode {
        // Nobody can connect before the socket listens, so there is no moment with other permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(mode.0))?;
    }
    Ok((socket, Some(file)))
}

/// Says whether a socket file is left over: it is a socket, and connecting to it is refused.
fn is_stale(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // By a datagram socket, whose connect() is heard by nobody: a stream would be accepted by a live listener, as its one peer
    // perhaps. POSIX, connect(): EPROTOTYPE tells that a socket of another type is bound there, so it is alive.
    let asking = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking().cloexec(), None)?;
    let outcome = asking.connect(&SockAddr::unix(path)?);
    Ok(matches!(outcome, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused))
}

pub(super) fn refused(address: &Address, name: &UnixName, error: io::Error) -> Error {
    let path = name.path().map(|path| path.display().to_string()).unwrap_or_default();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::usage(address, format!("{path} is a file that is no socket"))
            .with_hint("remove it, or choose another path"),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::usage(address, format!("the folder of {path} does not exist"))
                .with_hint("make it, or choose another")
        }
        _ => Error::system(address.shown(), "cannot listen", error),
    }
}

/// The file of a socket that listens, which goes with it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else's socket may have taken the path meanwhile.
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}
