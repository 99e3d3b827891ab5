use std::time::Duration;

use super::{RecordsReceipt, RepairKind, StagedBefore, wanted_entries};
use crate::model::limits::MISMATCHES_MAX;
use crate::model::{Moment, Position, Revision};
use crate::protocol::wire::{Bulk, BulkId, Message, Misbehaviour, Repair, SnapshotHeader};

/// The receiving end of one session.
///
/// | state | what it does with bulk |
/// |---|---|
/// | `AwaitingRepair` | drops it: the source has not announced its repair yet |
/// | `Following` | appends records |
/// | `Staging` | stages pieces of a snapshot |
/// | `Verifying` | drops it: the snapshot is being verified |
/// | `Discarding` | drops it: something was refused, and the bulk still in flight depends on that |
///
/// Dropped bulk is acknowledged as received, so that the source knows when nothing is in flight.
#[derive(Clone, Debug)]
pub struct Sink {
    state: State,
    /// Bulk that waits for the batch in flight.
    queue: Vec<(BulkId, usize)>,
    /// Bytes of the batch in flight.
    in_flight: Option<usize>,
    /// Bytes of bulk stored or dropped on this link.
    received: u64,
    /// How far the source's own log is durable.
    source_durable: Revision,
    /// The source can go on with a snapshot that was cut.
    resumes: bool,
    /// After this time what was staged is made durable, so that a power cut costs no more.
    keep_every: Duration,
    /// When what was staged was made durable last.
    kept_at: Moment,
    /// Of a snapshot of which only what differs is sent: how many entries that is.
    differing: Option<u64>,
    /// How often what the source sent did not match what it had said.
    mismatches: u32,
    repair_began: Moment,
    repair_from_seq: u64,
    repair_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    AwaitingRepair,
    /// `to`: the source's head when the repair began, until it is reached.
    Following {
        to: Option<Revision>,
    },
    /// `open`: the staging file is open.
    Staging {
        header: Box<SnapshotHeader>,
        open: bool,
    },
    Verifying {
        header: Box<SnapshotHeader>,
    },
    Discarding,
}

/// An output of a [`Sink`], which the engine executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkOut {
    /// Send this message to the source.
    Send(Message),
    /// Append these records durably, byte for byte.
    AppendRecords(Vec<BulkId>),
    /// Open a staging file for this snapshot.
    BeginStaging {
        /// What the source says of it.
        header: Box<SnapshotHeader>,
        /// What is staged already stays, until the source's first piece says whether it goes on there.
        resumes: bool,
    },
    /// Write these pieces to the staging file.
    StagePieces {
        /// In this order.
        pieces: Vec<BulkId>,
        /// Make what is staged durable.
        keep: bool,
    },
    /// Verify the staged snapshot and switch to it.
    FinishStaging,
    /// Drop these bytes.
    DropBulk(BulkId),
    /// Make the configuration visible up to this revision.
    Publish(Revision),
    /// The repair is complete: the copy is complete and verified.
    Synced {
        /// How it was repaired.
        how: RepairKind,
        /// What it holds.
        position: Position,
        /// Entries or change sets transferred.
        entries: u64,
        /// Bytes transferred.
        bytes: u64,
        /// Duration of the repair.
        took: Duration,
    },
    /// The source violated the protocol: close the link.
    Misbehaved(Misbehaviour),
}

impl Sink {
    /// Begins a session. `resumes`: the source can go on with a snapshot that was cut. `keep_every`: what is staged is made durable
    /// after this time.
    pub fn begin(at: Moment, keep_every: Duration, resumes: bool) -> Self {
        Self {
            state: State::AwaitingRepair,
            queue: Vec::new(),
            in_flight: None,
            received: 0,
            source_durable: Revision::NONE,
            resumes,
            keep_every,
            kept_at: at,
            differing: None,
            mismatches: 0,
            repair_began: at,
            repair_from_seq: 0,
            repair_bytes: 0,
        }
    }

    /// Whether the copy is known to lack something that the source has.
    pub fn syncing(&self) -> bool {
        !matches!(self.state, State::Following { to: None })
    }

    /// The source announces its repair.
    pub fn repair(&mut self, repair: Repair, head: Position, at: Moment, out: &mut Vec<SinkOut>) {
        self.drop_queue(out);
        self.repair_began = at;
        self.repair_from_seq = head.revision.seq;
        self.repair_bytes = 0;
        match repair {
            Repair::None => {
                self.state = State::Following { to: None };
                self.durable_at_source(head.revision, head, out);
                self.report_synced(RepairKind::None, head, 0, at, out);
            }
            Repair::Incremental { to } if to <= head.revision => {
                self.state = State::Following { to: None };
                self.durable_at_source(to, head, out);
                self.acknowledge(head, out);
                self.report_synced(RepairKind::Incremental, head, 0, at, out);
            }
            Repair::Incremental { to } => {
                self.state = State::Following { to: Some(to) };
                self.durable_at_source(to, head, out);
            }
            Repair::Full(header) => {
                let resumes = self.resumes;
                (self.kept_at, self.differing) = (at, None);
                out.push(SinkOut::BeginStaging { header: Box::new(header.clone()), resumes });
                self.state = State::Staging { header: Box::new(header), open: false };
            }
        }
    }

    /// The source's own log is durable up to here. What this sink holds of that may be shown. Where that is more than it holds, the
    /// next records must first show that what it holds is the source's.
    pub fn durable_at_source(&mut self, upto: Revision, head: Position, out: &mut Vec<SinkOut>) {
        // Else a snapshot may be about to replace what this sink holds, which need not be the source's.
        if matches!(self.state, State::Following { .. } | State::Discarding) {
            self.source_durable = self.source_durable.max(upto);
            if upto <= head.revision {
                out.push(SinkOut::Publish(upto));
            }
        }
    }

    /// Bulk arrived.
    pub fn bulk(&mut self, bulk: BulkId, what: Bulk, bytes: usize, head: Position, at: Moment, out: &mut Vec<SinkOut>) {
        match (&self.state, what) {
            (State::Following { .. }, Bulk::Records { durable, .. }) => {
                self.durable_at_source(durable, head, out);
                self.queue.push((bulk, bytes));
            }
            (State::Staging { header, open: true }, Bulk::Snapshot { transfer }) if transfer == header.transfer => {
                self.queue.push((bulk, bytes));
            }
            _ => {
                out.push(SinkOut::DropBulk(bulk));
                self.received += bytes as u64;
                return out.push(SinkOut::Send(Message::Received { sum: self.received }));
            }
        }
        self.start_batch(at, out);
    }

    /// The source reports that all pieces were sent and acknowledged.
    pub fn snapshot_end(&mut self, transfer: u64, out: &mut Vec<SinkOut>) {
        match &self.state {
            State::Staging { header, .. } if header.transfer == transfer => {
                if self.in_flight.is_some() || !self.queue.is_empty() {
                    return out.push(SinkOut::Misbehaved(Misbehaviour::SnapshotEndedEarly));
                }
                let header = header.clone();
                out.push(SinkOut::FinishStaging);
                self.state = State::Verifying { header };
            }
            // The end of a snapshot that this sink gave up.
            State::Discarding | State::AwaitingRepair => {}
            _ => out.push(SinkOut::Misbehaved(Misbehaviour::SnapshotNeverBegan)),
        }
    }

    /// A batch of records was stored or refused.
    pub fn records_done(&mut self, receipt: &RecordsReceipt, at: Moment, out: &mut Vec<SinkOut>) {
        let bytes = self.batch_done();
        match receipt {
            RecordsReceipt::Appended { head, .. } => {
                self.repair_bytes += bytes;
                out.push(SinkOut::Publish(head.revision.min(self.source_durable)));
                self.acknowledge(*head, out);
                if let State::Following { to: Some(to) } = self.state
                    && head.revision >= to
                {
                    self.state = State::Following { to: None };
                    let change_sets = head.revision.seq.saturating_sub(self.repair_from_seq);
                    self.report_synced(RepairKind::Incremental, *head, change_sets, at, out);
                }
                self.start_batch(at, out);
            }
            RecordsReceipt::Rejected { at: refused, reason } => {
                out.push(SinkOut::Send(Message::Rejected { at: *refused, reason: reason.clone() }));
                self.discard(out);
            }
            RecordsReceipt::Mismatch { head } => self.source_mismatches(*head, out),
        }
    }

    /// The staging file is open, or there is something for it already.
    pub fn staging_begun(&mut self, before: StagedBefore, out: &mut Vec<SinkOut>) {
        if let State::Staging { header, open } = &mut self.state {
            *open = true;
            let transfer = header.transfer;
            out.push(SinkOut::Send(match before {
                StagedBefore::Nothing => Message::SnapshotReady { transfer },
                StagedBefore::Part(point) => Message::SnapshotResume { transfer, point },
                StagedBefore::Base(buckets) => Message::SnapshotBase { transfer, buckets },
            }));
        }
    }

    /// A batch of pieces was staged. `wants`: they ended with the last of the hashes, and these of the entries are missing here.
    pub fn pieces_staged(&mut self, wants: Option<Vec<u8>>, at: Moment, out: &mut Vec<SinkOut>) {
        self.repair_bytes += self.batch_done();
        out.push(SinkOut::Send(Message::Received { sum: self.received }));
        // Not open: they belong to the snapshot before.
        if let (Some(wants), State::Staging { header, open: true }) = (wants, &self.state) {
            self.differing = (!wants.is_empty()).then(|| wanted_entries(&wants));
            out.push(SinkOut::Send(Message::SnapshotWants { transfer: header.transfer, wants }));
        }
        self.start_batch(at, out);
    }

    /// The snapshot was verified and is this node's configuration now.
    pub fn staging_finished(&mut self, head: Position, at: Moment, out: &mut Vec<SinkOut>) {
        if let State::Verifying { header } = &self.state {
            let (kind, entries) = match self.differing {
                Some(entries) => (RepairKind::Differential, entries),
                None => (RepairKind::Full, header.entries),
            };
            self.source_durable = self.source_durable.max(head.revision);
            self.state = State::Following { to: None };
            self.acknowledge(head, out);
            self.report_synced(kind, head, entries, at, out);
        }
    }

    /// The snapshot did not match its header.
    pub fn staging_mismatch(&mut self, found: Position, out: &mut Vec<SinkOut>) {
        self.source_mismatches(found, out);
    }

    /// What the source sent is not what it had said. It is told, and repairs it by a full push. One that goes on like that loses its
    /// link, so that it cannot keep this node's disk busy.
    fn source_mismatches(&mut self, at: Position, out: &mut Vec<SinkOut>) {
        self.discard(out);
        self.mismatches += 1;
        // The source gives up one earlier.
        if self.mismatches > MISMATCHES_MAX + 1 {
            return out.push(SinkOut::Misbehaved(Misbehaviour::SourceNeverMatches));
        }
        out.push(SinkOut::Send(Message::Mismatch { at }));
    }

    /// The host refused the snapshot.
    pub fn staging_rejected(&mut self, reason: &str, out: &mut Vec<SinkOut>) {
        if let State::Verifying { header } = &self.state {
            let at = header.position.revision;
            out.push(SinkOut::Send(Message::Rejected { at, reason: reason.to_owned() }));
        }
        self.discard(out);
    }

    /// The disk failed under a batch. Once it works again, the engine calls [`Sink::acknowledge`].
    pub fn batch_failed(&mut self, full: bool, reason: &str, out: &mut Vec<SinkOut>) {
        self.batch_done();
        self.discard(out);
        out.push(SinkOut::Send(Message::DiskTrouble { full, reason: reason.to_owned() }));
    }

    /// Reports the copy's durable position to the source.
    pub fn acknowledge(&self, position: Position, out: &mut Vec<SinkOut>) {
        out.push(SinkOut::Send(Message::Ack { position, received: self.received }));
    }

    /// This node's copy was found to differ from the source's.
    pub fn mismatch(&mut self, head: Position, out: &mut Vec<SinkOut>) {
        if !matches!(self.state, State::Discarding) {
            self.discard(out);
            out.push(SinkOut::Send(Message::Mismatch { at: head }));
        }
    }

    /// The link is gone: waiting bulk is dropped.
    pub fn link_lost(&mut self, out: &mut Vec<SinkOut>) {
        self.drop_queue(out);
    }

    /// Starts the next batch with all waiting bulk.
    fn start_batch(&mut self, at: Moment, out: &mut Vec<SinkOut>) {
        if self.in_flight.is_some() || self.queue.is_empty() {
            return;
        }
        self.in_flight = Some(self.queue.iter().map(|(_, bytes)| bytes).sum());
        let bulk = self.queue.drain(..).map(|(bulk, _)| bulk).collect();
        if !matches!(self.state, State::Staging { .. }) {
            return out.push(SinkOut::AppendRecords(bulk));
        }
        let keep = u128::from(at.0.saturating_sub(self.kept_at.0)) >= self.keep_every.as_micros();
        if keep {
            self.kept_at = at;
        }
        out.push(SinkOut::StagePieces { pieces: bulk, keep });
    }

    /// The batch in flight has ended. Its bytes count as received.
    fn batch_done(&mut self) -> u64 {
        let bytes = self.in_flight.take().unwrap_or(0) as u64;
        self.received += bytes;
        bytes
    }

    /// Drops all bulk from now on, until the source begins another repair.
    fn discard(&mut self, out: &mut Vec<SinkOut>) {
        self.drop_queue(out);
        self.state = State::Discarding;
        out.push(SinkOut::Send(Message::Received { sum: self.received }));
    }

    fn drop_queue(&mut self, out: &mut Vec<SinkOut>) {
        for (bulk, bytes) in self.queue.drain(..) {
            self.received += bytes as u64;
            out.push(SinkOut::DropBulk(bulk));
        }
    }

    fn report_synced(&self, kind: RepairKind, position: Position, entries: u64, at: Moment, out: &mut Vec<SinkOut>) {
        let took = Duration::from_micros(at.0.saturating_sub(self.repair_began.0));
        out.push(SinkOut::Synced { how: kind, position, entries, bytes: self.repair_bytes, took });
    }
}

#[cfg(test)]
impl Sink {
    /// The state, for the reviewed tables.
    pub(super) fn state(&self) -> &impl std::fmt::Debug {
        &self.state
    }
}
