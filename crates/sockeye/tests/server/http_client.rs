//! Requests as bytes and responses as they come: a client that checks what every response owes its reader.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::client::{Inbox, Stream};

/// A connection for requests.
pub(crate) struct Http(pub(crate) Inbox);

/// One response.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn over(stream: Stream) -> Http {
        Http(Inbox::over(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.stream.write_all(bytes).unwrap();
    }

    /// The next response to a request that was not HEAD.
    pub(crate) fn receive(&mut self) -> Response {
        let mut response = Response::read_head(&mut self.0);
        response.read_body(&mut self.0);
        response
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send(&request(method, path, headers, body));
        match method {
            "HEAD" => Response::read_head(&mut self.0),
            _ => self.receive(),
        }
    }

    /// The server ends the connection without another byte.
    pub(crate) fn ended(&mut self) {
        assert!(self.0.rest().is_empty(), "{:?}", String::from_utf8_lossy(self.0.rest()));
        assert_eq!(String::from_utf8_lossy(&self.0.stream.read_rest()), "");
    }

    /// The next event of an event stream: its id and data. Comments are passed over.
    pub(crate) fn event(&mut self) -> (Option<String>, Value) {
        loop {
            let text = String::from_utf8(self.0.take_through(b"\n\n").expect("the stream ended")).unwrap();
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let Some(data) = field("data") {
                return (field("id").map(str::to_owned), serde_json::from_str(data).unwrap());
            }
            assert!(text.starts_with(':'), "neither an event nor a comment: {text:?}");
        }
    }
}

impl Response {
    pub(crate) fn read_head(inbox: &mut Inbox) -> Response {
        let head = String::from_utf8(inbox.take_through(b"\r\n\r\n").expect("no answer")).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap();
        assert!(status.starts_with("HTTP/1.1 "), "{status}");
        let status = status[9..12].parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").expect("a header field"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let response = Response { status, headers, body: Vec::new() };
        response.check_date();
        response
    }

    /// RFC 9110, 6.6.1: every answer tells when it was made, but for the interim ones.
    fn check_date(&self) {
        if self.status < 200 {
            return;
        }
        let date = self.header("date").unwrap_or_else(|| panic!("no date: {self:?}"));
        let age = SystemTime::now().duration_since(httpdate::parse_http_date(date).expect("a date")).unwrap();
        assert!(age < Duration::from_secs(600), "{date}");
    }

    pub(crate) fn read_body(&mut self, inbox: &mut Inbox) {
        let length = self.header("content-length").map(|length| length.parse().unwrap());
        match length {
            Some(length) => self.body = inbox.take(length),
            // RFC 9112, 6.3: these have no body, whatever their fields say.
            None => assert!(matches!(self.status, 100..200 | 204 | 304), "no length: {self:?}"),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Checks that this is an error of the protocol, with this status and word.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let error = self.json();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["error"].is_null() && error["retry"].is_boolean(), "{error}");
        error["why"].as_str().unwrap().to_owned()
    }
}

/// A request to `localhost`, with a length where there is a body.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !has("host") {
        out.extend_from_slice(b"Host: localhost\r\n");
    }
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !has("transfer-encoding") && !has("content-length") && (method == "POST" || !body.is_empty()) {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}
