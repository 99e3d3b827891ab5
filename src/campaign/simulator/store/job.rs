//! What a store is asked to do.

use super::records::{Change, Record, RecordBody, Sent, SnapshotItem};
use crate::protocol::engine::Work;

/// Durable work with the change sets, records and entries of the model.
pub type Job = Work<Change, Sent<Record>, Sent<SnapshotItem>>;

/// Whether there is a change set among these records. The host is asked only where there is one.
pub fn has_change_sets(pieces: &[Sent<Record>]) -> bool {
    pieces.iter().flat_map(|piece| piece.iter()).any(|record| matches!(record.content, RecordBody::Set(_)))
}
