//! JSON lines: the protocol of PROTOCOL.md over TCP, Unix and whatever carries a stream.

use sockeye_hub::ClientId;
use sockeye_wire::json::Code;
use sockeye_wire::line::LineDecoder;

use crate::context::Context;
use crate::form::Form;
use crate::request::{self, Objects};

/// The state of a connection that speaks lines.
#[derive(Debug)]
pub(crate) struct Lines {
    decoder: LineDecoder,
    objects: Objects,
    /// A line was given out, or found too long, since that was last asked.
    has_finished: bool,
}

impl Lines {
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Lines {
            decoder: LineDecoder::new(line_bytes_max),
            objects: Objects::new(Form::Line),
            has_finished: false,
        }
    }

    /// Takes lines from `input[*at..]` until all is taken, the client must be waited for, or the connection is to close.
    /// Returns whether it goes on.
    pub(crate) fn handle_input(
        &mut self,
        client: ClientId,
        input: &[u8],
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> bool {
        while !cx.must_pause(client) {
            match self.decoder.decode(input, at) {
                Ok(None) => return true,
                Ok(Some(line)) => {
                    self.has_finished = true;
                    if !self.objects.handle_line(client, line, cx) {
                        return self.objects.take_paused();
                    }
                }
                Err(error) => {
                    self.has_finished = true;
                    if !self.objects.refuse_unreadable(client, Code::TooLarge, &error.to_string(), cx) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether a line was given out, or found too long, since this was last asked.
    pub(crate) fn take_finished(&mut self) -> bool {
        std::mem::take(&mut self.has_finished)
    }

    /// How many bytes of a line have come whose end has not, if there is one that is waited for: not the rest of one that
    /// was too long.
    pub(crate) fn unfinished_bytes(&self) -> Option<usize> {
        let held_bytes = self.decoder.held_bytes();
        (!self.decoder.is_empty() && held_bytes > 0).then_some(held_bytes)
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The end of input also ends a last line that has no newline: `printf '{..}' | nc` leaves it out.
    pub(crate) fn handle_end(&mut self, client: ClientId, cx: &mut Context<'_>) {
        if let Some(line) = self.decoder.finish() {
            self.objects.handle_line(client, &line, cx);
        }
    }
}

impl Objects {
    fn handle_line(&mut self, client: ClientId, line: &[u8], cx: &mut Context<'_>) -> bool {
        if line.iter().all(u8::is_ascii_whitespace) {
            return true;
        }
        match std::str::from_utf8(line) {
            Ok(text) => request::handle(self, client, text, cx),
            Err(_) => self.refuse_unreadable(client, Code::BadRequest, "not UTF-8", cx),
        }
    }
}
