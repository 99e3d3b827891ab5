//! The log: preallocated segments of chained records, the same bytes that are pushed. It is the truth for everything
//! newer than the state.
//!
//! Nothing here knows what a record means; see `runs` for that.

mod index;
mod scan;
mod segment;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, is_full};
use super::mutants::{Mutant, made};
use super::pages::rewrite;
use super::{ReadError, StoreError, StoreOptions};
use crate::model::Revision;
use crate::model::limits::{LOG_STEP_BYTES, SEGMENT_BYTES, SEGMENT_BYTES_MIN};
use crate::protocol::wire::record::{HEADER_BYTES, Header, Writer};
pub(super) use index::SharedIndex;
pub use index::{Cursor, RecordsRead};
use index::{Index, Known};
pub(super) use scan::LogScan;
pub(super) use segment::{SEGMENT_HEADER_BYTES, Segment, Start, parse_name};

/// Where in the log a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogPosition {
    /// Number of the segment, from one.
    pub(super) segment: u64,
    /// Byte in it.
    pub(super) offset: u64,
}

impl LogPosition {
    /// Where the first record of a log goes.
    pub(super) const FIRST: Self = Self { segment: 1, offset: SEGMENT_HEADER_BYTES };
}

/// The open log, for the one who writes.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    generation: u64,
    options: StoreOptions,
    /// Where the next record goes.
    tail: LogPosition,
    /// Room in the last segment, up to this byte.
    room: u64,
    /// After the last synced whole change set or era, and its checksum.
    whole: LogPosition,
    /// Records that are not written yet.
    buffer: Vec<u8>,
    /// The header that is kept back: without it nothing after it counts.
    withheld: Option<(LogPosition, Vec<u8>)>,
    withhold_next: bool,
    /// Checksum of the last record, chain for the next one.
    pub(super) writer: Writer,
    index: Arc<SharedIndex>,
}

/// What meets the records of a recovery.
pub(super) trait Replay {
    /// The next record. Returns whether a change set or an era is whole with it.
    ///
    /// # Errors
    /// Why it is not what should be here.
    fn record(&mut self, at: u64, file: &Arc<Segment>, header: &Header, payload: &[u8]) -> Result<bool, Unfit>;
}

/// A record that does not fit where it stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// It contradicts what is before it.
    #[error("{0}")]
    Malformed(&'static str),
    /// What is before it could not be read.
    #[error("{0}")]
    Read(#[from] ReadError),
}

impl Log {
    /// A new log for this generation that begins after `start`.
    ///
    /// # Errors
    /// What the system says; nothing but a leftover file remains.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        start: Start,
        options: StoreOptions,
    ) -> io::Result<Self> {
        let segment =
            Segment::create(&**disk, dir, generation, LogPosition::FIRST.segment, start, segment_bytes(options))?;
        Self::assemble(disk, dir, generation, options, vec![Arc::new(segment)], start, LogPosition::FIRST)
    }

    fn assemble(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        options: StoreOptions,
        segments: Vec<Arc<Segment>>,
        head: Start,
        end: LogPosition,
    ) -> io::Result<Self> {
        let room = segments.last().map_or(Ok(0), |last| last.file.len())?;
        let known = VecDeque::from([Known { revision: head.revision, at: end, bytes: 0 }]);
        let index = Index { segments: segments.into(), known, end, head: head.revision, bytes: 0 };
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            generation,
            options,
            tail: end,
            room,
            whole: end,
            buffer: Vec::new(),
            withheld: None,
            withhold_next: false,
            writer: Writer::new(head.chain),
            index: Arc::new(SharedIndex(Mutex::new(index))),
        })
    }

    /// Opens the log of this generation: replays what is after `head` (where the state is), cuts a torn tail, finds out
    /// how far back the log reaches. `chain_of_end` is asked for nothing: the replay keeps the chain.
    ///
    /// # Errors
    /// [`StoreError::Newer`] before anything is changed; [`StoreError::Io`].
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        head: (Start, LogPosition),
        options: StoreOptions,
        replay: &mut dyn Replay,
    ) -> Result<(LogScan, Vec<Arc<Segment>>), StoreError> {
        let mut damage = None;
        let segments = segment::list(&**disk, dir, generation, &mut damage)?;
        let mut scan = LogScan { end: head.1, head: head.0, damage, known: Vec::new(), bytes: 0 };
        scan.older(&segments, options).map_err(|source| io_error("reading the log", source))?;
        scan.newer(&segments, options, replay)?;
        Ok((scan, segments))
    }

    /// Makes the log that a scan found the one to write: cuts off what is after its end.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn resume(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        options: StoreOptions,
        scan: LogScan,
        segments: Vec<Arc<Segment>>,
    ) -> io::Result<Self> {
        let mut kept = segments;
        let newest = kept.last().map_or(0, |last| last.ordinal);
        let reaches = kept.iter().any(|segment| segment.ordinal == scan.end.segment);
        let mut end = scan.end;
        if !reaches {
            // The segment with the head is gone (and reported): a new one begins after it.
            end = LogPosition { segment: newest + 1, offset: SEGMENT_HEADER_BYTES };
            let start = Start { revision: scan.head.revision, chain: scan.head.chain, inside: false };
            let made = Segment::create(&**disk, dir, generation, end.segment, start, segment_bytes(options))?;
            remove_all(&**disk, dir, kept.iter())?;
            kept = vec![Arc::new(made)];
        }
        let mut log = Self::assemble(disk, dir, generation, options, kept, scan.head, end)?;
        if reaches {
            log.settle(end, scan.damage.is_some())?;
        }
        {
            let mut index = log.index.lock();
            index.bytes = scan.bytes;
            if reaches && !scan.known.is_empty() {
                index.known = scan.known.into();
            } else if let Some(known) = index.known.front_mut() {
                known.bytes = scan.bytes;
            }
            index.floor(options);
        }
        Ok(log)
    }

    /// What was found beyond the mark may be in memory only, and after it there may be anything: writes the first again,
    /// cuts off the second.
    fn settle(&mut self, end: LogPosition, damaged: bool) -> io::Result<()> {
        let Some(segment) = self.segment(end.segment) else { return Ok(()) };
        let mark = segment.mark()?;
        if damaged || mark > end.offset {
            segment.set_mark(end.offset)?;
            segment.file.sync()?;
        }
        let from = mark.min(end.offset).max(SEGMENT_HEADER_BYTES);
        rewrite(&*segment.file, from, end.offset)?;
        (self.tail, self.whole) = (end, end);
        self.cut_to(end)?;
        segment.set_mark(end.offset)
    }

    pub(super) fn index(&self) -> Arc<SharedIndex> {
        self.index.clone()
    }

    /// Makes sure that this many bytes can be appended without finding the disk full.
    ///
    /// # Errors
    /// What the system says; nothing is changed.
    pub(super) fn reserve(&mut self, bytes: u64, start: Start) -> io::Result<()> {
        if self.tail.offset + bytes <= self.room {
            return Ok(());
        }
        let size = segment_bytes(self.options).max(SEGMENT_HEADER_BYTES + bytes);
        let ordinal = self.tail.segment + 1;
        let segment = Segment::create(&*self.disk, &self.dir, self.generation, ordinal, start, size)?;
        // The room that is left in the old one is of no use; only the disk would miss it.
        if let Some(last) = self.segment(self.tail.segment) {
            let _ = last.file.set_len(self.tail.offset);
        }
        self.room = size;
        self.tail = LogPosition { segment: ordinal, offset: SEGMENT_HEADER_BYTES };
        self.index.lock().segments.push_back(Arc::new(segment));
        Ok(())
    }

    /// Where the next record will begin.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { offset: self.tail.offset + self.buffer.len() as u64, ..self.tail }
    }

    /// The segment that is written.
    pub(super) fn current(&self) -> io::Result<Arc<Segment>> {
        self.segment(self.tail.segment).ok_or_else(|| io::Error::other("the log has no segment"))
    }

    /// The next record's header is written last, right before the sync: without it nothing of what follows counts.
    pub(super) fn withhold(&mut self) {
        self.withhold_next = !made(Mutant::NoWithholding);
    }

    /// Appends encoded records; chain and room are the caller's.
    ///
    /// # Errors
    /// What the system says; [`Log::cut_to`] makes it undone.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(records);
        self.flush_from(LOG_STEP_BYTES)
    }

    /// Encodes records right into the log.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn write<T>(&mut self, encode: impl FnOnce(&mut Writer, &mut Vec<u8>, u64) -> T) -> io::Result<T> {
        let done = encode(&mut self.writer, &mut self.buffer, self.tail.offset);
        self.flush_from(LOG_STEP_BYTES)?;
        Ok(done)
    }

    /// Writes what is buffered, so that it can be read back; not yet durably.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.flush_from(0)
    }

    fn flush_from(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() <= bytes || self.buffer.is_empty() {
            return Ok(());
        }
        let segment = self.current()?;
        let mut from = 0;
        if std::mem::take(&mut self.withhold_next) && self.buffer.len() >= HEADER_BYTES {
            self.withheld = Some((self.tail, self.buffer[..HEADER_BYTES].to_vec()));
            from = HEADER_BYTES;
        }
        segment.file.write_at(self.tail.offset + from as u64, &self.buffer[from..])?;
        self.tail.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes everything that was appended durable. `wholes` are the ends of change sets and eras in it, in order.
    ///
    /// # Errors
    /// What the system says; what is on the disk is in doubt.
    pub(super) fn sync(&mut self, wholes: &[(Revision, LogPosition)]) -> io::Result<()> {
        self.flush()?;
        let segment = self.current()?;
        if let Some((at, header)) = self.withheld.take() {
            segment.file.write_at(at.offset, &header)?;
        }
        match segment.sync() {
            Err(error) if !made(Mutant::IgnoreFailedSync) => return Err(error),
            _ => {}
        }
        let mut index = self.index.lock();
        for (revision, at) in wholes {
            index.extend(*revision, *at, self.options);
            self.whole = *at;
        }
        index.floor(self.options);
        drop(index);
        if self.whole.segment == segment.ordinal {
            // Not synced: it is with the next group. A mark that is behind only weakens a check.
            let _ = segment.set_mark(self.whole.offset);
        }
        Ok(())
    }

    /// Takes back everything after this position, durably. The chain is the caller's.
    ///
    /// # Errors
    /// What the system says; what is on the disk is in doubt.
    pub(super) fn cut_to(&mut self, to: LogPosition) -> io::Result<()> {
        self.buffer.clear();
        self.withheld = None;
        self.withhold_next = false;
        let gone: Vec<_> = {
            let index = self.index.lock();
            index.segments.iter().filter(|segment| segment.ordinal > to.segment).cloned().collect()
        };
        if !gone.is_empty() {
            remove_all(&*self.disk, &self.dir, gone.iter().rev())?;
            self.index.lock().segments.retain(|segment| segment.ordinal <= to.segment);
        }
        self.tail = to;
        let segment = self.current()?;
        let size = segment.file.len()?.max(segment_bytes(self.options));
        segment.file.set_len(to.offset)?;
        self.room = match segment.file.allocate(size) {
            Ok(()) => size,
            Err(error) if is_full(&error) => {
                segment.file.set_len(to.offset)?;
                to.offset
            }
            Err(error) => return Err(error),
        };
        segment.file.sync()
    }

    /// After the last synced whole change set or era.
    pub(super) fn whole(&self) -> LogPosition {
        self.whole
    }

    /// Whether nothing stands in the files after the last whole one.
    pub(super) fn is_clean(&self) -> bool {
        self.position() == self.whole && self.withheld.is_none()
    }

    /// Removes segments that neither the floor nor the state (which is at `applied`) needs.
    ///
    /// # Errors
    /// What the system says; the log is as before or shorter.
    pub(super) fn trim(&mut self, applied: LogPosition) -> io::Result<()> {
        let gone: Vec<_> = {
            let mut index = self.index.lock();
            index.floor(self.options);
            let applied = if made(Mutant::TrimTooMuch) { u64::MAX } else { applied.segment };
            let needed = applied.min(index.known.front().map_or(u64::MAX, |known| known.at.segment));
            index.segments.iter().filter(|segment| segment.ordinal < needed).cloned().collect()
        };
        for segment in &gone {
            self.disk.remove(&segment.path)?;
            self.index.lock().segments.retain(|kept| kept.ordinal != segment.ordinal);
        }
        if gone.is_empty() { Ok(()) } else { self.disk.sync_dir(&self.dir) }
    }

    /// Whether segments wait only for the state to be checkpointed.
    pub(super) fn is_pinned(index: &SharedIndex, applied: LogPosition) -> bool {
        let index = index.lock();
        let floor = index.known.front().map_or(0, |known| known.at.segment);
        applied.segment + 1 < floor
    }

    fn segment(&self, ordinal: u64) -> Option<Arc<Segment>> {
        self.index.lock().segments.iter().find(|segment| segment.ordinal == ordinal).cloned()
    }
}

fn segment_bytes(options: StoreOptions) -> u64 {
    (options.log_bytes / 4).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES)
}

fn remove_all<'a>(disk: &dyn Disk, dir: &Path, segments: impl Iterator<Item = &'a Arc<Segment>>) -> io::Result<()> {
    for segment in segments {
        match disk.remove(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_dir(dir)
}

pub(super) fn io_error(what: &str, source: io::Error) -> StoreError {
    StoreError::Io { what: what.to_owned(), source }
}
