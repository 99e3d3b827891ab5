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
    /// Its other end.
    pub remote: SocketAddr,
    /// The key exchange that protects it.
    pub key_exchange: &'static str,
}

impl Connection {
    pub fn new(stream: BoxStream, remote: SocketAddr, key_exchange: &'static str) -> Self {
        let (read, writer) = tokio::io::split(stream);
        Self { reader: FrameReader::new(read), writer, remote, key_exchange }
    }
}
