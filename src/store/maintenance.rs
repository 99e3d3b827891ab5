//! When a checkpoint begins, and what completes it: the overlay stays bounded, and the log is trimmed.

use super::checkpoint::{self, Checkpoint, Outcome, StateHolder};
use super::disk::is_full;
use super::mutants::{Mutant, is_active};
use super::state::{Move, UndoBounds};
use super::writer::Store;
use crate::model::limits::{OVERLAY_BYTES_MAX, QUARANTINE_CHANGE_SETS_MAX};
use crate::protocol::engine::DiskFailure;

impl Store {
    /// Begins a checkpoint, which moves what is visible to the state. `None` if one is under way. Somebody is to run it,
    /// beside all other calls, and then [`Store::complete_checkpoint`] is to be called.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub fn begin_checkpoint(&mut self) -> Result<Option<Checkpoint>, DiskFailure> {
        self.check_open()?;
        let state = match std::mem::replace(&mut self.state, StateHolder::Closed) {
            StateHolder::Here(state) => state,
            other => {
                self.state = other;
                return Ok(None);
            }
        };
        let frozen = self.publication.freeze(&mut self.tip);
        let bounds = UndoBounds {
            confirmed: self.publication.confirmed(),
            change_sets: self.dir.options.log_changes.min(QUARANTINE_CHANGE_SETS_MAX),
            bytes: self.dir.options.log_bytes,
        };
        let moves = Move { changes: frozen.changes, upto: frozen.upto, bounds };
        let work = checkpoint::Work { state, moves, keys: self.keys.clone(), lock: self.lock.clone() };
        let (under_way, checkpoint) = checkpoint::plan(work);
        self.state = StateHolder::Away(under_way, frozen.versions);
        if is_active(Mutant::TrimBeforeCheckpoint) {
            let upto = self.publication.view.load().summary.log_end;
            self.log.trim(upto).map_err(|error| self.close_on("trimming the log", &error))?;
        }
        Ok(Some(checkpoint))
    }

    /// Completes the checkpoint under way: what it has moved leaves the overlay, and the log is trimmed. Runs it first if
    /// nobody has, and waits for it if it is running. Returns whether another one should begin at once.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. The configuration is the same either way.
    pub fn complete_checkpoint(&mut self) -> Result<bool, DiskFailure> {
        self.check_open()?;
        let StateHolder::Away(under_way, versions) = &self.state else { return Ok(false) };
        let (finished, versions) = (under_way.finish(), *versions);
        let Some(Outcome { state, result }) = finished else {
            return Err(self.close("the checkpoint panicked".into()));
        };
        self.state = StateHolder::Here(state);
        let (snapshot, more) = match result {
            Ok(done) => done,
            Err(error) if is_full(&error) => {
                // redb refuses everything after an error. Opened again, the state is as before.
                let reopened = self.state.reopen();
                let snapshot = reopened.map_err(|error| self.close_on("opening the state again", &error))?;
                self.publication.replace_state(&snapshot, &mut self.tip);
                return Err(self.full_or_close("writing the state", &error));
            }
            Err(error) => return Err(self.close_on("writing the state", &error)),
        };
        self.publication.thaw(&snapshot, versions, &mut self.tip);
        self.log.set_data_bytes(self.tip.summary.bytes);
        self.log.trim(snapshot.summary.log_end).map_err(|error| self.close_on("trimming the log", &error))?;
        Ok(more)
    }

    /// A whole checkpoint in one call. Returns whether there is more to do.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. The configuration is the same either way.
    pub fn maintain(&mut self) -> Result<bool, DiskFailure> {
        self.begin_checkpoint()?;
        self.complete_checkpoint()
    }

    /// A call could not read the state. Whether that is because the checkpoint under way found the disk full: then the state
    /// was opened again, and the call can be repeated.
    pub(super) fn checkpoint_failed(&mut self) -> bool {
        let away = matches!(self.state, StateHolder::Away(..));
        away && self.complete_checkpoint().is_err_and(|failure| failure.full)
    }

    /// Completes the checkpoint under way before something that reads much of the state: a full disk is not its failure.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`].
    pub(super) fn settle_checkpoint(&mut self) -> Result<(), DiskFailure> {
        match self.complete_checkpoint() {
            Err(failure) if !failure.full => Err(failure),
            _ => Ok(()),
        }
    }

    /// Waits while the overlay takes too much memory. A checkpoint under way lets as much in as it has moved, so that a writer
    /// is slowed to its speed, and does not stop for all of it.
    pub(super) fn bound_overlay(&mut self) -> Result<(), DiskFailure> {
        let mut moved = 0;
        loop {
            let over = self.publication.memory().saturating_sub(OVERLAY_BYTES_MAX);
            if over <= moved {
                return Ok(());
            }
            let more = match &self.state {
                StateHolder::Away(under_way, _) => under_way.wait_for_more_than(moved),
                StateHolder::Here(_) | StateHolder::Closed => None,
            };
            moved = match more {
                Some(more) => more,
                None => {
                    self.maintain()?;
                    0
                }
            };
        }
    }
}
