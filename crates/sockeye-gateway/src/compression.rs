//! How one WebSocket's messages are compressed on their way out (RFC 7692), as was agreed in its handshake.
//!
//! ```text
//!   each message stands alone, window of 12 bits or more ──> Alone: the form that all such readers share
//!   each message stands alone, smaller window ─────────────> Alone: what is longer than the window goes plain
//!   messages refer to those before them ───────────────────> Own: compressed for this connection, in order
//! ```
//!
//! What is compressed for one connection alone must leave in the order in which it was compressed: that is done where an
//! item is about to be written, never while it waits. Deliberately absent: what inflates, which is the decoder's.

use sockeye_wire::websocket::{
    self, ALONE_WINDOW_BITS, Compressor, Deflate, DeflateOffer, DeflateTerms, Opcode, compress_alone,
};

use crate::form::Form;
use crate::limit::{DeflateMode, Limits};

/// How one connection's messages are compressed.
#[derive(Debug)]
pub(crate) enum Compression {
    /// They are not.
    Off,
    /// Each message stands alone, so whoever may hear it can be sent the same bytes.
    Alone { payload_bytes_max: u32 },
    /// This connection has a compressor, from its first compressed message on.
    Own { window_bits: u8, takeover: bool, compressor: Option<Box<Compressor>> },
}

/// Chooses what to answer to a client's offers.
pub(crate) fn agree(offers: &[DeflateOffer], mode: DeflateMode) -> Option<Deflate> {
    let terms = match mode {
        DeflateMode::Off => return None,
        DeflateMode::Shared => DeflateTerms { takeover: false, window_bits_max: ALONE_WINDOW_BITS },
        DeflateMode::Dedicated => DeflateTerms { takeover: true, window_bits_max: 15 },
    };
    DeflateOffer::accept(offers, terms)
}

impl Compression {
    pub(crate) fn new(agreed: Option<&Deflate>, mode: DeflateMode) -> Compression {
        let Some(agreed) = agreed else { return Compression::Off };
        let window_bits = agreed.server_max_window_bits;
        if window_bits >= ALONE_WINDOW_BITS && agreed.server_no_context_takeover {
            return Compression::Alone { payload_bytes_max: u32::MAX };
        }
        if mode == DeflateMode::Dedicated && window_bits >= 9 {
            let takeover = !agreed.server_no_context_takeover;
            return Compression::Own { window_bits, takeover, compressor: None };
        }
        // Nothing in a message refers further back than to its beginning.
        Compression::Alone { payload_bytes_max: 1 << window_bits }
    }

    /// The form in which published messages are taken: `plain`, or what it becomes by compression.
    pub(crate) fn form(&self, plain: Form) -> Form {
        match (self, plain) {
            (Compression::Alone { payload_bytes_max: u32::MAX }, Form::Frame) => Form::DeflatedFrame,
            (Compression::Alone { payload_bytes_max: u32::MAX }, Form::Raw) => Form::DeflatedRaw,
            (Compression::Own { .. }, Form::Frame) => Form::OwnFrame,
            (Compression::Own { .. }, Form::Raw) => Form::OwnRaw,
            // A published message is compressed once, with one window, for everybody whose window that is.
            (_, plain) => plain,
        }
    }

    /// Appends a message as a compressed frame, if that is agreed on, worth it, and makes it smaller.
    pub(crate) fn compress(
        &mut self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[u8],
        limits: &Limits,
    ) -> bool {
        if payload.len() < limits.deflate_bytes_min {
            return false;
        }
        match self {
            Compression::Off => false,
            Compression::Alone { payload_bytes_max } => {
                payload.len() <= *payload_bytes_max as usize
                    && websocket::write_compressed_frame(out, opcode, payload.len(), |out| {
                        compress_alone(payload, out)
                    })
            }
            Compression::Own { window_bits, takeover, compressor } => {
                let compressor =
                    compressor.get_or_insert_with(|| Box::new(Compressor::new(*window_bits, *takeover)));
                websocket::write_compressed_frame(out, opcode, payload.len(), |out| {
                    compressor.compress(payload, out)
                })
            }
        }
    }

    /// Appends a message as one frame, compressed or not.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], limits: &Limits) {
        if !self.compress(out, opcode, payload, limits) {
            websocket::write_frame(out, opcode, payload);
        }
    }

    /// Compresses the one text frame that `out` ends with, from `start` on, if it is worth it.
    pub(crate) fn compress_frame(&mut self, out: &mut Vec<u8>, start: usize, limits: &Limits) {
        if matches!(self, Compression::Off) || out.len() - start < limits.deflate_bytes_min {
            return;
        }
        let plain = out.split_off(start);
        let payload = &plain[crate::form::frame_header_bytes(&plain)..];
        if !self.compress(out, Opcode::Text, payload, limits) {
            out.extend_from_slice(&plain);
        }
    }

    /// Lets go of what a silent connection need not hold: the next message will refer to none before it, which every
    /// reader understands.
    pub(crate) fn rest(&mut self) {
        if let Compression::Own { compressor, .. } = self {
            *compressor = None;
        }
    }
}
