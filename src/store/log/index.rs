//! What readers know of the log, and how they read it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::LogPosition;
use super::segment::{Found, Records, SEGMENT_HEADER_BYTES, Segment};
use crate::model::Revision;
use crate::model::limits::{LOG_INDEX_BYTES, LOG_INDEX_ENTRIES};
use crate::protocol::wire::record::{HEADER_BYTES, Kind};
use crate::store::{ReadError, StoreOptions};

/// What readers know of the log: durable positions only.
pub(in crate::store) struct SharedIndex(pub(super) Mutex<Index>);

pub(super) struct Index {
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Positions from which the log can be read, oldest first; the first is the floor. Never empty.
    pub(super) known: VecDeque<Known>,
    /// After the last durable whole change set or era.
    pub(super) end: LogPosition,
    pub(super) head: Revision,
    pub(super) bytes: u64,
}

/// Records after `revision` begin at `at`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) revision: Revision,
    pub(super) at: LogPosition,
    /// Bytes of records before it.
    pub(super) bytes: u64,
}

/// Where a reader of records goes on: behind the records of a change set that it has read in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    after: Revision,
    at: LogPosition,
}

/// Records read from the log.
#[derive(Debug, Clone)]
pub struct RecordsRead {
    /// Whole records as they stand in the log; empty where there is nothing newer.
    pub bytes: Bytes,
    /// Position after the last whole change set or era in them (never inside a change set); the asked-for position where
    /// there is none.
    pub last: Revision,
    /// Where the next read goes on: to be given back with `last`.
    pub next: Cursor,
}

impl Known {
    /// Whether the later position is worth an entry of its own.
    pub(super) fn is_apart(&self, later: &Known, options: StoreOptions) -> bool {
        let step = (options.log_changes / LOG_INDEX_ENTRIES).max(1);
        later.revision.seq >= self.revision.seq + step || later.bytes >= self.bytes + LOG_INDEX_BYTES
    }
}

impl SharedIndex {
    /// The log holds everything after this.
    pub(in crate::store) fn floor(&self) -> Revision {
        let index = self.lock();
        index.known.front().map_or(index.head, |known| known.revision)
    }

    /// Reads durable records after a position; see `Reader::records_after`.
    pub(in crate::store) fn read(
        &self,
        after: Revision,
        cursor: Option<Cursor>,
        upto: Revision,
        max_bytes: usize,
    ) -> Result<Option<RecordsRead>, ReadError> {
        let (mut at, segments, end) = {
            let index = self.lock();
            let from = index.known.partition_point(|known| known.revision <= after);
            let Some(known) = from.checked_sub(1).and_then(|from| index.known.get(from)) else { return Ok(None) };
            let at = match cursor {
                Some(cursor) if cursor.after == after && cursor.at >= known.at => cursor.at,
                _ => known.at,
            };
            let inside =
                |segment: &&Arc<Segment>| segment.ordinal >= at.segment && segment.ordinal <= index.end.segment;
            let resumes = cursor.is_some_and(|cursor| cursor.after == after && cursor.at == at);
            let segments: Vec<_> = index.segments.iter().filter(inside).cloned().collect();
            ((at, if resumes || known.revision == after { after } else { known.revision }), segments, index.end)
        };
        let mut read = Reading { after, upto, max_bytes, bytes: Vec::new(), last: after, reached: at.1 == after };
        for segment in segments {
            if segment.ordinal > at.0.segment {
                at.0 = LogPosition { segment: segment.ordinal, offset: SEGMENT_HEADER_BYTES };
            }
            let limit = if segment.ordinal == end.segment { end.offset } else { u64::MAX };
            let full = read.segment(&segment, &mut at.0, limit).map_err(|error| ReadError::Disk(error.to_string()))?;
            if full {
                break;
            }
        }
        let next = Cursor { after: read.last, at: at.0 };
        Ok(read.reached.then(|| RecordsRead { bytes: read.bytes.into(), last: read.last, next }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read of records under way.
struct Reading {
    after: Revision,
    upto: Revision,
    max_bytes: usize,
    bytes: Vec<u8>,
    last: Revision,
    /// Whether the position asked for was come by: it may be none of this log.
    reached: bool,
}

impl Reading {
    /// Reads on in this segment; moves `at`. Returns whether there is enough.
    fn segment(&mut self, segment: &Arc<Segment>, at: &mut LogPosition, limit: u64) -> io::Result<bool> {
        let mut records = Records::new(segment, at.offset)?;
        while records.at() < limit {
            let before = records.at();
            let (header, frame) = match records.next()? {
                Found::Record { header, payload } => (header, payload.len() + HEADER_BYTES),
                Found::End => return Ok(false),
                Found::Bad(bad) => return Err(io::Error::new(io::ErrorKind::InvalidData, bad.to_string())),
            };
            let whole = matches!(header.kind, Kind::Era | Kind::ChangeSet);
            if self.reached {
                let enough = !self.bytes.is_empty() && self.bytes.len() + frame > self.max_bytes;
                if enough || header.revision > self.upto {
                    return Ok(true);
                }
                records.copy(before, frame, &mut self.bytes);
                if whole {
                    self.last = header.revision;
                }
            } else if whole {
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
    pub(super) fn extend(&mut self, revision: Revision, at: LogPosition, options: StoreOptions) {
        let same = at.segment == self.end.segment;
        self.bytes += at.offset - if same { self.end.offset } else { SEGMENT_HEADER_BYTES };
        (self.end, self.head) = (at, revision);
        let known = Known { revision, at, bytes: self.bytes };
        if self.known.back().is_none_or(|last| last.is_apart(&known, options)) {
            self.known.push_back(known);
        }
    }

    /// Forgets positions beyond the bounds; there is always one left.
    pub(super) fn floor(&mut self, options: StoreOptions) {
        while let Some(first) = self.known.front() {
            let kept = self.head.seq - first.revision.seq.min(self.head.seq) <= options.log_changes
                && self.bytes - first.bytes <= options.log_bytes;
            if kept {
                return;
            }
            if self.known.len() == 1 {
                self.known.push_back(Known { revision: self.head, at: self.end, bytes: self.bytes });
            }
            self.known.pop_front();
        }
    }
}
