//! The state: a redb file that holds the configuration at one position, the digests of its buckets, and the values
//! before the change sets that the peer may not have yet.

mod loader;
mod rows;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::disk::{Disk, File};
use super::log::LogPosition;
use super::pages::Pages;
use super::view::{Applied, EntryRef, Meta, ValueReader, ValueRef, Version};
use super::{ReadError, StoreError};
use crate::model::limits::{STATE_CACHE_BYTES, UNDO_PRUNE_MAX};
use crate::model::{Digest, DigestKey, EntryHash, Key, Revision, bucket_of};

pub(super) use loader::Loader;
use rows::{
    corrupt, decode, key_of, read_head, stored_bytes, stored_hash, stored_inline, stored_large, stored_value_id,
    write_head,
};

/// Newest version of the state's tables that this program writes and reads.
pub(super) const STATE_VERSION: u32 = 1;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const CHUNKS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("chunks");
const BUCKETS: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("buckets");
const UNDO: TableDefinition<'_, (u64, &[u8]), &[u8]> = TableDefinition::new("undo");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The open file, for the one who writes.
pub(super) struct State {
    db: Option<Database>,
    pages: Pages,
    file: Arc<dyn File>,
    head: Head,
}

/// What the state is at, and what it still needs to know.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) meta: Meta,
    /// Number of the next large value.
    pub(super) next_value: u64,
    /// The peer has everything up to here.
    pub(super) confirmed: Revision,
    /// Bytes of keys and values of the undo images.
    pub(super) undo_bytes: u64,
    /// The oldest change set of which there may be undo images.
    pub(super) undo_from: u64,
}

/// One position of the state, for those who read.
pub(super) struct Base {
    pub(super) meta: Meta,
    entries: ReadOnlyTable<&'static [u8], &'static [u8]>,
    chunks: ReadOnlyTable<(u64, u32), &'static [u8]>,
    undo: ReadOnlyTable<(u64, &'static [u8]), &'static [u8]>,
}

/// Entries of a [`Base`] in key order, from a prefix on.
pub(super) struct BaseScan(redb::Range<'static, &'static [u8], &'static [u8]>);

/// Bounds on undo images.
#[derive(Clone, Copy)]
pub(super) struct UndoBounds {
    pub(super) confirmed: Revision,
    pub(super) change_sets: u64,
    pub(super) bytes: u64,
}

/// What redb says, as an error of the system: a full disk stays recognisable.
pub(super) fn redb_io(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

pub(super) fn redb_read(error: impl Into<redb::Error>) -> ReadError {
    ReadError::Disk(redb_io(error).to_string())
}

/// Opens (or makes) a redb file over checksummed pages. redb is known to panic on some damaged files: that is caught.
pub(super) fn open_redb(file: Arc<dyn File>, cache_bytes: usize) -> io::Result<(Database, Pages)> {
    let pages = Pages::open(file)?;
    let storage = pages.clone();
    let open = || redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(storage);
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => Ok((opened.map_err(redb_io)?, pages)),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "redb gave up on it")),
    }
}

/// A write transaction that survives a crash right after its commit without a repair.
pub(super) fn begin(db: &Database) -> io::Result<WriteTransaction> {
    let mut txn = db.begin_write().map_err(redb_io)?;
    txn.set_quick_repair(true);
    Ok(txn)
}

impl State {
    /// Makes an empty state at this position.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(disk: &dyn Disk, path: &Path, meta: Meta) -> io::Result<Self> {
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(path, true)?;
        let (db, pages) = open_redb(file.clone(), STATE_CACHE_BYTES)?;
        let head = Head { meta, next_value: 1, confirmed: Revision::NONE, undo_bytes: 0, undo_from: 0 };
        let mut state = Self { db: Some(db), pages, file, head };
        let txn = state.begin()?;
        {
            txn.open_table(ENTRIES).map_err(redb_io)?;
            txn.open_table(CHUNKS).map_err(redb_io)?;
            txn.open_table(BUCKETS).map_err(redb_io)?;
            txn.open_table(UNDO).map_err(redb_io)?;
            write_head(&txn, &state.head)?;
        }
        txn.commit().map_err(redb_io)?;
        Ok(state)
    }

    /// Opens a state that is there.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Corrupt`] and [`StoreError::Io`].
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        let name = name_of(path);
        let file = disk.open(path, false).map_err(|source| broken(&name, source))?;
        let (db, pages) = open_redb(file.clone(), STATE_CACHE_BYTES).map_err(|source| broken(&name, source))?;
        let txn = db.begin_read().map_err(|error| broken(&name, redb_io(error)))?;
        let head = read_head(&txn).map_err(|error| broken(&name, error))?.ok_or_else(|| StoreError::Corrupt {
            what: name.clone(),
            reason: "it says nothing of its position".into(),
        })?;
        let head = head.map_err(|found| StoreError::Newer { what: name.clone(), found, known: STATE_VERSION })?;
        drop(txn);
        Ok(Self { db: Some(db), pages, file, head })
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// What is committed now, for readers.
    pub(super) fn base(&self) -> io::Result<Arc<Base>> {
        let txn = self.db()?.begin_read().map_err(redb_io)?;
        Ok(Arc::new(Base {
            meta: self.head.meta.clone(),
            entries: txn.open_table(ENTRIES).map_err(redb_io)?,
            chunks: txn.open_table(CHUNKS).map_err(redb_io)?,
            undo: txn.open_table(UNDO).map_err(redb_io)?,
        }))
    }

    /// Applies these change sets, in this order, in one durable transaction, and prunes undo images. Returns whether
    /// more of them are to be pruned.
    ///
    /// # Errors
    /// What the system says; then the state is as before, or in doubt until it is opened again.
    pub(super) fn apply(&mut self, sets: &[Version], keys: &DigestKey, bounds: UndoBounds) -> io::Result<bool> {
        let base = self.base()?;
        let txn = self.begin()?;
        let mut head = self.head.clone();
        head.confirmed = head.confirmed.max(bounds.confirmed);
        if let Some(last) = sets.last() {
            Application::new(&txn, &mut head, keys, &base)?.run(sets)?;
            if head.meta.digest != last.meta.digest {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the state does not match the log's digest"));
            }
            head.meta = last.meta.clone();
        }
        let more = prune(&txn, &mut head, bounds)?;
        write_head(&txn, &head)?;
        txn.commit().map_err(redb_io)?;
        self.head = head;
        Ok(more)
    }

    /// The log goes on elsewhere: says so, durably.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub(super) fn relocate(&mut self, end: LogPosition) -> io::Result<()> {
        let mut head = self.head.clone();
        head.meta.end = end;
        let txn = self.begin()?;
        write_head(&txn, &head)?;
        txn.commit().map_err(redb_io)?;
        self.head = head;
        Ok(())
    }

    /// Opens the file again after a failure, for the same file may hold what the failed transaction left.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.close();
        let (db, pages) = open_redb(self.file.clone(), STATE_CACHE_BYTES)?;
        let txn = db.begin_read().map_err(redb_io)?;
        match read_head(&txn)? {
            Some(Ok(head)) => self.head = head,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the state lost its position")),
        }
        drop(txn);
        (self.db, self.pages) = (Some(db), pages);
        Ok(())
    }

    /// Writes nothing any more. Readers of an earlier position go on.
    pub(super) fn close(&mut self) {
        self.pages.fence();
        self.db = None;
    }

    fn begin(&mut self) -> io::Result<WriteTransaction> {
        begin(self.db()?)
    }

    fn db(&self) -> io::Result<&Database> {
        self.db.as_ref().ok_or_else(|| io::Error::other("the state is closed"))
    }
}

/// Change sets on their way into one transaction: sorted by key, so that neighbours share pages.
struct Application<'t> {
    head: &'t mut Head,
    keys: &'t DigestKey,
    base: &'t Arc<Base>,
    entries: Table<'t, &'static [u8], &'static [u8]>,
    chunks: Table<'t, (u64, u32), &'static [u8]>,
    undo: Table<'t, (u64, &'static [u8]), &'static [u8]>,
    buckets: BTreeMap<u16, Digest>,
    bucket_table: Table<'t, u16, &'static [u8]>,
}

impl<'t> Application<'t> {
    fn new(
        txn: &'t WriteTransaction,
        head: &'t mut Head,
        keys: &'t DigestKey,
        base: &'t Arc<Base>,
    ) -> io::Result<Self> {
        Ok(Self {
            head,
            keys,
            base,
            entries: txn.open_table(ENTRIES).map_err(redb_io)?,
            chunks: txn.open_table(CHUNKS).map_err(redb_io)?,
            undo: txn.open_table(UNDO).map_err(redb_io)?,
            buckets: BTreeMap::new(),
            bucket_table: txn.open_table(BUCKETS).map_err(redb_io)?,
        })
    }

    fn run(mut self, sets: &[Version]) -> io::Result<()> {
        let mut changes: Vec<(&Applied, u64)> =
            sets.iter().flat_map(|set| set.changes.iter().map(|change| (change, set.meta.revision.seq))).collect();
        changes.sort_by(|(a, a_seq), (b, b_seq)| a.key.cmp(&b.key).then(a_seq.cmp(b_seq)));
        for same in changes.chunk_by(|(a, _), (b, _)| a.key == b.key) {
            self.key(same)?;
        }
        for (bucket, digest) in &self.buckets {
            self.bucket_table.insert(bucket, digest.0.as_slice()).map_err(redb_io)?;
        }
        Ok(())
    }

    /// All changes of one key, oldest first.
    fn key(&mut self, changes: &[(&Applied, u64)]) -> io::Result<()> {
        let Some((first, _)) = changes.first() else { return Ok(()) };
        let key = &first.key;
        let stored = self.entries.get(key.as_bytes()).map_err(redb_io)?.map(|value| value.value().to_vec());
        let mut current = stored.clone();
        for (i, (change, seq)) in changes.iter().enumerate() {
            let wanted = *seq > self.head.confirmed.seq;
            let last = i + 1 == changes.len();
            // What only an undo image would need is not even written where there will be none.
            let next_wanted = changes.get(i + 1).is_none_or(|(_, seq)| *seq > self.head.confirmed.seq);
            let new = match &change.entry {
                Some(entry) if last || next_wanted => Some(self.store(key, entry)?),
                _ => None,
            };
            match (wanted, current.as_deref()) {
                (true, old) => {
                    let old = old.unwrap_or(&[0]);
                    let bytes = stored_bytes(old)?.unwrap_or(0) + key.as_bytes().len() as u64;
                    self.head.undo_bytes += bytes;
                    self.undo.insert((*seq, key.as_bytes()), old).map_err(redb_io)?;
                }
                (false, Some(old)) => free_value(&mut self.chunks, old)?,
                (false, None) => {}
            }
            current = new;
        }
        self.sums(key, stored.as_deref(), current.as_deref())?;
        match current {
            Some(value) => drop(self.entries.insert(key.as_bytes(), value.as_slice()).map_err(redb_io)?),
            None => drop(self.entries.remove(key.as_bytes()).map_err(redb_io)?),
        }
        Ok(())
    }

    fn sums(&mut self, key: &Key, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<()> {
        let bucket = bucket_of(key) as u16;
        let mut digest = match self.buckets.get(&bucket) {
            Some(digest) => *digest,
            None => match self.bucket_table.get(bucket).map_err(redb_io)? {
                Some(stored) => Digest(stored.value().try_into().map_err(|_| corrupt("a bucket digest"))?),
                None => Digest::ZERO,
            },
        };
        if let Some(old) = old {
            let hash = stored_hash(old)?;
            digest.remove(&hash);
            self.head.meta.digest.remove(&hash);
        }
        if let Some(new) = new {
            let hash = stored_hash(new)?;
            digest.add(&hash);
            self.head.meta.digest.add(&hash);
        }
        self.buckets.insert(bucket, digest);
        Ok(())
    }

    /// The stored form of an entry; a large value is copied into chunks, one at a time.
    fn store(&mut self, key: &Key, entry: &EntryRef) -> io::Result<Vec<u8>> {
        if let ValueRef::Inline(value) = &entry.value {
            return Ok(stored_inline(entry.secret, &entry.hash, value));
        }
        let id = self.head.next_value;
        self.head.next_value += 1;
        let hasher = self.keys.hasher(key, entry.bytes, entry.secret);
        let pieces = ValueReader::new(self.base.clone(), hasher, entry.clone());
        for (number, piece) in pieces.enumerate() {
            let piece = piece.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            self.chunks.insert((id, number as u32), piece.as_ref()).map_err(redb_io)?;
        }
        Ok(stored_large(entry.secret, &entry.hash, entry.bytes, id))
    }
}

/// Removes undo images that the peer has confirmed or that are beyond the bounds; at most so many rows.
fn prune(txn: &WriteTransaction, head: &mut Head, bounds: UndoBounds) -> io::Result<bool> {
    let mut undo = txn.open_table(UNDO).map_err(redb_io)?;
    let mut chunks = txn.open_table(CHUNKS).map_err(redb_io)?;
    let kept_from = head.confirmed.seq.max(head.meta.revision.seq.saturating_sub(bounds.change_sets)) + 1;
    for _ in 0..UNDO_PRUNE_MAX {
        let goes = match undo.first().map_err(redb_io)? {
            Some((place, _)) => {
                let (seq, _) = place.value();
                head.undo_from = seq;
                seq < kept_from || head.undo_bytes > bounds.bytes
            }
            None => {
                (head.undo_bytes, head.undo_from) = (0, head.meta.revision.seq + 1);
                return Ok(false);
            }
        };
        if !goes {
            return Ok(false);
        }
        if let Some((place, old)) = undo.pop_first().map_err(redb_io)? {
            let bytes = stored_bytes(old.value())?.unwrap_or(0) + place.value().1.len() as u64;
            head.undo_bytes = head.undo_bytes.saturating_sub(bytes);
            free_value(&mut chunks, old.value())?;
        }
    }
    Ok(true)
}

fn free_value(chunks: &mut Table<'_, (u64, u32), &'static [u8]>, stored: &[u8]) -> io::Result<()> {
    if let Some((id, bytes)) = stored_value_id(stored)? {
        for number in 0..super::view::chunks_of(bytes) {
            chunks.remove((id, number as u32)).map_err(redb_io)?;
        }
    }
    Ok(())
}

impl Base {
    pub(super) fn get(&self, key: &str) -> Result<Option<EntryRef>, ReadError> {
        match self.entries.get(key.as_bytes()).map_err(redb_read)? {
            Some(stored) => decode(stored.value()).map_err(read_error),
            None => Ok(None),
        }
    }

    /// Hash and length of an entry's value, without the value.
    pub(super) fn sums_of(&self, key: &str) -> Result<Option<(EntryHash, u64)>, ReadError> {
        match self.entries.get(key.as_bytes()).map_err(redb_read)? {
            Some(stored) => {
                let hash = stored_hash(stored.value()).map_err(read_error)?;
                Ok(stored_bytes(stored.value()).map_err(read_error)?.map(|bytes| (hash, bytes)))
            }
            None => Ok(None),
        }
    }

    pub(super) fn chunk(&self, id: u64, number: u32) -> Result<Option<Bytes>, ReadError> {
        let stored = self.chunks.get((id, number)).map_err(redb_read)?;
        Ok(stored.map(|bytes| Bytes::copy_from_slice(bytes.value())))
    }

    pub(super) fn scan(&self, from: &str) -> Result<BaseScan, ReadError> {
        let range = (Bound::Included(from.as_bytes()), Bound::Unbounded);
        self.entries.range::<&[u8]>(range).map(BaseScan).map_err(redb_read)
    }

    /// What was before each change after `seq`, in the order of change sets.
    pub(super) fn undo_after(&self, seq: u64) -> Result<Vec<(u64, Key, Option<EntryRef>)>, ReadError> {
        let mut found = Vec::new();
        let from: (u64, &[u8]) = (seq + 1, &[]);
        for row in self.undo.range(from..).map_err(redb_read)? {
            let (place, old) = row.map_err(redb_read)?;
            let (seq, key) = place.value();
            found.push((seq, key_of(key).map_err(read_error)?, decode(old.value()).map_err(read_error)?));
        }
        Ok(found)
    }
}

impl Iterator for BaseScan {
    type Item = Result<(Key, EntryRef), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.0.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(redb_read(error))),
        };
        let entry = || -> io::Result<(Key, EntryRef)> {
            let entry = decode(row.1.value())?.ok_or_else(|| corrupt("an entry"))?;
            Ok((key_of(row.0.value())?, entry))
        };
        Some(entry().map_err(read_error))
    }
}

fn read_error(error: io::Error) -> ReadError {
    ReadError::Disk(error.to_string())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file that cannot be opened: the disk's doing where it is full or the file is out of reach, else damage.
pub(super) fn broken(what: &str, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::Other | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
            StoreError::Corrupt { what: what.to_owned(), reason: source.to_string() }
        }
        _ => StoreError::Io { what: format!("opening {what}"), source },
    }
}
