//! The WebSocket protocol (RFC 6455), both sides of it.
//!
//! In reading order: `handshake` turns an HTTP request into a WebSocket; `frame` knows a single frame, its header and
//! how to write one; `mask` is the one loop that touches every byte; `message` makes messages and control events out
//! of the frames that a socket delivers in pieces. Compression (RFC 7692) is `extension`, what is agreed on, and
//! `deflate`, what is done to the bytes.
//!
//! Deliberately absent: other extensions, the closing timer and the answers to ping and close (who owns the socket
//! decides when to write), and randomness (masking keys and nonces are given).

mod deflate;
#[cfg(test)]
mod deflate_tests;
mod extension;
mod frame;
mod handshake;
#[cfg(test)]
mod handshake_tests;
mod mask;
mod message;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub(crate) use self::handshake::is_token;
pub use self::{
    deflate::{ALONE_WINDOW_BITS, Compressor, compress_alone},
    extension::{Deflate, DeflateOffer, DeflateTerms},
    frame::{
        FrameHeader, Opcode, frame_header, is_close_code, is_compressed, write_close, write_compressed_frame,
        write_frame, write_masked_close, write_masked_compressed_frame, write_masked_frame,
    },
    handshake::{
        Upgrade, UpgradeError, UpgradeRequestError, UpgradeResponse, UpgradeResponseError, accept_key,
        parse_upgrade_response, request_key, verify_upgrade, write_accept, write_upgrade_request,
    },
    mask::unmask,
    message::{Decoder, Event, MessageKind, Payload},
};

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads masked frames and writes unmasked ones.
    Server,
    /// Reads unmasked frames and writes masked ones.
    Client,
}

/// Why a stream of frames cannot be read on. The connection is to be closed with [`Error::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reserved bit is set that no extension gave a meaning here (5.2; RFC 7692, 6.1).
    #[error("a reserved bit is set")]
    ReservedBits,
    /// The opcode is one of those that the RFC keeps for later (5.2).
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A client sent a frame without a mask (5.1).
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A server sent a frame with a mask (5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// The payload length has its most significant bit set (5.2).
    #[error("the top bit of a payload length is set")]
    LengthTopBit,
    /// A control frame is one of several fragments (5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A control frame has more than 125 bytes of payload (5.5).
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A continuation came although no message was begun (5.4).
    #[error("a continuation without a message to continue")]
    NothingToContinue,
    /// A message began inside another one (5.4).
    #[error("a message began before the last fragment of the one before it")]
    Interrupted,
    /// A close frame's payload is a single byte, which cannot hold a code (5.5.1).
    #[error("a close frame with half a code")]
    CloseTooShort,
    /// A close frame carries a code that must not be sent (7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// Text, or the reason of a close frame, is not UTF-8 (8.1).
    #[error("text is not utf-8")]
    Utf8,
    /// A compressed message cannot be inflated (RFC 7692, 7.2.2).
    #[error("a compressed message is damaged")]
    Compressed,
    /// A message is larger than this end accepts.
    #[error("a message of at least {bytes} bytes where {bytes_max} are allowed")]
    TooLarge {
        /// What the frames so far, and the one that was announced, add up to; of a compressed one, what is known.
        bytes: u64,
        /// The limit that the decoder was given.
        bytes_max: usize,
    },
}

impl Error {
    /// Gives the code to close the connection with (RFC 6455, 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            // RFC 6455, 7.4.1: data that is not consistent with the type of the message.
            Error::Utf8 | Error::Compressed => 1007,
            Error::TooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}
