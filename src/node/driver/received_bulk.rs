//! Received bulk that no batch has named yet.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::node::network::receive_budget::ReceivePermit;
use crate::protocol::engine::BulkId;

/// Received bulk that no batch has named yet. What it holds counts against the budget of its link.
#[derive(Default)]
pub struct ReceivedBulk(BTreeMap<BulkId, ReceivedPiece>);

/// One received bulk frame.
pub type ReceivedPiece = (Bytes, ReceivePermit);

impl ReceivedBulk {
    pub fn insert(&mut self, bulk: BulkId, bytes: Bytes, permit: ReceivePermit) {
        self.0.insert(bulk, (bytes, permit));
    }

    /// Hands one piece over; `None` where it is not here.
    pub fn take(&mut self, bulk: BulkId) -> Option<ReceivedPiece> {
        self.0.remove(&bulk)
    }
}
