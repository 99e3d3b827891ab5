//! Frames between the socket and the driver. `protocol::wire` defines their bytes.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::limits::FRAME_READ_BYTES_MIN;
use crate::protocol::wire::{
    Bulk, BulkPrefix, FrameDecoder, FrameKind, Message, Versions, WireError, decode, decode_bulk, decode_v3,
    encode_bulk,
};

/// What a peer sent.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A control message.
    Control(Message),
    /// Bulk. Its bytes stay in the shell.
    Bulk(Bulk, Bytes),
    /// The payload of a carried frame.
    Carried(Bytes),
    /// Bytes of a frame that is not whole yet.
    Unfinished,
}

/// A bulk frame that waits to be written: its head, and its bytes, which are not copied.
pub type BulkFrame = (BulkPrefix, Bytes);

/// Why there is no further frame. The text has the cause, which is therefore no `source` as well.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer ended the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The peer sent an invalid frame.
    #[error("the peer breaks the protocol: {0}")]
    Protocol(WireError),
}

impl From<WireError> for FrameError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error)
    }
}

/// Reads frames. Buffers one frame at most, and what one read brings beyond it.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    decoder: FrameDecoder,
    versions: Versions,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, decoder: FrameDecoder::link(), versions: Versions::OURS }
    }

    /// Reads only what a node that speaks these versions of the protocol knows.
    pub fn speaking(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// The next frame, or [`Received::Unfinished`] after every read that completes none.
    pub async fn next(&mut self) -> Result<Received, FrameError> {
        let frame = match self.decoder.next()? {
            Some(frame) => frame,
            None => {
                match self.stream.read_buf(self.decoder.buffer()).await {
                    Ok(0) => return Err(FrameError::Closed),
                    Ok(_) => {}
                    // A TLS stream that ended without a close message.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
                    Err(error) => return Err(FrameError::Broken(error)),
                }
                let Some(frame) = self.decoder.next()? else { return Ok(Received::Unfinished) };
                frame
            }
        };
        if !self.versions.have(frame.kind) {
            return Err(WireError::UnknownKind { found: frame.kind.code() }.into());
        }
        match frame.kind {
            FrameKind::Control => Ok(Received::Control(decode(&frame.payload)?)),
            FrameKind::Carried => Ok(Received::Carried(frame.payload)),
            FrameKind::ControlV3 => Ok(Received::Control(decode_v3(&frame.payload)?)),
            _ => decode_bulk(frame).map(|(what, bytes)| Received::Bulk(what, bytes)).map_err(FrameError::Protocol),
        }
    }

    /// Reads until the peer ends the connection, and drops what comes.
    pub async fn discard(&mut self) {
        let mut bytes = vec![0; FRAME_READ_BYTES_MIN];
        while matches!(self.stream.read(&mut bytes).await, Ok(1..)) {}
    }
}

/// A bulk frame of these bytes.
///
/// # Errors
/// They do not fit into a frame.
pub fn bulk_frame(what: &Bulk, bytes: Bytes) -> Result<BulkFrame, WireError> {
    Ok((encode_bulk(what, bytes.len())?, bytes))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::model::Revision;

    #[tokio::test]
    async fn what_is_no_frame_ends_the_link() {
        let (mut here, there) = tokio::io::duplex(1024);
        here.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(matches!(FrameReader::new(there).next().await, Err(FrameError::Protocol(_))));
        let (here, there) = tokio::io::duplex(1024);
        drop(here);
        assert!(matches!(FrameReader::new(there).next().await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn a_frame_that_came_with_a_later_version_ends_the_link_of_an_older_node() {
        let message = Message::Durable { upto: Revision::NONE };
        for (max, understood) in [(2, false), (3, true)] {
            let (mut here, there) = tokio::io::duplex(1024);
            here.write_all(&crate::protocol::wire::encode(&message).unwrap()).await.unwrap();
            let received = FrameReader::new(there).speaking(Versions { min: 1, max }).next().await;
            let refused = matches!(received, Err(FrameError::Protocol(WireError::UnknownKind { .. })));
            assert_eq!((received.is_ok(), refused), (understood, !understood), "{received:?}");
        }
    }

    #[test]
    fn bulk_is_sent_without_being_copied() {
        let bytes = Bytes::from(vec![3; 1000]);
        let what = Bulk::Records { after: Revision::NONE, last: Revision::NONE, durable: Revision::NONE };
        let (_, sent) = bulk_frame(&what, bytes.clone()).unwrap();
        assert_eq!(sent.as_ptr(), bytes.as_ptr());
    }
}
