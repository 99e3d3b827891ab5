//! A full push that a shadow receives: it is staged beside the live copy, verified by its digest, and switched to by the pointer
//! file.

use std::io;
use std::sync::Arc;

use super::checkpoint::StateHolder;
use super::comparison::{Compared, Comparison};
use super::error::misuse;
use super::log::ChainState;
use super::mutants::{Mutant, is_active};
use super::snapshot::Snapshot;
use super::snapshot_piece::SnapshotPiece;
use super::staging::{Staged, Staging};
use super::state::StateFile;
use super::view::View;
use super::writer::Store;
use crate::model::Position;
use crate::model::limits::{COPIED_STATE_BYTES_MAX, room_for_push};
use crate::protocol::engine::{DiskFailure, StagedBefore};
use crate::protocol::wire::{ResumePoint, SnapshotHeader};

/// What [`Store::stage_verify`] found a full push to be.
pub enum Verified {
    /// It is what its header said.
    Good {
        /// The configuration as it would be.
        candidate: Snapshot,
    },
    /// It is something else. It was dropped.
    Bad {
        /// Its actual position.
        found: Position,
    },
}

/// A switch to a full push that failed.
struct SwitchFailure {
    error: io::Error,
    /// Whether the switch may have taken effect.
    in_doubt: bool,
}

impl Store {
    /// Begins a full push: makes a new state file. Drops the one before, if there is one.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn stage_begin(&mut self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        self.check_open()?;
        self.stage_drop();
        self.import_drop();
        self.check_room(header, (0, 0))?;
        self.stage_anew(header)
    }

    /// Begins a full push whose source can go on with one that was cut. What is staged of that stays, and the answer says how much
    /// it is. The first piece says whether the source goes on there. If nothing is staged, this is [`Store::stage_begin`].
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]; what was staged is dropped.
    pub fn stage_resume(&mut self, header: &SnapshotHeader) -> Result<StagedBefore, DiskFailure> {
        if let Some(point) = self.offer_staged(header)? {
            return Ok(StagedBefore::Part(Box::new(point)));
        }
        self.stage_begin(header).map(|()| StagedBefore::Nothing)
    }

    /// The same where the copy that is here is complete: if nothing is staged, the source may send only what differs from it. First
    /// come hashes, after the last of which [`Store::stage_wants`] says what is wanted.
    ///
    /// # Errors
    /// As [`Store::stage_resume`].
    pub fn stage_compare(&mut self, header: &SnapshotHeader) -> Result<StagedBefore, DiskFailure> {
        if let Some(point) = self.offer_staged(header)? {
            return Ok(StagedBefore::Part(Box::new(point)));
        }
        self.stage_drop();
        self.check_room(header, (0, 0))?;
        self.move_all_to_state()?;
        let comparison = Comparison::new(header, self.tip.state.clone());
        let base = match comparison.base() {
            Ok(base) => base,
            Err(error) => {
                tracing::warn!(%error, "the state cannot be compared: the whole snapshot replaces it");
                return self.stage_begin(header).map(|()| StagedBefore::Nothing);
            }
        };
        self.staged = Staged::Comparing(Box::new(comparison));
        Ok(StagedBefore::Base(base))
    }

    /// After the last of the hashes, once: which of the entries are wanted, a bit for each. Without any byte, all of the snapshot.
    pub fn stage_wants(&mut self) -> Option<Vec<u8>> {
        match &mut self.staged {
            Staged::Loading(staging) => staging.take_wants(),
            Staged::Nothing | Staged::Left | Staged::Comparing(_) | Staged::Verified { .. } => None,
        }
    }

    /// Moves what is visible to the state, so that only what really differs from the source's snapshot is found to. On a full disk the
    /// state stays as it is, and more differs.
    fn move_all_to_state(&mut self) -> Result<(), DiskFailure> {
        self.settle_checkpoint()?;
        if self.tip.state.summary.revision == self.shown() {
            return Ok(());
        }
        self.begin_checkpoint()?;
        self.settle_checkpoint()
    }

    /// Offers what is staged of a full push that was cut. `None` if there is nothing.
    fn offer_staged(&mut self, header: &SnapshotHeader) -> Result<Option<ResumePoint>, DiskFailure> {
        self.check_open()?;
        self.import_drop();
        let Some(mut staging) = self.take_staged(header) else { return Ok(None) };
        if let Err(failure) = self.check_room(header, staging.size()) {
            self.drop_staging(*staging);
            return Err(failure);
        }
        if let Err(error) = staging.offer(header) {
            self.drop_staging(*staging);
            return Err(self.full_or_close("writing a staging file", &error));
        }
        let point = staging.point().cloned();
        self.staged = Staged::Loading(staging);
        Ok(point)
    }

    /// What is staged of a full push that was cut, if it is of use.
    fn take_staged(&mut self, header: &SnapshotHeader) -> Option<Box<Staging>> {
        let generation = self.generation + 1;
        let staging = match std::mem::replace(&mut self.staged, Staged::Nothing) {
            Staged::Loading(staging) => Some(staging),
            Staged::Left => {
                let state = self.dir.open_state(generation).map_err(|error| io::Error::other(error.to_string()));
                let reopened = state.and_then(|state| Staging::reopen(state, generation, header, self.keys.clone()));
                reopened
                    .unwrap_or_else(|error| {
                        tracing::warn!(%error, "what is staged of a full push cannot be read, and is dropped");
                        None
                    })
                    .map(Box::new)
            }
            other => {
                self.staged = other;
                return None;
            }
        };
        let useful = staging.filter(|staging| staging.point().is_some());
        if useful.is_none() {
            self.dir.remove_state(generation);
        }
        useful
    }

    /// What is staged of a full push that was cut, and its entries.
    #[cfg(test)]
    pub fn staged_part(&mut self) -> Option<(ResumePoint, Snapshot)> {
        let (position, history) = (Position::NONE, crate::model::History::default());
        let header = SnapshotHeader { transfer: 0, position, history, chain: 0, entries: 0, bytes: 0 };
        let staging = self.take_staged(&header)?;
        let part = staging.point().cloned().zip(staging.snapshot().ok());
        self.staged = Staged::Loading(staging);
        part.map(|(point, state)| (point, Snapshot(Arc::new(View::of_state(state, &self.keys)))))
    }

    /// What the state holds, without what only the log has.
    #[cfg(test)]
    pub fn applied(&self) -> Snapshot {
        Snapshot(Arc::new(View::of_state(self.tip.state.clone(), &self.keys)))
    }

    fn stage_anew(&mut self, header: &SnapshotHeader) -> Result<(), DiskFailure> {
        let generation = self.generation + 1;
        let state = self.dir.create_state(generation);
        let state = state.map_err(|error| self.full_or_close("making a staging file", &error))?;
        let staging = Staging::new(state, generation, header, self.keys.clone());
        self.staged = Staged::Loading(Box::new(staging));
        Ok(())
    }

    fn drop_staging(&self, staging: Staging) {
        let generation = staging.generation;
        drop(staging);
        self.dir.remove_state(generation);
    }

    /// Refuses a full push that the disk has no room for, before the peer sends all of it in vain. So many entries and bytes of it
    /// are staged.
    pub(super) fn check_room(&self, header: &SnapshotHeader, staged: (u64, u64)) -> Result<(), DiskFailure> {
        let (entries, bytes) = (header.entries.saturating_sub(staged.0), header.bytes.saturating_sub(staged.1));
        let needed = room_for_push(entries, bytes);
        // A file system that does not tell how much is free is asked for nothing: it is noticed when it is full.
        let free = self.dir.disk.free(&self.dir.dir).unwrap_or(u64::MAX);
        match free < needed {
            true => Err(DiskFailure {
                full: true,
                reason: format!(
                    "a full push of {entries} entries with {bytes} bytes needs {needed} bytes of room, and {free} are free"
                ),
            }),
            false => Ok(()),
        }
    }

    /// Loads a piece of the full push. If it is malformed, [`Store::stage_verify`] says so.
    ///
    /// # Errors
    /// [`DiskFailure`]; the full push is dropped, and the configuration is as before. It is a misuse if none was begun.
    pub fn stage_write(&mut self, piece: &SnapshotPiece) -> Result<(), DiskFailure> {
        self.check_open()?;
        if let Staged::Loading(staging) = &mut self.staged
            && staging.is_offered()
            && !staging.goes_on(piece)
        {
            self.begin_again()?;
        }
        if matches!(self.staged, Staged::Comparing(_)) && self.compare(piece)? {
            return Ok(());
        }
        let Staged::Loading(staging) = &mut self.staged else { return Err(misuse("no full push was begun")) };
        match staging.write(piece) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.stage_drop();
                Err(self.full_or_close("writing a staging file", &error))
            }
        }
    }

    /// Compares a piece of hashes. Returns `false` if it is a piece of the whole snapshot.
    fn compare(&mut self, piece: &SnapshotPiece) -> Result<bool, DiskFailure> {
        let Staged::Comparing(mut comparison) = std::mem::replace(&mut self.staged, Staged::Nothing) else {
            return Err(misuse("nothing is compared"));
        };
        let header = comparison.header.clone();
        let wants = match comparison.write(piece) {
            Compared::NotAnswered => return self.stage_anew(&header).map(|()| false),
            Compared::More => {
                self.staged = Staged::Comparing(comparison);
                return Ok(true);
            }
            Compared::All(wants) => wants,
        };
        // What was compared must be what is copied, and nobody may write it meanwhile.
        self.settle_checkpoint()?;
        let unchanged = comparison.revision() == self.tip.state.summary.revision;
        let differs_little = wants.is_some();
        let wants = wants.filter(|_| unchanged && self.has_room_for_copy(&header) && self.stage_base(&comparison));
        if wants.is_none() {
            tracing::info!(differs_little, unchanged, "the whole snapshot is asked for");
            self.stage_anew(&header)?;
        }
        if let Staged::Loading(staging) = &mut self.staged {
            staging.want(wants.unwrap_or_default());
        }
        Ok(true)
    }

    /// Whether the live state can be copied, and all of it be replaced. It may be larger than its content: a full push needs less then.
    /// Nothing else is written meanwhile, so that the copy must not take long.
    fn has_room_for_copy(&self, header: &SnapshotHeader) -> bool {
        let Ok(bytes) = self.dir.state_bytes(self.generation) else { return false };
        let needed = bytes.saturating_add(room_for_push(header.entries, header.bytes));
        bytes <= COPIED_STATE_BYTES_MAX && self.dir.disk.free(&self.dir.dir).unwrap_or(u64::MAX) >= needed
    }

    /// Begins with a copy of the live state. Returns whether that could be made.
    fn stage_base(&mut self, comparison: &Comparison) -> bool {
        let generation = self.generation + 1;
        let copied = self.dir.copy_state(self.generation, generation).and_then(|()| {
            let state = self.dir.open_state(generation).map_err(|error| io::Error::other(error.to_string()))?;
            Staging::of_base(state, generation, comparison, self.keys.clone())
        });
        match copied {
            Ok(staging) => {
                self.staged = Staged::Loading(Box::new(staging));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the state cannot be copied: the whole snapshot is asked for");
                self.dir.remove_state(generation);
                false
            }
        }
    }

    /// The source does not go on with what is staged: it is dropped.
    fn begin_again(&mut self) -> Result<(), DiskFailure> {
        let header = match &self.staged {
            Staged::Loading(staging) => staging.header().clone(),
            Staged::Comparing(comparison) => comparison.header.clone(),
            Staged::Nothing | Staged::Left | Staged::Verified { .. } => return Ok(()),
        };
        self.stage_drop();
        self.stage_anew(&header)
    }

    /// Makes what is staged durable, so that the push can go on there after a crash.
    ///
    /// # Errors
    /// As [`Store::stage_write`].
    pub fn stage_keep(&mut self) -> Result<(), DiskFailure> {
        self.check_open()?;
        let staging = match &mut self.staged {
            Staged::Loading(staging) => staging,
            Staged::Comparing(_) => return Ok(()),
            Staged::Nothing | Staged::Left | Staged::Verified { .. } => return Err(misuse("no full push was begun")),
        };
        let kept = staging.keep().and_then(|()| self.dir.sync_states());
        kept.map_err(|error| {
            self.stage_drop();
            self.full_or_close("writing a staging file", &error)
        })
    }

    /// Makes the loaded full push durable, and compares it with its header.
    ///
    /// # Errors
    /// As [`Store::stage_write`].
    pub fn stage_verify(&mut self) -> Result<Verified, DiskFailure> {
        self.check_open()?;
        let unanswered = match &self.staged {
            Staged::Loading(staging) => staging.is_offered(),
            Staged::Comparing(_) => true,
            Staged::Nothing | Staged::Left | Staged::Verified { .. } => false,
        };
        if unanswered {
            // The push has no entries.
            self.begin_again()?;
        }
        let staging = match std::mem::replace(&mut self.staged, Staged::Nothing) {
            Staged::Loading(staging) => staging,
            other => {
                self.staged = other;
                return Err(misuse("no full push was begun"));
            }
        };
        let generation = staging.generation;
        let finished = staging.finish().and_then(|(state, matches)| Ok((state.snapshot()?, state, matches)));
        let (snapshot, mut state, matches) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                self.dir.remove_state(generation);
                return Err(self.full_or_close("writing a staging file", &error));
            }
        };
        if !matches {
            let found = snapshot.summary.position();
            state.close();
            self.dir.remove_state(generation);
            return Ok(Verified::Bad { found });
        }
        self.staged = Staged::Verified { state, generation };
        Ok(Verified::Good { candidate: Snapshot(Arc::new(View::of_state(snapshot, &self.keys))) })
    }

    /// Switches to the verified full push. Its configuration is visible at once, and a new log begins after it.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. After a failure or a crash, the configuration is either the old or the new one, as a
    /// whole. It is a misuse if no full push was verified.
    pub fn stage_switch(&mut self) -> Result<(), DiskFailure> {
        self.check_open()?;
        let (state, generation) = match std::mem::replace(&mut self.staged, Staged::Nothing) {
            Staged::Verified { state, generation } => (state, generation),
            other => {
                self.staged = other;
                return Err(misuse("no full push was verified"));
            }
        };
        match self.switch(state, generation) {
            Ok(()) => Ok(()),
            Err(SwitchFailure { error, in_doubt: true }) => {
                Err(self.close_on("switching to the staged snapshot", &error))
            }
            Err(SwitchFailure { error, in_doubt: false }) => {
                self.dir.remove_state(generation);
                Err(self.full_or_close("making a new log", &error))
            }
        }
    }

    fn switch(&mut self, state: StateFile, generation: u64) -> Result<(), SwitchFailure> {
        let before = |error| SwitchFailure { error, in_doubt: false };
        let in_doubt = |error| SwitchFailure { error, in_doubt: true };
        let summary = state.summary();
        let start = ChainState::after(summary.revision, summary.chain);
        let snapshot = state.snapshot().map_err(before)?;
        if is_active(Mutant::PointerFirst) {
            self.dir.point_to(generation).map_err(in_doubt)?;
        }
        let log = self.dir.create_log(generation, start).map_err(before)?;
        self.dir.point_to(generation).map_err(in_doubt)?;
        self.state.close();
        let old = std::mem::replace(&mut self.generation, generation);
        (self.state, self.log) = (StateHolder::Here(state), log);
        self.tip = View::of_state(snapshot, &self.keys);
        self.log.set_data_bytes(self.tip.summary.bytes);
        (self.unfinished, self.pending) = (None, None);
        self.publication.log_index.store(self.log.index());
        self.publication.replace(self.tip.clone(), Vec::new());
        self.dir.remove_generation(old);
        let node_file = self.publication.node_file.load_full();
        if node_file.damage().map_err(in_doubt)?.is_some() {
            node_file.note_damage(None).map_err(in_doubt)?;
        }
        Ok(())
    }

    /// Drops the full push, if there is one, or what is left of one that was cut.
    pub fn stage_drop(&mut self) {
        let left = matches!(self.staged, Staged::Left).then_some(self.generation + 1);
        let staged = std::mem::replace(&mut self.staged, Staged::Nothing);
        if let Some(generation) = staged.close().or(left) {
            self.dir.remove_state(generation);
        }
    }
}
