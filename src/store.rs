//! The durable configuration: an append-only log over a state in redb.
//!
//! `docs/STORAGE.md` has the bytes and the reasons. Reading order: [`Store`] writes, [`Reader`] reads beside it;
//! `runs` makes change sets of records and records of change sets; `log` keeps records, `state` keeps entries, `view`
//! is the one over the other; `shared` is where writer and readers meet; `recovery` opens what a crash left.

pub mod disk;
mod log;
mod mutants;
mod node_file;
mod pages;
mod quarantine;
mod recovery;
mod runs;
mod shared;
mod staging;
mod state;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::model::limits::{LOCAL_ENTRIES_MAX, Limit, OVERLAY_SLACK, QUARANTINE_CHANGE_SETS_MAX};
use crate::model::{ChangeSet, Digest, DigestKey, Epoch, Era, History, Key, Position, Revision};
use crate::protocol::engine::{CommitRefusal, DiskFailure, Facts};
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{HEADER_BYTES, Header};
use disk::{Disk, is_full};
use log::{Log, Replay, Start};
use mutants::{Mutant, made};
use node_file::NodeFile;
use recovery::Place;
use runs::{Assembler, Run};
use shared::Shared;
use staging::Staging;
use state::{State, UndoBounds};
use view::View;

pub use log::{Cursor, RecordsRead};
pub use shared::Reader;
pub use staging::Export;
pub use view::{Scan, ValueReader};

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

/// The exclusive right to one data directory, until dropped.
pub struct DirLock(Box<dyn Send + Sync>);

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

/// The configuration at one revision. Cheap to clone, never changes, never blocks.
#[derive(Clone)]
pub struct Snapshot(Arc<View>);

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

impl Store {
    /// Takes the exclusive right; makes the directory where it is missing, and in it nothing but the lock file.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process has it; [`StoreError::Io`].
    pub fn lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock, StoreError> {
        disk.create_dir(dir).map_err(|source| log::io_error("making the data directory", source))?;
        match disk.lock(&dir.join("lock")) {
            Ok(lock) => Ok(DirLock(lock)),
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
        facts: &Facts,
        options: StoreOptions,
    ) -> Result<Opened, StoreError> {
        let place = Place { disk, dir: dir.to_owned(), options };
        place.create(facts).map_err(|source| log::io_error("making the data directory's files", source))?;
        Self::start(place, lock)
    }

    /// Opens and recovers a store. What is durable is visible.
    ///
    /// # Errors
    /// [`StoreError::Newer`] (nothing was changed), [`StoreError::Corrupt`] where facts are lost, [`StoreError::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, lock: DirLock, options: StoreOptions) -> Result<Opened, StoreError> {
        Self::start(Place { disk, dir: dir.to_owned(), options }, lock)
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
            facts: found.facts,
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

    /// Replaces the facts, durably.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn write_facts(&mut self, facts: &Facts) -> Result<(), DiskFailure> {
        self.node("writing the facts", |node| node.write_facts(facts))
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

    /// Damage was found by recovery, and what is here is accepted as it is: it will not be reported again.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn accept_damage(&mut self) -> Result<(), DiskFailure> {
        self.node("writing the note of damage", |node| node.note_damage(None))
    }

    /// Appends change sets as one group under this epoch (that of the last era), with one sync. A verdict for each.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]: none of them was written, or all are in doubt. Another epoch than that of
    /// the last era and a change set beyond the limits are the caller's mistakes.
    pub fn commit(
        &mut self,
        epoch: Epoch,
        sets: &[ChangeSet],
    ) -> Result<Vec<Result<Revision, CommitRefusal>>, DiskFailure> {
        self.check()?;
        if self.tip.meta.revision.epoch != epoch {
            return Err(mistake(format!("epoch {epoch} is not that of the last era")));
        }
        if let Some(limit) = sets.iter().find_map(|set| set.check().err()) {
            return Err(mistake(limit));
        }
        self.settle()?;
        self.reserve(sets.iter().map(runs::appended_bytes_max).sum())?;
        let (tip, versions, verdicts) = match self.append_all(sets) {
            Ok(appended) => appended,
            Err(error) => return Err(self.take_back("appending to the log", error)),
        };
        if !versions.is_empty() {
            self.sync(&versions)?;
            self.tip = tip;
            self.shared.enqueue(versions);
        }
        Ok(verdicts)
    }

    #[allow(clippy::type_complexity)]
    fn append_all(
        &mut self,
        sets: &[ChangeSet],
    ) -> io::Result<(View, Vec<view::Version>, Vec<Result<Revision, CommitRefusal>>)> {
        let mut tip = self.tip.clone();
        let (mut versions, mut verdicts) = (Vec::new(), Vec::new());
        for set in sets {
            let conflict = runs::conflict(&tip, set).map_err(|error| io::Error::other(error.to_string()))?;
            verdicts.push(match conflict {
                Some(conflict) => Err(CommitRefusal::Guard(conflict)),
                None => {
                    let version = runs::append(&mut self.log, &mut tip, set)?;
                    let revision = version.meta.revision;
                    versions.push(version);
                    Ok(revision)
                }
            });
        }
        Ok((tip, versions, verdicts))
    }

    /// Opens an era, durably.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]. An era that does not follow the last one is the caller's mistake.
    pub fn begin_era(&mut self, era: Era) -> Result<(), DiskFailure> {
        self.check()?;
        let mut tip = self.tip.clone();
        let follows = era.first_seq == tip.meta.revision.seq + 1 && Arc::make_mut(&mut tip.meta.history).begin(era);
        if !follows {
            return Err(mistake(format!("era {era:?} does not follow {}", self.tip.meta.revision)));
        }
        self.settle()?;
        self.reserve(2 * HEADER_BYTES as u64)?;
        tip.meta.revision = Revision::new(era.epoch, self.tip.meta.revision.seq);
        let revision = tip.meta.revision;
        if let Err(error) = self.log.write(|writer, out, _| writer.era(out, revision, &era.node)) {
            return Err(self.take_back("appending to the log", error));
        }
        (tip.meta.chain, tip.meta.end) = (self.log.writer.chain(), self.log.position());
        let versions = vec![tip.version(Vec::new())];
        self.sync(&versions)?;
        self.tip = tip;
        self.shared.enqueue(versions);
        Ok(())
    }

    /// Takes records of the peer, each piece a sequence of whole ones: checks that they follow the head and that their
    /// content is what they say, and writes them, but for what would make them count. Followed by [`Store::accept`] or
    /// [`Store::reject`].
    ///
    /// A change set may come in several calls (each accepted): the candidate shows the last whole one. Records that
    /// follow the head while one is unfinished begin anew.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn receive(&mut self, pieces: &[Bytes]) -> Result<Received, DiskFailure> {
        self.check()?;
        if self.pending.is_some() {
            self.reject()?;
        }
        let first = pieces.iter().find_map(|piece| Header::decode(piece).ok()).map(|(header, _)| header.prev);
        let goes_on = self.unfinished.as_ref().is_some_and(|run| Some(run.chain) == first);
        if !goes_on {
            self.settle()?;
        }
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        self.reserve(bytes as u64)?;
        let mut assembler = Assembler::new(self.tip.clone(), self.unfinished.clone());
        let fits = match self.assemble(&mut assembler, pieces) {
            Ok(fits) => fits,
            Err(error) => return Err(self.take_back("appending received records", error)),
        };
        if !fits {
            self.cut("dropping received records")?;
            return Ok(Received::Mismatch);
        }
        let candidate = Snapshot(Arc::new(assembler.tip.clone()));
        self.pending = Some(assembler);
        Ok(Received::Pending { candidate })
    }

    /// Puts the pieces together and writes them; `false` where they do not fit.
    fn assemble(&mut self, assembler: &mut Assembler, pieces: &[Bytes]) -> io::Result<bool> {
        self.log.withhold();
        for piece in pieces {
            let segment = self.log.current()?;
            let base = self.log.position().offset;
            let mut at = 0;
            while at < piece.len() {
                let Ok((header, payload)) = Header::decode(&piece[at..]) else { return Ok(false) };
                match assembler.record(base + at as u64, &segment, &header, payload) {
                    Ok(_) => at += header.frame_bytes(),
                    Err(log::Unfit::Malformed(why)) => {
                        tracing::warn!(%why, "received records do not fit");
                        return Ok(false);
                    }
                    Err(log::Unfit::Read(error)) => return Err(io::Error::other(error.to_string())),
                }
            }
            self.log.append(piece)?;
        }
        self.log.flush()?;
        Ok(true)
    }

    /// Makes received records durable.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]. Nothing received is the caller's mistake.
    pub fn accept(&mut self) -> Result<(), DiskFailure> {
        self.check()?;
        let Some(mut assembler) = self.pending.take() else { return Err(mistake("nothing was received")) };
        let versions = std::mem::take(&mut assembler.done);
        self.sync(&versions)?;
        self.log.writer = crate::protocol::wire::record::Writer::new(assembler.chain);
        self.tip = assembler.tip;
        self.unfinished = assembler.run;
        self.shared.enqueue(versions);
        Ok(())
    }

    /// Cuts received records off again, an unfinished change set too.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn reject(&mut self) -> Result<(), DiskFailure> {
        self.check()?;
        self.cut("dropping received records")
    }

    /// Opens a new staging file for this snapshot; one that is there goes.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`].
    pub fn stage_begin(&mut self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        self.check()?;
        self.stage_drop();
        let generation = self.generation + 1;
        let state = self.place.new_state(generation).map_err(|error| self.refusal("making a staging file", &error))?;
        self.staging = Some(Staging::new(state, generation, header, self.keys.clone()));
        Ok(())
    }

    /// Writes a piece to it. A piece that makes no sense is told by [`Store::stage_verify`].
    ///
    /// # Errors
    /// [`DiskFailure`]; the staging is dropped, the configuration is as before. No staging is the caller's mistake.
    pub fn stage_write(&mut self, piece: &[u8]) -> Result<(), DiskFailure> {
        self.check()?;
        let Some(staging) = &mut self.staging else { return Err(mistake("no snapshot is being staged")) };
        match staging.write(piece) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.stage_drop();
                Err(self.refusal("writing a staging file", &error))
            }
        }
    }

    /// Makes it durable and compares it with its header.
    ///
    /// # Errors
    /// As [`Store::stage_write`].
    pub fn stage_verify(&mut self) -> Result<Verified, DiskFailure> {
        self.check()?;
        let Some(staging) = self.staging.take() else { return Err(mistake("no snapshot is being staged")) };
        let generation = staging.generation;
        let verified = staging.finish().and_then(|(state, good)| Ok((state.base()?, state, good)));
        let (base, mut state, good) = match verified {
            Ok(verified) => verified,
            Err(error) => {
                self.place.remove_state(generation);
                return Err(self.refusal("writing a staging file", &error));
            }
        };
        if !good {
            let found = base.meta.position();
            state.close();
            self.place.remove_state(generation);
            return Ok(Verified::Bad { found });
        }
        self.verified = Some((state, generation));
        Ok(Verified::Good { candidate: Snapshot(Arc::new(recovery::view_of(base, &self.keys))) })
    }

    /// Switches to it: the configuration is at once that of the snapshot, visible, and the log starts anew after it.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]; after a crash or a failure it is the old one or the new one, whole. No
    /// verified staging is the caller's mistake.
    pub fn stage_switch(&mut self) -> Result<(), DiskFailure> {
        self.check()?;
        let Some((state, generation)) = self.verified.take() else { return Err(mistake("no snapshot was verified")) };
        self.verified = None;
        match self.switch(state, generation) {
            Ok(()) => Ok(()),
            Err((false, error)) => {
                self.place.remove_state(generation);
                Err(self.refusal("making a new log", &error))
            }
            Err((true, error)) => Err(self.failure("switching to the staged snapshot", &error)),
        }
    }

    /// The error says whether the switch may have happened.
    fn switch(&mut self, state: State, generation: u64) -> Result<(), (bool, io::Error)> {
        let meta = &state.head().meta;
        let start = Start { revision: meta.revision, chain: meta.chain, inside: false };
        let base = state.base().map_err(|error| (false, error))?;
        if made(Mutant::PointerFirst) {
            self.place.point_to(generation).map_err(|error| (true, error))?;
        }
        let log = self.place.new_log(generation, start).map_err(|error| (false, error))?;
        self.place.point_to(generation).map_err(|error| (true, error))?;
        self.state.close();
        let old = std::mem::replace(&mut self.generation, generation);
        (self.state, self.log) = (state, log);
        self.tip = recovery::view_of(base, &self.keys);
        (self.unfinished, self.pending) = (None, None);
        self.shared.index.store(self.log.index());
        self.shared.replace(self.tip.clone(), Vec::new());
        self.place.remove_generation(old);
        let node = self.shared.node.load_full();
        if node.damage().map_err(|error| (true, error))?.is_some() {
            node.note_damage(None).map_err(|error| (true, error))?;
        }
        Ok(())
    }

    /// Drops it.
    pub fn stage_drop(&mut self) {
        if let Some(staging) = self.staging.take() {
            let generation = staging.generation;
            drop(staging);
            self.place.remove_state(generation);
        }
        if let Some((mut state, generation)) = self.verified.take() {
            state.close();
            self.place.remove_state(generation);
        }
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
        self.log.writer = crate::protocol::wire::record::Writer::new(self.tip.meta.chain);
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

impl Snapshot {
    /// Which revision this is.
    pub fn revision(&self) -> Revision {
        self.0.meta.revision
    }

    /// What it holds.
    pub fn digest(&self) -> Digest {
        self.0.meta.digest
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.0.meta.entries
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.0.meta.bytes
    }

    /// Lineage up to here.
    pub fn history(&self) -> History {
        self.0.meta.history.as_ref().clone()
    }

    /// The value of an entry. A large one is whole in memory then; see [`Snapshot::value`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Bytes>, ReadError> {
        self.value(key)?.map(ValueReader::whole).transpose()
    }

    /// An entry without its value.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        let entry = self.0.get(key.as_str())?;
        Ok(entry.map(|entry| Entry { key, bytes: entry.bytes, secret: entry.secret }))
    }

    /// The entries whose key begins with this, in key order.
    pub fn scan(&self, prefix: &str) -> Scan {
        Scan::new(self, prefix)
    }

    /// Reads a value in pieces, so that it is never whole in memory. `None` where there is no such entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn value(&self, key: impl AsRef<str>) -> Result<Option<ValueReader>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        Ok(self.0.get(key.as_str())?.map(|entry| self.0.open(&key, entry)))
    }
}

#[cfg(test)]
mod tests;
