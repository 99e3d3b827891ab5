//! Recovery: what the segments of a log hold, what is damaged, and how far back it reaches.

use std::io;
use std::sync::Arc;

use super::index::Known;
use super::segment::{self, Found, Records, SEGMENT_HEADER_BYTES, Segment, Start};
use super::{LogPosition, Replay, io_error};
use crate::model::Revision;
use crate::protocol::wire::record::Kind;
use crate::store::mutants::{Mutant, made};
use crate::store::{StoreError, StoreOptions};

/// What a scan of the segments found.
pub(in crate::store) struct LogScan {
    /// After the last whole change set or era.
    pub(in crate::store) end: LogPosition,
    pub(in crate::store) head: Start,
    pub(in crate::store) damage: Option<String>,
    pub(super) known: Vec<Known>,
    pub(super) bytes: u64,
}

impl LogScan {
    /// Finds out how far back the log reaches, up to where the state is. Damage in here costs nothing but reach.
    pub(super) fn older(&mut self, segments: &[Arc<Segment>], options: StoreOptions) -> io::Result<()> {
        let mut chain = None;
        let end = self.end.segment;
        for segment in segments.iter().filter(|segment| segment.ordinal <= end) {
            if chain != Some(segment.start.chain) {
                self.known.clear();
            }
            if !segment.start.inside {
                let at = LogPosition { segment: segment.ordinal, offset: SEGMENT_HEADER_BYTES };
                self.know(segment.start.revision, at, options);
            }
            let mut last = segment.start.chain;
            let mut records = Records::new(segment, SEGMENT_HEADER_BYTES)?;
            let limit = if segment.ordinal == self.end.segment { self.end.offset } else { u64::MAX };
            while records.at() < limit {
                let Found::Record { header, .. } = records.next()? else { break };
                if header.prev != last {
                    break;
                }
                last = header.crc;
                self.bytes += header.frame_bytes() as u64;
                if matches!(header.kind, Kind::Era | Kind::ChangeSet) {
                    let at = LogPosition { segment: segment.ordinal, offset: records.at() };
                    self.know(header.revision, at, options);
                }
            }
            chain = Some(last);
            if segment.ordinal == self.end.segment && (records.at() != limit || last != self.head.chain) {
                self.known.clear();
            }
        }
        if self.known.is_empty() {
            tracing::debug!("the log reaches no further back than the state");
        }
        self.known.push(Known { revision: self.head.revision, at: self.end, bytes: self.bytes });
        Ok(())
    }

    /// Replays what is after the state.
    pub(super) fn newer(
        &mut self,
        segments: &[Arc<Segment>],
        options: StoreOptions,
        replay: &mut dyn Replay,
    ) -> Result<(), StoreError> {
        let reading = |source| io_error("reading the log", source);
        let mut at = self.end;
        let mut chain = self.head.chain;
        loop {
            let Some(segment) = segments.iter().find(|segment| segment.ordinal == at.segment) else {
                self.report(format!("segment {} of the log is missing", at.segment));
                return Ok(());
            };
            let mark = segment.mark().map_err(reading)?;
            let next = segments.iter().find(|other| other.ordinal > at.segment);
            let mut records = Records::new(segment, at.offset).map_err(reading)?;
            let why = loop {
                let begins = records.at();
                let (header, payload) = match records.next().map_err(reading)? {
                    Found::Record { header, payload } if header.prev == chain => (header, payload),
                    Found::Record { .. } => break "a record does not follow the one before".to_owned(),
                    Found::End => break "records are missing".to_owned(),
                    Found::Bad(bad) => match segment::newer(bad, &segment.name()) {
                        Some(newer) => return Err(newer),
                        None => break bad.to_string(),
                    },
                };
                let frame = header.frame_bytes() as u64;
                match replay.record(begins, segment, &header, payload) {
                    Ok(whole) => {
                        chain = header.crc;
                        self.bytes += frame;
                        if whole {
                            self.end = LogPosition { segment: segment.ordinal, offset: begins + frame };
                            self.head = Start { revision: header.revision, chain, inside: false };
                            self.know(header.revision, self.end, options);
                        }
                    }
                    // It is what was written (the checksum fits): no torn write looks like this.
                    Err(unfit) => {
                        self.report(format!("{} at byte {begins}: {unfit}", segment.name()));
                        return Ok(());
                    }
                }
            };
            let stopped = records.at();
            match next {
                Some(next) if next.start.chain == chain && next.ordinal == at.segment + 1 => {
                    at = LogPosition { segment: next.ordinal, offset: SEGMENT_HEADER_BYTES };
                }
                None if stopped >= mark => return Ok(()),
                _ => {
                    self.report(format!("{} at byte {stopped}: {why}", segment.name()));
                    return Ok(());
                }
            }
        }
    }

    fn know(&mut self, revision: Revision, at: LogPosition, options: StoreOptions) {
        let known = Known { revision, at, bytes: self.bytes };
        if self.known.last().is_none_or(|last| last.is_apart(&known, options)) {
            self.known.push(known);
        }
    }

    fn report(&mut self, damage: String) {
        tracing::error!(%damage, "the log is damaged");
        if !made(Mutant::CutDamageSilently) {
            self.damage.get_or_insert(damage);
        }
    }
}
