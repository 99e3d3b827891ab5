//! A store that keeps nothing but where it stands. What it receives is right unless the input says otherwise.

use super::identifiers::PEER;
use crate::model::{Digest, Epoch, Era, History, NodeId, Position, Revision};
use crate::protocol::engine::{
    BulkId, Completed, DiskFailure, EraReceipt, GroupReceipt, PiecesReceipt, QuarantineReceipt, RecordsReceipt,
    ReopenReceipt, StagedBefore, StagingReceipt, Work, decode_durable_state, encode_durable_state,
};
use crate::protocol::wire::{Bulk, SnapshotHeader};

/// Where the store stands.
#[derive(Clone, Debug)]
pub(super) struct ModelStore {
    pub(super) head: Position,
    pub(super) floor: Revision,
    pub(super) history: History,
    /// What it finds wrong with what it receives, by the bits: 1 the content does not fit, 2 the host refuses it, 4 there is damage.
    pub(super) faults: u8,
    staged: Option<SnapshotHeader>,
}

impl Default for ModelStore {
    fn default() -> Self {
        let (head, history) = (Position::NONE, History::default());
        Self { head, floor: Revision::NONE, history, faults: 0, staged: None }
    }
}

/// What the work names of received bulk, in order.
pub(super) fn frames_of(work: &Work) -> Vec<BulkId> {
    match work {
        Work::AppendRecords(order) => order.job.frames.clone(),
        Work::StagePieces(order) => order.job.pieces.clone(),
        _ => Vec::new(),
    }
}

/// A durable state that is written can be read.
pub(super) fn check(work: &Work) {
    let state = match work {
        Work::StoreState(order) => &order.job.state,
        Work::BeginEra(order) => &order.job.state,
        _ => return,
    };
    let bytes = encode_durable_state(state).expect("the durable state can be written");
    assert_eq!(decode_durable_state(&bytes).as_ref(), Ok(&**state));
}

impl ModelStore {
    /// So many change sets of the first epoch, by this node.
    pub(super) fn with_change_sets(count: u64, node: NodeId) -> Self {
        let era = Era { epoch: Epoch::FIRST, first_seq: 1, node };
        let history = History::from_eras(vec![era]).expect("one era is in order");
        Self { head: position(Revision::new(Epoch::FIRST, count)), history, ..Self::default() }
    }

    /// A snapshot of what there is.
    pub(super) fn snapshot(&self, transfer: u64) -> SnapshotHeader {
        let (position, history) = (self.head, self.history.clone());
        SnapshotHeader { transfer, position, history, chain: 0, entries: 3, bytes: 100 }
    }

    /// Does the work with these frames, or fails: because the disk is full, or in another way.
    pub(super) fn complete(
        &mut self,
        work: Work,
        frames: &[(Bulk, usize)],
        fails: Option<bool>,
        node: NodeId,
    ) -> Completed {
        if let Some(full) = fails {
            return work.fail(DiskFailure { full, reason: "the disk".to_owned() });
        }
        match work {
            Work::StoreState(order) => order.split().1.complete(Ok(())),
            Work::AppendGroup(order) => {
                let (job, pending) = order.split();
                let tickets = job.change_sets.iter().map(|(ticket, ())| *ticket);
                let verdicts = tickets.map(|ticket| (ticket, Ok(self.append()))).collect();
                pending.complete(Ok(GroupReceipt { verdicts, head: self.head, log_floor: self.floor }))
            }
            Work::BeginEra(order) => {
                let (job, pending) = order.split();
                assert_eq!(job.era.node, node, "an era of somebody else");
                self.head.revision.epoch = job.era.epoch;
                assert!(self.history.begin(job.era), "an era {:?} behind {:?}", job.era, self.history.last());
                pending.complete(Ok(EraReceipt { head: self.head, log_floor: self.floor }))
            }
            Work::AppendRecords(order) => order.split().1.complete(Ok(self.receive(frames))),
            Work::BeginStaging(order) => {
                let (job, pending) = order.split();
                self.staged = Some(*job.header);
                pending.complete(Ok(StagedBefore::Nothing))
            }
            Work::StagePieces(order) => {
                let bytes = frames.iter().map(|(_, bytes)| *bytes as u64).sum();
                order.split().1.complete(Ok(PiecesReceipt { bytes, wants: None }))
            }
            Work::FinishStaging(order) => order.split().1.complete(Ok(self.switch())),
            Work::Quarantine(order) => {
                let (job, pending) = order.split();
                let (from, to) = (job.common, self.head.revision);
                let change_sets = to.seq.saturating_sub(from.seq);
                pending.complete(Ok(QuarantineReceipt { from, to, change_sets }))
            }
            Work::Reopen(order) => order.split().1.complete(Ok(self.reopened())),
        }
    }

    fn append(&mut self) -> Revision {
        let revision = self.head.revision;
        self.head = position(Revision { seq: revision.seq + 1, ..revision });
        self.head.revision
    }

    /// Appends records that are what their headers say.
    fn receive(&mut self, frames: &[(Bulk, usize)]) -> RecordsReceipt {
        let before = self.clone();
        let fits = self.faults & 1 == 0 && frames.iter().all(|(what, bytes)| self.follows(what, *bytes));
        if !fits {
            *self = before;
            return RecordsReceipt::Mismatch { head: self.head };
        }
        if self.faults & 2 != 0 {
            let at = self.head.revision;
            *self = before;
            return RecordsReceipt::Rejected { at, reason: "no".to_owned() };
        }
        let began = self.history.eras().iter().filter(|era| era.epoch > before.head.revision.epoch);
        RecordsReceipt::Appended { head: self.head, log_floor: self.floor, eras: began.copied().collect() }
    }

    /// Moves on to the end of these records, if there can be such.
    fn follows(&mut self, what: &Bulk, bytes: usize) -> bool {
        let Bulk::Records { after, last, .. } = *what else { return false };
        let head = self.head.revision;
        let more = last.seq.checked_sub(head.seq);
        if after != head || more.is_none_or(|more| more > bytes as u64) {
            return false;
        }
        if last.epoch != head.epoch {
            let era = Era { epoch: last.epoch, first_seq: head.seq + 1, node: PEER };
            if !self.history.begin(era) {
                return false;
            }
        }
        self.head = position(last);
        true
    }

    fn switch(&mut self) -> StagingReceipt {
        let Some(header) = self.staged.take().filter(|_| self.faults & 1 == 0) else {
            return StagingReceipt::Mismatch { found: self.head };
        };
        if self.faults & 2 != 0 {
            return StagingReceipt::Rejected { reason: "no".to_owned() };
        }
        (self.head, self.floor, self.history) = (header.position, header.position.revision, header.history);
        StagingReceipt::Switched { head: self.head }
    }

    fn reopened(&mut self) -> ReopenReceipt {
        let damage = (self.faults & 4 != 0).then(|| "damage".to_owned());
        let (head, log_floor, history) = (self.head, self.floor, self.history.clone());
        ReopenReceipt { head, log_floor, history, shown: head.revision, damage }
    }
}

/// This revision, with a digest that belongs to it.
pub(super) fn position(revision: Revision) -> Position {
    Position { revision, digest: Digest([revision.seq as u8; 32]) }
}
