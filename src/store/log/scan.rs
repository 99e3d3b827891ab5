//! Recovery of the log: replays the records after the state, finds damage, and finds out how far back the log reaches.

use std::io;
use std::sync::Arc;

use super::index::IndexEntry;
use super::record_reader::{NextRecord, RecordReader, newer_version};
use super::replay::Replay;
use super::segment::{ChainState, LogPosition, SEGMENT_HEADER_BYTES, Segment};
use crate::model::Revision;
use crate::protocol::wire::record::Kind;
use crate::store::error::StoreError;
use crate::store::mutants::{Mutant, is_active};
use crate::store::types::StoreOptions;

/// What a scan of the segments found.
pub(in crate::store) struct LogScan {
    /// End of the last complete change set or era.
    pub(in crate::store) end: LogPosition,
    /// That change set or era.
    pub(in crate::store) head: ChainState,
    /// The first damage.
    pub(in crate::store) damage: Option<String>,
    pub(super) index: Vec<IndexEntry>,
    /// Bytes of records up to `end`.
    pub(super) bytes: u64,
}

impl LogScan {
    /// Indexes the records up to the position of the state. Damage there is not reported: the log then reaches less far back,
    /// and nothing is lost.
    pub(super) fn index_applied(&mut self, segments: &[Arc<Segment>], options: StoreOptions) -> io::Result<()> {
        let mut chain = None;
        let end = self.end.segment;
        for segment in segments.iter().filter(|segment| segment.ordinal <= end) {
            if chain != Some(segment.start.chain) {
                self.index.clear();
            }
            if !segment.start.mid_change_set {
                let at = LogPosition::start_of(segment.ordinal);
                self.add_to_index(segment.start.revision, at, options);
            }
            let mut last = segment.start.chain;
            let mut records = RecordReader::new(segment, SEGMENT_HEADER_BYTES)?;
            let limit = if segment.ordinal == self.end.segment { self.end.offset } else { u64::MAX };
            while records.at() < limit {
                let NextRecord::Record { header, .. } = records.next()? else { break };
                if header.prev != last {
                    break;
                }
                last = header.crc;
                self.bytes += header.frame_bytes() as u64;
                if matches!(header.kind, Kind::Era | Kind::ChangeSet) {
                    let at = LogPosition { segment: segment.ordinal, offset: records.at() };
                    self.add_to_index(header.revision, at, options);
                }
            }
            chain = Some(last);
            if segment.ordinal == self.end.segment && (records.at() != limit || last != self.head.chain) {
                self.index.clear();
            }
        }
        if self.index.is_empty() {
            tracing::debug!("the log does not reach back beyond the state");
        }
        self.index.push(IndexEntry { revision: self.head.revision, at: self.end, bytes: self.bytes });
        Ok(())
    }

    /// Replays the records after the position of the state.
    pub(super) fn replay(
        &mut self,
        segments: &[Arc<Segment>],
        options: StoreOptions,
        replay: &mut dyn Replay,
    ) -> Result<(), StoreError> {
        let reading = |source| StoreError::io("reading the log", source);
        let mut at = self.end;
        let mut chain = self.head.chain;
        loop {
            let Some(segment) = segments.iter().find(|segment| segment.ordinal == at.segment) else {
                self.report(format!("segment {} of the log is missing", at.segment));
                return Ok(());
            };
            let mark = segment.mark().map_err(reading)?;
            let next = segments.iter().find(|other| other.ordinal > at.segment);
            let mut records = RecordReader::new(segment, at.offset).map_err(reading)?;
            let why = loop {
                let begins = records.at();
                let (header, payload) = match records.next().map_err(reading)? {
                    NextRecord::Record { header, payload } if header.prev == chain => (header, payload),
                    NextRecord::Record { .. } => break "a record does not follow the one before".to_owned(),
                    NextRecord::End => break "records are missing".to_owned(),
                    NextRecord::Bad(bad) => match newer_version(bad, &segment.name()) {
                        Some(newer) => return Err(newer),
                        None => break bad.to_string(),
                    },
                };
                let frame = header.frame_bytes() as u64;
                match replay.record(begins, segment, &header, payload) {
                    Ok(completes) => {
                        chain = header.crc;
                        self.bytes += frame;
                        if completes {
                            self.end = LogPosition { segment: segment.ordinal, offset: begins + frame };
                            self.head = ChainState::after(header.revision, chain);
                            self.add_to_index(header.revision, self.end, options);
                        }
                    }
                    // Its checksum is right, so it is what was written: this is not a torn write.
                    Err(error) => {
                        self.report(format!("{} at byte {begins}: {error}", segment.name()));
                        return Ok(());
                    }
                }
            };
            let stopped = records.at();
            match next {
                Some(next) if next.start.chain == chain && next.ordinal == at.segment + 1 => {
                    at = LogPosition::start_of(next.ordinal);
                }
                None if stopped >= mark => return Ok(()),
                _ => {
                    self.report(format!("{} at byte {stopped}: {why}", segment.name()));
                    return Ok(());
                }
            }
        }
    }

    fn add_to_index(&mut self, revision: Revision, at: LogPosition, options: StoreOptions) {
        let entry = IndexEntry { revision, at, bytes: self.bytes };
        if self.index.last().is_none_or(|last| last.is_apart(&entry, options)) {
            self.index.push(entry);
        }
    }

    fn report(&mut self, damage: String) {
        tracing::error!(%damage, "the log is damaged");
        if !is_active(Mutant::CutDamageSilently) {
            self.damage.get_or_insert(damage);
        }
    }
}
