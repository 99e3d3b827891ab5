//! What the two ends of a session want done, done.

use std::time::Duration;

use super::{
    Action, AppendRecords, BeginStaging, BulkId, Engine, FinishStaging, How, Moment, Notice, Now, StagePieces, Work,
};
use crate::model::Position;
use crate::protocol::failover::micros;
use crate::protocol::replication::{LogView, Sink, SinkOut, Source, SourceOut};
use crate::protocol::wire::Role;

impl Engine {
    pub(super) fn with_source(
        &mut self,
        now: Now,
        act: impl FnOnce(&mut Source, LogView<'_>, Moment, &mut Vec<SourceOut>),
    ) {
        let Some(mut source) = self.session.source.take() else { return };
        let mut out = Vec::new();
        act(&mut source, self.log_view(), now.at, &mut out);
        self.session.source = Some(source);
        self.source_out(now, out);
    }

    pub(super) fn with_sink(&mut self, now: Now, act: impl FnOnce(&mut Sink, Position, Moment, &mut Vec<SinkOut>)) {
        let Some(mut sink) = self.session.sink.take() else { return };
        let mut out = Vec::new();
        act(&mut sink, self.head, now.at, &mut out);
        self.session.sink = Some(sink);
        self.sink_out(now, out);
    }

    pub(super) fn source_out(&mut self, now: Now, out: Vec<SourceOut>) {
        for step in out {
            let Some(link) = self.links.active().map(|conn| conn.id) else { return };
            let durable = self.head.revision;
            match step {
                SourceOut::Send(message) => self.out.push(Action::Send { link, message }),
                SourceOut::PushRecords { after, max_bytes } => {
                    self.out.push(Action::PushRecords { link, after, durable, max_bytes });
                }
                SourceOut::OpenSnapshot { transfer } => self.session.to_open = Some(transfer),
                SourceOut::PushSnapshot { transfer, max_bytes } => {
                    self.out.push(Action::PushSnapshot { link, transfer, max_bytes });
                }
                SourceOut::CloseSnapshot { transfer } => self.out.push(Action::CloseSnapshot { transfer }),
                SourceOut::Synced { how, position, entries, bytes, took } => {
                    self.session.owed &= how != How::Full;
                    self.peer_confirmed(now);
                    self.links.peer_at(position);
                    self.tell_synced(how, position, entries, bytes, took);
                    if self.durable_state.role == Role::Master {
                        self.recovered(now, how);
                    }
                }
                SourceOut::Protest(what) => return self.protest(now, link, what),
            }
        }
    }

    pub(super) fn sink_out(&mut self, now: Now, out: Vec<SinkOut>) {
        for step in out {
            let link = self.links.active().map(|conn| conn.id);
            match step {
                SinkOut::Drop(bulk) => self.drop_bulk(bulk),
                SinkOut::Append(frames) => self.queue_bulk(AppendRecords { frames }),
                SinkOut::Stage(pieces) => self.queue_bulk(StagePieces { pieces }),
                SinkOut::StageBegin(header) => self.work.queue(BeginStaging { header }),
                SinkOut::StageFinish => self.work.queue(FinishStaging),
                SinkOut::Publish(upto) => {
                    // A mark that is no position of this history is none to go by.
                    if upto > self.shown && self.history.contains(self.head.revision, upto) {
                        self.shown = upto;
                        self.out.push(Action::Publish { upto });
                    }
                }
                SinkOut::Send(message) => {
                    if let Some(link) = link {
                        self.out.push(Action::Send { link, message });
                    }
                }
                SinkOut::Synced { how, position, entries, bytes, took } => {
                    self.sink_synced(now, how, position, entries, bytes, took);
                }
                SinkOut::Protest(what) => {
                    if let Some(link) = link {
                        return self.protest(now, link, what);
                    }
                }
            }
        }
    }

    /// All bulk that waits goes into one batch.
    fn queue_bulk(&mut self, work: impl Into<Work>) {
        self.session.waiting = (0, 0);
        self.work.queue(work);
    }

    pub(super) fn drop_bulk(&mut self, bulk: BulkId) {
        self.session.waiting.0 = self.session.waiting.0.saturating_sub(1);
        self.out.push(Action::DropBulk { bulk });
    }

    pub(super) fn sink_synced(
        &mut self,
        now: Now,
        how: How,
        position: Position,
        entries: u64,
        bytes: u64,
        took: Duration,
    ) {
        self.session.lacks = false;
        self.session.owed &= how != How::Full;
        self.links.peer_at(position);
        self.tell_synced(how, position, entries, bytes, took);
        if self.durable_state.role == Role::Master {
            // The tail is taken over: this node may lead again.
            self.durable_state.complete = true;
            return self.ask_peer(now);
        }
        self.shadow_recovered();
        if !self.durable_state.complete {
            self.durable_state.complete = true;
            self.state_changed();
        }
    }

    pub(super) fn tell_synced(&mut self, how: How, position: Position, entries: u64, bytes: u64, took: Duration) {
        let took_us = micros(took);
        self.out.push(Action::Notify(Notice::Synced { how, position, entries, bytes, took_us }));
    }

    /// The shadow durably holds more of this node's history.
    pub(super) fn peer_confirmed(&mut self, now: Now) {
        let Some(confirmed) = self.session.confirmed().map(|position| position.revision) else { return };
        let Some(peer) = &mut self.durable_state.peer else { return };
        if peer.confirmed != confirmed && self.history.contains(self.head.revision, confirmed) {
            peer.confirmed = confirmed;
            self.state_counted(now);
            self.out.push(Action::Confirm { upto: confirmed });
        }
        if let Some(position) = self.session.confirmed() {
            self.links.peer_at(position);
        }
        self.look_at_shadow(now);
        self.release(now);
    }
}
