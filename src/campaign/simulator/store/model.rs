//! A small model of the store: the same promises as `store`, with change sets of one entry and content of a few numbers.

use std::collections::{BTreeSet, VecDeque};

use super::real::RealStore;
pub use super::records::{Change, Checkpoint, Record, RecordBody, Sent, State};
use crate::model::{Conflict, NodeId, Position, Revision};
use crate::protocol::engine::{
    Completed, DiskFailure, DurableState, EraReceipt, GroupReceipt, QuarantineReceipt, RecordsReceipt, ReopenReceipt,
    StagingReceipt, Work,
};
use crate::protocol::wire::SnapshotHeader;

/// Bytes that one record or entry stands for: a few of them fill one step of a push.
pub const ITEM_BYTES: usize = 90_000;

/// A snapshot that is being read for a push.
#[derive(Clone, Debug)]
pub struct Export {
    /// What is still to be sent.
    pub rest: VecDeque<(u8, u64)>,
}

/// A snapshot that is being received.
#[derive(Clone, Debug)]
pub(super) struct Staging {
    header: SnapshotHeader,
    pub(super) state: State,
}

/// One data directory.
#[derive(Clone, Debug)]
pub struct Disk {
    node: NodeId,
    /// The durable durable state.
    pub durable_state: DurableState,
    /// Where the log begins.
    pub floor: Checkpoint,
    /// Its records.
    pub log: Vec<Record>,
    /// Durable head.
    pub head: Checkpoint,
    /// Up to where readers see.
    pub visible: Revision,
    pub(super) staging: Option<Staging>,
    /// Change sets of a former master that were kept, by the number of their change.
    pub quarantine: Vec<(Revision, u64)>,
    /// Own change sets that the peer is not known to hold; what undoes them is kept, whatever the log keeps.
    unconfirmed: Vec<(Revision, u64)>,
    pub(super) log_changes: usize,
    /// No room.
    pub full: bool,
    /// The next batch fails, and so much of it reaches the disk, of 255.
    pub fail_next: Option<u8>,
    /// After a failure, until it is opened again.
    pub closed: bool,
    /// A flaw: after a failed sync it goes on as if nothing of the batch had reached the disk.
    pub careless: bool,
    /// The real store, where it stands beside the model: then nothing is cut off the model's own log, and its floor is that of
    /// the real one.
    pub real: Option<Box<RealStore>>,
    /// That floor.
    pub real_floor: Revision,
}

/// Durable work with the model's change sets, records and entries.
pub type Job = Work<Change, Sent<Record>, Sent<(u8, u64)>>;

impl Disk {
    /// An empty directory that was given these durable state.
    pub fn new(durable_state: DurableState, log_changes: usize) -> Self {
        Self {
            node: durable_state.node,
            durable_state,
            floor: Checkpoint::none(None),
            log: Vec::new(),
            head: Checkpoint::none(None),
            visible: Revision::NONE,
            staging: None,
            quarantine: Vec::new(),
            unconfirmed: Vec::new(),
            log_changes,
            full: false,
            fail_next: None,
            closed: false,
            careless: false,
            real: None,
            real_floor: Revision::NONE,
        }
    }

    /// The log holds everything after this.
    pub fn log_floor(&self) -> Revision {
        if self.is_real() { self.real_floor } else { self.floor.position.revision }
    }

    /// Whether the real store stands beside the model.
    pub fn is_real(&self) -> bool {
        self.floor.state.digests().is_some()
    }

    /// The process is gone: what was only in memory is too.
    pub fn crash(&mut self) {
        self.staging = None;
        self.fail_next = None;
        self.closed = false;
        self.visible = self.head.position.revision;
    }

    /// Whether this revision belongs to what is held.
    pub fn holds(&self, revision: Revision) -> bool {
        self.head.history.contains(self.head.position.revision, revision)
    }

    /// The records after this position and up to another, as far as these bytes go; `None` where the log does not reach.
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

    /// Where readers are; `None` where they see what is not held.
    pub fn visible_position(&self) -> Option<Position> {
        let held = self.log.iter().rev().map(|record| record.position).chain([self.floor.position, Position::NONE]);
        held.into_iter().find(|position| position.revision == self.visible)
    }

    /// What is visible now.
    pub fn visible_point(&self) -> Option<Checkpoint> {
        let mut point = self.floor.clone();
        if point.position.revision == self.visible {
            return Some(point);
        }
        for record in &self.log {
            if !point.advance(record) {
                return None;
            }
            if point.position.revision == self.visible {
                return Some(point);
            }
        }
        None
    }

    /// The peer holds everything up to here.
    pub fn confirm(&mut self, upto: Revision) {
        self.unconfirmed.retain(|(revision, _)| *revision > upto);
        if let Some(real) = &mut self.real {
            real.confirm(upto);
        }
    }

    /// Whether this node wrote change sets of its own after this, and the peer is not known to hold them.
    pub fn unconfirmed_after(&self, confirmed: Revision) -> bool {
        self.unconfirmed.iter().any(|(revision, _)| *revision > confirmed && self.holds(*revision))
    }

    /// Does a job. `accepts`: the host's validation. `made` is told every record that this node writes itself.
    pub fn perform(&mut self, job: Job, accepts: bool, made: &mut Vec<Record>) -> Completed {
        if let Some(kept) = self.fail_next.take() {
            if self.careless {
                self.clone().interrupted(job.clone(), kept, made);
            } else {
                self.interrupted(job.clone(), kept, made);
                self.closed = true;
            }
            return job.fail(DiskFailure { full: false, reason: "input/output error".into() });
        }
        if self.closed && !matches!(job, Job::Reopen(_)) {
            return job.fail(DiskFailure { full: false, reason: "the store is closed".into() });
        }
        if self.full && !matches!(job, Job::Reopen(_)) {
            return job.fail(DiskFailure { full: true, reason: "no space left on device".into() });
        }
        self.done(job, accepts, made)
    }

    /// Power went, or the sync failed, in the middle of a job: so much of it is there, of 255.
    pub fn interrupted(&mut self, job: Job, kept: u8, made: &mut Vec<Record>) {
        let share = |length: usize| length * usize::from(kept) / 255;
        match job {
            Job::StoreState(order) if kept > 127 => self.durable_state = *order.job.state,
            Job::AppendGroup(mut order) => {
                order.job.change_sets.truncate(share(order.job.change_sets.len()));
                let _ = self.done(Job::AppendGroup(order), true, made);
            }
            Job::BeginEra(_) if kept > 170 => drop(self.done(job, true, made)),
            Job::BeginEra(order) if kept > 85 => self.durable_state = *order.job.state,
            Job::AppendRecords(mut order) => {
                order.job.frames.truncate(share(order.job.frames.len()));
                let _ = self.done(Job::AppendRecords(order), true, made);
            }
            Job::FinishStaging(_) | Job::Quarantine(_) if kept > 127 => drop(self.done(job, true, made)),
            _ => {}
        }
    }

    pub fn done(&mut self, job: Job, accepts: bool, made: &mut Vec<Record>) -> Completed {
        match job {
            Job::StoreState(order) => {
                let (job, pending) = order.split();
                self.durable_state = *job.state;
                pending.complete(Ok(()))
            }
            Job::AppendGroup(order) => {
                let (job, pending) = order.split();
                let verdict = |(ticket, change)| (ticket, self.commit(change, made));
                let verdicts = job.change_sets.into_iter().map(verdict).collect();
                self.trim();
                let (head, log_floor) = (self.head.position, self.log_floor());
                pending.complete(Ok(GroupReceipt { verdicts, head, log_floor }))
            }
            Job::BeginEra(order) => {
                let (job, pending) = order.split();
                self.durable_state = *job.state;
                self.append(RecordBody::Era(job.era), made);
                pending.complete(Ok(EraReceipt { head: self.head.position, log_floor: self.log_floor() }))
            }
            Job::AppendRecords(order) => {
                let (job, pending) = order.split();
                pending.complete(Ok(self.receive(&job.frames, accepts)))
            }
            Job::BeginStaging(order) => {
                let (job, pending) = order.split();
                self.staging = Some(Staging { header: *job.header, state: State::new(self.floor.state.digests()) });
                pending.complete(Ok(()))
            }
            Job::StagePieces(order) => {
                let (job, pending) = order.split();
                pending.complete(Ok(self.stage(&job.pieces)))
            }
            Job::FinishStaging(order) => order.split().1.complete(Ok(self.finish_staging(accepts))),
            Job::Quarantine(order) => {
                let (job, pending) = order.split();
                pending.complete(Ok(self.set_aside(job.common)))
            }
            Job::Reopen(order) => {
                self.crash();
                let (head, log_floor) = (self.head.position, self.log_floor());
                let history = self.head.history.clone();
                order.split().1.complete(Ok(ReopenReceipt { head, log_floor, history, damage: None }))
            }
        }
    }

    fn commit(&mut self, change: Change, made: &mut Vec<Record>) -> Result<Revision, Conflict> {
        if change.guarded && !self.head.state.entries.contains_key(&change.key) {
            let (expected, head) = (Revision::NONE, self.head.position.revision);
            return Err(Conflict::Head { expected, head });
        }
        self.append(RecordBody::Set(change), made);
        self.unconfirmed.push((self.head.position.revision, change.id));
        Ok(self.head.position.revision)
    }

    fn append(&mut self, content: RecordBody, made: &mut Vec<Record>) {
        let record = self.head.next(content);
        if self.head.advance(&record) {
            self.log.push(record);
            made.push(record);
        }
    }

    /// The log is bounded; what is not visible yet stays.
    fn trim(&mut self) {
        while !self.is_real() && self.log.len() > self.log_changes && self.floor.position.revision < self.visible {
            let record = self.log.remove(0);
            if !self.floor.advance(&record) {
                return;
            }
        }
    }

    fn receive(&mut self, pieces: &[Sent<Record>], accepts: bool) -> RecordsReceipt {
        let mut head = self.head.clone();
        let (at, history) = (head.position.revision, head.history.clone());
        // What is here already came twice.
        let held = |record: &&Record| {
            let revision = record.position.revision;
            revision <= at && history.contains(at, revision)
        };
        let all = || pieces.iter().flat_map(|piece| piece.iter()).skip_while(held);
        if !all().all(|record| head.advance(record)) {
            return RecordsReceipt::Mismatch { head: self.head.position };
        }
        if !accepts && all().next().is_some() && super::real::changes(pieces) {
            return RecordsReceipt::Rejected { at: head.position.revision, reason: "the host says no".into() };
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

    fn stage(&mut self, pieces: &[Sent<(u8, u64)>]) -> u64 {
        let mut bytes = 0;
        if let Some(staging) = &mut self.staging {
            for (key, value) in pieces.iter().flat_map(|piece| piece.iter()) {
                staging.state.apply(*key, Some(*value));
                bytes += ITEM_BYTES as u64;
            }
        }
        bytes
    }

    fn finish_staging(&mut self, accepts: bool) -> StagingReceipt {
        let Some(staging) = self.staging.take() else { return StagingReceipt::Mismatch { found: Position::NONE } };
        let found = Position { revision: staging.header.position.revision, digest: staging.state.digest() };
        if found != staging.header.position {
            return StagingReceipt::Mismatch { found };
        }
        if !accepts {
            return StagingReceipt::Rejected { reason: "the host says no".into() };
        }
        let SnapshotHeader { position, history, chain, .. } = staging.header;
        self.floor = Checkpoint { position, history, chain, state: staging.state };
        self.head = self.floor.clone();
        self.log.clear();
        self.visible = position.revision;
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

    /// A flaw: the newest record is gone.
    pub fn forget_last(&mut self) {
        let mut head = self.floor.clone();
        self.log.pop();
        let follows = self.log.iter().all(|record| head.advance(record));
        if follows {
            self.head = head;
        }
        self.visible = self.head.position.revision;
    }

    /// A flaw: the newest content is not what was sent.
    pub fn spoil(&mut self) {
        self.head.state.apply(0, Some(1));
        self.head.position.digest = self.head.state.digest();
        if let Some(record) = self.log.last_mut() {
            record.position.digest = self.head.position.digest;
        }
    }

    /// A flaw: what was refused is written.
    pub fn leak(&mut self, change: Change, made: &mut Vec<Record>) {
        self.append(RecordBody::Set(change), made);
    }

    /// Who writes here.
    pub fn node(&self) -> NodeId {
        self.node
    }
}
