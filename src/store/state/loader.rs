//! Loads a new state from a full push.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use redb::WriteTransaction;

use super::file::StateFile;
use super::rows::{chunked_row, inline_row, write_header};
use super::tables::{BUCKETS, CHUNKS, ENTRIES};
use crate::model::limits::STATE_CACHE_BYTES;
use crate::model::{Digest, EntryHash, Key, bucket_of};
use crate::store::database::{begin_write, redb_io};
use crate::store::version::Summary;

/// Loads entries, in key order, into an empty state.
pub(in crate::store) struct Loader {
    state: StateFile,
    transaction: Option<WriteTransaction>,
    buckets: BTreeMap<u16, Digest>,
    /// The last key.
    last: Option<Key>,
    /// Bytes written in the transaction.
    uncommitted: usize,
}

impl Loader {
    pub(in crate::store) fn new(state: StateFile) -> Self {
        Self { state, transaction: None, buckets: BTreeMap::new(), last: None, uncommitted: 0 }
    }

    /// Digest and sizes of the entries so far.
    pub(in crate::store) fn summary(&self) -> &Summary {
        &self.state.header.summary
    }

    /// Whether this key comes after the last one.
    pub(in crate::store) fn follows(&self, key: &Key) -> bool {
        self.last.as_ref().is_none_or(|last| last < key)
    }

    /// Adds an entry with an inline value.
    pub(in crate::store) fn add_inline(
        &mut self,
        key: &Key,
        secret: bool,
        hash: &EntryHash,
        value: &[u8],
    ) -> io::Result<()> {
        self.insert(key, hash, value.len() as u64, &inline_row(secret, hash, value))
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
        self.insert(key, hash, bytes, &chunked_row(secret, hash, bytes, id))
    }

    /// Writes the position of the complete state, durably.
    pub(in crate::store) fn finish(mut self, summary: Summary) -> io::Result<StateFile> {
        if let Some(transaction) = self.transaction.take() {
            transaction.commit().map_err(redb_io)?;
        }
        let transaction = begin_write(self.state.database()?)?;
        {
            let mut buckets = transaction.open_table(BUCKETS).map_err(redb_io)?;
            for (bucket, digest) in &self.buckets {
                buckets.insert(bucket, digest.0.as_slice()).map_err(redb_io)?;
            }
        }
        let header = &mut self.state.header;
        header.confirmed = summary.revision;
        header.undo_from = summary.revision.seq + 1;
        header.summary = summary;
        write_header(&transaction, header)?;
        transaction.commit().map_err(redb_io)?;
        Ok(self.state)
    }

    fn insert(&mut self, key: &Key, hash: &EntryHash, bytes: u64, stored: &[u8]) -> io::Result<()> {
        {
            let transaction = self.transaction()?;
            let mut entries = transaction.open_table(ENTRIES).map_err(redb_io)?;
            let mut cursor = entries.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(redb_io)?;
            cursor.insert_before(key.as_bytes(), stored).map_err(|error| io::Error::other(error.to_string()))?;
            cursor.close().map_err(redb_io)?;
        }
        self.last = Some(key.clone());
        let summary = &mut self.state.header.summary;
        summary.digest.add(hash);
        summary.entries += 1;
        summary.bytes += key.as_bytes().len() as u64 + bytes;
        self.buckets.entry(bucket_of(key) as u16).or_insert(Digest::ZERO).add(hash);
        self.count_written(stored.len())
    }

    /// The transaction under way. It is not durable: until [`Loader::finish`] nothing points to the file.
    fn transaction(&mut self) -> io::Result<&mut WriteTransaction> {
        if self.transaction.is_none() {
            let mut transaction = self.state.database()?.begin_write().map_err(redb_io)?;
            transaction.set_durability(redb::Durability::None).map_err(redb_io)?;
            self.transaction = Some(transaction);
        }
        self.transaction.as_mut().ok_or_else(|| io::Error::other("no transaction"))
    }

    fn count_written(&mut self, bytes: usize) -> io::Result<()> {
        self.uncommitted += bytes;
        if self.uncommitted >= STATE_CACHE_BYTES / 2 {
            self.uncommitted = 0;
            if let Some(transaction) = self.transaction.take() {
                transaction.commit().map_err(redb_io)?;
            }
        }
        Ok(())
    }
}
