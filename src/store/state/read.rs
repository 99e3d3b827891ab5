//! Reads the state at one position, beside the writer.

use std::io;
use std::ops::Bound;

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction};

use super::rows::{corrupt, entry_of, hash_of, key_of, value_bytes_of};
use super::tables::{BUCKETS, CHUNKS, ChunkKey, ENTRIES, EntryKey, Row, UNDO, UndoKey};
use crate::model::limits::BUCKETS as BUCKETS_MAX;
use crate::model::{Digest, EntryHash, Key};
use crate::store::database::{redb_io, redb_read};
use crate::store::error::ReadError;
use crate::store::version::{EntryRef, Summary};

/// The state at one position. It does not change while it is held.
pub(in crate::store) struct StateSnapshot {
    pub(in crate::store) summary: Summary,
    entries: ReadOnlyTable<EntryKey, Row>,
    chunks: ReadOnlyTable<ChunkKey, Row>,
    undo: ReadOnlyTable<UndoKey, Row>,
    buckets: ReadOnlyTable<u16, Row>,
}

/// Entries of a [`StateSnapshot`] in key order.
pub(in crate::store) struct StateScan(redb::Range<'static, EntryKey, Row>);

impl StateSnapshot {
    pub(super) fn new(transaction: &ReadTransaction, summary: Summary) -> io::Result<Self> {
        Ok(Self {
            summary,
            entries: transaction.open_table(ENTRIES).map_err(redb_io)?,
            chunks: transaction.open_table(CHUNKS).map_err(redb_io)?,
            undo: transaction.open_table(UNDO).map_err(redb_io)?,
            buckets: transaction.open_table(BUCKETS).map_err(redb_io)?,
        })
    }
}

impl StateSnapshot {
    /// The entry of a key.
    pub(in crate::store) fn get(&self, key: &str) -> Result<Option<EntryRef>, ReadError> {
        match self.entries.get(key.as_bytes()).map_err(redb_read)? {
            Some(stored) => entry_of(stored.value()).map_err(ReadError::of),
            None => Ok(None),
        }
    }

    /// Entry hash and length of the value of a key, without the value.
    pub(in crate::store) fn hash_and_bytes(&self, key: &str) -> Result<Option<(EntryHash, u64)>, ReadError> {
        match self.entries.get(key.as_bytes()).map_err(redb_read)? {
            Some(stored) => {
                let hash = hash_of(stored.value()).map_err(ReadError::of)?;
                Ok(value_bytes_of(stored.value()).map_err(ReadError::of)?.map(|bytes| (hash, bytes)))
            }
            None => Ok(None),
        }
    }

    /// One chunk of a large value.
    pub(in crate::store) fn chunk(&self, id: u64, number: u32) -> Result<Option<Bytes>, ReadError> {
        let stored = self.chunks.get((id, number)).map_err(redb_read)?;
        Ok(stored.map(|bytes| Bytes::copy_from_slice(bytes.value())))
    }

    /// The entries from this key on, in key order.
    pub(in crate::store) fn scan(&self, from: Bound<&str>) -> Result<StateScan, ReadError> {
        let range = (from.map(str::as_bytes), Bound::Unbounded);
        self.entries.range::<&[u8]>(range).map(StateScan).map_err(redb_read)
    }

    /// The digests of all buckets.
    pub(in crate::store) fn buckets(&self) -> Result<Vec<Digest>, ReadError> {
        let mut digests = vec![Digest::ZERO; BUCKETS_MAX];
        for row in self.buckets.range::<u16>(..).map_err(redb_read)? {
            let (bucket, digest) = row.map_err(redb_read)?;
            let digest = digest.value().try_into().map_err(|_| ReadError::of(corrupt("a bucket digest")))?;
            if let Some(place) = digests.get_mut(usize::from(bucket.value())) {
                *place = Digest(digest);
            }
        }
        Ok(digests)
    }

    /// The key and hash of every entry, in key order.
    pub(in crate::store) fn hashes(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Key, EntryHash), ReadError>>, ReadError> {
        let rows = self.entries.range::<&[u8]>(..).map_err(redb_read)?;
        Ok(rows.map(|row| {
            let (key, entry) = row.map_err(redb_read)?;
            let hash = hash_of(entry.value()).map_err(ReadError::of)?;
            Ok((key_of(key.value()).map_err(ReadError::of)?, hash))
        }))
    }

    /// The undo images of all changes after `seq`, in the order of change sets: number, key, and the entry before.
    pub(in crate::store) fn undo_after(&self, seq: u64) -> Result<Vec<(u64, Key, Option<EntryRef>)>, ReadError> {
        let mut found = Vec::new();
        let from: (u64, &[u8]) = (seq + 1, &[]);
        for row in self.undo.range(from..).map_err(redb_read)? {
            let (place, old) = row.map_err(redb_read)?;
            let (seq, key) = place.value();
            found.push((seq, key_of(key).map_err(ReadError::of)?, entry_of(old.value()).map_err(ReadError::of)?));
        }
        Ok(found)
    }
}

impl Iterator for StateScan {
    type Item = Result<(Key, EntryRef), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.0.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(redb_read(error))),
        };
        let entry = || -> io::Result<(Key, EntryRef)> {
            let entry = entry_of(row.1.value())?.ok_or_else(|| corrupt("an entry"))?;
            Ok((key_of(row.0.value())?, entry))
        };
        Some(entry().map_err(ReadError::of))
    }
}
