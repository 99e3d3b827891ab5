//! Frames between the socket and the driver. How they look as bytes is `protocol::wire`'s.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::limits::FRAME_READ_BYTES_MIN;
use crate::protocol::wire::{Bulk, FrameDecoder, FrameKind, Message, WireError, decode, decode_bulk};

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
    Protocol(#[from] WireError),
}

/// Reads frames. Holds one frame at the most, and a read's worth beyond it.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    decoder: FrameDecoder,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, decoder: FrameDecoder::link() }
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Received, FrameError> {
        let frame = loop {
            if let Some(frame) = self.decoder.next()? {
                break frame;
            }
            match self.stream.read_buf(self.decoder.buffer()).await {
                Ok(0) => return Err(FrameError::Closed),
                Ok(_) => {}
                // A TLS stream that ends without saying so.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
                Err(error) => return Err(FrameError::Broken(error)),
            }
        };
        match frame.kind {
            FrameKind::Control => Ok(Received::Control(decode(&frame.payload)?)),
            _ => decode_bulk(frame).map(|(what, bytes)| Received::Bulk(what, bytes)).map_err(FrameError::Protocol),
        }
    }

    /// Reads and forgets until the peer's end.
    pub async fn discard(&mut self) {
        let mut bytes = vec![0; FRAME_READ_BYTES_MIN];
        while matches!(self.stream.read(&mut bytes).await, Ok(1..)) {}
    }
}
