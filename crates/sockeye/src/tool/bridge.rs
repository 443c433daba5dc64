//! Two sockets joined, in both directions, with the contract of their ends.
//!
//! One is ours (standard input and output, a child process), the other is the peer's. The end of our input becomes a
//! half-close, or a close behind everything that was sent; the other direction goes on until the peer ends, without a limit
//! unless one is asked for. Messages keep their boundaries by a framing. Deliberately absent: opening and accepting.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};

use super::frame::{Deframer, Frame, Item, Kept, write, write_close};
use super::show::{Show, hold_back};
use super::signal::GOODBYE;
use crate::address::Shape;
use crate::net::{Close, Error, ErrorKind, Message, MessageKind, ReceiveHalf, Result, SendHalf, Socket};

/// How two sockets are joined.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How messages stand on our stream.
    pub frame: Frame,
    /// What our messages are; by their bytes if that is not said.
    pub kind: Option<MessageKind>,
    /// How long the peer may go on after our input ended.
    pub linger: Option<Duration>,
    /// How long to wait for an answer after our input ended, and again after each answer, where nothing ends one direction
    /// alone: a datagram socket has no end, and the close of a WebSocket tells the peer to answer no more.
    pub wait: Duration,
    /// The largest message that is read from our stream.
    pub message_bytes_max: usize,
    /// How what is received is written for people.
    pub show: Show,
    /// Whether the end of the peer ends everything, as for standard input and output. A child process goes on until it has
    /// answered; when it has, it is over, and the peer has only [`LAST_WORDS`] to end by itself.
    pub ends_with_peer: bool,
    /// Tell notices as JSON.
    pub json: bool,
}

/// How long a peer may go on after the command that served it has ended its output, unless `linger` says so: what it
/// still sends is heard by nobody, but closing at once could destroy what it has not read yet.
pub const LAST_WORDS: Duration = Duration::from_secs(5);
/// After the peer's end, input of which nothing has come for so long is not waited for.
const IDLE: Duration = Duration::from_millis(250);

/// Our end: it outlives a connection that breaks, with what was read and not sent.
#[derive(Debug)]
pub struct Ours {
    receive: ReceiveHalf,
    send: SendHalf,
    deframer: Deframer,
    /// What is being sent.
    pending: Option<Message>,
    /// How the input ended, once it has.
    ended: Option<Close>,
    /// A peer was told of that end, behind everything that was sent.
    told: bool,
}

impl Ours {
    /// Begins with a stream of ours.
    pub fn new(socket: Socket, rules: &Rules) -> Ours {
        let (receive, send) = socket.split();
        let deframer = Deframer::new(rules.frame, rules.kind, rules.message_bytes_max);
        Ours { receive, send, deframer, pending: None, ended: None, told: false }
    }

    /// Whether everything was sent that will ever be: another peer would hear nothing of it.
    pub fn is_spent(&self) -> bool {
        self.told
    }

    /// Takes the input to be at its end.
    pub fn end_input(&mut self) {
        self.ended = Some(Close::normal());
    }

    /// The stream again.
    pub fn into_socket(self) -> Socket {
        match self.receive.reunite(self.send) {
            Ok(socket) => socket,
            Err(_) => unreachable!("both halves were made by one split"),
        }
    }
}

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages, or pieces of a stream, that were sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages, or pieces of a stream, that were received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
}

/// Counters that both directions share.
#[derive(Default)]
struct Counters {
    tally: Cell<Tally>,
    last_received: Cell<Option<Instant>>,
    /// Something of our input is on its way to the peer.
    sending: Cell<bool>,
    /// The code with which we closed.
    close_code: Cell<Option<u16>>,
}

/// Why nothing more is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The peer has ended.
    Everything,
    /// Whoever reads our output has left.
    Enough,
}

/// How our input ended.
enum InputEnd {
    /// In good order; the peer was told.
    Told,
    /// The peer takes no more.
    Refused(Error),
    /// In a mistake, which is told when what was sent before it has been answered.
    Broken(Error),
}

/// Joins our end and a peer until both directions have ended, the connection breaks, or it is to stop.
///
/// # Errors
/// When the connection breaks, a message does not fit, or a limit is passed.
pub async fn bridge(
    ours: &mut Ours,
    mut theirs: Socket,
    rules: &Rules,
    stop: impl Future<Output = ()>,
) -> (Result<()>, Tally) {
    if rules.frame == Frame::Jsonl {
        theirs.show_control(true);
    }
    let shape = theirs.kind().shape();
    let half_closes = theirs.traits().half_close && !rules.ends_with_peer;
    let name = theirs.name().to_owned();
    let (mut receive, mut send) = theirs.split();
    let counters = Counters::default();
    let Ours { receive: our_receive, send: our_send, deframer, pending, ended, told } = ours;
    let mut input = Input { from: our_receive, deframer, pending, ended, told };
    let outcome = {
        let outwards = outwards(&mut input, &mut send, shape, rules, &counters, &name);
        let inwards = inwards(&mut receive, our_send, shape, rules, &counters, &name);
        tokio::select! {
            biased;
            outcome = join(outwards, inwards, shape, half_closes, rules, &counters, &name) => Some(outcome),
            () = stop => None,
        }
    };
    let leaves = match &outcome {
        None | Some(Ok(Heard::Enough)) => true,
        Some(Ok(Heard::Everything)) => false,
        Some(Err(error)) => error.kind() == ErrorKind::Usage,
    };
    if leaves && send.traits().close_reason {
        goodbye(&mut receive, &mut send).await;
    }
    let outcome = outcome.map_or(Ok(()), |outcome| outcome.map(drop));
    let _ = our_send.flush().await;
    (outcome, counters.tally.get())
}

/// Leaves a peer in the middle of a conversation, in good order.
async fn goodbye(receive: &mut ReceiveHalf, send: &mut SendHalf) {
    let both = async {
        // A peer that waits for its words to be taken reads nothing until they are. RFC 6455, 7.1.1: a close is answered, and
        // only then the connection ends.
        let hear = async { while matches!(receive.recv().await, Ok(Some(_))) {} };
        let (_, ()) = tokio::join!(send.finish_with(Close::new(1001, "")), hear);
    };
    let _ = timeout(GOODBYE, both).await;
}

/// The part of our end that is read.
struct Input<'a> {
    from: &'a mut ReceiveHalf,
    deframer: &'a mut Deframer,
    pending: &'a mut Option<Message>,
    ended: &'a mut Option<Close>,
    told: &'a mut bool,
}

async fn join(
    outwards: impl Future<Output = Result<InputEnd>>,
    inwards: impl Future<Output = Result<Heard>>,
    shape: Shape,
    half_closes: bool,
    rules: &Rules,
    counters: &Counters,
    name: &str,
) -> Result<Heard> {
    tokio::pin!(outwards, inwards);
    // Until our input ends, both go on.
    let input_end = tokio::select! {
        biased;
        outcome = &mut inwards => {
            let heard = outcome?;
            // Nobody reads what standard input would still be answered. A command that reads nothing more may still speak.
            if heard == Heard::Enough && rules.ends_with_peer {
                return Ok(heard);
            }
            // The peer has ended, which does not say that it hears nothing more. What there is of our input is sent to it;
            // what is not there yet is not waited for, unless it is a command's answer.
            let rest = if half_closes || heard == Heard::Enough {
                Some(outwards.await)
            } else {
                what_there_is(&mut outwards, counters).await
            };
            return match rest {
                Some(Err(error)) => Err(error),
                Some(Ok(InputEnd::Refused(error) | InputEnd::Broken(error))) => Err(error),
                _ => Ok(Heard::Everything),
            };
        }
        outcome = &mut outwards => outcome?,
    };
    let refused = match input_end {
        InputEnd::Refused(error) => Some(error),
        InputEnd::Told => None,
        InputEnd::Broken(error) => {
            let answered = silence(rules.wait, Instant::now(), counters);
            // A peer that always has something to say must not keep the mistake from being told.
            let limit = rules.linger.unwrap_or(LAST_WORDS.max(rules.wait));
            let _ = timeout(limit, async {
                tokio::select! {
                    _ = &mut inwards => {}
                    () = answered => {}
                }
            })
            .await;
            return Err(error);
        }
    };
    let ended = Instant::now();
    let limit = async {
        if shape == Shape::Datagram {
            silence(rules.wait, ended, counters).await;
            return Ok(());
        }
        match rules.linger {
            None if !rules.ends_with_peer => {
                sleep(LAST_WORDS).await;
                Ok(())
            }
            Some(linger) => {
                sleep(linger).await;
                let what = format!("the peer had not ended {} ms after our input did", linger.as_millis());
                Err(Error::new(ErrorKind::EndedEarly, name, what)
                    .with_hint("its answer may be incomplete; a longer --linger, or none, waits for it"))
            }
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = &mut inwards => outcome,
        outcome = limit => outcome.map(|()| Heard::Everything),
    };
    match (outcome, refused) {
        (Ok(_), Some(error)) => Err(error),
        (outcome, _) => outcome,
    }
}

/// Waits until nothing was received for so long.
async fn silence(wait: Duration, since: Instant, counters: &Counters) {
    loop {
        let last = counters.last_received.get().map_or(since, |last| last.max(since));
        let until = last + wait;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until.into()).await;
    }
}

/// Lets our input go on until there is nothing of it for a while. `None`: it has not ended.
async fn what_there_is<T>(mut outwards: impl Future<Output = T> + Unpin, counters: &Counters) -> Option<T> {
    loop {
        let sent = counters.tally.get().sent;
        match timeout(IDLE, &mut outwards).await {
            Ok(outcome) => return Some(outcome),
            Err(_) if counters.sending.get() || counters.tally.get().sent != sent => {}
            Err(_) => return None,
        }
    }
}

/// From our stream to the peer. Whatever was read and not sent stays with the input when this is dropped or fails.
async fn outwards(
    input: &mut Input<'_>,
    to: &mut SendHalf,
    shape: Shape,
    rules: &Rules,
    counters: &Counters,
    name: &str,
) -> Result<InputEnd> {
    let has_half_close = to.traits().half_close;
    // A mistake in our input is told when everything before it was sent.
    let mut broken = None;
    // An end that was not said in so many words: the answer comes first.
    let mut waits = false;
    loop {
        while let Some(message) = input.pending.clone() {
            let bytes = message.bytes.len();
            counters.sending.set(true);
            if let Err(error) = to.send(message).await {
                return refused(error, shape);
            }
            counters.sending.set(false);
            let mut tally = counters.tally.get();
            tally.sent += 1;
            tally.sent_bytes += bytes as u64;
            counters.tally.set(tally);
            *input.pending = None;
        }
        match input.deframer.pop() {
            Some(Item::Message(message)) => {
                *input.pending = Some(message);
                continue;
            }
            Some(Item::Close(close)) => *input.ended = Some(close),
            None => {}
        }
        if let Some(why) = broken.take() {
            let error = Error::new(ErrorKind::Usage, name, format!("our input: {why}"));
            return Ok(InputEnd::Broken(error));
        }
        if let Some(close) = input.ended.clone() {
            if waits {
                silence(rules.wait, Instant::now(), counters).await;
            }
            counters.close_code.set(close.code);
            return match to.finish_with(close).await {
                Ok(()) => {
                    *input.told = true;
                    Ok(InputEnd::Told)
                }
                Err(error) => refused(error, shape),
            };
        }
        match input.from.recv().await? {
            Some(message) if shape == Shape::Stream => *input.pending = Some(message),
            Some(message) => broken = input.deframer.push(&message.bytes).err(),
            None => {
                broken = input.deframer.finish().err();
                *input.ended = Some(Close::normal());
                waits = shape == Shape::Message && !has_half_close && rules.ends_with_peer;
            }
        }
    }
}

/// A peer that takes no more may still have said something that is to be read first.
fn refused(error: Error, shape: Shape) -> Result<InputEnd> {
    match error.kind() {
        ErrorKind::EndedEarly if shape != Shape::Datagram => Ok(InputEnd::Refused(error)),
        // A message that cannot be sent there. Of datagrams the first says that one does not fit: they have no end that could
        // be refused.
        ErrorKind::EndedEarly | ErrorKind::Usage => Ok(InputEnd::Broken(error)),
        _ => Err(error),
    }
}

/// From the peer to our stream.
async fn inwards(
    from: &mut ReceiveHalf,
    to: &mut SendHalf,
    shape: Shape,
    rules: &Rules,
    counters: &Counters,
    name: &str,
) -> Result<Heard> {
    let mut out = Vec::new();
    let mut told_of_lines = false;
    let mut held = Vec::new();
    while let Some(mut message) = from.recv().await? {
        let mut tally = counters.tally.get();
        tally.received += 1;
        tally.received_bytes += message.bytes.len() as u64;
        counters.tally.set(tally);
        counters.last_received.set(Some(Instant::now()));
        if shape == Shape::Stream && rules.show == Show::Plain {
            if !deliver(to, message).await? {
                return Ok(Heard::Enough);
            }
            continue;
        }
        if shape == Shape::Stream && rules.show != Show::Hex {
            hold_back(&mut held, &mut message.bytes);
        }
        out.clear();
        let kept = match rules.show {
            Show::Plain => write(rules.frame, &message, &mut out).map_err(|why| {
                Error::new(ErrorKind::Usage, name, format!("a message cannot be written: {why}"))
            })?,
            Show::Hex | Show::Terminal { .. } => {
                rules.show.write(&message, shape, &mut out);
                Kept::Whole
            }
        };
        if kept == Kept::Lines && !told_of_lines {
            told_of_lines = true;
            let words = "a message holds line breaks, so it is written as several lines: --frame jsonl keeps messages apart";
            super::run::notice(rules.json, "note", words);
        }
        if !deliver(to, Message::binary(std::mem::take(&mut out))).await? {
            return Ok(Heard::Enough);
        }
    }
    if !held.is_empty() {
        rules.show.write(&Message::binary(held), shape, &mut out);
        deliver(to, Message::binary(std::mem::take(&mut out))).await?;
    }
    let Some(close) = from.closed() else {
        if !rules.ends_with_peer {
            to.finish().await?;
        }
        return Ok(Heard::Everything);
    };
    write_close(rules.frame, &close, &mut out);
    if !out.is_empty() {
        deliver(to, Message::binary(out)).await?;
    }
    match close.code {
        // Nothing more to say, or going away: an end in good order.
        None | Some(1000 | 1001) => Ok(Heard::Everything),
        // RFC 6455, 5.5.1: the peer repeats the code with which we closed.
        code if code == counters.close_code.get() => Ok(Heard::Everything),
        Some(code) => {
            let what = format!("the peer closed with code {code} {}", close.reason);
            Err(Error::new(ErrorKind::EndedEarly, name, what.trim_end()))
        }
    }
}

/// Writes to our stream; `false` when whoever reads it has heard enough.
async fn deliver(to: &mut SendHalf, message: Message) -> Result<bool> {
    match to.send(message).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::EndedEarly => Ok(false),
        Err(error) => Err(error),
    }
}
