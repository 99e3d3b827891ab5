//! Reads a snapshot in pieces, for a full push: whole, or from where another one was cut.

use std::collections::btree_set;
use std::sync::Arc;

use bytes::Bytes;

use super::changed_keys::changed_keys;
use super::error::ReadError;
use super::log::LogIndex;
use super::state::ValueReader;
use super::version::{EntryRef, ValueRef};
use super::view::{View, ViewEntries};
use crate::model::Key;
use crate::protocol::wire::record::{Item, encode_item};
use crate::protocol::wire::{ResumePoint, SnapshotHeader};

/// A snapshot that is being read for a full push.
pub struct Export {
    view: Arc<View>,
    log: Arc<LogIndex>,
    /// What the receiver has staged already.
    resume: Option<ResumePoint>,
    /// What changed of that, to be read before `entries`.
    changed: btree_set::IntoIter<Key>,
    entries: ViewEntries,
    /// The large value that is being read.
    value: Option<ValueReader>,
    /// An item that did not fit the last piece.
    carried_over: Vec<u8>,
    done: bool,
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
        (header, Self { view, log, resume: None, changed, entries, value: None, carried_over, done: false })
    }

    /// Goes on where another snapshot was cut, if the log tells what changed since: [`Export::prepare`]. Must come before the
    /// first piece.
    pub fn resume(&mut self, point: ResumePoint) {
        self.resume = Some(point);
    }

    /// Finds out what changed of what the receiver has. Returns whether the snapshot goes on there; if not, it begins at the
    /// first key. The first piece does this where nobody did.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn prepare(&mut self) -> Result<bool, ReadError> {
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

    /// Appends the next item. Returns whether there was one.
    fn encode_next(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
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
            None => match self.entries.next() {
                Some(entry) => entry?,
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
