//! Descriptors that this process was started with: those that a service manager passes (`sd_listen_fds(3)`), and any by its
//! number.

use std::env;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor that was passed, and the name it was given.
#[derive(Debug)]
pub struct Inherited {
    /// The descriptor. It is closed when a program is started.
    pub descriptor: OwnedFd,
    /// Its name, for people; `unknown` where none was given.
    pub name: String,
}

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// Descriptors that are passed at most: more is taken for a mistake.
const COUNT_MAX: usize = 1_024;

/// Takes the descriptors that were passed to this process: the first call has them, later ones have none. To be called
/// before anything else is opened.
///
/// # Errors
/// When the variables do not fit together, or name a descriptor that is not open.
pub fn take_inherited() -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| env::var(name).ok();
    let count = count(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), process::id())?;
    if count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut inherited = Vec::with_capacity(count);
    for raw in (FIRST..).take(count) {
        // SAFETY: the call changes a flag of a descriptor, or fails where there is none.
        if unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
            let error = io::Error::last_os_error();
            return Err(io::Error::other(format!("LISTEN_FDS={count}, but descriptor {raw}: {error}")));
        }
        // SAFETY: it is open, and nobody owns it: whoever started this process says, by naming its id, that it passed
        // this descriptor to be taken, and the flag above lets it be taken once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        inherited.push(Inherited { descriptor, name: names.next().unwrap_or("unknown").to_owned() });
    }
    Ok(inherited)
}

/// Makes a second descriptor of what stands behind a number. The first stays open until the process ends.
///
/// # Errors
/// The system's, when no descriptor has that number.
pub fn duplicate(number: u32) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the call only reads a table of the kernel's, and says EBADF for a number that is not open.
    let copy = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// How many descriptors are for process `own`. The variables are inherited by children, for which they are not meant.
fn count(listen_pid: Option<&str>, listen_fds: Option<&str>, own: u32) -> io::Result<usize> {
    let (Some(pid), Some(fds)) = (listen_pid, listen_fds) else { return Ok(0) };
    if pid.parse() != Ok(own) {
        return Ok(0);
    }
    fds.parse().ok().filter(|count| *count <= COUNT_MAX).ok_or_else(|| {
        io::Error::other(format!("LISTEN_FDS={fds} is not a number of descriptors, at most {COUNT_MAX}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_for_the_process_that_is_named() {
        assert_eq!(count(Some("7"), Some("2"), 7).expect("fits"), 2);
        for (pid, fds) in
            [(None, Some("2")), (Some("7"), None), (Some("8"), Some("2")), (Some("x"), Some("2"))]
        {
            assert_eq!(count(pid, fds, 7).expect("not for us"), 0, "{pid:?} {fds:?}");
        }
        for fds in ["", "-1", "two", "99999"] {
            assert!(count(Some("7"), Some(fds), 7).is_err(), "{fds:?}");
        }
    }

    #[test]
    fn a_descriptor_is_copied_by_its_number_and_a_missing_one_is_named() {
        use std::os::fd::AsRawFd as _;
        let file = std::fs::File::open("/dev/null").expect("every system has it");
        let number = u32::try_from(file.as_raw_fd()).expect("a descriptor is not negative");

        let copy = duplicate(number).expect("it is open");

        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert_eq!(duplicate(u32::MAX).expect_err("no number").raw_os_error(), Some(libc::EBADF));
        assert_eq!(duplicate(1 << 30).expect_err("not open").raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_process_that_was_passed_nothing_takes_nothing() {
        assert!(take_inherited().expect("no variables").is_empty());
    }
}
