//! Durable work: what is written next, and what its receipts mean.

use super::{
    Action, AppendGroup, CommandRefusal, Completed, Completion, DiskFailure, DurableState, Engine, Job, Moment, Mutant,
    Now, Reopen, StatePurpose, StoreState, Work,
};
use crate::model::limits::BATCH_SLOW;
use crate::model::{Epoch, Position, Revision};
use crate::protocol::failover::{NodeState, Transition, micros};
use crate::protocol::replication::RecordsReceipt;

/// Time after which a failed write of the durable state or of an era is tried again.
const RETRY_US: u64 = 1_000_000;
/// Longest time for which a change that only counts (an alert's count, what the peer confirmed) stays undurable.
const LAZY_US: u64 = 1_000_000;

/// Whether the durable state must be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsaved {
    /// It changed, and somebody waits for it, or should not have to.
    urgent: bool,
    /// It changed in what only counts, since this moment.
    counted_since: Option<Moment>,
    /// It failed to be written; not before this moment again.
    retry_at: Option<Moment>,
}

impl Unsaved {
    /// When the durable state should be written although nobody waits.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let counted = self.counted_since.map(|since| Moment(since.0 + LAZY_US));
        let wanted = if self.urgent { self.retry_at } else { counted };
        wanted.max(self.retry_at.filter(|_| wanted.is_some()))
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.urgent || self.counted_since.is_some()
    }
}

impl Engine {
    /// Opens an era as soon as nothing is in flight.
    pub(super) fn persist_era(&mut self, epoch: Epoch) {
        self.work.queue_era(epoch);
    }

    /// The durable state changed, and is to be written soon.
    pub(super) fn state_changed(&mut self) {
        self.unsaved.urgent = true;
    }

    /// The durable state changed in what only counts.
    pub(super) fn state_counted(&mut self, now: Now) {
        self.unsaved.counted_since.get_or_insert(now.at);
    }

    /// The durable state as it is to be written.
    pub(super) fn state_now(&self) -> DurableState {
        DurableState {
            alerts: self.alert_log.alerts().to_vec(),
            next_alert: self.alert_log.next(),
            ..self.durable_state.clone()
        }
    }

    /// Starts the next batch, if none is in flight.
    pub(super) fn advance_batches(&mut self, now: Now) {
        if self.work.is_busy() {
            return self.tell_of_slow_disk(now);
        }
        if let Some(epoch) = self.work.take_era() {
            let won = self.won_epoch().is_some();
            let takeover = self.node_state == NodeState::Promoting && self.reason == "takeover" && !won;
            if takeover && !self.may_still_take_over(now) {
                return self.era_failed(now);
            }
            self.drop_sink_work();
            let work = self.era_work(now, epoch);
            return self.start_batch(now, work);
        }
        if let Some(mut work) = self.work.take_next() {
            if let Work::StoreState(order) = &mut work
                && order.job.purpose == StatePurpose::NoteTerm
            {
                // It waited, and the durable state went on.
                *order.job.state = self.state_now();
            }
            return self.start_batch(now, work);
        }
        if self.node_state == NodeState::Broken {
            return;
        }
        let may_write = self.unsaved.retry_at.is_none_or(|at| at <= now.at);
        let due = |since: Moment| since.0 + LAZY_US <= now.at.0 || self.stopping.is_some();
        let counted = self.unsaved.counted_since.is_some_and(due);
        if may_write && (self.unsaved.urgent || counted) {
            self.unsaved.urgent = false;
            self.unsaved.counted_since = None;
            let state = Box::new(self.state_with_updates());
            let purpose = StatePurpose::Keep { promised_ms: state.promised_ms };
            return self.start_batch(now, StoreState { state, purpose });
        }
        if self.node_state == NodeState::Serving
            && let Some(tickets) = self.commits.next_group()
        {
            let change_sets = tickets.into_iter().map(|ticket| (ticket, ())).collect();
            self.start_batch(now, AppendGroup { change_sets, epoch: self.head.revision.epoch });
        }
    }

    fn start_batch(&mut self, now: Now, work: impl Into<Work>) {
        let work = self.work.start(now.at, work);
        if let (Work::AppendGroup(order), true) = (&work, self.makes(Mutant::ShowsBeforeDurable)) {
            let seq = self.head.revision.seq + order.job.change_sets.len() as u64;
            self.out.push(Action::Publish { upto: Revision::new(self.head.revision.epoch, seq) });
        }
        self.out.push(Action::Persist(work));
    }

    fn slow_us(&self) -> u64 {
        micros(BATCH_SLOW).max(self.timing.delay_us)
    }

    /// When the batch in flight takes too long.
    pub(super) fn slow_disk_deadline(&self) -> Option<Moment> {
        self.work.slow_deadline(self.slow_us())
    }

    /// A batch that does not return raises no error, and nothing is acknowledged meanwhile: somebody must hear of it.
    fn tell_of_slow_disk(&mut self, now: Now) {
        if let Some(us) = self.work.report_slow(now.at, self.slow_us()) {
            self.slow_disk(now, us);
        }
    }

    /// A batch is done.
    pub(super) fn persisted(&mut self, now: Now, completed: Completed) {
        match self.work.completed(completed.batch()) {
            None => return,
            Some(reported_slow) if reported_slow => self.disk_ended(now, super::trouble::DISK),
            Some(_) => {}
        }
        let failure = completed.failure().cloned();
        if let Some(failure) = &failure {
            self.disk_trouble(now, failure);
            self.updates_in_doubt();
        }
        match completed.into_completion() {
            Completion::StateStored(purpose, outcome) => self.state_stored(now, purpose, outcome),
            Completion::GroupAppended(tickets, Ok(receipt)) => {
                self.moved(receipt.head, receipt.log_floor);
                self.commits_done(now, receipt.verdicts, tickets.len());
            }
            Completion::GroupAppended(tickets, Err(failure)) => self.commits_failed(&tickets, &failure),
            Completion::EraBegun(Ok(receipt)) => {
                self.moved(receipt.head, receipt.log_floor);
                self.disk_works(now);
                self.updates_undone();
                self.era_durable(now);
            }
            Completion::EraBegun(Err(failure)) => self.era_not_begun(now, failure),
            Completion::Quarantined(Ok(receipt)) => self.quarantined(now, receipt),
            Completion::Quarantined(Err(failure)) => {
                self.retry_at = Moment(now.at.0 + RETRY_US);
                self.quarantine_failed(now, &failure);
            }
            Completion::Reopened(Ok(receipt)) => {
                self.history = receipt.history;
                self.moved(receipt.head, receipt.log_floor);
                self.reopened(now);
                self.found_damage(now, receipt.damage);
            }
            Completion::Reopened(Err(_)) => self.retry_at = Moment(now.at.0 + RETRY_US),
            Completion::RecordsAppended(Ok(receipt)) => self.records_appended(now, &receipt),
            Completion::StagingBegun(Ok(())) => self.with_sink(now, |sink, _, _, out| sink.stage_begun(out)),
            Completion::PiecesStaged(Ok(_)) => self.with_sink(now, |sink, _, _, out| sink.staged(out)),
            Completion::StagingFinished(Ok(receipt)) => self.staging_finished(now, receipt),
            Completion::RecordsAppended(Err(failure))
            | Completion::StagingBegun(Err(failure))
            | Completion::PiecesStaged(Err(failure))
            | Completion::StagingFinished(Err(failure)) => self.sink_failed(now, &failure),
        }
        if failure.is_some_and(|failure| !failure.full) && !self.makes(Mutant::AppendsAfterFailedSync) {
            self.transition(now, Transition::StoreFailed, "disk_trouble");
        }
    }

    fn state_stored(&mut self, now: Now, purpose: StatePurpose, outcome: Result<(), DiskFailure>) {
        let retry_at = Moment(now.at.0 + RETRY_US);
        match (purpose, outcome) {
            (StatePurpose::Keep { promised_ms }, Ok(())) => {
                self.unsaved.retry_at = None;
                self.promise_stored(promised_ms);
                self.updates_durable(now);
                self.updates_undone();
            }
            (StatePurpose::Keep { .. }, Err(failure)) => {
                self.updates_failed(&failure);
                self.unsaved.urgent = true;
                self.unsaved.retry_at = Some(retry_at);
            }
            (StatePurpose::NoteTerm, Ok(())) => {
                self.updates_undone();
                self.claim_noted();
            }
            (StatePurpose::NoteTerm, Err(failure)) => {
                self.claim_lost(now, CommandRefusal::Disk { reason: failure.reason });
                self.retry_at = retry_at;
            }
            (StatePurpose::StepDown, Ok(())) => {
                self.updates_undone();
                self.yielded(now);
            }
            // Until the role is durable this node does not follow, and serves nothing.
            (StatePurpose::StepDown, Err(_)) => self.retry_at = retry_at,
        }
    }

    fn era_not_begun(&mut self, now: Now, failure: DiskFailure) {
        self.retry_at = Moment(now.at.0 + RETRY_US);
        // What is won at the witness is tried again by whoever it names (rule 8): it is not undone by a full disk.
        let undone = failure.full && self.won_epoch().is_none();
        let reason = failure.reason;
        let refused = if undone { CommandRefusal::DiskFull } else { CommandRefusal::InDoubt { reason } };
        self.refuse_takeover_waiters(&refused);
        self.era_failed(now);
    }

    fn records_appended(&mut self, now: Now, receipt: &RecordsReceipt) {
        if let RecordsReceipt::Appended { head, log_floor, eras } = receipt {
            for era in eras {
                let _follows = self.history.begin(*era);
            }
            self.moved(*head, *log_floor);
            self.disk_works(now);
        }
        self.session_records(now, receipt);
    }

    /// The batch in flight is waited for no longer: whoever asked for what is in it is told that nobody knows.
    pub(super) fn abandon_batch(&mut self) {
        let failure = DiskFailure { full: false, reason: "the disk did not answer in time".to_owned() };
        match self.work.abandon() {
            Some(Work::AppendGroup(order)) => self.commits_failed(&order.job.context(), &failure),
            Some(Work::StoreState(order)) => {
                // Nothing else that is stored was asked for by anybody.
                if let StatePurpose::Keep { .. } = order.job.purpose {
                    self.updates_failed(&failure);
                }
            }
            Some(Work::BeginEra(_)) => {
                self.refuse_takeover_waiters(&CommandRefusal::InDoubt { reason: failure.reason });
            }
            Some(_) | None => {}
        }
    }

    /// The durable head is here now.
    fn moved(&mut self, head: Position, log_floor: Revision) {
        self.head = head;
        self.log_floor = log_floor;
    }

    /// Asks for the store to be opened again, when it is time.
    pub(super) fn advance_reopen(&mut self, now: Now) {
        if self.work.is_idle() && self.retry_at <= now.at {
            self.work.queue(Reopen);
        }
    }

    /// Forgets the work of a sink whose link is gone, as far as it has not begun.
    pub(super) fn drop_sink_work(&mut self) {
        let dropped = self.work.drop_sink_work();
        self.out.extend(dropped.into_iter().map(|bulk| Action::DropBulk { bulk }));
    }

    /// Forgets durable work that has not begun; for a store that is gone.
    pub(super) fn drop_waiting_work(&mut self) {
        self.work.clear();
        self.refuse_updates(&CommandRefusal::Disk { reason: "the store is closed after a failure".to_owned() });
    }
}
