//! The receiver of records that recovery reads from the log.

use std::sync::Arc;

use super::segment::Segment;
use crate::protocol::wire::record::Header;
use crate::store::error::ReadError;

/// Takes the records of a recovery, in order.
pub(in crate::store) trait Replay {
    /// Takes the next record, which begins at byte `at` of the segment. Returns whether it completes a change set or an era.
    ///
    /// # Errors
    /// The record contradicts those before it, or the state under it cannot be read.
    fn record(&mut self, at: u64, segment: &Arc<Segment>, header: &Header, payload: &[u8])
    -> Result<bool, ReplayError>;
}

/// A record that cannot be applied after those before it.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum ReplayError {
    /// It contradicts the records before it.
    #[error("{0}")]
    Malformed(&'static str),
    /// The state under it could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
