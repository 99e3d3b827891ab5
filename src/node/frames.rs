//! Frames between the socket and the node: how they are read from a stream, and how they look as bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::wire::{Bulk, Message};

pub use codec::{bulk_frame, control_frame};

/// What a peer sent.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A control message.
    Control(Message),
    /// Bulk, whose bytes stay in the shell.
    Bulk(Bulk, Bytes),
}

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer ended the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// What came is no frame of ours.
    #[error("the peer breaks the protocol: {0}")]
    Protocol(String),
}

/// Reads frames. Holds one frame at the most, and a read's worth beyond it.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

/// Read at once where nothing larger is expected: a few control frames.
const READ_BYTES: usize = 8 * 1024;

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Waits until the peer has said anything at all.
    pub async fn first_word(&mut self) -> Result<(), FrameError> {
        match self.buffer.is_empty() {
            true => self.read_to(1).await,
            false => Ok(()),
        }
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Received, FrameError> {
        self.read_to(codec::HEADER_BYTES).await?;
        let (kind, length) = codec::header(&self.buffer).map_err(FrameError::Protocol)?;
        let whole = codec::HEADER_BYTES + length;
        self.read_to(whole).await?;
        let payload = self.buffer.split_to(whole).freeze().slice(codec::HEADER_BYTES..);
        codec::decode(kind, payload).map_err(FrameError::Protocol)
    }

    /// Reads and forgets until the peer's end.
    pub async fn discard(&mut self) {
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ_BYTES);
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return;
            }
        }
    }

    /// Reads until so many bytes are at hand.
    async fn read_to(&mut self, bytes: usize) -> Result<(), FrameError> {
        while self.buffer.len() < bytes {
            self.buffer.reserve((bytes - self.buffer.len()).max(READ_BYTES));
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(FrameError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
                Err(error) => return Err(FrameError::Broken(error)),
            }
        }
        Ok(())
    }
}

/// The one place where the wire room's codec is plugged in.
///
/// Until it is, frames have a header of one kind byte and a length, and a message cannot be read or written.
mod codec {
    use super::{Bulk, Bytes, Message, Received};
    use crate::model::limits::{BULK_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX};

    pub const HEADER_BYTES: usize = 5;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Kind {
        Control,
        Bulk,
    }

    /// Kind and length of the payload, from at least [`HEADER_BYTES`] bytes; the length is within its bound.
    pub fn header(bytes: &[u8]) -> Result<(Kind, usize), String> {
        let [kind, a, b, c, d, ..] = *bytes else { return Err("a short header".into()) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let (kind, max) = match kind {
            1 => (Kind::Control, CONTROL_FRAME_BYTES_MAX),
            2 => (Kind::Bulk, BULK_FRAME_BYTES_MAX),
            other => return Err(format!("a frame of the unknown kind {other}")),
        };
        if length > max { Err(format!("a frame of {length} bytes")) } else { Ok((kind, length)) }
    }

    /// The payload as a message or bulk.
    pub fn decode(kind: Kind, payload: Bytes) -> Result<Received, String> {
        let _ = (kind, payload);
        Err("no codec is built in".into())
    }

    /// A control message as a frame, header included.
    pub fn control_frame(message: &Message) -> Result<Bytes, String> {
        let _ = message;
        Err("no codec is built in".into())
    }

    /// All of a bulk frame but its `bytes`, which follow it.
    pub fn bulk_frame(what: &Bulk, bytes: usize) -> Result<Bytes, String> {
        let _ = (what, bytes);
        Err("no codec is built in".into())
    }
}
