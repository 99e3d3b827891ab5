//! The log: preallocated segments of chained records, which are the bytes that are pushed. It holds everything that the state
//! does not have yet.
//!
//! This module does not interpret records; `change_set_log` does.

mod index;
mod record_reader;
mod replay;
mod scan;
mod segment;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::disk::{Disk, is_full, remove_if_present, rewrite};
use super::error::StoreError;
use super::mutants::{Mutant, is_active};
use super::types::StoreOptions;
use crate::model::Revision;
use crate::model::limits::{LOG_STEP_BYTES, LOG_TOUCH_BYTES, SEGMENT_BYTES, SEGMENT_BYTES_MIN};
use crate::protocol::wire::record::{HEADER_BYTES, Writer};

pub(super) use index::LogIndex;
pub use index::{Cursor, RecordsRead};
use index::{Index, IndexEntry};
pub(super) use replay::{Replay, ReplayError};
pub(super) use scan::LogScan;
use segment::SEGMENT_HEADER_BYTES;
pub(super) use segment::{ChainState, LogPosition, Segment, parse_name};

/// The open log of the writer.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    generation: u64,
    options: StoreOptions,
    /// The bounds beside the configuration as it is now.
    bounds: StoreOptions,
    /// End of what was written to the files.
    tail: LogPosition,
    /// End of the room that is reserved in the last segment.
    reserved: u64,
    /// Up to here, zeros or records were written to the reserved room.
    touched: u64,
    /// End of the last durable complete change set or era.
    durable_end: LogPosition,
    /// Records that are not written yet. They follow `tail`.
    buffer: Vec<u8>,
    withholding: Withholding,
    /// How far the log is visible where it is opened again; `None` for all of it. The newest segment says so.
    shown: Option<Revision>,
    /// Encodes records, each chained to the one before.
    pub(super) writer: Writer,
    index: Arc<LogIndex>,
}

/// The header of the first received record, which is written last: until then, no record after it is valid.
enum Withholding {
    No,
    /// The next header that is written is to be withheld.
    Next,
    /// This header is withheld.
    Header(LogPosition, Vec<u8>),
}

impl Log {
    /// Makes a log for this generation that begins after `start`.
    ///
    /// # Errors
    /// What the system says. At most an unused file is left.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        start: ChainState,
        options: StoreOptions,
    ) -> io::Result<Self> {
        let name = (generation, LogPosition::FIRST.segment);
        let segment = Segment::create(&**disk, dir, name, start, SEGMENT_BYTES_MIN, None)?;
        Self::assemble(disk, dir, generation, options, vec![Arc::new(segment)], start, LogPosition::FIRST)
    }

    fn assemble(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        options: StoreOptions,
        segments: Vec<Arc<Segment>>,
        head: ChainState,
        end: LogPosition,
    ) -> io::Result<Self> {
        let reserved = segments.last().map_or(Ok(0), |last| last.file.len())?;
        let shown = segments.last().map_or(Ok(None), |last| last.shown())?;
        let entries = VecDeque::from([IndexEntry { revision: head.revision, at: end, bytes: 0 }]);
        let index = Index { segments: segments.into(), entries, end, head: head.revision, bytes: 0 };
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            generation,
            options,
            bounds: options.beside(0),
            tail: end,
            reserved,
            touched: end.offset,
            durable_end: end,
            buffer: Vec::new(),
            withholding: Withholding::No,
            shown,
            writer: Writer::new(head.chain),
            index: Arc::new(LogIndex(Mutex::new(index))),
        })
    }

    /// The file that is written now.
    pub(super) fn newest_file(&self) -> Option<PathBuf> {
        self.index.newest_segment().map(|segment| segment.path.clone())
    }

    /// Reads the log of this generation: indexes it, and replays what follows `head`, the position of the state. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Io`].
    pub(super) fn scan(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        head: (ChainState, LogPosition),
        options: StoreOptions,
        replay: &mut dyn Replay,
    ) -> Result<(LogScan, Vec<Arc<Segment>>), StoreError> {
        let mut damage = None;
        let segments = segment::list(&**disk, dir, generation, &mut damage)?;
        let mut scan = LogScan { end: head.1, head: head.0, damage, index: Vec::new(), bytes: 0 };
        scan.index_applied(&segments, options).map_err(|source| StoreError::io("reading the log", source))?;
        scan.replay(&segments, options, replay)?;
        Ok((scan, segments))
    }

    /// Opens the scanned log for writing, and cuts off what follows its end.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        generation: u64,
        options: StoreOptions,
        scan: LogScan,
        segments: Vec<Arc<Segment>>,
    ) -> io::Result<Self> {
        let mut kept = segments;
        let newest = kept.last().map_or(0, |last| last.ordinal);
        let has_end = kept.iter().any(|segment| segment.ordinal == scan.end.segment);
        let mut end = scan.end;
        if !has_end {
            // The segment with the end is missing, which was reported as damage. A new segment begins after the end.
            end = LogPosition::start_of(newest + 1);
            let start = ChainState::after(scan.head.revision, scan.head.chain);
            let created = Segment::create(&**disk, dir, (generation, end.segment), start, SEGMENT_BYTES_MIN, None)?;
            remove_all(&**disk, dir, kept.iter())?;
            kept = vec![Arc::new(created)];
        }
        let mut log = Self::assemble(disk, dir, generation, options, kept, scan.head, end)?;
        if has_end {
            log.repair_tail(end, scan.damage.is_some())?;
        }
        {
            let mut index = log.index.lock();
            index.bytes = scan.bytes;
            if has_end && !scan.index.is_empty() {
                index.entries = scan.index.into();
            } else if let Some(entry) = index.entries.front_mut() {
                entry.bytes = scan.bytes;
            }
        }
        Ok(log)
    }

    /// Writes the records after the mark again, because they may be in the memory of the kernel only, and cuts off what
    /// follows the end.
    fn repair_tail(&mut self, end: LogPosition, damaged: bool) -> io::Result<()> {
        let Some(segment) = self.segment(end.segment) else { return Ok(()) };
        let mark = segment.mark()?;
        if damaged || mark > end.offset {
            segment.set_mark(end.offset)?;
            segment.file.sync()?;
        }
        let from = mark.min(end.offset).max(SEGMENT_HEADER_BYTES);
        rewrite(&*segment.file, from, end.offset)?;
        (self.tail, self.durable_end) = (end, end);
        self.cut_to(end)?;
        segment.set_mark(end.offset)
    }

    /// The configuration has so many bytes now, and the bounds of the log follow.
    pub(super) fn set_data_bytes(&mut self, bytes: u64) {
        self.bounds = self.options.beside(bytes);
        self.index.lock().raise_floor(self.bounds);
    }

    /// How far the log is visible where it is opened again; `None` for all of it.
    pub(super) fn shown(&self) -> Option<Revision> {
        self.shown
    }

    pub(super) fn index(&self) -> Arc<LogIndex> {
        self.index.clone()
    }

    /// Reserves room for this many bytes, so that appending them cannot find the disk full.
    ///
    /// # Errors
    /// What the system says. Nothing is changed.
    pub(super) fn reserve(&mut self, bytes: u64, start: ChainState) -> io::Result<()> {
        if self.tail.offset + bytes <= self.reserved {
            return Ok(());
        }
        let size = self.next_segment_bytes().max(SEGMENT_HEADER_BYTES + bytes);
        let ordinal = self.tail.segment + 1;
        let name = (self.generation, ordinal);
        let segment = Segment::create(&*self.disk, &self.dir, name, start, size, self.shown)?;
        // The room that is left in the old segment is given back to the disk.
        if let Some(last) = self.segment(self.tail.segment) {
            let _ = last.file.set_len(self.tail.offset);
        }
        self.reserved = size;
        self.tail = LogPosition::start_of(ordinal);
        self.touched = self.tail.offset;
        self.index.lock().segments.push_back(Arc::new(segment));
        Ok(())
    }

    /// Where the next record begins.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { offset: self.tail.offset + self.buffer.len() as u64, ..self.tail }
    }

    /// The segment that is being written.
    pub(super) fn current(&self) -> io::Result<Arc<Segment>> {
        self.segment(self.tail.segment).ok_or_else(|| io::Error::other("the log has no segment"))
    }

    /// Withholds the header of the next record until [`Log::sync`]. Without it, neither that record nor those after it are
    /// valid.
    pub(super) fn withhold(&mut self) {
        if !is_active(Mutant::NoWithholding) {
            self.withholding = Withholding::Next;
        }
    }

    /// Appends encoded records. The caller has checked their chain and reserved room.
    ///
    /// # Errors
    /// What the system says. The caller must undo the append with [`Log::cut_to`].
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(records);
        self.flush_from(LOG_STEP_BYTES)
    }

    /// Encodes records into the log. `encode` gets the writer, the buffer, and the position in the file at which the buffer
    /// begins.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn encode<T>(&mut self, encode: impl FnOnce(&mut Writer, &mut Vec<u8>, u64) -> T) -> io::Result<T> {
        let done = encode(&mut self.writer, &mut self.buffer, self.tail.offset);
        self.flush_from(LOG_STEP_BYTES)?;
        Ok(done)
    }

    /// Writes what is buffered, so that it can be read. It is not durable yet.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.flush_from(0)
    }

    /// The same, and returns the records after this position where they are all in the buffer. Not one of them is copied.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn flush_since(&mut self, begins: LogPosition) -> io::Result<Bytes> {
        if self.tail != begins || self.buffer.is_empty() {
            self.flush()?;
            return Ok(Bytes::new());
        }
        let records = Bytes::from(std::mem::take(&mut self.buffer));
        self.current()?.file.write_at(self.tail.offset, &records)?;
        self.tail.offset += records.len() as u64;
        Ok(records)
    }

    fn flush_from(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() <= bytes || self.buffer.is_empty() {
            return Ok(());
        }
        let segment = self.current()?;
        let mut from = 0;
        if matches!(self.withholding, Withholding::Next) && self.buffer.len() >= HEADER_BYTES {
            self.withholding = Withholding::Header(self.tail, self.buffer[..HEADER_BYTES].to_vec());
            from = HEADER_BYTES;
        }
        segment.file.write_at(self.tail.offset + from as u64, &self.buffer[from..])?;
        let written = self.buffer.len() as u64;
        self.tail.offset += written;
        self.buffer.clear();
        if self.tail.offset > self.touched {
            self.touched = self.tail.offset;
            self.touch_ahead(&segment, written);
        }
        Ok(())
    }

    /// Writes zeros to some of the room behind the tail. A sync of room that was reserved and never written also waits for the
    /// journal of the file system; after one such sync, those of the next records in that room do not. Appending much at a time
    /// needs no help.
    fn touch_ahead(&mut self, segment: &Segment, written: u64) {
        let upto = self.reserved.min(self.tail.offset + LOG_TOUCH_BYTES);
        if written > LOG_TOUCH_BYTES / 4 || upto <= self.tail.offset {
            return;
        }
        // If this fails, syncs are slower. A disk that fails is found by what is written next.
        if segment.file.write_at(self.tail.offset, &vec![0; (upto - self.tail.offset) as usize]).is_ok() {
            self.touched = upto;
        }
    }

    /// Bytes of the next segment: as many as the log has, so that the log of an idle pair is small.
    fn next_segment_bytes(&self) -> u64 {
        let index = self.index.lock();
        let kept = index.bytes - index.entries.front().map_or(index.bytes, |first| first.bytes);
        kept.clamp(SEGMENT_BYTES_MIN, (self.bounds.log_bytes / 4).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES))
    }

    /// Makes everything that was appended durable. `completed` are the change sets and eras in it, in order, and their ends.
    /// `shown`: how far the log is visible from now on where it is opened again; `None` for all of it.
    ///
    /// # Errors
    /// What the system says. What is on the disk is in doubt.
    pub(super) fn sync(&mut self, completed: &[(Revision, LogPosition)], shown: Option<Revision>) -> io::Result<()> {
        self.flush()?;
        let segment = self.current()?;
        if self.shown != shown && !is_active(Mutant::ShowsAllAtStart) {
            segment.set_shown(shown)?;
            if self.shown.is_none() {
                // A power cut may keep the records and lose this: then what stood here before counts, and that was "all".
                segment.file.sync()?;
            }
            self.shown = shown;
        }
        if let Withholding::Header(at, header) = std::mem::replace(&mut self.withholding, Withholding::No) {
            segment.file.write_at(at.offset, &header)?;
        }
        segment.file.sync()?;
        let mut index = self.index.lock();
        for (revision, at) in completed {
            index.extend(*revision, *at, self.options);
            self.durable_end = *at;
        }
        index.raise_floor(self.bounds);
        drop(index);
        if self.durable_end.segment == segment.ordinal {
            // The next sync makes the mark durable. A mark that lags only weakens a check, so an error does not matter.
            let _ = segment.set_mark(self.durable_end.offset);
        }
        Ok(())
    }

    /// Notes how far the log is visible where it is opened again. The next sync makes it durable.
    pub(super) fn note_shown(&mut self, shown: Revision) {
        let noted = self.current().and_then(|segment| segment.set_shown(Some(shown)));
        if noted.is_ok() {
            self.shown = Some(shown);
        }
    }

    /// Writes the mark again and syncs, to find out whether the disk still does either.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub(super) fn probe(&self) -> io::Result<()> {
        let segment = self.current()?;
        segment.set_mark(segment.mark()?)?;
        segment.file.sync()
    }

    /// Cuts off everything after this position, durably. The caller resets the chain.
    ///
    /// # Errors
    /// What the system says. What is on the disk is in doubt.
    pub(super) fn cut_to(&mut self, to: LogPosition) -> io::Result<()> {
        self.buffer.clear();
        self.withholding = Withholding::No;
        let gone: Vec<_> = {
            let index = self.index.lock();
            index.segments.iter().filter(|segment| segment.ordinal > to.segment).cloned().collect()
        };
        if !gone.is_empty() {
            remove_all(&*self.disk, &self.dir, gone.iter().rev())?;
            self.index.lock().segments.retain(|segment| segment.ordinal <= to.segment);
        }
        (self.tail, self.touched) = (to, to.offset);
        let segment = self.current()?;
        let size = segment.file.len()?.max(SEGMENT_BYTES_MIN);
        segment.file.set_len(to.offset)?;
        self.reserved = match segment.file.allocate(size) {
            Ok(()) => size,
            Err(error) if is_full(&error) => {
                segment.file.set_len(to.offset)?;
                to.offset
            }
            Err(error) => return Err(error),
        };
        segment.file.sync()
    }

    /// End of the last durable complete change set or era.
    pub(super) fn durable_end(&self) -> LogPosition {
        self.durable_end
    }

    /// Whether nothing was appended after the last durable change set or era.
    pub(super) fn is_clean(&self) -> bool {
        self.position() == self.durable_end && !matches!(self.withholding, Withholding::Header(..))
    }

    /// Removes segments that neither the bounds of the log nor the state, which is at `applied`, need.
    ///
    /// # Errors
    /// What the system says. The log is as before, or shorter.
    pub(super) fn trim(&mut self, applied: LogPosition) -> io::Result<()> {
        let gone: Vec<_> = {
            let mut index = self.index.lock();
            index.raise_floor(self.bounds);
            let applied = if is_active(Mutant::TrimTooMuch) { u64::MAX } else { applied.segment };
            let needed = applied.min(index.entries.front().map_or(u64::MAX, |entry| entry.at.segment));
            index.segments.iter().filter(|segment| segment.ordinal < needed).cloned().collect()
        };
        for segment in &gone {
            self.disk.remove(&segment.path)?;
            self.index.lock().segments.retain(|kept| kept.ordinal != segment.ordinal);
        }
        // A name that a power cut brings back is removed again when the state is next beyond it.
        Ok(())
    }

    /// Whether segments could be removed if the state, which is at `applied`, did not need them.
    pub(super) fn is_held_by_state(index: &LogIndex, applied: LogPosition) -> bool {
        let index = index.lock();
        let floor = index.entries.front().map_or(0, |entry| entry.at.segment);
        applied.segment + 1 < floor
    }

    fn segment(&self, ordinal: u64) -> Option<Arc<Segment>> {
        self.index.lock().segments.iter().find(|segment| segment.ordinal == ordinal).cloned()
    }
}

fn remove_all<'a>(disk: &dyn Disk, dir: &Path, segments: impl Iterator<Item = &'a Arc<Segment>>) -> io::Result<()> {
    for segment in segments {
        remove_if_present(disk, &segment.path)?;
    }
    disk.sync_dir(dir)
}
