//! HTTP answers: what every one of them has in common.

use std::borrow::Cow;

use sockeye_hub::Now;
use sockeye_wire::http::ResponseHead;
use sockeye_wire::json::{self, Code};

/// How the request that is being answered wants its answer.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// The connection goes on after the answer.
    pub(crate) keep_alive: bool,
    /// The answer has no body, only its length (HEAD).
    pub(crate) head_only: bool,
    /// HTTP/1.0 must be told that the connection goes on.
    pub(crate) is_1_0: bool,
    /// The listed origin whose page asked, and may read the answer.
    pub(crate) origin: Option<Box<str>>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) body: Cow<'static, [u8]>,
    /// The word of an error.
    pub(crate) code: Option<Code>,
}

const JSON: &str = "application/json";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

impl Reply {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Reply { status, content_type, headers: Vec::new(), body: body.into(), code: None }
    }

    /// An object of the protocol. What is said once is not kept by anybody.
    pub(crate) fn json(status: u16, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut body = Vec::new();
        write(&mut body);
        body.push(b'\n');
        Reply::new(status, JSON, body).with("Cache-Control", "no-store")
    }

    /// An error of the protocol, with the status that its word has.
    pub(crate) fn error(code: Code, why: &str) -> Self {
        Reply::refusal(code.http_status(), code, why)
    }

    /// An error of the protocol under a status of its own.
    pub(crate) fn refusal(status: u16, code: Code, why: &str) -> Self {
        let reply = Reply::json(status, |out| json::write_error(out, None, code, why, code.retry()));
        let reply = Reply { code: Some(code), ..reply };
        if code == Code::Unauthorized && why != crate::token::REFUSED {
            // RFC 6750, 3.1: a request that shows no token is told of no error of it.
            return reply.with("WWW-Authenticate", "Bearer realm=\"sockeye\"");
        }
        if code.retry() { reply.with("Retry-After", "1") } else { reply }
    }

    /// Too much in too short a time, with the time after which it is worth another try.
    pub(crate) fn rate(why: &str, retry_ms: u64) -> Self {
        let seconds = retry_ms.div_ceil(1_000).to_string();
        Reply::json(Code::Rate.http_status(), |out| json::write_rate_error(out, None, why, retry_ms))
            .with("Retry-After", seconds)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, manner: &Manner, now: Now) {
        let has_body = !matches!(self.status, 204 | 304);
        let mut head = ResponseHead::new(self.status).date(now.unix_ms);
        if has_body {
            head = head.header("Content-Type", self.content_type).header("X-Content-Type-Options", "nosniff");
        }
        for (name, value) in &self.headers {
            head = head.header(name, value.as_ref());
        }
        if let Some(origin) = &manner.origin {
            head = allow_origin(head, origin);
        }
        if has_body {
            head = head.length(self.body.len() as u64);
        }
        if !manner.keep_alive {
            head = head.close();
        } else if manner.is_1_0 {
            head = head.keep_alive();
        }
        head.write(out);
        if has_body && !manner.head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Lets the pages of a listed origin read the answer, and how long to wait before they ask again (Fetch, 3.3.4).
pub(crate) fn allow_origin<'h>(head: ResponseHead<'h>, origin: &'h str) -> ResponseHead<'h> {
    head.header("Access-Control-Allow-Origin", origin)
        .header("Access-Control-Expose-Headers", "Retry-After")
        .header("Vary", "Origin")
}
