//! The index of the log, by which readers find and read records.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::record_reader::{NextRecord, RecordReader};
use super::segment::{LogPosition, SEGMENT_HEADER_BYTES, Segment};
use crate::model::Revision;
use crate::model::limits::{LOG_INDEX_BYTES, LOG_INDEX_ENTRIES};
use crate::protocol::wire::record::{HEADER_BYTES, Kind};
use crate::store::error::{ReadError, invalid_data};
use crate::store::types::StoreOptions;

/// The index, shared by the writer and the readers.
pub(in crate::store) struct LogIndex(pub(super) Mutex<Index>);

/// The index. It covers durable records only.
pub(super) struct Index {
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Oldest first. The first one is the floor of the log. Never empty.
    pub(super) entries: VecDeque<IndexEntry>,
    /// End of the last complete change set or era.
    pub(super) end: LogPosition,
    /// That change set or era.
    pub(super) head: Revision,
    /// Bytes of records up to there.
    pub(super) bytes: u64,
}

/// One position of the log: the records after `revision` begin at `at`.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexEntry {
    pub(super) revision: Revision,
    pub(super) at: LogPosition,
    /// Bytes of records before it.
    pub(super) bytes: u64,
}

/// Where a reader goes on that has read only some records of a change set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    after: Revision,
    at: LogPosition,
}

/// Records read from the log.
#[derive(Debug, Clone)]
pub struct RecordsRead {
    /// Complete records, as they are in the log. Empty if there is no newer one.
    pub bytes: Bytes,
    /// The last complete change set or era in them. If there is none, the revision that was asked for.
    pub last: Revision,
    /// Where the next read goes on. Pass it together with `last`.
    pub next: Cursor,
}

impl IndexEntry {
    /// Whether a later position is far enough from this one to be indexed.
    pub(super) fn is_apart(&self, later: &IndexEntry, options: StoreOptions) -> bool {
        let step = (options.log_changes / LOG_INDEX_ENTRIES).max(1);
        later.revision.seq >= self.revision.seq + step || later.bytes >= self.bytes + LOG_INDEX_BYTES
    }
}

impl LogIndex {
    /// The log holds every change set after this one.
    pub(in crate::store) fn floor(&self) -> Revision {
        let index = self.lock();
        index.entries.front().map_or(index.head, |entry| entry.revision)
    }

    /// Reads records; see `Reader::records_after`.
    pub(in crate::store) fn read(
        &self,
        after: Revision,
        cursor: Option<Cursor>,
        upto: Revision,
        max_bytes: usize,
    ) -> Result<Option<RecordsRead>, ReadError> {
        let (mut at, segments, end) = {
            let index = self.lock();
            let from = index.entries.partition_point(|entry| entry.revision <= after);
            let Some(entry) = from.checked_sub(1).and_then(|from| index.entries.get(from)) else { return Ok(None) };
            let at = match cursor {
                Some(cursor) if cursor.after == after && cursor.at >= entry.at => cursor.at,
                _ => entry.at,
            };
            let inside =
                |segment: &&Arc<Segment>| segment.ordinal >= at.segment && segment.ordinal <= index.end.segment;
            let resumes = cursor.is_some_and(|cursor| cursor.after == after && cursor.at == at);
            let segments: Vec<_> = index.segments.iter().filter(inside).cloned().collect();
            ((at, if resumes || entry.revision == after { after } else { entry.revision }), segments, index.end)
        };
        let mut read = RangeRead { after, upto, max_bytes, bytes: Vec::new(), last: after, reached: at.1 == after };
        for segment in segments {
            if segment.ordinal > at.0.segment {
                at.0 = LogPosition { segment: segment.ordinal, offset: SEGMENT_HEADER_BYTES };
            }
            let limit = if segment.ordinal == end.segment { end.offset } else { u64::MAX };
            let full = read.segment(&segment, &mut at.0, limit).map_err(ReadError::of)?;
            if full {
                break;
            }
        }
        let next = Cursor { after: read.last, at: at.0 };
        Ok(read.reached.then(|| RecordsRead { bytes: read.bytes.into(), last: read.last, next }))
    }

    pub(super) fn newest_segment(&self) -> Option<Arc<Segment>> {
        self.lock().segments.back().cloned()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read of records under way.
struct RangeRead {
    after: Revision,
    upto: Revision,
    max_bytes: usize,
    bytes: Vec<u8>,
    last: Revision,
    /// Whether the read has passed the revision that was asked for. That may be one that this log does not have.
    reached: bool,
}

impl RangeRead {
    /// Reads on in a segment, and moves `at`. Returns whether the read is complete.
    fn segment(&mut self, segment: &Arc<Segment>, at: &mut LogPosition, limit: u64) -> io::Result<bool> {
        let mut records = RecordReader::new(segment, at.offset)?;
        while records.at() < limit {
            let before = records.at();
            let (header, frame) = match records.next()? {
                NextRecord::Record { header, payload } => (header, payload.len() + HEADER_BYTES),
                NextRecord::End => return Ok(false),
                NextRecord::Bad(bad) => return Err(invalid_data(bad.to_string())),
            };
            let completes = matches!(header.kind, Kind::Era | Kind::ChangeSet);
            if self.reached {
                let enough = !self.bytes.is_empty() && self.bytes.len() + frame > self.max_bytes;
                if enough || header.revision > self.upto {
                    return Ok(true);
                }
                records.copy(before, frame, &mut self.bytes);
                if completes {
                    self.last = header.revision;
                }
            } else if completes {
                self.reached = header.revision == self.after;
                if header.revision > self.after {
                    return Ok(true);
                }
            }
            at.offset = before + frame as u64;
        }
        Ok(false)
    }
}

impl Index {
    /// Adds a complete change set or era that ends at `at`.
    pub(super) fn extend(&mut self, revision: Revision, at: LogPosition, options: StoreOptions) {
        let same = at.segment == self.end.segment;
        self.bytes += at.offset - if same { self.end.offset } else { SEGMENT_HEADER_BYTES };
        (self.end, self.head) = (at, revision);
        let entry = IndexEntry { revision, at, bytes: self.bytes };
        if self.entries.back().is_none_or(|last| last.is_apart(&entry, options)) {
            self.entries.push_back(entry);
        }
    }

    /// Forgets positions beyond the bounds of the log. One always remains.
    pub(super) fn raise_floor(&mut self, options: StoreOptions) {
        while let Some(first) = self.entries.front() {
            let kept = self.head.seq - first.revision.seq.min(self.head.seq) <= options.log_changes
                && self.bytes - first.bytes <= options.log_bytes;
            if kept {
                return;
            }
            if self.entries.len() == 1 {
                self.entries.push_back(IndexEntry { revision: self.head, at: self.end, bytes: self.bytes });
            }
            self.entries.pop_front();
        }
    }
}
