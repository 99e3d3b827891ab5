//! The session: begins it, and takes repairs and bulk to its end.
//!
//! | end | repair comes | bulk comes | link lost |
//! |---|---|---|---|
//! | none | protocol broken | dropped | - |
//! | source | protocol broken | dropped | closes its snapshot |
//! | sink | stages or follows | stored within a bound | drops what has not begun |

use crate::model::{Position, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{self, Subject, texts};
use crate::protocol::engine::hello::Negotiation;
use crate::protocol::engine::{
    Action, BulkId, DiskFailure, Engine, LinkId, Moment, Mutant, Now, Quarantine, RecordsReceipt, StagedBefore,
    StagingReceipt,
};
use crate::protocol::failover::NodeState;
use crate::protocol::replication::{Sink, SinkCopy, SinkOut, Source};
use crate::protocol::wire::{Bulk, Hello, HelloLog, Message, Misbehaviour, RefusalKind, Repair, Role, SnapshotHeader};

/// Time after which a sink whose disk failed reports that it is ready again.
const DISK_RETRY_US: u64 = 1_000_000;

impl Engine {
    /// Begins the session that the negotiation allows, and continues the one under way.
    pub(in super::super) fn advance_session(&mut self, now: Now) {
        self.begin_session(now);
        let disk_ready = self.session.deadline().is_some_and(|at| at <= now.at);
        if disk_ready && self.work.is_idle() && !self.authority.is_out_of_service() {
            self.session.retry_disk_at(None);
            self.with_sink(now, |sink, head, _, out| sink.acknowledge(head, out));
        }
        if self.session.wants_full_push() {
            self.push_full(now);
        }
        self.with_source(now, |source, log, at, out| source.advance(log, at, out));
        self.open_snapshot();
    }

    /// Opens the snapshot that is wanted. A snapshot contains what this master shows, which may be less than its shadow
    /// holds. Then the master first waits until it shows that too, so that the push takes nothing away from the shadow. A shadow
    /// returns all that it holds, whether it shows that or not.
    fn open_snapshot(&mut self) {
        let Some(transfer) = self.session.wanted_snapshot() else { return };
        let held = self.session.confirmed().map_or(Revision::NONE, |position| position.revision);
        if self.authority.is_leading() && self.log.shown() < held && self.log.view().may_hold(held) {
            return;
        }
        self.session.want_snapshot(None);
        let withheld = self.durable.role == Role::Shadow;
        self.out.push(Action::OpenSnapshot { transfer, withheld });
    }

    fn begin_session(&mut self, now: Now) {
        let Some((outcome, hello)) = self.session.agreement() else { return };
        if self.links.ready().is_none() {
            return;
        }
        let (idle, serving) = (self.session.is_idle(), self.authority.is_serving());
        match outcome {
            // Where a group is about to become durable, the shadow may hold it already.
            Negotiation::Lead if idle && serving && !self.log.is_writing() => self.begin_source(now),
            Negotiation::GiveTail if idle => self.begin_source(now),
            Negotiation::Follow | Negotiation::TakeTail if idle => {
                if *outcome == Negotiation::Follow && hello.log.position != self.log.head() {
                    self.session.fell_behind();
                }
                self.begin_sink(now);
            }
            // This node has the tail and serves: it becomes the source.
            Negotiation::TakeTail if serving => {
                let hello = hello.clone();
                self.end_session(now);
                let (position, history) = self.log.before_own_era();
                #[cfg(test)]
                let history = self.setup.misread_lineage(history, self.log.history());
                let log = HelloLog { position, history, ..hello.log };
                self.session.agree(now.at, Negotiation::Lead, Box::new(Hello { log, ..hello }));
                self.begin_source(now);
            }
            _ => {}
        }
    }

    fn begin_sink(&mut self, now: Now) {
        let versions = self.session.agreement().map(|(_, hello)| hello.versions);
        let resumes = versions.is_some_and(|theirs| self.setup.options.versions().allows_resumption(theirs));
        self.session.begin_sink(Sink::begin(now.at, self.setup.options.heartbeat, resumes));
    }

    fn begin_source(&mut self, now: Now) {
        let Some((_, hello)) = self.session.agreement() else { return };
        let (held, told_marks) = (hello.log.clone(), self.setup.options.versions().tells_marks(hello.versions));
        let position = held.position;
        let full = self.session.wants_full_push();
        if full {
            self.session.full_push_begins();
        }
        let log = self.log.view();
        let mismatch = log.head.revision == position.revision && log.head.digest != position.digest && held.complete;
        let copy = match self.setup.makes(Mutant::SkipsRepair) {
            true => SinkCopy { position: log.head, history: log.history, complete: true, told_marks },
            false => SinkCopy { position, history: &held.history, complete: held.complete, told_marks },
        };
        let (heartbeat, transfer) = (self.setup.options.heartbeat, self.session.next_transfer());
        let (source, out) = Source::begin(log, copy, full, heartbeat, transfer, now.at);
        self.session.begin_source(source);
        if mismatch {
            self.digest_mismatch(now, position);
        }
        self.source_out(now, out);
        if self.durable.role == Role::Master && !mismatch {
            // What the shadow says it holds counts at once: a full push waits until this master shows that much.
            self.peer_confirmed(now);
        }
    }

    fn push_full(&mut self, now: Now) {
        if self.session.source().is_some() {
            self.session.full_push_begins();
            self.with_source(now, |source, _, _, out| source.restart_full(out));
        } else if let (true, Some(link)) = (self.session.is_sink(), self.links.active_id()) {
            self.session.full_push_begins();
            self.out.push(Action::Send { link, message: Message::Resync });
        }
    }

    /// A message that belongs to the session.
    pub(super) fn session_message(&mut self, now: Now, link: LinkId, message: Message) {
        match message {
            Message::Repair(repair) => self.repair(now, link, repair),
            Message::SnapshotEnd { transfer } => {
                self.with_sink(now, |sink, _, _, out| sink.snapshot_end(transfer, out));
            }
            Message::Durable { upto } => self.durable_at_source(now, upto),
            Message::Resync if self.durable.role == Role::Master => self.session.want_full_push(),
            other => {
                #[cfg(test)]
                let other = self.setup.misread_point(self.log.shown(), other);
                if self.session.source().is_some() {
                    self.alert_from_sink(now, &other);
                }
                self.with_source(now, |source, log, at, out| source.message(log, &other, at, out));
                self.peer_confirmed(now);
            }
        }
    }

    /// Raises an alert where the sink reports something that is worth one.
    fn alert_from_sink(&mut self, now: Now, message: &Message) {
        match message {
            Message::Rejected { at, reason } => {
                let alert = NewAlert::new(AlertKind::PushRejected, Subject::Peer, texts::push_rejected(*at, reason));
                self.raise(now, NewAlert { revisions: Some((*at, *at)), ..alert });
            }
            Message::DiskTrouble { full, reason } => {
                self.raise(
                    now,
                    NewAlert::new(AlertKind::DiskTrouble, Subject::Peer, texts::shadow_disk(*full, reason)),
                );
            }
            Message::Mismatch { at } => self.digest_mismatch(now, *at),
            _ => {}
        }
    }

    fn repair(&mut self, now: Now, link: LinkId, repair: Repair) {
        let giving = self.session.agreement().is_some_and(|(outcome, _)| *outcome == Negotiation::GiveTail);
        if giving && self.durable.role == Role::Shadow {
            // The master has the tail and leads now.
            self.end_session(now);
            self.session.follow_instead();
            self.begin_sink(now);
        }
        if !self.session.is_sink() {
            return self.refuse_misbehaviour(now, link, Misbehaviour::RepairWithoutSink);
        }
        if repair == Repair::None && self.log.revision() == Revision::NONE {
            return self.refuse_misbehaviour(now, link, Misbehaviour::RepairOfNothing);
        }
        if let Repair::Full(header) = &repair {
            let position = header.position.revision;
            if !header.history.contains(position, position) {
                return self.refuse_misbehaviour(now, link, Misbehaviour::SnapshotOutsideHistory);
            }
            if self.saves_first(header) {
                return;
            }
            // An era without change sets shows nothing.
            if self.durable.complete && self.log.contains(position) && position.seq < self.log.revision().seq {
                // The source does not know yet what this node holds. Nothing that was shown is taken back (rule 18).
                return self.with_sink(now, |sink, head, _, out| sink.acknowledge(head, out));
            }
            self.session.stage(header.history.clone());
        }
        if self.durable.role == Role::Shadow && repair != Repair::None {
            self.session.fell_behind();
        }
        self.with_sink(now, |sink, head, at, out| sink.repair(repair, head, at, out));
    }

    /// A shadow is about to replace this master's damaged copy. What only this node holds goes to quarantine first: then the
    /// link is closed, and the push begins on the next one. Returns whether there is something to be saved.
    fn saves_first(&mut self, header: &SnapshotHeader) -> bool {
        let head = self.log.revision();
        if self.durable.role != Role::Master || self.session.is_quarantined(head) {
            return false;
        }
        let relation = self.log.relate(&header.history, header.position.revision);
        let Some(common) = super::step_down::last_common(relation, header.position.revision) else { return false };
        // An era without change sets is no loss.
        let saves = common.seq < head.seq;
        if saves {
            self.work.queue(Quarantine { common });
        }
        saves
    }

    pub(in super::super) fn bulk(&mut self, now: Now, link: LinkId, bulk: BulkId, what: Bulk, bytes: usize) {
        self.links.heard(link, now.at);
        if !self.links.is_active(link) || !self.session.is_sink() || self.shutdown.is_under_way() {
            self.out.push(Action::DropBulk { bulk });
            return;
        }
        if !self.session.bulk_waits(bytes) {
            self.out.push(Action::DropBulk { bulk });
            return self.refuse_misbehaviour(now, link, Misbehaviour::WindowExceeded);
        }
        if let Bulk::Records { after, last, durable } = what {
            if self.is_out_of_reach(after.epoch.max(last.epoch).max(durable.epoch)) {
                self.out.push(Action::DropBulk { bulk });
                return self.refuse_misbehaviour(now, link, Misbehaviour::EpochOutOfReach);
            }
            self.session.source_is_durable(durable);
        }
        self.with_sink(now, |sink, head, at, out| sink.bulk(bulk, what, bytes, head, at, out));
    }

    pub(in super::super) fn records_pushed(
        &mut self,
        now: Now,
        link: LinkId,
        last: Revision,
        bytes: usize,
        gone: bool,
    ) {
        if self.links.is_active(link)
            && let Some(source) = self.session.source_mut()
        {
            source.records_pushed(last, bytes, gone, now.at);
        }
    }

    pub(in super::super) fn snapshot_opened(&mut self, now: Now, header: SnapshotHeader) {
        if self.session.source().is_none() {
            self.out.push(Action::CloseSnapshot { transfer: header.transfer });
            return;
        }
        self.with_source(now, |source, _, _, out| source.snapshot_opened(header, out));
        self.peer_confirmed(now);
    }

    pub(in super::super) fn snapshot_pushed(&mut self, now: Now, transfer: u64, bytes: usize, done: bool) {
        if let Some(source) = self.session.source_mut() {
            source.snapshot_pushed(transfer, bytes, done, now.at);
        }
    }

    /// The store could not be read: the link is dropped, and the next one comes after a pause.
    pub(in super::super) fn read_failed(&mut self, now: Now, reason: String) {
        self.disk_trouble(now, &DiskFailure { full: false, reason });
        if let Some(link) = self.links.active_id() {
            let reason = "this node cannot read its own store".to_owned();
            self.refuse_peer(now, link, RefusalKind::ProtocolError, reason);
        }
    }

    // Receipts of what the sink ordered.

    pub(super) fn records_appended(&mut self, now: Now, receipt: &RecordsReceipt) {
        if let RecordsReceipt::Appended { head, log_floor, eras } = receipt {
            self.log.follow_eras(eras);
            self.log.moved(*head, *log_floor);
            self.disk_works(now);
            if !self.session.is_sink() {
                // The link is gone; what it brought counts all the same.
                let upto = self.session.source_durable().map(|durable| head.revision.min(durable));
                self.sink_out(now, upto.map(SinkOut::Publish).into_iter().collect());
            }
        }
        self.with_sink(now, |sink, _, at, out| sink.records_done(receipt, at, out));
        if matches!(receipt, RecordsReceipt::Rejected { .. }) {
            self.tail_refused(now);
        }
    }

    /// The staging file is open.
    pub(super) fn staging_begun(&mut self, now: Now, before: StagedBefore) {
        self.with_sink(now, |sink, _, _, out| sink.staging_begun(before, out));
    }

    pub(super) fn staging_finished(&mut self, now: Now, receipt: StagingReceipt) {
        match receipt {
            StagingReceipt::Switched { head } => {
                let staged = self.session.take_staged();
                self.log.replaced(head, staged);
                if self.durable.role == Role::Shadow {
                    self.durable.set_complete();
                }
                self.session.caught_up();
                self.disk_works(now);
                self.with_sink(now, |sink, _, at, out| sink.staging_finished(head, at, out));
            }
            StagingReceipt::Mismatch { found } => {
                self.with_sink(now, |sink, _, _, out| sink.staging_mismatch(found, out));
                self.digest_mismatch(now, found);
            }
            StagingReceipt::Rejected { reason } => {
                self.with_sink(now, |sink, _, _, out| sink.staging_rejected(&reason, out));
                self.tail_refused(now);
            }
        }
    }

    /// The host refuses the tail that this master's disk had lost. The shadow has nothing newer to push, and without
    /// the tail no node serves. So the tail is pushed again, and the host asked again, until it accepts.
    fn tail_refused(&mut self, now: Now) {
        if self.authority.state() == NodeState::TakingTail {
            self.close_all_links(now, None, "this node's host refuses what its shadow gives back");
            self.links.dial_at(Moment(now.at.0 + DISK_RETRY_US));
        }
    }

    /// Tells the source of trouble with this node's disk, and a while later that it may try again.
    pub(super) fn report_disk_to_source(&mut self, now: Now, full: bool, reason: String) {
        if let (true, Some(link)) = (self.session.is_sink(), self.links.active_id()) {
            self.out.push(Action::Send { link, message: Message::DiskTrouble { full, reason } });
            self.session.retry_disk_at(Some(Moment(now.at.0 + DISK_RETRY_US)));
        }
    }

    pub(super) fn sink_failed(&mut self, now: Now, failure: &DiskFailure) {
        self.session.retry_disk_at(Some(Moment(now.at.0 + DISK_RETRY_US)));
        self.with_sink(now, |sink, _, _, out| sink.batch_failed(failure.full, &failure.reason, out));
    }

    // The end of the session.

    /// The link that counted is gone.
    pub(super) fn session_ended(&mut self, now: Now) {
        self.end_session(now);
        self.session.link_lost();
    }

    fn end_session(&mut self, now: Now) {
        self.session.want_snapshot(None);
        if let Some(source) = self.session.end_source() {
            if let Some(transfer) = source.open_transfer() {
                self.out.push(Action::CloseSnapshot { transfer });
            }
            self.push_interrupted(source.confirmed());
        }
        if let Some(mut sink) = self.session.end_sink() {
            let mut out = Vec::new();
            sink.link_lost(&mut out);
            self.sink_out(now, out);
            self.drop_sink_work();
        }
        self.session.bulk_taken();
    }

    /// Forgets the work of a sink whose link is gone, as far as it has not begun.
    pub(super) fn drop_sink_work(&mut self) {
        let dropped = self.work.drop_sink_work();
        self.out.extend(dropped.into_iter().map(|bulk| Action::DropBulk { bulk }));
    }

    // Positions.

    /// The peer says in a heartbeat where it stands.
    pub(super) fn peer_position(&mut self, now: Now, link: LinkId, position: Position) {
        self.links.peer_is_at(position, now.at);
        let head = self.log.head();
        let differs = position.revision == head.revision
            && (position.digest != head.digest || self.setup.makes(Mutant::RepairsForEver));
        let settled = !self.session.in_progress() && self.work.is_idle();
        if differs && settled && self.links.is_active(link) {
            self.digest_mismatch(now, position);
            self.with_source(now, |source, _, _, out| source.restart_full(out));
            self.with_sink(now, |sink, head, _, out| sink.mismatch(head, out));
        }
    }

    /// The shadow durably holds more of this node's history.
    pub(super) fn peer_confirmed(&mut self, now: Now) {
        let Some(position) = self.session.confirmed() else { return };
        if self.durable.peer.is_none() {
            return;
        }
        let confirmed = position.revision;
        if self.log.contains(confirmed) && self.durable.confirm(confirmed, now.at) {
            self.out.push(Action::Confirm { upto: confirmed });
        }
        self.links.peer_is_at(position, now.at);
        self.look_at_shadow(now);
        self.release(now);
    }

    /// Whether at the last heartbeat both had the same revision and digest, and nothing was committed here since.
    pub(in super::super) fn in_sync(&self) -> bool {
        let same = self.links.peer_position() == Some(self.log.head());
        // A master that does not serve yet is about to open an era that its shadow lacks.
        let settled = self.durable.role == Role::Shadow || self.authority.is_serving();
        same && settled && self.durable.peer.is_some() && self.durable.complete
    }

    pub(super) fn digest_mismatch(&mut self, now: Now, theirs: Position) {
        self.raise(now, alerts::digest_mismatch(theirs));
    }
}
