//! The records of the newest group, so that they are sent without being read.

use bytes::Bytes;

use crate::model::Revision;

/// The records that one group appended. They are the bytes that were written to the log, not a copy.
#[derive(Debug, Clone)]
pub struct Tail {
    /// Head before them.
    pub after: Revision,
    /// Head after them.
    pub last: Revision,
    /// As they stand in the log.
    pub bytes: Bytes,
}
