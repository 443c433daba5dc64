//! Simple clients: a stream with patience, lines, and a WebSocket. They answer nothing by themselves.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use sockeye_wire::websocket::{self, Decoder, Deflate, DeflateOffer, Event, MessageKind, Opcode, Role};

use crate::http_client::Response;
use crate::world::{PATIENCE, Server};

/// A connected socket; reading and writing fail after a while instead of blocking for ever.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secure>),
}

impl Stream {
    pub(crate) fn tcp(address: SocketAddr) -> Stream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Stream::Tcp(stream).patient(PATIENCE)
    }

    pub(crate) fn unix(path: &Path) -> Stream {
        Stream::Unix(UnixStream::connect(path).unwrap()).patient(PATIENCE)
    }

    /// Sets how long one read or write may take.
    pub(crate) fn patient(self, patience: Duration) -> Stream {
        match &self {
            Stream::Tcp(tcp) => {
                tcp.set_read_timeout(Some(patience)).unwrap();
                tcp.set_write_timeout(Some(patience)).unwrap();
            }
            Stream::Unix(unix) => {
                unix.set_read_timeout(Some(patience)).unwrap();
                unix.set_write_timeout(Some(patience)).unwrap();
            }
            Stream::Tls(_) => {}
        }
        self
    }

    /// Ends the sending side.
    pub(crate) fn finish(&mut self) {
        match self {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write).unwrap(),
            Stream::Tls(secure) => secure.finish(),
        }
    }

    /// Everything until the server ends the connection, by its end or by a reset.
    pub(crate) fn read_rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut piece = [0; 16 << 10];
        loop {
            match self.read(&mut piece) {
                Ok(0) => return rest,
                Ok(length) => rest.extend_from_slice(&piece[..length]),
                Err(error) if is_gone(&error) => return rest,
                // The machine was stopped for a while: a socket with a time limit is not read on by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("the server did not end the connection: {error}"),
            }
        }
    }
}

/// The connection was reset, rather than silent for too long.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
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
            Stream::Tls(secure) => secure.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A TLS connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Shakes hands.
    pub(crate) fn over(tcp: TcpStream, client: &Arc<ClientConfig>, name: &'static str) -> io::Result<Secure> {
        Secure::shake_hands(tcp, client, name, usize::MAX)
    }

    /// Shakes hands, one byte a packet.
    pub(crate) fn slowly(
        tcp: TcpStream,
        client: &Arc<ClientConfig>,
        name: &'static str,
    ) -> io::Result<Secure> {
        Secure::shake_hands(tcp, client, name, 1)
    }

    fn shake_hands(
        tcp: TcpStream,
        client: &Arc<ClientConfig>,
        name: &'static str,
        piece_bytes: usize,
    ) -> io::Result<Secure> {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut connection = ClientConnection::new(Arc::clone(client), name.try_into().unwrap()).unwrap();
        while connection.is_handshaking() {
            let mut said = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut said).unwrap();
            }
            for piece in said.chunks(piece_bytes) {
                (&tcp).write_all(piece)?;
            }
            if !connection.is_handshaking() {
                break;
            }
            match connection.read_tls(&mut &tcp) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // A read that has a time limit is not begun again by the system.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => drop(read?),
            }
            if let Err(error) = connection.process_new_packets() {
                // The alert says why.
                let _ = connection.write_tls(&mut &tcp);
                return Err(io::Error::other(error));
            }
        }
        let mut secure = Secure(StreamOwned::new(connection, tcp));
        secure.flush()?;
        Ok(secure)
    }

    pub(crate) fn connection(&self) -> &ClientConnection {
        &self.0.conn
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.0.sock
    }

    /// The certificate that the server showed.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone()
    }

    /// Ends the sending side in the words of TLS, and leaves the socket as it is.
    pub(crate) fn finish(&mut self) {
        self.0.conn.send_close_notify();
        self.flush().unwrap();
    }
}

impl Read for Secure {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.0.write(bytes)?;
        self.0.flush()?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Bytes that were received, taken from the front in pieces.
pub(crate) struct Inbox {
    pub(crate) stream: Stream,
    received: Vec<u8>,
    at: usize,
}

impl Inbox {
    pub(crate) fn over(stream: Stream) -> Inbox {
        Inbox { stream, received: Vec::new(), at: 0 }
    }

    /// What was received and not taken yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.received[self.at..]
    }

    /// Receives more. False at the end of the connection.
    pub(crate) fn more(&mut self) -> bool {
        self.received.drain(..self.at);
        self.at = 0;
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.received.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) if is_gone(&error) => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// Takes so many bytes, once they are there.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.rest().len() < length {
            assert!(self.more(), "the connection ended inside of something");
        }
        let taken = self.rest()[..length].to_vec();
        self.at += length;
        taken
    }

    /// Takes up to and with `end`; `None` when the connection ends before anything else comes.
    pub(crate) fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            let rest = self.rest();
            let from = searched.min(rest.len());
            if let Some(found) = rest[from..].windows(end.len()).position(|window| window == end) {
                let length = from + found + end.len();
                return Some(self.take(length));
            }
            searched = (rest.len() + 1).saturating_sub(end.len());
            if !self.more() {
                assert!(
                    self.rest().is_empty(),
                    "half of something: {:?}",
                    String::from_utf8_lossy(self.rest())
                );
                return None;
            }
        }
    }
}

/// A conversation in lines.
pub(crate) struct Lines(pub(crate) Inbox);

impl Lines {
    pub(crate) fn over(stream: Stream) -> Lines {
        Lines(Inbox::over(stream))
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.0.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut line = String::from_utf8(self.0.take_through(b"\n")?).unwrap();
        line.pop();
        Some(line)
    }

    pub(crate) fn receive(&mut self) -> Value {
        serde_json::from_str(&self.next().expect("the connection ended")).unwrap()
    }

    /// Sends a request and gives the next object.
    pub(crate) fn ask(&mut self, request: &str) -> Value {
        self.send(request);
        self.receive()
    }
}

/// What a WebSocket brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The connection ended.
    End,
}

/// A WebSocket.
pub(crate) struct WebSocket {
    stream: Stream,
    decoder: Decoder,
    input: Vec<u8>,
    at: usize,
    agreed: Option<Deflate>,
    received_bytes: usize,
}

const MASK: [u8; 4] = [0x5a, 0xc3, 0x01, 0xfe];

impl WebSocket {
    /// Opens one that must be accepted.
    pub(crate) fn open(server: &Server, path: &str) -> WebSocket {
        WebSocket::over(server.connect(), path, &[]).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// Opens one that must be accepted, and compresses if the server would.
    pub(crate) fn open_deflated(server: &Server, path: &str, offer: &DeflateOffer) -> WebSocket {
        WebSocket::shake_hands(server.connect(), path, &[], Some(offer))
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// Shakes hands; the server's answer when that is not an upgrade.
    pub(crate) fn over(stream: Stream, path: &str, headers: &[(&str, &str)]) -> Result<WebSocket, Response> {
        WebSocket::shake_hands(stream, path, headers, None)
    }

    fn shake_hands(
        stream: Stream,
        path: &str,
        headers: &[(&str, &str)],
        offer: Option<&DeflateOffer>,
    ) -> Result<WebSocket, Response> {
        let mut inbox = Inbox::over(stream);
        let key = websocket::request_key([7; 16]);
        let mut request = Vec::new();
        websocket::write_upgrade_request(&mut request, "localhost", path, &key, headers, offer).unwrap();
        inbox.stream.write_all(&request).unwrap();
        let mut response = Response::read_head(&mut inbox);
        if response.status != 101 {
            response.read_body(&mut inbox);
            return Err(response);
        }
        assert_eq!(response.header("sec-websocket-accept").unwrap().as_bytes(), websocket::accept_key(&key));
        let answer = response.header("sec-websocket-extensions");
        let agreed = answer.map(|answer| offer.unwrap().agree(answer.as_bytes()).unwrap());
        let mut decoder = Decoder::new(Role::Client, 64 << 20);
        if let Some(agreed) = &agreed {
            decoder = decoder.inflate(agreed);
        }
        let input = inbox.rest().to_vec();
        let received_bytes = input.len();
        Ok(WebSocket { stream: inbox.stream, decoder, input, at: 0, agreed, received_bytes })
    }

    /// How messages are compressed, if they are.
    pub(crate) fn agreed(&self) -> Option<Deflate> {
        self.agreed
    }

    /// What came over the wire since the handshake.
    pub(crate) fn received_bytes(&self) -> usize {
        self.received_bytes
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_frame(Opcode::Text, text.as_bytes());
    }

    pub(crate) fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.stream.write_all(&frame(opcode, payload)).unwrap();
    }

    pub(crate) fn send_close(&mut self, code: Option<u16>, reason: &str) {
        let mut out = Vec::new();
        websocket::write_masked_close(&mut out, code, reason, MASK);
        self.stream.write_all(&out).unwrap();
    }

    /// The next frame or whole message.
    pub(crate) fn receive(&mut self) -> Frame {
        loop {
            if let Some(event) = self.decoder.decode(&mut self.input, &mut self.at).unwrap() {
                let bytes = |payload| self.decoder.bytes(&self.input, payload).to_vec();
                return match &event {
                    Event::Message { kind: MessageKind::Text, payload } => {
                        Frame::Text(String::from_utf8(bytes(payload)).unwrap())
                    }
                    Event::Message { kind: MessageKind::Binary, payload } => Frame::Binary(bytes(payload)),
                    Event::Ping(payload) => Frame::Ping(bytes(payload)),
                    Event::Pong(payload) => Frame::Pong(bytes(payload)),
                    Event::Close { code, payload } => {
                        Frame::Close(*code, String::from_utf8(bytes(payload)).unwrap())
                    }
                };
            }
            self.input.resize(64 << 10, 0);
            self.at = 0;
            match self.stream.read(&mut self.input) {
                Ok(length) => self.input.truncate(length),
                Err(error) if is_gone(&error) => self.input.clear(),
                Err(error) => panic!("nothing came: {error}"),
            }
            self.received_bytes += self.input.len();
            if self.input.is_empty() {
                return Frame::End;
            }
        }
    }

    /// The next message, which is text.
    pub(crate) fn text(&mut self) -> String {
        match self.receive() {
            Frame::Text(text) => text,
            other => panic!("not a text message: {other:?}"),
        }
    }

    /// The next object.
    pub(crate) fn object(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    pub(crate) fn ask(&mut self, request: &str) -> Value {
        self.send(request);
        self.object()
    }

    /// The server closes with this code; its reason.
    pub(crate) fn closed_with(&mut self, code: u16) -> String {
        match self.receive() {
            Frame::Close(found, reason) => {
                assert_eq!(found, Some(code), "{reason}");
                reason
            }
            other => panic!("not closed: {other:?}"),
        }
    }
}

/// A client's frame.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::write_masked_frame(&mut out, opcode, payload, MASK);
    out
}

/// One frame of a fragmented message.
pub(crate) fn fragment(opcode: Opcode, payload: &[u8], is_last: bool) -> Vec<u8> {
    let mut out = frame(opcode, payload);
    if !is_last {
        out[0] &= 0x7f;
    }
    out
}
