//! Loading a state from a full push.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use redb::WriteTransaction;

use super::rows::{stored_inline, stored_large, write_head};
use super::{BUCKETS, CHUNKS, ENTRIES, State, redb_io};
use crate::model::limits::STATE_CACHE_BYTES;
use crate::model::{Digest, EntryHash, Key, bucket_of};
use crate::store::view::Meta;

/// Loads a state in key order, for a full push.
pub(in crate::store) struct Loader {
    state: State,
    txn: Option<WriteTransaction>,
    buckets: BTreeMap<u16, Digest>,
    last: Option<Key>,
    uncommitted: usize,
}

impl Loader {
    /// Into this empty state.
    pub(in crate::store) fn new(state: State) -> Self {
        Self { state, txn: None, buckets: BTreeMap::new(), last: None, uncommitted: 0 }
    }

    /// The sums so far.
    pub(in crate::store) fn meta(&self) -> &Meta {
        &self.state.head.meta
    }

    /// Whether this key may come next.
    pub(in crate::store) fn follows(&self, key: &Key) -> bool {
        self.last.as_ref().is_none_or(|last| last < key)
    }

    pub(in crate::store) fn inline(
        &mut self,
        key: &Key,
        secret: bool,
        hash: &EntryHash,
        value: &[u8],
    ) -> io::Result<()> {
        self.insert(key, hash, value.len() as u64, &stored_inline(secret, hash, value))
    }

    /// A number for a large value whose chunks come now.
    pub(in crate::store) fn begin_value(&mut self) -> u64 {
        let id = self.state.head.next_value;
        self.state.head.next_value += 1;
        id
    }

    pub(in crate::store) fn chunk(&mut self, id: u64, number: u32, bytes: &[u8]) -> io::Result<()> {
        let txn = self.txn()?;
        txn.open_table(CHUNKS).map_err(redb_io)?.insert((id, number), bytes).map_err(redb_io)?;
        self.wrote(bytes.len())
    }

    pub(in crate::store) fn end_value(
        &mut self,
        key: &Key,
        secret: bool,
        hash: &EntryHash,
        bytes: u64,
        id: u64,
    ) -> io::Result<()> {
        self.insert(key, hash, bytes, &stored_large(secret, hash, bytes, id))
    }

    /// Everything is in: writes the position, durably.
    pub(in crate::store) fn finish(mut self, meta: Meta) -> io::Result<State> {
        if let Some(txn) = self.txn.take() {
            txn.commit().map_err(redb_io)?;
        }
        let txn = self.state.begin()?;
        {
            let mut buckets = txn.open_table(BUCKETS).map_err(redb_io)?;
            for (bucket, digest) in &self.buckets {
                buckets.insert(bucket, digest.0.as_slice()).map_err(redb_io)?;
            }
        }
        self.state.head.confirmed = meta.revision;
        self.state.head.undo_from = meta.revision.seq + 1;
        self.state.head.meta = meta;
        write_head(&txn, &self.state.head)?;
        txn.commit().map_err(redb_io)?;
        Ok(self.state)
    }

    fn insert(&mut self, key: &Key, hash: &EntryHash, bytes: u64, stored: &[u8]) -> io::Result<()> {
        {
            let txn = self.txn()?;
            let mut entries = txn.open_table(ENTRIES).map_err(redb_io)?;
            let mut cursor = entries.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(redb_io)?;
            cursor.insert_before(key.as_bytes(), stored).map_err(|error| io::Error::other(error.to_string()))?;
            cursor.close().map_err(redb_io)?;
        }
        self.last = Some(key.clone());
        let meta = &mut self.state.head.meta;
        meta.digest.add(hash);
        meta.entries += 1;
        meta.bytes += key.as_bytes().len() as u64 + bytes;
        self.buckets.entry(bucket_of(key) as u16).or_insert(Digest::ZERO).add(hash);
        self.wrote(stored.len())
    }

    fn txn(&mut self) -> io::Result<&mut WriteTransaction> {
        if self.txn.is_none() {
            let mut txn = self.state.db()?.begin_write().map_err(redb_io)?;
            txn.set_durability(redb::Durability::None).map_err(redb_io)?;
            self.txn = Some(txn);
        }
        self.txn.as_mut().ok_or_else(|| io::Error::other("no transaction"))
    }

    fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        self.uncommitted += bytes;
        if self.uncommitted >= STATE_CACHE_BYTES / 2 {
            self.uncommitted = 0;
            if let Some(txn) = self.txn.take() {
                txn.commit().map_err(redb_io)?;
            }
        }
        Ok(())
    }
}
