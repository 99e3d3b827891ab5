//! The one writer of a data directory: opening and failures.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::change_set_log::{Assembler, PartialChangeSet};
use super::checkpoint::StateHolder;
use super::data_dir::{self, DataDir, DirLock};
use super::disk::{Disk, FileId, is_full};
use super::error::{StoreError, misuse};
use super::log::{ChainState, Log};
use super::mutants::{Mutant, is_active};
use super::node_file::NodeFile;
use super::publication::Publication;
use super::quarantine;
use super::reader::Reader;
use super::recovery::recover;
use super::staging::{Import, Staged};
use super::types::StoreOptions;
use super::version::Summary;
use super::view::{Version, View};
use crate::model::limits::{LOCAL_ENTRIES_MAX, Limit};
use crate::model::{DigestKey, History, Key, Position, Revision};
use crate::protocol::engine::{DiskFailure, DurableState};
use crate::protocol::wire::record::Writer;

/// Name of the file that is locked beside the directory.
pub(super) const LOCK_FILE: &str = "lock";

/// The writer of one data directory. All its methods block.
///
/// What a method has written is durable when it returns, and becomes visible with [`Reader::publish`].
///
/// A method that fails because the disk is full has changed nothing. After any other [`DiskFailure`] it is unknown what the
/// disk holds: the store is closed, and all methods fail until [`Store::reopen`] has found out. A misuse of a method is also
/// a `DiskFailure`; its reason says so, and nothing is changed.
///
/// Received records and full pushes take several calls: `receive`, then `accept` or `reject`; and `stage_begin`,
/// `stage_write` (now and then `stage_keep`)..., `stage_verify`, then `stage_switch` or `stage_drop`.
pub struct Store {
    pub(super) dir: DataDir,
    /// Which files its names stood for when they were seen first.
    pub(super) seen: BTreeMap<PathBuf, FileId>,
    pub(super) keys: DigestKey,
    pub(super) generation: u64,
    pub(super) state: StateHolder,
    pub(super) log: Log,
    /// The configuration after the last durable change set, visible or not.
    pub(super) tip: View,
    /// A change set of the peer that is not complete. Its records so far are in the log.
    pub(super) unfinished: Option<PartialChangeSet>,
    /// Received records that are neither accepted nor rejected.
    pub(super) pending: Option<Assembler>,
    pub(super) staged: Staged,
    pub(super) import: Option<Import>,
    /// Imports that were begun.
    pub(super) imports: u64,
    /// Why the store is closed. `None` while it is open.
    pub(super) closed: Option<String>,
    pub(super) publication: Arc<Publication>,
    pub(super) lock: Arc<DirLock>,
}

/// An opened store, and what it holds.
pub struct Opened {
    /// Writes the store.
    pub store: Store,
    /// Reads the store.
    pub reader: Reader,
    /// The durable state of the node.
    pub durable_state: DurableState,
    /// The last durable position.
    pub head: Position,
    /// The log holds every change set after this one.
    pub log_floor: Revision,
    /// The history up to the head.
    pub history: History,
    /// What is visible.
    pub shown: Revision,
    /// Damage that recovery found and could not repair. The copy is not complete and must be repaired from the peer.
    pub damage: Option<String>,
}

/// What [`Store::reopen`] found.
pub struct Reopened {
    /// The last durable position.
    pub head: Position,
    /// The log holds every change set after this one.
    pub log_floor: Revision,
    /// The history up to the head.
    pub history: History,
    /// What is visible.
    pub shown: Revision,
    /// As in [`Opened`].
    pub damage: Option<String>,
}

impl Store {
    /// Closes the store, and returns when the data directory is free.
    pub fn release(mut self) {
        self.state.close_and_wait();
    }

    /// Takes the exclusive right to a directory. Makes the directory if it does not exist, and in it only the lock file.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has the right; [`StoreError::Io`].
    pub fn lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock, StoreError> {
        disk.create_dir(dir).map_err(|source| StoreError::io("making the data directory", source))?;
        let locking = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock => StoreError::Locked(dir.to_owned()),
            _ => StoreError::io("locking the data directory", source),
        };
        let locked = disk.lock_dir(dir).map_err(locking)?;
        let file = disk.lock(&dir.join(LOCK_FILE)).map_err(locking)?;
        let id = disk.id(dir).map_err(locking)?;
        Ok(DirLock { file: Mutex::new(file), _dir: locked, id })
    }

    /// Whether the directory has a node.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn exists(disk: &Arc<dyn Disk>, dir: &Path) -> Result<bool, StoreError> {
        Self::exists_in(&**disk, dir)
    }

    /// The same.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn exists_in(disk: &dyn Disk, dir: &Path) -> Result<bool, StoreError> {
        data_dir::exists(disk, dir).map_err(|source| StoreError::io("reading the data directory", source))
    }

    /// Makes a new store in a locked, empty directory. [`Store::exists`] is false until it is complete.
    ///
    /// # Errors
    /// [`StoreError::Io`]. Files that are left are not valid, and the next attempt removes them.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lock: DirLock,
        durable_state: &DurableState,
        options: StoreOptions,
    ) -> Result<Opened, StoreError> {
        let dir = DataDir { disk, dir: dir.to_owned(), options };
        dir.create(durable_state).map_err(|source| StoreError::io("making the data directory's files", source))?;
        Self::start(dir, lock)
    }

    /// Opens and recovers a store. Everything that is durable is visible, except received records that [`Store::accept`] withheld.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Corrupt`] if the node file or the durable state in it is damaged,
    /// [`StoreError::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, lock: DirLock, options: StoreOptions) -> Result<Opened, StoreError> {
        Self::start(DataDir { disk, dir: dir.to_owned(), options }, lock)
    }

    /// Removes a store that was just made. Only the lock file is left.
    ///
    /// # Errors
    /// [`StoreError::Io`]. Once the pointer file is removed, the files that are left are not valid.
    pub fn discard(opened: Opened) -> Result<(), StoreError> {
        let Opened { store: Self { dir, lock: _lock, mut state, .. }, reader, .. } = opened;
        state.close();
        drop(reader);
        dir.remove().map_err(|source| StoreError::io("removing the data directory's files", source))
    }

    fn start(dir: DataDir, lock: DirLock) -> Result<Opened, StoreError> {
        let recovered = recover(&dir)?;
        let (tip, log) = (recovered.tip, recovered.log);
        let publication = Arc::new(Publication::new(tip.clone(), log.index(), recovered.node_file));
        publication.recovered(&tip, recovered.versions, recovered.shown);
        let mut store = Self {
            dir,
            seen: BTreeMap::new(),
            keys: tip.keys.clone(),
            generation: recovered.generation,
            state: StateHolder::Here(recovered.state),
            log,
            tip,
            unfinished: None,
            pending: None,
            staged: if recovered.staged { Staged::Left } else { Staged::Nothing },
            import: None,
            imports: 0,
            closed: None,
            publication: publication.clone(),
            lock: Arc::new(lock),
        };
        store.log.set_data_bytes(store.tip.summary.bytes);
        store.find_files().map_err(|source| StoreError::io("looking for the data directory's files", source))?;
        Ok(Opened {
            head: store.head(),
            log_floor: store.log_floor(),
            history: store.history(),
            shown: store.shown(),
            reader: Reader(publication),
            store,
            durable_state: recovered.durable_state,
            damage: recovered.damage,
        })
    }

    /// After a failed batch: drops what is in memory, and opens what is on the disk. The reader stays valid, and sees what
    /// [`Store::open`] would show, and no less than before. Watchers should take a snapshot again.
    ///
    /// # Errors
    /// As [`Store::open`]. The store stays closed, and the call may be repeated.
    pub fn reopen(&mut self) -> Result<Reopened, StoreError> {
        self.closed.get_or_insert_with(|| "it is being opened again".into());
        // Another directory at this path belongs to another node, or is an older copy.
        self.find_directory().map_err(|source| StoreError::io("looking for the data directory", source))?;
        self.seen.clear();
        self.stage_drop();
        self.import_drop();
        (self.pending, self.unfinished) = (None, None);
        self.state.close_and_wait();
        self.publication.node_file.load().fence();
        self.dir.rewrite(self.generation).map_err(|source| StoreError::io("writing the files again", source))?;
        let recovered = recover(&self.dir)?;
        if recovered.staged {
            self.dir.remove_state(recovered.generation + 1);
        }
        (self.generation, self.log) = (recovered.generation, recovered.log);
        self.state = StateHolder::Here(recovered.state);
        self.publication.log_index.store(self.log.index());
        self.publication.node_file.store(Arc::new(recovered.node_file));
        self.tip = recovered.tip;
        self.log.set_data_bytes(self.tip.summary.bytes);
        let shown = recovered.shown.map(|shown| shown.max(self.shown()));
        self.publication.recovered(&self.tip, recovered.versions, shown);
        self.closed = None;
        let (head, log_floor, history, shown) = (self.head(), self.log_floor(), self.history(), self.shown());
        Ok(Reopened { head, log_floor, history, shown, damage: recovered.damage })
    }

    /// The last durable position.
    pub fn head(&self) -> Position {
        self.tip.summary.position()
    }

    /// The log holds every change set after this one.
    pub fn log_floor(&self) -> Revision {
        self.publication.log_index.load().floor()
    }

    /// What is visible.
    pub(super) fn shown(&self) -> Revision {
        self.publication.view.load().summary.revision
    }

    /// The history up to the head.
    pub fn history(&self) -> History {
        self.tip.summary.history.as_ref().clone()
    }

    /// Replaces the durable state of the node, durably.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn write_durable_state(&mut self, durable_state: &DurableState) -> Result<(), DiskFailure> {
        self.write_node_file("writing the durable state", |node_file| node_file.write_durable_state(durable_state))
    }

    /// Writes or removes a local entry, durably.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. It is a misuse to exceed [`Limit::TooManyLocalEntries`].
    pub fn put_local(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), DiskFailure> {
        self.check_open()?;
        let node_file = self.publication.node_file.load_full();
        let before = node_file.local(key.as_str());
        let is_new = before.map_err(|error| self.close_on("reading local entries", &error))?.is_none();
        let entries = node_file.local_entries().map_err(|error| self.close_on("counting local entries", &error))?;
        if value.is_some() && is_new && entries >= LOCAL_ENTRIES_MAX as u64 {
            return Err(misuse(Limit::TooManyLocalEntries));
        }
        self.write_node_file("writing a local entry", |node_file| node_file.put_local(key, value))
    }

    /// Copies the change sets after `common`, with the values before them, durably to the quarantine: one
    /// [`Diverged`](super::types::Diverged) per epoch. Returns the first and the last of them, and their number. The
    /// configuration does not change. Undo images are bounded as the log is; keys that only older change sets touched are
    /// missing.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn quarantine(&mut self, common: Revision) -> Result<(Revision, Revision, u64), DiskFailure> {
        self.check_open()?;
        let head = self.tip.summary.revision;
        if head.seq <= common.seq {
            return Ok((common, common, 0));
        }
        self.settle_checkpoint()?;
        let collected = quarantine::collect(&self.publication, &self.tip, common.seq);
        let (from, epochs) = collected.map_err(|error| self.close_on("reading what was changed", &error))?;
        self.write_node_file("writing the quarantine", |node_file| node_file.quarantine(epochs))?;
        Ok((from, head, head.seq - common.seq))
    }

    /// Removes what has this number from the quarantine, durably. Returns whether there was such a thing.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn discard_diverged(&mut self, id: u64) -> Result<bool, DiskFailure> {
        let mut found = false;
        self.write_node_file("writing the quarantine", |node_file| {
            found = node_file.discard(id)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// Before an append: drops received records that were not accepted or are not complete, and keeps the overlay bounded.
    pub(super) fn prepare_append(&mut self) -> Result<(), DiskFailure> {
        if self.pending.is_some() || self.unfinished.is_some() {
            self.truncate_log("dropping an incomplete change set")?;
        }
        self.bound_overlay()
    }

    /// Reserves room in the log.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<(), DiskFailure> {
        let Summary { revision, chain, .. } = self.tip.summary;
        let start = match &self.unfinished {
            Some(partial) => ChainState { revision, chain: partial.chain, mid_change_set: true },
            None => ChainState::after(revision, chain),
        };
        self.log.reserve(bytes, start).map_err(|error| self.full_or_close("reserving room in the log", &error))
    }

    /// Makes appended versions durable. `shown`: how far they are to be visible where the store is opened again.
    pub(super) fn sync(&mut self, versions: &[Version], shown: Option<Revision>) -> Result<(), DiskFailure> {
        let completed: Vec<_> =
            versions.iter().map(|version| (version.summary.revision, version.summary.log_end)).collect();
        self.log.set_data_bytes(versions.last().map_or(self.tip.summary.bytes, |last| last.summary.bytes));
        self.log.sync(&completed, shown).map_err(|error| self.close_on("syncing the log", &error))?;
        if !versions.is_empty() {
            // The log goes on, so a full push that was cut is not needed any more.
            self.stage_drop();
        }
        Ok(())
    }

    /// Cuts the log back to the last complete change set.
    pub(super) fn truncate_log(&mut self, what: &str) -> Result<(), DiskFailure> {
        (self.pending, self.unfinished) = (None, None);
        self.log.writer = Writer::new(self.tip.summary.chain);
        if self.log.is_clean() || is_active(Mutant::KeepRejected) {
            return Ok(());
        }
        self.log.cut_to(self.log.durable_end()).map_err(|error| self.close_on(what, &error))
    }

    /// After a failed append: either nothing of it is left, or the store is closed.
    pub(super) fn undo_append(&mut self, what: &str, error: &io::Error) -> DiskFailure {
        match self.truncate_log(what) {
            Ok(()) => self.full_or_close(what, error),
            Err(failure) => failure,
        }
    }

    pub(super) fn write_node_file(
        &mut self,
        what: &str,
        write: impl FnOnce(&NodeFile) -> io::Result<()>,
    ) -> Result<(), DiskFailure> {
        self.check_open()?;
        let node_file = self.publication.node_file.load_full();
        let Err(error) = write(&node_file) else { return Ok(()) };
        if !is_full(&error) {
            return Err(self.close_on(what, &error));
        }
        // redb refuses everything after an error. Opened again, the file is as before.
        let reopened = node_file.reopened().map_err(|error| self.close_on("opening the node's file again", &error))?;
        self.publication.node_file.store(Arc::new(reopened));
        Err(self.full_or_close(what, &error))
    }

    pub(super) fn check_open(&self) -> Result<(), DiskFailure> {
        match &self.closed {
            Some(why) => Err(DiskFailure { full: false, reason: format!("closed after a failure: {why}") }),
            None => Ok(()),
        }
    }

    /// If the disk is full, nothing was changed, and the store stays open. Any other error closes the store.
    pub(super) fn full_or_close(&mut self, what: &str, error: &io::Error) -> DiskFailure {
        match is_full(error) {
            true => DiskFailure { full: true, reason: format!("{what}: {error}") },
            false => self.close_on(what, error),
        }
    }

    /// Closes the store, because it is unknown what the disk holds.
    pub(super) fn close_on(&mut self, what: &str, error: &dyn Display) -> DiskFailure {
        self.close(format!("{what}: {error}"))
    }

    pub(super) fn close(&mut self, reason: String) -> DiskFailure {
        tracing::error!(%reason, "the store is closed until it is opened again");
        self.closed = Some(reason.clone());
        DiskFailure { full: false, reason }
    }
}
