//! Limits of this process.

use std::io;

/// Raises the number of descriptors that this process may open to what the system lets it have, and returns that.
///
/// # Errors
/// The system's, when it does not tell or does not change the limit.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit`, which the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is to a live `rlimit`, which the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_raised_once_and_stays() {
        let first = super::raise_descriptor_limit().expect("a process may raise its own soft limit");

        assert_eq!(super::raise_descriptor_limit().expect("again"), first);
        assert!(first >= 64);
    }
}
