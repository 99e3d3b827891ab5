//! An import on a master: the content of an export becomes the newest revision, as one change.
//!
//! It is loaded beside the live copy, as a full push is, and verified. Then it is committed like a change set: one pointer
//! makes it the configuration. The log begins after it, so a shadow that lacks it needs more than records. It is visible
//! when it may be acknowledged, as every revision is. The new state has undo images of what was there, so a former
//! master still knows what it alone had changed.

use std::io;

use super::error::misuse;
use super::log::{ChainState, LogPosition};
use super::quarantine;
use super::snapshot_piece::SnapshotPiece;
use super::staging::{Import, Staged, Staging};
use super::state::StateFile;
use super::version::Summary;
use super::view::View;
use super::writer::Store;
use crate::model::{Conflict, Revision};
use crate::protocol::engine::DiskFailure;
use crate::protocol::wire::SnapshotHeader;

impl Store {
    /// Begins an import: makes a new state file. Drops the one before, if there is one. Returns its number.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn import_begin(&mut self, header: &SnapshotHeader) -> Result<u64, DiskFailure> {
        self.check_open()?;
        self.import_drop();
        self.check_room(header, (0, 0))?;
        // A full push uses the next one.
        let generation = self.generation + 2;
        let state = self.dir.create_state(generation);
        let state = state.map_err(|error| self.full_or_close("making a staging file", &error))?;
        self.imports += 1;
        let staging = Staging::new(state, generation, header, self.keys.clone());
        self.import = Some(Import { number: self.imports, staged: Staged::Loading(Box::new(staging)) });
        Ok(self.imports)
    }

    /// Loads a piece of this import. Returns whether it is still this one that is loaded.
    ///
    /// # Errors
    /// [`DiskFailure`]; the import is dropped, and the configuration is as before.
    pub fn import_write(&mut self, number: u64, piece: &SnapshotPiece) -> Result<bool, DiskFailure> {
        self.check_open()?;
        let Some(Import { staged: Staged::Loading(staging), .. }) = self.import_of(number) else { return Ok(false) };
        match staging.write(piece) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.import_drop();
                Err(self.full_or_close("writing a staging file", &error))
            }
        }
    }

    /// Makes the loaded import durable. Returns whether its content is what its header said; else it is dropped.
    ///
    /// # Errors
    /// As [`Store::import_write`].
    pub fn import_verify(&mut self, number: u64) -> Result<bool, DiskFailure> {
        self.check_open()?;
        let Some(import) = self.import_of(number) else { return Ok(false) };
        let Staged::Loading(staging) = std::mem::replace(&mut import.staged, Staged::Nothing) else { return Ok(false) };
        let generation = staging.generation;
        match staging.finish() {
            Ok((state, true)) => {
                self.import = Some(Import { number, staged: Staged::Verified { state, generation } });
                Ok(true)
            }
            Ok((mut state, false)) => {
                state.close();
                self.dir.remove_state(generation);
                self.import = None;
                Ok(false)
            }
            Err(error) => {
                self.dir.remove_state(generation);
                self.import = None;
                Err(self.full_or_close("writing a staging file", &error))
            }
        }
    }

    /// Drops the import, if there is one.
    pub fn import_drop(&mut self) {
        let generation = match self.import.take().map(|import| import.staged) {
            None | Some(Staged::Nothing | Staged::Left | Staged::Comparing(_)) => return,
            Some(Staged::Loading(staging)) => staging.generation,
            Some(Staged::Verified { mut state, generation }) => {
                state.close();
                generation
            }
        };
        self.dir.remove_state(generation);
    }

    /// Drops the import of this number, if it is still there.
    ///
    /// # Errors
    /// None.
    pub fn import_drop_of(number: u64) -> impl FnOnce(&mut Self) -> Result<(), DiskFailure> + Send + 'static {
        move |store| {
            if store.import_of(number).is_some() {
                store.import_drop();
            }
            Ok(())
        }
    }

    fn import_of(&mut self, number: u64) -> Option<&mut Import> {
        self.import.as_mut().filter(|import| import.number == number)
    }

    /// Commits the verified import of this number, durably.
    ///
    /// # Errors
    /// [`DiskFailure`]: nothing of it is left, or it is in doubt.
    pub(super) fn commit_import(&mut self, number: u64) -> Result<Result<Revision, Conflict>, DiskFailure> {
        let is_verified = |import: &mut Import| matches!(import.staged, Staged::Verified { .. });
        if !self.import_of(number).is_some_and(is_verified) {
            return Ok(Err(Conflict::Superseded));
        }
        self.prepare_append()?;
        self.stage_drop();
        let Some(Import { staged: Staged::Verified { mut state, generation }, .. }) = self.import.take() else {
            return Err(misuse("no import was verified"));
        };
        let revision = Revision::new(self.tip.summary.revision.epoch, self.tip.summary.revision.seq + 1);
        match self.adopt(&mut state, revision) {
            Ok(()) => self.switch_to_import(state, generation, revision),
            Err(error) => {
                state.close();
                self.dir.remove_state(generation);
                Err(self.full_or_close("writing the import", &error))
            }
        }
    }

    /// Makes the loaded state the successor of the tip.
    fn adopt(&self, state: &mut StateFile, revision: Revision) -> io::Result<()> {
        let loaded = state.summary().clone();
        let summary = Summary {
            revision,
            // The next record refers to it, on every node that has this revision.
            chain: crc32c::crc32c(&loaded.digest.0),
            history: self.tip.summary.history.clone(),
            log_end: LogPosition::FIRST,
            ..loaded
        };
        let imported = View::of_state(state.snapshot()?, &self.keys);
        let (confirmed, bytes) = (self.publication.confirmed(), self.dir.options.log_bytes);
        let undo =
            quarantine::before_import(&self.publication, &self.tip, &imported, revision.seq, confirmed.seq, bytes);
        let undo = undo.map_err(|error| io::Error::other(error.to_string()))?;
        state.adopt(summary, confirmed, undo, |key, entry| self.tip.open(key, entry))
    }

    fn switch_to_import(
        &mut self,
        state: StateFile,
        generation: u64,
        revision: Revision,
    ) -> Result<Result<Revision, Conflict>, DiskFailure> {
        let start = ChainState::after(revision, state.summary().chain);
        let made = state.snapshot().and_then(|snapshot| Ok((snapshot, self.dir.create_log(generation, start)?)));
        let (snapshot, log) = match made {
            Ok(made) => made,
            Err(error) => {
                self.dir.remove_generation(generation);
                return Err(self.full_or_close("making a new log", &error));
            }
        };
        if let Err(error) = self.dir.point_to(generation) {
            return Err(self.close_on("switching to the import", &error));
        }
        self.state.close();
        let old = std::mem::replace(&mut self.generation, generation);
        (self.state, self.log) = (state, log);
        self.tip = View::of_state(snapshot.clone(), &self.keys);
        (self.unfinished, self.pending) = (None, None);
        self.publication.log_index.store(self.log.index());
        self.publication.enqueue_import(self.tip.version(Vec::new()), snapshot);
        self.dir.remove_generation(old);
        Ok(Ok(revision))
    }
}
