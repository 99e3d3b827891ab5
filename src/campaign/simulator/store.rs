//! The data directories of the simulated nodes: a model of the store, and in some histories the real store beside it.
//!
//! [`records`] is what the model holds, [`job`] what a store is asked to do. [`model`] is the model, [`real`] the real store on a
//! simulated disk, and [`differential`] does each job on both and compares them.

mod differential;
mod job;
mod model;
mod real;
mod records;
mod staging;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::campaign::violation::{Checked, Invariant, Violation};
use crate::model::{Position, Revision};
use crate::protocol::engine::{Completed, DurableState};
use crate::protocol::wire::{ResumePoint, SnapshotHeader};
use crate::store::disk::sim::PowerCut;
pub use job::Job;
use model::ModelStore;
pub use real::StoreContext;
use real::{ReadOutcome, RealStore};
pub use records::{Change, ITEM_BYTES, Payload, Record, RecordBody, Sent, SnapshotItem};
use records::{Checkpoint, bucket_of, key_of};
use staging::entries_of;

/// A snapshot that is being read for a push.
#[derive(Clone, Debug)]
pub struct Export {
    /// What it is of.
    pub revision: Revision,
    /// All of its entries.
    pub entries: Vec<(u8, u64)>,
    /// What is still to be sent.
    pub rest: VecDeque<SnapshotItem>,
}

impl Export {
    /// Of these entries.
    pub fn new(revision: Revision, entries: Vec<(u8, u64)>) -> Self {
        let rest = entries.iter().map(|(key, value)| SnapshotItem::Entry(*key, *value)).collect();
        Self { revision, entries, rest }
    }

    /// Sends hashes first, of the entries in these buckets.
    fn compare(&mut self, buckets: Option<BTreeSet<usize>>) {
        let mut named = self.entries.clone();
        named.retain(|(key, _)| buckets.as_ref().is_some_and(|buckets| buckets.contains(&bucket_of(*key))));
        self.rest = [SnapshotItem::Compare(buckets.clone())].into();
        if !named.is_empty() {
            self.rest.push_back(SnapshotItem::Hashes(named.clone()));
        }
        self.rest.push_back(SnapshotItem::Hashes(Vec::new()));
        if buckets.is_some() {
            self.entries = named;
        }
    }

    /// Goes on with what is wanted.
    pub fn select(&mut self, wants: &[u8]) {
        let wanted = |at: usize| wants.is_empty() || wants.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        let entries = self.entries.iter().enumerate().filter(|(at, _)| wanted(*at));
        self.rest = entries.map(|(_, (key, value))| SnapshotItem::Entry(*key, *value)).collect();
    }

    /// Goes on behind this point: first what changed at or before it.
    fn resume(&mut self, point: &ResumePoint, changed: &BTreeSet<u8>) {
        let (mut now, mut rest) = (BTreeMap::new(), VecDeque::new());
        for item in std::mem::take(&mut self.rest) {
            match item {
                SnapshotItem::Entry(key, value) if *key_of(key) <= *point.after.as_str() => {
                    now.insert(key, value);
                }
                item => rest.push_back(item),
            }
        }
        self.rest.push_back(SnapshotItem::Continue { after: point.after.clone(), from: point.from });
        let item =
            |key: &u8| now.get(key).map_or(SnapshotItem::Delete(*key), |value| SnapshotItem::Entry(*key, *value));
        self.rest.extend(changed.iter().map(item));
        self.rest.append(&mut rest);
    }
}

/// One data directory. It dereferences to the model, which is asked what the directory holds.
#[derive(Clone, Debug)]
pub struct Disk {
    model: ModelStore,
    real: Option<Box<RealStore>>,
}

impl Deref for Disk {
    type Target = ModelStore;

    fn deref(&self) -> &ModelStore {
        &self.model
    }
}

impl DerefMut for Disk {
    fn deref_mut(&mut self) -> &mut ModelStore {
        &mut self.model
    }
}

impl Disk {
    /// An empty directory with this durable state and no real store.
    pub fn new(durable_state: DurableState, log_changes: usize) -> Self {
        Self { model: ModelStore::new(durable_state, log_changes), real: None }
    }

    /// Puts a real store beside the model, which must be new.
    pub fn add_real_store(&mut self, seed: u64, context: &Arc<StoreContext>) -> Checked {
        self.model.floor = Checkpoint::none(Some(&context.digests));
        self.model.head = self.model.floor.clone();
        let real = RealStore::create(seed, &self.model.durable_state, self.model.log_changes, context)?;
        self.real = Some(Box::new(real));
        Ok(())
    }

    /// Does a job. `accepts` is the host's validation. Adds to `written` what this node writes itself.
    pub fn execute(&mut self, job: Job, accepts: bool, written: &mut Vec<Record>) -> Result<Completed, Violation> {
        match &mut self.real {
            None => Ok(self.model.execute(job, accepts, written)),
            Some(real) => real.execute(&mut self.model, job, accepts, written),
        }
    }

    /// Writes the group of a job to the log, without making it durable. Returns the head after it, and its records.
    pub fn write(&mut self, job: &Job) -> Result<Option<(Position, Sent<Record>)>, Violation> {
        let written = self.model.group_of(job);
        self.model.written = written.is_some();
        let Some(real) = &mut self.real else {
            return Ok(written.map(|(head, records)| (head, Sent::modelled(records))));
        };
        real.write(&self.model, job, written)
    }

    /// The process ends. `kept` is how much of the job under way reaches the disk, of 255, where power is cut.
    pub fn end(&mut self, job: Option<Job>, accepts: bool, kept: Option<u8>, written: &mut Vec<Record>) -> Checked {
        let Some(real) = &mut self.real else {
            if let (Some(job), Some(kept)) = (job, kept) {
                self.model.interrupt(job, kept, written);
            }
            self.model.crash();
            return Ok(());
        };
        match kept {
            Some(_) => real.cut_power(job.as_ref(), accepts)?,
            None => real.close(None)?,
        }
        real.come_back(&mut self.model, kept.is_some(), written)
    }

    /// Opens an older copy of the directory.
    pub fn roll_back(&mut self) -> Checked {
        let Some(real) = &mut self.real else {
            self.model.crash();
            return Ok(());
        };
        real.close(Some(PowerCut::Lost))?;
        real.come_back(&mut self.model, true, &mut Vec::new())
    }

    /// Shows what is durable, up to here.
    pub fn show(&mut self, upto: Revision) -> Checked {
        self.model.visible = upto;
        let Some(real) = &mut self.real else {
            return Ok(());
        };
        real.reader()?.publish(upto);
        real.compare(&self.model)?;
        real.compare_content(&self.model)
    }

    /// The peer confirms that it holds everything up to here.
    pub fn confirm(&mut self, upto: Revision) {
        self.model.confirm(upto);
        if let Some(real) = &mut self.real {
            real.confirm(upto);
        }
    }

    /// Reads records for a push.
    pub fn read(&self, after: Revision, upto: Revision, max_bytes: usize) -> ReadOutcome<Option<Sent<Record>>> {
        let found = self.model.records(after, upto, max_bytes);
        let Some(real) = &self.real else {
            return Ok(Ok(found.map(Sent::modelled)));
        };
        let last = found.as_ref().and_then(|records| records.last()).map_or(after, |record| record.position.revision);
        let read = match real.records(after, last)? {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        Invariant::SameContent.check(read.is_some() == found.is_some(), || {
            format!("records after {after}: the store has {}, the model {}", read.is_some(), found.is_some())
        })?;
        let sent = found.zip(read).map(|(records, bytes)| Sent { items: records.into(), bytes });
        Ok(Ok(sent))
    }

    /// Opens a snapshot of what is visible, or of all that is held, for a full push with this header.
    pub fn open_export(&mut self, header: &SnapshotHeader, withheld: bool) -> Checked {
        self.real.as_mut().map_or(Ok(()), |real| real.export(header, withheld))
    }

    /// The snapshot goes on behind this point, if the log tells what changed since. Returns whether it does.
    pub fn resume_export(&mut self, transfer: u64, export: &mut Export, point: &ResumePoint) -> ReadOutcome<bool> {
        let changed = self.model.changed(point.from, export.revision, &point.after);
        let resumes = match self.real.as_mut().map(|real| real.resume(transfer, point)).transpose()? {
            Some(Err(reason)) => return Ok(Err(reason)),
            // The log of the real store may have been trimmed meanwhile.
            Some(Ok(resumes)) => resumes,
            None => changed.is_some(),
        };
        Invariant::SameContent.check(changed.is_some() || !resumes, || {
            format!("the store tells what changed since {}, and the model cannot", point.from)
        })?;
        if let Some(changed) = changed.filter(|_| resumes) {
            export.resume(point, &changed);
        }
        Ok(Ok(resumes))
    }

    /// The snapshot begins with the hashes of what differs from these buckets.
    pub fn compare_export(&mut self, transfer: u64, export: &mut Export, base: &[u8]) -> ReadOutcome<()> {
        let differing = match self.real.as_mut().map(|real| real.compare_export(transfer, base)).transpose()? {
            Some(Err(reason)) => return Ok(Err(reason)),
            Some(Ok(differing)) => differing,
            None => {
                let (theirs, mine) = (entries_of(base), export.entries.iter().copied().collect::<BTreeMap<_, _>>());
                let differs = |key: &&u8| theirs.get(key) != mine.get(key);
                Some(theirs.keys().chain(mine.keys()).filter(differs).map(|key| bucket_of(*key)).collect())
            }
        };
        export.compare(differing);
        Ok(Ok(()))
    }

    /// The snapshot goes on with what is wanted.
    pub fn select_export(&mut self, transfer: u64, export: &mut Export, wants: &[u8]) {
        export.select(wants);
        if let Some(real) = &mut self.real {
            real.select(transfer, wants);
        }
    }

    /// The bytes of its next items, or of all that is left.
    pub fn export_piece(&mut self, transfer: u64, items: usize, last: bool) -> ReadOutcome<Vec<bytes::Bytes>> {
        self.real.as_mut().map_or(Ok(Ok(Vec::new())), |real| real.piece(transfer, items, last))
    }

    /// A snapshot is no longer needed.
    pub fn close_export(&mut self, transfer: u64) {
        if let Some(real) = &mut self.real {
            real.close_export(transfer);
        }
    }
}
