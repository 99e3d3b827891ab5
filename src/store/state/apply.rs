//! Applies versions to the state, and removes undo images that are no longer needed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::read::StateSnapshot;
use super::rows::{
    NO_ENTRY, StateHeader, chunked_row, corrupt, hash_of, inline_row, value_bytes_of, value_number_of, write_header,
};
use super::tables::{BUCKETS, CHUNKS, ChunkKey, ENTRIES, EntryKey, Row, UNDO, UndoKey};
use super::value::ValueReader;
use crate::model::limits::{CHECKPOINT_PART_BYTES, UNDO_PRUNE_MAX};
use crate::model::{Digest, DigestKey, EntryHash, Key, Revision, bucket_of};
use crate::store::database::{begin_part, begin_write, redb_io};
use crate::store::error::invalid_data;
use crate::store::version::{AppliedChange, EntryRef, Summary, ValueRef, chunk_count};

/// Bytes of a page, of which a change writes at least one.
const PAGE_BYTES: usize = 4096;

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

/// What a checkpoint moves to the state.
pub(in crate::store) struct Move {
    /// The changes of versions that follow the state.
    pub(in crate::store) changes: Vec<Arc<AppliedChange>>,
    /// The configuration after them. `None` if no version is moved.
    pub(in crate::store) upto: Option<Summary>,
    pub(in crate::store) bounds: UndoBounds,
}

/// Is called with the memory that the changes since the last call take. An error ends the move.
pub(in crate::store) type Tick<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

/// Applies changes to the state, and prunes undo images. Only the last of its commits is durable. The others keep the pages
/// that are written few enough for redb's cache: redb writes those twice that leave it before they are committed. Returns
/// the new header, and whether more undo images are to be pruned.
///
/// # Errors
/// What the system says. The database must be opened again: it shows what was committed before the last commit.
pub(super) fn apply(
    database: &Database,
    before: &Arc<StateSnapshot>,
    mut header: StateHeader,
    work: &mut Move,
    keys: &DigestKey,
    tick: &mut Tick<'_>,
) -> io::Result<(StateHeader, bool)> {
    header.confirmed = header.confirmed.max(work.bounds.confirmed);
    work.changes.sort_by(|a, b| a.key.cmp(&b.key).then(a.seq.cmp(&b.seq)));
    let mut moved = Moved { header, buckets: BTreeMap::new(), keys, before };
    let mut rest = &work.changes[..];
    while !rest.is_empty() {
        let transaction = begin_part(database)?;
        let count = Part::new(&transaction, &mut moved)?.run(rest)?;
        transaction.commit().map_err(redb_io)?;
        let (done, left) = rest.split_at(count);
        rest = left;
        tick(done.iter().map(|change| change.memory()).sum())?;
    }
    let transaction = begin_write(database)?;
    let Moved { mut header, buckets, .. } = moved;
    add_to_buckets(&transaction, &buckets)?;
    if let Some(upto) = &work.upto {
        if header.summary.digest != upto.digest {
            return Err(invalid_data("the digest of the state differs from the digest in the log"));
        }
        header.summary = upto.clone();
    }
    let more = prune(&transaction, &mut header, work.bounds)?;
    write_header(&transaction, &header)?;
    transaction.commit().map_err(redb_io)?;
    Ok((header, more))
}

/// Adds what has changed to the digests of the buckets.
fn add_to_buckets(transaction: &WriteTransaction, changed: &BTreeMap<u16, Digest>) -> io::Result<()> {
    let mut table = transaction.open_table(BUCKETS).map_err(redb_io)?;
    for (bucket, change) in changed {
        let mut digest = match table.get(bucket).map_err(redb_io)? {
            Some(stored) => Digest(stored.value().try_into().map_err(|_| corrupt("a bucket digest"))?),
            None => Digest::ZERO,
        };
        digest.add(&EntryHash(change.0));
        table.insert(bucket, digest.0.as_slice()).map_err(redb_io)?;
    }
    Ok(())
}

/// What one application of changes has come to.
struct Moved<'a> {
    header: StateHeader,
    /// Per bucket, the sum of what was added and removed.
    buckets: BTreeMap<u16, Digest>,
    keys: &'a DigestKey,
    before: &'a Arc<StateSnapshot>,
}

/// One transaction of an application. Its changes are sorted by key, so that neighbouring keys share pages.
struct Part<'t, 'm, 'a> {
    moved: &'m mut Moved<'a>,
    entries: Table<'t, EntryKey, Row>,
    chunks: Table<'t, ChunkKey, Row>,
    undo: Table<'t, UndoKey, Row>,
    /// Bytes of the pages that it may have written.
    written: usize,
}

impl<'t, 'm, 'a> Part<'t, 'm, 'a> {
    fn new(transaction: &'t WriteTransaction, moved: &'m mut Moved<'a>) -> io::Result<Self> {
        Ok(Self {
            moved,
            entries: transaction.open_table(ENTRIES).map_err(redb_io)?,
            chunks: transaction.open_table(CHUNKS).map_err(redb_io)?,
            undo: transaction.open_table(UNDO).map_err(redb_io)?,
            written: 0,
        })
    }

    /// Applies the first of these changes. Returns how many.
    fn run(mut self, changes: &[Arc<AppliedChange>]) -> io::Result<usize> {
        let mut count = 0;
        for same in changes.chunk_by(|a, b| a.key == b.key) {
            self.apply_key(same)?;
            count += same.len();
            if self.written >= CHECKPOINT_PART_BYTES {
                break;
            }
        }
        Ok(count)
    }

    /// Applies all changes of one key, oldest first.
    fn apply_key(&mut self, changes: &[Arc<AppliedChange>]) -> io::Result<()> {
        let Some(newest) = changes.last() else { return Ok(()) };
        if newest.seq > self.moved.header.confirmed.seq {
            return self.apply_key_with_undo(changes);
        }
        let row = newest.entry.as_ref().map(|entry| self.store(&newest.key, entry)).transpose()?;
        let old = self.replace(&newest.key, row.as_deref())?;
        if let Some(old) = &old {
            free_value(&mut self.chunks, old)?;
        }
        self.update_digests(&newest.key, old.as_deref(), row.as_deref())
    }

    /// Applies all changes of one key, oldest first, and keeps what was before those that the peer may not have.
    fn apply_key_with_undo(&mut self, changes: &[Arc<AppliedChange>]) -> io::Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        let key = &first.key;
        let stored = self.entries.get(key.as_bytes()).map_err(redb_io)?.map(|value| value.value().to_vec());
        let mut current = stored.clone();
        for (i, change) in changes.iter().enumerate() {
            let needs_undo = change.seq > self.moved.header.confirmed.seq;
            let last = i + 1 == changes.len();
            // A value that is replaced in this transaction is stored only if the next change keeps it as its undo image.
            let next_needs_undo = changes.get(i + 1).is_none_or(|next| next.seq > self.moved.header.confirmed.seq);
            let new = match &change.entry {
                Some(entry) if last || next_needs_undo => Some(self.store(key, entry)?),
                _ => None,
            };
            match (needs_undo, current.as_deref()) {
                (true, old) => {
                    let old = old.unwrap_or(NO_ENTRY);
                    let bytes = value_bytes_of(old)?.unwrap_or(0) + key.as_bytes().len() as u64;
                    self.moved.header.undo_bytes += bytes;
                    self.written += PAGE_BYTES + old.len();
                    self.undo.insert((change.seq, key.as_bytes()), old).map_err(redb_io)?;
                }
                (false, Some(old)) => free_value(&mut self.chunks, old)?,
                (false, None) => {}
            }
            current = new;
        }
        self.replace(key, current.as_deref())?;
        self.update_digests(key, stored.as_deref(), current.as_deref())
    }

    /// Writes or removes the row of an entry. Returns the row before.
    fn replace(&mut self, key: &Key, row: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        self.written += PAGE_BYTES + row.map_or(0, <[u8]>::len);
        let old = match row {
            Some(row) => self.entries.insert(key.as_bytes(), row),
            None => self.entries.remove(key.as_bytes()),
        };
        Ok(old.map_err(redb_io)?.map(|old| old.value().to_vec()))
    }

    fn update_digests(&mut self, key: &Key, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<()> {
        let bucket = self.moved.buckets.entry(bucket_of(key) as u16).or_insert(Digest::ZERO);
        let total = &mut self.moved.header.summary.digest;
        if let Some(old) = old {
            let hash = hash_of(old)?;
            bucket.remove(&hash);
            total.remove(&hash);
        }
        if let Some(new) = new {
            let hash = hash_of(new)?;
            bucket.add(&hash);
            total.add(&hash);
        }
        Ok(())
    }

    /// The row of an entry. A large value is copied to the chunks of the state, one at a time.
    fn store(&mut self, key: &Key, entry: &EntryRef) -> io::Result<Vec<u8>> {
        if let ValueRef::Inline(value) = &entry.value {
            return Ok(inline_row(entry.secret, &entry.hash, value));
        }
        let id = self.moved.header.next_value;
        self.moved.header.next_value += 1;
        let pieces = ValueReader::new(self.moved.before.clone(), self.moved.keys, key, entry.clone());
        for (number, piece) in pieces.enumerate() {
            let piece = piece.map_err(|error| invalid_data(error.to_string()))?;
            self.chunks.insert((id, number as u32), piece.as_ref()).map_err(redb_io)?;
            self.written += PAGE_BYTES + piece.len();
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
