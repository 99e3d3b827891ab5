//! Reads a snapshot in pieces, for a full push: whole, or from where another one was cut.

use std::collections::btree_set;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket_set::{BucketSet, short_hash};
use super::changed_keys::changed_keys;
use super::error::ReadError;
use super::log::LogIndex;
use super::state::ValueReader;
use super::version::{EntryRef, ValueRef};
use super::view::{View, ViewEntries};
use crate::model::limits::HASHES_BYTES;
use crate::model::{Key, bucket_of};
use crate::protocol::wire::record::{Item, encode_item};
use crate::protocol::wire::{ResumePoint, SnapshotHeader};

/// A snapshot that is being read for a full push.
pub struct Export {
    view: Arc<View>,
    log: Arc<LogIndex>,
    /// What the receiver has staged already.
    resume: Option<ResumePoint>,
    /// The digests of the receiver's buckets.
    base: Option<Vec<u8>>,
    phase: Phase,
    /// What changed of that, to be read before `entries`.
    changed: btree_set::IntoIter<Key>,
    entries: ViewEntries,
    /// The large value that is being read.
    value: Option<ValueReader>,
    /// An item that did not fit the last piece.
    carried_over: Vec<u8>,
    done: bool,
}

/// What is read.
enum Phase {
    /// Entries.
    Entries,
    /// The hashes of the entries in these buckets; without buckets, none.
    Hashes(Option<Box<BucketSet>>),
    /// All hashes were read, and what is wanted is not known yet.
    Compared(Option<Box<BucketSet>>),
    /// Those of the entries in these buckets that are wanted, a bit for each.
    Wanted { buckets: Box<BucketSet>, wants: Vec<u8>, at: usize },
}

impl Export {
    pub(super) fn new(view: Arc<View>, log: Arc<LogIndex>, transfer: u64) -> (SnapshotHeader, Self) {
        let header = SnapshotHeader {
            transfer,
            position: view.summary.position(),
            history: view.summary.history.as_ref().clone(),
            chain: view.summary.chain,
            entries: view.summary.entries,
            bytes: view.summary.bytes,
        };
        let entries = ViewEntries::new(&view, "");
        let (changed, carried_over) = (btree_set::BTreeSet::new().into_iter(), Vec::new());
        let (resume, base, phase) = (None, None, Phase::Entries);
        (header, Self { view, log, resume, base, phase, changed, entries, value: None, carried_over, done: false })
    }

    /// Goes on where another snapshot was cut, if the log tells what changed since: [`Export::prepare`]. Must come before the
    /// first piece.
    pub fn resume(&mut self, point: ResumePoint) {
        self.resume = Some(point);
    }

    /// Begins with the hashes of the entries in those buckets that differ from these. Must come before the first piece.
    pub fn compare(&mut self, base: Vec<u8>) {
        self.base = Some(base);
    }

    /// The buckets that differ, once they are known and while hashes are read. `None` where too many do.
    #[cfg(test)]
    pub fn compared_buckets(&self) -> Option<std::collections::BTreeSet<usize>> {
        let Phase::Hashes(Some(buckets)) = &self.phase else { return None };
        Some((0..crate::model::limits::BUCKETS).filter(|bucket| buckets.contains(*bucket)).collect())
    }

    /// After the last piece of hashes: goes on with those of the entries that are wanted, a bit for each of the hashes. Without
    /// any byte, with all entries of the snapshot.
    pub fn select(&mut self, wants: Vec<u8>) {
        self.entries = ViewEntries::new(&self.view, "");
        self.done = false;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Entries) {
            Phase::Compared(Some(buckets)) if !wants.is_empty() => Phase::Wanted { buckets, wants, at: 0 },
            _ => Phase::Entries,
        };
    }

    /// Finds out what changed of what the receiver has. Returns whether the snapshot goes on there; if not, it begins at the
    /// first key. The first piece does this where nobody did.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn prepare(&mut self) -> Result<bool, ReadError> {
        if let Some(base) = self.base.take() {
            let buckets = self.view.differing_buckets(&base)?;
            encode_item(&mut self.carried_over, &Item::Compare(buckets.as_ref().map_or(&[], BucketSet::as_bytes)));
            self.phase = Phase::Hashes(buckets.map(Box::new));
        }
        let Some(ResumePoint { after, from, .. }) = self.resume.take() else { return Ok(false) };
        let Some(changed) = changed_keys(&self.log, from, self.view.summary.revision, &after)? else {
            return Ok(false);
        };
        self.changed = changed.into_iter();
        self.entries = ViewEntries::after(&self.view, &after);
        encode_item(&mut self.carried_over, &Item::Continue { after, from });
        Ok(true)
    }

    /// The next piece. It has at most `max_bytes`, or one item. `None` at the end.
    ///
    /// # Errors
    /// The configuration could not be read. The push must begin again.
    pub fn next(&mut self, max_bytes: usize) -> Result<Option<Bytes>, ReadError> {
        self.prepare()?;
        let mut piece = std::mem::take(&mut self.carried_over);
        while !self.done && piece.len() < max_bytes {
            let before = piece.len();
            if !self.encode_next(&mut piece)? {
                self.done = true;
            } else if before > 0 && piece.len() > max_bytes {
                self.carried_over = piece.split_off(before);
                break;
            }
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    /// Appends the hashes that come next, and none behind the last one.
    fn encode_hashes(&mut self, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut hashes = Vec::new();
        if let Phase::Hashes(Some(buckets)) = &self.phase {
            while hashes.len() < HASHES_BYTES
                && let Some(entry) = self.entries.next()
            {
                let (key, entry) = entry?;
                if buckets.contains(bucket_of(&key)) {
                    hashes.extend_from_slice(&short_hash(&entry.hash).to_le_bytes());
                }
            }
        }
        encode_item(out, &Item::Hashes(&hashes));
        if hashes.is_empty()
            && let Phase::Hashes(buckets) = &mut self.phase
        {
            self.phase = Phase::Compared(buckets.take());
        }
        Ok(())
    }

    /// The next entry, of those that are to be read.
    fn next_entry(&mut self) -> Result<Option<(Key, EntryRef)>, ReadError> {
        loop {
            let Some(entry) = self.entries.next().transpose()? else { return Ok(None) };
            let Phase::Wanted { buckets, wants, at } = &mut self.phase else { return Ok(Some(entry)) };
            if !buckets.contains(bucket_of(&entry.0)) {
                continue;
            }
            let wanted = wants.get(*at / 8).is_some_and(|byte| byte >> (*at % 8) & 1 == 1);
            *at += 1;
            if wanted {
                return Ok(Some(entry));
            }
        }
    }

    /// Appends the next item. Returns whether there was one.
    fn encode_next(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        match self.phase {
            Phase::Hashes(_) => return self.encode_hashes(out).map(|()| true),
            Phase::Compared(_) => return Ok(false),
            Phase::Entries | Phase::Wanted { .. } => {}
        }
        if let Some(value) = &mut self.value {
            if let Some(piece) = value.next() {
                encode_item(out, &Item::Chunk(&piece?));
                return Ok(true);
            }
            self.value = None;
        }
        let (key, entry) = match self.changed.next() {
            Some(key) => match self.view.get(key.as_str())? {
                Some(entry) => (key, entry),
                None => {
                    encode_item(out, &Item::Delete { key });
                    return Ok(true);
                }
            },
            None => match self.next_entry()? {
                Some(entry) => entry,
                None => return Ok(false),
            },
        };
        let EntryRef { secret, bytes, .. } = entry;
        match &entry.value {
            ValueRef::Inline(value) => encode_item(out, &Item::Entry { key, value, secret }),
            ValueRef::Log(_) | ValueRef::State(_) => {
                self.value = Some(self.view.open(&key, entry));
                encode_item(out, &Item::Large { key, bytes, secret });
            }
        }
        Ok(true)
    }
}
