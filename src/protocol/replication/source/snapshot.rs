//! A snapshot as the source offers, pushes and closes it.

use super::{Asks, Source, SourceOut, State};
use crate::model::Moment;
use crate::protocol::replication::LogView;
use crate::protocol::wire::{Message, Misbehaviour, Repair, ResumePoint, SnapshotHeader};

impl Source {
    /// The shell opened the snapshot.
    pub fn snapshot_opened(&mut self, header: SnapshotHeader, out: &mut Vec<SourceOut>) {
        if header.transfer >= self.first_transfer {
            self.reading = false;
        }
        match self.state {
            State::Opening { transfer } if transfer == header.transfer => {
                self.repair.target = header.position.revision;
                // Where the sink held more, the snapshot replaces it: the rest no longer counts as confirmed.
                if self.confirmed.revision > header.position.revision {
                    self.confirmed = header.position;
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
            // It belongs to a session of an earlier link.
            return;
        }
        self.window.pushed(bytes, at.0);
        self.repair.bytes += bytes as u64;
        self.reading = false;
        if let State::Sending { header, done, .. } = &mut self.state
            && header.transfer == transfer
        {
            *done = last;
        }
    }

    pub(super) fn sink_ready(&mut self, ready: u64, out: &mut Vec<SourceOut>) {
        match &self.state {
            State::Offered { header } if header.transfer == ready => {
                let header = header.clone();
                self.state = State::Sending { header, done: false, asks: Asks::No };
            }
            // It answers an offer that was withdrawn since.
            _ if ready < self.next_transfer => {}
            _ => out.push(SourceOut::Misbehaved(Misbehaviour::SnapshotNeverOffered)),
        }
    }

    /// The sink has a complete copy. It is sent the hashes of what differs, and then what it wants of that.
    pub(super) fn sink_has_base(&mut self, ready: u64, buckets: &[u8], out: &mut Vec<SourceOut>) {
        let offered = matches!(&self.state, State::Offered { header } if header.transfer == ready);
        self.sink_ready(ready, out);
        if let State::Sending { asks, .. } = &mut self.state
            && offered
            && self.compares
        {
            *asks = Asks::Waits;
            out.push(SourceOut::CompareSnapshot { transfer: ready, buckets: buckets.to_vec() });
        }
    }

    /// The sink has compared the hashes.
    pub(super) fn sink_wants(&mut self, ready: u64, wants: &[u8], out: &mut Vec<SourceOut>) {
        match &mut self.state {
            State::Sending { header, asks, .. } if header.transfer == ready && *asks == Asks::Waits => {
                *asks = Asks::Wants(wants.to_vec());
            }
            // It belongs to an offer that was withdrawn since.
            _ if ready < self.next_transfer => {}
            _ => out.push(SourceOut::Misbehaved(Misbehaviour::SnapshotNeverOffered)),
        }
    }

    /// The sink has a part of a snapshot. Where that is of this lineage and the log tells what changed since, the open snapshot
    /// goes on there. Otherwise it begins at the first key, and its first piece tells the sink so.
    pub(super) fn sink_resumes(
        &mut self,
        log_view: LogView<'_>,
        ready: u64,
        point: &ResumePoint,
        out: &mut Vec<SourceOut>,
    ) {
        if let State::Offered { header } = &self.state
            && header.transfer == ready
        {
            let of_lineage = log_view.history.contains(log_view.head.revision, point.upto);
            let ordered = point.from <= point.upto && point.upto <= header.position.revision;
            if of_lineage && ordered && log_view.reaches(point.from) {
                out.push(SourceOut::ResumeSnapshot { transfer: ready, point: Box::new(point.clone()) });
            }
        }
        self.sink_ready(ready, out);
    }

    /// Closes the snapshot, if one is open. The caller sets the next state.
    pub(super) fn close_snapshot(&mut self, out: &mut Vec<SourceOut>) {
        if let Some(transfer) = self.open_transfer() {
            if !matches!(self.state, State::Verifying { .. } | State::Opening { .. }) {
                out.push(SourceOut::CloseSnapshot { transfer });
            }
            self.state = State::DiskFailed;
        }
    }
}
