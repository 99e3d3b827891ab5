//! Frames between the socket and the node: how they are read from a stream, and how they look as bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::wire::{self, Bulk, Frame, FrameDecoder, FrameKind, Message};

/// Read at once where nothing is wanted any more.
const READ_BYTES: usize = 8 * 1024;

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
pub struct FrameReader<R> {
    stream: R,
    decoder: FrameDecoder,
    /// The frame that was the first word.
    first: Option<Frame>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, decoder: FrameDecoder::link(), first: None }
    }

    /// Waits until the peer has said its first frame.
    pub async fn first_word(&mut self) -> Result<(), FrameError> {
        if self.first.is_none() {
            self.first = Some(self.frame().await?);
        }
        Ok(())
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Received, FrameError> {
        let frame = match self.first.take() {
            Some(frame) => frame,
            None => self.frame().await?,
        };
        let received = match frame.kind {
            FrameKind::Control => wire::decode(&frame.payload).map(Received::Control),
            _ => wire::decode_bulk(frame).map(|(what, bytes)| Received::Bulk(what, bytes)),
        };
        received.map_err(|error| FrameError::Protocol(error.to_string()))
    }

    /// Reads and forgets until the peer's end.
    pub async fn discard(&mut self) {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        while matches!(self.stream.read_buf(&mut buffer).await, Ok(1..)) {
            buffer.clear();
        }
    }

    /// Reads until a whole frame is at hand.
    async fn frame(&mut self) -> Result<Frame, FrameError> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(|error| FrameError::Protocol(error.to_string()))? {
                return Ok(frame);
            }
            match self.stream.read_buf(self.decoder.buffer()).await {
                Ok(0) => return Err(FrameError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
                Err(error) => return Err(FrameError::Broken(error)),
            }
        }
    }
}

/// A control message as a frame, header included.
pub fn control_frame(message: &Message) -> Result<Bytes, String> {
    wire::encode(message).map_err(|error| error.to_string())
}

/// All of a bulk frame but its `bytes`, which follow it.
pub fn bulk_frame(what: &Bulk, bytes: usize) -> Result<Bytes, String> {
    let prefix = wire::encode_bulk(what, bytes).map_err(|error| error.to_string())?;
    Ok(Bytes::copy_from_slice(prefix.as_ref()))
}
