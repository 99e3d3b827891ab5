use std::time::Duration;

use super::{How, RecordsReceipt};
use crate::model::{Moment, Position, Revision};
use crate::protocol::wire::{Bulk, BulkId, Message, Misbehaviour, Repair, SnapshotHeader};

/// The receiving end of one session.
///
/// | state | what it does with bulk |
/// |---|---|
/// | `Waiting` | drops it: the source has not said how it will repair |
/// | `Following` | appends records |
/// | `Staging` | stages pieces of a snapshot |
/// | `Finishing` | drops it: the snapshot is being verified |
/// | `Skipping` | drops it: something was refused, and what is still under way builds on that |
///
/// Everything dropped is acknowledged as received, so that the source knows when nothing old is in flight.
#[derive(Clone, Debug)]
pub struct Sink {
    state: State,
    /// Bulk that waits for the batch in flight.
    queue: Vec<(BulkId, usize)>,
    /// Bytes of the batch in flight.
    busy: Option<usize>,
    received: u64,
    /// How far the source's own log is durable.
    mark: Revision,
    since: Moment,
    from_seq: u64,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Following { to: Option<Revision> },
    Staging { header: Box<SnapshotHeader>, begun: bool },
    Finishing { header: Box<SnapshotHeader> },
    Skipping,
}

/// What a [`Sink`] wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkOut {
    /// Say this.
    Send(Message),
    /// Append these records as they came, durably.
    Append(Vec<BulkId>),
    /// Open a new staging file for this snapshot.
    StageBegin(Box<SnapshotHeader>),
    /// Write these pieces to it.
    Stage(Vec<BulkId>),
    /// Verify the staged snapshot and switch to it.
    StageFinish,
    /// Forget these bytes.
    Drop(BulkId),
    /// Make visible up to here.
    Publish(Revision),
    /// The repair is over; the copy is complete and verified.
    Synced {
        /// How.
        how: How,
        /// Where.
        position: Position,
        /// Entries or change sets transferred.
        entries: u64,
        /// Bytes transferred.
        bytes: u64,
        /// Time it took.
        took: Duration,
    },
    /// The source broke the protocol; close the link.
    Protest(Misbehaviour),
}

impl Sink {
    /// Begins a session.
    pub fn begin(at: Moment) -> Self {
        Self {
            state: State::Waiting,
            queue: Vec::new(),
            busy: None,
            received: 0,
            mark: Revision::NONE,
            since: at,
            from_seq: 0,
            bytes: 0,
        }
    }

    /// Whether the copy is known to lack something that the source has.
    pub fn syncing(&self) -> bool {
        !matches!(self.state, State::Following { to: None })
    }

    /// The source says how it will repair.
    pub fn repair(&mut self, repair: Repair, head: Position, at: Moment, out: &mut Vec<SinkOut>) {
        self.drop_queue(out);
        self.since = at;
        self.from_seq = head.revision.seq;
        self.bytes = 0;
        match repair {
            Repair::None => {
                self.state = State::Following { to: None };
                self.report(How::None, head, 0, at, out);
            }
            Repair::Incremental { to } if to <= head.revision => {
                self.state = State::Following { to: None };
                self.acknowledge(head, out);
                self.report(How::Incremental, head, 0, at, out);
            }
            Repair::Incremental { to } => self.state = State::Following { to: Some(to) },
            Repair::Full(header) => {
                out.push(SinkOut::StageBegin(Box::new(header.clone())));
                self.state = State::Staging { header: Box::new(header), begun: false };
            }
        }
    }

    /// Bulk arrived.
    pub fn bulk(&mut self, bulk: BulkId, what: Bulk, bytes: usize, out: &mut Vec<SinkOut>) {
        match (&self.state, what) {
            (State::Following { .. }, Bulk::Records { durable, .. }) => {
                self.mark = self.mark.max(durable);
                self.queue.push((bulk, bytes));
            }
            (State::Staging { header, begun: true }, Bulk::Snapshot { transfer }) if transfer == header.transfer => {
                self.queue.push((bulk, bytes));
            }
            _ => {
                out.push(SinkOut::Drop(bulk));
                self.received += bytes as u64;
                return out.push(SinkOut::Send(Message::Received { sum: self.received }));
            }
        }
        self.start(out);
    }

    /// The source says that all pieces were sent and acknowledged.
    pub fn snapshot_end(&mut self, transfer: u64, out: &mut Vec<SinkOut>) {
        match &self.state {
            State::Staging { header, .. } if header.transfer == transfer => {
                if self.busy.is_some() || !self.queue.is_empty() {
                    return out.push(SinkOut::Protest(Misbehaviour::SnapshotEndedEarly));
                }
                let header = header.clone();
                out.push(SinkOut::StageFinish);
                self.state = State::Finishing { header };
            }
            // The end of a snapshot that was given up here.
            State::Skipping | State::Waiting => {}
            _ => out.push(SinkOut::Protest(Misbehaviour::SnapshotNeverBegan)),
        }
    }

    /// What became of a batch of records.
    pub fn records_done(&mut self, receipt: &RecordsReceipt, at: Moment, out: &mut Vec<SinkOut>) {
        let bytes = self.settle();
        match receipt {
            RecordsReceipt::Appended { head, .. } => {
                self.bytes += bytes;
                out.push(SinkOut::Publish(head.revision.min(self.mark)));
                self.acknowledge(*head, out);
                if let State::Following { to: Some(to) } = self.state
                    && head.revision >= to
                {
                    self.state = State::Following { to: None };
                    let change_sets = head.revision.seq.saturating_sub(self.from_seq);
                    self.report(How::Incremental, *head, change_sets, at, out);
                }
                self.start(out);
            }
            RecordsReceipt::Rejected { at: refused, reason } => {
                out.push(SinkOut::Send(Message::Rejected { at: *refused, reason: reason.clone() }));
                self.skip(out);
            }
            RecordsReceipt::Mismatch { head } => {
                self.skip(out);
                out.push(SinkOut::Send(Message::Mismatch { at: *head }));
            }
        }
    }

    /// Staging is open.
    pub fn stage_begun(&mut self, out: &mut Vec<SinkOut>) {
        if let State::Staging { header, begun } = &mut self.state {
            *begun = true;
            out.push(SinkOut::Send(Message::SnapshotReady { transfer: header.transfer }));
        }
    }

    /// Pieces are staged.
    pub fn staged(&mut self, out: &mut Vec<SinkOut>) {
        self.bytes += self.settle();
        out.push(SinkOut::Send(Message::Received { sum: self.received }));
        self.start(out);
    }

    /// The snapshot was verified and switched to.
    pub fn stage_finished(&mut self, head: Position, at: Moment, out: &mut Vec<SinkOut>) {
        if let State::Finishing { header } = &self.state {
            let entries = header.entries;
            self.mark = self.mark.max(head.revision);
            self.state = State::Following { to: None };
            self.acknowledge(head, out);
            self.report(How::Full, head, entries, at, out);
        }
    }

    /// The snapshot was not what its header said.
    pub fn stage_mismatch(&mut self, found: Position, out: &mut Vec<SinkOut>) {
        self.skip(out);
        out.push(SinkOut::Send(Message::Mismatch { at: found }));
    }

    /// The host refused the snapshot.
    pub fn stage_rejected(&mut self, reason: &str, out: &mut Vec<SinkOut>) {
        if let State::Finishing { header } = &self.state {
            let at = header.position.revision;
            out.push(SinkOut::Send(Message::Rejected { at, reason: reason.to_owned() }));
        }
        self.skip(out);
    }

    /// A batch failed. The engine tells the source when the disk works again, with an acknowledgement.
    pub fn failed(&mut self, full: bool, reason: &str, out: &mut Vec<SinkOut>) {
        self.settle();
        self.skip(out);
        out.push(SinkOut::Send(Message::DiskTrouble { full, reason: reason.to_owned() }));
    }

    /// Says where the copy stands.
    pub fn acknowledge(&self, position: Position, out: &mut Vec<SinkOut>) {
        out.push(SinkOut::Send(Message::Ack { position, received: self.received }));
    }

    /// What is here turned out not to be what the source has.
    pub fn mismatch(&mut self, head: Position, out: &mut Vec<SinkOut>) {
        if !matches!(self.state, State::Skipping) {
            self.skip(out);
            out.push(SinkOut::Send(Message::Mismatch { at: head }));
        }
    }

    /// The link is gone: bulk that waits is forgotten.
    pub fn end(&mut self, out: &mut Vec<SinkOut>) {
        self.drop_queue(out);
    }

    /// Starts the next batch with all that waits.
    fn start(&mut self, out: &mut Vec<SinkOut>) {
        if self.busy.is_some() || self.queue.is_empty() {
            return;
        }
        self.busy = Some(self.queue.iter().map(|(_, bytes)| bytes).sum());
        let bulk = self.queue.drain(..).map(|(bulk, _)| bulk).collect();
        let staging = matches!(self.state, State::Staging { .. });
        out.push(if staging { SinkOut::Stage(bulk) } else { SinkOut::Append(bulk) });
    }

    /// The batch in flight is over; its bytes count as received.
    fn settle(&mut self) -> u64 {
        let bytes = self.busy.take().unwrap_or(0) as u64;
        self.received += bytes;
        bytes
    }

    fn skip(&mut self, out: &mut Vec<SinkOut>) {
        self.drop_queue(out);
        self.state = State::Skipping;
        out.push(SinkOut::Send(Message::Received { sum: self.received }));
    }

    fn drop_queue(&mut self, out: &mut Vec<SinkOut>) {
        for (bulk, bytes) in self.queue.drain(..) {
            self.received += bytes as u64;
            out.push(SinkOut::Drop(bulk));
        }
    }

    fn report(&self, how: How, position: Position, entries: u64, at: Moment, out: &mut Vec<SinkOut>) {
        let took = Duration::from_micros(at.0.saturating_sub(self.since.0));
        out.push(SinkOut::Synced { how, position, entries, bytes: self.bytes, took });
    }
}

#[cfg(test)]
impl Sink {
    /// The state, for tables.
    pub(super) fn state(&self) -> &impl std::fmt::Debug {
        &self.state
    }
}
