//! What a master writes: eras and change sets.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::change_set_log;
use super::error::{ReadError, misuse};
use super::view::{Version, View};
use super::writer::Store;
use crate::model::{ChangeSet, Conflict, Epoch, Era, Expected, Guard, Position, Revision};
use crate::protocol::engine::{DiskFailure, DurableState};
use crate::protocol::wire::record::HEADER_BYTES;

/// Most bytes of an era in the log.
const ERA_BYTES: u64 = 2 * HEADER_BYTES as u64;

/// A group of change sets that is in the log and not durable. [`Store::make_durable`] must follow, before anything else is written.
pub struct Appended {
    tip: View,
    versions: Vec<Version>,
    verdicts: Vec<Verdict>,
    records: Bytes,
}

/// What became of a change set: its revision, or the guard that did not hold.
pub type Verdict = Result<Revision, Conflict>;

impl Appended {
    /// The head after the group.
    pub fn head(&self) -> Position {
        self.tip.summary.position()
    }

    /// The records of the group, as they stand in the log. Empty where there are none, or too many for one step of a push.
    pub fn records(&self) -> &Bytes {
        &self.records
    }
}

impl Store {
    /// Begins an era of this node, durably. The durable state is written first: a crash between the two leaves a master that
    /// asks its peer before it serves. Damage that recovery found is no longer reported: what the node has now counts as the
    /// configuration.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]. Room for the era is reserved before the durable state is written. If the disk is full
    /// afterwards all the same, the store is closed. An era that does not follow the last one is a misuse.
    pub fn begin_era(&mut self, durable_state: &DurableState, era: Era) -> Result<(), DiskFailure> {
        let tip = self.prepare_era(era)?;
        self.write_node_file("writing the durable state", |node_file| {
            node_file.write_durable_state_and_accept_damage(durable_state)
        })?;
        self.append_era(tip, era).map_err(|failure| self.close(failure.reason))
    }

    /// Appends change sets as one group. They are written under the epoch of the last era, which must be `epoch`. Nothing of the group
    /// is durable, nor can be made visible, before [`Store::make_durable`].
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]: none of the change sets was written, or all are in doubt. Another epoch and a change
    /// set beyond the limits are a misuse.
    pub fn append(&mut self, epoch: Epoch, change_sets: &[ChangeSet]) -> Result<Appended, DiskFailure> {
        self.check_open()?;
        if self.tip.summary.revision.epoch != epoch {
            return Err(misuse(format!("epoch {epoch} is not that of the last era")));
        }
        if let [only] = change_sets
            && let Some(number) = only.import()
        {
            // It is durable at once, and has no records.
            let verdicts = vec![self.commit_import(number)?];
            let (tip, versions, records) = (self.tip.clone(), Vec::new(), Bytes::new());
            return Ok(Appended { tip, versions, verdicts, records });
        }
        if let Some(limit) = change_sets.iter().find_map(|change_set| change_set.check().err()) {
            return Err(misuse(limit));
        }
        self.prepare_append()?;
        self.reserve(change_sets.iter().map(change_set_log::appended_bytes_max).sum())?;
        let mut appended = self.append_all(change_sets);
        if appended.is_err() && self.checkpoint_failed() {
            self.truncate_log("dropping an incomplete group")?;
            appended = self.append_all(change_sets);
        }
        appended.map_err(|error| self.undo_append("appending to the log", &error))
    }

    /// Makes an appended group durable, with one sync. Returns a verdict for each change set.
    ///
    /// # Errors
    /// [`DiskFailure`], see [`Store`]: all of the change sets are in doubt.
    pub fn make_durable(&mut self, appended: Appended) -> Result<Vec<Verdict>, DiskFailure> {
        if !appended.versions.is_empty() {
            self.sync(&appended.versions, None)?;
            self.tip = appended.tip;
            self.publication.enqueue(appended.versions);
        }
        Ok(appended.verdicts)
    }

    fn append_all(&mut self, change_sets: &[ChangeSet]) -> io::Result<Appended> {
        let mut tip = self.tip.clone();
        let (mut versions, mut verdicts) = (Vec::new(), Vec::new());
        let begins = self.log.position();
        for change_set in change_sets {
            let conflict = conflict(&tip, change_set).map_err(|error| io::Error::other(error.to_string()))?;
            verdicts.push(match conflict {
                Some(conflict) => Err(conflict),
                None => {
                    let version = change_set_log::append(&mut self.log, &mut tip, change_set)?;
                    let revision = version.summary.revision;
                    versions.push(version);
                    Ok(revision)
                }
            });
        }
        let records = self.log.flush_since(begins)?;
        Ok(Appended { tip, versions, verdicts, records })
    }

    /// Checks that the era follows the last one, and reserves room for it. Returns the tip with its history.
    fn prepare_era(&mut self, era: Era) -> Result<View, DiskFailure> {
        self.check_open()?;
        let mut tip = self.tip.clone();
        let head = tip.summary.revision;
        let follows = era.first_seq == head.seq + 1 && Arc::make_mut(&mut tip.summary.history).begin(era);
        if !follows {
            return Err(misuse(format!("era {era:?} does not follow {head}")));
        }
        self.prepare_append()?;
        self.reserve(ERA_BYTES)?;
        Ok(tip)
    }

    fn append_era(&mut self, mut tip: View, era: Era) -> Result<(), DiskFailure> {
        let revision = Revision::new(era.epoch, tip.summary.revision.seq);
        tip.summary.revision = revision;
        if let Err(error) = self.log.encode(|writer, out, _| writer.era(out, revision, &era.node)) {
            return Err(self.undo_append("appending to the log", &error));
        }
        (tip.summary.chain, tip.summary.log_end) = (self.log.writer.chain(), self.log.position());
        let versions = vec![tip.version(Vec::new())];
        self.sync(&versions, None)?;
        self.tip = tip;
        self.publication.enqueue(versions);
        Ok(())
    }

    /// Appends a group and makes it durable.
    #[cfg(test)]
    pub(super) fn commit(&mut self, epoch: Epoch, change_sets: &[ChangeSet]) -> Result<Vec<Verdict>, DiskFailure> {
        let appended = self.append(epoch, change_sets)?;
        self.make_durable(appended)
    }

    /// Begins an era without a change of the durable state.
    #[cfg(test)]
    pub(super) fn begin_era_only(&mut self, era: Era) -> Result<(), DiskFailure> {
        let tip = self.prepare_era(era)?;
        self.append_era(tip, era)
    }
}

/// The first guard of a change set that does not hold. `None` if all hold.
///
/// # Errors
/// The state could not be read.
fn conflict(tip: &View, change_set: &ChangeSet) -> Result<Option<Conflict>, ReadError> {
    for guard in change_set.guards() {
        match guard {
            Guard::Head(expected) if *expected == tip.summary.revision => {}
            Guard::Head(expected) => {
                return Ok(Some(Conflict::Head { expected: *expected, head: tip.summary.revision }));
            }
            Guard::Key { key, expected } => {
                let entry = tip.get(key.as_str())?;
                let holds = match (expected, &entry) {
                    (Expected::Absent, None) | (Expected::Present, Some(_)) => true,
                    // The entry hash covers the value, so the value need not be read.
                    (Expected::Value(value), Some(entry)) => {
                        value.len() as u64 == entry.bytes && tip.keys.entry(key, value, entry.secret) == entry.hash
                    }
                    _ => false,
                };
                if !holds {
                    return Ok(Some(Conflict::Key { key: key.clone() }));
                }
            }
        }
    }
    Ok(None)
}
