//! Publishing: one message, or one for each line of an input, each with its answer.

use std::io::{BufRead, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use sockeye_wire::json;

use super::ToolError;
use super::gram::{Grams, is_datagram, key};
use super::link::{CONNECT_TIMEOUT, Link, Patience, Speaker, timed_out};
use super::said::Said;
use crate::address::Address;
use crate::net::MESSAGE_BYTES_MAX;

/// How many messages may be under way unanswered.
const WINDOW: usize = 64;
/// How long one thread waits for the words of the other when the connection has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is published.
pub enum Payload {
    /// One message.
    One(Vec<u8>),
    /// Each line of an input, without its line end: `\n`, or `\r\n` as the protocol has it, too.
    Lines(Box<dyn BufRead + Send>),
}

/// Publishes to a channel and waits until the server has accepted everything. Text that is one JSON object or array is
/// published as JSON, other UTF-8 as text, other bytes as binary.
///
/// An input that is quiet is waited for in a thread of its own, which goes on waiting when the server has ended meanwhile.
///
/// # Errors
/// The first refusal, or the end of the connection before everything was answered: also when the server is silent for a minute
/// although it was asked.
pub fn publish(
    address: &Address,
    token: Option<&str>,
    channel: &str,
    payload: Payload,
) -> Result<u64, ToolError> {
    if is_datagram(address) {
        return publish_datagrams(address, token, channel, payload);
    }
    let mut link = Link::connect(address)?;
    link.show(token)?;
    link.wait_with(Patience::Listening)?;
    publish_over(link, channel, payload)
}

/// What the two threads of a publication have to say: the one that reads the input, and the one that hears the answers.
enum Outcome {
    /// All answers are there; then a mistake in the input is told.
    Done(Result<(), ToolError>),
    /// Nothing more will be accepted.
    Failed(ToolError),
}

/// What was sent, and what of it was accepted.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    accepted: AtomicU64,
}

/// The input may be quiet for as long as it likes, and its end is nothing that could be waited for beside the server's words: so
/// it has a thread of its own, which is left behind with it when the server is gone.
fn publish_over(link: Link, channel: &str, payload: Payload) -> Result<u64, ToolError> {
    let (address, speaker) = (link.address().clone(), link.speaker());
    let tally = Arc::new(Tally::default());
    let are_lines = matches!(payload, Payload::Lines(_));
    // A token for each message that may be under way: taken before sending, given back by the answer.
    let (answered, answers) = mpsc::sync_channel(WINDOW);
    let (tell, outcomes) = mpsc::channel();
    let reader = thread::spawn({
        let (tally, tell) = (Arc::clone(&tally), tell.clone());
        move || read_answers(link, &tally, &answered, &tell)
    });
    thread::spawn({
        let (speaker, channel, tally) = (speaker.clone(), channel.to_owned(), Arc::clone(&tally));
        let sender = Sender { address, speaker, channel, answers, tally, under_way: 0 };
        move || sender.run(payload, &tell)
    });
    let mut outcome = outcomes.recv().expect("who ends first says how");
    // An end behind the last answer is no failure where nothing more was to be sent: the sender is about to say so.
    if matches!(outcome, Outcome::Failed(_))
        && tally.unanswered() == 0
        && let Ok(done @ Outcome::Done(_)) = outcomes.recv_timeout(LAST_WORDS)
    {
        outcome = done;
    }
    match outcome {
        Outcome::Done(outcome) => {
            speaker.finish();
            // The reader ends with the connection; what it has to say after the last answer is of no interest.
            let _ = reader.join();
            outcome.map(|()| tally.sent.load(SeqCst))
        }
        Outcome::Failed(error) if are_lines => Err(tally.name_unanswered(error)),
        Outcome::Failed(error) => Err(error),
    }
}

impl Tally {
    fn unanswered(&self) -> u64 {
        self.sent.load(SeqCst).saturating_sub(self.accepted.load(SeqCst))
    }

    /// Says how much was not acknowledged when a connection ends.
    fn name_unanswered(&self, why: ToolError) -> ToolError {
        let is_end = matches!(why, ToolError::EndedEarly { .. } | ToolError::TimedOut { .. });
        match self.unanswered() {
            unanswered @ 1.. if is_end => {
                ToolError::Unacknowledged { why: Box::new(why), unanswered, sent: self.sent.load(SeqCst) }
            }
            _ => why,
        }
    }
}

/// The same in datagrams: one after the other, each repeated until it is answered.
fn publish_datagrams(
    address: &Address,
    token: Option<&str>,
    channel: &str,
    payload: Payload,
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
        Payload::One(message) => send(&message)?,
        Payload::Lines(mut input) => {
            let mut lines = Lines::new(&mut *input);
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

struct Sender {
    address: Address,
    speaker: Speaker,
    channel: String,
    answers: mpsc::Receiver<()>,
    tally: Arc<Tally>,
    under_way: usize,
}

/// How sending ends before its time. Without an error the other thread has told why.
type Stopped = Option<ToolError>;

impl Sender {
    fn run(mut self, payload: Payload, tell: &mpsc::Sender<Outcome>) {
        let outcome = match self.send_all(payload) {
            Ok(outcome) => Outcome::Done(outcome),
            Err(Some(error)) => Outcome::Failed(error),
            Err(None) => return,
        };
        // Whoever wanted to know may have gone: then it was told by the other thread.
        let _ = tell.send(outcome);
    }

    fn send_all(&mut self, payload: Payload) -> Result<Result<(), ToolError>, Stopped> {
        let mut outcome = Ok(());
        match payload {
            Payload::One(message) => self.send(&message)?,
            Payload::Lines(mut input) => {
                let mut lines = Lines::new(&mut *input);
                loop {
                    match lines.next() {
                        Ok(Some(line)) => self.send(line)?,
                        Ok(None) => break,
                        // A mistake in the input is told when everything before it was accepted.
                        Err(error) => {
                            outcome = Err(error);
                            break;
                        }
                    }
                }
            }
        }
        while self.under_way > 0 {
            self.wait()?;
        }
        Ok(outcome)
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), Stopped> {
        while self.answers.try_recv().is_ok() {
            self.under_way -= 1;
        }
        if self.under_way == WINDOW {
            self.wait()?;
        }
        self.under_way += 1;
        let id = self.tally.sent.fetch_add(1, SeqCst) + 1;
        self.speaker.send(&request(&self.channel, payload, id)).map_err(|error| self.wait_for_words(error))
    }

    fn wait(&mut self) -> Result<(), Stopped> {
        loop {
            match self.answers.recv_timeout(CONNECT_TIMEOUT) {
                Ok(()) => {
                    self.under_way -= 1;
                    return Ok(());
                }
                // What is not there yet cannot be answered. Whoever listens watches the server meanwhile.
                Err(RecvTimeoutError::Timeout) if self.speaker.is_under_way() => {}
                Err(RecvTimeoutError::Timeout) => return Err(Some(timed_out(&self.address, "an answer"))),
                Err(RecvTimeoutError::Disconnected) => return Err(None),
            }
        }
    }

    /// Nothing can be said any more. What the server said before it ended tells more than that, if it did.
    fn wait_for_words(&self, error: ToolError) -> Stopped {
        let until = Instant::now() + LAST_WORDS;
        loop {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Some(error),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// Passes on that a message was accepted, and at last how that came to an end.
fn read_answers(
    mut link: Link,
    tally: &Tally,
    answered: &mpsc::SyncSender<()>,
    tell: &mpsc::Sender<Outcome>,
) {
    let address = link.address().clone();
    let failure = loop {
        match link.receive() {
            Ok(Some(object)) => match Said::read(&address, &object) {
                // Who answers more than was asked is not listened to.
                Ok(said) if said.ok.is_some() => {
                    if tally.accepted.load(SeqCst) < tally.sent.load(SeqCst) {
                        tally.accepted.fetch_add(1, SeqCst);
                        if answered.send(()).is_err() {
                            return;
                        }
                    }
                }
                Ok(said) => {
                    if let Some(failure) = said.into_failure(&address) {
                        break failure;
                    }
                }
                Err(error) => break error,
            },
            Ok(None) => {
                break ToolError::EndedEarly { address, why: "the server closed it".into() };
            }
            Err(error) => break error,
        }
    };
    // It is told before the sender finds that no answer will come.
    let _ = tell.send(Outcome::Failed(failure));
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
    use std::io::{self, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::super::silence::Bounds;
    use super::*;

    /// Short, so that nobody waits, and still longer than an answer takes here.
    const SHORT: Bounds = Bounds { ask_after: Duration::from_millis(400), questions_max: 2 };
    /// Where a server that answers must not be given up, however busy the machine is.
    const LONG: Bounds = Bounds { ask_after: Duration::from_millis(50), questions_max: 80 };
    /// Nobody waits so long, unless something is wrong.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_server_that_falls_silent_is_given_up_while_the_input_is_quiet() {
        let (link, server) = listened_to(SHORT);
        let (mut input, lines) = UnixStream::pair().expect("a pair");
        let publishing = publishing(link, lines);
        let mut requests = BufReader::new(server.try_clone().expect("a second handle")).lines();

        input.write_all(b"one\n").expect("it reads");
        assert!(requests.next().expect("a line").expect("it is text").contains("one"));
        (&server).write_all(b"{\"ok\":1}\n").expect("it reads");
        input.write_all(b"two\nthree\n").expect("it reads");

        let error = publishing.recv_timeout(PATIENCE).expect("it ends").expect_err("two are missing");
        let words = error.to_string();
        assert!(words.ends_with("the server does not answer any more; 2 of 3 lines were not acknowledged"));
        assert!(matches!(error, ToolError::Unacknowledged { unanswered: 2, sent: 3, .. }), "{error:?}");
        // The thread that waits for the input has the connection open until then.
        drop(input);
        let said: Vec<_> = requests.map_while(Result::ok).collect();
        assert!(said.iter().filter(|said| *said == "{\"ping\":1}").count() >= 2, "{said:?}");
    }

    #[test]
    fn a_quiet_input_is_waited_for_as_long_as_the_server_answers() {
        let (link, server) = listened_to(LONG);
        let (mut input, lines) = UnixStream::pair().expect("a pair");
        let publishing = publishing(link, lines);
        let requests = BufReader::new(server.try_clone().expect("a second handle")).lines();

        // One question more than silence would be borne for.
        let mut questions = 0;
        for request in requests.map_while(Result::ok) {
            let is_question = request == "{\"ping\":1}";
            let answer = if is_question { "{\"pong\":1}\n" } else { "{\"ok\":1}\n{\"ok\":1}\n" };
            (&server).write_all(answer.as_bytes()).expect("it reads");
            questions += u32::from(is_question);
            if is_question && questions == LONG.questions_max + 2 {
                input.write_all(b"late\n").expect("it reads");
                input.shutdown(std::net::Shutdown::Write).expect("it is open");
            }
        }

        let published = publishing.recv_timeout(PATIENCE).expect("it ends");
        assert_eq!(published.expect("it was accepted, and more was than was asked"), 1);
    }

    #[test]
    fn an_end_behind_the_last_answer_is_no_failure() {
        for _ in 0..100 {
            let (link, server) = listened_to(SHORT);
            let (mut input, lines) = UnixStream::pair().expect("a pair");
            input.write_all(b"one\ntwo\n").expect("there is room");
            drop(input);
            let publishing = publishing(link, lines);

            let mut requests = BufReader::new(server.try_clone().expect("a second handle")).lines();
            let sent: Vec<_> = requests.by_ref().take(2).collect();
            (&server).write_all(b"{\"ok\":1}\n{\"ok\":2}\n{\"bye\":\"drain\"}\n").expect("it reads");
            drop((server, requests));

            assert_eq!(sent.len(), 2);
            let published = publishing.recv_timeout(PATIENCE).expect("it ends");
            assert_eq!(published.expect("both were accepted"), 2);
        }
    }

    /// A conversation with such bounds, and its other end.
    fn listened_to(bounds: Bounds) -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("an address");
        let mut link = Link::connect(&format!("tcp:{at}").parse().expect("an address")).expect("it listens");
        let (server, _) = listener.accept().expect("it connected");
        link.listen(bounds).expect("a time limit");
        (link, server)
    }

    fn publishing(link: Link, lines: UnixStream) -> mpsc::Receiver<Result<u64, ToolError>> {
        let (tell, outcome) = mpsc::channel();
        let lines = Box::new(BufReader::new(lines));
        thread::spawn(move || tell.send(publish_over(link, "c", Payload::Lines(lines))));
        outcome
    }

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
