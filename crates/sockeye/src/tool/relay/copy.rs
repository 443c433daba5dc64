//! What passes, written elsewhere too: to a file or any other address, and in hexadecimal for people.
//!
//! A copy loses nothing: who writes it may wait for it. When it cannot be written that is told, and the relay goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::figures::{Voice, Way};
use crate::address::{Address, Shape};
use crate::net::{Message, Result, Socket};
use crate::tool::frame::write;
use crate::tool::{Frame, Show};

/// Messages on their way into one copy. Above it whoever passes more waits.
const QUEUE_MAX: usize = 64;
/// How long the end of a relay waits for the last of its copies.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The copies of both directions.
#[derive(Debug, Default)]
pub(super) struct Copies {
    there: Option<mpsc::Sender<Message>>,
    back: Option<mpsc::Sender<Message>>,
    hex: bool,
}

/// The tasks that write copies.
#[derive(Debug, Default)]
pub(super) struct Writers(Vec<JoinHandle<()>>);

impl Copies {
    /// Opens what copies are written to.
    pub(super) async fn open(
        there: Option<&Address>,
        back: Option<&Address>,
        frame: Frame,
        hex: bool,
        voice: &Arc<Voice>,
    ) -> Result<(Copies, Writers)> {
        let mut writers = Writers::default();
        let mut open = async |address: Option<&Address>| {
            let Some(address) = address else { return Ok(None) };
            let socket = Socket::connect(address).await?;
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            writers.0.push(tokio::spawn(write_all(socket, receiver, frame, Arc::clone(voice))));
            Ok::<_, crate::net::Error>(Some(sender))
        };
        let copies = Copies { there: open(there).await?, back: open(back).await?, hex };
        Ok((copies, writers))
    }

    /// Whether nobody wants to see what passes.
    pub(super) fn is_empty(&self) -> bool {
        self.there.is_none() && self.back.is_none() && !self.hex
    }

    /// Takes a copy of a message of one pair.
    pub(super) async fn take(&self, way: Way, number: u64, message: &Message, shape: Shape, voice: &Voice) {
        if self.hex {
            let mut text = Vec::new();
            Show::Hex.write(message, shape, &mut text);
            let arrow = if way == Way::There { b'>' } else { b'<' };
            let mut out = format!("#{number} ").into_bytes();
            out.push(arrow);
            out.extend_from_slice(text.strip_prefix(b"<").unwrap_or(&text));
            voice.show(&out);
        }
        let sender = match way {
            Way::There => &self.there,
            Way::Back => &self.back,
        };
        if let Some(sender) = sender {
            // A writer that failed has said so.
            let _ = sender.send(message.clone()).await;
        }
    }
}

impl Writers {
    /// Waits until everything is written; to be called when nothing takes copies any more.
    pub(super) async fn finish(self) {
        for writer in self.0 {
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, writer).await;
        }
    }
}

async fn write_all(
    mut socket: Socket,
    mut receiver: mpsc::Receiver<Message>,
    frame: Frame,
    voice: Arc<Voice>,
) {
    let is_stream = socket.kind().shape() == Shape::Stream;
    let mut out = Vec::new();
    while let Some(message) = receiver.recv().await {
        let message = if is_stream {
            if let Err(why) = write(frame, &message, &mut out) {
                let words = format!("{}: the copy lacks a message: {why}", socket.name());
                voice.tell(Some(words.clone()), || serde_json::json!({ "event": "copy", "error": words }));
                continue;
            }
            Message::binary(std::mem::take(&mut out))
        } else {
            message
        };
        if let Err(error) = socket.send(message).await {
            let words = format!("the copy ends: {error}");
            voice.tell(Some(words.clone()), || serde_json::json!({ "event": "copy", "error": words }));
            return;
        }
    }
    let _ = socket.close().await;
}
