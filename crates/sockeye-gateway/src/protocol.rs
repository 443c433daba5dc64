//! What a connection speaks, and by what it came.
//!
//! Deliberately absent: how either is found out (`detect.rs`, and the shell).

/// By what a connection came. A browser comes by TCP only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// The same, encrypted.
    Tls,
    /// A Unix-domain stream.
    Unix,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Not told yet.
    Unknown,
    /// JSON lines.
    Lines,
    /// HTTP requests.
    Http,
    /// The protocol over WebSocket.
    WebSocket,
    /// One channel over WebSocket.
    Raw,
    /// The echo.
    Echo,
    /// An event stream.
    Events,
    /// Sessions over UDP: not a connection's protocol, but counted beside them.
    Udp,
    /// Sessions over Unix datagrams.
    UnixDatagram,
}

impl Protocol {
    /// Every protocol, in the order of their declaration.
    pub const ALL: [Protocol; 9] = [
        Protocol::Unknown,
        Protocol::Lines,
        Protocol::Http,
        Protocol::WebSocket,
        Protocol::Raw,
        Protocol::Echo,
        Protocol::Events,
        Protocol::Udp,
        Protocol::UnixDatagram,
    ];

    /// Its name in logs, figures and `$sys/stats`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Unknown => "unknown",
            Protocol::Lines => "lines",
            Protocol::Http => "http",
            Protocol::WebSocket => "ws",
            Protocol::Raw => "raw",
            Protocol::Echo => "echo",
            Protocol::Events => "sse",
            Protocol::Udp => "udp",
            Protocol::UnixDatagram => "unixgram",
        }
    }
}
