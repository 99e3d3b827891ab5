//! What a master writes: eras and commits.

use std::io;
use std::sync::Arc;

use super::view::{Version, View};
use super::{Store, mistake, runs};
use crate::model::{ChangeSet, Conflict, Epoch, Era, Revision};
use crate::protocol::engine::{DiskFailure, DurableState};
use crate::protocol::wire::record::HEADER_BYTES;

/// What an era takes in the log, at most.
const ERA_BYTES: u64 = 2 * HEADER_BYTES as u64;

impl Store {
    /// Opens an era of this node's own, durably. The durable state go first: a crash in between leaves a master that asks before
    /// it serves. Damage that recovery found is not reported again: who leads from here says that what is here counts.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]. Room for the era is found before the durable state are written; where the disk is
    /// full all the same once they are, something of it is left, and the store is closed. An era that does not follow the
    /// last one is the caller's mistake.
    pub fn lead(&mut self, durable_state: &DurableState, era: Era) -> Result<(), DiskFailure> {
        let tip = self.prepare_era(era)?;
        self.node("writing the durable state", |node| node.write_facts_of_leader(durable_state))?;
        self.append_era(tip, era).map_err(|failure| self.close(failure.reason))
    }

    /// Appends change sets as one group under this epoch (that of the last era), with one sync. A verdict for each.
    ///
    /// # Errors
    /// [`DiskFailure`], as told at [`Store`]: none of them was written, or all are in doubt. Another epoch than that of
    /// the last era and a change set beyond the limits are the caller's mistakes.
    pub fn commit(&mut self, epoch: Epoch, sets: &[ChangeSet]) -> Result<Vec<Result<Revision, Conflict>>, DiskFailure> {
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

    #[allow(clippy::type_complexity, reason = "named once, and taken apart by its one caller")]
    fn append_all(&mut self, sets: &[ChangeSet]) -> io::Result<(View, Vec<Version>, Vec<Result<Revision, Conflict>>)> {
        let mut tip = self.tip.clone();
        let (mut versions, mut verdicts) = (Vec::new(), Vec::new());
        for set in sets {
            let conflict = runs::conflict(&tip, set).map_err(|error| io::Error::other(error.to_string()))?;
            verdicts.push(match conflict {
                Some(conflict) => Err(conflict),
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

    /// What the era leads to, and room for it.
    fn prepare_era(&mut self, era: Era) -> Result<View, DiskFailure> {
        self.check()?;
        let mut tip = self.tip.clone();
        let follows = era.first_seq == tip.meta.revision.seq + 1 && Arc::make_mut(&mut tip.meta.history).begin(era);
        if !follows {
            return Err(mistake(format!("era {era:?} does not follow {}", self.tip.meta.revision)));
        }
        self.settle()?;
        self.reserve(ERA_BYTES)?;
        Ok(tip)
    }

    fn append_era(&mut self, mut tip: View, era: Era) -> Result<(), DiskFailure> {
        let revision = Revision::new(era.epoch, tip.meta.revision.seq);
        tip.meta.revision = revision;
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

    /// Opens an era without durable state.
    #[cfg(test)]
    pub(super) fn begin_era(&mut self, era: Era) -> Result<(), DiskFailure> {
        let tip = self.prepare_era(era)?;
        self.append_era(tip, era)
    }
}
