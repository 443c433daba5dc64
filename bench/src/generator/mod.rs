//! The generator: a client that sends prepared bytes and counts messages. Set-up and the first exchange are
//! blocking and checked by content; then the sockets go to a loop that only looks at frame heads.

pub(crate) mod broadcast;
pub(crate) mod closed_loop;
pub(crate) mod counter;
pub(crate) mod framing;
pub(crate) mod http;
pub(crate) mod payload;
pub(crate) mod secure;
pub(crate) mod socket;
pub(crate) mod tail;
