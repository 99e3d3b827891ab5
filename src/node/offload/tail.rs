//! The records that the last group appended, so that they are sent without another read.

use bytes::Bytes;

use crate::model::Revision;
use crate::model::limits::PUSH_STEP_BYTES;
use crate::store::{Cursor, Reader};

/// The records that one group appended.
#[derive(Debug, Clone)]
pub struct Tail {
    /// Head before them.
    pub after: Revision,
    /// Head after them.
    pub last: Revision,
    /// As they stand in the log.
    pub bytes: Bytes,
}

/// Reads the records of one group after another.
pub struct TailReader {
    reader: Reader,
    /// Where the last read ended.
    cursor: Option<Cursor>,
}

impl TailReader {
    pub fn new(reader: Reader) -> Self {
        Self { reader, cursor: None }
    }

    /// The records after one head and up to another; `None` where they are more than one push takes, or cannot be read.
    pub fn read(&mut self, after: Revision, last: Revision) -> Option<Tail> {
        let read = self.reader.records_after(after, self.cursor.take(), last, PUSH_STEP_BYTES).ok()??;
        self.cursor = Some(read.next);
        (read.last == last && last != after).then_some(Tail { after, last, bytes: read.bytes })
    }
}
