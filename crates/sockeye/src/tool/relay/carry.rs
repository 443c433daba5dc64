//! Two sockets of any kind, joined message by message: boundaries, kinds and ends are carried over.
//!
//! Between sockets with messages each is passed as it is. Onto a stream messages are framed, and read from it by the same
//! framing; `raw` passes bytes as they come. A half-close becomes a half-close or a close, a close keeps its code and reason
//! where the other end can say it. Deliberately absent: streams that the kernel can join by itself, which are in `plain`.

use std::future::Future;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};

use super::figures::{Tally, Way};
use super::rules::{End, Passed, Shared};
use crate::address::Shape;
use crate::net::{
    Close, Error, ErrorKind, FramedKind, Kind, Message, MessageKind, ReceiveHalf, Result, SendHalf, Socket,
    StreamKind, Traits,
};
use crate::tool::frame::{write, write_close};
use crate::tool::{Deframer, Frame, Item, Kept};

/// How long the other end may go on when nothing that it says can be passed on any more.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The largest piece of a stream that fits any datagram.
const PIECE_BYTES_MAX: usize = 65_507;

/// Joins two sockets until both directions have ended, or something breaks.
pub(super) async fn carry(
    mut left: Socket,
    mut right: Socket,
    shared: &Shared,
    number: u64,
) -> (Result<()>, Tally) {
    left.show_control(wants_control(&left, &right, shared.rules.frame));
    right.show_control(wants_control(&right, &left, shared.rules.frame));
    let (kinds, traits) = ((left.kind(), right.kind()), (left.traits(), right.traits()));
    let shapes = (kinds.0.shape(), kinds.1.shape());
    let (mut left_receive, mut left_send) = left.split();
    let (mut right_receive, mut right_send) = right.split();
    let moves = Moves::new();
    let there = Lane {
        way: Way::There,
        shapes,
        to: kinds.1,
        traits: traits.1,
        translation: Translation::of(shapes.0, shapes.1, shared),
        shared,
        moves: &moves,
        number,
    };
    let back = Lane {
        way: Way::Back,
        shapes: (shapes.1, shapes.0),
        to: kinds.0,
        traits: traits.0,
        translation: Translation::of(shapes.1, shapes.0, shared),
        shared,
        moves: &moves,
        number,
    };
    let mut stop = shared.stop.clone();
    let outcome = {
        let there = there.run(&mut left_receive, &mut right_send);
        let back = async {
            if shared.rules.one_way {
                drop_all(&mut right_receive).await
            } else {
                back.run(&mut right_receive, &mut left_send).await
            }
        };
        tokio::select! {
            biased;
            outcome = join(there, back, traits, shared, &moves) => Some(outcome),
            error = idle(shared, &moves) => Some(Err(error)),
            // Whoever holds the other half of this has ended the relay, one way or another.
            _ = stop.wait_for(|stop| *stop) => None,
        }
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            let goodbye = async {
                for send in [&mut left_send, &mut right_send] {
                    let _ = send.finish_with(Close::new(1001, "the relay ends")).await;
                }
                // RFC 6455, 7.1.1: a close is answered, and only then the connection ends.
                for (receive, traits) in [(&mut left_receive, traits.0), (&mut right_receive, traits.1)] {
                    while traits.close_reason
                        && !traits.half_close
                        && matches!(receive.recv().await, Ok(Some(_)))
                    {}
                }
            };
            let _ = timeout(LAST_WORDS, goodbye).await;
            Ok(Over::Heard)
        }
    };
    let status = match (outcome, left_receive.reunite(left_send), right_receive.reunite(right_send)) {
        // A command whose answer is not wanted may wait for ever to be rid of it.
        (Ok(Over::Unheard), ..) => Ok(()),
        (Ok(Over::Heard), Ok(mut left), Ok(mut right)) => wait(&mut left).await.and(wait(&mut right).await),
        (outcome, ..) => outcome.map(drop),
    };
    (status, moves.tally())
}

/// Whether pings and pongs pass from one end to the other: where one of them is JSON lines, and the other has them. Between two
/// WebSockets each answers its own.
fn wants_control(from: &Socket, to: &Socket, frame: Frame) -> bool {
    const JSON_LINES: Kind = Kind::Message(FramedKind::JsonLines);
    const WEBSOCKET: Kind = Kind::Message(FramedKind::WebSocket);
    match (from.kind(), to.kind()) {
        (_, JSON_LINES) | (JSON_LINES, WEBSOCKET) => true,
        (_, to) => to.shape() == Shape::Stream && frame == Frame::Jsonl,
    }
}

/// Waits for a child process, whose failure is the pair's.
async fn wait(socket: &mut Socket) -> Result<()> {
    match socket.wait().await? {
        Some(status) if !status.success() => {
            Err(Error::new(ErrorKind::EndedEarly, socket.name(), format!("the command ended with {status}")))
        }
        _ => Ok(()),
    }
}

/// How a direction ended.
enum Ended {
    /// In good order; the other end was told.
    Told,
    /// The other end takes no more.
    Refused(Error),
    /// Whoever reads our standard output has left.
    Enough,
}

/// How a pair ended.
enum Over {
    /// Both directions have, one way or another.
    Heard,
    /// Nobody reads our standard output any more.
    Unheard,
}

/// When something moved last, and how much did.
struct Moves(Mutex<Moved>);

struct Moved {
    at: Instant,
    by_way: [Instant; 2],
    tally: Tally,
}

impl Moves {
    fn new() -> Moves {
        let now = Instant::now();
        Moves(Mutex::new(Moved { at: now, by_way: [now; 2], tally: Tally::default() }))
    }

    fn count(&self, way: Way, bytes: usize) {
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moved.at = Instant::now();
        let at = moved.at;
        moved.by_way[way as usize] = at;
        moved.tally.count(way, bytes);
    }

    fn at(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    fn at_of(&self, way: Way) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_way[way as usize]
    }

    fn tally(&self) -> Tally {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tally
    }
}

async fn idle(shared: &Shared, moves: &Moves) -> Error {
    let Some(idle) = shared.rules.idle else { return std::future::pending().await };
    loop {
        let until = moves.at() + idle;
        if until <= Instant::now() {
            return shared.passed(Passed::Idle(idle));
        }
        sleep_until(until.into()).await;
    }
}

/// Lets both directions go on until they have ended.
async fn join(
    there: impl Future<Output = Result<Ended>>,
    back: impl Future<Output = Result<Ended>>,
    (left, right): (Traits, Traits),
    shared: &Shared,
    moves: &Moves,
) -> Result<Over> {
    tokio::pin!(there, back);
    let (first, ended) = tokio::select! {
        ended = &mut there => (Way::There, ended?),
        ended = &mut back => (Way::Back, ended?),
    };
    let (source, target, rest) = match first {
        Way::There => (left, right, Way::Back),
        Way::Back => (right, left, Way::There),
    };
    // Nobody reads what standard input would still be answered.
    if matches!(ended, Ended::Enough) {
        return Ok(Over::Unheard);
    }
    let limit = async {
        match ended {
            // Nobody wants what is still said, but the other end may need to say goodbye before it has read everything.
            Ended::Told if shared.rules.one_way && first == Way::There => {
                if target.end {
                    sleep(LAST_WORDS).await;
                }
                Ok(())
            }
            // Nothing that is still said can be passed on: a WebSocket that was closed, a session that is over.
            Ended::Told if !source.half_close => {
                sleep(LAST_WORDS).await;
                Ok(())
            }
            // There is no end that could be waited for.
            _ if !target.end => {
                let ended_at = Instant::now();
                loop {
                    let until = moves.at_of(rest).max(ended_at) + shared.rules.wait;
                    if until <= Instant::now() {
                        return Ok(());
                    }
                    sleep_until(until.into()).await;
                }
            }
            _ => match shared.rules.linger {
                Some(linger) => {
                    sleep(linger).await;
                    Err(shared.passed(Passed::Linger(linger)))
                }
                None => std::future::pending().await,
            },
        }
    };
    let second = async {
        match rest {
            Way::There => there.await,
            Way::Back => back.await,
        }
    };
    let second = tokio::select! {
        biased;
        ended = second => ended,
        outcome = limit => outcome.map(|()| Ended::Told),
    };
    // A message that was taken and is not wanted is told, also where the other end has closed in good order.
    told(ended)?;
    told(second?)
}

fn told(ended: Ended) -> Result<Over> {
    match ended {
        Ended::Told => Ok(Over::Heard),
        Ended::Enough => Ok(Over::Unheard),
        Ended::Refused(error) => Err(error),
    }
}

/// Reads and drops what comes back, where nobody wants it.
async fn drop_all(from: &mut ReceiveHalf) -> Result<Ended> {
    while from.recv().await?.is_some() {}
    Ok(Ended::Told)
}

/// What becomes of messages, or pieces of a stream, on their way.
enum Translation {
    /// They stay as they are, but for the kind of what has none.
    Same(Option<MessageKind>),
    /// Pieces of a stream become messages.
    Pieces(MessageKind),
    /// A stream is read as messages.
    Read(Deframer),
    /// Messages are written onto a stream.
    Write(Frame),
}

impl Translation {
    fn of(from: Shape, to: Shape, shared: &Shared) -> Translation {
        let rules = &shared.rules;
        let kind = rules.text.then_some(MessageKind::Text);
        match (from == Shape::Stream, to == Shape::Stream) {
            (true, true) => Translation::Same(None),
            (false, false) => {
                Translation::Same(kind.filter(|_| from == Shape::Datagram || to == Shape::Message))
            }
            (true, false) if rules.frame == Frame::Raw => {
                Translation::Pieces(kind.unwrap_or(MessageKind::Binary))
            }
            (true, false) => {
                // Where text is not told from bytes there is nothing to find out.
                let kind = kind.or((to == Shape::Datagram).then_some(MessageKind::Binary));
                Translation::Read(Deframer::new(rules.frame, kind, rules.message_bytes_max))
            }
            (false, true) => Translation::Write(rules.frame),
        }
    }
}

/// One direction.
struct Lane<'a> {
    way: Way,
    /// Of the source and the target.
    shapes: (Shape, Shape),
    /// What the target is.
    to: Kind,
    /// What it can do.
    traits: Traits,
    translation: Translation,
    shared: &'a Shared,
    moves: &'a Moves,
    number: u64,
}

impl<'a> Lane<'a> {
    async fn run(mut self, from: &mut ReceiveHalf, to: &mut SendHalf) -> Result<Ended> {
        let mut has_told_of_lines = false;
        while let Some(message) = from.recv().await? {
            self.moves.count(self.way, message.bytes.len());
            self.shared.figures.count(self.way, message.bytes.len());
            let copies = &self.shared.copies;
            if !copies.is_empty() {
                copies.take(self.way, self.number, &message, self.shapes.0, &self.shared.voice).await;
            }
            let source = self.source();
            let broken = |why: String| Error::new(ErrorKind::EndedEarly, source, why);
            let sent = match &mut self.translation {
                Translation::Same(kind) => {
                    let kind = match message.kind {
                        MessageKind::Binary => kind.unwrap_or(MessageKind::Binary),
                        kind => kind,
                    };
                    to.send(Message { kind, ..message }).await
                }
                Translation::Pieces(kind) if self.shapes.1 == Shape::Message => {
                    to.send(Message { kind: *kind, ..message }).await
                }
                Translation::Pieces(_) => self.send_pieces(&message.bytes, to).await,
                Translation::Write(frame) => {
                    let mut out = Vec::with_capacity(message.bytes.len() + 64);
                    let kept = write(*frame, &message, &mut out).map_err(broken)?;
                    if kept == Kept::Lines && !has_told_of_lines {
                        has_told_of_lines = true;
                        self.tell_of_lines();
                    }
                    to.send(Message::binary(out)).await
                }
                Translation::Read(deframer) => {
                    let pushed = deframer.push(&message.bytes);
                    // What came whole before a mistake is sent before it is told.
                    if let Some(ended) = send_found(deframer, to).await {
                        return self.after(ended);
                    }
                    pushed.map_err(broken)?;
                    Ok(())
                }
            };
            if let Err(error) = sent {
                return self.refused(error);
            }
        }
        self.end(from, to).await
    }

    /// Passes the end on, with its code and reason.
    async fn end(mut self, from: &mut ReceiveHalf, to: &mut SendHalf) -> Result<Ended> {
        let closed = from.closed();
        if let Translation::Read(deframer) = &mut self.translation {
            let finished = deframer.finish();
            if let Some(ended) = send_found(deframer, to).await {
                return self.after(ended);
            }
            finished.map_err(|why| Error::new(ErrorKind::EndedEarly, self.source(), why))?;
        }
        if let (Translation::Write(frame), Some(close)) = (&self.translation, &closed) {
            let mut out = Vec::new();
            write_close(*frame, close, &mut out);
            if !out.is_empty()
                && let Err(error) = to.send(Message::binary(out)).await
            {
                return self.refused(error);
            }
        }
        match to.finish_with(closed.unwrap_or_else(Close::normal)).await {
            Ok(()) => Ok(Ended::Told),
            Err(error) => self.refused(error),
        }
    }

    /// A stream has no boundaries that a datagram would have to keep.
    async fn send_pieces(&self, bytes: &[u8], to: &mut SendHalf) -> Result<()> {
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            to.send(Message::binary(piece)).await?;
        }
        Ok(())
    }

    fn source(&self) -> &'a str {
        match self.way {
            Way::There => self.shared.name(End::Left),
            Way::Back => self.shared.name(End::Right),
        }
    }

    fn after(&self, ended: Result<()>) -> Result<Ended> {
        match ended {
            Ok(()) => Ok(Ended::Told),
            Err(error) => self.refused(error),
        }
    }

    /// An end that takes no more may still have said something that is to be passed on. An end without connections took one
    /// message not, which is the sender's to know.
    fn refused(&self, error: Error) -> Result<Ended> {
        if error.kind() == ErrorKind::EndedEarly && self.to == Kind::Stream(StreamKind::Standard) {
            return Ok(Ended::Enough);
        }
        if error.kind() == ErrorKind::EndedEarly && self.traits.end {
            return Ok(Ended::Refused(error));
        }
        Err(error)
    }

    fn tell_of_lines(&self) {
        let words = format!(
            "{}: a message holds line breaks, so it is written as several lines: --frame jsonl keeps messages apart",
            self.source()
        );
        self.shared
            .voice
            .tell(Some(words.clone()), || serde_json::json!({ "event": "lines", "error": words }));
    }
}

/// Sends what was found in a stream. An end that was found there, or refused, is the result.
async fn send_found(deframer: &mut Deframer, to: &mut SendHalf) -> Option<Result<()>> {
    while let Some(item) = deframer.pop() {
        match item {
            Item::Message(message) => {
                if let Err(error) = to.send(message).await {
                    return Some(Err(error));
                }
            }
            Item::Close(close) => return Some(to.finish_with(close).await),
        }
    }
    None
}
