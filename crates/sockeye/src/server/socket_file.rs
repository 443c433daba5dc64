//! The file of a Unix-domain socket that is listened on: made, taken over from a server that was killed, and removed.
//!
//! A path names whatever stands there. So what is in the way is looked at before it is removed, and at the end only the
//! file that was made here goes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

/// Another server that takes the same path needs a moment only. Whoever holds its folder for longer does something else, and
/// is not waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The file of a socket that is bound here. It goes when this goes.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode. Nobody else gets this inode while the socket is open.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a socket of this kind to a path, and makes it `ready`. A file that a server left which was killed is replaced.
    ///
    /// # Errors
    /// `AddrInUse` where somebody listens, `AlreadyExists` where something stands that is no socket; otherwise the system's.
    pub(super) fn bind(
        path: &Path,
        kind: Type,
        ready: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<(Socket, SocketFile)> {
        let socket = Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)?;
        let address = SockAddr::unix(path)?;
        // Between binding and listening, and between looking and removing, another server would take this file for a stale
        // one, or remove a new one. The lock ends with the file.
        let _folder = lock(path.parent().filter(|folder| !folder.as_os_str().is_empty()));
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &address, kind)? {
                return Err(error);
            }
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        ready(&socket)?;
        let identity = identity(path)?;
        Ok((socket, SocketFile { path: path.to_owned(), identity }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already, and put something of his own there.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Locks a folder against other servers, where that can be. `None` is the current one.
fn lock(folder: Option<&Path>) -> Option<File> {
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}

/// Says whether a socket file is left over: it is a socket, and connecting to it is refused.
fn is_stale(path: &Path, address: &SockAddr, kind: Type) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // Somebody whose backlog is full is there, too, so nobody is waited for.
    let connected = Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)?.connect(address);
    Ok(matches!(connected, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn listen(path: &Path) -> io::Result<(Socket, SocketFile)> {
        SocketFile::bind(path, Type::STREAM, |socket| socket.listen(1))
    }

    #[test]
    fn only_the_file_that_was_made_here_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.sock");

        drop(listen(&path).expect("it is free"));
        assert!(!path.exists());

        let old = listen(&path).expect("it is free");
        fs::remove_file(&path).expect("it is there");
        let new = listen(&path).expect("it is free again");
        drop(old);
        assert!(path.exists(), "another server's socket was removed");

        fs::remove_file(&path).expect("it is there");
        fs::write(&path, "precious").expect("a file");
        drop(new);
        assert_eq!(fs::read(&path).expect("it was left"), b"precious");
        assert_eq!(listen(&path).expect_err("a file is in the way").kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn who_listens_with_a_full_backlog_is_there_and_who_is_gone_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.sock");
        let other = UnixListener::bind(&path).expect("a listener");
        // Nobody accepts, so its backlog fills.
        let address = SockAddr::unix(&path).expect("a short path");
        let waiting: Vec<Socket> = std::iter::from_fn(|| {
            let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
            socket.connect(&address).ok().map(|()| socket)
        })
        .collect();

        assert_eq!(listen(&path).expect_err("somebody listens").kind(), io::ErrorKind::AddrInUse);

        drop((other, waiting));
        listen(&path).expect("nobody listens any more");
    }

    #[test]
    fn of_several_at_once_one_gets_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.sock");
        // Left over by one that was killed.
        drop(UnixListener::bind(&path).expect("a listener"));

        let sockets: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| listen(&path))).collect();
            all.into_iter().map(|one| one.join().expect("it does not panic")).collect()
        });

        assert_eq!(sockets.iter().filter(|socket| socket.is_ok()).count(), 1, "{sockets:?}");
    }
}
