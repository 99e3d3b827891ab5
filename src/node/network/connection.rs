//! A connection whose two ends have authenticated each other.

use std::net::SocketAddr;

use tokio::io::{ReadHalf, WriteHalf};

use super::frames::FrameReader;
use crate::model::KeyId;
use crate::node::environment::BoxStream;

/// A connection whose two ends have authenticated each other.
pub struct Connection {
    pub reader: FrameReader<ReadHalf<BoxStream>>,
    pub writer: WriteHalf<BoxStream>,
    /// Its other end.
    pub remote: SocketAddr,
    /// The key that the peer has shown and proved to have.
    pub peer_key: KeyId,
    /// The key that this node had when the handshake began.
    pub own_key: KeyId,
    /// The key exchange that protects it.
    pub key_exchange: &'static str,
}

impl Connection {
    pub fn new(
        stream: BoxStream,
        remote: SocketAddr,
        (peer_key, own_key): (KeyId, KeyId),
        key_exchange: &'static str,
    ) -> Self {
        let (read, writer) = tokio::io::split(stream);
        Self { reader: FrameReader::new(read), writer, remote, peer_key, own_key, key_exchange }
    }
}
