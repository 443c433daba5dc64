//! What the service manager says in the environment: where to notify it, how often, and whether it reads the log.
//!
//! None of this changes what the server does for its clients. Deliberately absent: `LISTEN_FDS` and its like, which are
//! read where the descriptors are taken (`sockeye_sys::descriptor`), and any variable of ours.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The socket on which the service manager wants to hear how we are (`NOTIFY_SOCKET`).
    pub notify_socket: Option<OsString>,
    /// It takes us for stuck when it hears nothing for this long (`WATCHDOG_USEC`).
    pub watchdog: Option<Duration>,
    /// Device and inode of the stream that the journal reads (`JOURNAL_STREAM`).
    pub journal_stream: Option<(u64, u64)>,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn read() -> Environment {
        Environment::from_variables(|name| env::var_os(name), std::process::id())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, own: u32) -> Environment {
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        // A watchdog that is meant for another process, such as the one that started us, is not ours.
        let is_ours = text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
        let watchdog =
            text("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|us| *us > 0 && is_ours);
        let journal_stream = text("JOURNAL_STREAM").and_then(|text| {
            let (device, inode) = text.split_once(':')?;
            Some((device.parse().ok()?, inode.parse().ok()?))
        });
        Environment {
            notify_socket: variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: watchdog.map(Duration::from_micros),
            journal_stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let found = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Environment::from_variables(|name| found(name).map(|(_, value)| (*value).into()), 7)
    }

    #[test]
    fn a_service_manager_is_understood() {
        let environment = read(&[
            ("NOTIFY_SOCKET", "/run/notify"),
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "7"),
            ("JOURNAL_STREAM", "9:12345"),
        ]);

        assert_eq!(environment.notify_socket, Some("/run/notify".into()));
        assert_eq!(environment.watchdog, Some(Duration::from_secs(30)));
        assert_eq!(environment.journal_stream, Some((9, 12_345)));
    }

    #[test]
    fn what_is_not_for_us_or_not_readable_is_nothing() {
        let nothing = Environment::default();

        assert_eq!(read(&[]), nothing);
        assert_eq!(read(&[("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "8")]), nothing);
        assert_eq!(read(&[("WATCHDOG_USEC", "0"), ("NOTIFY_SOCKET", "")]), nothing);
        assert_eq!(read(&[("WATCHDOG_USEC", "soon"), ("JOURNAL_STREAM", "9")]), nothing);
    }
}
