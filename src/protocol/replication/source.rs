use std::time::Duration;

use super::window::Window;
use super::{How, LogView, Need};
use crate::model::limits::PUSH_STEP_BYTES;
use crate::model::{History, Moment, Position, Revision};
use crate::protocol::wire::{Message, Misbehaviour, Repair, SnapshotHeader};

/// Full pushes in one session that may turn out wrong at the other end before the link is given up.
const MISMATCHES_MAX: u32 = 3;

/// The pushing end of one session.
///
/// | state | what it waits for |
/// |---|---|
/// | `Draining` | that all in flight is acknowledged, so that nothing old is taken for new; then it begins again |
/// | `Live` | a newer head, room in the window |
/// | `Opening` | the shell to open a snapshot |
/// | `Offered` | the sink to be ready for it |
/// | `Sending` | room in the window, the last acknowledgement |
/// | `Ending` | the sink's verdict on the whole |
/// | `Rejected` | a head newer than the one that the host refused |
/// | `Troubled` | the sink's disk |
#[derive(Clone, Debug)]
pub struct Source {
    state: State,
    window: Window,
    /// The shell reads for a push; its answer is still to come.
    reading: bool,
    /// What the sink durably holds, by its last word.
    peer: Position,
    /// What was pushed.
    sent: Revision,
    /// A full push was asked for while another one was ending.
    again: bool,
    first_transfer: u64,
    next_transfer: u64,
    mismatches: u32,
    repair: Progress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Draining { then: Need },
    Live,
    Opening { transfer: u64 },
    Offered { header: Box<SnapshotHeader> },
    Sending { header: Box<SnapshotHeader>, done: bool },
    Ending { header: Box<SnapshotHeader> },
    Rejected { at: Revision },
    Troubled,
}

/// How far the repair that opened the session has come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    how: How,
    since: Moment,
    from_seq: u64,
    target: Revision,
    entries: u64,
    bytes: u64,
    reported: bool,
}

/// What a [`Source`] wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOut {
    /// Say this.
    Send(Message),
    /// Push records after this position.
    PushRecords {
        /// After here.
        after: Revision,
        /// At most so many bytes.
        max_bytes: usize,
    },
    /// Open a snapshot.
    OpenSnapshot {
        /// Under this number.
        transfer: u64,
    },
    /// Push its next piece.
    PushSnapshot {
        /// Of this number.
        transfer: u64,
        /// At most so many bytes.
        max_bytes: usize,
    },
    /// It is no longer needed.
    CloseSnapshot {
        /// Of this number.
        transfer: u64,
    },
    /// The sink is where the source was when the repair began.
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
    /// The sink broke the protocol; close the link.
    Protest(Misbehaviour),
}

impl Source {
    /// Begins a session with a sink at `position`. `transfer` numbers its first snapshot.
    pub fn begin(
        log_view: LogView<'_>,
        peer: (Position, &History, bool),
        full: bool,
        heartbeat: Duration,
        transfer: u64,
        at: Moment,
    ) -> (Self, Vec<SourceOut>) {
        let (position, history, complete) = peer;
        let need = if full { Need::Snapshot } else { log_view.need(position, history, complete) };
        let mut source = Self {
            state: State::Troubled,
            window: Window::new(heartbeat),
            reading: false,
            peer: position,
            sent: position.revision,
            again: false,
            first_transfer: transfer,
            next_transfer: transfer,
            mismatches: 0,
            repair: Progress::new(How::None, at, position.revision.seq, log_view.head.revision),
        };
        let mut out = Vec::new();
        source.repair(log_view, need, at, &mut out);
        (source, out)
    }

    /// What the sink durably holds, by its last word.
    pub fn peer(&self) -> Position {
        self.peer
    }

    /// Whether the repair that opened the session is over.
    pub fn synced(&self) -> bool {
        self.repair.reported && matches!(self.state, State::Live | State::Rejected { .. } | State::Troubled)
    }

    /// Whether pushes are refused by the sink's host, and up to where.
    pub fn rejected(&self) -> Option<Revision> {
        match self.state {
            State::Rejected { at } => Some(at),
            _ => None,
        }
    }

    /// Whether a snapshot is about to replace what the sink holds.
    fn is_replacing(&self) -> bool {
        match self.state {
            State::Opening { .. } | State::Offered { .. } | State::Sending { .. } | State::Ending { .. } => true,
            State::Draining { .. } | State::Live | State::Rejected { .. } | State::Troubled => false,
        }
    }

    /// The next snapshot's number, for the session after this one.
    pub fn next_transfer(&self) -> u64 {
        self.next_transfer
    }

    /// The snapshot that is open in the shell, if one is.
    pub fn open_transfer(&self) -> Option<u64> {
        match &self.state {
            State::Opening { transfer } => Some(*transfer),
            State::Offered { header } | State::Sending { header, .. } | State::Ending { header } => {
                Some(header.transfer)
            }
            _ => None,
        }
    }

    /// Goes on as far as it can: called when the head moved, and after every event below.
    pub fn advance(&mut self, log_view: LogView<'_>, at: Moment, out: &mut Vec<SourceOut>) {
        match &mut self.state {
            State::Draining { then } if !self.reading && self.window.is_empty() => {
                let then = *then;
                self.repair(log_view, then, at, out);
            }
            // What was refused is what the sink has already: there is nothing left to push.
            State::Rejected { .. } if self.peer == log_view.head && !self.reading && self.window.is_empty() => {
                self.repair(log_view, Need::Nothing, at, out);
            }
            State::Rejected { at: refused }
                if log_view.head.revision > *refused && !self.reading && self.window.is_empty() =>
            {
                let need = if log_view.reaches(self.peer.revision) { Need::Log } else { Need::Snapshot };
                self.repair(log_view, need, at, out);
            }
            State::Live if !self.reading && self.sent < log_view.head.revision && self.window.room() > 0 => {
                self.reading = true;
                let max_bytes = self.window.room().min(PUSH_STEP_BYTES);
                out.push(SourceOut::PushRecords { after: self.sent, max_bytes });
            }
            State::Sending { header, done: false } if !self.reading && self.window.room() > 0 => {
                self.reading = true;
                let max_bytes = self.window.room().min(PUSH_STEP_BYTES);
                out.push(SourceOut::PushSnapshot { transfer: header.transfer, max_bytes });
            }
            State::Sending { header, done: true, .. } if self.window.is_empty() => {
                let header = header.clone();
                out.push(SourceOut::Send(Message::SnapshotEnd { transfer: header.transfer }));
                out.push(SourceOut::CloseSnapshot { transfer: header.transfer });
                self.state = State::Ending { header };
            }
            _ => {}
        }
    }

    /// The shell pushed records.
    pub fn records_pushed(&mut self, last: Revision, bytes: usize, gone: bool, at: Moment) {
        self.window.pushed(bytes, at.0);
        self.repair.bytes += bytes as u64;
        self.reading = false;
        if self.state == State::Live {
            // A log that reaches there and holds nothing newer contradicts its own head: not to be asked in a loop.
            if gone || (bytes == 0 && last <= self.sent) {
                self.state = State::Draining { then: Need::Snapshot };
            } else {
                self.sent = last.max(self.sent);
            }
        }
    }

    /// The shell opened the snapshot.
    pub fn snapshot_opened(&mut self, header: SnapshotHeader, out: &mut Vec<SourceOut>) {
        if header.transfer >= self.first_transfer {
            self.reading = false;
        }
        match self.state {
            State::Opening { transfer } if transfer == header.transfer => {
                self.repair.target = header.position.revision;
                // Where it had more, the push takes that away: it does not count until it is sent again.
                if self.peer.revision > header.position.revision {
                    self.peer = header.position;
                }
                self.repair.entries = header.entries;
                out.push(SourceOut::Send(Message::Repair(Repair::Full(header.clone()))));
                self.state = State::Offered { header: Box::new(header) };
            }
            _ => out.push(SourceOut::CloseSnapshot { transfer: header.transfer }),
        }
    }

    /// The shell pushed a piece of the snapshot.
    pub fn snapshot_pushed(&mut self, transfer: u64, bytes: usize, last: bool, at: Moment) {
        if transfer < self.first_transfer {
            // Of a session on a link that is gone.
            return;
        }
        self.window.pushed(bytes, at.0);
        self.repair.bytes += bytes as u64;
        self.reading = false;
        if let State::Sending { header, done } = &mut self.state
            && header.transfer == transfer
        {
            *done = last;
        }
    }

    /// A control message of the sink. Others are the engine's.
    pub fn message(&mut self, log_view: LogView<'_>, message: &Message, at: Moment, out: &mut Vec<SourceOut>) {
        match message {
            Message::SnapshotReady { transfer } => self.sink_ready(*transfer, out),
            Message::Received { sum } => {
                if !self.window.acknowledged(*sum, at.0) {
                    out.push(SourceOut::Protest(Misbehaviour::ImpossibleAck));
                }
            }
            Message::Ack { position, received } => self.acknowledged(log_view, *position, *received, at, out),
            Message::Rejected { at: refused, .. } => {
                self.close_snapshot(out);
                self.state = State::Rejected { at: (*refused).min(log_view.head.revision) };
            }
            Message::Mismatch { .. } => self.mismatch(out),
            Message::Resync => self.restart_full(out),
            Message::DiskTrouble { .. } => {
                self.close_snapshot(out);
                self.state = State::Troubled;
            }
            _ => out.push(SourceOut::Protest(Misbehaviour::NotOfASink)),
        }
        self.advance(log_view, at, out);
    }

    /// Starts over with a full push, once nothing old is in flight.
    pub fn restart_full(&mut self, out: &mut Vec<SourceOut>) {
        if matches!(self.state, State::Ending { .. }) {
            // The sink's verdict on this one is under way, and must not be taken for one on the next.
            self.again = true;
            return;
        }
        self.close_snapshot(out);
        self.repair.reported = false;
        self.state = State::Draining { then: Need::Snapshot };
    }

    /// What was pushed is not what arrived. A full push mends it; where even that does not, the link is given up, and
    /// the next one comes only after a while.
    fn mismatch(&mut self, out: &mut Vec<SourceOut>) {
        self.mismatches += 1;
        if self.mismatches > MISMATCHES_MAX {
            return out.push(SourceOut::Protest(Misbehaviour::CopyNeverMatches));
        }
        self.close_snapshot(out);
        self.restart_full(out);
    }

    fn repair(&mut self, log_view: LogView<'_>, need: Need, at: Moment, out: &mut Vec<SourceOut>) {
        let target = log_view.head.revision;
        self.sent = self.peer.revision;
        match need {
            Need::Nothing => {
                self.repair = Progress::new(How::None, at, target.seq, target);
                self.sent = target;
                self.peer = log_view.head;
                out.push(SourceOut::Send(Message::Repair(Repair::None)));
                self.state = State::Live;
                self.report(at, out);
            }
            Need::Log => {
                self.repair = Progress::new(How::Incremental, at, self.peer.revision.seq, target);
                out.push(SourceOut::Send(Message::Repair(Repair::Incremental { to: target })));
                self.state = State::Live;
            }
            Need::Snapshot => {
                let transfer = self.next_transfer;
                self.next_transfer += 1;
                self.repair = Progress::new(How::Full, at, 0, target);
                self.reading = true;
                out.push(SourceOut::OpenSnapshot { transfer });
                self.state = State::Opening { transfer };
            }
        }
        self.advance(log_view, at, out);
    }

    fn sink_ready(&mut self, ready: u64, out: &mut Vec<SourceOut>) {
        match &self.state {
            State::Offered { header } if header.transfer == ready => {
                let header = header.clone();
                self.state = State::Sending { header, done: false };
            }
            // An answer to an offer that was given up since.
            _ if ready < self.next_transfer => {}
            _ => out.push(SourceOut::Protest(Misbehaviour::SnapshotNeverOffered)),
        }
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
            return out.push(SourceOut::Protest(Misbehaviour::ImpossibleAck));
        }
        if let State::Ending { header } = &self.state {
            if position == header.position {
                self.peer = position;
                self.sent = position.revision;
                self.state = State::Live;
                self.report(at, out);
                if std::mem::take(&mut self.again) {
                    self.restart_full(out);
                }
            }
            return;
        }
        if !log_view.history.contains(log_view.head.revision, position.revision) {
            // An old tail of the sink's, or nothing at all: the repair under way replaces it, or is begun again where
            // the sink's disk had stopped it.
            if self.state == State::Troubled {
                self.state = State::Draining { then: Need::Snapshot };
            }
            return;
        }
        if let State::Offered { header } = &self.state
            && position.revision > header.position.revision
        {
            // It holds more than what was offered, and keeps it: offered again once this side shows as much.
            self.peer = position;
            return self.restart_full(out);
        }
        if self.is_replacing() {
            // What it holds is about to be replaced.
            return;
        }
        self.peer = position;
        if self.state == State::Troubled {
            let need = if log_view.reaches(position.revision) { Need::Log } else { Need::Snapshot };
            self.state = State::Draining { then: need };
        }
        if position.revision == log_view.head.revision && position.digest != log_view.head.digest {
            return self.mismatch(out);
        }
        if matches!(self.state, State::Live) && position.revision >= self.repair.target {
            self.report(at, out);
        }
    }

    fn report(&mut self, at: Moment, out: &mut Vec<SourceOut>) {
        if self.repair.reported {
            return;
        }
        self.repair.reported = true;
        let repair = &self.repair;
        let entries = match repair.how {
            How::Full => repair.entries,
            _ => self.peer.revision.seq.saturating_sub(repair.from_seq),
        };
        out.push(SourceOut::Synced {
            how: repair.how,
            position: self.peer,
            entries,
            bytes: repair.bytes,
            took: Duration::from_micros(at.0.saturating_sub(repair.since.0)),
        });
    }

    fn close_snapshot(&mut self, out: &mut Vec<SourceOut>) {
        if let Some(transfer) = self.open_transfer() {
            if !matches!(self.state, State::Ending { .. } | State::Opening { .. }) {
                out.push(SourceOut::CloseSnapshot { transfer });
            }
            self.state = State::Troubled;
        }
    }
}

impl Progress {
    fn new(how: How, since: Moment, from_seq: u64, target: Revision) -> Self {
        Self { how, since, from_seq, target, entries: 0, bytes: 0, reported: false }
    }
}

#[cfg(test)]
impl Source {
    /// The state, for tables.
    pub(super) fn state(&self) -> &impl std::fmt::Debug {
        &self.state
    }
}
