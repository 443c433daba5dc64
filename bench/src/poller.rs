//! Bare edge-triggered epoll, for the floors and for the generator. No interest is ever changed: everything is
//! registered once for both directions, which costs nothing while no send falls short.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// How many events one turn takes.
const EVENTS_MAX: usize = 1024;

/// An epoll descriptor.
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// Opens a poller with nothing to watch.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Room for one turn's events.
    pub(crate) fn room() -> Vec<Event> {
        Vec::with_capacity(EVENTS_MAX)
    }

    /// Watches `source`, edge-triggered, in both directions.
    pub(crate) fn add(&self, source: impl AsFd, token: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, source, EventData::new_u64(token as u64), flags)?;
        Ok(())
    }

    /// Waits for the next turn's events: none if `timeout` passed.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout
            .map(|timeout| Timespec::try_from(timeout).expect("timeouts of seconds fit in a timespec"));
        events.clear();
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The token an event was registered with.
pub(crate) fn token(event: &Event) -> usize {
    event.data.u64() as usize
}

/// Whether something can be read, or a read would tell of an end or an error.
pub(crate) fn is_readable(event: &Event) -> bool {
    let flags = event.flags;
    flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
}
