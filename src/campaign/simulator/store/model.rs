//! A small model of the store. It promises what `store` promises, for change sets of one entry and values that are numbers.

use std::collections::BTreeSet;

use super::job::{Job, has_change_sets};
use super::records::{Change, Checkpoint, ITEM_BYTES, Record, RecordBody, Sent, SnapshotItem, State, key_of};
use super::staging::Staging;
use crate::model::{Conflict, Key, NodeId, Position, Revision};
use crate::protocol::engine::{
    Completed, DiskFailure, DurableState, EraReceipt, GroupReceipt, PiecesReceipt, QuarantineReceipt, RecordsReceipt,
    ReopenReceipt, StagingBase, StagingReceipt,
};
use crate::protocol::wire::SnapshotHeader;

/// A store.
#[derive(Clone, Debug)]
pub struct ModelStore {
    node: NodeId,
    /// What must be known after a restart.
    pub durable_state: DurableState,
    /// Where the log begins.
    pub floor: Checkpoint,
    /// Its records.
    pub log: Vec<Record>,
    /// Durable head.
    pub head: Checkpoint,
    /// Up to where readers see the log.
    pub visible: Revision,
    /// How far they see it after a start; `None` for all of it.
    pub shown: Option<Revision>,
    pub(super) staging: Option<Staging>,
    /// The quarantine: revisions and numbers of change sets.
    pub quarantine: Vec<(Revision, u64)>,
    /// Own change sets that the peer is not known to hold. They can be undone, whatever the log keeps.
    unconfirmed: Vec<(Revision, u64)>,
    pub(super) log_changes: usize,
    /// The state of the disk.
    pub faults: DiskFaults,
    /// The group of the job under way is in the log, so it has its room.
    pub written: bool,
    /// Closed by a failure, until it is opened again.
    pub closed: bool,
    /// Where the log of the real store begins, where there is one. Then nothing is cut off the model's own log.
    pub real_floor: Revision,
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// Whether it is full.
    pub full: bool,
    /// The next job fails, and so much of it reaches the disk, of 255.
    pub fail_next: Option<u8>,
    /// An injected bug: the store stays open after a failed sync, as if nothing of the job had reached the disk.
    pub careless: bool,
}

impl ModelStore {
    /// An empty store with this durable state.
    pub fn new(durable_state: DurableState, log_changes: usize) -> Self {
        Self {
            node: durable_state.node,
            durable_state,
            floor: Checkpoint::none(None),
            log: Vec::new(),
            head: Checkpoint::none(None),
            visible: Revision::NONE,
            shown: None,
            staging: None,
            quarantine: Vec::new(),
            unconfirmed: Vec::new(),
            log_changes,
            faults: DiskFaults::default(),
            written: false,
            closed: false,
            real_floor: Revision::NONE,
        }
    }

    /// The log holds everything after this.
    pub fn log_floor(&self) -> Revision {
        if self.is_real() { self.real_floor } else { self.floor.position.revision }
    }

    /// Whether there is a real store beside the model.
    pub fn is_real(&self) -> bool {
        self.floor.state.digests().is_some()
    }

    /// The process is gone, and what was only in memory with it.
    pub fn crash(&mut self) {
        self.staging = self.staging.take().and_then(Staging::after_crash);
        self.written = false;
        self.faults.fail_next = None;
        self.closed = false;
        self.visible = self.shown_at_start();
    }

    /// What readers see after a start.
    pub(super) fn shown_at_start(&self) -> Revision {
        let Some(shown) = self.shown else { return self.head.position.revision };
        let held = self.log.iter().rev().map(|record| record.position.revision);
        held.into_iter().find(|revision| *revision <= shown).unwrap_or(self.floor.position.revision)
    }

    /// Whether this revision belongs to what is held.
    pub fn holds(&self, revision: Revision) -> bool {
        self.head.history.contains(self.head.position.revision, revision)
    }

    /// The records after a position up to another, at most so many bytes; `None` where the log does not reach back that far.
    pub fn records(&self, after: Revision, upto: Revision, max_bytes: usize) -> Option<Vec<Record>> {
        if after < self.log_floor() {
            return None;
        }
        let from = match self.log.iter().position(|record| record.position.revision == after) {
            Some(at) => at + 1,
            None if self.floor.position.revision == after => 0,
            None => return None,
        };
        let most = (max_bytes / ITEM_BYTES).max(1);
        let wanted = self.log[from..].iter().take_while(|record| record.position.revision <= upto);
        Some(wanted.take(most).copied().collect())
    }

    /// The position that readers see; `None` where the store does not hold it.
    pub fn visible_position(&self) -> Option<Position> {
        let held = self.log.iter().rev().map(|record| record.position).chain([self.floor.position, Position::NONE]);
        held.into_iter().find(|position| position.revision == self.visible)
    }

    /// The configuration that readers see.
    pub fn visible_point(&self) -> Option<Checkpoint> {
        self.point_at(self.visible)
    }

    /// The configuration that readers see, or all that is held.
    pub fn point(&self, withheld: bool) -> Option<Checkpoint> {
        self.point_at(if withheld { self.head.position.revision } else { self.visible })
    }

    fn point_at(&self, revision: Revision) -> Option<Checkpoint> {
        let mut point = self.floor.clone();
        if point.position.revision == revision {
            return Some(point);
        }
        for record in &self.log {
            if !point.advance(record) {
                return None;
            }
            if point.position.revision == revision {
                return Some(point);
            }
        }
        None
    }

    /// The peer confirms that it holds everything up to here.
    pub fn confirm(&mut self, upto: Revision) {
        self.unconfirmed.retain(|(revision, _)| *revision > upto);
    }

    /// Whether this node wrote change sets of its own after this, and the peer is not known to hold them.
    pub fn unconfirmed_after(&self, confirmed: Revision) -> bool {
        self.unconfirmed.iter().any(|(revision, _)| *revision > confirmed && self.holds(*revision))
    }

    /// The group of a job as it stands in the log before it is durable: the head after it, and its records. `None` where there are
    /// none, the disk is full or the store closed.
    pub fn group_of(&self, job: &Job) -> Option<(Position, Vec<Record>)> {
        if !matches!(job, Job::AppendGroup(_)) || self.faults.full || self.closed {
            return None;
        }
        let (mut after, mut records) = (self.clone(), Vec::new());
        after.apply(job.clone(), true, &mut records);
        Some((after.head.position, records)).filter(|(_, records)| !records.is_empty())
    }

    /// Does a job, or fails as the disk does. `accepts` is the host's validation. Adds to `written` what this node writes itself.
    pub fn execute(&mut self, job: Job, accepts: bool, written: &mut Vec<Record>) -> Completed {
        let written_before = std::mem::take(&mut self.written);
        if let Some(kept) = self.faults.fail_next.take() {
            if self.faults.careless {
                self.clone().interrupt(job.clone(), kept, written);
            } else {
                self.interrupt(job.clone(), kept, written);
                self.closed = true;
            }
            return job.fail(DiskFailure { full: false, reason: "input/output error".into() });
        }
        if self.closed && !matches!(job, Job::Reopen(_)) {
            return job.fail(DiskFailure { full: false, reason: "the store is closed".into() });
        }
        if self.faults.full && !written_before && !matches!(job, Job::Reopen(_)) {
            return job.fail(DiskFailure { full: true, reason: "no space left on device".into() });
        }
        self.apply(job, accepts, written)
    }

    /// Power is cut, or a sync fails, in the middle of a job: `kept` of 255 of it reach the disk.
    pub fn interrupt(&mut self, job: Job, kept: u8, written: &mut Vec<Record>) {
        let share = |length: usize| length * usize::from(kept) / 255;
        match job {
            Job::StoreState(order) if kept > 127 => self.durable_state = *order.job.state,
            Job::AppendGroup(mut order) => {
                order.job.change_sets.truncate(share(order.job.change_sets.len()));
                let _ = self.apply(Job::AppendGroup(order), true, written);
            }
            Job::BeginEra(_) if kept > 170 => drop(self.apply(job, true, written)),
            Job::BeginEra(order) if kept > 85 => self.durable_state = *order.job.state,
            Job::AppendRecords(mut order) => {
                order.job.frames.truncate(share(order.job.frames.len()));
                let _ = self.apply(Job::AppendRecords(order), true, written);
            }
            Job::FinishStaging(_) | Job::BeginStaging(_) | Job::StagePieces(_) | Job::Quarantine(_) if kept > 127 => {
                drop(self.apply(job, true, written))
            }
            _ => {}
        }
    }

    /// Does a job as a disk without faults would.
    pub fn apply(&mut self, job: Job, accepts: bool, written: &mut Vec<Record>) -> Completed {
        match job {
            Job::StoreState(order) => {
                let (job, pending) = order.split();
                self.durable_state = *job.state;
                pending.complete(Ok(()))
            }
            Job::AppendGroup(order) => {
                let (job, pending) = order.split();
                let verdict = |(ticket, change)| (ticket, self.commit(change, written));
                let verdicts = job.change_sets.into_iter().map(verdict).collect();
                if !written.is_empty() {
                    self.shown = None;
                }
                self.trim();
                let (head, log_floor) = (self.head.position, self.log_floor());
                pending.complete(Ok(GroupReceipt { verdicts, head, log_floor }))
            }
            Job::BeginEra(order) => {
                let (job, pending) = order.split();
                self.durable_state = *job.state;
                self.append(RecordBody::Era(job.era), written);
                self.shown = None;
                pending.complete(Ok(EraReceipt { head: self.head.position, log_floor: self.log_floor() }))
            }
            Job::AppendRecords(order) => {
                let (job, pending) = order.split();
                pending.complete(Ok(self.receive(&job.frames, job.durable, accepts)))
            }
            Job::BeginStaging(order) => {
                let (job, pending) = order.split();
                let before = self.staging.take().filter(|_| job.onto != StagingBase::Nothing);
                let base = self.head.state.clone();
                let empty = State::new(self.floor.state.digests());
                let staging =
                    Staging::begin(before, *job.header, empty, (job.onto == StagingBase::StagedOrCopy).then_some(base));
                let before = staging.before();
                self.staging = Some(staging);
                pending.complete(Ok(before))
            }
            Job::StagePieces(order) => {
                let (job, pending) = order.split();
                pending.complete(Ok(self.stage(&job.pieces, job.keep)))
            }
            Job::FinishStaging(order) => order.split().1.complete(Ok(self.finish_staging(accepts))),
            Job::Quarantine(order) => {
                let (job, pending) = order.split();
                pending.complete(Ok(self.set_aside(job.common)))
            }
            Job::Reopen(order) => {
                let before = self.visible;
                self.crash();
                self.staging = None;
                if self.holds(before) {
                    self.visible = self.visible.max(before);
                }
                let (head, log_floor, shown) = (self.head.position, self.log_floor(), self.visible);
                let history = self.head.history.clone();
                order.split().1.complete(Ok(ReopenReceipt { head, log_floor, history, shown, damage: None }))
            }
        }
    }

    fn commit(&mut self, change: Change, written: &mut Vec<Record>) -> Result<Revision, Conflict> {
        if change.guarded && !self.head.state.entries.contains_key(&change.key) {
            let (expected, head) = (Revision::NONE, self.head.position.revision);
            return Err(Conflict::Head { expected, head });
        }
        self.append(RecordBody::Set(change), written);
        self.unconfirmed.push((self.head.position.revision, change.id));
        Ok(self.head.position.revision)
    }

    fn append(&mut self, content: RecordBody, written: &mut Vec<Record>) {
        let record = self.head.next(content);
        if self.head.advance(&record) {
            self.staging = None;
            self.log.push(record);
            written.push(record);
        }
    }

    /// Shortens the log to its bound. What is not visible yet stays.
    fn trim(&mut self) {
        while !self.is_real() && self.log.len() > self.log_changes && self.floor.position.revision < self.visible {
            let record = self.log.remove(0);
            if !self.floor.advance(&record) {
                return;
            }
        }
    }

    fn receive(&mut self, pieces: &[Sent<Record>], durable: Revision, accepts: bool) -> RecordsReceipt {
        let mut head = self.head.clone();
        let (at, history) = (head.position.revision, head.history.clone());
        // Records may come twice.
        let held = |record: &&Record| {
            let revision = record.position.revision;
            revision <= at && history.contains(at, revision)
        };
        let all = || pieces.iter().flat_map(|piece| piece.iter()).skip_while(held);
        if !all().all(|record| head.advance(record)) {
            return RecordsReceipt::Mismatch { head: self.head.position };
        }
        if !accepts && all().next().is_some() && has_change_sets(pieces) {
            return RecordsReceipt::Rejected { at: head.position.revision, reason: "the host says no".into() };
        }
        if all().next().is_some() {
            // The log goes on: what was staged is not needed any more.
            self.staging = None;
            self.shown = Some(durable);
        }
        self.log.extend(all());
        self.head = head;
        self.trim();
        let eras = all().filter_map(|record| match record.content {
            RecordBody::Era(era) => Some(era),
            RecordBody::Set(_) => None,
        });
        RecordsReceipt::Appended { head: self.head.position, log_floor: self.log_floor(), eras: eras.collect() }
    }

    fn stage(&mut self, pieces: &[Sent<SnapshotItem>], keep: bool) -> PiecesReceipt {
        let mut receipt = PiecesReceipt { bytes: 0, wants: None };
        let Some(staging) = &mut self.staging else { return receipt };
        for item in pieces.iter().flat_map(|piece| piece.iter()) {
            receipt.bytes += ITEM_BYTES as u64;
            receipt.wants = staging.stage(item).or(receipt.wants);
        }
        if keep {
            staging.keep();
        }
        receipt
    }

    /// The keys at or before this one that change sets after `from` changed, up to another revision. `None` where the log does not
    /// reach back that far.
    pub fn changed(&self, from: Revision, upto: Revision, after: &Key) -> Option<BTreeSet<u8>> {
        let records = self.records(from, upto, usize::MAX)?;
        let keys = records.iter().filter_map(|record| match record.content {
            RecordBody::Set(change) => Some(change.key),
            RecordBody::Era(_) => None,
        });
        Some(keys.filter(|key| *key_of(*key) <= *after.as_str()).collect())
    }

    fn finish_staging(&mut self, accepts: bool) -> StagingReceipt {
        let Some((header, state)) = self.staging.take().map(Staging::finish) else {
            return StagingReceipt::Mismatch { found: Position::NONE };
        };
        let found = Position { revision: header.position.revision, digest: state.digest() };
        if found != header.position {
            return StagingReceipt::Mismatch { found };
        }
        if !accepts {
            return StagingReceipt::Rejected { reason: "the host says no".into() };
        }
        let SnapshotHeader { position, history, chain, .. } = header;
        self.floor = Checkpoint { position, history, chain, state };
        self.head = self.floor.clone();
        self.log.clear();
        (self.visible, self.shown) = (position.revision, None);
        StagingReceipt::Switched { head: position }
    }

    fn set_aside(&mut self, common: Revision) -> QuarantineReceipt {
        let from = self.head.position.revision;
        let after = |revision: Revision| revision.seq > common.seq || revision.epoch > common.epoch;
        let in_log = self.log.iter().filter_map(|record| match record.content {
            RecordBody::Set(change) => Some((record.position.revision, change.id)),
            RecordBody::Era(_) => None,
        });
        let lost = self.unconfirmed.iter().copied().chain(in_log).filter(|(revision, _)| after(*revision));
        let sets: BTreeSet<(Revision, u64)> = lost.collect();
        let to = sets.last().map_or(from, |(revision, _)| *revision);
        self.quarantine.extend(&sets);
        self.unconfirmed.clear();
        QuarantineReceipt { from, to, change_sets: sets.len() as u64 }
    }

    /// An injected bug: the newest record is gone.
    pub fn forget_last(&mut self) {
        let mut head = self.floor.clone();
        self.log.pop();
        let follows = self.log.iter().all(|record| head.advance(record));
        if follows {
            self.head = head;
        }
        self.visible = self.head.position.revision;
    }

    /// An injected bug: the newest content is not what was sent.
    pub fn spoil(&mut self) {
        self.head.state.apply(0, Some(1));
        self.head.position.digest = self.head.state.digest();
        if let Some(record) = self.log.last_mut() {
            record.position.digest = self.head.position.digest;
        }
    }

    /// An injected bug: what was refused is written.
    pub fn leak(&mut self, change: Change, written: &mut Vec<Record>) {
        self.append(RecordBody::Set(change), written);
    }

    /// The node that writes here.
    pub fn node(&self) -> NodeId {
        self.node
    }
}
