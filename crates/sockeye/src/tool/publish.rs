//! Publishing: one message, or one for each line of an input, each with its answer.

use std::io::{BufRead, Read as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use sockeye_wire::json;

use super::ToolError;
use super::gram::{Grams, is_datagram, key};
use super::link::{CONNECT_TIMEOUT, Link, Speaker, timed_out};
use super::said::Said;
use crate::address::Address;
use crate::net::MESSAGE_BYTES_MAX;

/// How many messages may be under way unanswered.
const WINDOW: usize = 64;

/// What is published.
pub enum Payload<'a> {
    /// One message.
    One(&'a [u8]),
    /// Each line of an input, without its line end: `\n`, or `\r\n` as the protocol has it, too.
    Lines(&'a mut dyn BufRead),
}

/// Publishes to a channel and waits until the server has accepted everything. Text that is one JSON object or array is
/// published as JSON, other UTF-8 as text, other bytes as binary.
///
/// # Errors
/// The first refusal, or the end of the connection before everything was answered.
pub fn publish(
    address: &Address,
    token: Option<&str>,
    channel: &str,
    payload: Payload<'_>,
) -> Result<u64, ToolError> {
    if is_datagram(address) {
        return publish_datagrams(address, token, channel, payload);
    }
    let mut link = Link::connect(address)?;
    link.show(token)?;
    let speaker = link.speaker();
    // A token for each message that may be under way: taken before sending, given back by the answer.
    let (answered, answers) = mpsc::sync_channel(WINDOW);
    let reader = thread::spawn(move || read_answers(link, &answered));
    let mut sender = Sender { address, speaker, channel, answers, sent: 0, under_way: 0 };
    // A mistake in the input is told when everything before it was accepted.
    let mut broken = None;
    match payload {
        Payload::One(message) => sender.send(message)?,
        Payload::Lines(input) => {
            let mut lines = Lines::new(input);
            loop {
                match lines.next() {
                    Ok(Some(line)) => sender.send(line)?,
                    Ok(None) => break,
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
        }
    }
    while sender.under_way > 0 {
        sender.wait()?;
    }
    sender.speaker.finish();
    let sent = sender.sent;
    drop(sender);
    // The reader ends with the connection; what it has to say after the last answer is of no interest.
    let _ = reader.join();
    broken.map_or(Ok(sent), Err)
}

/// The same in datagrams: one after the other, each repeated until it is answered.
fn publish_datagrams(
    address: &Address,
    token: Option<&str>,
    channel: &str,
    payload: Payload<'_>,
) -> Result<u64, ToolError> {
    let mut grams = Grams::connect(address)?;
    grams.show(token)?;
    let mut sent = 0;
    let mut send = |payload: &[u8]| {
        sent += 1;
        let request = String::from_utf8(request(channel, payload, sent)).expect("requests are JSON");
        let fields = request.trim_start_matches('{').strip_suffix('}').expect("it is an object");
        // A repetition that was not needed is known by its key, and publishes nothing.
        let fields = format!("{fields},\"key\":\"{}\"", key());
        grams.ask(&fields, |said, _| said.is_done(sent))
    };
    match payload {
        Payload::One(message) => send(message)?,
        Payload::Lines(input) => {
            let mut lines = Lines::new(input);
            while let Some(line) = lines.next()? {
                send(line)?;
            }
        }
    }
    Ok(sent)
}

/// The lines of an input, each of which has a bound.
struct Lines<'a> {
    input: &'a mut dyn BufRead,
    line: Vec<u8>,
    count: u64,
}

impl<'a> Lines<'a> {
    fn new(input: &'a mut dyn BufRead) -> Lines<'a> {
        Lines { input, line: Vec::new(), count: 0 }
    }

    /// The next line without its end; `None` is the end of the input.
    fn next(&mut self) -> Result<Option<&[u8]>, ToolError> {
        self.line.clear();
        // The line's end comes beside the bound, and as much more tells a line that is too long.
        let mut bounded = (&mut *self.input).take(MESSAGE_BYTES_MAX as u64 + 2);
        let read = bounded.read_until(b'\n', &mut self.line);
        if read.map_err(|source| ToolError::Output { what: "cannot read standard input", source })? == 0 {
            return Ok(None);
        }
        self.count += 1;
        let line = match self.line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => &self.line,
        };
        if line.len() > MESSAGE_BYTES_MAX {
            return Err(ToolError::LineTooLong { line: self.count, bytes_max: MESSAGE_BYTES_MAX });
        }
        Ok(Some(line))
    }
}

struct Sender<'a> {
    address: &'a Address,
    speaker: Speaker,
    channel: &'a str,
    answers: mpsc::Receiver<Result<(), ToolError>>,
    sent: u64,
    under_way: usize,
}

impl Sender<'_> {
    fn send(&mut self, payload: &[u8]) -> Result<(), ToolError> {
        while let Ok(answer) = self.answers.try_recv() {
            answer?;
            self.under_way -= 1;
        }
        if self.under_way == WINDOW {
            self.wait()?;
        }
        self.sent += 1;
        self.under_way += 1;
        self.speaker.send(&request(self.channel, payload, self.sent))
    }

    fn wait(&mut self) -> Result<(), ToolError> {
        match self.answers.recv_timeout(CONNECT_TIMEOUT) {
            Ok(answer) => answer?,
            Err(RecvTimeoutError::Timeout) => return Err(timed_out(self.address, "an answer")),
            Err(RecvTimeoutError::Disconnected) => unreachable!("the reader says why it ends before it ends"),
        }
        self.under_way -= 1;
        Ok(())
    }
}

/// Passes the outcome of each message on, and at last that of the connection.
fn read_answers(mut link: Link, answered: &mpsc::SyncSender<Result<(), ToolError>>) {
    let address = link.address().clone();
    loop {
        let outcome = match link.receive() {
            Ok(Some(object)) => match Said::read(&address, &object) {
                Ok(said) if said.ok.is_some() => Ok(()),
                Ok(said) => match said.into_failure(&address) {
                    Some(failure) => Err(failure),
                    None => continue,
                },
                Err(error) => Err(error),
            },
            Ok(None) => {
                Err(ToolError::EndedEarly { address: address.clone(), why: "the server closed it".into() })
            }
            Err(error) => Err(error),
        };
        let is_end = outcome.is_err();
        if answered.send(outcome).is_err() || is_end {
            return;
        }
    }
}

fn request(channel: &str, payload: &[u8], id: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + channel.len() + 48);
    out.extend_from_slice(b"{\"pub\":");
    json::write_string(&mut out, channel);
    match std::str::from_utf8(payload) {
        Ok(text) if json::is_object_or_array(payload) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(&json::without_line_breaks(text.as_bytes()));
        }
        Ok(text) => {
            out.extend_from_slice(b",\"data\":");
            json::write_string(&mut out, text);
        }
        Err(_) => {
            out.extend_from_slice(b",\"b64\":\"");
            json::write_base64(&mut out, payload);
            out.push(b'"');
        }
    }
    out.extend_from_slice(format!(",\"id\":{id}}}").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader};

    use super::*;

    #[test]
    fn a_line_has_a_bound_and_is_named_by_its_number() {
        let mut input = BufReader::new((&b"one\n"[..]).chain(io::repeat(b'x')));
        let mut lines = Lines::new(&mut input);

        assert_eq!(lines.next().expect("a line"), Some(&b"one"[..]));
        let error = lines.next().expect_err("it has no end");
        assert!(matches!(error, ToolError::LineTooLong { line: 2, .. }), "{error}");

        let fits = [vec![b'x'; MESSAGE_BYTES_MAX], b"\r\nlast".to_vec()].concat();
        let mut input = fits.as_slice();
        let mut lines = Lines::new(&mut input);
        assert_eq!(lines.next().expect("it fits").map(<[u8]>::len), Some(MESSAGE_BYTES_MAX));
        assert_eq!(lines.next().expect("a line"), Some(&b"last"[..]));
        assert_eq!(lines.next().expect("the end"), None);
    }
}
