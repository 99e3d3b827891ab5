//! What the other node is sent of a real store: records, and snapshots in pieces.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use bytes::Bytes;

use super::{ReadOutcome, RealStore, broken, violation};
use crate::campaign::violation::{Checked, Invariant, catch_panic};
use crate::model::Revision;
use crate::protocol::wire::record::{Item, decode_items};
use crate::protocol::wire::{ResumePoint, SnapshotHeader};

impl RealStore {
    /// Records after a position up to another.
    pub(in super::super) fn records(&self, after: Revision, last: Revision) -> ReadOutcome<Option<Vec<Bytes>>> {
        let reader = self.reader()?;
        let read = match catch_panic(|| reader.records_after(after, None, last, usize::MAX >> 1))? {
            Ok(read) => read,
            Err(error) if self.uncertain.is_some() => return Ok(Err(error.to_string())),
            Err(error) => return Err(broken("reading records", &error)),
        };
        let Some(read) = read else {
            return Ok(Ok(None));
        };
        let whole = read.last == last && read.bytes.is_empty() == (after == last);
        Invariant::SameContent
            .check(whole, || format!("records after {after} up to {last}: read up to {}", read.last))?;
        Ok(Ok(Some(vec![read.bytes])))
    }

    /// Opens a snapshot of what is visible, or of all that is held; it must be what the model has.
    pub(in super::super) fn export(&mut self, model: &SnapshotHeader, withheld: bool) -> Checked {
        let reader = self.reader()?;
        let opened = catch_panic(|| if withheld { reader.export_withheld(0) } else { reader.export(0) })?;
        let (header, export) = opened.map_err(|error| broken("opening a snapshot", &error))?;
        let same = header.position == model.position && header.history == model.history;
        Invariant::SameContent
            .check(same && header.entries == model.entries, || format!("a snapshot is {header:?} and not {model:?}"))?;
        let mut headers = self.context.headers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = headers.entry(header.position.revision).or_insert_with(|| header.clone()).clone();
        Invariant::SameContent.check(known == header, || format!("a snapshot is {header:?} here and was {known:?}"))?;
        drop(headers);
        self.exports.insert(model.transfer, (self.life, export));
        Ok(())
    }

    /// The snapshot goes on behind this point, if the log tells what changed since. Returns whether it does.
    pub(in super::super) fn resume(&mut self, transfer: u64, point: &ResumePoint) -> ReadOutcome<bool> {
        let Some((life, export)) = self.exports.get_mut(&transfer) else {
            return Err(violation(format!("snapshot {transfer} is not open")));
        };
        export.resume(point.clone());
        match catch_panic(|| export.prepare())? {
            Ok(resumes) => Ok(Ok(resumes)),
            Err(error) if *life < self.life || self.uncertain.is_some() => Ok(Err(error.to_string())),
            Err(error) => Err(broken("reading what changed since a snapshot was cut", &error)),
        }
    }

    /// The snapshot begins with the hashes of what differs from these buckets. Returns which do; `None` where too many do.
    pub(in super::super) fn compare_export(
        &mut self,
        transfer: u64,
        base: &[u8],
    ) -> ReadOutcome<Option<BTreeSet<usize>>> {
        let Some((life, export)) = self.exports.get_mut(&transfer) else {
            return Err(violation(format!("snapshot {transfer} is not open")));
        };
        export.compare(base.to_vec());
        match catch_panic(|| export.prepare())? {
            Ok(_) => Ok(Ok(export.compared_buckets())),
            Err(error) if *life < self.life || self.uncertain.is_some() => Ok(Err(error.to_string())),
            Err(error) => Err(broken("comparing a snapshot", &error)),
        }
    }

    /// The snapshot goes on with what is wanted.
    pub(in super::super) fn select(&mut self, transfer: u64, wants: &[u8]) {
        if let Some((_, export)) = self.exports.get_mut(&transfer) {
            export.select(wants.to_vec());
        }
    }

    /// The next items of a snapshot, or all that are left, in pieces. A large value is one item here.
    pub(in super::super) fn piece(&mut self, transfer: u64, items: usize, last: bool) -> ReadOutcome<Vec<Bytes>> {
        let max_bytes = 1 + self.random.below(40_000) as usize;
        let Some((life, export)) = self.exports.get_mut(&transfer) else {
            return Err(violation(format!("snapshot {transfer} is not open")));
        };
        let (mut pieces, mut piece, mut whole, mut missing) = (Vec::new(), Vec::new(), 0, 0);
        while last || whole < items || missing > 0 {
            // One item at a time.
            match catch_panic(|| export.next(1))? {
                Ok(Some(bytes)) => {
                    match decode_items(&bytes).next() {
                        Some(Ok(Item::Large { bytes, .. })) => missing = bytes,
                        Some(Ok(Item::Chunk(chunk))) => missing -= chunk.len() as u64,
                        _ => {}
                    }
                    whole += usize::from(missing == 0);
                    piece.extend_from_slice(&bytes);
                }
                Ok(None) => break,
                // It may have been closed under the reader.
                Err(error) if *life < self.life || self.uncertain.is_some() => {
                    return Ok(Err(error.to_string()));
                }
                Err(error) => return Err(broken("reading a snapshot", &error)),
            }
            if piece.len() > max_bytes {
                pieces.push(std::mem::take(&mut piece).into());
            }
        }
        if !piece.is_empty() {
            pieces.push(piece.into());
        }
        Ok(Ok(pieces))
    }

    /// A snapshot is no longer needed.
    pub(in super::super) fn close_export(&mut self, transfer: u64) {
        self.exports.remove(&transfer);
    }
}
