//! A connection whose two ends have authenticated each other.

use std::net::SocketAddr;

use tokio::io::{ReadHalf, WriteHalf};

use super::frames::FrameReader;
use crate::model::NodeId;
use crate::node::environment::BoxStream;

/// The peer that a handshake was checked against.
pub type Pin = Option<NodeId>;

/// A connection whose two ends have authenticated each other.
pub struct Connection {
    pub reader: FrameReader<ReadHalf<BoxStream>>,
    pub writer: WriteHalf<BoxStream>,
    /// Where the peer dialled from, if it dialled.
    pub from: Option<SocketAddr>,
}

impl Connection {
    pub fn new(stream: BoxStream) -> Self {
        let (read, writer) = tokio::io::split(stream);
        Self { reader: FrameReader::new(read), writer, from: None }
    }

    /// The same, of a peer that dialled from this address.
    pub fn accepted(stream: BoxStream, from: SocketAddr) -> Self {
        Self { from: Some(from), ..Self::new(stream) }
    }
}
