//! The durable configuration: an append-only log over a state in redb.

pub mod disk;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{ChangeSet, Digest, Epoch, Era, History, Key, Position, Revision};
use crate::protocol::engine::{CommitRefusal, DiskFailure, Facts};
use crate::protocol::wire::SnapshotHeader;
use disk::Disk;

/// Bounds of the log.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// In change sets.
    pub log_changes: u64,
    /// In bytes.
    pub log_bytes: u64,
}

/// The data directory could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error("another process uses the data directory {0}")]
    Locked(std::path::PathBuf),
    /// Written by a newer version.
    #[error("{what} has version {found}, newer than {known} which this program knows; nothing was changed")]
    Newer {
        /// Which file.
        what: String,
        /// Its version.
        found: u32,
        /// Newest known.
        known: u32,
    },
    /// A file is damaged.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// Which file.
        what: String,
        /// How.
        reason: String,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A store that was opened, and what was found.
pub struct Opened {
    /// For the one who writes.
    pub store: Store,
    /// For those who read.
    pub reader: Reader,
    /// The durable facts.
    pub facts: Facts,
    /// Durable head.
    pub head: Position,
    /// The log holds everything after this.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: History,
    /// Damage that recovery found and could not repair here: the copy is not complete and must be repaired from the peer.
    pub damage: Option<String>,
}

/// The exclusive right to one data directory.
pub struct DirLock {}

/// The writer of one data directory. All its methods block.
pub struct Store {}

/// Reads beside the writer; never waits for it. Clones share.
#[derive(Clone)]
pub struct Reader {}

/// What became of received records, before they are durable.
pub enum Received {
    /// They follow and their content is right. The candidate shows the configuration as it would be.
    Pending {
        /// As it would be.
        candidate: Snapshot,
    },
    /// They do not; nothing is left of them.
    Mismatch,
}

/// What a staged snapshot turned out to be.
pub enum Verified {
    /// What its header says. The candidate shows the configuration as it would be.
    Good {
        /// As it would be.
        candidate: Snapshot,
    },
    /// Something else; it is dropped.
    Bad {
        /// What it is.
        found: Position,
    },
}

/// Records read from the log.
pub struct RecordsRead {
    /// Whole records as they stand in the log.
    pub bytes: Bytes,
    /// Position after the last of them (never inside a change set); the asked-for position where there is none.
    pub last: Revision,
}

/// Change sets of a former master in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// Its number.
    pub id: u64,
    /// The epoch that was lost.
    pub epoch: Epoch,
    /// First change set lost.
    pub from: Revision,
    /// Last one.
    pub to: Revision,
    /// Keys that changed, each once, in key order.
    pub changes: Vec<DivergedChange>,
}

/// One key of a [`Diverged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DivergedChange {
    /// Which one.
    pub key: Key,
    /// Never shown.
    pub secret: bool,
    /// Value before.
    pub old: Option<Bytes>,
    /// Value after.
    pub new: Option<Bytes>,
}

impl Store {
    /// Takes the exclusive right; makes the directory where it is missing, and in it nothing but the lock file.
    pub fn lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock, StoreError> {
        let _ = (disk, dir);
        todo!()
    }

    /// Whether the directory holds a node.
    pub fn exists(disk: &Arc<dyn Disk>, dir: &Path) -> Result<bool, StoreError> {
        let _ = (disk, dir);
        todo!()
    }

    /// Makes a new store in a locked, empty directory. Until it returned, [`Store::exists`] says no.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lock: DirLock,
        facts: &Facts,
        options: StoreOptions,
    ) -> Result<Opened, StoreError> {
        let _ = (disk, dir, lock, facts, options);
        todo!()
    }

    /// Opens and recovers a store.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, lock: DirLock, options: StoreOptions) -> Result<Opened, StoreError> {
        let _ = (disk, dir, lock, options);
        todo!()
    }

    /// After a failed batch: drops what is in memory and opens again what is on disk. The reader stays valid.
    pub fn reopen(&mut self) -> Result<Reopened, StoreError> {
        todo!()
    }

    /// Durable head.
    pub fn head(&self) -> Position {
        todo!()
    }

    /// The log holds everything after this.
    pub fn log_floor(&self) -> Revision {
        todo!()
    }

    /// Lineage up to the head.
    pub fn history(&self) -> History {
        todo!()
    }

    /// Replaces the facts, durably.
    pub fn write_facts(&mut self, facts: &Facts) -> Result<(), DiskFailure> {
        let _ = facts;
        todo!()
    }

    /// Appends change sets as one group under this epoch (that of the last era), with one sync. A verdict for each.
    pub fn commit(
        &mut self,
        epoch: Epoch,
        sets: &[ChangeSet],
    ) -> Result<Vec<Result<Revision, CommitRefusal>>, DiskFailure> {
        let _ = (epoch, sets);
        todo!()
    }

    /// Opens an era, durably.
    pub fn begin_era(&mut self, era: Era) -> Result<(), DiskFailure> {
        let _ = era;
        todo!()
    }

    /// Appends records of the peer, not yet durably. Followed by [`Store::accept`] or [`Store::reject`].
    pub fn receive(&mut self, pieces: &[Bytes]) -> Result<Received, DiskFailure> {
        let _ = pieces;
        todo!()
    }

    /// Makes received records durable.
    pub fn accept(&mut self) -> Result<(), DiskFailure> {
        todo!()
    }

    /// Cuts received records off again.
    pub fn reject(&mut self) -> Result<(), DiskFailure> {
        todo!()
    }

    /// Opens a new staging file for this snapshot; one that is there goes.
    pub fn stage_begin(&mut self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        let _ = header;
        todo!()
    }

    /// Writes a piece to it.
    pub fn stage_write(&mut self, piece: &[u8]) -> Result<(), DiskFailure> {
        let _ = piece;
        todo!()
    }

    /// Makes it durable and compares it with its header.
    pub fn stage_verify(&mut self) -> Result<Verified, DiskFailure> {
        todo!()
    }

    /// Switches to it: the configuration is at once that of the snapshot, visible, and the log starts anew after it.
    pub fn stage_switch(&mut self) -> Result<(), DiskFailure> {
        todo!()
    }

    /// Drops it.
    pub fn stage_drop(&mut self) {
        todo!()
    }

    /// Copies the change sets after `common`, with the values before them, durably into quarantine.
    /// Returns first, last and number of them; the configuration stays as it is.
    pub fn quarantine(&mut self, common: Revision) -> Result<(Revision, Revision, u64), DiskFailure> {
        let _ = common;
        todo!()
    }

    /// Applies what is visible to the state in one bounded group, checkpoints, trims the log. Returns whether there is more to do.
    pub fn maintain(&mut self) -> Result<bool, DiskFailure> {
        todo!()
    }

    /// Sets or removes a local entry, durably.
    pub fn put_local(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), DiskFailure> {
        let _ = (key, value);
        todo!()
    }
}

/// What [`Store::reopen`] found.
pub struct Reopened {
    /// Durable head.
    pub head: Position,
    /// The log holds everything after this.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: History,
    /// As in [`Opened`].
    pub damage: Option<String>,
}

impl Reader {
    /// What is visible now. Never blocks on a writer.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// Makes durable change sets visible up to here; returns the keys that changed, by revision, for watchers.
    pub fn publish(&self, upto: Revision) -> Vec<(Revision, Vec<Key>)> {
        let _ = upto;
        todo!()
    }

    /// The peer holds everything up to here: undo information for it may go.
    pub fn confirm(&self, upto: Revision) {
        let _ = upto;
        todo!()
    }

    /// Whether [`Store::maintain`] should run now.
    pub fn wants_maintenance(&self) -> bool {
        todo!()
    }

    /// Reads durable records after `after` and up to `upto`. `None`: the log no longer reaches there.
    pub fn records_after(
        &self,
        after: Revision,
        upto: Revision,
        max_bytes: usize,
    ) -> Result<Option<RecordsRead>, ReadError> {
        let _ = (after, upto, max_bytes);
        todo!()
    }

    /// Opens what is visible now for a full push (`transfer` of the header is as given).
    pub fn export(&self, transfer: u64) -> Result<(SnapshotHeader, Export), ReadError> {
        let _ = transfer;
        todo!()
    }

    /// What is in quarantine.
    pub fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        todo!()
    }

    /// A local entry.
    pub fn local(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        let _ = key;
        todo!()
    }

    /// Keys of local entries with this prefix.
    pub fn local_keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        let _ = prefix;
        todo!()
    }
}

/// A full push being read.
pub struct Export {}

impl Export {
    /// The next piece, of about `max_bytes` (one item at the least); `None` at the end.
    pub fn next(&mut self, max_bytes: usize) -> Result<Option<Bytes>, ReadError> {
        let _ = max_bytes;
        todo!()
    }
}

/// The configuration at one revision. Cheap to clone, never changes, never blocks.
#[derive(Clone)]
pub struct Snapshot {}

/// One entry of a [`Snapshot`], without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Length of its value.
    pub bytes: u64,
    /// Never shown in logs, alerts or `Debug`.
    pub secret: bool,
}

/// The configuration could not be read. It is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk failed or the state is damaged.
    #[error("the configuration could not be read: {0}")]
    Disk(String),
}

impl Snapshot {
    /// Which revision this is.
    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// What it holds.
    pub fn digest(&self) -> Digest {
        todo!()
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        todo!()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    /// Lineage up to here.
    pub fn history(&self) -> History {
        todo!()
    }

    /// The value of an entry.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Bytes>, ReadError> {
        let _ = key.as_ref();
        todo!()
    }

    /// An entry without its value.
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry>, ReadError> {
        let _ = key.as_ref();
        todo!()
    }

    /// The entries whose key begins with this, in key order.
    pub fn scan(&self, prefix: &str) -> Scan {
        let _ = prefix;
        todo!()
    }

    /// Reads a value in pieces, so that it is never whole in memory. `None` where there is no such entry.
    pub fn value(&self, key: impl AsRef<str>) -> Result<Option<ValueReader>, ReadError> {
        let _ = key.as_ref();
        todo!()
    }
}

/// Iterates over entries of a [`Snapshot`].
pub struct Scan {}

impl Iterator for Scan {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// Pieces of one value.
pub struct ValueReader {}

impl Iterator for ValueReader {
    type Item = Result<Bytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
