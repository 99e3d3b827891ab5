//! Durable work: what is written next, and what follows from its receipt.

use std::time::Duration;

use crate::model::Revision;
use crate::model::limits::BATCH_SLOW;
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::durable::Requester;
use crate::protocol::engine::{
    Action, AppendGroup, CommandRefusal, Completed, Completion, DiskFailure, Engine, EnrolVerdict, Job, Moment, Mutant,
    Now, Reopen, ReopenReceipt, RoleReason, StatePurpose, StoreState, Transition, Work,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::Role;

/// Time after which a failed write of the durable state or of an era is tried again.
const RETRY_US: u64 = 1_000_000;

impl Engine {
    /// Starts the next batch, if none is in flight.
    pub(in super::super) fn advance_work(&mut self, now: Now) {
        if self.work.is_busy() {
            // A batch that does not return raises no error, but nothing is acknowledged meanwhile: an alert tells it.
            if let Some(us) = self.work.report_slow(now.at, self.slow_us()) {
                self.slow_disk(now, us);
            }
            return;
        }
        if let Some(epoch) = self.work.take_era() {
            if self.promotes_on_silence() && !self.may_still_take_over(now) {
                return self.era_failed(now);
            }
            self.drop_sink_work();
            let era = self.era_work(now, epoch);
            return self.start_batch(now, era);
        }
        if let Some(mut work) = self.work.take_next() {
            if let Work::StoreState(order) = &mut work
                && let StatePurpose::NoteTerm { tried } = &mut order.job.purpose
            {
                // The durable state may have changed while this write waited.
                *order.job.state = self.durable.with_alerts(self.alerts.log());
                *tried = self.durable.tried;
            }
            return self.start_batch(now, work);
        }
        if self.authority.is_out_of_service() {
            return;
        }
        if self.durable.is_due(now.at, self.shutdown.is_under_way()) {
            let state = self.durable.begin_write(self.alerts.log());
            #[cfg(test)]
            let state = self.setup.miswritten(state);
            let state = Box::new(state);
            let purpose = StatePurpose::Keep { promised_ms: state.promised_ms };
            return self.start_batch(now, StoreState { state, purpose });
        }
        // Those that a clean shutdown has accepted are written first.
        let holds = self.switchover.holds_commits() && !self.shutdown.is_under_way();
        let holds = holds && !self.setup.makes(Mutant::SwitchesUndrained);
        if self.authority.is_serving()
            && !holds
            && let Some((tickets, bytes)) = self.commits.next_group()
        {
            let change_sets = tickets.into_iter().map(|ticket| (ticket, ())).collect();
            self.start_batch(now, AppendGroup { change_sets, epoch: self.log.epoch() });
            self.work.weigh(bytes);
        }
    }

    fn start_batch(&mut self, now: Now, work: impl Into<Work>) {
        let work = self.work.start(now.at, work);
        if let (Work::AppendGroup(order), true) = (&work, self.setup.makes(Mutant::ShowsBeforeDurable)) {
            let seq = self.log.revision().seq + order.job.change_sets.len() as u64;
            self.out.push(Action::Publish { upto: Revision::new(self.log.epoch(), seq) });
        }
        self.out.push(Action::Persist(work));
    }

    fn slow_us(&self) -> u64 {
        micros(BATCH_SLOW).max(self.setup.timing.delay_us).saturating_add(micros(self.disk_grace()))
    }

    /// How much longer than another the batch in flight may take, since it has so many bytes.
    pub fn disk_grace(&self) -> Duration {
        self.work.grace()
    }

    /// The moment from which the batch in flight counts as slow.
    pub(super) fn slow_disk_deadline(&self) -> Option<Moment> {
        self.work.slow_deadline(self.slow_us())
    }

    /// How long the batch in flight may take: with a peer, that could act in this node's place. A batch of the peer's records
    /// may wait for the host as well.
    fn disk_bound_us(&self) -> Option<u64> {
        let options = &self.setup.options;
        let bound = options.disk_timeout().filter(|_| self.durable.peer.is_some())?;
        let hook = match self.work.limited()? {
            Work::AppendRecords(_) => options.timeouts.hook,
            _ => Duration::ZERO,
        };
        Some(micros(bound + hook + self.disk_grace()))
    }

    /// When the batch in flight has had its time.
    pub(super) fn hung_disk_deadline(&self) -> Option<Moment> {
        self.work.give_up_at(self.disk_bound_us()?)
    }

    /// A batch that has had its time counts as failed, and this node lets go of what it is. Nothing of that waits for the disk.
    pub(in super::super) fn notice_hung_disk(&mut self, now: Now) {
        let Some(bound_us) = self.disk_bound_us() else { return };
        if self.shutdown.is_under_way() || self.setup.makes(Mutant::WaitsForDisk) {
            return;
        }
        let Some(work) = self.work.give_up(now.at, bound_us) else { return };
        let failure = DiskFailure { full: false, reason: texts::disk_silent(bound_us) };
        self.disk_trouble(now, &failure);
        self.complete(now, work.fail(failure).into_completion());
        // Until the disk answers nobody can say more.
        self.end_doubt(|reason| CommandRefusal::InDoubt { reason });
        self.transition(now, Transition::StoreFailed, RoleReason::DiskTrouble);
    }

    /// A batch is done.
    pub(in super::super) fn persisted(&mut self, now: Now, completed: Completed) {
        let Some(ended) = self.work.completed(completed.batch()) else { return };
        if ended.reported_slow {
            self.disk_ended(now, Subject::Disk);
        }
        if ended.given_up {
            // It counted as failed when its time was over. What is left of it is found out now, by opening the store again.
            return self.authority.retry_after(now.at);
        }
        let failure = completed.failure().cloned();
        if let Some(failure) = &failure {
            self.disk_trouble(now, failure);
            self.end_doubt(|reason| CommandRefusal::InDoubt { reason });
        }
        self.complete(now, completed.into_completion());
        if failure.is_some_and(|failure| !failure.full) && !self.setup.makes(Mutant::AppendsAfterFailedSync) {
            self.transition(now, Transition::StoreFailed, RoleReason::DiskTrouble);
        }
    }

    fn complete(&mut self, now: Now, completion: Completion) {
        let retry_at = Moment(now.at.0 + RETRY_US);
        match completion {
            Completion::StateStored(purpose, outcome) => self.state_stored(now, purpose, outcome),
            Completion::GroupAppended(_, Ok(receipt)) => {
                let before = self.log.revision();
                self.log.moved(receipt.head, receipt.log_floor);
                if self.session.confirmed().is_some_and(|position| position.revision > before) {
                    // The shadow was faster: its acknowledgement counts now.
                    self.peer_confirmed(now);
                }
                self.commits_durable(now, receipt.verdicts);
            }
            Completion::GroupAppended(tickets, Err(failure)) => {
                self.log.forget_written();
                self.commits_failed(&tickets, &failure);
            }
            Completion::EraBegun(Ok(receipt)) => {
                self.log.moved(receipt.head, receipt.log_floor);
                self.disk_works(now);
                self.updates_not_in_force();
                self.era_durable(now);
            }
            Completion::EraBegun(Err(failure)) => self.era_not_begun(now, failure),
            Completion::Quarantined(Ok(receipt)) => self.quarantined(now, receipt),
            Completion::Quarantined(Err(failure)) => {
                self.authority.retry_after(retry_at);
                self.quarantine_failed(now, &failure);
            }
            Completion::Reopened(Ok(receipt)) => self.reopened(now, receipt),
            Completion::Reopened(Err(_)) => self.authority.retry_after(retry_at),
            Completion::RecordsAppended(Ok(receipt)) => self.records_appended(now, &receipt),
            Completion::StagingBegun(Ok(before)) => self.staging_begun(now, before),
            Completion::PiecesStaged(Ok(receipt)) => {
                self.with_sink(now, |sink, _, at, out| sink.pieces_staged(receipt.wants, at, out));
            }
            Completion::StagingFinished(Ok(receipt)) => self.staging_finished(now, receipt),
            Completion::RecordsAppended(Err(failure))
            | Completion::StagingBegun(Err(failure))
            | Completion::PiecesStaged(Err(failure))
            | Completion::StagingFinished(Err(failure)) => self.sink_failed(now, &failure),
        }
    }

    fn state_stored(&mut self, now: Now, purpose: StatePurpose, outcome: Result<(), DiskFailure>) {
        let retry_at = Moment(now.at.0 + RETRY_US);
        match (purpose, outcome) {
            (StatePurpose::Keep { promised_ms }, Ok(())) => {
                if let Some(witnessed) = self.authority.witnessed_mut() {
                    witnessed.promise.stored(promised_ms);
                }
                self.adopt_updates(now);
                self.updates_not_in_force();
            }
            (StatePurpose::Keep { .. }, Err(failure)) => {
                self.updates_failed(&failure);
                self.durable.write_failed(retry_at);
            }
            (StatePurpose::NoteTerm { tried }, Ok(())) => {
                self.updates_not_in_force();
                self.authority.takeover_mut().noted(tried);
                self.term_noted(tried);
            }
            (StatePurpose::NoteTerm { .. }, Err(failure)) => {
                self.term_not_noted();
                self.takeover_lost(now, &CommandRefusal::Disk { reason: failure.reason });
                self.authority.retry_after(retry_at);
            }
            (StatePurpose::StepDown, Ok(())) => {
                self.updates_not_in_force();
                self.stepped_down(now);
            }
            (StatePurpose::HandOver, Ok(())) => {
                self.updates_not_in_force();
                self.hand_over_stored(now);
            }
            (StatePurpose::HandOver, Err(failure)) => self.hand_over_not_stored(now, failure.full),
            // Until the role is durable this node does not follow, and serves nothing.
            (StatePurpose::StepDown, Err(_)) => self.authority.retry_after(retry_at),
        }
    }

    fn era_not_begun(&mut self, now: Now, failure: DiskFailure) {
        self.authority.retry_after(Moment(now.at.0 + RETRY_US));
        // A full disk does not undo a takeover that is won at the witness: the node that it names tries again (rule 8).
        let undone = failure.full && self.authority.won_epoch().is_none();
        let reason = failure.reason;
        let refused = if undone { CommandRefusal::DiskFull } else { CommandRefusal::InDoubt { reason } };
        self.refuse_takeover_waiters(&refused);
        self.era_failed(now);
    }

    fn reopened(&mut self, now: Now, receipt: ReopenReceipt) {
        self.log.reopened(receipt.head, receipt.log_floor, receipt.history);
        self.log.show(receipt.shown);
        if self.durable.role == Role::Master {
            self.publish_head();
        }
        self.disk_works(now);
        self.authority.retry_after(now.at);
        // A master asks again before it serves, and does not serve a damaged copy.
        let transition = match self.durable.role {
            Role::Master => Transition::ReopenedAsMaster,
            Role::Shadow => Transition::ReopenedAsShadow,
        };
        self.transition(now, transition, RoleReason::Reopened);
        self.found_damage(now, receipt.damage);
    }

    /// Asks for the store to be opened again, when it is time.
    pub(super) fn advance_reopen(&mut self, now: Now) {
        if self.work.is_idle() && self.authority.retry_at() <= now.at {
            self.work.queue(Reopen);
        }
    }

    /// Forgets durable work that has not begun, because the store is closed.
    pub(super) fn drop_waiting_work(&mut self) {
        self.work.clear();
        self.drop_waiting_updates(&CommandRefusal::Disk { reason: "the store is closed after a failure".to_owned() });
    }

    /// The batch in flight is waited for no longer. Whoever asked for what is in it is told that it is in doubt.
    pub(super) fn abandon_batch(&mut self) {
        let failure = DiskFailure { full: false, reason: "the disk did not answer in time".to_owned() };
        match self.work.abandon() {
            Some(Work::AppendGroup(order)) => self.commits_failed(&order.job.context(), &failure),
            Some(Work::StoreState(order)) => {
                // Only a write for this purpose holds updates that somebody asked for.
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

    // Updates of the durable state.

    /// Updates could not be written. They are refused where nothing of them is left, else in doubt.
    fn updates_failed(&mut self, failure: &DiskFailure) {
        #[cfg(test)]
        if self.setup.makes(Mutant::KeepsRefusedUpdate) {
            self.durable.keep_refused(self.alerts.log_mut());
        }
        let in_doubt = (!failure.full).then_some(failure.reason.as_str());
        for requester in self.durable.updates_failed(in_doubt) {
            self.refuse_update(requester, CommandRefusal::DiskFull);
        }
    }

    /// The durable state was written as it is in memory, so nothing is left of updates in doubt: they are refused.
    fn updates_not_in_force(&mut self) {
        self.end_doubt(|reason| CommandRefusal::Disk { reason });
    }

    /// Answers everyone whose update is in doubt.
    pub(super) fn end_doubt(&mut self, refusal: impl Fn(String) -> CommandRefusal) {
        let (requesters, reason) = self.durable.end_doubt();
        for requester in requesters {
            self.refuse_update(requester, refusal(reason.clone()));
        }
    }

    /// Refuses the updates that wait: they will not be written.
    pub(super) fn drop_waiting_updates(&mut self, refusal: &CommandRefusal) {
        for requester in self.durable.drop_waiting_updates() {
            self.refuse_update(requester, refusal.clone());
        }
    }

    pub(super) fn refuse_update(&mut self, requester: Requester, refusal: CommandRefusal) {
        match requester {
            Requester::Operator(ticket) => self.refuse(ticket, refusal),
            Requester::Enrolling(ask) => {
                self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Refused { kind: "disk" } });
            }
            Requester::Peer => {}
        }
    }

    /// Whether a promotion is under way because the master was silent, and is not won at the witness.
    pub(super) fn promotes_on_silence(&self) -> bool {
        let role = &self.authority;
        let won = self.authority.won_epoch().is_some();
        role.state() == NodeState::Promoting && role.reason() == RoleReason::Takeover && !won
    }
}
