//! The durable configuration: an append-only log over a state in redb.
//!
//! `docs/STORAGE.md` has the bytes and the reasons. Reading order: [`Store`] writes, [`Reader`] reads beside it;
//! `runs` makes change sets of records and records of change sets; `log` keeps records, `state` keeps entries, `view`
//! is the one over the other; `shared` is where writer and readers meet; `recovery` opens what a crash left.

pub mod disk;
mod follow;
mod lead;
mod log;
pub mod mutants;
mod node_file;
mod pages;
mod quarantine;
mod recovery;
mod runs;
mod shared;
mod snapshot;
mod staging;
mod state;
mod types;
mod view;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::model::limits::{LOCAL_ENTRIES_MAX, Limit, OVERLAY_SLACK, QUARANTINE_CHANGE_SETS_MAX};
use crate::model::{DigestKey, History, Key, Position, Revision};
use crate::protocol::engine::{DiskFailure, DurableState};
use crate::protocol::wire::record::Writer;
use disk::{Disk, is_full};
use log::{Log, Start};
use mutants::{Mutant, made};
use node_file::NodeFile;
use recovery::Place;
use runs::{Assembler, Run};
use shared::Shared;
use staging::Staging;
use state::{State, UndoBounds};
use view::View;

pub use log::Cursor;
pub use shared::Reader;
pub use snapshot::Snapshot;
pub use staging::Export;
pub use types::{Diverged, DivergedChange, Entry, ReadError, StoreError, StoreOptions};
pub use view::{Scan, ValueReader};

/// A store that was opened, and what was found.
pub struct Opened {
    /// For the one who writes.
    pub store: Store,
    /// For those who read.
    pub reader: Reader,
    /// The durable durable state.
    pub durable_state: DurableState,
    /// Durable head.
    pub head: Position,
    /// The log holds everything after this.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: History,
    /// Damage that recovery found and could not repair here: the copy is not complete and must be repaired from the peer.
    pub damage: Option<String>,
}

/// The exclusive right to one data directory, until dropped.
pub struct DirLock {
    _held: Box<dyn Send + Sync>,
}

/// The writer of one data directory. All its methods block.
///
/// What is written is durable when a method returns, and visible when [`Reader::publish`] says so. A method that fails
/// with a full disk has changed nothing. After any other [`DiskFailure`] nobody knows what is on the disk: the store
/// refuses everything until [`Store::reopen`] has found out. (A caller's mistake is a `DiskFailure` too, says so, and
/// changes nothing.)
///
/// Received records and staged snapshots are each one conversation: `receive`, then `accept` or `reject`; `stage_begin`,
/// `stage_write`..., `stage_verify`, then `stage_switch` or `stage_drop`.
pub struct Store {
    place: Place,
    _lock: DirLock,
    keys: DigestKey,
    generation: u64,
    state: State,
    log: Log,
    /// Everything that is durable, visible or not.
    tip: View,
    /// A change set of the peer that has not come whole yet; its records are in the log.
    unfinished: Option<Run>,
    pending: Option<Assembler>,
    staging: Option<Staging>,
    verified: Option<(State, u64)>,
    /// Why nothing is done until the store is opened again.
    closed: Option<String>,
    shared: Arc<Shared>,
}

/// What became of received records, before they are durable.
pub enum Received {
    /// They follow and their content is right. The candidate shows the configuration as it would be.
    Pending {
        /// As it would be.
        candidate: Snapshot,
    },
    /// They are here already: they were under way twice.
    Known,
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

impl Store {
    /// Takes the exclusive right; makes the directory where it is missing, and in it nothing but the lock file.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process has it; [`StoreError::Io`].
    pub fn lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock, StoreError> {
        disk.create_dir(dir).map_err(|source| log::io_error("making the data directory", source))?;
        match disk.lock(&dir.join("lock")) {
            Ok(lock) => Ok(DirLock { _held: lock }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(StoreError::Locked(dir.to_owned())),
            Err(source) => Err(log::io_error("locking the data directory", source)),
        }
    }

    /// Whether the directory holds a node.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn exists(disk: &Arc<dyn Disk>, dir: &Path) -> Result<bool, StoreError> {
        recovery::exists(&**disk, dir).map_err(|source| log::io_error("reading the data directory", source))
    }

    /// Makes a new store in a locked, empty directory. Until it returned, [`Store::exists`] says no.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what is left counts for nothing and is removed by the next attempt.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lock: DirLock,
        durable_state: &DurableState,
        options: StoreOptions,
    ) -> Result<Opened, StoreError> {
        let place = Place { disk, dir: dir.to_owned(), options };
        place.create(durable_state).map_err(|source| log::io_error("making the data directory's files", source))?;
        Self::start(place, lock)
    }

    /// Opens and recovers a store. What is durable is visible.
    ///
    /// # Errors
    /// [`StoreError::Newer`] (nothing was changed), [`StoreError::Corrupt`] where durable state are lost, [`StoreError::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, lock: DirLock, options: StoreOptions) -> Result<Opened, StoreError> {
        Self::start(Place { disk, dir: dir.to_owned(), options }, lock)
    }

    /// Takes a store away again that was just made: nothing of it counts any more, and of its files only the lock is left.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what is left counts for nothing, if the first step was done.
    pub fn unmake(opened: Opened) -> Result<(), StoreError> {
        let Opened { store: Self { place, _lock, mut state, .. }, reader, .. } = opened;
        state.close();
        drop((state, reader));
        place.unmake().map_err(|source| log::io_error("removing the data directory's files", source))
    }

    fn start(place: Place, lock: DirLock) -> Result<Opened, StoreError> {
        let found = place.recover()?;
        let shared = Arc::new(Shared::new(found.tip.clone(), found.log.index(), found.node));
        shared.replace(found.tip.clone(), found.versions);
        let store = Self {
            place,
            _lock: lock,
            keys: found.tip.keys.clone(),
            generation: found.generation,
            state: found.state,
            log: found.log,
            tip: found.tip,
            unfinished: None,
            pending: None,
            staging: None,
            verified: None,
            closed: None,
            shared: shared.clone(),
        };
        Ok(Opened {
            head: store.head(),
            log_floor: store.log_floor(),
            history: store.history(),
            reader: Reader(shared),
            store,
            durable_state: found.durable_state,
            damage: found.damage,
        })
    }

    /// After a failed batch: drops what is in memory and opens again what is on disk. The reader stays valid; everything
    /// that is durable is visible to it, and watchers should take a snapshot again.
    ///
    /// # Errors
    /// As [`Store::open`]; the store stays closed and this may be tried again.
    pub fn reopen(&mut self) -> Result<Reopened, StoreError> {
        self.closed.get_or_insert_with(|| "it is being opened again".into());
        self.stage_drop();
        (self.pending, self.unfinished) = (None, None);
        self.state.close();
        self.shared.node.load().fence();
        self.place.rewrite(self.generation).map_err(|source| log::io_error("writing the files again", source))?;
        let found = self.place.recover()?;
        (self.generation, self.state, self.log) = (found.generation, found.state, found.log);
        self.shared.index.store(self.log.index());
        self.shared.node.store(Arc::new(found.node));
        self.tip = found.tip;
        self.shared.replace(self.tip.clone(), found.versions);
        self.closed = None;
        Ok(Reopened { head: self.head(), log_floor: self.log_floor(), history: self.history(), damage: found.damage })
    }

    /// Durable head.
    pub fn head(&self) -> Position {
        self.tip.meta.position()
    }

    /// The log holds everything after this.
    pub fn log_floor(&self) -> Revision {
        self.shared.index.load().floor()
    }

    /// Lineage up to the head.
    pub fn history(&self) -> History {
        self.tip.meta.history.as_ref().clone()
    }

    /// Replaces the durable state, durably.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn write_durable_state(&mut self, durable_state: &DurableState) -> Result<(), DiskFailure> {
        self.node("writing the durable state", |node| node.write_durable_state(durable_state))
    }

    /// Sets or removes a local entry, durably.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]; [`Limit::TooManyLocalEntries`] as a caller's mistake.
    pub fn put_local(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), DiskFailure> {
        self.check()?;
        let node = self.shared.node.load_full();
        let known = node.local(key.as_str()).map_err(|error| self.broken("reading local entries", &error))?.is_some();
        let entries = node.local_entries().map_err(|error| self.failure("counting local entries", &error))?;
        if value.is_some() && !known && entries >= LOCAL_ENTRIES_MAX as u64 {
            return Err(mistake(Limit::TooManyLocalEntries));
        }
        self.node("writing a local entry", |node| node.put_local(key, value))
    }

    /// Copies the change sets after `common`, with the values before them, durably into quarantine, one [`Diverged`] per
    /// epoch. Returns first, last and number of them; the configuration stays as it is. Where undo images reach not that
    /// far back (they are bounded as the log is), the keys that only older change sets touched are missing.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn quarantine(&mut self, common: Revision) -> Result<(Revision, Revision, u64), DiskFailure> {
        self.check()?;
        let head = self.tip.meta.revision;
        if head.seq <= common.seq {
            return Ok((common, common, 0));
        }
        let lost = quarantine::collect(&self.shared, &self.tip, common.seq);
        let (from, lost) = lost.map_err(|error| self.broken("reading what was changed", &error))?;
        self.node("writing the quarantine", |node| node.quarantine(lost))?;
        Ok((from, head, head.seq - common.seq))
    }

    /// Applies what is visible to the state in one bounded group, checkpoints, trims the log. Returns whether there is more to do.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]; the configuration is the same either way.
    pub fn maintain(&mut self) -> Result<bool, DiskFailure> {
        self.check()?;
        let round = self.shared.queue().round();
        let bounds = UndoBounds {
            confirmed: self.shared.confirmed(),
            change_sets: self.place.options.log_changes.min(QUARANTINE_CHANGE_SETS_MAX),
            bytes: self.place.options.log_bytes,
        };
        let more = match self.state.apply(&round, &self.keys, bounds) {
            Ok(more) => more,
            Err(error) if is_full(&error) => {
                // redb refuses everything after an error; opened again it is as before.
                let again = self.state.reopen().and_then(|()| self.state.base());
                let base = again.map_err(|error| self.failure("opening the state again", &error))?;
                self.shared.rebase(&base, 0, &mut self.tip);
                return Err(self.refusal("writing the state", &error));
            }
            Err(error) => return Err(self.failure("writing the state", &error)),
        };
        let base = self.state.base().map_err(|error| self.failure("reading the state", &error))?;
        self.shared.rebase(&base, round.len(), &mut self.tip);
        self.log.trim(base.meta.end).map_err(|error| self.failure("trimming the log", &error))?;
        Ok(more || !self.shared.queue().visible.is_empty())
    }

    /// Gets rid of what an unfinished or unanswered receive left, and keeps the overlay within bounds.
    fn settle(&mut self) -> Result<(), DiskFailure> {
        if self.pending.is_some() || self.unfinished.is_some() {
            self.cut("dropping an unfinished change set")?;
        }
        while self.shared.is_behind(OVERLAY_SLACK) {
            self.maintain()?;
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), DiskFailure> {
        let inside = self.unfinished.as_ref();
        let chain = inside.map_or(self.tip.meta.chain, |run| run.chain);
        let start = Start { revision: self.tip.meta.revision, chain, inside: inside.is_some() };
        self.log.reserve(bytes, start).map_err(|error| self.refusal("reserving room in the log", &error))
    }

    fn sync(&mut self, versions: &[view::Version]) -> Result<(), DiskFailure> {
        let wholes: Vec<_> = versions.iter().map(|version| (version.meta.revision, version.meta.end)).collect();
        self.log.sync(&wholes).map_err(|error| self.failure("syncing the log", &error))
    }

    /// Back to the last whole change set.
    fn cut(&mut self, what: &str) -> Result<(), DiskFailure> {
        (self.pending, self.unfinished) = (None, None);
        self.log.writer = Writer::new(self.tip.meta.chain);
        let cut =
            if self.log.is_clean() || made(Mutant::KeepRejected) { Ok(()) } else { self.log.cut_to(self.log.whole()) };
        cut.map_err(|error| self.failure(what, &error))
    }

    /// After a failed append: nothing of it is left, or the store is closed.
    fn take_back(&mut self, what: &str, error: io::Error) -> DiskFailure {
        match self.cut(what) {
            Ok(()) => self.refusal(what, &error),
            Err(failure) => failure,
        }
    }

    fn node(&mut self, what: &str, write: impl FnOnce(&NodeFile) -> io::Result<()>) -> Result<(), DiskFailure> {
        self.check()?;
        let node = self.shared.node.load_full();
        let Err(error) = write(&node) else { return Ok(()) };
        if !is_full(&error) {
            return Err(self.failure(what, &error));
        }
        let again = node.again().map_err(|error| self.failure("opening the node's file again", &error))?;
        self.shared.node.store(Arc::new(again));
        Err(self.refusal(what, &error))
    }

    fn check(&self) -> Result<(), DiskFailure> {
        match &self.closed {
            Some(why) => Err(DiskFailure { full: false, reason: format!("closed after a failure: {why}") }),
            None => Ok(()),
        }
    }

    /// Nothing was changed: the disk is full. Anything else closes the store.
    fn refusal(&mut self, what: &str, error: &io::Error) -> DiskFailure {
        match is_full(error) {
            true => DiskFailure { full: true, reason: format!("{what}: {error}") },
            false => self.failure(what, error),
        }
    }

    /// Nobody knows what is on the disk: closes the store.
    fn failure(&mut self, what: &str, error: &io::Error) -> DiskFailure {
        self.close(format!("{what}: {error}"))
    }

    fn broken(&mut self, what: &str, error: &ReadError) -> DiskFailure {
        self.close(format!("{what}: {error}"))
    }

    fn close(&mut self, reason: String) -> DiskFailure {
        tracing::error!(%reason, "the store is closed until it is opened again");
        self.closed = Some(reason.clone());
        DiskFailure { full: false, reason }
    }
}

/// The caller's mistake; nothing was changed and the store goes on.
fn mistake(reason: impl std::fmt::Display) -> DiskFailure {
    DiskFailure { full: false, reason: format!("refused, nothing was changed: {reason}") }
}

#[cfg(test)]
mod tests;
