//! Received bulk that no batch has named yet.

use std::collections::BTreeMap;

use crate::node::network::receive_budget::ReceivePermit;
use crate::protocol::engine::BulkId;
use crate::store::SnapshotPiece;

/// Received bulk that no batch has named yet. What it holds counts against the budget of its link.
#[derive(Default)]
pub struct ReceivedBulk(BTreeMap<BulkId, ReceivedPiece>);

/// One received bulk frame.
pub type ReceivedPiece = (SnapshotPiece, ReceivePermit);

impl ReceivedBulk {
    pub fn insert(&mut self, bulk: BulkId, piece: SnapshotPiece, permit: ReceivePermit) {
        self.0.insert(bulk, (piece, permit));
    }

    /// Hands one piece over; `None` where it is not here.
    pub fn take(&mut self, bulk: BulkId) -> Option<ReceivedPiece> {
        self.0.remove(&bulk)
    }
}
