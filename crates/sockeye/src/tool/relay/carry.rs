//! Two sockets of any kind, joined message by message: boundaries, kinds and ends are carried over.
//!
//! Between sockets with messages each is passed as it is. Onto a stream messages are framed, and read from it by the same
//! framing; `raw` passes bytes as they come. A half-close becomes a half-close or a close, a close keeps its code and reason
//! where the other end can say it. Deliberately absent: streams that the kernel can join by itself, which are in `plain`.
//!
//! A WebSocket cannot end one direction alone (RFC 6455, 5.5.1: nothing is sent behind a close frame, and most peers answer it
//! at once). So the end of a stream is held back until the WebSocket has said what it has to say, and the close of a WebSocket
//! is answered when the other side has:
//!
//! ```text
//! stream ends     -> silence for `wait`, or the WebSocket ends  -> close  -> all until its answer goes to the stream -> end
//! WebSocket closes -> the other side is told its end -> all until its end goes to the WebSocket -> answer to the close
//! ```

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};

use super::figures::{Tally, Way};
use super::moves::Moves;
use super::rules::{End, Passed, Shared};
use crate::address::{Shape, UDP_BYTES_MAX};
use crate::net::{
    Close, Error, ErrorKind, FramedKind, Kind, Message, MessageKind, ReceiveHalf, Result, SendHalf, Socket,
    StreamKind, Traits,
};
use crate::tool::frame::{write, write_close};
use crate::tool::{Deframer, Frame, Item, Kept};

/// How long the other end may go on when nothing that it says can be passed on any more; and at least how long it may stand still
/// while a close waits for it, because who has an end to tell may take his time for it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Joins two sockets until both directions have ended, or something breaks.
pub(super) async fn carry(
    mut left: Socket,
    mut right: Socket,
    shared: &Shared,
    number: u64,
) -> (Result<()>, Tally) {
    left.show_control(wants_control(&left, &right, shared.rules.frame));
    right.show_control(wants_control(&right, &left, shared.rules.frame));
    right.hold_close_answer();
    // Nobody is told what comes back.
    if !shared.rules.one_way {
        left.hold_close_answer();
    }
    let (kinds, traits) = ((left.kind(), right.kind()), (left.traits(), right.traits()));
    let shapes = (kinds.0.shape(), kinds.1.shape());
    let (mut left_receive, mut left_send) = left.split();
    let (mut right_receive, mut right_send) = right.split();
    let moves = Moves::new();
    let there = Lane {
        way: Way::There,
        shapes,
        from: kinds.0,
        to: kinds.1,
        holds_end: traits.0.half_close && is_closed_whole(traits.1) && !shared.rules.one_way,
        traits: traits.1,
        translation: Translation::of(shapes.0, shapes.1, shared),
        shared,
        moves: &moves,
        number,
    };
    let back = Lane {
        way: Way::Back,
        shapes: (shapes.1, shapes.0),
        from: kinds.1,
        to: kinds.0,
        holds_end: traits.1.half_close && is_closed_whole(traits.0),
        traits: traits.0,
        translation: Translation::of(shapes.1, shapes.0, shared),
        shared,
        moves: &moves,
        number,
    };
    let mut stop = shared.stop.clone();
    let mut has_idled = false;
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
            outcome = join(there, back, kinds, shared, &moves) => Some(outcome),
            error = idle(shared, &moves) => {
                has_idled = true;
                Some(Err(error))
            }
            // Whoever holds the other half of this has ended the relay, one way or another.
            _ = stop.wait_for(|stop| *stop) => None,
        }
    };
    let outcome = match outcome {
        Some(outcome) => {
            if outcome.is_ok() {
                let answer = async {
                    for (receive, send) in
                        [(&left_receive, &mut left_send), (&right_receive, &mut right_send)]
                    {
                        // A close whose answer nothing was left to wait for.
                        if is_closed_whole(send.traits()) && receive.closed().is_some() {
                            let _ = send.finish().await;
                        }
                    }
                };
                let _ = timeout(LAST_WORDS, answer).await;
            }
            outcome
        }
        None => {
            let goodbye = async {
                for send in [&mut left_send, &mut right_send] {
                    let _ = send.finish_with(Close::new(1001, "the relay ends")).await;
                }
                // RFC 6455, 7.1.1: a close is answered, and only then the connection ends.
                for (receive, traits) in [(&mut left_receive, traits.0), (&mut right_receive, traits.1)] {
                    while is_closed_whole(traits) && matches!(receive.recv().await, Ok(Some(_))) {}
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
        (Err(error), left, right) => {
            // Nobody takes a part for the whole: who was not told an end in good order learns that there is none. Where
            // nothing has moved for long, only what was under way is a part.
            for (socket, way) in [(left, Way::Back), (right, Way::There)] {
                let is_part = if has_idled { moves.is_sending(way) } else { !moves.is_told(way) };
                if let Ok(socket) = socket
                    && is_part
                {
                    socket.reset_when_dropped();
                }
            }
            Err(error)
        }
        (Ok(Over::Heard), ..) => unreachable!("both halves were made by one split"),
    };
    (status, moves.tally())
}

/// Whether an end of one direction ends the other, too: of a WebSocket, that is, whose close asks for an answer.
fn is_closed_whole(traits: Traits) -> bool {
    traits.close_reason && !traits.half_close
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
    (left, right): (Kind, Kind),
    shared: &Shared,
    moves: &Moves,
) -> Result<Over> {
    tokio::pin!(there, back);
    let (first, ended) = tokio::select! {
        ended = &mut there => (Way::There, ended?),
        ended = &mut back => (Way::Back, ended?),
    };
    let rest = first.opposite();
    let (source, target, target_end) = match first {
        Way::There => (left, right, End::Right),
        Way::Back => (right, left, End::Left),
    };
    let (source, is_standard, target) =
        (source.traits(), target == Kind::Stream(StreamKind::Standard), target.traits());
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
            // Nothing that is still said can be passed on: a session that is over.
            Ended::Told if !source.half_close && !source.end => {
                sleep(LAST_WORDS).await;
                Ok(())
            }
            // There is no end that could be waited for.
            _ if !target.end => {
                moves.stillness(rest, shared.rules.wait).await;
                Ok(())
            }
            // Who closed a WebSocket waits for the answer to that, not without a limit.
            Ended::Told if is_closed_whole(source) => {
                let patience = shared.rules.wait.max(LAST_WORDS);
                tokio::select! {
                    error = linger(shared) => Err(error),
                    () = moves.stillness(rest, patience) => {
                        // Input that nobody has given is not missing.
                        if is_standard && !moves.is_sending(rest) {
                            Ok(())
                        } else {
                            Err(shared.passed(Passed::Patience(target_end, patience)))
                        }
                    }
                }
            }
            _ => Err(linger(shared).await),
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

/// Waits for as long as one direction may go on after the other.
async fn linger(shared: &Shared) -> Error {
    let Some(linger) = shared.rules.linger else { return std::future::pending().await };
    sleep(linger).await;
    shared.passed(Passed::Linger(linger))
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
    /// What the source is.
    from: Kind,
    /// What the target is.
    to: Kind,
    /// Whether the end is told only when the other direction has nothing more to say, because it would end that, too.
    holds_end: bool,
    /// What it can do.
    traits: Traits,
    translation: Translation,
    shared: &'a Shared,
    moves: &'a Moves,
    number: u64,
}

impl<'a> Lane<'a> {
    async fn run(self, from: &mut ReceiveHalf, to: &mut SendHalf) -> Result<Ended> {
        let (moves, way) = (self.moves, self.way);
        let ended = self.pass(from, to).await;
        moves.end(way, matches!(ended, Ok(Ended::Told)));
        ended
    }

    /// Passes messages on, and the end behind them.
    async fn pass(mut self, from: &mut ReceiveHalf, to: &mut SendHalf) -> Result<Ended> {
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
            self.moves.settle(self.way);
        }
        self.end(from, to).await
    }

    /// Passes the end on, with its code and reason.
    async fn end(mut self, from: &mut ReceiveHalf, to: &mut SendHalf) -> Result<Ended> {
        let closed = from.closed();
        // RFC 6455, 5.5.1 and 7.1.5: whoever receives a close answers it behind everything, so without the answer to ours
        // something may be missing.
        if self.from == Kind::Message(FramedKind::WebSocket) && closed.is_none() {
            let what = "the connection ended before it answered our close (close code 1006)";
            return Err(Error::new(ErrorKind::EndedEarly, self.source(), what));
        }
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
        // An end that was not said in so many words: the answer comes first.
        if self.holds_end && closed.is_none() {
            let (rest, ended_at) = (self.way.opposite(), Instant::now());
            tokio::select! {
                biased;
                () = self.moves.over(rest) => {}
                () = self.moves.silence(rest, self.shared.rules.wait) => {}
                error = linger(self.shared) => {
                    if self.moves.is_sending(rest) || self.moves.at_of(rest) > ended_at {
                        return Err(error);
                    }
                }
            }
        }
        match to.finish_with(closed.unwrap_or_else(Close::normal)).await {
            Ok(()) => Ok(Ended::Told),
            Err(error) => self.refused(error),
        }
    }

    /// A stream has no boundaries that a datagram would have to keep.
    async fn send_pieces(&self, bytes: &[u8], to: &mut SendHalf) -> Result<()> {
        for piece in bytes.chunks(UDP_BYTES_MAX) {
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
