//! Loads a new state from a full push.

use std::collections::HashMap;
use std::io;
use std::ops::Bound;

use redb::WriteTransaction;

use super::file::StateFile;
use super::rows::{STAGED_ROW, chunked_row, inline_row_into, write_header};
use super::tables::{BUCKETS, CHUNKS, ENTRIES, META};
use crate::model::limits::CHECKPOINT_PART_BYTES;
use crate::model::{Digest, EntryHash, Key, bucket_of};
use crate::store::database::{begin_part, begin_write, redb_io};
use crate::store::version::Summary;

/// Loads entries, in key order, into a state. Until [`Loader::finish`] nothing points to its file, which a crash leaves as it was
/// at the last [`Loader::keep`].
pub(in crate::store) struct Loader {
    /// Dropped before the database whose it is.
    transaction: Option<WriteTransaction>,
    pub(super) state: StateFile,
    /// Digests of buckets, and whether those in the file are older.
    pub(super) buckets: HashMap<u16, (Digest, bool)>,
    /// The last key.
    pub(super) last: Option<Key>,
    /// Bytes written in the transaction.
    uncommitted: usize,
}

/// One entry with an inline value, to be loaded.
pub(in crate::store) struct LoadedEntry<'a> {
    pub(in crate::store) key: Key,
    pub(in crate::store) secret: bool,
    pub(in crate::store) hash: EntryHash,
    pub(in crate::store) bucket: u16,
    pub(in crate::store) value: &'a [u8],
}

impl Loader {
    pub(in crate::store) fn new(mut state: StateFile) -> Self {
        state.is_unfinished = true;
        Self { transaction: None, state, buckets: HashMap::new(), last: None, uncommitted: 0 }
    }

    /// Digest and sizes of the entries so far.
    pub(in crate::store) fn summary(&self) -> &Summary {
        &self.state.header.summary
    }

    /// Whether this key comes after the last one.
    pub(in crate::store) fn follows(&self, key: &Key) -> bool {
        self.last.as_ref().is_none_or(|last| last < key)
    }

    /// Adds entries with inline values, in key order, each greater than the last one.
    pub(in crate::store) fn add_inline(&mut self, entries: Vec<LoadedEntry<'_>>) -> io::Result<()> {
        let Some(last) = entries.last().map(|entry| entry.key.clone()) else { return Ok(()) };
        let mut stored = 0;
        {
            let transaction = self.transaction()?;
            let mut table = transaction.open_table(ENTRIES).map_err(redb_io)?;
            // One cursor for all of them fills the leaves of the tree from left to right.
            let mut cursor = table.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(redb_io)?;
            let mut row = Vec::new();
            for entry in &entries {
                inline_row_into(&mut row, entry.secret, &entry.hash, entry.value);
                cursor.insert_before(entry.key.as_bytes(), row.as_slice()).map_err(cursor_error)?;
                stored += row.len();
            }
            cursor.close().map_err(redb_io)?;
        }
        for entry in &entries {
            self.count(&entry.key, entry.bucket, &entry.hash, entry.value.len() as u64);
        }
        self.last = Some(last);
        self.count_written(stored)
    }

    /// Begins a large value. Returns its number; the chunks and [`Loader::end_value`] follow.
    pub(in crate::store) fn begin_value(&mut self) -> u64 {
        let id = self.state.header.next_value;
        self.state.header.next_value += 1;
        id
    }

    /// Adds a chunk of a large value.
    pub(in crate::store) fn add_chunk(&mut self, id: u64, number: u32, bytes: &[u8]) -> io::Result<()> {
        let transaction = self.transaction()?;
        transaction.open_table(CHUNKS).map_err(redb_io)?.insert((id, number), bytes).map_err(redb_io)?;
        self.count_written(bytes.len())
    }

    /// Adds the entry of a large value, after its last chunk.
    pub(in crate::store) fn end_value(
        &mut self,
        key: &Key,
        secret: bool,
        hash: &EntryHash,
        bytes: u64,
        id: u64,
    ) -> io::Result<()> {
        let row = chunked_row(secret, hash, bytes, id);
        {
            let transaction = self.transaction()?;
            let mut table = transaction.open_table(ENTRIES).map_err(redb_io)?;
            let mut cursor = table.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(redb_io)?;
            cursor.insert_before(key.as_bytes(), row.as_slice()).map_err(cursor_error)?;
            cursor.close().map_err(redb_io)?;
        }
        self.count(key, bucket_of(key) as u16, hash, bytes);
        self.last = Some(key.clone());
        self.count_written(row.len())
    }

    /// Writes the position of the complete state, durably.
    pub(in crate::store) fn finish(mut self, summary: Summary) -> io::Result<StateFile> {
        if let Some(transaction) = self.transaction.take() {
            transaction.commit().map_err(redb_io)?;
        }
        let transaction = begin_write(self.state.database()?)?;
        self.write_buckets(&transaction)?;
        // Nothing is said of a part any more.
        transaction.open_table(META).map_err(redb_io)?.remove(STAGED_ROW).map_err(redb_io)?;
        let header = &mut self.state.header;
        header.confirmed = summary.revision;
        header.undo_from = summary.revision.seq + 1;
        header.summary = summary;
        write_header(&transaction, header)?;
        transaction.commit().map_err(redb_io)?;
        self.state.is_unfinished = false;
        Ok(self.state)
    }

    /// Writes the digests of buckets that changed.
    pub(super) fn write_buckets(&self, transaction: &WriteTransaction) -> io::Result<()> {
        let mut table = transaction.open_table(BUCKETS).map_err(redb_io)?;
        for (bucket, (digest, _)) in self.buckets.iter().filter(|(_, (_, changed))| *changed) {
            table.insert(bucket, digest.0.as_slice()).map_err(redb_io)?;
        }
        Ok(())
    }

    pub(super) fn count(&mut self, key: &Key, bucket: u16, hash: &EntryHash, bytes: u64) {
        let summary = &mut self.state.header.summary;
        summary.digest.add(hash);
        summary.entries += 1;
        summary.bytes += key.as_bytes().len() as u64 + bytes;
        let (digest, changed) = self.buckets.entry(bucket).or_insert((Digest::ZERO, true));
        digest.add(hash);
        *changed = true;
    }

    /// The same for an entry that is gone.
    pub(super) fn uncount(&mut self, key: &Key, hash: &EntryHash, bytes: u64) {
        let summary = &mut self.state.header.summary;
        summary.digest.remove(hash);
        summary.entries = summary.entries.saturating_sub(1);
        summary.bytes = summary.bytes.saturating_sub(key.as_bytes().len() as u64 + bytes);
        let (digest, changed) = self.buckets.entry(bucket_of(key) as u16).or_insert((Digest::ZERO, true));
        digest.remove(hash);
        *changed = true;
    }

    /// Takes the transaction under way.
    pub(super) fn take_transaction(&mut self) -> Option<WriteTransaction> {
        self.uncommitted = 0;
        self.transaction.take()
    }

    /// The transaction under way. It is not durable: until [`Loader::finish`] nothing points to the file.
    pub(super) fn transaction(&mut self) -> io::Result<&mut WriteTransaction> {
        if self.transaction.is_none() {
            self.transaction = Some(begin_part(self.state.database()?)?);
        }
        self.transaction.as_mut().ok_or_else(|| io::Error::other("no transaction"))
    }

    pub(super) fn count_written(&mut self, bytes: usize) -> io::Result<()> {
        self.uncommitted += bytes;
        if self.uncommitted >= CHECKPOINT_PART_BYTES {
            self.uncommitted = 0;
            if let Some(transaction) = self.transaction.take() {
                transaction.commit().map_err(redb_io)?;
            }
        }
        Ok(())
    }
}

fn cursor_error(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
