//! A conversation with a server in JSON objects, over WebSocket, TCP, TLS or a Unix socket.
//!
//! Blocking, with one thread that writes and one that reads: a command has nothing else to do. Deliberately absent:
//! reconnecting, which would have to decide what to repeat.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use sockeye_wire::line::LineDecoder;
use sockeye_wire::websocket::{
    self, Decoder, Deflate, DeflateOffer, Event, MessageKind, Opcode, Role, UpgradeResponseError,
};

use super::ToolError;
use super::said::Said;
use super::secure::{self, Secure};
use super::silence::{BOUNDS, Due, QUESTION, Silence};
use crate::address::{Address, Base, HostPort};
use crate::net::{LINE_TIMEOUT, RefusalWords, authority};

/// How long connecting, the handshake, and each answer that is waited for may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest object that is read: an answer from history has at most 1 MiB of payloads, six bytes each at worst.
const OBJECT_BYTES_MAX: usize = 64 << 20;

/// What is heard may come compressed, in any manner that the server likes. What is said is not: it is short, and seldom.
const OFFER: DeflateOffer = DeflateOffer {
    server_no_context_takeover: false,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: None,
};

/// The reading half of a conversation.
pub struct Link {
    address: Address,
    stream: Stream,
    framing: Framing,
    speaker: Speaker,
    buffer: Vec<u8>,
    /// What was received and not yet taken: `buffer[at..end]`.
    at: usize,
    end: usize,
    patience: Patience,
    silence: Silence,
}

/// What is done while nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It is waited for: somebody else watches the time.
    Endless,
    /// An answer is due: who never answers is no server of this protocol.
    Answer,
    /// There may be nothing to say, but the server is asked whether it is still there.
    Listening,
}

/// The writing half of a conversation; clones speak over the same connection.
#[derive(Clone)]
pub struct Speaker {
    address: Address,
    stream: Arc<Mutex<Stream>>,
    framed: bool,
}

enum Framing {
    Lines(LineDecoder),
    WebSocket(Box<Decoder>),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Arc<Secure>),
}

impl Link {
    /// Connects, and shakes hands where that is the custom.
    ///
    /// # Errors
    /// Says which step failed, to which address, and what to try.
    pub fn connect(address: &Address) -> Result<Link, ToolError> {
        let unreachable = |source| ToolError::unconnected(address, source);
        let unusable = |why| Err(ToolError::Unusable { address: address.clone(), why });
        if !address.layers.is_empty() || !address.options.given_beside(&secure::OPTIONS).is_empty() {
            return unusable(
                "of layers and options only ca, cert, key, server-name and insecure are spoken here",
            );
        }
        if let Base::WebSocket(url) = &address.base
            && (url.path.starts_with("/ch/") || url.path.split('?').next() == Some("/echo"))
        {
            // Whatever is asked there would be published, or come back, and be answered by nobody.
            return unusable("this path carries messages without envelopes: give ws://HOST:PORT/ws");
        }
        let mut stream = match &address.base {
            Base::Unix(name) => {
                let at = name.socket_address().map_err(unreachable)?;
                Stream::Unix(UnixStream::connect_addr(&at).map_err(unreachable)?)
            }
            Base::Tcp(at) => Stream::Tcp(connect_tcp(address, &at.host, at.port)?),
            Base::WebSocket(url) if !url.secure => {
                Stream::Tcp(connect_tcp(address, &url.server.host, url.server.port)?)
            }
            Base::Tls(at) => connect_tls(address, at)?,
            Base::WebSocket(url) => connect_tls(address, &url.server)?,
            _ => {
                return unusable(
                    "give ws://HOST:PORT/ws, wss:, tcp:HOST:PORT, tls:, unix:PATH, udp:HOST:PORT or unixgram:PATH",
                );
            }
        };
        let mut buffer = vec![0; 64 << 10];
        let mut end = 0;
        let mut at = 0;
        let framing = if let Base::WebSocket(url) = &address.base {
            stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(unreachable)?;
            let deflate;
            let host = authority(&url.server, if url.secure { 443 } else { 80 });
            (at, end, deflate) = shake_hands(address, &mut stream, &host, &url.path, &mut buffer)?;
            stream.set_read_timeout(None).map_err(unreachable)?;
            let decoder = Decoder::new(Role::Client, OBJECT_BYTES_MAX);
            Framing::WebSocket(Box::new(match deflate {
                Some(agreed) => decoder.inflate(&agreed),
                None => decoder,
            }))
        } else {
            Framing::Lines(LineDecoder::new(OBJECT_BYTES_MAX))
        };
        // Of a message that takes long, each part has to be taken in that time.
        stream.set_write_timeout(Some(BOUNDS.total())).map_err(unreachable)?;
        let writer = stream.try_clone().map_err(unreachable)?;
        let framed = matches!(framing, Framing::WebSocket(_));
        let speaker = Speaker { address: address.clone(), stream: Arc::new(Mutex::new(writer)), framed };
        let (address, silence) = (address.clone(), Silence::new(BOUNDS));
        Ok(Link { address, stream, framing, speaker, buffer, at, end, patience: Patience::Endless, silence })
    }

    /// Shows a token, if there is one, and waits until the server has taken it.
    ///
    /// # Errors
    /// When the server refuses it, in its own words.
    pub fn show(&mut self, token: Option<&str>) -> Result<(), ToolError> {
        let Some(token) = token else { return Ok(()) };
        self.wait_with(Patience::Answer)?;
        self.speaker.send(serde_json::json!({ "auth": token, "id": 0 }).to_string().as_bytes())?;
        loop {
            let Some(object) = self.receive()? else {
                return Err(self.broken("the server closed it".into()));
            };
            let said = Said::read(&self.address, &object)?;
            if said.ok.is_some() {
                return self.wait_with(Patience::Endless);
            }
            if let Some(failure) = said.into_failure(&self.address) {
                return Err(failure);
            }
        }
    }

    /// Says how what comes from here on is waited for.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn wait_with(&mut self, patience: Patience) -> Result<(), ToolError> {
        self.patience = patience;
        let timeout = match patience {
            Patience::Endless => None,
            Patience::Answer => Some(CONNECT_TIMEOUT),
            Patience::Listening => Some(self.silence.wait()),
        };
        self.stream.set_read_timeout(timeout).map_err(|error| self.broken(error.to_string()))
    }

    /// Listens with other bounds than the usual ones.
    ///
    /// # Errors
    /// The system's.
    #[cfg(test)]
    pub(super) fn listen(&mut self, bounds: super::silence::Bounds) -> Result<(), ToolError> {
        self.silence = Silence::new(bounds);
        self.wait_with(Patience::Listening)
    }

    /// Whom this speaks with.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The writing half.
    pub fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }

    /// Waits for the next object. `None` is an orderly end.
    ///
    /// # Errors
    /// When the connection breaks, the peer does not keep to the protocol, or nothing comes for as long as is waited.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, ToolError> {
        loop {
            if self.at < self.end
                && let Some(object) = self.decode()?
            {
                return Ok(object);
            }
            self.at = 0;
            self.end = match self.stream.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => {
                    self.silence.heard();
                    length
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.patience != Patience::Listening {
                        return Err(timed_out(&self.address, "an answer"));
                    }
                    // Behind a long message no question would be answered. That it is taken has a bound of its own.
                    if self.speaker.is_speaking() {
                        self.end = 0;
                        continue;
                    }
                    match self.silence.passed() {
                        Due::Ask => self.speaker.send(format!("{{{QUESTION}}}").as_bytes())?,
                        Due::GiveUp => return Err(gone(&self.address)),
                    }
                    0
                }
                Err(error) => return Err(self.broken(error.to_string())),
            };
        }
    }

    /// The next object in the buffer: `None` is not enough, `Some(None)` the peer's close.
    fn decode(&mut self) -> Result<Option<Option<Vec<u8>>>, ToolError> {
        let address = &self.address;
        let broken = |why: String| ToolError::EndedEarly { address: address.clone(), why };
        match &mut self.framing {
            Framing::Lines(decoder) => loop {
                match decoder.decode(&self.buffer[..self.end], &mut self.at) {
                    Ok(Some([])) => {}
                    Ok(line) => return Ok(line.map(|line| Some(line.to_vec()))),
                    Err(error) => {
                        return Err(broken(format!("the server sent a line that is too long: {error}")));
                    }
                }
            },
            Framing::WebSocket(decoder) => loop {
                let input = &mut self.buffer[..self.end];
                match decoder.decode(input, &mut self.at) {
                    Ok(None) => return Ok(None),
                    Ok(Some(Event::Message { kind: MessageKind::Text, payload })) => {
                        return Ok(Some(Some(decoder.bytes(input, &payload).to_vec())));
                    }
                    Ok(Some(Event::Message { .. })) => {
                        return Err(broken("the server sent a binary frame".into()));
                    }
                    Ok(Some(Event::Ping(payload))) => {
                        let pong = decoder.bytes(input, &payload).to_vec();
                        self.speaker.write_control(Opcode::Pong, &pong)?;
                    }
                    Ok(Some(Event::Pong(_))) => {}
                    Ok(Some(Event::Close { code, payload })) => {
                        let reason = String::from_utf8_lossy(decoder.bytes(input, &payload)).into_owned();
                        // The other side of the closing handshake; if the peer is gone already, that was all.
                        let _ =
                            self.speaker.write_control(Opcode::Close, &code.unwrap_or(1000).to_be_bytes());
                        return match code {
                            None | Some(1000) => Ok(Some(None)),
                            Some(code) => Err(broken(format!("closed with code {code} {reason}"))),
                        };
                    }
                    Err(error) => return Err(broken(format!("the server broke the protocol: {error}"))),
                }
            },
        }
    }

    fn broken(&self, why: String) -> ToolError {
        ToolError::EndedEarly { address: self.address.clone(), why }
    }
}

impl Speaker {
    /// Sends one object.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&self, object: &[u8]) -> Result<(), ToolError> {
        let mut bytes = Vec::with_capacity(object.len() + 14);
        if self.framed {
            websocket::write_masked_frame(&mut bytes, Opcode::Text, object, mask());
        } else {
            bytes.extend_from_slice(object);
            bytes.push(b'\n');
        }
        self.write(&bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        if self.framed {
            let _ = self.write_control(Opcode::Close, &1000_u16.to_be_bytes());
        } else {
            let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = match &*stream {
                Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
                Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
                Stream::Tls(secure) => secure.finish(),
            };
        }
    }

    fn write_control(&self, opcode: Opcode, payload: &[u8]) -> Result<(), ToolError> {
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        websocket::write_masked_frame(&mut bytes, opcode, payload, mask());
        self.write(&bytes)
    }

    /// Whether the server's system has not taken everything that was said.
    pub(super) fn is_under_way(&self) -> bool {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match &*stream {
            Stream::Tcp(tcp) => sockeye_sys::socket::unsent(tcp),
            Stream::Unix(unix) => sockeye_sys::socket::unsent(unix),
            Stream::Tls(secure) => sockeye_sys::socket::unsent(secure.tcp()),
        };
        unsent.is_ok_and(|bytes| bytes > 0)
    }

    /// Whether somebody is saying something at this moment.
    fn is_speaking(&self) -> bool {
        matches!(self.stream.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), ToolError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => gone(&self.address),
            _ => ToolError::EndedEarly { address: self.address.clone(), why: error.to_string() },
        })
    }
}

fn connect_tcp(address: &Address, host: &str, port: u16) -> Result<TcpStream, ToolError> {
    let found = (host, port).to_socket_addrs().map_err(|source| ToolError::NameNotFound {
        address: address.clone(),
        host: host.to_owned(),
        source,
    })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for ip in found {
        match TcpStream::connect_timeout(&ip, CONNECT_TIMEOUT) {
            Ok(stream) => {
                // Each object is sent in one write: waiting for more would only delay it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    if last.kind() == io::ErrorKind::TimedOut {
        return Err(timed_out(address, "connecting"));
    }
    Err(ToolError::unconnected(address, last))
}

fn connect_tls(address: &Address, at: &HostPort) -> Result<Stream, ToolError> {
    let unreachable = |source| ToolError::unconnected(address, source);
    let tcp = connect_tcp(address, &at.host, at.port)?;
    tcp.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(unreachable)?;
    let secure = Secure::shake_hands(address, at.without_zone(), tcp)?;
    secure.set_read_timeout(None).map_err(unreachable)?;
    Ok(Stream::Tls(secure))
}

/// The server was silent for as long as that is borne.
pub(super) fn gone(address: &Address) -> ToolError {
    let why = "the server does not answer any more".into();
    ToolError::EndedEarly { address: address.clone(), why }
}

pub(super) fn timed_out(address: &Address, step: &'static str) -> ToolError {
    ToolError::TimedOut { address: address.clone(), step, seconds: CONNECT_TIMEOUT.as_secs() }
}

/// Asks for a WebSocket and reads the answer; returns where in the buffer the frames behind it are, and how they are
/// compressed.
fn shake_hands(
    address: &Address,
    stream: &mut Stream,
    host: &str,
    path: &str,
    buffer: &mut [u8],
) -> Result<(usize, usize, Option<Deflate>), ToolError> {
    let failed = |why: String| ToolError::Handshake { address: address.clone(), why };
    let key = websocket::request_key(random());
    let mut request = Vec::new();
    websocket::write_upgrade_request(&mut request, host, path, &key, &[], Some(&OFFER))
        .map_err(|error| failed(error.to_string()))?;
    stream.write_all(&request).map_err(|error| failed(error.to_string()))?;
    let mut end = 0;
    loop {
        let length = match stream.read(&mut buffer[end..]) {
            Ok(0) => return Err(failed("the server closed the connection".into())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(timed_out(address, "the WebSocket handshake"));
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        end += length;
        match websocket::parse_upgrade_response(&buffer[..end], &key, &[], Some(&OFFER)) {
            Ok(Some(response)) => return Ok((response.head_bytes, end, response.deflate)),
            Ok(None) => {}
            Err(error) => {
                let words = match &error {
                    UpgradeResponseError::Status { status: 400.., .. } => words(stream, &buffer[..end]),
                    _ => String::new(),
                };
                // Whoever leaves the path out gets the page there.
                let hint = match path {
                    "/" => " at /, and a Sockeye server speaks the protocol at /ws: put that behind the port",
                    _ => "",
                };
                return Err(failed(format!("{error}{words}{hint}")));
            }
        }
        if end == buffer.len() {
            return Err(failed("the answer's head is too long".into()));
        }
    }
}

/// What a server says about its refusal, of which the beginning was received.
fn words(stream: &mut Stream, answer: &[u8]) -> String {
    let Some(mut words) = RefusalWords::begin(answer.to_vec()) else { return String::new() };
    let until = Instant::now() + LINE_TIMEOUT;
    let (mut buffer, mut length) = ([0; 1_024], 0);
    while !words.push(&buffer[..length]) {
        let left = until.saturating_duration_since(Instant::now());
        // What came in that time is shown.
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        length = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => break,
        };
    }
    words.suffix()
}

/// RFC 6455, 5.3: the masking key must not be predictable.
fn mask() -> [u8; 4] {
    random()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("the system has randomness once it runs");
    bytes
}

impl Stream {
    fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(tcp) => Stream::Tcp(tcp.try_clone()?),
            Stream::Unix(unix) => Stream::Unix(unix.try_clone()?),
            Stream::Tls(secure) => Stream::Tls(Arc::clone(secure)),
        })
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.set_read_timeout(timeout),
            Stream::Unix(unix) => unix.set_read_timeout(timeout),
            Stream::Tls(secure) => secure.set_read_timeout(timeout),
        }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.set_write_timeout(timeout),
            Stream::Unix(unix) => unix.set_write_timeout(timeout),
            Stream::Tls(secure) => secure.set_write_timeout(timeout),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.read(buffer),
            Stream::Unix(unix) => unix.read(buffer),
            Stream::Tls(secure) => secure.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.write(bytes),
            Stream::Unix(unix) => unix.write(bytes),
            Stream::Tls(secure) => secure.write_all(bytes).map(|()| bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::net::TcpListener;
    use std::thread;

    use sockeye_wire::http::{HeadLimits, parse_head};

    use super::super::silence::Bounds;
    use super::*;

    /// Short, so that nobody waits, and still longer than an answer takes here.
    const SHORT: Bounds = Bounds { ask_after: Duration::from_millis(400), questions_max: 2 };

    #[test]
    fn a_server_of_lines_that_falls_silent_is_asked_and_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address: Address =
            format!("tcp:{}", listener.local_addr().expect("an address")).parse().expect("it is one");
        let mut link = Link::connect(&address).expect("it listens");
        let (stream, _) = listener.accept().expect("it connected");
        let server = thread::spawn(move || {
            let mut questions = io::BufReader::new(stream.try_clone().expect("a second handle")).lines();
            // The first question is answered, the next two are not.
            let first = questions.next();
            (&stream).write_all(b"{\"pong\":1}\n").expect("it listens");
            first.into_iter().chain(questions).map_while(Result::ok).collect::<Vec<_>>()
        });

        link.listen(SHORT).expect("a time limit");
        let answer = link.receive().expect("an object");
        let end = link.receive();
        drop(link);

        assert_eq!(answer.as_deref(), Some(&br#"{"pong":1}"#[..]));
        assert!(matches!(end, Err(ToolError::EndedEarly { .. })), "{end:?}");
        // On a busy machine the answer may come after a second question.
        let questions = server.join().expect("it ends");
        assert!(questions.len() >= 3, "{questions:?}");
        assert!(questions.iter().all(|question| question == r#"{"ping":1}"#), "{questions:?}");
    }

    #[test]
    fn a_ping_of_a_websocket_ends_a_silence_too() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("an address");
        let address: Address = format!("ws://{at}/ws").parse().expect("it is one");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("it connects");
            let (mut request, mut buffer) = (Vec::new(), [0; 1_024]);
            let key = loop {
                let length = stream.read(&mut buffer).expect("a request");
                request.extend_from_slice(&buffer[..length]);
                if let Some((head, _)) = parse_head(&request, &HeadLimits::default()).expect("a request") {
                    break head.header("sec-websocket-key").expect("a key").to_owned();
                }
            };
            let mut answer = Vec::new();
            websocket::write_accept(&mut answer, &key, None, None);
            stream.write_all(&answer).expect("it reads");
            // A question comes, a ping goes; so it is not given up before two more have come.
            let mut frames = Decoder::new(Role::Server, 1_024);
            let mut questions = 0;
            loop {
                let length = stream.read(&mut buffer).expect("it goes on or ends");
                if length == 0 {
                    return questions;
                }
                let mut at = 0;
                while let Some(event) = frames.decode(&mut buffer[..length], &mut at).expect("frames") {
                    if matches!(event, Event::Message { .. }) {
                        questions += 1;
                    }
                    if questions == 1 && matches!(event, Event::Message { .. }) {
                        stream.write_all(&[0x89, 0]).expect("it reads");
                    }
                }
            }
        });

        let mut link = Link::connect(&address).expect("it listens");
        link.listen(SHORT).expect("a time limit");
        let end = link.receive();
        drop(link);

        assert!(matches!(end, Err(ToolError::EndedEarly { .. })), "{end:?}");
        assert!(server.join().expect("it ends") >= 3);
    }
}
