//! Reads the records of one segment.

use std::io;
use std::sync::Arc;

use super::segment::Segment;
use crate::model::limits::LOG_STEP_BYTES;
use crate::protocol::wire::record::{BadRecord, HEADER_BYTES, Header, RECORD_VERSION};
use crate::store::disk::File;
use crate::store::error::StoreError;

/// Reads the records of a segment, one after the other.
pub(super) struct RecordReader {
    file: Arc<dyn File>,
    /// Length of the file.
    len: u64,
    /// Position in the file of the first byte of `buffer`.
    from: u64,
    buffer: Vec<u8>,
    /// Position in `buffer` of the next record.
    next: usize,
}

/// What a segment holds at one position.
pub(super) enum NextRecord<'a> {
    /// A complete record.
    Record { header: Header, payload: &'a [u8] },
    /// Zeros: nothing was written here.
    End,
    /// Bytes that are not a complete record.
    Bad(BadRecord),
}

impl RecordReader {
    /// Reads from byte `at` on, where a record begins.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new(segment: &Arc<Segment>, at: u64) -> io::Result<Self> {
        let len = segment.file.len()?;
        Ok(Self { file: segment.file.clone(), len, from: at, buffer: Vec::new(), next: 0 })
    }

    /// Position of the next record.
    pub(super) fn at(&self) -> u64 {
        self.from + self.next as u64
    }

    /// Reads the next record. If there is none, the position stays.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn next(&mut self) -> io::Result<NextRecord<'_>> {
        self.fill(HEADER_BYTES)?;
        let rest = &self.buffer[self.next..];
        if rest.len() < HEADER_BYTES || rest[..HEADER_BYTES].iter().all(|byte| *byte == 0) {
            let zeros = rest.iter().take(HEADER_BYTES).all(|byte| *byte == 0);
            return Ok(if zeros { NextRecord::End } else { NextRecord::Bad(BadRecord::Short) });
        }
        let bytes = match Header::frame_bytes_at(rest) {
            Ok(bytes) => bytes,
            Err(bad) => return Ok(NextRecord::Bad(bad)),
        };
        self.fill(bytes)?;
        let at = self.next;
        match Header::decode(&self.buffer[at..]) {
            Ok((header, payload)) => {
                self.next += bytes;
                Ok(NextRecord::Record { header, payload })
            }
            Err(bad) => Ok(NextRecord::Bad(bad)),
        }
    }

    /// Appends to `out` the record that was read last and began at `at`.
    pub(super) fn copy(&self, at: u64, bytes: usize, out: &mut Vec<u8>) {
        let from = (at - self.from) as usize;
        out.extend_from_slice(&self.buffer[from..from + bytes]);
    }

    /// Reads until this many bytes are in the buffer, or all that the file has.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() - self.next >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.next);
        self.from += self.next as u64;
        self.next = 0;
        let have = self.buffer.len();
        let left = self.len.saturating_sub(self.from + have as u64);
        let more = left.min(bytes.max(LOG_STEP_BYTES) as u64 - have as u64) as usize;
        self.buffer.resize(have + more, 0);
        let read = self.file.read_at(self.from + have as u64, &mut self.buffer[have..]);
        if read.is_err() {
            self.buffer.truncate(have);
        }
        read
    }
}

/// The error of a record that a newer program wrote. `None` for a damaged record.
pub(super) fn newer_version(bad: BadRecord, what: &str) -> Option<StoreError> {
    match bad {
        BadRecord::Newer { found } => {
            Some(StoreError::Newer { what: what.to_owned(), found: u32::from(found), known: u32::from(RECORD_VERSION) })
        }
        _ => None,
    }
}
