//! Executes the outputs of Source and Sink.

use crate::model::Position;
use crate::protocol::engine::{
    Action, BeginStaging, Engine, FinishStaging, Moment, Notice, Now, RepairKind, StagePieces, StagingBase, Work,
};
use crate::protocol::failover::micros;
use crate::protocol::replication::{LogView, Sink, SinkOut, Source, SourceOut};
use crate::protocol::wire::Role;

impl Engine {
    pub(super) fn with_source(
        &mut self,
        now: Now,
        act: impl FnOnce(&mut Source, LogView<'_>, Moment, &mut Vec<SourceOut>),
    ) {
        let Some(source) = self.session.source_mut() else { return };
        let mut out = Vec::new();
        act(source, self.log.view(), now.at, &mut out);
        self.source_out(now, out);
    }

    pub(super) fn with_sink(&mut self, now: Now, act: impl FnOnce(&mut Sink, Position, Moment, &mut Vec<SinkOut>)) {
        let Some(sink) = self.session.sink_mut() else { return };
        let mut out = Vec::new();
        act(sink, self.log.head(), now.at, &mut out);
        self.sink_out(now, out);
    }

    pub(super) fn source_out(&mut self, now: Now, out: Vec<SourceOut>) {
        for step in out {
            let Some(link) = self.links.active_id() else { return };
            let durable = self.log.revision();
            match step {
                SourceOut::Send(message) => self.out.push(Action::Send { link, message }),
                SourceOut::PushRecords { after, upto, max_bytes } => {
                    self.out.push(Action::PushRecords { link, after, upto, durable, max_bytes });
                }
                SourceOut::OpenSnapshot { transfer } => self.session.want_snapshot(Some(transfer)),
                SourceOut::ResumeSnapshot { transfer, point } => {
                    self.out.push(Action::ResumeSnapshot { transfer, point });
                }
                SourceOut::CompareSnapshot { transfer, buckets } => {
                    self.out.push(Action::CompareSnapshot { transfer, buckets });
                }
                SourceOut::SelectSnapshot { transfer, wants } => {
                    self.out.push(Action::SelectSnapshot { transfer, wants });
                }
                SourceOut::PushSnapshot { transfer, max_bytes } => {
                    self.out.push(Action::PushSnapshot { link, transfer, max_bytes });
                }
                SourceOut::CloseSnapshot { transfer } => self.out.push(Action::CloseSnapshot { transfer }),
                SourceOut::Synced { how, position, entries, bytes, took } => {
                    if how == RepairKind::Full {
                        self.session.full_push_ended();
                    }
                    self.peer_confirmed(now);
                    self.links.peer_is_at(position, now.at);
                    let took_us = micros(took);
                    self.out.push(Action::Notify(Notice::Synced { how, position, entries, bytes, took_us }));
                    if self.durable.role == Role::Master {
                        self.recovered(now, how);
                    }
                }
                SourceOut::Misbehaved(what) => return self.refuse_misbehaviour(now, link, what),
            }
        }
    }

    pub(super) fn sink_out(&mut self, now: Now, out: Vec<SinkOut>) {
        for step in out {
            let link = self.links.active_id();
            match step {
                SinkOut::DropBulk(bulk) => {
                    self.session.bulk_dropped();
                    self.out.push(Action::DropBulk { bulk });
                }
                SinkOut::AppendRecords(frames) => self.append_records(frames),
                SinkOut::StagePieces { pieces, keep } => self.queue_bulk(StagePieces { pieces, keep }),
                SinkOut::BeginStaging { header, resumes } => {
                    let compares = self.durable.complete && self.durable.role == Role::Shadow;
                    let onto = match (resumes, compares) {
                        (false, _) => StagingBase::Nothing,
                        (true, false) => StagingBase::Staged,
                        (true, true) => StagingBase::StagedOrCopy,
                    };
                    self.work.queue(BeginStaging { header, onto });
                }
                SinkOut::FinishStaging => self.work.queue(FinishStaging),
                SinkOut::Publish(upto) => self.show_received(upto),
                SinkOut::Send(message) => {
                    if let Some(link) = link {
                        self.out.push(Action::Send { link, message });
                    }
                }
                SinkOut::Synced { how, position, entries, bytes, took } => {
                    let took_us = micros(took);
                    let notice = Notice::Synced { how, position, entries, bytes, took_us };
                    self.sink_synced(now, how, position, notice);
                }
                SinkOut::Misbehaved(what) => {
                    if let Some(link) = link {
                        return self.refuse_misbehaviour(now, link, what);
                    }
                }
            }
        }
    }

    /// All bulk that waits goes into one batch.
    pub(super) fn queue_bulk(&mut self, work: impl Into<Work>) {
        self.session.bulk_taken();
        self.work.queue(work);
    }

    fn sink_synced(&mut self, now: Now, how: RepairKind, position: Position, notice: Notice) {
        self.session.caught_up();
        if how == RepairKind::Full {
            self.session.full_push_ended();
        }
        self.links.peer_is_at(position, now.at);
        self.out.push(Action::Notify(notice));
        if self.durable.role == Role::Master {
            // The tail is taken over: this node may lead again.
            self.durable.assume_complete(true);
            return self.links.ask_peer(now.at);
        }
        self.shadow_recovered(now);
        self.durable.set_complete();
    }
}
