use std::time::Duration;

use super::window::Window;
use super::{LogView, RepairKind, RepairPlan, SinkCopy, wanted_entries};
use crate::model::limits::{MISMATCHES_MAX, PUSH_STEP_BYTES};
use crate::model::{Moment, Position, Revision};
use crate::protocol::wire::{Message, Misbehaviour, Repair, ResumePoint, SnapshotHeader};

mod snapshot;

/// The pushing end of one session.
///
/// | state | what it waits for |
/// |---|---|
/// | `Draining` | the acknowledgement of everything in flight, so that no old one counts for the next repair |
/// | `Live` | a newer head, and room in the window |
/// | `Opening` | the shell to open a snapshot |
/// | `Offered` | the sink to be ready for the snapshot, or to say how much of one it has |
/// | `Sending` | room in the window, and the last acknowledgement; behind hashes, what the sink wants |
/// | `Verifying` | the sink to verify the snapshot |
/// | `Rejected` | a head newer than the one that the sink's host refused |
/// | `DiskFailed` | the sink's disk to work again |
#[derive(Clone, Debug)]
pub struct Source {
    state: State,
    window: Window,
    /// The shell was asked to read for a push and has not answered yet.
    reading: bool,
    /// What the sink durably holds, as it last reported.
    confirmed: Position,
    /// The newest revision that was pushed.
    sent: Revision,
    /// How far the sink knows the source's log to be durable; no further than that matters to it.
    told: Revision,
    /// The sink is told so apart from bulk.
    tells_marks: bool,
    /// A sink with a complete copy is sent only what differs. It is not where an operator asked for a full push, nor where its copy was
    /// found to be something else than its position says.
    compares: bool,
    /// A full push was asked for while the sink verified another one.
    full_push_queued: bool,
    /// The lowest transfer number of this session. Lower numbers belong to earlier sessions.
    first_transfer: u64,
    next_transfer: u64,
    mismatches: u32,
    repair: RepairProgress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Draining { then: RepairPlan },
    Live,
    Opening { transfer: u64 },
    Offered { header: Box<SnapshotHeader> },
    Sending { header: Box<SnapshotHeader>, done: bool, asks: Asks },
    Verifying { header: Box<SnapshotHeader> },
    Rejected { at: Revision },
    DiskFailed,
}

/// Whether the sink says between two parts of a snapshot what it wants of the second.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    /// There is no second part, or this is it.
    No,
    /// What is sent are hashes. The sink has not said yet what it wants.
    Waits,
    /// It has.
    Wants(Vec<u8>),
}

/// The repair that is under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RepairProgress {
    kind: RepairKind,
    began: Moment,
    from_seq: u64,
    /// The source's head when the repair began. The repair is complete once the sink holds it.
    target: Revision,
    entries: u64,
    bytes: u64,
    /// Its completion was reported.
    reported: bool,
}

/// An output of a [`Source`], which the engine executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOut {
    /// Send this message to the sink.
    Send(Message),
    /// Push log records.
    PushRecords {
        /// The revision before the first of them.
        after: Revision,
        /// The last revision to push. It may be above the durable head: then everything after that is pushed at once.
        upto: Revision,
        /// Most bytes to push.
        max_bytes: usize,
    },
    /// Open a snapshot.
    OpenSnapshot {
        /// Its transfer number.
        transfer: u64,
    },
    /// The open snapshot begins with what changed of this, and goes on behind it.
    ResumeSnapshot {
        /// Its transfer number.
        transfer: u64,
        /// What the sink has staged.
        point: Box<ResumePoint>,
    },
    /// The open snapshot begins with the hashes of what differs from this.
    CompareSnapshot {
        /// Its transfer number.
        transfer: u64,
        /// The first bytes of the digest of each bucket of the sink.
        buckets: Vec<u8>,
    },
    /// The hashes were pushed: what follows is what the sink wants.
    SelectSnapshot {
        /// The transfer number.
        transfer: u64,
        /// A bit for each of the hashes; none for the whole snapshot.
        wants: Vec<u8>,
    },
    /// Push the next piece of the open snapshot.
    PushSnapshot {
        /// Its transfer number.
        transfer: u64,
        /// Most bytes to push.
        max_bytes: usize,
    },
    /// Close the snapshot: it is no longer needed.
    CloseSnapshot {
        /// Its transfer number.
        transfer: u64,
    },
    /// The repair is complete: the sink holds the head that the source had when the repair began.
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
    /// The sink violated the protocol: close the link.
    Misbehaved(Misbehaviour),
}

impl Source {
    /// Begins a session. `full`: a full push, whatever the sink holds. `transfer`: the number of the first snapshot.
    pub fn begin(
        log_view: LogView<'_>,
        copy: SinkCopy<'_>,
        full: bool,
        heartbeat: Duration,
        transfer: u64,
        at: Moment,
    ) -> (Self, Vec<SourceOut>) {
        let position = copy.position;
        let plan = if full { RepairPlan::Snapshot } else { log_view.cheapest_repair(copy) };
        let mut source = Self {
            state: State::DiskFailed,
            window: Window::new(heartbeat),
            reading: false,
            confirmed: position,
            sent: position.revision,
            told: Revision::NONE,
            tells_marks: copy.told_marks,
            compares: !full && position.revision != log_view.head.revision,
            full_push_queued: false,
            first_transfer: transfer,
            next_transfer: transfer,
            mismatches: 0,
            repair: RepairProgress::new(RepairKind::None, at, position.revision.seq, log_view.head.revision),
        };
        let mut out = Vec::new();
        source.begin_repair(log_view, plan, at, &mut out);
        (source, out)
    }

    /// What the sink durably holds, as it last reported.
    pub fn confirmed(&self) -> Position {
        self.confirmed
    }

    /// Whether no repair is under way.
    pub fn synced(&self) -> bool {
        self.repair.reported && matches!(self.state, State::Live | State::Rejected { .. } | State::DiskFailed)
    }

    /// The revision that the sink's host refused, while no newer one was pushed.
    pub fn rejected(&self) -> Option<Revision> {
        match self.state {
            State::Rejected { at } => Some(at),
            _ => None,
        }
    }

    /// Whether a snapshot is about to replace what the sink holds.
    fn is_replacing(&self) -> bool {
        match self.state {
            State::Opening { .. } | State::Offered { .. } | State::Sending { .. } | State::Verifying { .. } => true,
            State::Draining { .. } | State::Live | State::Rejected { .. } | State::DiskFailed => false,
        }
    }

    /// The number of the next snapshot, for the session after this one.
    pub fn next_transfer(&self) -> u64 {
        self.next_transfer
    }

    /// The number of the snapshot that the shell opens or has open.
    pub fn open_transfer(&self) -> Option<u64> {
        match &self.state {
            State::Opening { transfer } => Some(*transfer),
            State::Offered { header } | State::Sending { header, .. } | State::Verifying { header } => {
                Some(header.transfer)
            }
            _ => None,
        }
    }

    /// Does what the state allows now. Call it when the head has moved and after every event below.
    pub fn advance(&mut self, log_view: LogView<'_>, at: Moment, out: &mut Vec<SourceOut>) {
        match &mut self.state {
            State::Draining { then } if !self.reading && self.window.is_empty() => {
                let then = *then;
                self.begin_repair(log_view, then, at, out);
            }
            // The sink already holds what its host refused: nothing is left to push.
            State::Rejected { .. } if self.confirmed == log_view.head && !self.reading && self.window.is_empty() => {
                self.begin_repair(log_view, RepairPlan::Nothing, at, out);
            }
            State::Rejected { at: refused }
                if log_view.head.revision > *refused && !self.reading && self.window.is_empty() =>
            {
                let plan =
                    if log_view.reaches(self.confirmed.revision) { RepairPlan::Log } else { RepairPlan::Snapshot };
                self.begin_repair(log_view, plan, at, out);
            }
            State::Live if !self.reading => {
                let max_bytes = self.window.room(at.0).min(PUSH_STEP_BYTES);
                if let Some(upto) = self.next_push(log_view, max_bytes) {
                    self.reading = true;
                    self.told = log_view.head.revision;
                    out.push(SourceOut::PushRecords { after: self.sent, upto, max_bytes });
                }
            }
            State::Sending { header, done: false, .. } if !self.reading && self.window.room(at.0) > 0 => {
                self.reading = true;
                let max_bytes = self.window.room(at.0).min(PUSH_STEP_BYTES);
                out.push(SourceOut::PushSnapshot { transfer: header.transfer, max_bytes });
            }
            State::Sending { header, done, asks } if *done && !self.reading && matches!(asks, Asks::Wants(_)) => {
                let Asks::Wants(wants) = std::mem::replace(asks, Asks::No) else { return };
                *done = false;
                if !wants.is_empty() {
                    self.repair.kind = RepairKind::Differential;
                    self.repair.entries = wanted_entries(&wants);
                }
                out.push(SourceOut::SelectSnapshot { transfer: header.transfer, wants });
                self.advance(log_view, at, out);
            }
            State::Sending { header, done: true, asks: Asks::No } if self.window.is_empty() => {
                let header = header.clone();
                out.push(SourceOut::Send(Message::SnapshotEnd { transfer: header.transfer }));
                out.push(SourceOut::CloseSnapshot { transfer: header.transfer });
                self.state = State::Verifying { header };
            }
            _ => {}
        }
    }

    /// Up to where records can be pushed now. What is not durable yet goes at once and whole, since it cannot be read again; the
    /// sink then holds more than this node could still lose, and shows it when it is told that this node cannot.
    fn next_push(&self, log_view: LogView<'_>, max_bytes: usize) -> Option<Revision> {
        let durable = log_view.head.revision;
        if max_bytes == 0 {
            return None;
        }
        if self.sent < durable {
            return Some(durable);
        }
        let written = log_view.written.filter(|written| self.tells_marks && written.bytes <= max_bytes)?;
        (self.sent == durable).then_some(written.head.revision)
    }

    /// What the sink holds, or is about to, has become durable here: tells it, unless the next push will.
    pub fn tell_mark(&mut self, log_view: LogView<'_>, out: &mut Vec<SourceOut>) {
        let upto = log_view.head.revision.min(self.sent);
        if self.tells_marks && self.state == State::Live && self.told < upto {
            self.told = upto;
            out.push(SourceOut::Send(Message::Durable { upto }));
        }
    }

    /// The shell pushed records up to `last`, or the log no longer reaches back far enough (`gone`).
    pub fn records_pushed(&mut self, last: Revision, bytes: usize, gone: bool, at: Moment) {
        self.window.pushed(bytes, at.0);
        self.repair.bytes += bytes as u64;
        self.reading = false;
        if self.state == State::Live {
            // An empty push although the head is newer: the log contradicts its head. A snapshot avoids asking again forever.
            if gone || (bytes == 0 && last <= self.sent) {
                self.state = State::Draining { then: RepairPlan::Snapshot };
            } else {
                self.sent = last.max(self.sent);
            }
        }
    }

    /// A control message of the sink. The engine itself handles hellos, heartbeats and `Bye`.
    pub fn message(&mut self, log_view: LogView<'_>, message: &Message, at: Moment, out: &mut Vec<SourceOut>) {
        match message {
            Message::SnapshotReady { transfer } => self.sink_ready(*transfer, out),
            Message::SnapshotBase { transfer, buckets } => self.sink_has_base(*transfer, buckets, out),
            Message::SnapshotWants { transfer, wants } => self.sink_wants(*transfer, wants, out),
            Message::SnapshotResume { transfer, point } => self.sink_resumes(log_view, *transfer, point, out),
            Message::Received { sum } => {
                if !self.window.acknowledged(*sum, at.0) {
                    out.push(SourceOut::Misbehaved(Misbehaviour::ImpossibleAck));
                }
            }
            Message::Ack { position, received } => self.acknowledged(log_view, *position, *received, at, out),
            Message::Rejected { at: refused, .. } => {
                self.close_snapshot(out);
                self.state = State::Rejected { at: (*refused).min(log_view.end().revision) };
            }
            Message::Mismatch { .. } => self.mismatch(out),
            Message::Resync => self.restart_full(out),
            Message::DiskTrouble { .. } => {
                self.close_snapshot(out);
                // A differential push needs more room than a full one.
                self.compares = false;
                self.state = State::DiskFailed;
            }
            _ => out.push(SourceOut::Misbehaved(Misbehaviour::NotOfASink)),
        }
        self.advance(log_view, at, out);
    }

    /// Begins a full push once nothing is in flight.
    pub fn restart_full(&mut self, out: &mut Vec<SourceOut>) {
        if matches!(self.state, State::Verifying { .. }) {
            // The sink's answer to this snapshot is still to come, and must not count as an answer to the next one.
            self.full_push_queued = true;
            return;
        }
        self.close_snapshot(out);
        self.repair.reported = false;
        self.compares = false;
        self.state = State::Draining { then: RepairPlan::Snapshot };
    }

    /// The sink's copy does not match. A full push repairs it. After repeated mismatches the link is closed; the next one
    /// comes after a pause.
    fn mismatch(&mut self, out: &mut Vec<SourceOut>) {
        self.mismatches += 1;
        if self.mismatches > MISMATCHES_MAX {
            return out.push(SourceOut::Misbehaved(Misbehaviour::CopyNeverMatches));
        }
        self.close_snapshot(out);
        self.restart_full(out);
    }

    fn begin_repair(&mut self, log_view: LogView<'_>, plan: RepairPlan, at: Moment, out: &mut Vec<SourceOut>) {
        let target = log_view.head.revision;
        self.sent = self.confirmed.revision;
        // The repair says so.
        self.told = target;
        match plan {
            RepairPlan::Nothing => {
                self.repair = RepairProgress::new(RepairKind::None, at, target.seq, target);
                self.sent = target;
                self.confirmed = log_view.head;
                out.push(SourceOut::Send(Message::Repair(Repair::None)));
                self.state = State::Live;
                self.report_synced(at, out);
            }
            RepairPlan::Log => {
                self.repair = RepairProgress::new(RepairKind::Incremental, at, self.confirmed.revision.seq, target);
                out.push(SourceOut::Send(Message::Repair(Repair::Incremental { to: target })));
                self.state = State::Live;
            }
            RepairPlan::Snapshot => {
                let transfer = self.next_transfer;
                self.next_transfer += 1;
                self.repair = RepairProgress::new(RepairKind::Full, at, 0, target);
                self.reading = true;
                out.push(SourceOut::OpenSnapshot { transfer });
                self.state = State::Opening { transfer };
            }
        }
        self.advance(log_view, at, out);
    }

    fn acknowledged(
        &mut self,
        log_view: LogView<'_>,
        position: Position,
        received: u64,
        at: Moment,
        out: &mut Vec<SourceOut>,
    ) {
        if !self.window.acknowledged(received, at.0) {
            return out.push(SourceOut::Misbehaved(Misbehaviour::ImpossibleAck));
        }
        if let State::Verifying { header } = &self.state {
            if position == header.position {
                self.confirmed = position;
                self.sent = position.revision;
                self.state = State::Live;
                self.report_synced(at, out);
                if std::mem::take(&mut self.full_push_queued) {
                    self.restart_full(out);
                }
            }
            return;
        }
        if !log_view.may_hold(position.revision) {
            // The sink holds records outside this history, or nothing. The repair under way replaces them. Where the sink's
            // disk had stopped the repair, it begins again.
            if self.state == State::DiskFailed {
                self.state = State::Draining { then: RepairPlan::Snapshot };
            }
            return;
        }
        if let State::Offered { header } = &self.state
            && position.revision > header.position.revision
        {
            // The sink holds more than the offered snapshot and keeps it. A snapshot is offered again once this node shows as
            // much.
            self.confirmed = position;
            return self.restart_full(out);
        }
        if self.is_replacing() {
            // The snapshot is about to replace what the sink holds.
            return;
        }
        self.confirmed = position;
        if self.state == State::DiskFailed {
            let plan = if log_view.reaches(position.revision) { RepairPlan::Log } else { RepairPlan::Snapshot };
            self.state = State::Draining { then: plan };
        }
        let differs = |own: Position| position.revision == own.revision && position.digest != own.digest;
        if differs(log_view.head) || differs(log_view.end()) {
            return self.mismatch(out);
        }
        if matches!(self.state, State::Live) && position.revision >= self.repair.target {
            self.report_synced(at, out);
        }
    }

    /// Reports that the repair is complete, once.
    fn report_synced(&mut self, at: Moment, out: &mut Vec<SourceOut>) {
        if self.repair.reported {
            return;
        }
        self.repair.reported = true;
        let repair = &self.repair;
        let entries = match repair.kind {
            RepairKind::Full | RepairKind::Differential => repair.entries,
            _ => self.confirmed.revision.seq.saturating_sub(repair.from_seq),
        };
        out.push(SourceOut::Synced {
            how: repair.kind,
            position: self.confirmed,
            entries,
            bytes: repair.bytes,
            took: Duration::from_micros(at.0.saturating_sub(repair.began.0)),
        });
    }
}

impl RepairProgress {
    fn new(kind: RepairKind, began: Moment, from_seq: u64, target: Revision) -> Self {
        Self { kind, began, from_seq, target, entries: 0, bytes: 0, reported: false }
    }
}

#[cfg(test)]
impl Source {
    /// The state, for the reviewed tables.
    pub(super) fn state(&self) -> &impl std::fmt::Debug {
        &self.state
    }
}
