//! Reads a snapshot in pieces, for a full push.

use std::sync::Arc;

use bytes::Bytes;

use super::error::ReadError;
use super::state::ValueReader;
use super::version::{EntryRef, ValueRef};
use super::view::{View, ViewEntries};
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{Item, encode_item};

/// A snapshot that is being read for a full push.
pub struct Export {
    view: Arc<View>,
    entries: ViewEntries,
    /// The large value that is being read.
    value: Option<ValueReader>,
    /// An item that did not fit the last piece.
    carried_over: Vec<u8>,
    done: bool,
}

impl Export {
    pub(super) fn new(view: Arc<View>, transfer: u64) -> (SnapshotHeader, Self) {
        let header = SnapshotHeader {
            transfer,
            position: view.summary.position(),
            history: view.summary.history.as_ref().clone(),
            chain: view.summary.chain,
            entries: view.summary.entries,
            bytes: view.summary.bytes,
        };
        let entries = ViewEntries::new(&view, "");
        (header, Self { view, entries, value: None, carried_over: Vec::new(), done: false })
    }

    /// The next piece. It has at most `max_bytes`, or one item. `None` at the end.
    ///
    /// # Errors
    /// The configuration could not be read. The push must begin again.
    pub fn next(&mut self, max_bytes: usize) -> Result<Option<Bytes>, ReadError> {
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
        let Some(entry) = self.entries.next() else { return Ok(false) };
        let (key, entry) = entry?;
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
