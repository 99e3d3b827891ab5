//! Applies versions to the state, and removes undo images that are no longer needed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};

use super::read::StateSnapshot;
use super::rows::{
    NO_ENTRY, StateHeader, chunked_row, corrupt, hash_of, inline_row, value_bytes_of, value_number_of, write_header,
};
use super::tables::{BUCKETS, CHUNKS, ChunkKey, ENTRIES, EntryKey, Row, UNDO, UndoKey};
use super::value::ValueReader;
use crate::model::limits::UNDO_PRUNE_MAX;
use crate::model::{Digest, DigestKey, Key, Revision, bucket_of};
use crate::store::database::redb_io;
use crate::store::error::invalid_data;
use crate::store::version::{AppliedChange, EntryRef, ValueRef, Version, chunk_count};

/// Bounds of the undo images.
#[derive(Clone, Copy)]
pub(in crate::store) struct UndoBounds {
    /// The peer has every change set up to here.
    pub(in crate::store) confirmed: Revision,
    /// Most change sets.
    pub(in crate::store) change_sets: u64,
    /// Most bytes of keys and values.
    pub(in crate::store) bytes: u64,
}

/// Applies these versions, in this order, to the state that `before` reads, and prunes undo images. The caller commits the
/// transaction. Returns the new header, and whether more undo images are to be pruned.
///
/// # Errors
/// What the system says. The transaction must be dropped.
pub(super) fn apply(
    transaction: &WriteTransaction,
    before: &Arc<StateSnapshot>,
    mut header: StateHeader,
    versions: &[Version],
    keys: &DigestKey,
    bounds: UndoBounds,
) -> io::Result<(StateHeader, bool)> {
    header.confirmed = header.confirmed.max(bounds.confirmed);
    if let Some(last) = versions.last() {
        Application::new(transaction, &mut header, keys, before)?.run(versions)?;
        if header.summary.digest != last.summary.digest {
            return Err(invalid_data("the digest of the state differs from the digest in the log"));
        }
        header.summary = last.summary.clone();
    }
    let more = prune(transaction, &mut header, bounds)?;
    write_header(transaction, &header)?;
    Ok((header, more))
}

/// One transaction that applies versions. Their changes are sorted by key, so that neighbouring keys share pages.
struct Application<'t> {
    header: &'t mut StateHeader,
    keys: &'t DigestKey,
    before: &'t Arc<StateSnapshot>,
    entries: Table<'t, EntryKey, Row>,
    chunks: Table<'t, ChunkKey, Row>,
    undo: Table<'t, UndoKey, Row>,
    buckets: BTreeMap<u16, Digest>,
    bucket_table: Table<'t, u16, Row>,
}

impl<'t> Application<'t> {
    fn new(
        transaction: &'t WriteTransaction,
        header: &'t mut StateHeader,
        keys: &'t DigestKey,
        before: &'t Arc<StateSnapshot>,
    ) -> io::Result<Self> {
        Ok(Self {
            header,
            keys,
            before,
            entries: transaction.open_table(ENTRIES).map_err(redb_io)?,
            chunks: transaction.open_table(CHUNKS).map_err(redb_io)?,
            undo: transaction.open_table(UNDO).map_err(redb_io)?,
            buckets: BTreeMap::new(),
            bucket_table: transaction.open_table(BUCKETS).map_err(redb_io)?,
        })
    }

    fn run(mut self, versions: &[Version]) -> io::Result<()> {
        let numbered = |version: &'_ Version| version.summary.revision.seq;
        let mut changes: Vec<(&AppliedChange, u64)> = versions
            .iter()
            .flat_map(|version| version.changes.iter().map(move |change| (change, numbered(version))))
            .collect();
        changes.sort_by(|(a, a_seq), (b, b_seq)| a.key.cmp(&b.key).then(a_seq.cmp(b_seq)));
        for same in changes.chunk_by(|(a, _), (b, _)| a.key == b.key) {
            self.apply_key(same)?;
        }
        for (bucket, digest) in &self.buckets {
            self.bucket_table.insert(bucket, digest.0.as_slice()).map_err(redb_io)?;
        }
        Ok(())
    }

    /// Applies all changes of one key, oldest first.
    fn apply_key(&mut self, changes: &[(&AppliedChange, u64)]) -> io::Result<()> {
        let Some((first, _)) = changes.first() else { return Ok(()) };
        let key = &first.key;
        let stored = self.entries.get(key.as_bytes()).map_err(redb_io)?.map(|value| value.value().to_vec());
        let mut current = stored.clone();
        for (i, (change, seq)) in changes.iter().enumerate() {
            let needs_undo = *seq > self.header.confirmed.seq;
            let last = i + 1 == changes.len();
            // A value that is replaced in this transaction is stored only if the next change keeps it as its undo image.
            let next_needs_undo = changes.get(i + 1).is_none_or(|(_, seq)| *seq > self.header.confirmed.seq);
            let new = match &change.entry {
                Some(entry) if last || next_needs_undo => Some(self.store(key, entry)?),
                _ => None,
            };
            match (needs_undo, current.as_deref()) {
                (true, old) => {
                    let old = old.unwrap_or(NO_ENTRY);
                    let bytes = value_bytes_of(old)?.unwrap_or(0) + key.as_bytes().len() as u64;
                    self.header.undo_bytes += bytes;
                    self.undo.insert((*seq, key.as_bytes()), old).map_err(redb_io)?;
                }
                (false, Some(old)) => free_value(&mut self.chunks, old)?,
                (false, None) => {}
            }
            current = new;
        }
        self.update_digests(key, stored.as_deref(), current.as_deref())?;
        match current {
            Some(value) => drop(self.entries.insert(key.as_bytes(), value.as_slice()).map_err(redb_io)?),
            None => drop(self.entries.remove(key.as_bytes()).map_err(redb_io)?),
        }
        Ok(())
    }

    fn update_digests(&mut self, key: &Key, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<()> {
        let bucket = bucket_of(key) as u16;
        let mut digest = match self.buckets.get(&bucket) {
            Some(digest) => *digest,
            None => match self.bucket_table.get(bucket).map_err(redb_io)? {
                Some(stored) => Digest(stored.value().try_into().map_err(|_| corrupt("a bucket digest"))?),
                None => Digest::ZERO,
            },
        };
        if let Some(old) = old {
            let hash = hash_of(old)?;
            digest.remove(&hash);
            self.header.summary.digest.remove(&hash);
        }
        if let Some(new) = new {
            let hash = hash_of(new)?;
            digest.add(&hash);
            self.header.summary.digest.add(&hash);
        }
        self.buckets.insert(bucket, digest);
        Ok(())
    }

    /// The row of an entry. A large value is copied to the chunks of the state, one at a time.
    fn store(&mut self, key: &Key, entry: &EntryRef) -> io::Result<Vec<u8>> {
        if let ValueRef::Inline(value) = &entry.value {
            return Ok(inline_row(entry.secret, &entry.hash, value));
        }
        let id = self.header.next_value;
        self.header.next_value += 1;
        let pieces = ValueReader::new(self.before.clone(), self.keys, key, entry.clone());
        for (number, piece) in pieces.enumerate() {
            let piece = piece.map_err(|error| invalid_data(error.to_string()))?;
            self.chunks.insert((id, number as u32), piece.as_ref()).map_err(redb_io)?;
        }
        Ok(chunked_row(entry.secret, &entry.hash, entry.bytes, id))
    }
}

/// Removes undo images that the peer has confirmed or that exceed the bounds, at most [`UNDO_PRUNE_MAX`]. Returns whether
/// more are to be removed.
fn prune(transaction: &WriteTransaction, header: &mut StateHeader, bounds: UndoBounds) -> io::Result<bool> {
    let mut undo = transaction.open_table(UNDO).map_err(redb_io)?;
    let mut chunks = transaction.open_table(CHUNKS).map_err(redb_io)?;
    let kept_from = header.confirmed.seq.max(header.summary.revision.seq.saturating_sub(bounds.change_sets)) + 1;
    for _ in 0..UNDO_PRUNE_MAX {
        let goes = match undo.first().map_err(redb_io)? {
            Some((place, _)) => {
                let (seq, _) = place.value();
                header.undo_from = seq;
                seq < kept_from || header.undo_bytes > bounds.bytes
            }
            None => {
                (header.undo_bytes, header.undo_from) = (0, header.summary.revision.seq + 1);
                return Ok(false);
            }
        };
        if !goes {
            return Ok(false);
        }
        if let Some((place, old)) = undo.pop_first().map_err(redb_io)? {
            let bytes = value_bytes_of(old.value())?.unwrap_or(0) + place.value().1.len() as u64;
            header.undo_bytes = header.undo_bytes.saturating_sub(bytes);
            free_value(&mut chunks, old.value())?;
        }
    }
    Ok(true)
}

fn free_value(chunks: &mut Table<'_, (u64, u32), &'static [u8]>, stored: &[u8]) -> io::Result<()> {
    if let Some((id, bytes)) = value_number_of(stored)? {
        for number in 0..chunk_count(bytes) {
            chunks.remove((id, number as u32)).map_err(redb_io)?;
        }
    }
    Ok(())
}
